//! The thread that brings lines to disk: in groups, synced once a group.
//!
//! It is a thread and not a task because file systems block; it ends when its [`Writer`] is dropped, after it
//! has written what it was given.

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use super::memory::Line;
use super::private;
use super::segment::{self, Segment, Tail};
use super::{JournalConfig, JournalDegraded, JournalError};

/// Lines on their way to the thread.
const CHANNEL_LINES_MAX: usize = 8192;
/// Lines that the thread holds back while the disk refuses them.
const BACKLOG_LINES_MAX: usize = 8192;
/// Lines written and synced together.
const GROUP_LINES_MAX: usize = 512;
/// How long the thread waits before it tries a disk again that refused.
const RETRY_AFTER: Duration = Duration::from_secs(1);

enum Order {
    Write(Arc<Line>),
    Flush(oneshot::Sender<()>),
}

/// The caller's end of the thread.
pub(super) struct Writer {
    orders: SyncSender<Order>,
    /// Lines that found the channel full.
    overrun: Option<(u64, u64)>,
    trouble: Arc<Trouble>,
    thread: JoinHandle<()>,
}

/// What the thread has to tell, picked up with the next event.
#[derive(Default)]
struct Trouble {
    any: AtomicBool,
    accounts: Mutex<VecDeque<JournalDegraded>>,
}

impl Trouble {
    fn tell(&self, account: JournalDegraded) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        // A disk that fails, recovers and fails again between two events tells its newest troubles.
        if accounts.len() == 16 {
            accounts.pop_front();
        }
        accounts.push_back(account);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<JournalDegraded> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = accounts.pop_front();
        self.any.store(!accounts.is_empty(), Ordering::Release);
        account
    }
}

impl Writer {
    /// Locks `dir`, takes up its last segment, and starts the thread. Also says where the numbering stands.
    pub(super) fn open(dir: &Path, config: &JournalConfig) -> Result<(Self, u64), JournalError> {
        let io = |source| JournalError::Io { dir: dir.to_owned(), source };
        private::folder(dir).map_err(io)?;
        let lock = lock(dir)?;
        let segments = segment::list(dir).map_err(io)?;
        let last = segments.last().cloned().unwrap_or_else(|| Segment::new(dir, 1));
        let tail = segment::take_up(&last).map_err(io)?;
        let last_seq = tail.last_seq;
        let (orders, inbox) = sync_channel(CHANNEL_LINES_MAX);
        let trouble = Arc::new(Trouble::default());
        let thread = Thread {
            dir: dir.to_owned(),
            tail,
            segment_bytes_max: config.segment_bytes_max.max(1),
            segments_max: config.segments_max.max(1),
            backlog: VecDeque::new(),
            lost: None,
            failing: false,
            trouble: Arc::clone(&trouble),
            _lock: lock,
        };
        let thread = thread::Builder::new()
            .name("mainstay-journal".to_owned())
            .spawn(move || thread.run(&inbox))
            .map_err(io)?;
        Ok((Self { orders, overrun: None, trouble, thread }, last_seq))
    }

    /// Hands a line on; one that finds no room is counted as lost.
    pub(super) fn write(&mut self, line: Arc<Line>) {
        let seq = line.seq;
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.orders.try_send(Order::Write(line))
        {
            let from = self.overrun.map_or(seq, |(from, _)| from);
            self.overrun = Some((from, seq));
        }
    }

    /// Says `done` once everything handed on so far was written or has failed.
    pub(super) fn flush(&mut self, done: oneshot::Sender<()>) {
        // Dropping `done` when there is no room wakes the caller, who then knows that the disk is behind.
        let _ = self.orders.try_send(Order::Flush(done));
    }

    /// Ends the thread, after it has written what it was given.
    pub(super) fn join(self) {
        drop(self.orders);
        // A thread that panicked has nothing more to say than its panic message did.
        let _ = self.thread.join();
    }

