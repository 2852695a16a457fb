//! Makes a line of a log from the bytes that a program has printed. Pure.

use std::borrow::Cow;

use mainstay_runtime::journal::escape_controls;

use crate::error::{ELLIPSIS, Secrets};

/// The longest line of a log, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 16 * 1024;

/// The part of a line that is kept until it is redacted, in bytes. It exceeds the other, so that a secret is whole when
/// it is searched.
pub(super) const RAW_LINE_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// A line as a program has printed it, without its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RawLine {
    /// The beginning, at most [`RAW_LINE_BYTES_MAX`].
    pub(super) bytes: Vec<u8>,
    /// True if it goes on behind these bytes.
    pub(super) is_cut: bool,
}

impl RawLine {
    /// Adds to the line what still fits, and returns the number of bytes that do not.
    pub(super) fn extend(&mut self, part: &[u8]) -> usize {
        let taken = part.len().min(RAW_LINE_BYTES_MAX.saturating_sub(self.bytes.len()));
        self.bytes.extend_from_slice(&part[..taken]);
        self.is_cut |= taken < part.len();
        part.len() - taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the text to show, in at most `bytes_max` bytes and an ellipsis.
    ///
    /// Secrets are redacted and control characters escaped. Of a line that overwrites itself, such as a progress bar,
    /// the last state counts. Colours are removed.
    pub(super) fn to_text(&self, secrets: &Secrets, bytes_max: usize) -> String {
        let mut line = escape_controls(&secrets.redact(&shown_text(&self.bytes)));
        let end = (0..=bytes_max.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        if self.is_cut || end < line.len() {
            line.truncate(end);
            line.push(ELLIPSIS);
        }
        line
    }
}

/// Returns the text of a line as people see it in a terminal: its last state, without colours.
pub(crate) fn shown_text(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let states = || text.rsplit('\r').map(strip_styles);
    let shown = states().find(|state| !state.trim().is_empty()).or_else(|| states().next_back());
    shown.unwrap_or_default().replace('\t', "    ")
}

/// Removes the codes of colours and other styles, so that they part no secret and no word.
fn strip_styles(text: &str) -> Cow<'_, str> {
    const START: &str = "\u{1b}[";
    if !text.contains(START) {
        return Cow::Borrowed(text);
    }
    let (mut plain, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(START) {
        let begin = at + START.len();
        let parameters =
            rest[begin..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b';').count();
        let end = begin + parameters;
        let is_style = rest.as_bytes().get(end) == Some(&b'm');
        plain.push_str(&rest[..if is_style { at } else { end }]);
        rest = &rest[if is_style { end + 1 } else { end }..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(bytes: &[u8], secrets: &Secrets) -> String {
        let mut line = RawLine::default();
        line.extend(bytes);
        line.to_text(secrets, LINE_BYTES_MAX)
    }

    fn plain(bytes: &[u8]) -> String {
        text_of(bytes, &Secrets::default())
    }

    #[test]
    fn controls_are_escaped_and_styles_removed() {
        assert_eq!(plain(b"\x1b[2J\x1b[1;31mred\x1b[0m \xff\tx"), "\\u{1b}[2Jred \u{fffd}    x");
        assert_eq!(plain(b"half \x1b[3"), "half \\u{1b}[3");
    }

    #[test]
    fn line_that_overwrites_itself_shows_its_last_state() {
        assert_eq!(plain(b"\r 10%\r 20%\r 30%"), " 30%");
        assert_eq!(plain(b"done\r"), "done");
        assert_eq!(plain(b"done\r   \r"), "done");
        assert_eq!(plain(b"\r"), "");
    }

    #[test]
    fn secret_across_styles_and_the_cut_is_redacted() {
        let secrets = Secrets::from_texts(["s3cret-t0ken".to_owned()]);
        assert_eq!(text_of(b"it is s3\x1b[1mcret-t0ken!", &secrets), "it is [redacted]!");
        for before in [LINE_BYTES_MAX, RAW_LINE_BYTES_MAX].into_iter().flat_map(|cut| cut - 20..cut + 2) {
            let line = ["x".repeat(before).as_bytes(), b"s3cret-t0ken", &[b'y'; 90_000]].concat();
            let line = text_of(&line, &secrets);
            assert!(!line.contains("s3c") && line.len() <= LINE_BYTES_MAX + 3, "{before}: {line}");
        }
        // So many secrets that little of the raw line is left.
        let long = "s3cret-t0ken".repeat(5);
        let line = text_of(long.repeat(RAW_LINE_BYTES_MAX).as_bytes(), &Secrets::from_texts([long]));
        assert_eq!(line.replace("[redacted]", ""), "…");
    }

    #[test]
    fn long_line_is_cut_within_its_limit() {
        let line = plain("ä".repeat(LINE_BYTES_MAX).as_bytes());
        assert!(line.ends_with("ä…") && line.len() <= LINE_BYTES_MAX + 3);
    }
}
