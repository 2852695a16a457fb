//! Keeps the last lines of a program's output, in bounded space.

use std::collections::VecDeque;

use super::line::LogStream;
use super::text::RawLine;
use super::traceback::{Excerpt, TracebackFinder, choose_excerpt};
use crate::error::Secrets;

/// The most lines of an excerpt.
pub(super) const EXCERPT_LINES: usize = 20;

/// The lines of an excerpt that are from stdout, if it has so many, however many are on stderr.
const STDOUT_LINES: usize = 5;

/// The bytes that are kept of all lines of a stream together, as they were printed.
const BYTES_MAX: usize = 64 * 1024;

/// The longest line that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 768;

/// The last lines of the newest program that has printed something.
///
/// They are kept as they came, and redacted when they are shown: most are never shown.
#[derive(Debug, Default)]
pub(super) struct OutputTail {
    stdout: StreamTail,
    stderr: StreamTail,
    /// The number of lines so far.
    lines: u64,
    /// True until the present program has printed a line: the lines are those of the one before it.
    is_of_predecessor: bool,
}

/// The last lines of one stream, each with its number.
#[derive(Debug, Default)]
struct StreamTail {
    lines: VecDeque<(u64, RawLine)>,
    bytes: usize,
    traceback: TracebackFinder<(u64, RawLine)>,
}

impl OutputTail {
    /// Begins the output of another program.
    pub(super) fn begin(&mut self) {
        self.is_of_predecessor = true;
    }

    pub(super) fn push(&mut self, stream: LogStream, line: RawLine) {
        if self.is_of_predecessor {
            *self = Self::default();
        }
        self.lines += 1;
        let tail = if stream == LogStream::Err { &mut self.stderr } else { &mut self.stdout };
        tail.push(self.lines, line);
    }

