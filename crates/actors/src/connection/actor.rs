//! The connection actor: obeys the state machine with real sockets.
//!
//! It is an actor because it owns a socket that must not outlive a crash, and because what waits to be sent must
//! have one owner. Every dial, read and write is a task of its incarnation that comes back as a message under the
//! socket's generation; no message waits for the network.

use std::mem;

use mainstay_runtime::{Context, Failure, FinalizeContext, Worker};
use tokio::time::timeout;

use super::broadcast::Inbound;
use super::error::ConnectionError;
use super::events::{ConnectionChanged, IgnoredReason};
use super::invalidation;
use super::machine::{Machine, MachineAction, MachineEvent};
use super::message::{BackendReader, BackendWriter, ConnectionMessage};
use super::policy::ConnectionPolicy;
use super::resumption::{Gap, Observed, ResumeStart, Resumption};
use super::socket::{SocketFrame, SocketLimits, WriteError, dial};
use super::socket_tasks::{OpenSocket, WriteCommand};
use super::state::{PreviousRun, State};
use super::target::SocketTarget;
use super::view::{ConnectionView, UnreportedEvents};
use crate::cache::{CacheHandle, Invalidation};

/// What every incarnation of the connection's actor is made from.
pub struct ConnectionActor {
    /// Where to connect.
    pub target: SocketTarget,
    /// When, and how often.
    pub policy: ConnectionPolicy,
    /// Where it shows what it knows.
    pub view: ConnectionView,
    /// What the backend may say is no longer true.
    pub cache: Option<CacheHandle>,
}

/// What survives an incarnation.
#[derive(Debug, Clone)]
pub struct ConnectionSnapshot {
    resumption: Resumption,
    should_connect: bool,
}

type Ctx = Context<ConnectionMessage>;

impl Worker for ConnectionActor {
    type Message = ConnectionMessage;
    type State = State;
    type Snapshot = ConnectionSnapshot;

    async fn start(&self, ctx: &mut Ctx, kept: Option<ConnectionSnapshot>) -> Result<State, Failure> {
        let kept =
            kept.unwrap_or(ConnectionSnapshot { resumption: Resumption::default(), should_connect: true });
        let UnreportedEvents { change, unsent } = self.view.take_unreported();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
        let left = self.view.status.borrow().clone();
        let heritage = PreviousRun {
            machine: Machine::from_previous(self.policy.clone(), &left),
            resumption: kept.resumption,
            should_connect: kept.should_connect,
        };
        let mut link = State::new(heritage, &self.policy, &self.view, (ctx.wall_time(), ctx.now()));
        if link.should_connect {
            self.apply(ctx, &mut link, MachineEvent::Connect);
        }
        self.advance(ctx, &mut link);
        Ok(link)
    }

    async fn handle(
        &self,
        ctx: &mut Ctx,
        message: ConnectionMessage,
        link: &mut State,
    ) -> Result<(), Failure> {
        // Before the message: what was under way before a sleep is no proof of life after it.
        self.detect_suspend(ctx, link);
        match message {
            ConnectionMessage::Connect => {
                link.should_connect = true;
                self.apply(ctx, link, MachineEvent::Connect);
            }
            ConnectionMessage::Disconnect => {
                link.should_connect = false;
                self.apply(ctx, link, MachineEvent::Disconnect);
            }
            ConnectionMessage::BackendSeen => self.apply(ctx, link, MachineEvent::BackendSeen),
            ConnectionMessage::Send { text, wait_timeout: patience, reply } => {
                link.accept_message(text, reply, patience, ctx.now());
            }
            ConnectionMessage::SocketReady { generation, outcome } => {
                self.on_dial_finished(ctx, link, generation, *outcome).await;
            }
            ConnectionMessage::FramesReady { generation, reader, frames } => {
                self.on_frames(ctx, link, generation, reader, frames).await;
            }
            ConnectionMessage::WriterReady { generation, writer, outcome, is_message } => {
                self.on_write_finished(ctx, link, generation, writer, outcome, is_message);
            }
            // Messages are dealt with in order, so all before this one have been.
            ConnectionMessage::Barrier(reply) => reply.send(()),
            ConnectionMessage::TimerElapsed => {
                link.timer.clear_due(ctx.now());
                self.report_activity(ctx, link);
                self.apply(ctx, link, MachineEvent::Tick);
            }
        }
        self.advance(ctx, link);
        Ok(())
    }

