//! The log of one program: takes its output in pieces, and passes whole lines on to the writer.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mainstay_runtime::ActorPath;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{Event, count, millis};
use parking_lot::Mutex;

use super::events::{OutputNoisy, OutputQuiet};
use super::flood::{Dropped, FloodEnd, FloodLimiter, LogRate};
use super::line::{LogLine, LogStream};
use super::tail::{EXCERPT_LINES, OutputTail};
use super::text::{LINE_BYTES_MAX, RawLine};
use super::writer_link::{LineSource, WriterLink, now};
use crate::error::Secrets;

/// The most bytes of lines that wait for the writer.
const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// The bytes that are added to the length of each waiting line, for its place in the queue.
const LINE_OVERHEAD_BYTES: usize = 64;

/// The rate at which the output of a flood is read and thrown away, in bytes a second. It bounds the work for it.
const FLOOD_BYTES_PER_SECOND: f64 = 16.0 * 1024.0 * 1024.0;

/// The log of one program, across all its starts. Cheap to clone.
#[derive(Clone)]
pub struct ProcessLog(Arc<LogSource>);

struct LogSource {
    id: String,
    path: Option<ActorPath>,
    /// The link to the writer; `None` for a log that only keeps the last lines.
    link: Option<Arc<WriterLink>>,
    created_at: Instant,
    state: Mutex<SourceState>,
    /// The generation of the actor that starts the next process, and of the one that started the present process.
    generations: [AtomicU64; 2],
}

struct SourceState {
    secrets: Secrets,
    /// The lines of stdout and stderr that have not ended yet.
    partial_lines: [RawLine; 2],
    tail: OutputTail,
    limiter: FloodLimiter,
    rate: LogRate,
    /// The last lines that were left out, since the last one of their stream that was not.
    last_dropped: VecDeque<(LogStream, RawLine)>,
    queue: VecDeque<LogLine>,
    queue_bytes: usize,
    /// The lines that found no room in the queue.
    overflow: Dropped,
}

impl fmt::Debug for ProcessLog {
    /// Omits the output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProcessLog").field(&self.0.id).finish()
    }
}

impl Default for ProcessLog {
    /// Creates a log that keeps the last lines only.
    fn default() -> Self {
        let rate = LogRate { lines_per_second: 1000, bytes_per_second: 1024 * 1024 };
        Self::new(String::new(), None, None, rate)
    }
}

impl ProcessLog {
    pub(super) fn new(
        id: String,
        path: Option<ActorPath>,
        link: Option<Arc<WriterLink>>,
        rate: LogRate,
    ) -> Self {
        Self(Arc::new(LogSource {
            id,
            path,
            link,
            created_at: now(),
            generations: Default::default(),
            state: Mutex::new(SourceState {
                secrets: Secrets::default(),
                partial_lines: Default::default(),
                tail: OutputTail::default(),
                limiter: FloodLimiter::new(rate),
                rate,
                last_dropped: VecDeque::new(),
                queue: VecDeque::new(),
                queue_bytes: 0,
                overflow: Dropped::default(),
            }),
        }))
    }

    // === for the program's owner ===

    /// Begins the output of a process, in which these secrets are redacted. The kept lines of the one before are shown
    /// without them as well, so they have to include the secrets of earlier starts.
    pub(crate) fn begin(&self, secrets: Secrets) {
        let [next, present] = &self.0.generations;
        present.store(next.load(Ordering::Relaxed), Ordering::Relaxed);
        let mut state = self.0.state.lock();
        state.secrets = secrets;
        state.partial_lines = Default::default();
        state.tail.begin();
    }

    /// Sets the generation of the program's actor, for the events of the processes that begin from now on.
    pub(crate) fn set_generation(&self, generation: u64) {
        self.0.generations[0].store(generation, Ordering::Relaxed);
    }

    /// Adds a note of the runtime.
    pub(crate) fn note(&self, text: &str) {
        self.0.add_note(&mut self.0.state.lock(), text.to_owned());
    }

    /// Takes a piece of an output. Returns the pause before the next read, which is not zero in a flood.
    #[must_use]
    pub(crate) fn push(&self, stream: LogStream, piece: &[u8]) -> Duration {
        self.0.push(stream, piece)
    }

    /// Takes a whole line of an output, without its end. Returns the pause, as [`push`](Self::push).
    #[must_use]
    pub(crate) fn push_line(&self, stream: LogStream, line: &[u8]) -> Duration {
        let mut raw = RawLine::default();
        raw.extend(line);
        self.0.push_line(stream, raw)
    }

