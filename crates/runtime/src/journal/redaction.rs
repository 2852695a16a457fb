//! Removes secrets from texts, and from an event before it becomes a line.
//!
//! One automaton searches all secrets in all their forms (see `encodings`): plain, escaped as in JSON, encoded as in an
//! address, and the latter in JSON. A form in which an encoder escapes some characters at random is not found.
//!
//! The automaton is bounded: its patterns have at most 256 KiB. Of a secret of more than 1 KiB only the beginning is a
//! pattern, and all that follows it in a text counts as secret. If the patterns have too many bytes, shorter beginnings
//! of at least 32 bytes are searched. If even those have too many, every text counts as secret.
//!
//! Redact a text before it is cut, since half a secret matches nothing. Where a text arrives cut, see
//! [`Redaction::cut_off_ranges`].
//!
//! An event is searched in the texts that its JSON strings stand for, so that what is left is still JSON. A number
//! that holds a secret is replaced as a whole.

mod encodings;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use super::line::push_json_string;

const REPLACEMENT: &str = "[redacted]";

/// The mark at which a text was cut.
const ELLIPSIS: char = '…';

/// The longest beginning of a secret that a cut may leave, in characters.
const PREFIX_CHARS_MAX: usize = 3;

/// The longest and the shortest limit for the beginning of a secret that is searched, in bytes.
const BEGINNING_BYTES_MAX: usize = 1024;
const BEGINNING_BYTES_MIN: usize = 32;

/// The most bytes of all patterns together. The automaton takes up to sixteen times as much.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// The texts that must stay secret, and the means to remove them from other texts. Cheap to clone.
#[derive(Clone, Default)]
pub struct Redaction {
    /// Every form of every secret, or of its beginning, in order.
    patterns: Arc<[SearchPattern]>,
    matcher: Matcher,
}

#[derive(Debug)]
struct SearchPattern {
    text: String,
    /// The secret, or one of the secrets, goes on behind this.
    is_beginning: bool,
}

/// Finds the patterns in a text.
#[derive(Clone, Default)]
enum Matcher {
    #[default]
    Nothing,
    Patterns(AhoCorasick),
    /// The secrets are too large for an automaton, so every text counts as one.
    Everything,
}

impl Redaction {
    /// Returns a redaction of these texts. An empty text is ignored. Any other counts, however short: leave out what
    /// would be found in every text.
    ///
    /// A text with the first 1 KiB of a longer secret is redacted from there to its end. With many secrets fewer bytes
    /// suffice, down to 32. If the forms of so little have more than 256 KiB, all texts are redacted whole.
    #[must_use]
    pub fn new(secrets: &[String]) -> Self {
        let limits = iter::successors(Some(BEGINNING_BYTES_MAX), |limit| Some(limit / 2));
        let mut limits = limits.take_while(|limit| *limit >= BEGINNING_BYTES_MIN);
        let Some(patterns) = limits.find_map(|limit| collect_patterns(secrets, limit)) else {
            return Self { patterns: Arc::default(), matcher: Matcher::Everything };
        };
        // The automaton reports overlapping matches: with the leftmost-longest alone, a secret that begins within
        // another would show its end. This kind is built quickly, which counts for the secrets of one request.
        let texts = patterns.iter().map(|pattern| &pattern.text);
        let built = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(texts);
        let matcher = match built {
            _ if patterns.is_empty() => Matcher::Nothing,
            Ok(automaton) => Matcher::Patterns(automaton),
            Err(_) => Matcher::Everything,
        };
        Self { patterns, matcher }
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
            Matcher::Patterns(automaton) if automaton.is_match(text) => {
                let mut places = Vec::new();
                for found in automaton.find_overlapping_iter(text) {
                    let is_beginning = self.patterns[found.pattern().as_usize()].is_beginning;
                    let end = if is_beginning { text.len() } else { found.end() };
                    push_merged(&mut places, found.start()..end);
                }
                places
            }
            Matcher::Everything => iter::once(0..text.len()).filter(|all| !all.is_empty()).collect(),
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
                let mut starts = text[..cut].char_indices().map(|(at, _)| at);
                let start = starts.find(|start| self.has_pattern_with(&text[*start..cut]))?;
                Some(start..cut)
            })
            .collect()
    }

    /// Returns whether a pattern begins with this text, which is too long to be shown.
    fn has_pattern_with(&self, beginning: &str) -> bool {
        // The patterns are in order, so the first that is not less than its beginning is one that has it.
        let at = self.patterns.partition_point(|pattern| *pattern.text < *beginning);
        let has_beginning = self.patterns.get(at).is_some_and(|pattern| pattern.text.starts_with(beginning));
        has_beginning && beginning.chars().nth(PREFIX_CHARS_MAX).is_some()
    }

    /// Returns a JSON text whose keys, strings and numbers are without the secrets.
    pub(super) fn redact_json<'a>(&self, json: &'a str) -> Cow<'a, str> {
        // JSON without an escape has every string as it is, so a plain search finds every secret.
        if matches!(self.matcher, Matcher::Nothing) || !json.contains('\\') && !self.contains_secret(json) {
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

/// Returns the forms of the secrets in order, each secret cut to `limit` bytes. `None` if they have too many bytes.
fn collect_patterns(secrets: &[String], limit: usize) -> Option<Arc<[SearchPattern]>> {
    let mut patterns: BTreeMap<String, bool> = BTreeMap::new();
    let mut bytes = 0;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        // Each encoder writes one character after the other, so a form of the beginning begins a form of the whole.
        let beginning = cut_to_bytes(secret, limit);
        let is_beginning = beginning.len() < secret.len();
        for form in encodings::encoded_forms(beginning) {
            let length = form.len();
            let known = patterns.entry(form).or_insert_with(|| {
                bytes += length;
                false
            });
            *known |= is_beginning;
        }
        if bytes > PATTERN_BYTES_MAX {
            return None;
        }
    }
    Some(patterns.into_iter().map(|(text, is_beginning)| SearchPattern { text, is_beginning }).collect())
}

/// Returns the longest beginning of the text that has at most this many bytes.
fn cut_to_bytes(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Merges ranges into ranges from left to right of which none overlap.
fn merge_ranges(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|place| place.start);
    let mut merged = Vec::with_capacity(found.len());
    found.into_iter().for_each(|place| push_merged(&mut merged, place));
    merged
}

/// Adds a range to ranges of which none overlap. It must begin or end behind them all, or overlap the last.
fn push_merged(merged: &mut Vec<Range<usize>>, mut place: Range<usize>) {
    while let Some(last) = merged.pop_if(|last| place.start < last.end) {
        place = place.start.min(last.start)..place.end.max(last.end);
    }
    merged.push(place);
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
