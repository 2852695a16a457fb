//! The state of one incarnation of the connection's actor: the machine, its sockets, and the waiting messages.

use std::time::Duration;

use jiff::Timestamp;
use mainstay_runtime::{Reply, TaskHandle, Timer};
use tokio::time::Instant;

use super::event_counter::RateLimitedCounter;
use super::events::{ConnectionIgnored, ConnectionUnsent, IgnoredReason};
use super::frame::Frame;
use super::liveness::LATE_THRESHOLD;
use super::machine::Machine;
use super::message::{ConnectOutcome, ConnectionContext, ConnectionMessage};
use super::network_watch::{LocalAddresses, NetworkWatch};
use super::outbound::{FinishedSend, OutboundBuffer, OutboundLimits, SendFailure, SendOutcome};
use super::policy::ConnectionPolicy;
use super::resumption::Resumption;
use super::socket_tasks::{OpenSocket, WriteCommand};
use super::status::{ConnectionState, ConnectionStatus};
use super::view::ConnectionView;
use crate::standstill::{CLOCK_CHECK_INTERVAL, StandstillDetector};

/// The most callers who wait for the outcome of a dial.
const CONNECTS_MAX: usize = 1024;

/// The state of one incarnation.
pub struct State {
    pub(super) machine: Machine,
    pub(super) resumption: Resumption,
    pub(super) outbound: OutboundBuffer<Frame, Reply<SendOutcome>>,
    /// The callers who wait for the outcome of a dial, and whether it replaces a socket.
    connects: Vec<(Reply<ConnectOutcome>, bool)>,
    pub(super) network: NetworkWatch,
    pub(super) should_connect: bool,
    /// The dial in flight, with its generation.
    pub(super) dial: Option<(u64, TaskHandle)>,
    pub(super) socket: Option<OpenSocket>,
    pub(super) timer: Timer,
    standstill_detector: StandstillDetector,
    unsent: RateLimitedCounter<SendFailure>,
    pub(super) ignored: RateLimitedCounter<IgnoredReason>,
    policy: ConnectionPolicy,
    view: ConnectionView,
    /// An instant and the runtime's time then: `drop` has no context to ask.
    started_at: (Instant, Duration),
}

/// The state left by the previous incarnation.
pub(super) struct PreviousRun {
    pub(super) machine: Machine,
    pub(super) resumption: Resumption,
    pub(super) should_connect: bool,
}

impl State {
    pub(super) fn new(
        previous: PreviousRun,
        policy: &ConnectionPolicy,
        view: &ConnectionView,
        local_addresses: impl FnOnce() -> LocalAddresses,
        (wall, now): (Timestamp, Duration),
    ) -> Self {
        let PreviousRun { machine, resumption, should_connect } = previous;
        Self {
            machine,
            resumption,
            outbound: OutboundBuffer::new(OutboundLimits {
                entries_max: policy.outbound_max,
                bytes_max: policy.outbound_bytes_max,
            }),
            connects: Vec::new(),
            network: NetworkWatch::new(local_addresses()),
            should_connect,
            dial: None,
            socket: None,
            timer: Timer::default(),
            standstill_detector: StandstillDetector::new(wall, now),
            unsent: RateLimitedCounter::new(),
            ignored: RateLimitedCounter::new(),
            policy: policy.clone(),
            view: view.clone(),
            started_at: (Instant::now(), now),
        }
    }

    /// Returns whether this process or the machine stood still since the last call. If monotonic time ran on meanwhile,
    /// an overdue timer shows it; the next timer is set after the current message.
    pub(super) fn stood_still(&mut self, wall: Timestamp, now: Duration) -> bool {
        let is_overdue = self.timer.due().is_some_and(|due| now.saturating_sub(due) > LATE_THRESHOLD);
        if is_overdue {
            self.timer.cancel();
        }
        self.standstill_detector.slept_for(wall, now).is_some() || is_overdue
    }

    // === the socket ===

    /// Returns the socket of this generation, if it is open.
    pub(super) fn open_socket(&mut self, generation: u64) -> Option<&mut OpenSocket> {
        self.socket.as_mut().filter(|open| open.generation() == generation)
    }

    pub(super) fn drop_socket(&mut self, generation: u64) {
        if let Some((_, dial)) = self.dial.take_if(|(dialled, _)| *dialled == generation) {
            dial.abort();
        }
        if let Some(socket) = self.socket.take_if(|open| open.generation() == generation) {
            // A message whose writer is dropped may or may not have arrived.
            if socket.is_writing() {
                let interrupted = self.outbound.finish_in_flight(false);
                self.report_finished(interrupted);
            }
            socket.abort();
        }
    }

    pub(super) fn send_command(&mut self, generation: u64, command: WriteCommand) {
        if let Some(socket) = self.open_socket(generation) {
            socket.push_command(command);
        }
    }

    /// Writes the next command, or a message if the machine accepted the socket; and starts to read once that may
    /// begin.
    pub(super) fn pump(&mut self, ctx: &mut ConnectionContext) {
        let Some(socket) = &mut self.socket else { return };
        socket.begin_reading(ctx);
        let is_believed = self.machine.open_generation() == Some(socket.generation());
        let (outbound, now) = (&mut self.outbound, ctx.now());
        socket.write_next(ctx, || if is_believed { outbound.take(now) } else { None });
    }

    // === commands ===