    /// Returns the last lines, oldest first, with the head of a traceback that is longer than they are. Lines of stderr
    /// are not lost among those of stdout, and a traceback there is in one piece.
    pub(super) fn excerpt(&self, secrets: &Secrets) -> Vec<String> {
        let stderr_max = EXCERPT_LINES - self.stdout.lines.len().min(STDOUT_LINES);
        let mut lines = self.stderr.excerpt(stderr_max, secrets);
        lines.extend(self.stdout.excerpt(EXCERPT_LINES - lines.len(), secrets));
        lines.sort_by_key(|(number, _)| *number);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Returns whether the lines are of the program before the present one.
    pub(super) fn is_of_predecessor(&self) -> bool {
        self.is_of_predecessor
    }

    /// Returns the lines of the present program, as [`excerpt`](Self::excerpt).
    pub(super) fn own_excerpt(&self, secrets: &Secrets) -> Vec<String> {
        if self.is_of_predecessor { Vec::new() } else { self.excerpt(secrets) }
    }

    /// Returns the last line of the present program that is not blank.
    pub(super) fn last_line(&self, secrets: &Secrets) -> Option<String> {
        let last = [&self.stdout, &self.stderr].into_iter().filter_map(|stream| stream.last_line(secrets));
        let (_, line) = last.max_by_key(|(number, _)| *number).filter(|_| !self.is_of_predecessor)?;
        Some(line)
    }

    /// Returns the last line on stderr of the present program that is not blank. It explains an exit best.
    pub(super) fn last_stderr_line(&self, secrets: &Secrets) -> Option<String> {
        self.stderr.last_line(secrets).filter(|_| !self.is_of_predecessor).map(|(_, line)| line)
    }
}

impl StreamTail {
    fn push(&mut self, number: u64, line: RawLine) {
        self.traceback.observe(&line.bytes, || (number, line.clone()));
        self.bytes += line.bytes.len();
        self.lines.push_back((number, line));
        while self.lines.len() > EXCERPT_LINES || self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.lines.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Returns at most `lines_max` lines with their numbers. Those of a traceback all have the last number.
    fn excerpt(&self, lines_max: usize, secrets: &Secrets) -> Vec<(u64, String)> {
        let found = self.traceback.found();
        let Excerpt { head, left_out, last } = choose_excerpt(found, self.lines.len(), lines_max);
        let last_number = self.lines.back().map_or(0, |(number, _)| *number);
        let begin = found.and_then(|(head, _)| head.first()).map_or(u64::MAX, |(number, _)| *number);
        let shown = |(number, line): &(u64, RawLine)| {
            let number = if *number >= begin { last_number } else { *number };
            (number, line.to_text(secrets, SHOWN_BYTES_MAX))
        };
        let mark = (left_out > 0).then(|| (last_number, format!("… {left_out} lines are left out here …")));
        let last = self.lines.range(self.lines.len() - last..).map(shown);
        head.iter().map(shown).chain(mark).chain(last).collect()
    }

    /// Returns the last line that is not blank, with its number.
    fn last_line(&self, secrets: &Secrets) -> Option<(u64, String)> {
        self.lines.iter().rev().find_map(|(number, line)| {
            let text = line.to_text(secrets, SHOWN_BYTES_MAX);
            (!text.trim().is_empty()).then_some((*number, text))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push_to(tail: &mut OutputTail, stream: LogStream, text: &str) {
        let mut line = RawLine::default();
        line.extend(text.as_bytes());
        tail.push(stream, line);
    }

    fn push(tail: &mut OutputTail, text: &str) {
        push_to(tail, LogStream::Err, text);
    }

    #[test]
    fn last_lines_are_kept_until_the_next_program_prints() {
        let (mut tail, none) = (OutputTail::default(), Secrets::default());
        assert_eq!((tail.excerpt(&none).len(), tail.last_line(&none)), (0, None));
        (0..100).for_each(|n| push(&mut tail, &n.to_string()));
        push(&mut tail, " ");
        let lines = tail.excerpt(&none);
        assert_eq!((lines.len(), &*lines[0], &*lines[19]), (20, "81", " "));
        assert_eq!(tail.last_line(&none).as_deref(), Some("99"));
        tail.begin();
        assert_eq!(tail.excerpt(&none), lines, "what the last one has printed is still shown");
        assert_eq!((tail.own_excerpt(&none).len(), tail.last_line(&none)), (0, None));
        push(&mut tail, "up");
        assert_eq!(tail.excerpt(&none), ["up"]);
        assert_eq!(tail.own_excerpt(&none), ["up"]);
    }

    #[test]
    fn long_lines_stay_within_the_byte_limit() {
        let mut tail = OutputTail::default();
        (0..100).for_each(|_| push(&mut tail, &"ä".repeat(9000)));
        assert!(tail.stderr.bytes <= BYTES_MAX);
        let lines = tail.excerpt(&Secrets::default());
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.ends_with('…') && line.len() <= SHOWN_BYTES_MAX + 3));
    }

    #[test]
    fn long_traceback_has_its_head_in_the_excerpt() {
        let mut tail = OutputTail::default();
        push(&mut tail, "Traceback (most recent call last):");
        (0..200).for_each(|n| push(&mut tail, &format!("  File \"m{n}.py\", line {n}, in f")));
        push(&mut tail, "ValueError: the token is s3cret-t0ken");
        let lines = tail.excerpt(&Secrets::from_texts(["s3cret-t0ken".to_owned()]));
        assert_eq!(lines.len(), EXCERPT_LINES);
        assert_eq!(lines[0], "Traceback (most recent call last):");
        assert_eq!(lines[1], "  File \"m0.py\", line 0, in f");
        assert_eq!(lines[6], "… 183 lines are left out here …");
        assert_eq!(lines[18], "  File \"m199.py\", line 199, in f");
        assert_eq!(lines[19], "ValueError: the token is [redacted]");
    }

    #[test]
    fn stderr_is_shown_beside_much_stdout() {
        let (mut tail, none) = (OutputTail::default(), Secrets::default());
        push_to(&mut tail, LogStream::Out, "first");
        push(&mut tail, "a warning");
        push(&mut tail, "Traceback (most recent call last):");
        push_to(&mut tail, LogStream::Out, "meanwhile");
        push(&mut tail, "ValueError: boom");
        push_to(&mut tail, LogStream::Out, "after");
        let expected = [
            "first",
            "a warning",
            "meanwhile",
            "Traceback (most recent call last):",
            "ValueError: boom",
            "after",
        ];
        assert_eq!(tail.excerpt(&none), expected, "in order, but the traceback is in one piece");
        assert_eq!(tail.last_line(&none).as_deref(), Some("after"));
        assert_eq!(tail.last_stderr_line(&none).as_deref(), Some("ValueError: boom"));
        (0..100).for_each(|n| push_to(&mut tail, LogStream::Out, &n.to_string()));
        let lines = tail.excerpt(&none);
        assert_eq!((lines.len(), &*lines[2], &*lines[19]), (20, "ValueError: boom", "99"));
        (0..100).for_each(|n| push(&mut tail, &format!("err {n}")));
        let lines = tail.excerpt(&none);
        assert_eq!((&*lines[4], &*lines[5], lines.len()), ("99", "err 85", 20));
    }
}
