//! Reads a response's caching headers: `Cache-Control`, `Age`, `Expires`, `Vary`. Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The longest representable time, in seconds (RFC 9111, 1.2.2).
const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// The directives of a response that concern a private cache (RFC 9111, 5.2.2, and RFC 5861, 3). `s-maxage` and
/// `proxy-revalidate` are for shared caches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CacheControl {
    pub(super) no_store: bool,
    /// Set with or without field names: a list of names is treated as all fields (5.2.2.4).
    pub(super) no_cache: bool,
    pub(super) must_revalidate: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) stale_while_revalidate: Option<Duration>,
}

impl CacheControl {
    pub(super) fn from_headers(headers: &HeaderMap) -> Self {
        let mut cache_control = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            cache_control.parse_line(line.as_bytes());
        }
        // HTTP/1.0 used this header instead (5.4).
        if !headers.contains_key(header::CACHE_CONTROL) {
            let mut lines = headers.get_all(header::PRAGMA).iter();
            cache_control.no_cache = lines.any(|line| line.as_bytes().eq_ignore_ascii_case(b"no-cache"));
        }
        cache_control
    }

    fn parse_line(&mut self, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            let Some((member, after)) = split_member(rest) else {
                // The text behind an open quote cannot be parsed, and may be any directive.
                self.no_store = true;
                return;
            };
            self.parse_directive(member);
            rest = after;
        }
    }

    fn parse_directive(&mut self, member: &[u8]) {
        let at = member.iter().position(|byte| *byte == b'=');
        let (name, argument) = at.map_or((member, None), |at| (&member[..at], Some(&member[at + 1..])));
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"max-age" => {
                self.max_age = Some(merge_duplicate(self.max_age, parse_delta_seconds_or_zero(argument)))
            }
            b"stale-while-revalidate" => {
                self.stale_while_revalidate =
                    Some(merge_duplicate(self.stale_while_revalidate, parse_delta_seconds_or_zero(argument)));
            }
            _ => {}
        }
    }
}

/// Splits the first member from a list; `None` if a quote in it is not closed.
fn split_member(list: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return Some((&list[..at], &list[at + 1..])),
            _ => {}
        }
    }
    (!is_quoted).then_some((list, &[]))
}

/// Merges two values of one directive. If they differ, the response is stale (RFC 9111, 4.2.1).
fn merge_duplicate(earlier: Option<Duration>, now: Duration) -> Duration {
    if earlier.is_none_or(|earlier| earlier == now) { now } else { Duration::ZERO }
}

/// Parses an argument in seconds, quoted or not. An invalid one counts as zero (RFC 9111, 4.2.1).
fn parse_delta_seconds_or_zero(argument: Option<&[u8]>) -> Duration {
    let text = argument.unwrap_or_default().trim_ascii();
    let bare = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    parse_delta_seconds(bare).unwrap_or_default()
}

/// Parses whole seconds, and caps them at the maximum (RFC 9111, 1.2.2).
fn parse_delta_seconds(text: &[u8]) -> Option<Duration> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |sum: u64, byte: &u8| (sum * 10 + u64::from(byte - b'0')).min(DELTA_SECONDS_MAX);
    Some(Duration::from_secs(text.iter().fold(0, digit)))
}

/// Returns the response's age when it was sent, if it is readable (RFC 9111, 5.1). The first of several values
/// counts.
pub(super) fn age(headers: &HeaderMap) -> Option<Duration> {
    let Some(value) = headers.get(header::AGE) else { return Some(Duration::ZERO) };
    parse_delta_seconds(value.as_bytes().split(|byte| *byte == b',').next()?.trim_ascii())
}

/// Returns the end of freshness. An unreadable value, or two that differ, is in the past (RFC 9111, 5.3 and 4.2.1).
pub(super) fn expires(headers: &HeaderMap) -> Option<SystemTime> {
    let mut values = headers.get_all(header::EXPIRES).iter();
    let first = values.next()?;
    let is_clear = values.all(|value| value == first);
    Some(date(first).filter(|_| is_clear).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// Parses a date in any of the three forms (RFC 9110, 5.6.7).
pub(super) fn date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()
}

/// Returns whether `Vary` names only headers of the request: false for `*` or an unreadable value (RFC 9111, 4.1).
pub(super) fn has_matchable_vary(headers: &HeaderMap) -> bool {
    let is_name = |name: &[u8]| {
        let name = name.trim_ascii();
        name.is_empty() || (name != b"*" && HeaderName::from_bytes(name).is_ok())
    };
    let is_readable = |line: &HeaderValue| line.as_bytes().split(|byte| *byte == b',').all(is_name);
    headers.get_all(header::VARY).iter().all(is_readable)
}
