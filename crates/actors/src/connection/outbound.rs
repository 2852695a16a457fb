//! Buffers the messages that wait for an open socket.
//!
//! The buffer is bounded by count and by bytes, first in first out. Each entry carries a ticket of its sender, and
//! the ticket comes back exactly once, with the [`SendOutcome`]. At most one entry is being written. If the socket
//! fails meanwhile, the outcome is [`SendFailure::Unknown`]: it may have arrived, so it is not sent again.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Reason};

/// The outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
    /// Written to the socket completely. Whether the peer read it is unknown.
    Sent,
    /// Not sent, or not known to have been.
    #[serde(untagged)]
    Failed(SendFailure),
}

/// The reason why a message was not sent, or is not known to have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SendFailure {
    /// The deadline passed before the message's turn came.
    Expired,
    /// The buffer was full.
    QueueFull,
    /// The message is larger than the limit.
    TooLarge,
    /// The connection's owner stopped before its turn came.
    Dropped,
    /// The configuration says that the backend has no WebSocket.
    Disabled,
    /// The socket failed, or the owner stopped, during the write: it may have arrived.
    Unknown,
}

impl SendOutcome {
    /// Converts to a result: `Ok` if it was sent.
    ///
    /// # Errors
    /// The errors of [`SendFailure::error`].
    pub fn into_result(self) -> Result<(), Error> {
        match self {
            Self::Sent => Ok(()),
            Self::Failed(failure) => Err(failure.error()),
        }
    }
}

impl SendFailure {
    /// Every failure.
    pub const ALL: &[Self] =
        &[Self::Expired, Self::QueueFull, Self::TooLarge, Self::Dropped, Self::Disabled, Self::Unknown];

    /// Returns the error for the sender.
    #[must_use]
    pub fn error(self) -> Error {
        let (reason, message) = match self {
            Self::Expired => (
                Reason::Expired,
                "The message waited too long for a connection and was not sent. Reconnect, then send it again.",
            ),
            Self::QueueFull => (
                Reason::QueueFull,
                "Too many messages are waiting already. Wait a moment, then send it again.",
            ),
            Self::TooLarge => {
                (Reason::RequestTooLarge, "The message is larger than one may be. Send less at once.")
            }
            Self::Dropped => (
                Reason::Stopped,
                "The connection was stopped before the message was sent. Start it again, then send it again.",
            ),
            Self::Disabled => (
                Reason::InvalidConfig,
                "The configuration switches the live connection off. Send a request instead, or switch it on.",
            ),
            Self::Unknown => {
                let cause = Error::new(Reason::ConnectionReset).with_details("while it was being written");
                let words = "It is not known whether the message arrived. Check before sending it again.";
                return Error::outcome_unknown(cause).with_message(words);
            }
        };
        Error::new(reason).with_message(message)
    }
}

/// A message that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FinishedSend<T> {
    /// The sender's ticket.
    pub ticket: T,
    /// The message's outcome.
    pub outcome: SendOutcome,
    /// The message's size in bytes.
    pub bytes: usize,
}

/// The limits of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutboundLimits {
    /// The most messages that wait.
    pub entries_max: usize,
    /// The most bytes that wait, in all messages together.
    pub bytes_max: usize,
}

/// A buffer of messages of type `P`, each with a ticket of type `T`.
#[derive(Debug)]
pub(crate) struct OutboundBuffer<P, T> {
    limits: OutboundLimits,
    waiting: VecDeque<PendingSend<P, T>>,
    waiting_bytes: usize,
    in_flight: Option<(T, usize)>,
}

#[derive(Debug)]
struct PendingSend<P, T> {
    payload: P,
    ticket: T,
    deadline: Duration,
}

