//! Reads `Retry-After` (RFC 9110, 10.2.3): the time that a response asks clients to wait.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName};

/// The longest wait that is accepted from a `Retry-After`.
pub(crate) const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns the time that a response with these headers asks to wait, given as seconds or as a date. A fraction of a
/// second, which the RFC does not allow, is rounded up.
///
/// A date is compared with the response's own `Date`, so that neither clock needs to be right, or else with `wall`. A
/// longer wait is cut to [`RETRY_AFTER_LIMIT`]. Returns `None` if the header is missing, unreadable or in the past.
pub(crate) fn retry_after(headers: &HeaderMap, wall: Option<SystemTime>) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let asked = text(RETRY_AFTER)?;
    let wait = if let Some(seconds) = parse_seconds(asked) {
        seconds
    } else {
        let until = httpdate::parse_http_date(asked).ok()?;
        let now = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok()).or(wall)?;
        until.duration_since(now).ok()?
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

/// Parses seconds, and rounds a fraction up.
fn parse_seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut digits = whole.bytes().chain(fraction.bytes()).peekable();
    if digits.peek().is_none() || !digits.all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let has_fraction = fraction.bytes().any(|byte| byte != b'0');
    // Digits that do not parse are too many digits, or none before the point.
    let whole = if whole.is_empty() { 0 } else { whole.parse().unwrap_or(u64::MAX) };
    Some(Duration::from_secs(whole.saturating_add(u64::from(has_fraction))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "Tue, 15 Nov 1994 08:12:31 GMT";
    const THEN: &str = "Tue, 15 Nov 1994 08:13:01 GMT";

    fn parse(headers: &[(HeaderName, &'static str)], wall: Option<&str>) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let wall = wall.map(|date| httpdate::parse_http_date(date).unwrap());
        retry_after(&headers.collect(), wall)
    }

    #[test]
    fn retry_after_reads_seconds_or_a_date_against_date() {
        let half_a_minute = Some(Duration::from_secs(30));
        assert_eq!(parse(&[(RETRY_AFTER, "30")], None), half_a_minute);
        assert_eq!(parse(&[(RETRY_AFTER, THEN), (DATE, NOW)], Some(THEN)), half_a_minute);
        assert_eq!(parse(&[(RETRY_AFTER, THEN)], Some(NOW)), half_a_minute);
    }

    #[test]
    fn fraction_of_a_second_is_rounded_up() {
        for (value, seconds) in [("2.5", 3), ("2.0", 2), ("2.", 2), (".1", 1), ("0.0001", 1), ("0.0", 0)] {
            let asked = Some(Duration::from_secs(seconds));
            assert_eq!(parse(&[(RETRY_AFTER, value)], None), asked, "{value}");
        }
    }

    #[test]
    fn past_or_invalid_retry_after_is_none() {
        assert_eq!(parse(&[(RETRY_AFTER, NOW), (DATE, THEN)], None), None);
        assert_eq!(parse(&[(RETRY_AFTER, THEN)], None), None);
        for unreadable in ["-5", "+5", "1.5.2", "1,5", "1e3", ".", "soon", ""] {
            assert_eq!(parse(&[(RETRY_AFTER, unreadable)], Some(NOW)), None, "{unreadable}");
        }
        assert_eq!(parse(&[], Some(NOW)), None);
    }

    #[test]
    fn long_retry_after_is_cut_to_the_limit() {
        const CENTURIES: &str = "Sat, 15 Nov 2994 08:13:01 GMT";
        for value in [
            "86401",
            "18446744073709551615",
            "99999999999999999999999999",
            "9999999999999999999999.9",
            CENTURIES,
        ] {
            assert_eq!(parse(&[(RETRY_AFTER, value)], Some(NOW)), Some(RETRY_AFTER_LIMIT), "{value}");
        }
    }
}
