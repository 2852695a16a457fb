//! The thread that brings lines to disk: in groups, synced once a group.
//!
//! It is a thread and not a task because file systems block. It ends when the ledger asks it to, after it has written what
//! there is.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::degraded::JournalDegraded;
use super::error::JournalLoss;
use super::files::Disk;
use super::ledger::Ledger;
use super::log::{Debt, RESERVED_NUMBERS};

/// How long the first line of a group waits for others. Each group costs a wake-up of this thread and a sync: so a burst
/// costs few of them, and a line is not much later on disk than the sync alone would make it.
const GATHERED_FOR: Duration = Duration::from_millis(2);
/// How long the thread waits before it tries a disk again that refused.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Starts the thread.
pub(super) fn start(ledger: Arc<Ledger>, disk: impl Disk, retry_after: Duration) -> io::Result<()> {
    // Where the disk has let no numbers be reserved so far, that is tried again with each group.
    let are_numbers_refused = ledger.log().debt.as_ref().is_some_and(|debt| debt.reserved == u64::MAX);
    let writer = Writer {
        ledger: Arc::clone(&ledger),
        disk,
        retry_after,
        retry_at: None,
        are_numbers_refused,
        dropped: 0,
    };
    let run = move || {
        let ending = Ending { ledger, outcome: None };
        ending.with(writer.run());
    };
    thread::Builder::new().name("mainstay-journal".to_owned()).spawn(run).map(drop)
}

struct Writer<D> {
    ledger: Arc<Ledger>,
    disk: D,
    retry_after: Duration,
    /// When a disk that refused is tried again.
    retry_at: Option<Instant>,
    are_numbers_refused: bool,
    /// Lines lost since the disk began to refuse, as far as it was told.
    dropped: u64,
}

/// What there is to do.
struct Turn {
    /// Numbers up to this one are to be reserved.
    reserve: Option<u64>,
    /// The lines in hand are to be written.
    writes: bool,
    /// Lines that there was no room for.
    lost: Option<(u64, u64)>,
    is_closing: bool,
}

/// What became of a group.
struct Written {
    /// The disk took some of it.
    any: bool,
    outcome: io::Result<()>,
}

impl<D: Disk> Writer<D> {
    /// Writes until it is asked to end. The disk is given free when this returns.
    fn run(mut self) -> Result<(), JournalLoss> {
        loop {
            let turn = self.next_turn();
            if let Some(through) = turn.reserve {
                self.reserve(through);
            }
            if turn.lost.is_some() {
                self.tell("the disk could not follow; these lines were never written", turn.lost);
            }
            let written = if turn.writes { self.write() } else { Written { any: false, outcome: Ok(()) } };
            if turn.is_closing
                && let Some(end) = self.end(written)
            {
                return end;
            }
        }
    }

    fn next_turn(&mut self) -> Turn {
        let ledger = Arc::clone(&self.ledger);
        let mut log = ledger.log();
        let mut has_gathered = false;
        loop {
            let is_closing = log.debt.as_ref().is_some_and(|debt| debt.is_closing);
            let may_write = is_closing || self.retry_at.is_none_or(|at| at <= now());
            let writes = may_write && log.is_owed();
            let reserves = log.is_short() || self.are_numbers_refused && writes;
            if !is_closing && !writes && !reserves {
                let patience = self.retry_at.map(|at| at.saturating_duration_since(now()));
                log = ledger.sleep(log, patience);
                continue;
            }
            if writes && !has_gathered && !log.is_pressing() {
                log = ledger.gather(log, GATHERED_FOR);
                has_gathered = true;
                continue;
            }
            let reserve = reserves.then(|| log.newest() + RESERVED_NUMBERS);
            let lost = if writes { log.take_in_hand() } else { None };
            return Turn { reserve, writes, lost, is_closing };
        }
    }

    fn reserve(&mut self, through: u64) {
        let outcome = self.disk.reserve(through);
        let was_refused = std::mem::replace(&mut self.are_numbers_refused, outcome.is_err());
        // Where none can be reserved, lines are shown all the same.
        self.note(|debt| debt.reserved = if outcome.is_ok() { through } else { u64::MAX });
        self.ledger.show();
        if let Err(error) = outcome
            && !was_refused
        {
            self.ledger.tell(&no_numbers(&error));
        }
    }