impl<P: AsRef<[u8]>, T> OutboundBuffer<P, T> {
    /// Creates an empty buffer.
    #[must_use]
    pub(crate) fn new(limits: OutboundLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), waiting_bytes: 0, in_flight: None }
    }

    /// Adds a message, to be sent before `deadline`.
    ///
    /// # Errors
    /// Returns the ticket if the deadline has passed (`Expired`) or the buffer is full (`QueueFull`). Call
    /// [`expire`](Self::expire) first, so that expired messages take no room.
    pub(crate) fn push(
        &mut self,
        payload: P,
        ticket: T,
        deadline: Duration,
        now: Duration,
    ) -> Result<(), FinishedSend<T>> {
        let bytes = payload.as_ref().len();
        if deadline <= now {
            return Err(FinishedSend { ticket, outcome: SendOutcome::Failed(SendFailure::Expired), bytes });
        }
        let waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        if self.waiting.len() >= self.limits.entries_max || waiting_bytes > self.limits.bytes_max {
            return Err(FinishedSend { ticket, outcome: SendOutcome::Failed(SendFailure::QueueFull), bytes });
        }
        self.waiting_bytes = waiting_bytes;
        self.waiting.push_back(PendingSend { payload, ticket, deadline });
        Ok(())
    }

    /// Returns the next message to write, unless one is still being written. Expired messages stay for
    /// [`expire`](Self::expire) and are never returned.
    ///
    /// Report each message to [`finish_in_flight`](Self::finish_in_flight) before the next call.
    #[must_use]
    pub(crate) fn take(&mut self, now: Duration) -> Option<P> {
        if self.in_flight.is_some() {
            return None;
        }
        let next = self.waiting.iter().position(|entry| entry.deadline > now)?;
        let entry = self.waiting.remove(next)?;
        let bytes = entry.payload.as_ref().len();
        self.waiting_bytes -= bytes;
        self.in_flight = Some((entry.ticket, bytes));
        Some(entry.payload)
    }

    /// Ends the message last taken: it was written, or its socket failed. Returns `None` if none was being written.
    pub(crate) fn finish_in_flight(&mut self, is_sent: bool) -> Option<FinishedSend<T>> {
        let outcome = if is_sent { SendOutcome::Sent } else { SendOutcome::Failed(SendFailure::Unknown) };
        self.in_flight.take().map(|(ticket, bytes)| FinishedSend { ticket, outcome, bytes })
    }

    /// Ends every waiting message whose deadline has passed, in the order in which they came.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<FinishedSend<T>> {
        if self.next_expiry().is_none_or(|first| first > now) {
            return Vec::new();
        }
        let (kept, overdue) =
            std::mem::take(&mut self.waiting).into_iter().partition(|entry| entry.deadline > now);
        self.waiting = kept;
        self.waiting_bytes = self.waiting.iter().map(|entry| entry.payload.as_ref().len()).sum();
        finish_all(overdue, SendOutcome::Failed(SendFailure::Expired)).collect()
    }

    /// Returns the time at which the next waiting message expires. Costs O(n).
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.waiting.iter().map(|entry| entry.deadline).min()
    }

    /// Ends every message, because the owner stops.
    #[must_use]
    pub(crate) fn shut_down(&mut self) -> Vec<FinishedSend<T>> {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        self.finish_in_flight(false)
            .into_iter()
            .chain(finish_all(waiting, SendOutcome::Failed(SendFailure::Dropped)))
            .collect()
    }

    /// Returns the number of waiting messages, without the one being written.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of waiting bytes.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }
}