    /// Takes the beginning of a line that is too long. Returns the pause, as [`push`](Self::push).
    #[must_use]
    pub(crate) fn push_cut_line(&self, stream: LogStream, beginning: &[u8]) -> Duration {
        let mut raw = RawLine::default();
        raw.extend(beginning);
        raw.is_cut = true;
        self.0.push_line(stream, raw)
    }

    /// Ends the output of a process, with a note.
    pub(crate) fn end(&self, note: &str) {
        self.0.end(note);
    }

    /// Records an event under the path of the program's actor.
    pub(crate) fn record<E: Event>(&self, event: &E) {
        self.0.record(event);
    }

    // === for people ===

    /// Returns the last lines of the present process, or of the last one if the present one has printed none: at most
    /// 20, without secrets. A longer traceback at the end has its first lines before them.
    #[must_use]
    pub fn excerpt(&self) -> Vec<String> {
        let state = self.0.state.lock();
        state.tail.excerpt(&state.secrets)
    }

    /// Returns whether the last lines are of the process before the present one, which has printed none yet.
    #[must_use]
    pub fn is_of_predecessor(&self) -> bool {
        self.0.state.lock().tail.is_of_predecessor()
    }

    /// Returns the last lines of the present process, as [`excerpt`](Self::excerpt).
    pub(crate) fn own_excerpt(&self) -> Vec<String> {
        let state = self.0.state.lock();
        state.tail.own_excerpt(&state.secrets)
    }

    /// Returns the last line of the present process that is not blank. One that has not ended yet counts as well.
    pub(crate) fn last_line(&self) -> Option<String> {
        let state = self.0.state.lock();
        let open = state.partial_lines.iter().map(|line| line.to_text(&state.secrets, LINE_BYTES_MAX));
        let open = open.rev().find(|line| !line.trim().is_empty());
        open.or_else(|| state.tail.last_line(&state.secrets))
    }

    /// Returns the last line on stderr of the present process that is not blank. It explains an exit best.
    pub(crate) fn last_stderr_line(&self) -> Option<String> {
        let state = self.0.state.lock();
        state.tail.last_stderr_line(&state.secrets)
    }

    /// Returns whether the program prints so much that lines are left out.
    #[must_use]
    pub fn is_noisy(&self) -> bool {
        self.0.is_noisy()
    }
}

impl LogSource {
    /// Returns the time since the log was created.
    fn age(&self) -> Duration {
        now().saturating_duration_since(self.created_at)
    }

