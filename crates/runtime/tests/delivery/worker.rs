//! Runs the worker of a trace: it carries out its messages, and records them in the log.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use mainstay_runtime::{CallError, Context, Failure, Message, Reply, Worker};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::sleep;

use crate::trace::{HandlerAction, StartOutcome, TestMessage};

/// The text of a trace's panics.
pub(crate) const PANIC_TEXT: &str = "on purpose";

/// The log of each message, as seen from outside the runtime.
#[derive(Clone, Default)]
pub(crate) struct DeliveryLog(Arc<Mutex<Vec<DeliveryRecord>>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct DeliveryRecord {
    pub(crate) accepted: Acceptance,
    /// The actions of its handlers, one a delivery.
    pub(crate) deliveries: Vec<HandlerAction>,
    /// The number of handlers that returned.
    pub(crate) ended: usize,
    /// True if its receiver was never part of a tree: then the journal does not know of it.
    pub(crate) is_outside: bool,
    /// The caller's results, in their order.
    pub(crate) answers: Vec<Result<usize, CallError>>,
}

/// The result of a send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// The message was not sent.
    #[default]
    NotSent,
    Yes,
    No,
    /// The message waited for room, and its sender never learned the result.
    Unknown,
}

impl DeliveryLog {
    pub(crate) fn new(messages: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![DeliveryRecord::default(); messages])))
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Vec<DeliveryRecord>> {
        self.0.lock()
    }

    pub(crate) fn accepted(&self, id: usize, accepted: Acceptance) {
        self.entries()[id].accepted = accepted;
    }

    pub(crate) fn answered(&self, id: usize, answer: Result<usize, CallError>) {
        self.entries()[id].answers.push(answer);
    }

    /// Records a delivery and returns the action.
    fn begin_delivery(&self, id: usize, message: &TestMessage) -> HandlerAction {
        let entry = &mut self.entries()[id];
        let action = message.actions[entry.deliveries.len().min(message.actions.len() - 1)];
        entry.deliveries.push(action);
        action
    }

    fn end_delivery(&self, id: usize) {
        self.entries()[id].ended += 1;
    }
}

/// A message in flight.
#[derive(Debug)]
pub(crate) struct TestDelivery {
    pub(crate) id: usize,
    pub(crate) message: TestMessage,
    pub(crate) reply: Option<Reply<usize>>,
}

/// Declares the message of the worker with a variant for each id, so that each message of a run has its own label.
macro_rules! labelled_deliveries {
    ($($Variant:ident)*) => {
        #[derive(Debug)]
        pub(crate) enum LabelledDelivery { $($Variant(TestDelivery),)* }

        /// The labels of the messages, by their ids. Journal events name one message by them.
        pub(crate) const LABELS: &[&str] = &[$(stringify!($Variant),)*];
        const VARIANTS: &[fn(TestDelivery) -> LabelledDelivery] = &[$(LabelledDelivery::$Variant,)*];

        impl LabelledDelivery {
            pub(crate) fn new(delivery: TestDelivery) -> Self {
                VARIANTS[delivery.id](delivery)
            }

            fn into_delivery(self) -> TestDelivery {
                match self { $(Self::$Variant(delivery) => delivery,)* }
            }
        }

        impl Deref for LabelledDelivery {
            type Target = TestDelivery;

            fn deref(&self) -> &TestDelivery {
                match self { $(Self::$Variant(delivery) => delivery,)* }
            }
        }

        impl DerefMut for LabelledDelivery {
            fn deref_mut(&mut self) -> &mut TestDelivery {
                match self { $(Self::$Variant(delivery) => delivery,)* }
            }
        }
    };
}

labelled_deliveries! {
    M00 M01 M02 M03 M04 M05 M06 M07 M08 M09 M10 M11 M12 M13 M14 M15 M16 M17 M18 M19 M20 M21 M22 M23
}

impl Message for LabelledDelivery {
    fn redelivery_clone(&mut self) -> Option<Self> {
        if !self.message.is_redeliverable {
            return None;
        }
        let reply = self.reply.as_mut().map(Reply::share);
        Some(Self::new(TestDelivery { id: self.id, message: self.message.clone(), reply }))
    }

