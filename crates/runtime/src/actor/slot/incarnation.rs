//! Runs one incarnation of an actor: a ractor actor that works on a slot.
//!
//! Its ractor mailbox carries wake-ups alone; the messages lie in the slot. One wake-up handles a bounded batch and
//! then yields to ractor, so that stop, kill and supervision events are seen. On every exit, the state is torn down
//! and the exit record lies in the slot before the supervisor sees the exit.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use thiserror::Error;
use tokio::time::Instant;

use crate::actor::behaviour::{ActorFlow, Behaviour};
use crate::actor::context::{Context, SpawnArgs};
use crate::actor::failure::{Declined, Failure, ShutdownExit, UnrecoverableFailure};
use crate::actor::slot::Slot;
use crate::actor::slot::exit_record::{ExitRecord, InterruptedMessage};
use crate::events::{AbandonedEnded, DeadLetter, DeadLetterReason, Redelivered};
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;
use crate::messaging::envelope::{Envelope, RedeliveryState};
use crate::messaging::label::Label;
use crate::messaging::mailbox::{ReadOutcome, TaskResult};
use crate::messaging::message::Message;
use crate::messaging::panics::{self, Panic};
use crate::messaging::wake::Wake;
use crate::policy::{Exit, ExitCause};
use crate::state::Snapshotter;

/// Messages handled before the incarnation yields to ractor.
const BATCH_MESSAGES_MAX: usize = 64;

/// The error that ends the ractor actor; the exit record in the slot says why.
#[derive(Debug, Error)]
#[error("the incarnation ended: {0:?}")]
struct IncarnationEnded(ExitCause);

/// The ractor actor. All its data is in [`IncarnationState`].
pub(crate) struct Incarnation<B: Behaviour>(PhantomData<fn() -> B>);

impl<B: Behaviour> Incarnation<B> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// The state of one incarnation. Dropping it tears the incarnation down.
pub(crate) struct IncarnationState<B: Behaviour> {
    slot: Arc<Slot<B>>,
    ctx: Context<B::Message>,
    state: Option<B::State>,
    snapshot: Option<B::Snapshot>,
    ready_since: Option<Duration>,
    /// The message from outside that is being handled. Results of its own tasks are not tracked: they have no caller.
    in_flight: Option<InFlightMessage<B::Message>>,
    progressed: bool,
    phase: IncarnationPhase,
}

/// The phases of an incarnation. It passes each once, and may end before it has begun to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IncarnationPhase {
    Starting,
    /// Reads from the mailbox.
    Attached,
    Ended,
}

/// The reason for which an incarnation ends.
struct IncarnationEnd {
    cause: ExitCause,
    panic: Option<Panic>,
    declined: bool,
    /// The next step for a person, after an unrecoverable failure.
    next_step: Option<String>,
}

impl IncarnationEnd {
    fn new(cause: ExitCause, message: Option<&str>) -> Self {
        let panic =
            message.map(|message| Panic { message: message.to_owned(), location: None, backtrace: None });
        Self { cause, panic, declined: false, next_step: None }
    }
}

/// A message from outside, from the moment it leaves the mailbox to the end of its handler.
struct InFlightMessage<M> {
    /// The copy for redelivery if the handler does not finish.
    redelivery_copy: Option<M>,
    expires_at: Option<Instant>,
    redelivery: RedeliveryState,
}

/// The error of a step: a failure or a panic.
enum HandlerError {
    Failure(Failure),
    Panic(Panic),
}

impl From<Failure> for HandlerError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Panic> for HandlerError {
    fn from(panic: Panic) -> Self {
        Self::Panic(panic)
    }
}