fn finish_all<P: AsRef<[u8]>, T>(
    entries: VecDeque<PendingSend<P, T>>,
    outcome: SendOutcome,
) -> impl Iterator<Item = FinishedSend<T>> {
    entries.into_iter().map(move |entry| FinishedSend {
        outcome,
        bytes: entry.payload.as_ref().len(),
        ticket: entry.ticket,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Buffer = OutboundBuffer<String, u32>;

    const LATER: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn buffer(entries_max: usize) -> Buffer {
        Buffer::new(OutboundLimits { entries_max, bytes_max: 100 })
    }

    #[test]
    fn bytes_are_bounded_and_freed() {
        let mut buffer = buffer(10);
        buffer.push("x".repeat(60), 1, LATER, at(0)).unwrap();
        assert!(buffer.push("x".repeat(41), 2, LATER, at(0)).is_err());
        buffer.push("x".repeat(40), 3, at(1), at(0)).unwrap();
        let expected =
            [FinishedSend { ticket: 3, outcome: SendOutcome::Failed(SendFailure::Expired), bytes: 40 }];
        assert_eq!(buffer.expire(at(1)), expected);
        assert_eq!(buffer.waiting_bytes(), 60);
        buffer.take(at(1)).unwrap();
        assert_eq!(buffer.waiting_bytes(), 0);
    }

    #[test]
    fn overdue_message_is_reported_and_never_sent() {
        let mut buffer = buffer(3);
        buffer.push("short".into(), 1, at(5), at(0)).unwrap();
        buffer.push("long".into(), 2, LATER, at(0)).unwrap();
        assert_eq!(buffer.next_expiry(), Some(at(5)));
        assert_eq!(buffer.expire(at(4)), []);
        assert_eq!(buffer.take(at(5)).as_deref(), Some("long"));
        let expected =
            [FinishedSend { ticket: 1, outcome: SendOutcome::Failed(SendFailure::Expired), bytes: 5 }];
        assert_eq!(buffer.expire(at(5)), expected);
        let expected =
            Err(FinishedSend { ticket: 3, outcome: SendOutcome::Failed(SendFailure::Expired), bytes: 4 });
        assert_eq!(buffer.push("late".into(), 3, at(5), at(5)), expected);
    }

    #[derive(Debug, Clone)]
    enum BufferStep {
        Push { bytes: usize, lives_s: u64 },
        Take,
        Settle(bool),
        Expire,
        Pass(u64),
    }

    fn step() -> impl Strategy<Value = BufferStep> {
        prop_oneof![
            3 => (0..40usize, 0..20u64).prop_map(|(bytes, lives_s)| BufferStep::Push { bytes, lives_s }),
            2 => Just(BufferStep::Take),
            2 => any::<bool>().prop_map(BufferStep::Settle),
            1 => Just(BufferStep::Expire),
            1 => (0..10u64).prop_map(BufferStep::Pass),
        ]
    }

    proptest! {
        #[test]
        fn message_finishes_once_and_is_taken_at_most_once(steps in prop::collection::vec(step(), 0..80)) {
            let mut buffer = buffer(4);
            let (mut now, mut pushed) = (Duration::ZERO, 0u32);
            let mut taken = BTreeMap::new();
            let mut outcomes = BTreeMap::new();
            let mut ends = Vec::new();
            for step in steps {
                match step {
                    BufferStep::Push { bytes, lives_s } => {
                        // The text's length does not identify it, so it carries the ticket's number.
                        let payload = format!("{pushed:04}{}", "x".repeat(bytes));
                        ends.extend(buffer.push(payload, pushed, now + at(lives_s), now).err());
                        pushed += 1;
                    }
                    BufferStep::Take => {
                        if let Some(payload) = buffer.take(now) {
                            *taken.entry(payload[..4].to_owned()).or_insert(0) += 1;
                        }
                    }
                    BufferStep::Settle(is_sent) => ends.extend(buffer.finish_in_flight(is_sent)),
                    BufferStep::Expire => ends.extend(buffer.expire(now)),
                    BufferStep::Pass(seconds) => now += at(seconds),
                }
                prop_assert!(buffer.len() <= 4 && buffer.waiting_bytes() <= 100);
            }
            ends.extend(buffer.shut_down());
            for ended in ends {
                prop_assert_eq!(outcomes.insert(ended.ticket, ended.outcome), None);
            }
            prop_assert_eq!(outcomes.len(), pushed as usize);
            prop_assert!(taken.values().all(|times| *times == 1));
            for (ticket, outcome) in outcomes {
                let was_taken = taken.contains_key(&format!("{ticket:04}"));
                prop_assert_eq!(was_taken, matches!(outcome, SendOutcome::Sent | SendOutcome::Failed(SendFailure::Unknown)));
            }
        }
    }
}