    fn snapshot(&self, link: &State) -> Option<ConnectionSnapshot> {
        Some(ConnectionSnapshot { resumption: link.resumption.clone(), should_connect: link.should_connect })
    }

    /// Closes in order as far as that can be done at once: the peer gets a close frame, its answer is not awaited.
    async fn stop(&self, ctx: &mut Ctx, link: &mut State) {
        self.apply(ctx, link, MachineEvent::Disconnect);
        link.record_remaining(ctx);
        self.view.publish(link.machine.status());
        if let Some(writer) = link.socket.as_mut().and_then(OpenSocket::writer) {
            // A peer that takes no close frame in time loses the socket without one.
            let _ = timeout(self.policy.close_timeout, writer.close()).await;
        }
    }

    /// No incarnation follows that could tell what the last one left behind.
    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        let UnreportedEvents { change, unsent } = self.view.take_unreported();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
    }
}

impl ConnectionActor {
    /// Tells the machine what happened, and obeys.
    fn apply(&self, ctx: &mut Ctx, link: &mut State, event: MachineEvent) {
        for action in link.machine.on_event(ctx.now(), event, ctx.random_unit()) {
            match action {
                MachineAction::Changed(transition) => {
                    ctx.record(&ConnectionChanged::new(transition, ctx.now(), ctx.wall_time()));
                }
                MachineAction::Dial { generation } => self.dial(ctx, link, generation),
                MachineAction::Drop { generation } => link.drop_socket(generation),
                MachineAction::SendCloseCode { generation, code } => {
                    if let Some(socket) = link.open_socket(generation) {
                        socket.send_close_code(code);
                    }
                }
                MachineAction::CloseGracefully { generation } => {
                    link.send_command(generation, WriteCommand::Close)
                }
                MachineAction::SendPing { generation, number } => {
                    link.send_command(generation, WriteCommand::Ping(number))
                }
                MachineAction::Resume { generation } => match link.resumption.on_open() {
                    ResumeStart::Resume(text) => link.send_command(generation, WriteCommand::Text(text)),
                    ResumeStart::Gap(gap) => self.report_gap(ctx, gap),
                    ResumeStart::Fresh => {}
                },
                // Whatever can be written is written once the message has been dealt with.
                MachineAction::FlushOutbound { .. } => {}
            }
        }
    }

    /// Before the machine judges a peer by its silence, it is to know whether bytes moved.
    fn report_activity(&self, ctx: &mut Ctx, link: &mut State) {
        let moved = link.socket.as_ref().and_then(|socket| Some((socket.generation(), socket.idle_for()?)));
        if let Some((generation, still_for)) = moved {
            let at = ctx.now().saturating_sub(still_for);
            self.apply(ctx, link, MachineEvent::BytesMoved { generation, at });
        }
    }

    fn dial(&self, ctx: &mut Ctx, link: &mut State, generation: u64) {
        let target = self.target.clone();
        let limits = SocketLimits { message_max_bytes: self.policy.message_max_bytes };
        let dialling = ctx.spawn(async move {
            let outcome = Box::new(dial(&target, limits).await);
            ConnectionMessage::SocketReady { generation, outcome }
        });
        link.dial = Some((generation, dialling));
    }

    async fn on_dial_finished(
        &self,
        ctx: &mut Ctx,
        link: &mut State,
        generation: u64,
        outcome: Result<(BackendWriter, BackendReader), ConnectionError>,
    ) {
        let halves = match outcome {
            Ok(halves) => halves,
            Err(fault) => {
                return self.apply(ctx, link, MachineEvent::DialFailed { generation, error: fault });
            }
        };
        // Where one is open already it is a later one, and what came too late ends here.
        if link.socket.is_none() {
            link.socket = Some(OpenSocket::new(generation, halves, &self.policy));
            // Invalidations have no numbers: without a socket any may have been missed. What is loaded from now on is
            // covered by this one.
            self.invalidate(ctx, invalidation::from_gap()).await;
        }
        self.apply(ctx, link, MachineEvent::Opened { generation });
    }

