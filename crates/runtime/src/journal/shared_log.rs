//! The log and its lock, shared by the recording callers and the writer, and the wake-ups between them.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use super::cursor::Cursor;
use super::error::JournalLoss;
use super::event::{Event, trace};
use super::known_secrets::KnownSecrets;
use super::line::UnsequencedLine;
use super::log::{Demand, DiskState, Log, WriterState};
use super::millis;
use super::timeline::{STEP_MIN_MS, Timeline};
use crate::clock::Clock;
use crate::path::ActorPath;

pub(super) struct SharedLog {
    log: Mutex<Log>,
    clock: Arc<dyn Clock>,
    epoch: Instant,
    timeline: Mutex<Arc<Timeline>>,
    /// The wall clock's lead over the time since the start, in milliseconds, after the last step.
    clock_lead_ms: AtomicI64,
    secrets: KnownSecrets,
    /// Wakes the writer.
    writer_wakeup: Condvar,
    /// Changes when there may be a new line to show.
    visible_changed: watch::Sender<()>,
    /// Changes when the writer has made progress, or has failed to.
    writer_progress: watch::Sender<()>,
    /// The path under which the journal records its own events.
    journal_path: ActorPath,
}

impl SharedLog {
    pub(super) fn new(log: Log, clock: Arc<dyn Clock>, secrets: KnownSecrets) -> Self {
        #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
        let epoch = Instant::now();
        let start = clock.now();
        Self {
            log: Mutex::new(log),
            clock,
            epoch,
            timeline: Mutex::new(Arc::new(Timeline::new(start))),
            clock_lead_ms: AtomicI64::new(start.as_millisecond()),
            secrets,
            writer_wakeup: Condvar::new(),
            visible_changed: watch::Sender::new(()),
            writer_progress: watch::Sender::new(()),
            journal_path: ActorPath::journal(),
        }
    }

