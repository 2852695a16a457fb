//! Runs the connection: carries out the state machine's actions with real sockets.
//!
//! It is an actor because a socket must not outlive a crash, and because the waiting messages need one owner. Every
//! dial, read and write is a task of its incarnation and reports by a message under the socket's generation. The
//! actor itself does not wait for the network.

use std::sync::Arc;

use mainstay_runtime::{Failure, FinalizeContext, Worker};
use tokio::time::timeout;

use super::error::ConnectionError;
use super::events::{ConnectionChanged, IgnoredReason};
use super::inbound::Inbound;
use super::invalidation::{BackendInvalidation, InvalidationSink};
use super::machine::{Machine, MachineAction, MachineEvent};
use super::message::{BackendReader, BackendWriter, ConnectionContext, ConnectionMessage};
use super::policy::ConnectionPolicy;
use super::resumption::{Gap, Observed, ResumeStart, Resumption};
use super::socket::{SocketFrame, SocketLimits, WriteError, dial};
use super::socket_tasks::{OpenSocket, WriteCommand};
use super::state::{PreviousRun, State};
use super::status::ConnectionState;
use super::target::SocketTarget;
use super::view::{ConnectionView, UnreportedEvents};
use crate::json_text::without_bom;

/// The connection's actor: its settings, and what outlives an incarnation.
pub struct ConnectionActor {
    /// The backend's address.
    pub target: SocketTarget,
    /// The settings.
    pub policy: ConnectionPolicy,
    /// The status for others.
    pub view: ConnectionView,
    /// The receiver of the backend's invalidations.
    pub invalidations: Option<Arc<dyn InvalidationSink>>,
}

/// The part of the state that survives an incarnation.
#[derive(Debug, Clone)]
pub struct ConnectionSnapshot {
    resumption: Resumption,
    should_connect: bool,
}

impl Worker for ConnectionActor {
    type Message = ConnectionMessage;
    type State = State;
    type Snapshot = ConnectionSnapshot;

    async fn start(
        &self,
        ctx: &mut ConnectionContext,
        kept: Option<ConnectionSnapshot>,
    ) -> Result<State, Failure> {
        let kept =
            kept.unwrap_or(ConnectionSnapshot { resumption: Resumption::default(), should_connect: true });
        let UnreportedEvents { change, unsent } = self.view.take_unreported();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
        let left = self.view.status.borrow().clone();
        let previous = PreviousRun {
            machine: Machine::from_previous(self.policy.clone(), &left),
            resumption: kept.resumption,
            should_connect: kept.should_connect,
        };
        let addresses = || self.target.local_addresses();
        let mut state =
            State::new(previous, &self.policy, &self.view, addresses, (ctx.wall_time(), ctx.now()));
        if state.should_connect && !self.view.is_backend_down() {
            self.apply(ctx, &mut state, MachineEvent::Connect);
        }
        self.advance(ctx, &mut state);
        Ok(state)
    }

