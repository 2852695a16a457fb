//! The messages to one agent without an answer: pure, with the time passed in.
//!
//! Messages are delivered in order. If the agent, its actor or the runtime ends during a delivery, the agent may have
//! acted on the message. So it is not delivered again, unless its sender allowed that: then it returns to its place,
//! [`DELIVERY_ATTEMPTS_MAX`] times at most. A message over which the agent or its backend died too often is
//! quarantined, whatever its sender allowed.
//!
//! A backend that rejects the token has not acted on the message. If there is a new token, the message is delivered once
//! more, whatever its sender allowed, within the same number of deliveries.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::agent_message::{AgentMessage, MessageId, MessageLimits};
use crate::error::Reason;
use crate::json::Json;
use crate::network::BackendEnds;
use crate::quarantine::DeathRecord;

/// The most messages that may wait for one agent.
pub(crate) const MESSAGES_WAITING_MAX: usize = 64;
/// The most deliveries of a message whose deliveries break, if its sender allowed repeats.
pub(crate) const DELIVERY_ATTEMPTS_MAX: u32 = 3;

/// A message without an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct QueuedMessage {
    /// The message.
    pub(super) message: AgentMessage,
    /// True if it may be delivered more than once.
    pub(super) may_repeat: bool,
    /// The number of its deliveries.
    pub(super) attempts: u32,
    /// The deaths of the agent, or of its backend, during its delivery.
    #[serde(default)]
    pub(super) deaths: DeathRecord,
    /// True if the backend rejected the token of a delivery, and another delivery followed with a new one.
    #[serde(default)]
    pub(super) has_renewed_token: bool,
    /// The reason of the last failed delivery.
    #[serde(default)]
    pub(super) last_failure: Option<Reason>,
    /// The deadline for the delivery, in this process only.
    #[serde(skip)]
    pub(super) deadline: Option<Duration>,
}

/// The queue of one agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct MessageQueue {
    last_id: u64,
    waiting: VecDeque<QueuedMessage>,
    in_flight: Vec<QueuedMessage>,
}

impl QueuedMessage {
    /// Returns whether the agent may have acted on an earlier delivery. It has not acted on one with a rejected token.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.attempts > u32::from(self.has_renewed_token)
    }
}

impl MessageQueue {
    /// Adds a message, to be delivered before `deadline`. `None` if the queue is full.
    pub(super) fn enqueue(
        &mut self,
        body: Json,
        may_repeat: bool,
        deadline: Option<Duration>,
    ) -> Option<MessageId> {
        if self.waiting.len() >= MESSAGES_WAITING_MAX {
            return None;
        }
        self.last_id += 1;
        let id = MessageId(self.last_id);
        self.waiting.push_back(QueuedMessage {
            message: AgentMessage { id, body, deadline: None, limits: MessageLimits::default() },
            may_repeat,
            attempts: 0,
            deaths: DeathRecord::default(),
            has_renewed_token: false,
            last_failure: None,
            deadline,
        });
        Some(id)
    }

    /// Sets the limits of a message from its delivery on.
    pub(super) fn set_limits(&mut self, id: MessageId, limits: MessageLimits) {
        self.pending_mut()
            .filter(|queued| queued.message.id == id)
            .for_each(|queued| queued.message.limits = limits);
    }

    /// Starts the next delivery, if fewer than `max` are in flight. The message counts as delivered from now on.
    ///
    /// A message whose delivery broke keeps its place, and those behind it wait, until it is known whether the
    /// receiver died.
    pub(super) fn start_next(&mut self, max: usize, ends: BackendEnds) -> Option<MessageId> {
        if self.in_flight.len() >= max.max(1) {
            return None;
        }
        if self.waiting.front().is_some_and(|start_next| start_next.deaths.is_open()) {
            return None;
        }
        let mut next = self.waiting.pop_front()?;
        next.attempts += 1;
        next.deaths.note_start(ends);
        let id = next.message.id;
        self.in_flight.push(next);
        Some(id)
    }

    /// Returns a message in flight.
    #[must_use]
    pub(super) fn in_flight(&self, id: MessageId) -> Option<&QueuedMessage> {
        self.in_flight.iter().find(|queued| queued.message.id == id)
    }

    /// Removes a message, which has ended.
    pub(super) fn remove(&mut self, id: MessageId) -> Option<QueuedMessage> {
        if let Some(at) = self.in_flight.iter().position(|queued| queued.message.id == id) {
            return Some(self.in_flight.swap_remove(at));
        }
        let at = self.waiting.iter().position(|queued| queued.message.id == id)?;
        self.waiting.remove(at)
    }