    async fn on_frames(
        &self,
        ctx: &mut Ctx,
        link: &mut State,
        generation: u64,
        reader: Box<BackendReader>,
        frames: Vec<Result<SocketFrame, ConnectionError>>,
    ) {
        if link.open_socket(generation).is_none() {
            return;
        }
        let mut has_ended = false;
        for frame in frames {
            let event = match frame {
                Ok(SocketFrame::Pong(Some(number))) => MachineEvent::PongReceived { generation, number },
                Ok(frame) => {
                    match frame {
                        SocketFrame::Text(text) => self.on_text(ctx, link, text).await,
                        SocketFrame::Binary(bytes) => link.ignored.add(IgnoredReason::Binary, bytes, true),
                        SocketFrame::Ping | SocketFrame::Pong(_) => {}
                    }
                    MachineEvent::FrameReceived { generation }
                }
                Err(fault) => {
                    has_ended = true;
                    MachineEvent::Closed { generation, error: fault }
                }
            };
            self.apply(ctx, link, event);
        }
        if !has_ended && let Some(socket) = link.open_socket(generation) {
            socket.spawn_read(ctx, reader);
        }
    }

    /// What it invalidates is gone before a listener has the frame.
    async fn on_text(&self, ctx: &mut Ctx, link: &mut State, text: String) {
        match link.resumption.observe(&text) {
            Observed::Duplicate { .. } => {
                return link.ignored.add(IgnoredReason::SeenBefore, text.len(), true);
            }
            Observed::NewAfterGap { gap, .. } => {
                self.invalidate(ctx, invalidation::from_gap()).await;
                self.report_gap(ctx, gap);
            }
            Observed::Invalidation => self.invalidate(ctx, invalidation::from_frame(&text)).await,
            Observed::Unnumbered | Observed::New { .. } | Observed::Malformed => {}
        }
        self.view.frames.send(Inbound::Text(text.into()));
    }

    async fn invalidate(&self, ctx: &mut Ctx, mut invalidation: Invalidation) {
        let Some(cache) = &self.cache else { return };
        let entries = cache.invalidate_all(mem::take(&mut invalidation.selections)).await;
        invalidation::invalidated_event(invalidation, entries).iter().for_each(|told| ctx.record(told));
    }

    fn report_gap(&self, ctx: &Ctx, gap: Gap) {
        ctx.record(&gap);
        self.view.frames.send(Inbound::Gap(gap));
    }

    fn on_write_finished(
        &self,
        ctx: &mut Ctx,
        link: &mut State,
        generation: u64,
        writer: Box<BackendWriter>,
        outcome: Result<(), WriteError>,
        is_message: bool,
    ) {
        let Some(socket) = link.open_socket(generation) else { return };
        socket.return_writer(writer);
        if is_message {
            let settled = link.outbound.finish_in_flight(outcome.is_ok());
            link.report_finished(settled);
        }
        if let Err(WriteError::Lost(fault)) = outcome {
            self.apply(ctx, link, MachineEvent::SendFailed { generation, error: fault });
        }
    }

    /// What follows every message: overdue messages are answered, the next one is written, the view and the timer
    /// are brought up to date.
    fn advance(&self, ctx: &mut Ctx, link: &mut State) {
        link.expire(ctx.now());
        link.pump(ctx);
        link.record_counts(ctx);
        link.schedule_tick(ctx);
        self.view.publish(link.machine.status());
    }

    fn detect_suspend(&self, ctx: &mut Ctx, link: &mut State) {
        if link.was_suspended(ctx.wall_time(), ctx.now()) {
            self.apply(ctx, link, MachineEvent::SystemResumed);
        }
    }
}

#[cfg(test)]
mod tests;