impl<B: Behaviour> IncarnationState<B> {
    async fn start(&mut self) -> Result<ActorFlow, HandlerError> {
        self.slot.load_stored_state(&self.ctx).await;
        let kept = self.slot.checkpoint().as_deref().cloned();
        self.ctx.start_info.from_checkpoint = kept.is_some();
        self.snapshot.clone_from(&kept);
        self.state = Some(self.slot.behaviour.start(&mut self.ctx, kept).await?);
        if let Some(snapshotter) = self.snapshotter() {
            snapshotter.reset_failed_starts();
        }
        if self.ctx.stop_requested { self.stop().await } else { Ok(ActorFlow::Continue) }
    }

    /// Handles a batch of messages.
    async fn process_batch(&mut self) -> Result<ActorFlow, HandlerError> {
        for _ in 0..BATCH_MESSAGES_MAX {
            let flow = match self.slot.mailbox.pop(self.ctx.generation) {
                ReadOutcome::Empty | ReadOutcome::Stop => return Ok(ActorFlow::Continue),
                ReadOutcome::TaskResult(TaskResult::Panic(panic)) => return Err(HandlerError::Panic(*panic)),
                ReadOutcome::TaskResult(TaskResult::Message(message)) => self.handle(message).await?,
                ReadOutcome::Message(envelope) if has_expired(&envelope) => self.expire(envelope),
                ReadOutcome::Message(envelope) => {
                    let message = self.unwrap_envelope(envelope);
                    let flow = self.handle(message).await?;
                    drop(self.in_flight.take());
                    flow
                }
                #[cfg(debug_assertions)]
                #[allow(clippy::panic, reason = "a test asked for it")]
                ReadOutcome::InjectedPanic(_caller) => {
                    let redelivery = RedeliveryState { crashes: 0, crashes_max: 1 };
                    self.in_flight =
                        Some(InFlightMessage { redelivery_copy: None, expires_at: None, redelivery });
                    panic!("injected panic")
                }
            };
            if flow == ActorFlow::Stop {
                return Ok(ActorFlow::Stop);
            }
            if self.ctx.stop_requested {
                return self.stop().await;
            }
        }
        self.slot.mailbox.reschedule(self.ctx.generation);
        Ok(ActorFlow::Continue)
    }

    /// Takes a message out of its envelope. From here on it is accounted for, even if its own methods panic.
    fn unwrap_envelope(&mut self, envelope: Envelope<B::Message>) -> B::Message {
        let label = envelope.redelivery.map(|_| envelope.label());
        let Envelope { mut message, expires_at, redelivery: returned } = envelope;
        let redelivery = returned.unwrap_or(RedeliveryState { crashes: 0, crashes_max: 1 });
        let in_flight =
            self.in_flight.insert(InFlightMessage { redelivery_copy: None, expires_at, redelivery });
        if let Some(copy) = message.redelivery_clone() {
            in_flight.redelivery.crashes_max = message.delivery_crashes_max().max(1);
            in_flight.redelivery_copy = Some(copy);
        }
        if let (Some(label), Some(RedeliveryState { crashes, crashes_max })) = (label, returned) {
            self.ctx.record(&Redelivered { label: label.to_string(), crashes, crashes_max });
        }
        message
    }

    async fn handle(&mut self, message: B::Message) -> Result<ActorFlow, HandlerError> {
        let Some(state) = &mut self.state else { return Ok(ActorFlow::Continue) };
        let Slot { mailbox, behaviour, .. } = &*self.slot;
        let reason = || if mailbox.is_stopping() { CallError::Stopped } else { CallError::Crashed };
        let ctx = &mut self.ctx;
        let handled = async {
            let flow = behaviour.handle(ctx, message, state).await?;
            Ok::<_, HandlerError>((flow, behaviour.snapshot(state)))
        };
        let (flow, snapshot) = drop_reason::with_drop_reason(reason, panics::handler_future(handled)).await?;
        self.progressed = true;
        self.store_snapshot(snapshot);
        Ok(flow)
    }

