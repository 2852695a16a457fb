//! Splits an output that comes in pieces into lines, in bounded space.

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OutputLine<'a> {
    /// The whole line.
    Complete(&'a [u8]),
    /// A line longer than the limit. It was skipped.
    TooLong,
}

/// Splits an output into lines.
#[derive(Debug)]
pub(crate) struct LineSplitter {
    bytes_max: usize,
    /// The beginning of the line that has not ended yet.
    partial_line: Vec<u8>,
    /// True if that line is over the limit; its rest is skipped.
    is_skipping: bool,
}

impl LineSplitter {
    /// Creates a splitter for lines of at most `line_bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, partial_line: Vec::new(), is_skipping: false }
    }

    /// Takes the next piece, and passes on each line that ends in it. Empty lines are left out.
    pub(crate) fn push(&mut self, mut piece: &[u8], mut each: impl FnMut(OutputLine<'_>)) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            self.end_line(&piece[..end], &mut each);
            piece = &piece[end + 1..];
        }
        if !self.is_skipping {
            self.is_skipping = self.partial_line.len() + piece.len() > self.bytes_max;
            self.partial_line.extend_from_slice(if self.is_skipping { &[] } else { piece });
        }
        if self.is_skipping {
            self.partial_line = Vec::new();
        }
    }

    /// Returns whether the line that has not ended yet is over the limit already.
    #[cfg(any(feature = "acp", test))]
    pub(crate) fn is_skipping(&self) -> bool {
        self.is_skipping
    }

    /// Ends the output: passes on the last line if it has no end.
    pub(crate) fn finish(mut self, mut each: impl FnMut(OutputLine<'_>)) {
        self.end_line(&[], &mut each);
    }

    fn end_line(&mut self, rest: &[u8], each: &mut impl FnMut(OutputLine<'_>)) {
        let is_too_long = self.is_skipping || self.partial_line.len() + rest.len() > self.bytes_max;
        self.is_skipping = false;
        if is_too_long {
            self.partial_line = Vec::new();
            return each(OutputLine::TooLong);
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
            OutputLine::TooLong => found.push(None),
        };
        let mut lines = LineSplitter::new(bytes_max);
        for piece in pieces {
            lines.push(piece.as_bytes(), &mut each);
            assert!(lines.partial_line.len() <= bytes_max);
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
    fn flood_without_newline_takes_no_space() {
        let mut lines = LineSplitter::new(1000);
        for _ in 0..10_000 {
            lines.push(&[b'x'; 997], |_| panic!("no line has ended"));
            assert_eq!(lines.is_skipping(), lines.partial_line.is_empty());
            assert!(lines.partial_line.capacity() <= 2000);
        }
        let mut skipped = 0;
        lines.finish(|line| skipped += usize::from(line == OutputLine::TooLong));
        assert_eq!(skipped, 1);
    }
}
