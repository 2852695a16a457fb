//! The events that WebSocket clients get, and the bounded history that they can resume from.

use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The kind of an agent's event.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub(super) enum AgentEvent<'a> {
    #[serde(rename = "agent_crashed")]
    Crashed { agent: &'a str, error_count: u64 },
    #[serde(rename = "agent_hung")]
    Hung { agent: &'a str },
    #[serde(rename = "agent_healed")]
    Healed { agent: &'a str },
    #[serde(rename = "agent_restarted")]
    Restarted { agent: &'a str, error_count: u64 },
    #[serde(rename = "agent_message")]
    Message { agent: &'a str, count: u64, message: &'a Value },
    #[serde(rename = "agent_state_written")]
    StateWritten { agent: &'a str },
}

impl<'a> AgentEvent<'a> {
    /// Returns the agent that it happened to.
    fn agent(&self) -> &'a str {
        match self {
            Self::Crashed { agent, .. }
            | Self::Hung { agent }
            | Self::Healed { agent }
            | Self::Restarted { agent, .. }
            | Self::Message { agent, .. }
            | Self::StateWritten { agent } => agent,
        }
    }
}

/// The entries that a client's cache must drop.
#[derive(Serialize)]
struct InvalidateFrame {
    r#type: &'static str,
    keys: [String; 2],
}

impl InvalidateFrame {
    fn after(happening: &AgentEvent<'_>) -> Self {
        let agent = happening.agent();
        let key = |what| format!("http:/api/agents/{agent}/{what}");
        Self { r#type: "invalidate", keys: [key("health"), key("state")] }
    }
}

#[derive(Serialize)]
struct EventFrame<'a> {
    r#type: &'static str,
    seq: u64,
    #[serde(flatten)]
    event: &'a AgentEvent<'a>,
}

/// The next item for a client that has everything up to some event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextEvent {
    /// The event with this number.
    Event(u64, EventFrames),
    /// The history does not hold what follows; it goes on with the event of this number.
    Gap(u64),
    /// Nothing yet.
    Nothing,
}

/// The text frames of one event, in the order in which they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventFrames {
    /// The entries that the event makes stale: a client that has the event must not read them from its cache.
    pub(super) invalidate: Utf8Bytes,
    pub(super) event: Utf8Bytes,
}

/// The last events, numbered from 1 without a hole. Plain data.
#[derive(Debug)]
pub(super) struct EventHistory {
    frames: VecDeque<EventFrames>,
    max: usize,
    last: u64,
}

impl EventHistory {
    /// Makes an empty history that keeps the last `max` events.
    pub(super) fn new(max: usize) -> Self {
        Self { frames: VecDeque::new(), max, last: 0 }
    }

    /// Adds an event and gives its number.
    pub(super) fn push(&mut self, happening: &AgentEvent<'_>) -> Result<u64, serde_json::Error> {
        let frame = EventFrame { r#type: "event", seq: self.last + 1, event: happening };
        let event = serde_json::to_string(&frame)?.into();
        let invalidate = serde_json::to_string(&InvalidateFrame::after(happening))?.into();
        self.frames.push_back(EventFrames { invalidate, event });
        self.last += 1;
        if self.frames.len() > self.max {
            self.frames.pop_front();
        }
        Ok(self.last)
    }

    /// Returns the item after event number `after`. A number from the history of an earlier backend is followed by a
    /// gap back to the oldest event.
    pub(super) fn next(&self, after: u64) -> NextEvent {
        if after == self.last {
            return NextEvent::Nothing;
        }
        let oldest = self.last + 1 - self.frames.len() as u64;
        let wanted = after.checked_add(1).and_then(|seq| seq.checked_sub(oldest));
        let frame = wanted.and_then(|index| self.frames.get(usize::try_from(index).ok()?));
        frame.map_or(NextEvent::Gap(oldest), |frame| NextEvent::Event(after + 1, frame.clone()))
    }
}

/// The history, shared, and a way to wait for more.
#[derive(Debug)]
pub(super) struct EventLog {
    // A std mutex: it is never held over an await.
    history: Mutex<EventHistory>,
    last: watch::Sender<u64>,
}

impl EventLog {
    pub(super) fn new(history_max: usize) -> Self {
        Self { history: Mutex::new(EventHistory::new(history_max)), last: watch::Sender::new(0) }
    }

    /// Adds an event and wakes who waits for one.
    pub(super) fn publish(&self, happening: &AgentEvent<'_>) {
        let mut history = self.history();
        match history.push(happening) {
            // Still locked, so that the number never goes back.
            Ok(last) => _ = self.last.send_replace(last),
            Err(error) => tracing::error!(%error, ?happening, "an event could not be written as JSON"),
        }
    }

    /// Returns the number of the last event, 0 before the first; it wakes with each new one.
    pub(super) fn subscribe_last(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Returns what follows event `after`.
    pub(super) fn next(&self, after: u64) -> NextEvent {
        self.history().next(after)
    }

    fn history(&self) -> MutexGuard<'_, EventHistory> {
        self.history.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(max: usize, events: u64) -> EventHistory {
        let mut history = EventHistory::new(max);
        for seq in 1..=events {
            assert_eq!(history.push(&AgentEvent::Hung { agent: "planner" }).unwrap(), seq);
        }
        history
    }

    /// Returns the number that stands in the event's text.
    fn seq(next: &NextEvent) -> Value {
        let NextEvent::Event(_, frames) = next else { panic!("{next:?} is no event") };
        serde_json::from_str::<Value>(&frames.event).unwrap()["seq"].clone()
    }

    #[test]
    fn events_follow_one_another_without_a_hole() {
        let history = history(8, 5);
        for after in 0..5 {
            assert_eq!(seq(&history.next(after)), after + 1);
        }
        assert_eq!(history.next(5), NextEvent::Nothing);
    }

    #[test]
    fn events_dropped_from_history_are_a_gap() {
        let history = history(3, 10);
        assert_eq!(history.next(0), NextEvent::Gap(8));
        assert_eq!(history.next(6), NextEvent::Gap(8));
        assert_eq!(seq(&history.next(7)), 8);
        assert_eq!(history.next(10), NextEvent::Nothing);
    }

    #[test]
    fn seq_of_earlier_backend_is_gap_to_oldest_event() {
        assert_eq!(history(3, 0).next(50), NextEvent::Gap(1));
        assert_eq!(history(3, 2).next(50), NextEvent::Gap(1));
        assert_eq!(history(3, 10).next(u64::MAX), NextEvent::Gap(8));
    }
}