    fn store_snapshot(&mut self, snapshot: Option<B::Snapshot>) {
        let Some(snapshot) = snapshot else { return };
        if let Some(snapshotter) = self.snapshotter() {
            snapshotter.save(&snapshot);
        }
        self.snapshot = Some(snapshot);
    }

    /// Returns the store for durable snapshots, unless this incarnation was abandoned.
    fn snapshotter(&self) -> Option<&Snapshotter<B::Snapshot>> {
        let snapshotter = self.slot.snapshotter.as_deref()?;
        self.slot.current_incarnation.is_current(self.ctx.generation).then_some(snapshotter)
    }

    fn expire(&self, envelope: Envelope<B::Message>) -> ActorFlow {
        self.ctx.record(&DeadLetter::new(DeadLetterReason::Expired, &envelope.label()));
        drop_reason::drop_with(CallError::Expired, envelope);
        ActorFlow::Continue
    }

    async fn stop(&mut self) -> Result<ActorFlow, HandlerError> {
        self.slot.mailbox.finish_reading(self.ctx.generation);
        let Some(state) = &mut self.state else { return Ok(ActorFlow::Stop) };
        let flow = self.slot.behaviour.stop(&mut self.ctx, state).await?;
        let snapshot = self.slot.behaviour.snapshot(state);
        self.store_snapshot(snapshot);
        Ok(flow)
    }

    async fn child_changed(&mut self, event: SupervisionEvent) -> Result<ActorFlow, HandlerError> {
        let Some(state) = &mut self.state else { return Ok(ActorFlow::Continue) };
        Ok(self.slot.behaviour.child_changed(&mut self.ctx, event, state).await?)
    }

    /// Attaches to the mailbox once there is a state, and notes the time of readiness.
    fn update_readiness(&mut self, myself: &ActorRef<Wake>) {
        if self.ctx.is_ready && self.ready_since.is_none() {
            self.ready_since = Some(self.ctx.now());
        }
        if self.phase == IncarnationPhase::Starting {
            self.phase = IncarnationPhase::Attached;
            self.slot.mailbox.attach(self.ctx.generation, myself.clone());
        }
    }

    fn end_with_error(&mut self, error: HandlerError) -> ExitCause {
        let mut end = match error {
            HandlerError::Failure(failure) => {
                let declined = failure.is::<Declined>() && !self.ctx.is_ready;
                let cause = if declined {
                    ExitCause::Normal
                } else if failure.is::<ShutdownExit>() {
                    ExitCause::Shutdown
                } else {
                    ExitCause::Error
                };
                let message = panics::error_text(failure.as_ref());
                let unrecoverable = failure.downcast_ref::<UnrecoverableFailure>();
                let next_step = unrecoverable.map(|failure| failure.next_step().to_owned());
                panics::drop_quietly(CallError::Crashed, failure);
                IncarnationEnd { declined, next_step, ..IncarnationEnd::new(cause, Some(&message)) }
            }
            HandlerError::Panic(panic) => {
                IncarnationEnd { panic: Some(panic), ..IncarnationEnd::new(ExitCause::Panic, None) }
            }
        };
        if !self.ctx.is_ready && !end.declined {
            end.cause = ExitCause::StartFailed;
        }
        let cause = end.cause;
        self.end(end);
        cause
    }