    pub(super) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.secrets.redaction().redact(text)
    }

    pub(super) fn add_secrets(&self, secrets: impl IntoIterator<Item = String>) {
        self.secrets.add(secrets);
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    pub(super) fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Returns the time since the start, in whole milliseconds, and the wall time. Notes a step between the two.
    pub(super) fn read_clocks(&self) -> (Duration, Timestamp) {
        let (now, wall) = (Duration::from_millis(millis(self.epoch.elapsed())), self.clock.now());
        let lead = wall.as_millisecond().saturating_sub_unsigned(millis(now));
        let has_stepped = |known: i64| known.abs_diff(lead) > STEP_MIN_MS;
        if has_stepped(self.clock_lead_ms.load(Ordering::Relaxed)) {
            let mut timeline = self.timeline.lock();
            if has_stepped(self.clock_lead_ms.swap(lead, Ordering::Relaxed)) {
                Arc::make_mut(&mut timeline).step(now, wall);
            }
        }
        (now, wall)
    }

    pub(super) fn timeline(&self) -> Arc<Timeline> {
        Arc::clone(&self.timeline.lock())
    }

    /// Records `event`, whose own fields are `fields`.
    pub(super) fn record<E: Event>(&self, actor: &ActorPath, generation: u64, event: &E, fields: &str) {
        let redaction = self.secrets.redaction();
        let actor = redaction.redact(actor.as_str());
        let fields = redaction.redact_json(fields);
        let unsequenced = UnsequencedLine::new(&actor, generation, E::KIND, &fields);
        let place = self.append_unless_closing(&unsequenced);
        trace(event, place, &actor, generation, &fields, &redaction);
    }

    /// Records an event of the journal about itself, also while it is being closed.
    pub(super) fn record_internal<E: Event>(&self, event: &E) {
        // Plain data always serialises.
        let fields = serde_json::to_string(event).unwrap_or_default();
        let redaction = self.secrets.redaction();
        let fields = redaction.redact_json(&fields);
        let unsequenced = UnsequencedLine::new(self.journal_path.as_str(), 0, E::KIND, &fields);
        let place = self.append(self.log(), &unsequenced);
        trace(event, Some(place), self.journal_path.as_str(), 0, &fields, &redaction);
    }

    fn append_unless_closing(&self, unsequenced: &UnsequencedLine<'_>) -> Option<Cursor> {
        let log = self.log();
        let is_closing = log.backlog.as_ref().is_some_and(|backlog| backlog.demand == Demand::Close);
        (!is_closing).then(|| self.append(log, unsequenced))
    }

    /// Appends a line, unlocks, and returns the line's place.
    fn append(&self, mut log: MutexGuard<'_, Log>, unsequenced: &UnsequencedLine<'_>) -> Cursor {
        let (now, wall) = self.read_clocks();
        log.append(wall, millis(now), unsequenced);
        let place = Cursor::new(log.run(), log.newest_seq());
        self.unlock_and_wake(log);
        place
    }

    /// Unlocks, and wakes the subscribers and, once a group, the writer.
    fn unlock_and_wake(&self, mut log: MutexGuard<'_, Log>) {
        let wakes_writer = log.should_wake_writer();
        if wakes_writer && let Some(backlog) = &mut log.backlog {
            backlog.writer = WriterState::Working;
        }
        drop(log);
        if wakes_writer {
            self.writer_wakeup.notify_one();
        }
        self.notify_subscribers();
    }

    /// Wakes the subscribers. A new subscriber looks for lines before it waits.
    pub(super) fn notify_subscribers(&self) {
        if self.visible_changed.receiver_count() > 0 {
            self.visible_changed.send_replace(());
        }
    }

    /// Returns a receiver that changes when there may be a new line to show.
    pub(super) fn visible_changed(&self) -> watch::Receiver<()> {
        self.visible_changed.subscribe()
    }

    /// Waits for work, for at most `limit` if there is one. Only the writer calls this.
    pub(super) fn wait_for_work<'a>(
        &'a self,
        mut log: MutexGuard<'a, Log>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Log> {
        set_writer(&mut log, WriterState::Asleep);
        match limit {
            None => self.writer_wakeup.wait(&mut log),
            Some(limit) => drop(self.writer_wakeup.wait_for(&mut log, limit)),
        }
        set_writer(&mut log, WriterState::Working);
        log
    }

    /// Waits briefly for more lines, unless the group must be written now. Only the writer calls this.
    pub(super) fn wait_for_batch<'a>(
        &'a self,
        mut log: MutexGuard<'a, Log>,
        limit: Duration,
    ) -> MutexGuard<'a, Log> {
        set_writer(&mut log, WriterState::Gathering);
        self.writer_wakeup.wait_for(&mut log, limit);
        set_writer(&mut log, WriterState::Working);
        log
    }

    /// Wakes the callers that wait for the writer.
    pub(super) fn notify_flush_waiters(&self) {
        self.writer_progress.send_replace(());
    }

    /// Asks the writer to write everything and end. Nothing is recorded from now on.
    pub(super) fn request_close(&self) {
        self.demand(Demand::Close);
    }

    fn demand(&self, demand: Demand) {
        let mut log = self.log();
        if let Some(backlog) = log.backlog.as_mut().filter(|backlog| backlog.demand != Demand::Close) {
            backlog.demand = demand;
        }
        self.unlock_and_wake(log);
    }

    /// Returns once the writer has written line `seq` to disk, has failed to, or has ended.
    pub(super) async fn wait_until_written(&self, seq: u64) {
        let is_settled = |log: &Log| {
            log.backlog.as_ref().is_none_or(|backlog| {
                let has_ended = matches!(backlog.writer, WriterState::Ended(_));
                backlog.settled_seq >= seq || backlog.disk == DiskState::Refusing || has_ended
            })
        };
        self.demand(Demand::Flush);
        self.wait_for_writer(|log| is_settled(log).then_some(())).await;
    }

    /// Waits until the writer has ended, and returns its outcome.
    pub(super) async fn wait_until_closed(&self) -> Result<(), JournalLoss> {
        let ended = |log: &Log| match log.backlog.as_ref().map(|backlog| &backlog.writer) {
            None => Some(Ok(())),
            Some(WriterState::Ended(outcome)) => Some(outcome.clone()),
            Some(_) => None,
        };
        self.wait_for_writer(ended).await
    }

    async fn wait_for_writer<T>(&self, reached: impl Fn(&Log) -> Option<T>) -> T {
        let mut settled = self.writer_progress.subscribe();
        loop {
            settled.borrow_and_update();
            if let Some(reached) = reached(&self.log()) {
                return reached;
            }
            // The sender lives in this log, so the wait cannot fail.
            let _ = settled.changed().await;
        }
    }
}

fn set_writer(log: &mut Log, state: WriterState) {
    if let Some(backlog) = &mut log.backlog {
        backlog.writer = state;
    }
}
