//! Keeps the last lines of an output, without secrets and in bounded space.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::error::{ELLIPSIS, Secrets, printable};

/// The number of lines that are kept.
const LINES_MAX: usize = 64;

/// The bytes that are kept, in all lines together.
const BYTES_MAX: usize = 16 * 1024;

/// The part of a line that is kept, in bytes. A line that never ends counts as well.
const LINE_BYTES_MAX: usize = 2 * 1024;

/// The part of a line that is kept until it is redacted, in bytes. It exceeds the other, so that a secret is whole when
/// it is searched.
const RAW_LINE_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// Takes an output in pieces and keeps its last lines.
#[derive(Debug)]
pub(super) struct OutputTail {
    secrets: Secrets,
    lines: VecDeque<String>,
    bytes: usize,
    /// The line that has not ended yet, up to the limit of a raw line.
    partial_line: Vec<u8>,
    /// True if a part of the open line was left out.
    is_partial_cut: bool,
    /// The time of the last piece.
    last_at: Option<Instant>,
}

impl OutputTail {
    /// Makes a tail in which these secrets are redacted.
    pub(super) fn new(secrets: Secrets) -> Self {
        Self {
            secrets,
            lines: VecDeque::new(),
            bytes: 0,
            partial_line: Vec::new(),
            is_partial_cut: false,
            last_at: None,
        }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) {
        self.last_at = Some(Instant::now());
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.extend(&piece[..end]);
            self.end_line();
            piece = &piece[end + 1..];
        }
        self.extend(piece);
    }

    /// Returns the last lines, oldest first, with the one that has not ended yet. Characters that could drive a
    /// terminal are left out.
    pub(super) fn lines(&self) -> Vec<String> {
        let open = Some(self.partial_text()).filter(|line| !line.is_empty());
        self.lines.iter().cloned().chain(open).collect()
    }

    /// Returns the last line that says something, and the time of the last piece.
    pub(super) fn last_line(&self) -> Option<(Instant, String)> {
        let open = self.partial_text();
        let mut newest_first = std::iter::once(&open).chain(self.lines.iter().rev());
        let line = newest_first.find(|line| !line.trim().is_empty())?;
        Some((self.last_at?, line.clone()))
    }

    fn extend(&mut self, part: &[u8]) {
        let room = RAW_LINE_BYTES_MAX - self.partial_line.len();
        self.is_partial_cut |= part.len() > room;
        self.partial_line.extend_from_slice(&part[..part.len().min(room)]);
    }

    fn partial_text(&self) -> String {
        let text = String::from_utf8_lossy(&self.partial_line);
        let text = self.secrets.redact(text.trim_end_matches('\r'));
        let mut line: String = text.chars().map(printable).collect();
        let end =
            (0..=LINE_BYTES_MAX.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        if self.is_partial_cut || end < line.len() {
            line.truncate(end);
            line.push(ELLIPSIS);
        }
        line
    }

    fn end_line(&mut self) {
        let line = self.partial_text();
        self.partial_line.clear();
        self.is_partial_cut = false;
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.lines.len() > LINES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(pieces: &[&str]) -> Vec<String> {
        let mut tail = OutputTail::new(Secrets::default());
        for piece in pieces {
            tail.push(piece.as_bytes());
        }
        tail.lines()
    }

    #[test]
    fn pieces_form_lines_and_a_partial_line_counts() {
        assert_eq!(tail_of(&["a", "b\nc\r\n", "\n", "d"]), ["ab", "c", "", "d"]);
        assert!(tail_of(&[]).is_empty());
    }

    #[test]
    fn secret_across_pieces_and_across_the_cut_is_redacted() {
        let secrets = Secrets::from_texts(["s3cret-t0ken".to_owned()]);
        let lines_of = |pieces: &[&str]| {
            let mut tail = OutputTail::new(secrets.clone());
            pieces.iter().for_each(|piece| tail.push(piece.as_bytes()));
            tail.lines()
        };
        assert_eq!(lines_of(&["it is s3cr", "et-t0ken!\n"]), ["it is [redacted]!"]);
        for before in [LINE_BYTES_MAX, RAW_LINE_BYTES_MAX].into_iter().flat_map(|cut| cut - 20..cut + 2) {
            let line = lines_of(&[&"x".repeat(before), "s3cret-t0ken", &"y".repeat(9000)]).concat();
            assert!(!line.contains("s3c") && line.len() <= LINE_BYTES_MAX + 3, "{before}: {line}");
        }
        // So many secrets that little of the raw line is left.
        let long = "s3cret-t0ken".repeat(5);
        let mut tail = OutputTail::new(Secrets::from_texts([long.clone()]));
        tail.push(long.repeat(RAW_LINE_BYTES_MAX).as_bytes());
        let flood = tail.lines().concat();
        assert_eq!(flood.replace("[redacted]", ""), "…");
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..1000).map(|n| format!("{n}\n")).collect();
        let lines = tail_of(&[&text]);
        assert_eq!((lines.len(), lines[0].as_str(), lines[63].as_str()), (64, "936", "999"));
    }

    #[test]
    fn flood_stays_within_the_byte_limit() {
        let mut tail = OutputTail::new(Secrets::default());
        for _ in 0..10_000 {
            tail.push("ä".repeat(500).as_bytes());
        }
        assert_eq!(tail.lines().len(), 1);
        assert!(tail.lines()[0].ends_with('…') && tail.lines()[0].len() <= LINE_BYTES_MAX + 6);
        for _ in 0..100 {
            tail.push(format!("\n{}", "x".repeat(5000)).as_bytes());
        }
        let bytes: usize = tail.lines().iter().map(String::len).sum();
        assert!(bytes <= BYTES_MAX + LINE_BYTES_MAX + 6, "{bytes}");
    }

    #[test]
    fn invalid_text_and_control_characters_are_replaced() {
        let mut tail = OutputTail::new(Secrets::default());
        tail.push(b"\x1b[2Jred \xff\n");
        assert_eq!(tail.lines(), [" [2Jred \u{fffd}"]);
    }
}