    fn delivery_crashes_max(&self) -> u32 {
        self.message.crashes_max
    }
}

/// A worker that carries out its messages.
pub(crate) struct ScriptedWorker {
    pub(crate) log: DeliveryLog,
    pub(crate) starts: Mutex<std::vec::IntoIter<StartOutcome>>,
}

#[derive(Default)]
pub(crate) struct ScriptedWorkerState {
    held: Vec<(usize, Reply<usize>)>,
    handled: u64,
    panics_in_snapshot: bool,
}

impl ScriptedWorker {
    pub(crate) fn new(ledger: DeliveryLog, starts: Vec<StartOutcome>) -> Self {
        Self { log: ledger, starts: Mutex::new(starts.into_iter()) }
    }
}

impl Worker for ScriptedWorker {
    type Message = LabelledDelivery;
    type State = ScriptedWorkerState;
    type Snapshot = u64;

    async fn start(
        &self,
        _: &mut Context<LabelledDelivery>,
        kept: Option<u64>,
    ) -> Result<ScriptedWorkerState, Failure> {
        let start = self.starts.lock().next();
        match start {
            Some(StartOutcome::Fails) => return Err("on purpose".into()),
            Some(StartOutcome::Slow(span)) => sleep(span).await,
            Some(StartOutcome::Hangs) => std::future::pending().await,
            Some(StartOutcome::Succeeds) | None => {}
        }
        Ok(ScriptedWorkerState { handled: kept.unwrap_or(0), ..ScriptedWorkerState::default() })
    }

    async fn handle(
        &self,
        ctx: &mut Context<LabelledDelivery>,
        delivery: LabelledDelivery,
        bag: &mut ScriptedWorkerState,
    ) -> Result<(), Failure> {
        let TestDelivery { id, message, reply } = delivery.into_delivery();
        let action = self.log.begin_delivery(id, &message);
        let answer = move |reply: Option<Reply<usize>>| {
            if let Some(reply) = reply {
                reply.send(id);
            }
        };
        match action {
            HandlerAction::Answer => answer(reply),
            HandlerAction::AnswerAfter(span) => {
                sleep(span).await;
                answer(reply);
            }
            HandlerAction::DropReply => drop(reply),
            HandlerAction::HoldReply => bag.held.extend(reply.map(|reply| (id, reply))),
            HandlerAction::AnswerHeld => {
                answer(reply);
                bag.held.drain(..).for_each(|(id, reply)| reply.send(id));
            }
            HandlerAction::AnswerFromTask(span) => drop(ctx.spawn_maybe(async move {
                sleep(span).await;
                answer(reply);
                None
            })),
            HandlerAction::SpawnPanickingTask(span) => {
                answer(reply);
                ctx.spawn_maybe(async move {
                    sleep(span).await;
                    std::panic::panic_any(PANIC_TEXT)
                });
            }
            HandlerAction::StopSelf => {
                answer(reply);
                ctx.stop();
            }
            HandlerAction::Panic => std::panic::panic_any(PANIC_TEXT),
            HandlerAction::PanicAfter(span) => {
                sleep(span).await;
                std::panic::panic_any(PANIC_TEXT)
            }
            HandlerAction::Fail => return Err("on purpose".into()),
            HandlerAction::AnswerThenPanic => {
                answer(reply);
                std::panic::panic_any(PANIC_TEXT)
            }
            HandlerAction::PanicInSnapshot => {
                bag.panics_in_snapshot = true;
                answer(reply);
                return Ok(());
            }
            HandlerAction::Hang => std::future::pending().await,
        }
        bag.handled += 1;
        self.log.end_delivery(id);
        Ok(())
    }

    fn snapshot(&self, bag: &ScriptedWorkerState) -> Option<u64> {
        if bag.panics_in_snapshot {
            std::panic::panic_any(PANIC_TEXT)
        }
        Some(bag.handled)
    }
}
