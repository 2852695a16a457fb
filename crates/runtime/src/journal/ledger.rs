//! The log and its lock, shared by those who record and the writer, and how they wake one another.

use std::borrow::Cow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::degraded::JournalDegraded;
use super::error::JournalLoss;
use super::event::{self, Event};
use super::line::Draft;
use super::log::Log;
use super::millis;
use super::redaction::Redaction;
use crate::clock::Clock;
use crate::path::ActorPath;

pub(super) struct Ledger {
    log: Mutex<Log>,
    clock: Arc<dyn Clock>,
    epoch: Instant,
    redaction: Redaction,
    /// Wakes the writer.
    work: Condvar,
    /// Changes when there may be a new line to show.
    shown: watch::Sender<()>,
    /// Changes when the writer has got on, or has failed to.
    settled: watch::Sender<()>,
    /// Under which path the journal speaks of itself.
    path: ActorPath,
}

impl Ledger {
    pub(super) fn new(log: Log, clock: Arc<dyn Clock>, redaction: Redaction) -> Self {
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let epoch = Instant::now();
        Self {
            log: Mutex::new(log),
            clock,
            epoch,
            redaction,
            work: Condvar::new(),
            shown: watch::Sender::new(()),
            settled: watch::Sender::new(()),
            path: ActorPath::of_journal(),
        }
    }

    pub(super) fn without_secrets<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.redaction.text(text)
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    pub(super) fn wall_time(&self) -> Timestamp {
        self.clock.now()
    }

    /// Records one event, whose own fields are `fields`.
    pub(super) fn record<E: Event>(&self, actor: &ActorPath, generation: u64, fields: &str) {
        let actor = self.redaction.text(actor.as_str());
        let fields = self.redaction.json(fields);
        event::trace::<E>(&actor, generation, &fields);
        let draft = Draft::new(&actor, generation, E::KIND, &fields);
        let mut log = self.log();
        if log.debt.as_ref().is_some_and(|debt| debt.is_closing) {
            return;
        }
        self.append(&mut log, &draft);
        self.release(log);
    }

    /// Records what the journal has to say of itself, also while it is being closed.
    pub(super) fn tell(&self, degraded: &JournalDegraded) {
        // Plain data always serialises.
        let fields = serde_json::to_string(degraded).unwrap_or_default();
        let fields = self.redaction.json(&fields);
        event::trace::<JournalDegraded>(self.path.as_str(), 0, &fields);
        let draft = Draft::new(self.path.as_str(), 0, JournalDegraded::KIND, &fields);
        let mut log = self.log();
        self.append(&mut log, &draft);
        self.release(log);
    }

    fn append(&self, log: &mut Log, draft: &Draft<'_>) {
        log.append(self.clock.now(), millis(self.epoch.elapsed()), draft);
    }

    /// Unlocks, and wakes whoever waits for what has been recorded: the writer once a group.
    fn release(&self, mut log: MutexGuard<'_, Log>) {
        let wakes_writer = log.wakes_writer();
        if wakes_writer && let Some(debt) = &mut log.debt {
            debt.is_asleep = false;
            debt.is_gathering = false;
        }
        drop(log);
        if wakes_writer {
            self.work.notify_one();
        }
        self.show();
    }

    /// Wakes those who wait for lines. One who has just come looks for lines before it waits.
    pub(super) fn show(&self) {
        if self.shown.receiver_count() > 0 {
            self.shown.send_replace(());
        }
    }

    /// What changes when there may be a new line to show.
    pub(super) fn shown(&self) -> watch::Receiver<()> {
        self.shown.subscribe()
    }

    /// Waits for work, and no longer than `patience`, if one is given. Only the writer calls this.
    pub(super) fn sleep<'a>(
        &'a self,
        mut log: MutexGuard<'a, Log>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Log> {
        let sleeps = |log: &mut Log, is_asleep: bool| {
            if let Some(debt) = &mut log.debt {
                debt.is_asleep = is_asleep;
            }
        };
        sleeps(&mut log, true);
        let mut log = match patience {
            None => self.work.wait(log).unwrap_or_else(PoisonError::into_inner),
            Some(patience) => self.work.wait_timeout(log, patience).unwrap_or_else(PoisonError::into_inner).0,
        };
        sleeps(&mut log, false);
        log
    }

    /// Lets lines come together for a while, unless they are pressing. Only the writer calls this.
    pub(super) fn gather<'a>(
        &'a self,
        mut log: MutexGuard<'a, Log>,
        patience: Duration,
    ) -> MutexGuard<'a, Log> {
        if let Some(debt) = &mut log.debt {
            debt.is_gathering = true;
        }
        let mut log = self.work.wait_timeout(log, patience).unwrap_or_else(PoisonError::into_inner).0;
        if let Some(debt) = &mut log.debt {
            debt.is_gathering = false;
        }
        log
    }

    /// Wakes those who wait for the writer.
    pub(super) fn announce(&self) {
        self.settled.send_replace(());
    }

    /// Asks the writer to end, after it has written what there is. Nothing is recorded from now on.
    pub(super) fn ask_to_end(&self) {
        let mut log = self.log();
        if let Some(debt) = &mut log.debt {
            debt.is_closing = true;
        }
        self.release(log);
    }

    /// Returns once the writer has brought line `seq` to disk, has failed to, or has ended.
    pub(super) async fn settled(&self, seq: u64) {
        let is_settled = |log: &Log| {
            log.debt
                .as_ref()
                .is_none_or(|debt| debt.settled >= seq || debt.is_refusing || debt.ended.is_some())
        };
        self.hurry();
        self.writer_reaches(|log| is_settled(log).then_some(())).await;
    }

    /// Lets the writer write what there is without waiting for more.
    fn hurry(&self) {
        let mut log = self.log();
        if let Some(debt) = &mut log.debt {
            debt.is_urgent = true;
        }
        self.release(log);
    }

    /// How the writer ended, once it has.
    pub(super) async fn ended(&self) -> Result<(), JournalLoss> {
        let ended = |log: &Log| log.debt.as_ref().map_or(Some(Ok(())), |debt| debt.ended.clone());
        self.writer_reaches(ended).await
    }

    async fn writer_reaches<T>(&self, reached: impl Fn(&Log) -> Option<T>) -> T {
        let mut settled = self.settled.subscribe();
        loop {
            settled.borrow_and_update();
            if let Some(reached) = reached(&self.log()) {
                return reached;
            }
            // The sender lives in this ledger, so the wait cannot fail.
            let _ = settled.changed().await;
        }
    }
}
