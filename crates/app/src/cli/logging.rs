//! Logs to stderr, as far as that is read.
//!
//! A log must not stop what it is about: a terminal that is held, or a pipe without a reader, costs lines and nothing
//! else. The lines go through a bounded queue to a thread; those that find no room are counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::args::Args;
use super::output;
use super::stderr::LAST_LINE_TIMEOUT;

/// The most lines that wait for stderr.
const LINES_WAITING_MAX: usize = 1024;

/// Sends logs to stderr, until the returned guard is dropped. Events are shown by the commands themselves, so they are
/// logged only if asked for.
pub(super) fn start(args: &Args) -> LogGuard {
    let filter = match args.log {
        Some(level) => EnvFilter::new(level.as_str()),
        None => EnvFilter::new("warn,mainstay=off,ractor=error"),
    };
    let queue = LogQueue::to(io::stderr());
    let guard = LogGuard(queue.entries.clone());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(queue)
        .with_ansi(output::has_colours(&io::stderr()))
        .log_internal_errors(false)
        .init();
    guard
}

/// A guard that waits, for a moment, until the log is written.
pub(super) struct LogGuard(SyncSender<LogEntry>);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, written) = sync_channel(1);
        if self.0.try_send(LogEntry::Flush(done)).is_ok() {
            let _ = written.recv_timeout(LAST_LINE_TIMEOUT);
        }
    }
}

enum LogEntry {
    Line(Vec<u8>),
    /// Everything before it is written, or lost.
    Flush(SyncSender<()>),
}

/// The queue of lines that wait for their output.
struct LogQueue {
    entries: SyncSender<LogEntry>,
    dropped: Arc<AtomicU64>,
}

impl LogQueue {
    /// Starts the thread that writes to `output`. It ends with the queue.
    fn to(output: impl Write + Send + 'static) -> Self {
        let (entries, waiting) = sync_channel(LINES_WAITING_MAX);
        let dropped = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&dropped);
        thread::spawn(move || write_lines(output, &waiting, &counted));
        Self { entries, dropped }
    }
}

fn write_lines(mut output: impl Write, waiting: &Receiver<LogEntry>, dropped: &AtomicU64) {
    while let Ok(entry) = waiting.recv() {
        match entry {
            // A reader that is gone may be replaced, as that of a terminal is.
            LogEntry::Line(line) => {
                let _ = output.write_all(&line);
            }
            LogEntry::Flush(done) => {
                let _ = done.send(());
            }
        }
        let lines = dropped.swap(0, Ordering::Relaxed);
        if lines > 0 {
            let report = format!("{lines} lines of the log were dropped: they were not read in time\n");
            let _ = output.write_all(report.as_bytes());
        }
    }
}

/// A line of the log, which is queued when it is complete.
struct QueuedLine<'a> {
    queue: &'a LogQueue,
    line: Vec<u8>,
}

impl Write for QueuedLine<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for QueuedLine<'_> {
    fn drop(&mut self) {
        let line = LogEntry::Line(std::mem::take(&mut self.line));
        if self.queue.entries.try_send(line).is_err() {
            self.queue.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = QueuedLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        QueuedLine { queue: self, line: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// An output that takes nothing until it is opened, and passes on what it takes.
    struct HeldOutput {
        opened: Receiver<()>,
        taken: SyncSender<String>,
    }

    impl Write for HeldOutput {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            // Once the other half is dropped, it stays open.
            let _ = self.opened.recv();
            self.taken.send(String::from_utf8_lossy(piece).into_owned()).map_err(io::Error::other)?;
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn held_output_costs_counted_lines_and_blocks_no_caller() {
        let ((open, opened), (taken, lines)) = (sync_channel(0), sync_channel(8));
        let queue = LogQueue::to(HeldOutput { opened, taken });
        let logged = LINES_WAITING_MAX + 100;
        for number in 0..logged {
            writeln!(queue.make_writer(), "line {number}").unwrap();
        }
        drop(open);
        drop(queue);
        let (mut shown, mut dropped) = (0, 0);
        for line in lines {
            match line.split_once(" lines of the log were dropped") {
                Some((count, _)) => dropped += count.parse::<usize>().unwrap(),
                None if line.starts_with("line ") => shown += 1,
                None => {}
            }
        }
        assert_eq!(shown + dropped, logged);
        assert!(dropped >= 99, "the thread holds at most one line beside the queue: {dropped}");
    }

    /// An output that fails at first.
    struct FailsFirst(SyncSender<Vec<u8>>, bool);

    impl Write for FailsFirst {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            if std::mem::take(&mut self.1) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.send(piece.to_vec()).map_err(io::Error::other)?;
            Ok(piece.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_that_cannot_be_written_does_not_end_the_log() {
        let (taken, lines) = sync_channel(8);
        let queue = LogQueue::to(FailsFirst(taken, true));
        let guard = LogGuard(queue.entries.clone());
        for line in ["first", "second"] {
            write!(queue.make_writer(), "{line}").unwrap();
        }
        drop(guard);
        assert_eq!(lines.try_iter().collect::<Vec<_>>(), [b"second"]);
    }
}