    /// Writes the lines in hand.
    fn write(&mut self) -> Written {
        let (first_seq, lines) = self.in_hand();
        let (taken, outcome) = self.disk.append(first_seq, &lines);
        let settled = self.ledger.log().settle(taken);
        drop((lines, settled));
        match &outcome {
            Ok(()) => self.recover(),
            Err(error) => self.back_off(error),
        }
        self.ledger.announce();
        Written { any: taken > 0, outcome }
    }

    fn recover(&mut self) {
        if self.retry_at.take().is_some() {
            self.note(|debt| debt.is_refusing = false);
            // What comes next is taken in hand before this is told: memory may be full.
            let lost = self.ledger.log().take_in_hand();
            self.tell("the disk takes lines again", lost);
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        let was_refusing = self.retry_at.replace(now() + self.retry_after).is_some();
        if !was_refusing {
            self.note(|debt| debt.is_refusing = true);
            self.dropped = 0;
            self.tell(&format!("the disk refuses lines, they wait in memory: {error}"), None);
            return;
        }
        let dropped = self.ledger.log().dropped();
        if dropped > self.dropped {
            self.tell(&format!("the disk still refuses lines, {dropped} are lost so far: {error}"), None);
            // What was just told may have taken the room of another one.
            self.dropped = self.ledger.log().dropped();
        }
    }

    fn in_hand(&self) -> (u64, Vec<Arc<str>>) {
        let log = self.ledger.log();
        log.debt
            .as_ref()
            .map_or((0, Vec::new()), |debt| (debt.settled + 1, debt.hand.iter().cloned().collect()))
    }

    fn note(&self, change: impl FnOnce(&mut Debt)) {
        if let Some(debt) = &mut self.ledger.log().debt {
            change(debt);
        }
    }

    fn tell(&self, reason: &str, lost: Option<(u64, u64)>) {
        self.ledger.tell(&JournalDegraded::new(reason, lost));
    }

    /// How it ends, once nothing more can be done: everything is written, or the disk takes no more.
    fn end(&mut self, written: Written) -> Option<Result<(), JournalLoss>> {
        let (is_owed, settled, newest) = {
            let log = self.ledger.log();
            (log.is_owed(), log.debt.as_ref().map_or(0, |debt| debt.settled), log.newest())
        };
        let end = match written.outcome {
            Err(error) if !written.any => {
                Err(JournalLoss { from: settled + 1, to: newest, reason: error.to_string() })
            }
            _ if is_owed => return None,
            _ => Ok(()),
        };
        if let Err(error) = self.disk.conclude(newest) {
            // The next run takes it for one that did not end in order, and leaves numbers out.
            tracing::warn!(target: "mainstay", %error, "the end of the journal cannot be noted");
        }
        Some(end)
    }
}

/// What there is to say when numbers cannot be reserved.
pub(super) fn no_numbers(error: &io::Error) -> JournalDegraded {
    let said = "no numbers can be reserved; if this run does not end in order, some may come again";
    JournalDegraded::new(format!("{said}: {error}"), None)
}

#[allow(clippy::disallowed_methods, reason = "the disk is real, and so is the time that it is given")]
fn now() -> Instant {
    Instant::now()
}

/// Says how the writer ended, also if it panicked.
struct Ending {
    ledger: Arc<Ledger>,
    outcome: Option<Result<(), JournalLoss>>,
}

impl Ending {
    fn with(mut self, outcome: Result<(), JournalLoss>) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut log = self.ledger.log();
        let newest = log.newest();
        if let Some(debt) = &mut log.debt {
            let outcome = self.outcome.take().unwrap_or_else(|| {
                let reason = "the thread that writes it has ended".to_owned();
                Err(JournalLoss { from: debt.settled + 1, to: newest, reason })
            });
            if let Err(loss) = &outcome {
                tracing::error!(target: "mainstay", from = loss.from, to = loss.to, "{loss}");
            }
            debt.reserved = u64::MAX;
            debt.ended = Some(outcome);
        }
        drop(log);
        self.ledger.show();
        self.ledger.announce();
    }
}
