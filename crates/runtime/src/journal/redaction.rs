//! Secrets are taken out of an event before it becomes a line.
//!
//! What is looked at is the text that a string of the JSON stands for, not how it is escaped: a secret is found behind
//! any escape, and never across one. A number that holds a secret is replaced as a whole.

use std::borrow::Cow;
use std::ops::Range;

use super::line::push_string;

const REPLACEMENT: &str = "[redacted]";
/// The length of `\uXXXX`.
const UNIT_BYTES: usize = 6;

/// The texts that must not be told, and how they are taken out of what is.
#[derive(Clone, Default)]
pub struct Redaction {
    secrets: Vec<String>,
}

impl Redaction {
    /// One that knows these texts. An empty one is ignored.
    #[must_use]
    pub fn of(secrets: &[String]) -> Self {
        Self { secrets: secrets.iter().filter(|secret| !secret.is_empty()).cloned().collect() }
    }

    /// Plain text without the secrets: each place where one stands reads `[redacted]`.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let places = self.places(text);
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(replaced(text, places))
    }

    /// Text that may quote JSON without the secrets, however their characters are escaped there, and whether the quote
    /// is whole or not.
    #[must_use]
    pub fn quoting<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !text.contains('\\') {
            return self.text(text);
        }
        let Unescaped { plain, origins } = Unescaped::of(text);
        // Escaped or not: what an escape stands for is a guess where the text is no JSON.
        let mut places: Vec<_> =
            self.places(&plain).into_iter().map(|place| origins[place.start]..origins[place.end]).collect();
        places.extend(self.places(text));
        if places.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(replaced(text, merged(places))) }
    }

    /// The text as it reads once the escapes of JSON in it are resolved.
    #[must_use]
    pub fn unescaped(text: &str) -> String {
        Unescaped::of(text).plain
    }

    /// A JSON text whose keys, strings and numbers are without the secrets.
    pub(super) fn json<'a>(&self, json: &'a str) -> Cow<'a, str> {
        // Without an escape the JSON has every string as it is, so a plain search finds whatever there is.
        if self.secrets.is_empty() || !json.contains('\\') && !self.is_told_in(json) {
            return Cow::Borrowed(json);
        }
        let mut clean = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(first) = rest.bytes().next() {
            let (token, behind) = rest.split_at(token_bytes(first, rest));
            match first {
                b'"' => self.clean_string(token, &mut clean),
                b'-' | b'0'..=b'9' if self.is_told_in(token) => push_string(REPLACEMENT, &mut clean),
                _ => clean.push_str(token),
            }
            rest = behind;
        }
        Cow::Owned(clean)
    }

    fn is_told_in(&self, text: &str) -> bool {
        self.secrets.iter().any(|secret| text.contains(secret))
    }

    fn clean_string(&self, token: &str, clean: &mut String) {
        let text = match serde_json::from_str::<Cow<'_, str>>(token) {
            Ok(text) => text,
            // Our own serialiser writes no such string; nobody can say what is in it.
            Err(_) => return push_string(REPLACEMENT, clean),
        };
        match self.text(&text) {
            Cow::Borrowed(_) => clean.push_str(token),
            Cow::Owned(redacted) => push_string(&redacted, clean),
        }
    }

    /// Where the secrets stand, from left to right. Those that overlap are one place, so that nothing of either is left.
    fn places(&self, text: &str) -> Vec<Range<usize>> {
        merged(self.secrets.iter().flat_map(|secret| occurrences(text, secret)).collect())
    }
}

/// The same places, from left to right and none within another.
fn merged(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|place| place.start);
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(found.len());
    for place in found {
        match merged.last_mut() {
            Some(last) if place.start < last.end => last.end = last.end.max(place.end),
            _ => merged.push(place),
        }
    }
    merged
}

fn replaced(text: &str, places: Vec<Range<usize>>) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut done = 0;
    for place in places {
        clean.push_str(&text[done..place.start]);
        clean.push_str(REPLACEMENT);
        done = place.end;
    }
    clean.push_str(&text[done..]);
    clean
}

/// A text as it reads once the escapes of JSON in it are resolved.
struct Unescaped {
    plain: String,
    /// Where each byte of it came from, and where the text ends.
    origins: Vec<usize>,
}

impl Unescaped {
    fn of(text: &str) -> Self {
        let mut plain = String::with_capacity(text.len());
        let mut origins = Vec::with_capacity(text.len() + 1);
        let mut at = 0;
        while let Some(next) = text[at..].chars().next() {
            let (character, bytes) = escape(&text[at..]).unwrap_or((next, next.len_utf8()));
            plain.push(character);
            origins.resize(plain.len(), at);
            at += bytes;
        }
        origins.push(at);
        Self { plain, origins }
    }
}

/// The character that an escape at the beginning of `text` stands for, and the escape's length in bytes.
fn escape(text: &str) -> Option<(char, usize)> {
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
                Some(character) => (character, UNIT_BYTES),
                None => {
                    let second = code_unit(text.get(UNIT_BYTES..)?)?;
                    (char::decode_utf16([first, second]).next()?.ok()?, 2 * UNIT_BYTES)
                }
            }
        }
        _ => return None,
    })
}

/// The code unit that a `\uXXXX` at the beginning of `text` stands for.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// All of them, also those that overlap one another.
fn occurrences<'a>(text: &'a str, secret: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let step = secret.chars().next().map_or(1, char::len_utf8);
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.find(secret)?;
        from = at + step;
        Some(at..at + secret.len())
    })
}

/// How long the string, the number or the run of anything else is that `json` begins with.
fn token_bytes(first: u8, json: &str) -> usize {
    let bytes = json.as_bytes();
    match first {
        b'"' => {
            let mut at = 1;
            while at < bytes.len() && bytes[at] != b'"' {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            (at + 1).min(bytes.len())
        }
        b'-' | b'0'..=b'9' => {
            let is_of_a_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
            bytes.iter().position(|byte| !is_of_a_number(byte)).unwrap_or(bytes.len())
        }
        _ => {
            let begins_a_token = |byte: &u8| matches!(byte, b'"' | b'-' | b'0'..=b'9');
            bytes.iter().position(begins_a_token).unwrap_or(bytes.len())
        }
    }
}

#[cfg(test)]
mod tests;