    /// Returns a message that reached no agent to its place, as if it had not been delivered. Returns its earlier
    /// deliveries.
    pub(super) fn requeue(&mut self, id: MessageId) -> Option<u32> {
        let at = self.in_flight.iter().position(|queued| queued.message.id == id)?;
        let mut queued = self.in_flight.swap_remove(at);
        queued.attempts = queued.attempts.saturating_sub(1);
        let attempts = queued.attempts;
        self.insert_in_order(queued);
        Some(attempts)
    }

    fn insert_in_order(&mut self, queued: QueuedMessage) {
        let id = queued.message.id;
        let index = self.waiting.iter().position(|other| other.message.id > id).unwrap_or(self.waiting.len());
        self.waiting.insert(index, queued);
    }

    /// Notes that the connection broke, or the agent may have ended, during this delivery. It may have waited in the queue
    /// of requests while the backend ended, and so a check tells.
    pub(super) fn note_break(&mut self, id: MessageId, ends: BackendEnds) {
        if let Some(queued) = self.in_flight.iter_mut().find(|queued| queued.message.id == id) {
            queued.deaths.note_break_after_wait(ends);
        }
    }

    /// Notes the same for all deliveries in flight.
    pub(super) fn note_break_of_all(&mut self, ends: BackendEnds) {
        self.in_flight.iter_mut().for_each(|queued| queued.deaths.note_break(ends));
    }

    /// Forgets the ends of the process that an earlier incarnation saw.
    pub(super) fn note_start_of_all(&mut self, ends: BackendEnds) {
        self.pending_mut().for_each(|queued| queued.deaths.note_start(ends));
    }

    /// Notes that the runtime has ended the backend's process, if it has; returns whether that changed anything.
    pub(super) fn note_stops(&mut self, ends: BackendEnds) -> bool {
        self.pending_mut().filter_map(|queued| queued.deaths.note_stops(ends).then_some(())).count() > 0
    }

