//! A disk that tests control.

use std::io;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::*;
use crate::journal::files::WriteOutcome;

/// Long enough to mean "never" in a test.
pub(super) const NEVER: Duration = Duration::from_secs(3600);
/// Short enough to wait for.
pub(super) const SOON: Duration = Duration::from_millis(1);

#[derive(Clone, Default)]
pub(super) struct FakeDisk(Arc<(Mutex<FakeDiskState>, Condvar)>);

#[derive(Default)]
struct FakeDiskState {
    lines: Vec<String>,
    /// The number of lines that still fit; `None` for any number.
    room: Option<usize>,
    appends: usize,
    is_blocked: bool,
    is_waiting: bool,
    is_closed: bool,
}

impl FakeDisk {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Returns a journal that writes to this disk, and tries it again `SOON` after it has refused.
    pub(super) fn journal(&self, config: JournalOptions) -> Journal {
        self.journal_with_retry(SOON, config)
    }

    /// Returns a journal whose first line the disk does not finish to write until it is unblocked.
    pub(super) fn blocked_journal(&self) -> Journal {
        let journal = self.journal(JournalOptions::default());
        self.block_writes();
        record_numbers(&journal, [0]);
        self.wait_until_blocked();
        journal
    }

    pub(super) fn journal_with_retry(&self, retry_after: Duration, config: JournalOptions) -> Journal {
        let recovered = RecoveredState { run: 1, interrupted_after: None };
        let disk = OpenDisk(self.clone());
        let clock = Arc::new(SystemClock);
        Journal::on_disk(None, "boot".to_owned(), clock, &config, (disk, recovered), retry_after).unwrap()
    }

    fn state(&self) -> MutexGuard<'_, FakeDiskState> {
        self.0.0.lock()
    }

    fn change(&self, change: impl FnOnce(&mut FakeDiskState)) {
        change(&mut self.state());
        self.0.1.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&FakeDiskState) -> bool) -> MutexGuard<'_, FakeDiskState> {
        let mut stage = self.state();
        self.0.1.wait_while(&mut stage, |stage| condition(stage));
        stage
    }

    /// Lets the disk take `lines` more lines.
    pub(super) fn set_room(&self, lines: usize) {
        self.change(|stage| stage.room = Some(lines));
    }

    pub(super) fn remove_limit(&self) {
        self.change(|stage| stage.room = None);
    }

    /// Blocks every write from now on.
    pub(super) fn block_writes(&self) {
        self.change(|stage| stage.is_blocked = true);
    }

    pub(super) fn wait_until_blocked(&self) {
        drop(self.wait_while(|stage| !stage.is_waiting));
    }

    pub(super) fn unblock_writes(&self) {
        self.change(|stage| stage.is_blocked = false);
    }

    pub(super) fn wait_until_closed(&self) {
        drop(self.wait_while(|stage| !stage.is_closed));
    }

    pub(super) fn appends(&self) -> usize {
        self.state().appends
    }

    pub(super) fn seqs(&self) -> Vec<u64> {
        self.state().lines.iter().map(|line| Record::parse(line).unwrap().seq).collect()
    }
}

/// The disk as the writer holds it.
struct OpenDisk(FakeDisk);

impl Drop for OpenDisk {
    fn drop(&mut self) {
        self.0.change(|stage| stage.is_closed = true);
    }
}

impl Disk for OpenDisk {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> WriteOutcome {
        let disk = &self.0;
        disk.change(|stage| stage.is_waiting = stage.is_blocked);
        let mut stage = disk.wait_while(|stage| stage.is_blocked);
        stage.is_waiting = false;
        stage.appends += 1;
        assert_eq!(Record::parse(&lines[0]).unwrap().seq, first_seq);
        let room = stage.room.unwrap_or(usize::MAX);
        let written = lines.len().min(room);
        stage.room = stage.room.map(|room| room - written);
        stage.lines.extend(lines[..written].iter().map(|line| (**line).to_owned()));
        let is_full = written < lines.len();
        let result = if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
        WriteOutcome { written, lost: None, result }
    }
}