    async fn handle(
        &self,
        ctx: &mut ConnectionContext,
        message: ConnectionMessage,
        state: &mut State,
    ) -> Result<(), Failure> {
        // Before the message: a frame from before a standstill is no sign of life after it.
        self.detect_standstill(ctx, state);
        match message {
            ConnectionMessage::Connect(reply) => {
                state.should_connect = true;
                state.await_connect(reply);
                self.apply(ctx, state, MachineEvent::Connect);
            }
            ConnectionMessage::Disconnect => {
                state.should_connect = false;
                self.apply(ctx, state, MachineEvent::Disconnect);
            }
            ConnectionMessage::BackendSeen => self.apply(ctx, state, MachineEvent::BackendSeen),
            ConnectionMessage::BackendStarted => {
                // Nothing was dialled before the first start of the backend's own process.
                let is_first =
                    state.should_connect && state.machine.status().state == ConnectionState::Disconnected;
                let event = if is_first { MachineEvent::Connect } else { MachineEvent::BackendStarted };
                self.apply(ctx, state, event);
            }
            ConnectionMessage::CredentialsChanged => {
                self.apply(ctx, state, MachineEvent::CredentialsChanged);
            }
            ConnectionMessage::Send { frame, wait_timeout, reply } => {
                state.accept_message(frame, reply, wait_timeout, ctx.now());
            }
            ConnectionMessage::SocketReady { generation, outcome } => {
                self.on_dial_finished(ctx, state, generation, *outcome).await;
            }
            ConnectionMessage::FramesReady { generation, reader, frames } => {
                self.on_frames(ctx, state, generation, reader, frames).await;
            }
            ConnectionMessage::WriterReady { generation, writer, outcome, is_message } => {
                self.on_write_finished(ctx, state, generation, writer, outcome, is_message);
            }
            // Messages are handled in order, so all earlier ones are done.
            ConnectionMessage::Barrier(reply) => reply.send(()),
            ConnectionMessage::TimerElapsed => {
                state.timer.clear_due(ctx.now());
                self.report_activity(ctx, state);
                self.detect_network(ctx, state);
                self.apply(ctx, state, MachineEvent::Tick);
            }
        }
        self.advance(ctx, state);
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Option<ConnectionSnapshot> {
        Some(ConnectionSnapshot {
            resumption: state.resumption.clone(),
            should_connect: state.should_connect,
        })
    }

    /// Sends a close frame if that is possible at once; does not wait for the peer's answer.
    async fn stop(&self, ctx: &mut ConnectionContext, state: &mut State) {
        self.apply(ctx, state, MachineEvent::Disconnect);
        state.record_remaining(ctx);
        self.view.publish(state.machine.status());
        if let Some(writer) = state.socket.as_mut().and_then(OpenSocket::writer) {
            // A peer that does not take the close frame in time loses the socket without one.
            let _ = timeout(self.policy.close_timeout, writer.close()).await;
        }
    }

    /// Records what the last incarnation left, since no other one follows.
    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        let UnreportedEvents { change, unsent } = self.view.take_unreported();
        change.iter().for_each(|change| ctx.record(change));
        unsent.iter().for_each(|unsent| ctx.record(unsent));
    }
}

impl ConnectionActor {
    /// Passes an event to the machine and carries out its actions.
    fn apply(&self, ctx: &mut ConnectionContext, state: &mut State, event: MachineEvent) {
        for action in state.machine.on_event(ctx.now(), event, ctx.random_unit()) {
            match action {
                MachineAction::Changed(transition) => {
                    ctx.record(&ConnectionChanged::new(transition, ctx.now(), ctx.wall_time()));
                }
                MachineAction::Dial { generation } => self.dial(ctx, state, generation),
                MachineAction::Drop { generation } => state.drop_socket(generation),
                MachineAction::SendCloseCode { generation, code } => {
                    if let Some(socket) = state.open_socket(generation) {
                        socket.send_close_code(code);
                    }
                }
                MachineAction::CloseGracefully { generation } => {
                    state.send_command(generation, WriteCommand::Close)
                }
                MachineAction::SendPing { generation, number } => {
                    state.send_command(generation, WriteCommand::Ping(number))
                }
                MachineAction::Resume { generation } => match state.resumption.on_open() {
                    ResumeStart::Resume(text) => {
                        state.send_command(generation, WriteCommand::Frame(text.into()))
                    }
                    ResumeStart::Gap(gap) => self.report_gap(ctx, gap),
                    ResumeStart::Fresh => {}
                },
                // `advance` writes what can be written after each message.
                MachineAction::FlushOutbound { .. } => {}
            }
        }
    }

    /// Reports moved bytes to the machine, before it judges a silent peer.
    fn report_activity(&self, ctx: &mut ConnectionContext, state: &mut State) {
        let moved = state.socket.as_ref().and_then(|socket| Some((socket.generation(), socket.idle_for()?)));
        if let Some((generation, idle_for)) = moved {
            let at = ctx.now().saturating_sub(idle_for);
            self.apply(ctx, state, MachineEvent::BytesMoved { generation, at });
        }
    }

    fn dial(&self, ctx: &mut ConnectionContext, state: &mut State, generation: u64) {
        let target = self.target.clone();
        let limits = SocketLimits { message_max_bytes: self.policy.message_max_bytes };
        let dialling = ctx.spawn(async move {
            let outcome = match target.at_present() {
                Ok(target) => dial(&target, limits).await,
                Err(error) => Err(error),
            };
            let outcome = Box::new(outcome);
            ConnectionMessage::SocketReady { generation, outcome }
        });
        state.dial = Some((generation, dialling));
    }

