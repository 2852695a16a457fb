//! One life of an actor: a ractor actor that works on a slot.
//!
//! Its ractor mailbox carries wake-ups alone; the messages lie in the slot. One wake-up handles a bounded batch and
//! then yields to ractor, so that stop, kill and supervision are seen. Whatever ends the life, the state is torn
//! down before the supervisor hears of it, and the account of it lies in the slot.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use thiserror::Error;
use tokio::time::Instant;

use crate::actor::behaviour::{Behaviour, Flow};
use crate::actor::context::Context;
use crate::actor::failure::{Declined, Failure, OwnShutdown};
use crate::actor::launch::Launch;
use crate::actor::panics::{self, Panic};
use crate::actor::wake::Wake;
use crate::events::{AbandonedEnded, DeadLetter, DeadLetterReason};
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::{Envelope, Next, Own};
use crate::messaging::teardown;
use crate::policy::{Exit, ExitCause};
use crate::slot::Slot;
use crate::slot::exit_record::ExitRecord;
use crate::state::Keeper;

/// Messages handled before the incarnation yields to ractor.
const BATCH_MESSAGES_MAX: usize = 64;

/// Ends the ractor actor; the account of why lies in the slot.
#[derive(Debug, Error)]
#[error("the incarnation ended: {0:?}")]
struct Ended(ExitCause);

/// The ractor actor. It has no data of its own: everything is in [`Life`].
pub(crate) struct Incarnation<B: Behaviour>(PhantomData<fn() -> B>);

impl<B: Behaviour> Incarnation<B> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

/// The state of one incarnation. Dropping it tears the incarnation down.
pub(crate) struct Life<B: Behaviour> {
    slot: Arc<Slot<B>>,
    ctx: Context<B::Message>,
    state: Option<B::State>,
    snapshot: Option<B::Snapshot>,
    ready_since: Option<Duration>,
    /// The label of the message from outside that is being handled. What it brings itself has no caller to account to.
    in_flight: Option<&'static str>,
    progressed: bool,
    reading: bool,
    declined: bool,
    ended: bool,
}

