//! Decodes the escapes of a text, and records where each part came from.
//!
//! A peer may write a secret as it is, in JSON, in an address, or in JSON with an address in it. A text may also have
//! been cut in the middle of an escape.

use std::ops::Range;

/// The length of `\uXXXX`.
const UNICODE_ESCAPE_BYTES: usize = 6;

/// The most bytes of a character in UTF-8.
const CHAR_BYTES_MAX: usize = 4;

/// A text as decoded in one way.
pub(super) struct Unescaped {
    pub(super) text: String,
    /// The offset in the source of each byte of the text, and of its end.
    source_offsets: Vec<usize>,
    /// Finds where an escape begins that the end of this text cut off.
    find_torn_escape: fn(&str) -> usize,
}

impl Unescaped {
    /// Returns the text in every decoding; the first is the text itself.
    pub(super) fn variants(text: &str) -> Vec<Self> {
        let mut variants = vec![Self::decode(text, |_| None, str::len)];
        if text.contains('\\') {
            variants.push(Self::decode(text, json_escape, torn_json_escape_start));
        }
        let encoded = |unescaped: &&Self| unescaped.text.contains(['%', '+']);
        let decoded: Vec<Self> = variants.iter().filter(encoded).map(Self::percent_decoded).collect();
        variants.extend(decoded);
        variants
    }

    fn decode(
        text: &str,
        escape: impl Fn(&str) -> Option<(char, usize)>,
        find_torn: fn(&str) -> usize,
    ) -> Self {
        let mut plain = String::with_capacity(text.len());
        let mut offsets = Vec::with_capacity(text.len() + 1);
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let (character, bytes) = escape(&text[at..]).unwrap_or((next, next.len_utf8()));
            plain.push(character);
            offsets.resize(plain.len(), at);
            at += bytes;
        }
        offsets.push(at);
        Self { text: plain, source_offsets: offsets, find_torn_escape: find_torn }
    }

    /// Decodes the percent codes of addresses and the plus signs of forms as well.
    fn percent_decoded(&self) -> Self {
        let mut decoded = Self::decode(&self.text, percent_escape, torn_percent_escape_start);
        for offset in &mut decoded.source_offsets {
            *offset = self.source_offsets[*offset];
        }
        decoded
    }

    /// Returns the range of the source from which a range of the text came.
    pub(super) fn source_range(&self, range: &Range<usize>) -> Range<usize> {
        self.source_offsets[range.start]..self.source_offsets[range.end]
    }

    /// Returns where an escape begins that the end of `before` cuts off; its end if there is none.
    pub(super) fn torn_escape_start(&self, before: &str) -> usize {
        (self.find_torn_escape)(before)
    }
}

/// Returns the character of the JSON escape at the beginning of `text`, and the escape's length in bytes.
fn json_escape(text: &str) -> Option<(char, usize)> {
    let kind = text.strip_prefix('\\')?.chars().next()?;
    Some(match kind {
        '"' | '\\' | '/' => (kind, 2),
        'b' => ('\u{8}', 2),
        'f' => ('\u{c}', 2),
        'n' => ('\n', 2),
        'r' => ('\r', 2),
        't' => ('\t', 2),
        'u' => {
            let first = code_unit(text)?;
            match char::from_u32(first.into()) {
                Some(character) => (character, UNICODE_ESCAPE_BYTES),
                None => {
                    let second = code_unit(text.get(UNICODE_ESCAPE_BYTES..)?)?;
                    (char::decode_utf16([first, second]).next()?.ok()?, 2 * UNICODE_ESCAPE_BYTES)
                }
            }
        }
        _ => return None,
    })
}

/// Returns the code unit of a `\uXXXX` at the beginning of `text`.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Returns the same for percent codes, of which a character may need several, and for a plus.
fn percent_escape(text: &str) -> Option<(char, usize)> {
    if text.starts_with('+') {
        return Some((' ', 1));
    }
    let mut bytes = Vec::with_capacity(CHAR_BYTES_MAX);
    while bytes.len() < CHAR_BYTES_MAX {
        bytes.push(percent_code(text.get(3 * bytes.len()..)?)?);
        if let Ok(character) = std::str::from_utf8(&bytes) {
            return Some((character.chars().next()?, 3 * bytes.len()));
        }
    }
    None
}