    fn push(self: &Arc<Self>, stream: LogStream, mut piece: &[u8]) -> Duration {
        let (now, mut skipped) = (self.age(), 0);
        let mut state = self.state.lock();
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            if !state.limiter.has_room(stream, now) {
                let length = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
                self.drop_lines(&mut state, stream, &piece[..length], now);
                (piece, skipped) = (&piece[length..], skipped + length);
                break;
            }
            let line = state.partial_line(stream);
            skipped += line.extend(&piece[..end]);
            let line = std::mem::take(line);
            self.add_line(&mut state, stream, line);
            piece = &piece[end + 1..];
        }
        skipped += state.partial_line(stream).extend(piece);
        drop(state);
        pause_after(skipped)
    }

    fn push_line(self: &Arc<Self>, stream: LogStream, raw: RawLine) -> Duration {
        let (now, bytes) = (self.age(), raw.bytes.len());
        let mut state = self.state.lock();
        if state.limiter.has_room(stream, now) {
            self.add_line(&mut state, stream, raw);
            return Duration::ZERO;
        }
        self.count_dropped(&mut state, 1, bytes, now);
        state.keep_dropped(stream, raw);
        drop(state);
        pause_after(bytes)
    }

    fn end(self: &Arc<Self>, note: &str) {
        let mut state = self.state.lock();
        for stream in [LogStream::Out, LogStream::Err] {
            let line = std::mem::take(state.partial_line(stream));
            if !line.is_empty() {
                self.add_line(&mut state, stream, line);
            }
        }
        if let Some(flood) = state.limiter.end() {
            self.tell_flood_end(&mut state, flood);
        }
        self.add_note(&mut state, note.to_owned());
    }

    fn record<E: Event>(&self, event: &E) {
        if let (Some(started), Some(path)) = (self.link.as_ref().and_then(|link| link.started()), &self.path)
        {
            started.journal.record(path, self.generations[1].load(Ordering::Relaxed), event);
        }
    }

    fn wall_time(&self) -> Option<WallTime> {
        Some(WallTime(self.link.as_ref()?.started()?.journal.wall_time()))
    }

    /// Adds a line that passes the limiter.
    fn add_line(self: &Arc<Self>, state: &mut SourceState, stream: LogStream, line: RawLine) {
        state.limiter.pass(stream, line.bytes.len());
        state.last_dropped.retain(|(dropped, _)| *dropped != stream);
        if self.link.is_some() {
            let text = line.to_text(&state.secrets, LINE_BYTES_MAX);
            self.enqueue(state, stream, text);
        }
        state.tail.push(stream, line);
    }

    fn add_note(self: &Arc<Self>, state: &mut SourceState, text: String) {
        self.enqueue(state, LogStream::Note, text);
    }

    fn enqueue(self: &Arc<Self>, state: &mut SourceState, stream: LogStream, text: String) {
        let (Some(link), Some(at)) = (&self.link, self.wall_time()) else { return };
        let bytes = text.len() + LINE_OVERHEAD_BYTES;
        if state.queue_bytes + bytes > QUEUE_BYTES_MAX {
            state.overflow.add(1, text.len() as u64);
        } else {
            state.queue_bytes += bytes;
            state.queue.push_back(LogLine { at, stream, text });
        }
        link.wake_writer(Arc::clone(self) as Arc<dyn LineSource>);
    }

    /// Leaves out whole lines, of which the first may continue a partial one.
    fn drop_lines(self: &Arc<Self>, state: &mut SourceState, stream: LogStream, lines: &[u8], now: Duration) {
        let number = lines.iter().filter(|byte| **byte == b'\n').count();
        self.count_dropped(state, number, lines.len(), now);
        let mut first = std::mem::take(state.partial_line(stream));
        let last_lines = lines.strip_suffix(b"\n").unwrap_or(lines).rsplit(|byte| *byte == b'\n');
        let last_lines: Vec<&[u8]> = last_lines.take(EXCERPT_LINES).collect();
        if last_lines.len() < number {
            first = RawLine::default();
        }
        for line in last_lines.into_iter().rev() {
            let mut raw = std::mem::take(&mut first);
            raw.extend(line);
            state.keep_dropped(stream, raw);
        }
    }

    fn count_dropped(self: &Arc<Self>, state: &mut SourceState, lines: usize, bytes: usize, now: Duration) {
        if !state.limiter.drop_lines(lines as u64, bytes as u64, now) {
            return;
        }
        let LogRate { lines_per_second, bytes_per_second } = state.rate;
        let begin = OutputNoisy { lines_per_second, bytes_per_second };
        self.record(&begin);
        self.add_note(state, begin.describe());
        if let Some(link) = &self.link {
            link.watch_flood(Arc::clone(self) as Arc<dyn LineSource>);
        }
    }

    /// Notes how much was left out, and adds the last of it: what comes before an end explains it.
    fn tell_flood_end(self: &Arc<Self>, state: &mut SourceState, flood: FloodEnd) {
        let Dropped { lines, bytes } = flood.dropped;
        let end = OutputQuiet { dropped_lines: lines, dropped_bytes: bytes, noisy_ms: millis(flood.lasted) };
        self.record(&end);
        let last = std::mem::take(&mut state.last_dropped);
        let which = match last.len() {
            0 => String::new(),
            shown => format!("; the last of them follow ({shown})"),
        };
        self.add_note(state, format!("{}{which}", end.describe()));
        for (stream, line) in last {
            let text = line.to_text(&state.secrets, LINE_BYTES_MAX);
            self.enqueue(state, stream, text);
        }
    }
}

impl LineSource for LogSource {
    fn id(&self) -> &str {
        &self.id
    }

    fn take_lines(&self) -> VecDeque<LogLine> {
        let mut state = self.state.lock();
        state.queue_bytes = 0;
        let mut lines = std::mem::take(&mut state.queue);
        let Dropped { lines: lost, bytes } = std::mem::take(&mut state.overflow);
        if lost > 0
            && let Some(at) = self.wall_time()
        {
            let (lost, bytes) = (count(lost, "line"), count(bytes, "byte"));
            let text = format!("{lost} ({bytes}) are missing here: the disk did not take them in time");
            lines.push_back(LogLine { at, stream: LogStream::Note, text });
        }
        lines
    }

    fn is_noisy(&self) -> bool {
        self.state.lock().limiter.is_noisy()
    }

