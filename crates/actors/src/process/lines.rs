//! Splits an output that comes in pieces into lines, in bounded space.

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutputLine<'a> {
    /// The whole line.
    Complete(&'a [u8]),
    /// A line longer than the limit. It was skipped, apart from its first and last bytes.
    TooLong {
        /// The first bytes, at most [`EXCERPT_BYTES`].
        head: &'a [u8],
        /// The last bytes after these, at most as many.
        tail: &'a [u8],
    },
}

/// The most bytes that are kept of either end of a line that is too long.
pub(crate) const EXCERPT_BYTES: usize = 1024;

/// Splits an output into lines.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    bytes_max: usize,
    /// The beginning of the line that has not ended yet.
    partial_line: Vec<u8>,
    /// Set if that line is over the limit. Its beginning is cut, and its rest skipped.
    skipped: Option<SkippedPart>,
}

/// The part of a line that is skipped.
#[derive(Debug, Default)]
struct SkippedPart {
    bytes: usize,
    /// The last bytes of it.
    tail: Vec<u8>,
}

impl LineSplitter {
    /// Creates a splitter for lines of at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, partial_line: Vec::new(), skipped: None }
    }

    /// Takes the next piece, and passes on each line that ends in it. Empty lines are left out.
    pub(crate) fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(OutputLine<'_>)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.end_line(&piece[..end], &mut each);
            piece = &piece[end + 1..];
        }
        if self.is_within_limit(piece) {
            self.partial_line.extend_from_slice(piece);
        } else {
            self.skip(piece);
        }
    }

    /// Returns the bytes that were skipped of the line that has not ended yet.
    #[cfg(any(feature = "acp", test))]
    pub(crate) fn skipped_bytes(&self) -> usize {
        self.skipped.as_ref().map_or(0, |skipped| skipped.bytes)
    }

    /// Ends the output: passes on the last line if it has no end.
    pub(crate) fn finish(mut self, mut each: impl FnMut(OutputLine<'_>)) {
        self.end_line(&[], &mut each);
    }

    fn is_within_limit(&self, piece: &[u8]) -> bool {
        self.skipped.is_none() && self.partial_line.len() + piece.len() <= self.bytes_max
    }

    /// Skips the next piece of a line that is over the limit, apart from the ends of the line.
    fn skip(&mut self, mut piece: &[u8]) {
        let skipped = self.skipped.get_or_insert_with(|| {
            // The rest of the line so far is given back, and only its ends are kept.
            let line = std::mem::take(&mut self.partial_line);
            let (head, rest) = line.split_at(line.len().min(EXCERPT_BYTES));
            self.partial_line = head.to_vec();
            SkippedPart { bytes: rest.len(), tail: rest[rest.len().saturating_sub(EXCERPT_BYTES)..].to_vec() }
        });
        if skipped.bytes == 0 {
            let room = EXCERPT_BYTES.saturating_sub(self.partial_line.len()).min(piece.len());
            self.partial_line.extend_from_slice(&piece[..room]);
            piece = &piece[room..];
        }
        skipped.bytes += piece.len();
        skipped.tail.extend_from_slice(&piece[piece.len().saturating_sub(EXCERPT_BYTES)..]);
        skipped.tail.drain(..skipped.tail.len().saturating_sub(EXCERPT_BYTES));
    }

    fn end_line(&mut self, rest: &[u8], each: &mut impl FnMut(OutputLine<'_>)) {
        if !self.is_within_limit(rest) {
            self.skip(rest);
            let tail = self.skipped.take().unwrap_or_default().tail;
            each(OutputLine::TooLong { head: &std::mem::take(&mut self.partial_line), tail: &tail });
            return;
        }
        // Most lines come in one piece, and need no copy.
        let line = if self.partial_line.is_empty() {
            rest
        } else {
            self.partial_line.extend_from_slice(rest);
            &self.partial_line
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            each(OutputLine::Complete(line));
        }
        self.partial_line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes_max: usize, pieces: &[&str]) -> Vec<Option<String>> {
        let mut found = Vec::new();
        let mut each = |line: OutputLine<'_>| match line {
            OutputLine::Complete(line) => found.push(Some(String::from_utf8(line.to_vec()).unwrap())),
            OutputLine::TooLong { .. } => found.push(None),
        };
        let mut lines = LineSplitter::new(bytes_max);
        for piece in pieces {
            lines.push(piece.as_bytes(), &mut each);
            assert!(lines.partial_line.len() <= bytes_max.max(EXCERPT_BYTES));
        }
        lines.finish(&mut each);
        found
    }

    fn whole(lines: &[&str]) -> Vec<Option<String>> {
        lines.iter().map(|line| Some((*line).to_owned())).collect()
    }

    #[test]
    fn pieces_form_lines_however_they_are_cut() {
        let text = "ab\ncd\r\n\n\r\nef";
        assert_eq!(lines(10, &[text]), whole(&["ab", "cd", "ef"]));
        let bytes: Vec<&str> = text.split("").collect();
        assert_eq!(lines(10, &bytes), whole(&["ab", "cd", "ef"]));
    }

    #[test]
    fn line_over_the_limit_is_skipped_and_reported_once() {
        assert_eq!(lines(4, &["abcd\nef\n"]), whole(&["abcd", "ef"]));
        let expected = [None, Some("ef".to_owned()), None];
        assert_eq!(lines(4, &["abcde\nef\nabcdefgh"]), expected);
        assert_eq!(lines(4, &["ab", "cd", "e", "fgh", "ij\n", "ef", "\nabc", "def"]), expected);
    }

    #[test]
    fn line_over_the_limit_keeps_its_ends_however_cut() {
        let line = format!("head {}{} tail\n", "x".repeat(3 * EXCERPT_BYTES), "y".repeat(EXCERPT_BYTES));
        for (bytes_max, size) in [(10, 1), (10, 100), (2000, 700), (2000, 5000), (4000, 3000)] {
            let mut lines = LineSplitter::new(bytes_max);
            let mut ends = Vec::new();
            for piece in line.as_bytes().chunks(size) {
                lines.push(piece, |line| match line {
                    OutputLine::TooLong { head, tail } => ends.push((head.to_vec(), tail.to_vec())),
                    other => panic!("{other:?}"),
                });
            }
            let whole = line.trim_end().as_bytes();
            let expected = (whole[..EXCERPT_BYTES].to_vec(), whole[whole.len() - EXCERPT_BYTES..].to_vec());
            assert_eq!(ends, [expected], "{bytes_max} {size}");
        }
    }

    #[test]
    fn flood_without_newline_takes_no_space() {
        let mut lines = LineSplitter::new(1000);
        for count in 1..=10_000 {
            lines.push(&[b'x'; 997], |_| panic!("no line has ended"));
            assert_eq!(lines.skipped_bytes(), (997_usize * count).saturating_sub(EXCERPT_BYTES));
            assert!(lines.partial_line.capacity() <= 2 * EXCERPT_BYTES);
        }
        let mut skipped = 0;
        lines.finish(|line| skipped += usize::from(matches!(line, OutputLine::TooLong { .. })));
        assert_eq!(skipped, 1);
    }
}