    /// Tears the incarnation down, once, and leaves its exit record in the slot.
    fn end(&mut self, end: IncarnationEnd) {
        if std::mem::replace(&mut self.phase, IncarnationPhase::Ended) == IncarnationPhase::Ended {
            return;
        }
        let IncarnationEnd { cause, panic, declined, next_step } = end;
        let in_order = cause == ExitCause::Normal || self.slot.mailbox.is_stopping();
        let reason = if in_order { CallError::Stopped } else { CallError::Crashed };
        // The one that detaches records the message in flight: this incarnation, or the supervisor that abandoned it.
        let detached = self.slot.mailbox.detach(self.ctx.generation);
        let in_flight = self.in_flight.take().filter(|_| detached.is_some());
        // The abort starts now; the supervisor waits until the tasks have ended.
        let tasks = self.ctx.abort_tasks(reason);
        if let (ExitCause::StartFailed, Some(snapshotter)) = (cause, self.snapshotter()) {
            snapshotter.count_failed_start();
        }
        let exit = Exit {
            cause,
            ready_since: self.ready_since,
            from_checkpoint: self.ctx.start_info.from_checkpoint,
            progressed: self.progressed,
            on_suspect: in_flight.as_ref().is_some_and(|in_flight| in_flight.redelivery.crashes > 0),
            abandoned: false,
            unrecoverable: next_step.is_some(),
        };
        let label = detached.as_ref().and_then(|detached| detached.in_flight);
        let label = label.unwrap_or_else(Label::of_type::<B::Message>);
        let in_flight = in_flight.map(|in_flight| self.requeue(in_flight, label, exit.cause, reason));
        let drop_panic =
            self.tear_down(reason, detached.map(|detached| detached.unhandled).unwrap_or_default());
        let (message, location, backtrace) = match panic.or(drop_panic) {
            // The tree and the caller of a start show the message without the journal in between, so it is redacted
            // here.
            Some(Panic { message, location, backtrace }) => {
                (Some(panics::recorded_text(&self.ctx.env.journal, &message)), location, backtrace)
            }
            None => (None, None, None),
        };
        let next_step = next_step.map(|text| panics::recorded_text(&self.ctx.env.journal, &text));
        let record = ExitRecord { exit, message, next_step, location, backtrace, declined, in_flight, tasks };
        if !self.slot.report_exit(self.ctx.generation, record) {
            self.slot.identity.state().abandoned -= 1;
            // It was abandoned at the last moment, so the supervisor does not record this message.
            if let Some(InterruptedMessage { label, dead_letter_reason: Some(reason) }) = in_flight {
                self.ctx.record(&DeadLetter::new(reason, &label));
            }
            self.ctx.record(&AbandonedEnded {});
        }
    }

    /// Drops the parts of the incarnation, each by itself, and returns the first panic of a destructor.
    fn tear_down(&mut self, reason: CallError, unhandled: VecDeque<TaskResult<B::Message>>) -> Option<Panic> {
        let mut panics = vec![panics::drop_catching(reason, self.state.take())];
        let mut outdated = self.snapshot.take().map(Box::new);
        // An abandoned incarnation must not change the checkpoint of its successors.
        if outdated.is_some() && self.slot.current_incarnation.is_current(self.ctx.generation) {
            std::mem::swap(&mut outdated, &mut *self.slot.checkpoint());
        }
        panics.push(panics::drop_catching(reason, outdated));
        panics.extend(unhandled.into_iter().map(|own| panics::drop_catching(reason, own)));
        panics.into_iter().flatten().next()
    }

    /// Returns a message whose handler did not finish to the mailbox, if it may be redelivered.
    fn requeue(
        &self,
        in_flight: InFlightMessage<B::Message>,
        label: Label,
        cause: ExitCause,
        reason: CallError,
    ) -> InterruptedMessage {
        let InFlightMessage { redelivery_copy: copy, expires_at, redelivery } = in_flight;
        let requested = cause == ExitCause::Killed && reason == CallError::Stopped;
        let reason = match copy {
            None if requested => Some(DeadLetterReason::Stopped),
            None => Some(DeadLetterReason::Crashed),
            Some(message) => {
                let envelope = Envelope { message, expires_at, redelivery: Some(redelivery) };
                let refused = self.slot.mailbox.push_front(envelope).err();
                refused.map(|envelope| {
                    panics::drop_quietly(CallError::Stopped, envelope);
                    DeadLetterReason::Stopped
                })
            }
        };
        InterruptedMessage { label, dead_letter_reason: reason }
    }
}