    async fn on_dial_finished(
        &self,
        ctx: &mut ConnectionContext,
        state: &mut State,
        generation: u64,
        outcome: Result<(BackendWriter, BackendReader), ConnectionError>,
    ) {
        let halves = match outcome {
            Ok(halves) => halves,
            Err(error) => {
                return self.apply(ctx, state, MachineEvent::DialFailed { generation, error });
            }
        };
        // A socket that is open already has a later generation; the late one ends here.
        if state.socket.is_none() {
            state.socket = Some(OpenSocket::new(generation, halves, &self.policy));
            // Invalidations have no numbers: any may have been missed without a socket. What is loaded from now on is
            // covered by this socket.
            self.invalidate(ctx, BackendInvalidation::Gap).await;
        }
        self.apply(ctx, state, MachineEvent::Opened { generation });
    }

    async fn on_frames(
        &self,
        ctx: &mut ConnectionContext,
        state: &mut State,
        generation: u64,
        reader: Box<BackendReader>,
        frames: Vec<Result<SocketFrame, ConnectionError>>,
    ) {
        if state.open_socket(generation).is_none() {
            return;
        }
        let mut has_ended = false;
        for frame in frames {
            let event = match frame {
                Ok(SocketFrame::Pong(Some(number))) => MachineEvent::PongReceived { generation, number },
                Ok(frame) => {
                    match frame {
                        SocketFrame::Text(text) => self.on_text(ctx, state, text).await,
                        SocketFrame::Binary(bytes) => self.view.frames.send(Inbound::Binary(bytes)),
                        SocketFrame::Ping | SocketFrame::Pong(_) => {}
                    }
                    MachineEvent::FrameReceived { generation }
                }
                Err(error) => {
                    has_ended = true;
                    MachineEvent::Closed { generation, error }
                }
            };
            self.apply(ctx, state, event);
        }
        if !has_ended && let Some(socket) = state.open_socket(generation) {
            socket.spawn_read(ctx, reader);
        }
    }

    /// Handles a text frame. An invalidation takes effect before a subscriber gets the frame.
    async fn on_text(&self, ctx: &mut ConnectionContext, state: &mut State, mut text: String) {
        let mark = text.len() - without_bom(text.as_bytes()).len();
        text.drain(..mark);
        match state.resumption.observe(&text) {
            Observed::Duplicate { .. } => {
                return state.ignored.add(IgnoredReason::SeenBefore, text.len(), true);
            }
            Observed::NewAfterGap { gap, .. } => {
                self.invalidate(ctx, BackendInvalidation::Gap).await;
                self.report_gap(ctx, gap);
            }
            Observed::Invalidation => self.invalidate(ctx, BackendInvalidation::from_frame(&text)).await,
            Observed::Unnumbered | Observed::New { .. } | Observed::Malformed => {}
        }
        self.view.frames.send(Inbound::Text(text.into()));
    }

    async fn invalidate(&self, ctx: &mut ConnectionContext, invalidation: BackendInvalidation) {
        if let Some(sink) = &self.invalidations {
            sink.invalidate(ctx, invalidation).await;
        }
    }

    fn report_gap(&self, ctx: &ConnectionContext, gap: Gap) {
        ctx.record(&gap);
        self.view.frames.send(Inbound::Gap(gap));
    }

    fn on_write_finished(
        &self,
        ctx: &mut ConnectionContext,
        state: &mut State,
        generation: u64,
        writer: Box<BackendWriter>,
        outcome: Result<(), WriteError>,
        is_message: bool,
    ) {
        let Some(socket) = state.open_socket(generation) else { return };
        socket.return_writer(writer);
        if is_message {
            let finished = state.outbound.finish_in_flight(outcome.is_ok());
            state.report_finished(finished);
        }
        if let Err(WriteError::Lost(error)) = outcome {
            self.apply(ctx, state, MachineEvent::SendFailed { generation, error });
        }
    }

    /// Ends expired messages, writes the next one, and updates view and timer. Runs after every message.
    fn advance(&self, ctx: &mut ConnectionContext, state: &mut State) {
        state.expire(ctx.now());
        state.pump(ctx);
        state.record_counts(ctx);
        state.schedule_tick(ctx);
        self.view.publish(state.machine.status());
        // The caller then finds the outcome in the view.
        state.answer_connects();
    }

    fn detect_network(&self, ctx: &mut ConnectionContext, state: &mut State) {
        if state.machine.waits() && state.network.has_new_address(self.target.local_addresses()) {
            self.apply(ctx, state, MachineEvent::NetworkChanged);
        }
    }

    fn detect_standstill(&self, ctx: &mut ConnectionContext, state: &mut State) {
        if state.stood_still(ctx.wall_time(), ctx.now()) {
            self.apply(ctx, state, MachineEvent::SystemResumed);
        }
    }
}

#[cfg(test)]
mod tests;
