//! A disk that does as it is told.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::*;

/// Long enough to say "never" in a test.
pub(super) const NEVER: Duration = Duration::from_secs(3600);
/// Short enough to be waited for.
pub(super) const SOON: Duration = Duration::from_millis(1);

#[derive(Clone, Default)]
pub(super) struct StagedDisk(Arc<(Mutex<Stage>, Condvar)>);

#[derive(Default)]
struct Stage {
    lines: Vec<String>,
    /// Lines that there still is room for; none: any number.
    room: Option<usize>,
    appends: usize,
    is_held: bool,
    waits: bool,
    numbers_are_held: bool,
    numbers_are_refused: bool,
    reserved: u64,
    concluded: Option<u64>,
}

impl StagedDisk {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A journal that writes to this disk, and tries it again `SOON` after it has refused.
    pub(super) fn journal(&self, config: JournalConfig) -> Journal {
        self.journal_that_tries_again(SOON, config)
    }

    pub(super) fn journal_that_tries_again(&self, retry_after: Duration, config: JournalConfig) -> Journal {
        let legacy = Legacy { seq: 0, lost: None, is_concluded: true };
        let clock = Arc::new(SystemClock);
        Journal::on_disk(None, "boot".to_owned(), clock, &config, self.clone(), &legacy, retry_after).unwrap()
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.0.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Stage)) {
        change(&mut self.stage());
        self.0.1.notify_all();
    }

    fn wait_while(&self, condition: impl Fn(&Stage) -> bool) -> MutexGuard<'_, Stage> {
        self.0.1.wait_while(self.stage(), |stage| condition(stage)).unwrap()
    }

    /// From now on it takes `lines` more lines.
    pub(super) fn has_room_for(&self, lines: usize) {
        self.change(|stage| stage.room = Some(lines));
    }

    pub(super) fn has_room(&self) {
        self.change(|stage| stage.room = None);
    }

    /// From now on a write does not return.
    pub(super) fn hold(&self) {
        self.change(|stage| stage.is_held = true);
    }

    pub(super) fn wait_until_held(&self) {
        drop(self.wait_while(|stage| !stage.waits));
    }

    pub(super) fn release(&self) {
        self.change(|stage| stage.is_held = false);
    }

    pub(super) fn hold_numbers(&self, held: bool) {
        self.change(|stage| stage.numbers_are_held = held);
    }

    pub(super) fn refuse_numbers(&self, refused: bool) {
        self.change(|stage| stage.numbers_are_refused = refused);
    }

    pub(super) fn wait_until_concluded(&self) {
        drop(self.wait_while(|stage| stage.concluded.is_none()));
    }

    pub(super) fn appends(&self) -> usize {
        self.stage().appends
    }

    pub(super) fn reserved(&self) -> u64 {
        self.stage().reserved
    }

    pub(super) fn concluded(&self) -> Option<u64> {
        self.stage().concluded
    }

    pub(super) fn seqs(&self) -> Vec<u64> {
        self.stage().lines.iter().map(|line| Record::parse(line).unwrap().seq).collect()
    }
}

impl Disk for StagedDisk {
    fn append(&mut self, first_seq: u64, lines: &[Arc<str>]) -> (usize, io::Result<()>) {
        self.change(|stage| stage.waits = stage.is_held);
        let mut stage = self.wait_while(|stage| stage.is_held);
        stage.waits = false;
        stage.appends += 1;
        assert_eq!(Record::parse(&lines[0]).unwrap().seq, first_seq);
        let room = stage.room.unwrap_or(usize::MAX);
        let taken = lines.len().min(room);
        stage.room = stage.room.map(|room| room - taken);
        stage.lines.extend(lines[..taken].iter().map(|line| (**line).to_owned()));
        let is_full = taken < lines.len();
        (taken, if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) })
    }

    fn reserve(&mut self, through: u64) -> io::Result<()> {
        let mut stage = self.wait_while(|stage| stage.numbers_are_held);
        if stage.numbers_are_refused {
            return Err(io::ErrorKind::StorageFull.into());
        }
        stage.reserved = through;
        Ok(())
    }

    fn conclude(&mut self, last: u64) -> io::Result<()> {
        self.change(|stage| stage.concluded = Some(last));
        Ok(())
    }
}