    /// What was lost or refused since the last call, if anything.
    pub(super) fn account_for_loss(&mut self) -> Option<JournalDegraded> {
        if let Some((from, to)) = self.overrun.take() {
            return Some(JournalDegraded {
                reason: "the disk could not follow; these lines were never written".to_owned(),
                lost_from: Some(from),
                lost_to: Some(to),
            });
        }
        self.trouble.take()
    }
}

/// One writer a folder: the lock goes with the process, however that ends.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let io = |source| JournalError::Io { dir: dir.to_owned(), source };
    let file = private::file().write(true).open(dir.join("journal.lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

struct Thread {
    dir: PathBuf,
    tail: Tail,
    segment_bytes_max: u64,
    segments_max: usize,
    backlog: VecDeque<Arc<Line>>,
    lost: Option<(u64, u64)>,
    failing: bool,
    trouble: Arc<Trouble>,
    _lock: File,
}

impl Thread {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let first = if self.failing {
                inbox.recv_timeout(RETRY_AFTER)
            } else {
                inbox.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
            let mut flushed = Vec::new();
            for order in first.into_iter().chain(inbox.try_iter()) {
                match order {
                    Order::Write(line) => self.hold(line),
                    Order::Flush(done) => flushed.push(done),
                }
                if self.backlog.len() >= GROUP_LINES_MAX || !flushed.is_empty() {
                    break;
                }
            }
            self.write_backlog();
            for done in flushed {
                // The one who waited may have gone.
                let _ = done.send(());
            }
            if ended {
                return;
            }
        }
    }

    fn hold(&mut self, line: Arc<Line>) {
        if self.backlog.len() == BACKLOG_LINES_MAX
            && let Some(oldest) = self.backlog.pop_front()
        {
            let from = self.lost.map_or(oldest.seq, |(from, _)| from);
            self.lost = Some((from, oldest.seq));
        }
        self.backlog.push_back(line);
    }

    fn write_backlog(&mut self) {
        if self.backlog.is_empty() {
            return;
        }
        match self.try_write() {
            Ok(()) => {
                self.backlog.clear();
                if std::mem::take(&mut self.failing) {
                    self.tell("the disk takes lines again".to_owned());
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    self.tell(format!("the disk refuses lines, they wait in memory: {error}"));
                }
            }
        }
    }

    fn tell(&mut self, reason: String) {
        tracing::warn!(target: "mainstay", kind = "journal_degraded", "{reason}");
        let lost = self.lost.take();
        let (lost_from, lost_to) = (lost.map(|(from, _)| from), lost.map(|(_, to)| to));
        self.trouble.tell(JournalDegraded { reason, lost_from, lost_to });
    }

    /// Writes the whole backlog as one group, or leaves the file as it was.
    fn try_write(&mut self) -> io::Result<()> {
        let Some(first_seq) = self.backlog.front().map(|line| line.seq) else { return Ok(()) };
        if self.tail.bytes >= self.segment_bytes_max {
            self.begin_segment(first_seq)?;
        }
        let mut group = Vec::with_capacity(self.backlog.iter().map(|line| line.text.len() + 1).sum());
        for line in &self.backlog {
            group.extend_from_slice(line.text.as_bytes());
            group.push(b'\n');
        }
        let written = self.tail.file.write_all(&group).and_then(|()| self.tail.file.sync_data());
        if let Err(error) = written {
            // What is there of the group goes again, so that it can be written whole later, and once.
            self.tail.file.set_len(self.tail.bytes)?;
            return Err(error);
        }
        self.tail.bytes += group.len() as u64;
        Ok(())
    }

    fn begin_segment(&mut self, first_seq: u64) -> io::Result<()> {
        self.tail = segment::take_up(&Segment::new(&self.dir, first_seq))?;
        let segments = segment::list(&self.dir)?;
        let surplus = segments.len().saturating_sub(self.segments_max);
        for old in &segments[..surplus] {
            fs::remove_file(&old.path)?;
        }
        Ok(())
    }
}