    fn end_flood_if_quiet(self: Arc<Self>) -> bool {
        let mut state = self.state.lock();
        if let Some(flood) = state.limiter.end_if_quiet(self.age()) {
            self.tell_flood_end(&mut state, flood);
        }
        state.limiter.is_noisy()
    }
}

impl SourceState {
    fn partial_line(&mut self, stream: LogStream) -> &mut RawLine {
        &mut self.partial_lines[stream.index()]
    }

    fn keep_dropped(&mut self, stream: LogStream, line: RawLine) {
        self.tail.push(stream, line.clone());
        self.last_dropped.push_back((stream, line));
        while self.last_dropped.len() > EXCERPT_LINES {
            self.last_dropped.pop_front();
        }
    }
}

/// Returns the pause after so many bytes were thrown away.
fn pause_after(skipped_bytes: usize) -> Duration {
    Duration::from_secs_f64(skipped_bytes as f64 / FLOOD_BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use mainstay_runtime::journal::KnownSecrets;

    use super::*;

    fn log_with(lines_per_second: u32) -> ProcessLog {
        let rate = LogRate { lines_per_second, bytes_per_second: 1 << 30 };
        ProcessLog::new("it".to_owned(), None, None, rate)
    }

    fn push(log: &ProcessLog, stream: LogStream, text: &str) -> Duration {
        log.push(stream, text.as_bytes())
    }

    #[test]
    fn pieces_of_two_streams_form_lines() {
        let log = log_with(1000);
        for (stream, piece) in [
            (LogStream::Out, "a"),
            (LogStream::Err, "x\ny"),
            (LogStream::Out, "b\nc\r\n"),
            (LogStream::Err, "\n\n"),
            (LogStream::Out, "open"),
        ] {
            assert_eq!(push(&log, stream, piece), Duration::ZERO);
        }
        assert_eq!(log.excerpt(), ["x", "ab", "c", "y", ""]);
        assert_eq!(log.last_line().as_deref(), Some("open"));
        log.end("it ended");
        assert_eq!(log.own_excerpt().last().unwrap(), "open", "a line without an end counts at the end");
        log.begin(Secrets::default());
        assert_eq!((log.own_excerpt().len(), log.last_line()), (0, None));
        assert_eq!(log.excerpt().len(), 6);
    }

    #[test]
    fn line_of_an_earlier_start_is_redacted_by_all_known_secrets() {
        let (log, known) = (log_with(1000), KnownSecrets::default());
        log.begin(Secrets::default().with_shared(&known));
        known.add(["first-secret".to_owned()]);
        assert_eq!(push(&log, LogStream::Err, "it was first-secret\n"), Duration::ZERO);
        log.begin(Secrets::from_texts(["second".to_owned()]).with_shared(&known));
        assert_eq!(log.excerpt(), ["it was [redacted]"]);
    }

    #[test]
    fn flood_is_dropped_and_slowed_and_keeps_its_last_lines() {
        let log = log_with(1);
        let flood: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
        let mut paused = Duration::ZERO;
        for piece in flood.as_bytes().chunks(1000) {
            paused += log.push(LogStream::Err, piece);
        }
        assert!(log.is_noisy());
        let expected: Vec<String> = (9980..10_000).map(|n| format!("line {n}")).collect();
        assert_eq!(log.excerpt(), expected);
        let slowest = flood.len() as f64 / FLOOD_BYTES_PER_SECOND;
        assert!(paused.as_secs_f64() > slowest * 0.9 && paused.as_secs_f64() < slowest * 1.1, "{paused:?}");
        assert_eq!(push(&log, LogStream::Out, "not flooded\n"), Duration::ZERO);
        assert!(log.push_line(LogStream::Err, b"stray") > Duration::ZERO);
        log.end("it ended");
        assert!(!log.is_noisy());
        assert_eq!(log.excerpt().last().unwrap(), "stray");
    }

    #[test]
    fn line_without_end_takes_bounded_space_and_slows_its_reader() {
        let log = log_with(1000);
        let mut paused = Duration::ZERO;
        for _ in 0..100 {
            paused += log.push(LogStream::Out, &[b'x'; 16 * 1024]);
        }
        assert!(paused > Duration::from_millis(50), "{paused:?}");
        let line = log.last_line().unwrap();
        assert!(line.ends_with("x…") && line.len() <= LINE_BYTES_MAX + 3);
        assert!(!log.is_noisy(), "it is one line");
    }
}
