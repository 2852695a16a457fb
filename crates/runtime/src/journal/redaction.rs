//! Removes secrets from texts, and from an event before it becomes a line.
//!
//! One automaton searches all secrets in all their forms (see `encodings`): plain, escaped as in JSON, encoded as in an
//! address, and the latter in JSON. A form in which an encoder escapes some characters at random is not found.
//!
//! Redact a text before it is cut, since half a secret matches nothing. Where a text arrives cut, see
//! [`Redaction::cut_off_ranges`].
//!
//! An event is searched in the texts that its JSON strings stand for, so that what is left is still JSON. A number
//! that holds a secret is replaced as a whole.

mod encodings;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::line::push_json_string;

const REPLACEMENT: &str = "[redacted]";

/// The mark at which a text was cut.
const ELLIPSIS: char = '…';

/// The longest beginning of a secret that a cut may leave, in characters.
const PREFIX_CHARS_MAX: usize = 3;

/// The texts that must stay secret, and the means to remove them from other texts. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redaction {
    /// Every form of every secret.
    forms: Arc<[String]>,
    matcher: Matcher,
}

/// Finds the forms in a text.
#[derive(Clone, Default)]
enum Matcher {
    #[default]
    Nothing,
    Forms(AhoCorasick),
    /// The secrets are too large for an automaton, so every text counts as one.
    Everything,
}

impl Redaction {
    /// Returns a redaction of these texts. An empty text is ignored. Any other counts, however short: leave out what
    /// would be found in every text.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        let forms: BTreeSet<String> = secrets
            .iter()
            .filter(|secret| !secret.is_empty())
            .flat_map(|secret| encodings::encoded_forms(secret))
            .collect();
        let forms: Arc<[String]> = forms.into_iter().collect();
        // The automaton reports overlapping matches: with the leftmost-longest alone, a secret that begins within
        // another would show its end. This kind is built quickly, which counts for the secrets of one request.
        let built = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&*forms);
        let matcher = match built {
            _ if forms.is_empty() => Matcher::Nothing,
            Ok(automaton) => Matcher::Forms(automaton),
            Err(_) => Matcher::Everything,
        };
        Self { forms, matcher }
    }

    /// Returns plain text without the secrets: `[redacted]` stands in the place of each.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        Self::redact_ranges(text, self.secret_ranges(text))
    }

    /// Returns the text with these ranges replaced. They may come in any order and may overlap. Each must lie on
    /// character boundaries.
    #[must_use]
    pub fn redact_ranges(text: &str, places: Vec<Range<usize>>) -> Cow<'_, str> {
        if places.is_empty() {
            Cow::Borrowed(text)
        } else {
            Cow::Owned(replace_ranges(text, merge_ranges(places)))
        }
    }

    /// Returns the places of the secrets, from left to right. Places that overlap are merged, so that nothing of
    /// either secret is left.
    #[must_use]
    pub fn secret_ranges(&self, text: &str) -> Vec<Range<usize>> {
        match &self.matcher {
            Matcher::Forms(automaton) if automaton.is_match(text) => {
                merge_ranges(automaton.find_overlapping_iter(text).map(|found| found.range()).collect())
            }
            Matcher::Everything => std::iter::once(0..text.len()).filter(|all| !all.is_empty()).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the places where a secret begins and the text was cut before its end: at an ellipsis, or at the text's
    /// own end. A beginning of up to three characters stays.
    ///
    /// For texts that come from outside. Text that only ends like the beginning of a secret is found as well.
    #[must_use]
    pub fn cut_off_ranges(&self, text: &str) -> Vec<Range<usize>> {
        let marks = text.match_indices(ELLIPSIS).map(|(at, _)| at);
        marks
            .chain([text.len()])
            .filter_map(|cut| {
                let before = &text[..cut];
                let shown = self.forms.iter().filter_map(|form| cut_off_length(before, form)).max()?;
                Some(cut - shown..cut)
            })
            .collect()
    }

    /// Returns a JSON text whose keys, strings and numbers are without the secrets.
    pub(super) fn redact_json<'a>(&self, json: &'a str) -> Cow<'a, str> {
        // JSON without an escape has every string as it is, so a plain search finds every secret.
        if self.forms.is_empty() || !json.contains('\\') && !self.contains_secret(json) {
            return Cow::Borrowed(json);
        }
        let mut clean = String::with_capacity(json.len());
        let mut rest = json;
        while let Some(first) = rest.bytes().next() {
            let (token, behind) = rest.split_at(token_length(first, rest));
            match first {
                b'"' => self.redact_string(token, &mut clean),
                b'-' | b'0'..=b'9' if self.contains_secret(token) => {
                    push_json_string(REPLACEMENT, &mut clean)
                }
                _ => clean.push_str(token),
            }
            rest = behind;
        }
        Cow::Owned(clean)
    }

    fn contains_secret(&self, text: &str) -> bool {
        !self.secret_ranges(text).is_empty()
    }

    fn redact_string(&self, token: &str, clean: &mut String) {
        let text = match serde_json::from_str::<Cow<'_, str>>(token) {
            Ok(text) => text,
            // Our own serialiser writes no such string, so its content is not known.
            Err(_) => return push_json_string(REPLACEMENT, clean),
        };
        match self.redact(&text) {
            Cow::Borrowed(_) => clean.push_str(token),
            Cow::Owned(redacted) => push_json_string(&redacted, clean),
        }
    }
}

/// Merges ranges into ranges from left to right of which none overlap.
fn merge_ranges(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
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

fn replace_ranges(text: &str, places: Vec<Range<usize>>) -> String {
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

/// Returns the length of the longest beginning of `form` with which `before` ends, if it is long enough to matter.
fn cut_off_length(before: &str, form: &str) -> Option<usize> {
    let ends = form.char_indices().map(|(at, _)| at).skip(PREFIX_CHARS_MAX + 1);
    ends.filter(|end| before.ends_with(&form[..*end])).last()
}

/// Returns the length of the string, the number or the other token that `json` begins with.
fn token_length(first: u8, json: &str) -> usize {
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
