//! One life of an actor: a ractor actor that works on a slot.
//!
//! Its ractor mailbox carries wake-ups alone; the messages lie in the slot. One wake-up handles a bounded batch and
//! then yields to ractor, so that stop, kill and supervision are seen. Whatever ends the life, the state is torn
//! down before the supervisor hears of it, and the account of it lies in the slot.

use std::collections::VecDeque;
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
use crate::events::{AbandonedEnded, DeadLetter, DeadLetterReason, Redelivered};
use crate::messaging::call_error::CallError;
use crate::messaging::mailbox::{Envelope, Next, Own, Returned};
use crate::messaging::message::{Message, name_of};
use crate::messaging::teardown;
use crate::policy::{Exit, ExitCause};
use crate::slot::Slot;
use crate::slot::exit_record::{ExitRecord, InFlight};
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
    /// The message from outside that is being handled. What it brings itself has no caller to account to.
    in_flight: Option<Flight<B::Message>>,
    progressed: bool,
    reading: bool,
    declined: bool,
    ended: bool,
}

/// A message from outside from the moment that it leaves the mailbox to the end of its handler.
struct Flight<M> {
    /// `None` until the message has said.
    label: Option<&'static str>,
    /// What is delivered again if the handler does not come to its end.
    copy: Option<M>,
    expires_at: Option<Instant>,
    deliveries: Returned,
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

impl From<Panic> for Fault {
    fn from(panic: Panic) -> Self {
        Self::Panic(panic)
    }
}

impl<B: Behaviour> Life<B> {
    async fn start(&mut self) -> Result<Flow, Fault> {
        self.slot.recall(&self.ctx).await;
        let kept = self.slot.checkpoint().as_deref().cloned();
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
            let flow = match self.slot.mailbox.pop(self.ctx.generation) {
                Next::Empty | Next::Stop => return Ok(Flow::Continue),
                Next::Own(Own::Panic(panic)) => return Err(Fault::Panic(*panic)),
                Next::Own(Own::Message(message)) => self.handle(message).await?,
                Next::Mail(envelope, _) if has_expired(&envelope) => self.expire(envelope),
                Next::Mail(envelope, label) => {
                    let message = self.take_off(envelope, label);
                    let flow = self.handle(message).await?;
                    drop(self.in_flight.take());
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
        self.slot.mailbox.wake_again(self.ctx.generation);
        Ok(Flow::Continue)
    }

    /// Takes a message out of its envelope; it is accounted for from here on even if its own methods panic.
    fn take_off(&mut self, envelope: Envelope<B::Message>, label: Option<&'static str>) -> B::Message {
        let Envelope { mut message, expires_at, returned } = envelope;
        let deliveries = returned.unwrap_or(Returned { crashes: 0, crashes_max: 1 });
        let flight = self.in_flight.insert(Flight { label, copy: None, expires_at, deliveries });
        // A message that panicked when it was asked does so again, and that is its handler's panic.
        let label = label.unwrap_or_else(|| message.label());
        if let Some(copy) = message.retained() {
            flight.deliveries.crashes_max = message.crashes_max().max(1);
            flight.copy = Some(copy);
        }
        if let Some(Returned { crashes, crashes_max }) = returned {
            self.ctx.record(&Redelivered { label: label.to_owned(), crashes, crashes_max });
        }
        message
    }

    async fn handle(&mut self, message: B::Message) -> Result<Flow, Fault> {
        let Some(state) = &mut self.state else { return Ok(Flow::Continue) };
        let Slot { mailbox, behaviour, .. } = &*self.slot;
        let reason = || if mailbox.is_stopping() { CallError::Stopped } else { CallError::Crashed };
        let ctx = &mut self.ctx;
        let handled = async {
            let flow = behaviour.handle(ctx, message, state).await?;
            Ok::<_, Fault>((flow, behaviour.snapshot(state)))
        };
        let (flow, snapshot) = teardown::scoped(reason, teardown::judged(handled)).await?;
        self.progressed = true;
        self.keep(snapshot);
        Ok(flow)
    }

    fn keep(&mut self, snapshot: Option<B::Snapshot>) {
        let Some(snapshot) = snapshot else { return };
        if let Some(keeper) = self.keeper() {
            keeper.save(&snapshot);
        }
        self.snapshot = Some(snapshot);
    }

    /// Where snapshots go that outlive the process, unless the slot was taken back from this incarnation.
    fn keeper(&self) -> Option<&Keeper<B::Snapshot>> {
        let keeper = self.slot.keeper.as_deref()?;
        self.slot.tenancy.is_of(self.ctx.generation).then_some(keeper)
    }

    fn expire(&self, envelope: Envelope<B::Message>) -> Flow {
        self.ctx.record(&DeadLetter::new(DeadLetterReason::Expired, envelope.label()));
        teardown::drop_for(CallError::Expired, envelope);
        Flow::Continue
    }

    async fn stop(&mut self) -> Result<Flow, Fault> {
        self.slot.mailbox.finish_reading(self.ctx.generation);
        let Some(state) = &mut self.state else { return Ok(Flow::Stop) };
        let flow = self.slot.behaviour.stop(&mut self.ctx, state).await?;
        let snapshot = self.slot.behaviour.snapshot(state);
        self.keep(snapshot);
        Ok(flow)
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
            self.slot.mailbox.attach(self.ctx.generation, myself.clone());
        }
    }

    fn fault(&mut self, fault: Fault) -> ExitCause {
        let (cause, last_word) = match fault {
            Fault::Failure(failure) => {
                self.declined = failure.is::<Declined>() && !self.ctx.is_ready;
                let cause = if self.declined {
                    ExitCause::Normal
                } else if failure.is::<OwnShutdown>() {
                    ExitCause::Shutdown
                } else {
                    ExitCause::Error
                };
                let message = panics::text_of(failure.as_ref());
                panics::drop_quietly(CallError::Crashed, failure);
                (cause, Panic { message, location: None, backtrace: None })
            }
            Fault::Panic(panic) => (ExitCause::Panic, panic),
        };
        let cause = if self.ctx.is_ready || self.declined { cause } else { ExitCause::StartFailed };
        self.end(cause, Some(last_word));
        cause
    }

    /// Tears the life down, once, and leaves its account in the slot.
    fn end(&mut self, cause: ExitCause, last_word: Option<Panic>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let in_order = cause == ExitCause::Normal || self.slot.mailbox.is_stopping();
        let reason = if in_order { CallError::Stopped } else { CallError::Crashed };
        // Whoever ends the reading accounts for the message in hand: this life, or the one who cut it off.
        let detached = self.slot.mailbox.detach(self.ctx.generation);
        let flight = self.in_flight.take().filter(|_| detached.is_some());
        // They end now; whoever follows waits until they have.
        let tasks = self.ctx.end_tasks(reason);
        if let (ExitCause::StartFailed, Some(keeper)) = (cause, self.keeper()) {
            keeper.start_failed();
        }
        let exit = Exit {
            cause,
            ready_since: self.ready_since,
            restored: self.ctx.birth.restored,
            progressed: self.progressed,
            on_suspect: flight.as_ref().is_some_and(|flight| flight.deliveries.crashes > 0),
            abandoned: false,
        };
        let in_flight = flight.map(|flight| self.give_back(flight, exit.cause, reason));
        let torn = self.tear_down(reason, detached.map(|detached| detached.unhandled).unwrap_or_default());
        let (message, location, backtrace) = match last_word.or(torn) {
            // It is shown where no journal stands in between: in the tree, and to whoever ordered a start.
            Some(Panic { message, location, backtrace }) => {
                (Some(self.ctx.env.journal.without_secrets(&message).into_owned()), location, backtrace)
            }
            None => (None, None, None),
        };
        let declined = self.declined;
        let account = ExitRecord { exit, message, location, backtrace, declined, in_flight, tasks };
        if !self.slot.leave(self.ctx.generation, account) {
            self.slot.identity.standing().abandoned -= 1;
            // Cut off at the last moment, with its account on the way: nobody else tells of the message.
            if let Some(InFlight { label, lost: Some(reason) }) = in_flight {
                self.ctx.record(&DeadLetter::new(reason, label));
            }
            self.ctx.record(&AbandonedEnded {});
        }
    }

    /// Drops what the life was made of, each part by itself: returns the first panic of a destructor.
    fn tear_down(&mut self, reason: CallError, unhandled: VecDeque<Own<B::Message>>) -> Option<Panic> {
        let mut panics = vec![panics::drop_caught(reason, self.state.take())];
        let mut outdated = self.snapshot.take().map(Box::new);
        // One that was cut off has no say in what its successors begin with.
        if outdated.is_some() && self.slot.tenancy.is_of(self.ctx.generation) {
            std::mem::swap(&mut outdated, &mut *self.slot.checkpoint());
        }
        panics.push(panics::drop_caught(reason, outdated));
        panics.extend(unhandled.into_iter().map(|own| panics::drop_caught(reason, own)));
        panics.into_iter().flatten().next()
    }

    /// Gives a message whose handler did not end back to the mailbox, if it may be delivered again.
    fn give_back(&self, flight: Flight<B::Message>, cause: ExitCause, reason: CallError) -> InFlight {
        let Flight { label, copy, expires_at, deliveries } = flight;
        let label = label.unwrap_or_else(name_of::<B::Message>);
        let by_order = cause == ExitCause::Killed && reason == CallError::Stopped;
        let lost = match copy {
            None if by_order => Some(DeadLetterReason::Stopped),
            None => Some(DeadLetterReason::Crashed),
            Some(message) => {
                let envelope = Envelope { message, expires_at, returned: Some(deliveries) };
                let refused = self.slot.mailbox.give_back(envelope).err();
                refused.map(|envelope| {
                    panics::drop_quietly(CallError::Stopped, envelope);
                    DeadLetterReason::Stopped
                })
            }
        };
        InFlight { label, lost }
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
        let last_word = (cause == ExitCause::Stuck).then(|| Panic {
            message: "it made no progress within its limit".to_owned(),
            location: None,
            backtrace: None,
        });
        self.end(cause, last_word);
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
            life.end(ExitCause::Normal, None);
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
        // It is over once for all, and its room need not stay in the actor's task.
        let outcome = panics::caught(Box::pin(life.start())).await;
        settle(&myself, life, outcome)
    }

    /// Boxed as a whole: ractor lays out room for it several times, in each actor.
    fn handle(
        &self,
        myself: ActorRef<Wake>,
        wake: Wake,
        life: &mut Life<B>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async move {
            let outcome = match wake {
                Wake::Mail => panics::caught(life.read_mail()).await,
                Wake::Stop => panics::caught(life.stop()).await,
                Wake::Tick => panics::caught(life.tick()).await,
            };
            settle(&myself, life, outcome)
        })
    }

    /// Boxed as a whole: ractor lays out room for it several times, in each actor.
    fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Wake>,
        event: SupervisionEvent,
        life: &mut Life<B>,
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        Box::pin(async move {
            let outcome = panics::caught(life.child_changed(event)).await;
            settle(&myself, life, outcome)
        })
    }
}