    /// Returns whether a delivery broke and the backend's process has ended by itself, once for each exit.
    pub(super) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        self.pending_mut().filter_map(|queued| queued.deaths.take_exit(ends).then_some(())).count() > 0
    }

    /// Notes that the agent is alive; returns whether that changed anything.
    pub(super) fn note_alive(&mut self) -> bool {
        let open = self.pending_mut().filter(|queued| queued.deaths.is_open());
        open.map(|queued| queued.deaths.note_alive()).count() > 0
    }

    /// Notes that the agent or its backend has ended. Returns whether that changed anything, and removes the messages
    /// to quarantine.
    pub(super) fn note_gone(&mut self, quarantine_after: u32) -> (bool, Vec<QueuedMessage>) {
        let open = self.pending_mut().filter(|queued| queued.deaths.is_open());
        let exceeded: Vec<_> =
            open.map(|queued| (queued.message.id, queued.deaths.note_gone(quarantine_after))).collect();
        let poison = exceeded.iter().filter(|(_, is_poison)| *is_poison);
        (!exceeded.is_empty(), poison.filter_map(|(id, _)| self.remove(*id)).collect())
    }

    fn pending_mut(&mut self) -> impl Iterator<Item = &mut QueuedMessage> {
        self.in_flight.iter_mut().chain(&mut self.waiting)
    }

    /// Ends a delivery that broke for `reason`, and of which the agent's progress is unknown. The message waits again, or
    /// is returned if it is not delivered again.
    pub(super) fn fail_delivery(&mut self, id: MessageId, reason: Reason) -> Option<QueuedMessage> {
        let at = self.in_flight.iter().position(|queued| queued.message.id == id)?;
        let queued = self.in_flight.swap_remove(at);
        if !queued.may_repeat || queued.attempts >= DELIVERY_ATTEMPTS_MAX {
            return Some(queued);
        }
        self.insert_in_order(QueuedMessage { last_failure: Some(reason), ..queued });
        None
    }

    /// Ends a delivery whose token was rejected for `reason`, while there is a new one. The message waits again, or is
    /// returned if a new token was rejected before.
    pub(super) fn renew_delivery(&mut self, id: MessageId, reason: Reason) -> Option<QueuedMessage> {
        let at = self.in_flight.iter().position(|queued| queued.message.id == id)?;
        let queued = self.in_flight.swap_remove(at);
        if queued.has_renewed_token || queued.attempts >= DELIVERY_ATTEMPTS_MAX {
            return Some(queued);
        }
        self.insert_in_order(QueuedMessage { has_renewed_token: true, last_failure: Some(reason), ..queued });
        None
    }

    /// Ends all deliveries in flight as broken for `reason`, in order. Returns the messages that are not delivered again.
    pub(super) fn fail_all_deliveries(&mut self, reason: Reason) -> Vec<QueuedMessage> {
        let mut ids: Vec<_> = self.in_flight.iter().map(|queued| queued.message.id).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.fail_delivery(id, reason)).collect()
    }

    /// Removes the waiting messages for which `leaves` returns true.
    pub(super) fn extract_waiting(&mut self, leaves: impl Fn(&QueuedMessage) -> bool) -> Vec<QueuedMessage> {
        let (left, rest) = std::mem::take(&mut self.waiting).into_iter().partition(|queued| leaves(queued));
        self.waiting = rest;
        Vec::from_iter::<VecDeque<_>>(left)
    }

    /// Returns the earliest deadline of the waiting messages.
    #[must_use]
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.waiting.iter().filter_map(|queued| queued.deadline).min()
    }

    /// Returns the number of waiting messages.
    #[must_use]
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Returns the number of deliveries in flight.
    #[must_use]
    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NEVER: Option<Duration> = None;

    fn enqueue(queue: &mut MessageQueue, may_repeat: bool) -> MessageId {
        queue.enqueue(json!("x").into(), may_repeat, NEVER).unwrap()
    }

    #[test]
    fn start_next_keeps_order_and_in_flight_limit() {
        let mut queue = MessageQueue::default();
        let ids: Vec<_> = (0..3).map(|_| enqueue(&mut queue, false)).collect();
        let expected = (Some(ids[0]), Some(ids[1]), None);
        assert_eq!(
            (
                queue.start_next(2, BackendEnds::default()),
                queue.start_next(2, BackendEnds::default()),
                queue.start_next(2, BackendEnds::default())
            ),
            expected
        );
        assert!(queue.remove(ids[0]).is_some());
        assert_eq!(queue.start_next(2, BackendEnds::default()), Some(ids[2]));
        assert!(queue.remove(ids[0]).is_none(), "a message ends once");
    }

    #[test]
    fn fail_delivery_is_unknown_unless_repeat_is_allowed() {
        let mut queue = MessageQueue::default();
        let (once, often, behind) =
            (enqueue(&mut queue, false), enqueue(&mut queue, true), enqueue(&mut queue, false));
        assert_eq!(
            (queue.start_next(2, BackendEnds::default()), queue.start_next(2, BackendEnds::default())),
            (Some(once), Some(often))
        );
        let ended = queue.fail_all_deliveries(Reason::Crashed);
        assert_eq!(ended.iter().map(|queued| queued.message.id).collect::<Vec<_>>(), [once]);
        let expected = (Some(often), Some(behind));
        assert_eq!(
            (queue.start_next(2, BackendEnds::default()), queue.start_next(2, BackendEnds::default())),
            expected,
            "it goes before those behind it"
        );
    }

    #[test]
    fn extract_waiting_expired_keeps_order_of_the_rest() {
        let mut queue = MessageQueue::default();
        let deadlines = [Some(5), None, Some(3), Some(9)].map(|s| s.map(Duration::from_secs));
        let ids = deadlines.map(|deadline| queue.enqueue(json!("x").into(), false, deadline).unwrap());
        assert_eq!(queue.next_deadline(), Some(Duration::from_secs(3)));
        let left =
            queue.extract_waiting(|queued| queued.deadline.is_some_and(|at| at <= Duration::from_secs(5)));
        assert_eq!(left.iter().map(|queued| queued.message.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
        assert_eq!(
            (queue.start_next(9, BackendEnds::default()), queue.start_next(9, BackendEnds::default())),
            (Some(ids[1]), Some(ids[3]))
        );
    }

    #[test]
    fn queue_json_round_trip_drops_deadlines() {
        let mut queue = MessageQueue::default();
        enqueue(&mut queue, true);
        enqueue(&mut queue, false);
        queue.start_next(1, BackendEnds::default());
        let read: MessageQueue = serde_json::from_str(&serde_json::to_string(&queue).unwrap()).unwrap();
        assert_eq!(read, queue);
    }
}