/// How a step of a life went wrong.
enum Fault {
    Failure(Failure),
    Panic(Panic),
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl<B: Behaviour> Life<B> {
    async fn start(&mut self) -> Result<Flow, Fault> {
        self.slot.recall(&self.ctx).await;
        let kept = self.slot.checkpoint().clone();
        self.ctx.birth.restored = kept.is_some();
        self.snapshot.clone_from(&kept);
        self.state = Some(self.slot.behaviour.start(&mut self.ctx, kept).await?);
        if let Some(keeper) = self.keeper() {
            keeper.started();
        }
        if self.ctx.stop_requested { self.stop().await } else { Ok(Flow::Continue) }
    }

    /// Handles a batch of messages.
    async fn read_mail(&mut self) -> Result<Flow, Fault> {
        for _ in 0..BATCH_MESSAGES_MAX {
            let flow = match self.slot.mailbox.pop() {
                Next::Empty | Next::Stop => return Ok(Flow::Continue),
                Next::Own(Own::Panic(panic)) => return Err(Fault::Panic(panic)),
                Next::Own(Own::Message(message)) => self.handle(message).await?,
                Next::Mail(envelope, label) if has_expired(&envelope) => self.expire(envelope, label),
                Next::Mail(envelope, label) => {
                    self.in_flight = Some(label);
                    let flow = self.handle(envelope.message).await?;
                    self.in_flight = None;
                    flow
                }
            };
            if flow == Flow::Stop {
                return Ok(Flow::Stop);
            }
            if self.ctx.stop_requested {
                return self.stop().await;
            }
        }
        self.slot.mailbox.wake_again();
        Ok(Flow::Continue)
    }

    async fn handle(&mut self, message: B::Message) -> Result<Flow, Fault> {
        let Some(state) = &mut self.state else { return Ok(Flow::Continue) };
        let mailbox = &self.slot.mailbox;
        let reason = || if mailbox.is_stopping() { CallError::Stopped } else { CallError::Crashed };
        let handled = self.slot.behaviour.handle(&mut self.ctx, message, state);
        let flow = teardown::scoped(reason, handled).await?;
        self.progressed = true;
        if let Some(snapshot) = self.slot.behaviour.snapshot(state) {
            if let Some(keeper) = self.keeper() {
                keeper.save(&snapshot);
            }
            self.snapshot = Some(snapshot);
        }
        Ok(flow)
    }

    /// Where snapshots go that outlive the process, unless the slot was taken back from this incarnation.
    fn keeper(&self) -> Option<&Keeper<B::Snapshot>> {
        let keeper = self.slot.keeper.as_ref()?;
        self.slot.tenancy.is_of(self.ctx.generation).then_some(keeper)
    }

    fn expire(&self, envelope: Envelope<B::Message>, label: &'static str) -> Flow {
        self.ctx.record(&DeadLetter { reason: DeadLetterReason::Expired, label: label.to_owned() });
        teardown::drop_for(CallError::Expired, envelope);
        Flow::Continue
    }

    async fn stop(&mut self) -> Result<Flow, Fault> {
        self.slot.mailbox.stop_reading();
        let Some(state) = &mut self.state else { return Ok(Flow::Stop) };
        Ok(self.slot.behaviour.stop(&mut self.ctx, state).await?)
    }

    async fn tick(&mut self) -> Result<Flow, Fault> {
        let Some(state) = &mut self.state else { return Ok(Flow::Continue) };
        Ok(self.slot.behaviour.tick(&mut self.ctx, state).await?)
    }

    async fn child_changed(&mut self, event: SupervisionEvent) -> Result<Flow, Fault> {
        let Some(state) = &mut self.state else { return Ok(Flow::Continue) };
        Ok(self.slot.behaviour.child_changed(&mut self.ctx, event, state).await?)
    }

    /// Takes up the mailbox once there is a state, and notes when the behaviour has said that it is ready.
    fn note_readiness(&mut self, myself: &ActorRef<Wake>) {
        if self.ctx.is_ready && self.ready_since.is_none() {
            self.ready_since = Some(self.ctx.now());
        }
        if !std::mem::replace(&mut self.reading, true) {
            self.slot.mailbox.attach(myself.clone());
        }
    }

    fn fault(&mut self, fault: Fault) -> ExitCause {
        let (cause, message, location) = match fault {
            Fault::Failure(failure) if failure.is::<Declined>() && !self.ctx.is_ready => {
                self.declined = true;
                (ExitCause::Normal, failure.to_string(), None)
            }
            Fault::Failure(failure) if failure.is::<OwnShutdown>() => {
                (ExitCause::Shutdown, failure.to_string(), None)
            }
            Fault::Failure(failure) => (ExitCause::Error, failure.to_string(), None),
            Fault::Panic(panic) => (ExitCause::Panic, panic.message, panic.location),
        };
        let cause = if self.ctx.is_ready || self.declined { cause } else { ExitCause::StartFailed };
        self.end(cause, Some(message), location);
        cause
    }

    /// Tears the life down, once, and leaves its account in the slot.
    fn end(&mut self, cause: ExitCause, message: Option<String>, location: Option<String>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let in_order = cause == ExitCause::Normal || self.slot.mailbox.is_stopping();
        let reason = if in_order { CallError::Stopped } else { CallError::Crashed };
        let unhandled = self.slot.mailbox.detach(self.ctx.generation);
        // They end now; whoever follows waits until they have.
        let mut tasks = self.ctx.take_tasks();
        tasks.abort_all();
        let state = self.state.take();
        panics::drop_quietly(reason, (unhandled, state));
        let generation = self.ctx.generation;
        if let Some(snapshot) = self.snapshot.take()
            && self.slot.tenancy.is_of(generation)
        {
            *self.slot.checkpoint() = Some(snapshot);
        }
        if let (ExitCause::StartFailed, Some(keeper)) = (cause, self.keeper()) {
            keeper.start_failed();
        }
        let exit = Exit {
            cause,
            ready_since: self.ready_since,
            restored: self.ctx.birth.restored,
            progressed: self.progressed,
            abandoned: false,
        };
        let in_flight = self.in_flight.take();
        let declined = self.declined;
        let account = ExitRecord { exit, message, location, in_flight, declined, tasks };
        if !self.slot.tenancy.end(generation, Some(account)) {
            self.slot.identity.standing().abandoned -= 1;
            self.ctx.record(&AbandonedEnded {});
        }
    }
}

fn has_expired<M>(envelope: &Envelope<M>) -> bool {
    #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
    let now = Instant::now;
    envelope.expires_at.is_some_and(|deadline| now() >= deadline)
}

impl<B: Behaviour> Drop for Life<B> {
    /// A life that was not ended otherwise was killed.
    fn drop(&mut self) {
        let cause = self.slot.tenancy.verdict(self.ctx.generation);
        let message = (cause == ExitCause::Stuck).then(|| "it made no progress within its limit".to_owned());
        self.end(cause, message, None);
    }
}

/// Turns the outcome of a step into what ractor is told.
fn settle<B: Behaviour>(
    myself: &ActorRef<Wake>,
    life: &mut Life<B>,
    outcome: Result<Result<Flow, Fault>, Panic>,
) -> Result<(), ActorProcessingErr> {
    match outcome {
        Ok(Ok(Flow::Continue)) => life.note_readiness(myself),
        Ok(Ok(Flow::Stop)) => {
            life.end(ExitCause::Normal, None, None);
            myself.stop(None);
        }
        Ok(Err(fault)) => return Err(Box::new(Ended(life.fault(fault)))),
        Err(panic) => return Err(Box::new(Ended(life.fault(Fault::Panic(panic))))),
    }
    Ok(())
}

impl<B: Behaviour> Actor for Incarnation<B> {
    type Msg = Wake;
    type State = Life<B>;
    type Arguments = (Arc<Slot<B>>, Launch);

    /// Awaited by the supervisor, so it does nothing that takes time.
    async fn pre_start(
        &self,
        myself: ActorRef<Wake>,
        (slot, launch): Self::Arguments,
    ) -> Result<Life<B>, ActorProcessingErr> {
        let (identity, mailbox) = (Arc::clone(&slot.identity), Arc::clone(&slot.mailbox));
        mailbox.own_by(launch.generation);
        let ctx = Context::new(launch, identity, mailbox, myself.get_cell());
        Ok(Life {
            slot,
            ctx,
            state: None,
            snapshot: None,
            ready_since: None,
            in_flight: None,
            progressed: false,
            reading: false,
            declined: false,
            ended: false,
        })
    }

    async fn post_start(&self, myself: ActorRef<Wake>, life: &mut Life<B>) -> Result<(), ActorProcessingErr> {
        let outcome = panics::caught(life.start()).await;
        settle(&myself, life, outcome)
    }

    async fn handle(
        &self,
        myself: ActorRef<Wake>,
        wake: Wake,
        life: &mut Life<B>,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = match wake {
            Wake::Mail => panics::caught(life.read_mail()).await,
            Wake::Stop => panics::caught(life.stop()).await,
            Wake::Tick => panics::caught(life.tick()).await,
        };
        settle(&myself, life, outcome)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Wake>,
        event: SupervisionEvent,
        life: &mut Life<B>,
    ) -> Result<(), ActorProcessingErr> {
        let outcome = panics::caught(life.child_changed(event)).await;
        settle(&myself, life, outcome)
    }
}