    /// Keeps a caller who waits for the outcome of a dial. Beyond 1,024 of them the oldest goes without.
    pub(super) fn await_connect(&mut self, reply: Reply<ConnectOutcome>) {
        self.connects.retain(|(reply, _)| !reply.is_closed());
        if self.connects.len() >= CONNECTS_MAX {
            self.connects.remove(0);
        }
        let is_replaced = self.machine.open_generation().is_some();
        self.connects.push((reply, is_replaced));
    }

    /// Answers those who wait for the outcome of a dial, once there is one.
    pub(super) fn answer_connects(&mut self) {
        if self.connects.is_empty() || self.machine.is_dialling() {
            return;
        }
        let ConnectionStatus { state, last_error, .. } = self.machine.status();
        for (reply, is_replaced) in self.connects.drain(..) {
            reply.send(match (state, &last_error) {
                (ConnectionState::Connected, _) => ConnectOutcome::Connected { is_replaced },
                (ConnectionState::Disabled, _) => ConnectOutcome::Disabled,
                (ConnectionState::Disconnected, _) | (_, None) => ConnectOutcome::Disconnected,
                (_, Some(error)) => ConnectOutcome::Failed(error.clone()),
            });
        }
    }

    // === messages ===

    /// Buffers a message, or answers it at once.
    pub(super) fn accept_message(
        &mut self,
        frame: Frame,
        reply: Reply<SendOutcome>,
        wait_timeout: Duration,
        now: Duration,
    ) {
        self.expire(now);
        let bytes = frame.size_bytes();
        if !self.policy.enabled {
            return self.report_finished([FinishedSend {
                ticket: reply,
                outcome: SendOutcome::Failed(SendFailure::Disabled),
                bytes,
            }]);
        }
        if bytes > self.policy.message_max_bytes {
            return self.report_finished([FinishedSend {
                ticket: reply,
                outcome: SendOutcome::Failed(SendFailure::TooLarge),
                bytes,
            }]);
        }
        let refused = self.outbound.push(frame, reply, now.saturating_add(wait_timeout), now).err();
        self.report_finished(refused);
    }

    pub(super) fn expire(&mut self, now: Duration) {
        let overdue = self.outbound.expire(now);
        self.report_finished(overdue);
    }

    /// Answers the senders of ended messages, and counts those that were not sent.
    pub(super) fn report_finished(
        &mut self,
        ended: impl IntoIterator<Item = FinishedSend<Reply<SendOutcome>>>,
    ) {
        for message in ended {
            self.count_unsent(&message);
            message.ticket.send(message.outcome);
        }
    }

    fn count_unsent(&mut self, message: &FinishedSend<Reply<SendOutcome>>) {
        if let SendOutcome::Failed(failure) = message.outcome {
            self.unsent.add(failure, message.bytes, !message.ticket.is_closed());
        }
    }

    /// Records unsent messages and ignored frames, if that is due.
    pub(super) fn record_counts(&mut self, ctx: &ConnectionContext) {
        let now = ctx.now();
        for (outcome, sum) in self.unsent.take_due(now) {
            ctx.record(&ConnectionUnsent::new(outcome, sum, &self.policy));
        }
        for (reason, sum) in self.ignored.take_due(now) {
            ctx.record(&ConnectionIgnored::new(reason, sum));
        }
    }

    /// Records all unsent messages and ignored frames, and accepts no more messages.
    pub(super) fn record_remaining(&mut self, ctx: &ConnectionContext) {
        let left = self.outbound.shut_down();
        self.report_finished(left);
        let now = ctx.now();
        for (outcome, sum) in self.unsent.take_all(now) {
            ctx.record(&ConnectionUnsent::new(outcome, sum, &self.policy));
        }
        for (reason, sum) in self.ignored.take_all(now) {
            ctx.record(&ConnectionIgnored::new(reason, sum));
        }
    }

    // === time ===

    pub(super) fn schedule_tick(&mut self, ctx: &mut ConnectionContext) {
        match self.next_due(ctx.now()) {
            Some(due) => self.timer.wake_by(ctx, due, ConnectionMessage::TimerElapsed),
            None => self.timer.cancel(),
        }
    }

    fn next_due(&self, now: Duration) -> Option<Duration> {
        // While a socket is open, being dialled or waited for, a standstill and another network are to be noticed.
        let check = now.saturating_add(CLOCK_CHECK_INTERVAL);
        let machine = match self.machine.next_wake() {
            Some(at) => Some(at.min(check)),
            None => self.machine.waits().then_some(check),
        };
        let others = [self.outbound.next_expiry(), self.unsent.next_due(), self.ignored.next_due()];
        machine.into_iter().chain(others.into_iter().flatten()).min()
    }
}

/// Updates the view however the incarnation ends, and leaves its unsent messages for the next one to record. Runs
/// before the fields are dropped, so that an observer of the end finds an updated view.
impl Drop for State {
    fn drop(&mut self) {
        let (instant, then) = self.started_at;
        let now = then.saturating_add(instant.elapsed());
        let whole_millis = Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        // Dropping their replies tells their senders how the actor ended.
        let left = self.outbound.shut_down();
        for message in &left {
            self.count_unsent(message);
        }
        let unsent = self.unsent.take_all(whole_millis).into_iter();
        let unsent = unsent.map(|(outcome, sum)| ConnectionUnsent::new(outcome, sum, &self.policy)).collect();
        self.view.on_actor_exit(whole_millis, unsent);
    }
}
