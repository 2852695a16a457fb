//! The worker of a trace: it does what its letters say, and notes it in the ledger.

use std::sync::{Arc, Mutex, MutexGuard};

use mainstay_runtime::{CallError, Context, Failure, Message, Reply, Worker};
use tokio::time::sleep;

use crate::trace::{Deed, LABELS, Letter, Start};

/// What a panic of a trace says.
pub(crate) const ON_PURPOSE: &str = "on purpose";

/// What became of each letter, as seen from outside the runtime.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    pub(crate) accepted: Accepted,
    /// What its handlers did, one deed a delivery.
    pub(crate) deliveries: Vec<Deed>,
    /// How often a handler came to its end.
    pub(crate) ended: usize,
    /// What its caller got, in its order.
    pub(crate) answers: Vec<Result<usize, CallError>>,
}

/// Whether the mailbox took a letter in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was not sent.
    #[default]
    Never,
    Yes,
    No,
    /// It waited for room, and its sender was not told whether there was any.
    Unknown,
}

impl Ledger {
    pub(crate) fn of(letters: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![Entry::default(); letters])))
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap()
    }

    pub(crate) fn accepted(&self, id: usize, accepted: Accepted) {
        self.entries()[id].accepted = accepted;
    }

    pub(crate) fn answered(&self, id: usize, answer: Result<usize, CallError>) {
        self.entries()[id].answers.push(answer);
    }

    /// A letter is delivered: what is to be done.
    fn begin(&self, id: usize, letter: &Letter) -> Deed {
        let entry = &mut self.entries()[id];
        let deed = letter.deeds[entry.deliveries.len().min(letter.deeds.len() - 1)];
        entry.deliveries.push(deed);
        deed
    }

    fn end(&self, id: usize) {
        self.entries()[id].ended += 1;
    }
}

/// A letter on its way.
pub(crate) struct Delivery {
    pub(crate) id: usize,
    pub(crate) letter: Letter,
    pub(crate) reply: Option<Reply<usize>>,
}

impl Message for Delivery {
    fn label(&self) -> &'static str {
        LABELS[self.id]
    }

    fn retained(&mut self) -> Option<Self> {
        if !self.letter.opted_in {
            return None;
        }
        let reply = self.reply.as_mut().map(Reply::share);
        Some(Self { id: self.id, letter: self.letter.clone(), reply })
    }

    fn crashes_max(&self) -> u32 {
        self.letter.crashes_max
    }
}

/// Does what its letters say.
pub(crate) struct Postman {
    pub(crate) ledger: Ledger,
    pub(crate) starts: Mutex<std::vec::IntoIter<Start>>,
}

#[derive(Default)]
pub(crate) struct Bag {
    kept: Vec<(usize, Reply<usize>)>,
    handled: u64,
    is_smudged: bool,
}

impl Postman {
    pub(crate) fn new(ledger: Ledger, starts: Vec<Start>) -> Self {
        Self { ledger, starts: Mutex::new(starts.into_iter()) }
    }
}

impl Worker for Postman {
    type Message = Delivery;
    type State = Bag;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<Delivery>, kept: Option<u64>) -> Result<Bag, Failure> {
        let start = self.starts.lock().unwrap().next();
        match start {
            Some(Start::Fails) => return Err("on purpose".into()),
            Some(Start::Slow(span)) => sleep(span).await,
            Some(Start::Well) | None => {}
        }
        Ok(Bag { handled: kept.unwrap_or(0), ..Bag::default() })
    }

    async fn handle(
        &self,
        ctx: &mut Context<Delivery>,
        delivery: Delivery,
        bag: &mut Bag,
    ) -> Result<(), Failure> {
        let Delivery { id, letter, reply } = delivery;
        let deed = self.ledger.begin(id, &letter);
        let answer = move |reply: Option<Reply<usize>>| {
            if let Some(reply) = reply {
                reply.send(id);
            }
        };
        match deed {
            Deed::Answer => answer(reply),
            Deed::AnswerAfter(span) => {
                sleep(span).await;
                answer(reply);
            }
            Deed::Leave => drop(reply),
            Deed::Keep => bag.kept.extend(reply.map(|reply| (id, reply))),
            Deed::Release => {
                answer(reply);
                bag.kept.drain(..).for_each(|(id, reply)| reply.send(id));
            }
            Deed::Delegate(span) => drop(ctx.spawn_maybe(async move {
                sleep(span).await;
                answer(reply);
                None
            })),
            Deed::Undermine(span) => {
                answer(reply);
                ctx.spawn_maybe(async move {
                    sleep(span).await;
                    std::panic::panic_any(ON_PURPOSE)
                });
            }
            Deed::End => {
                answer(reply);
                ctx.stop();
            }
            Deed::Panic => std::panic::panic_any(ON_PURPOSE),
            Deed::PanicAfter(span) => {
                sleep(span).await;
                std::panic::panic_any(ON_PURPOSE)
            }
            Deed::Fail => return Err("on purpose".into()),
            Deed::AnswerThenPanic => {
                answer(reply);
                std::panic::panic_any(ON_PURPOSE)
            }
            Deed::Smudge => {
                bag.is_smudged = true;
                answer(reply);
                return Ok(());
            }
            Deed::Hang => std::future::pending().await,
        }
        bag.handled += 1;
        self.ledger.end(id);
        Ok(())
    }

    fn snapshot(&self, bag: &Bag) -> Option<u64> {
        if bag.is_smudged {
            std::panic::panic_any(ON_PURPOSE)
        }
        Some(bag.handled)
    }
}