fn percent_code(text: &str) -> Option<u8> {
    let digits = text.strip_prefix('%')?.get(..2)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok())?
}

fn torn_json_escape_start(text: &str) -> usize {
    let is_torn = |tail: &str| match tail.strip_prefix("\\u") {
        // The first half of a surrogate pair is a whole escape, but no character.
        Some(digits) => {
            digits.len() < UNICODE_ESCAPE_BYTES + 4
                && digits.bytes().all(|byte| b"\\u".contains(&byte) || byte.is_ascii_hexdigit())
        }
        None => tail == "\\",
    };
    let starts = text.match_indices('\\').map(|(at, _)| at);
    starts
        .filter(|at| text.len() - at < 2 * UNICODE_ESCAPE_BYTES && is_torn(&text[*at..]))
        .min()
        .unwrap_or(text.len())
}

/// Returns where percent codes at the end begin that do not decode.
fn torn_percent_escape_start(text: &str) -> usize {
    let is_torn = |tail: &str| {
        tail.split('%')
            .skip(1)
            .all(|code| code.len() <= 2 && code.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let starts = text.match_indices('%').map(|(at, _)| at);
    starts
        .filter(|at| text.len() - at < 3 * CHAR_BYTES_MAX && is_torn(&text[*at..]))
        .min()
        .unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unescaped_variants(text: &str) -> Vec<String> {
        Unescaped::variants(text).into_iter().map(|unescaped| unescaped.text).collect()
    }

    #[test]
    fn text_is_unescaped_as_json_url_and_nested() {
        assert_eq!(unescaped_variants("plain"), ["plain"]);
        assert_eq!(unescaped_variants(r"a\u002Fb\/\ud83d\udddd"), [r"a\u002Fb\/\ud83d\udddd", "a/b/🗝"]);
        assert_eq!(unescaped_variants("caf%C3%a9+1%2B1"), ["caf%C3%a9+1%2B1", "café 1+1"]);
        let expected = [r"a\u0025C3%a9\u002b", "a%C3%a9+", r"a\u0025C3%a9\u002b", "aé "];
        assert_eq!(unescaped_variants(r"a\u0025C3%a9\u002b"), expected);
    }

    #[test]
    fn invalid_escape_stays_as_it_is() {
        for text in [
            r"\",
            r"\x",
            r"\u12",
            r"\ud83d",
            r"\ud83dx",
            "%",
            "%4",
            "%zz",
            "%C3",
            "%C3x",
            "%ff%ff%ff%ff",
            "é%",
        ] {
            let last = unescaped_variants(text).pop().unwrap();
            assert_eq!(last, text, "{text}");
        }
    }

    #[test]
    fn source_range_maps_back_to_the_original() {
        let text = r"x\u0041%42%C3%A9z";
        let unescaped = Unescaped::variants(text).pop().unwrap();
        assert_eq!(unescaped.text, "xABéz");
        let at = unescaped.text.find("ABé").unwrap();
        assert_eq!(&text[unescaped.source_range(&(at..at + "ABé".len()))], r"\u0041%42%C3%A9");
        assert_eq!(unescaped.source_range(&(0..unescaped.text.len())), 0..text.len());
    }

    #[test]
    fn torn_escape_at_the_end_is_found() {
        for (text, find_torn) in [
            ("abc", ""),
            (r"abc\", r"\"),
            (r"abc\u00", r"\u00"),
            (r"abc\ud83d", r"\ud83d"),
            (r"abc\ud83d\udd", r"\ud83d\udd"),
            (r"\abc", ""),
        ] {
            assert_eq!(&text[torn_json_escape_start(text)..], find_torn, "{text}");
        }
        for (text, find_torn) in
            [("abc", ""), ("abc%", "%"), ("abc%C", "%C"), ("ab%F0%9F%9", "%F0%9F%9"), ("a%zz", "")]
        {
            assert_eq!(&text[torn_percent_escape_start(text)..], find_torn, "{text}");
        }
    }
}