fn has_expired<M>(envelope: &Envelope<M>) -> bool {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
    let now = Instant::now;
    envelope.expires_at.is_some_and(|deadline| now() >= deadline)
}

impl<B: Behaviour> Drop for IncarnationState<B> {
    /// Records a kill, unless the incarnation has ended otherwise.
    fn drop(&mut self) {
        let cause = self.slot.current_incarnation.kill_cause(self.ctx.generation);
        let message = match (cause, self.ctx.stop_by) {
            (ExitCause::Stuck, _) => Some("it made no progress within its limit"),
            (ExitCause::Killed, Some(by)) if self.ctx.env.left_until(by).is_zero() => {
                Some("it was asked to stop, and did not in time")
            }
            (ExitCause::Killed, Some(_)) => Some("it was killed while it stopped, before its time was over"),
            _ => None,
        };
        self.end(IncarnationEnd::new(cause, message));
    }
}

/// Converts the outcome of a step into ractor's result.
fn into_ractor_result<B: Behaviour>(
    myself: &ActorRef<Wake>,
    state: &mut IncarnationState<B>,
    outcome: Result<Result<ActorFlow, HandlerError>, Panic>,
) -> Result<(), ActorProcessingErr> {
    match outcome {
        Ok(Ok(ActorFlow::Continue)) => state.update_readiness(myself),
        Ok(Ok(ActorFlow::Stop)) => {
            let killed = state.ctx.killed.take();
            let cause = if killed.is_some() { ExitCause::Killed } else { ExitCause::Normal };
            state.end(IncarnationEnd::new(cause, killed.as_deref()));
            myself.stop(None);
        }
        Ok(Err(error)) => return Err(Box::new(IncarnationEnded(state.end_with_error(error)))),
        Err(panic) => {
            return Err(Box::new(IncarnationEnded(state.end_with_error(HandlerError::Panic(panic)))));
        }
    }
    Ok(())
}

impl<B: Behaviour> Actor for Incarnation<B> {
    type Msg = Wake;
    type State = IncarnationState<B>;
    type Arguments = (Arc<Slot<B>>, SpawnArgs);

    /// Does nothing that takes time, because the supervisor awaits it.
    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        (slot, args): Self::Arguments,
    ) -> Result<IncarnationState<B>, ActorProcessingErr> {
        let (identity, mailbox) = (Arc::clone(&slot.identity), Arc::clone(&slot.mailbox));
        mailbox.set_owner(args.generation);
        let ctx = Context::new(args, identity, mailbox, myself.get_cell());
        Ok(IncarnationState {
            slot,
            ctx,
            state: None,
            snapshot: None,
            ready_since: None,
            in_flight: None,
            progressed: false,
            phase: IncarnationPhase::Starting,
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Wake>,
        state: &mut IncarnationState<B>,
    ) -> Result<(), ActorProcessingErr> {
        // The start runs once, and its future need not stay in the actor's task.
        let outcome = panics::catch_future(Box::pin(state.start())).await;
        into_ractor_result(&myself, state, outcome)
    }

    /// Returns a boxed future: ractor reserves room for the future several times in each actor.
    fn handle(
        &self,
        myself: ActorRef<Wake>,
        wake: Wake,
        state: &mut IncarnationState<B>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async move {
            let outcome = match wake {
                Wake::Message => panics::catch_future(state.process_batch()).await,
                Wake::Stop { by } => {
                    state.ctx.stop_by = by;
                    panics::catch_future(state.stop()).await
                }
            };
            into_ractor_result(&myself, state, outcome)
        })
    }

    /// Returns a boxed future: ractor reserves room for the future several times in each actor.
    fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Wake>,
        event: SupervisionEvent,
        state: &mut IncarnationState<B>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async move {
            let outcome = panics::catch_future(state.child_changed(event)).await;
            into_ractor_result(&myself, state, outcome)
        })
    }
}
