//! Durations as people write them: `250ms`, `30s`, `5m`, `2h`.

use std::time::Duration;

use thiserror::Error;

/// The longest duration that is read: 365 days. No sum of a clock and such a duration can overflow.
pub const DURATION_MAX: Duration = Duration::from_millis(365 * 24 * HOUR_MS);

const HOUR_MS: u64 = 3_600_000;

/// Each unit with its length in milliseconds, the longest first.
const UNITS: [(&str, u64); 4] = [("h", HOUR_MS), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The reasons why a text is not a duration, with the right form. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseDurationError {
    /// No whole number at the start, or something unknown behind it.
    #[error(
        "a duration is a whole number and a unit (ms, s, m or h), as in \"250ms\", \"30s\", \"5m\" or \"2h\""
    )]
    Malformed,
    /// A number alone.
    #[error("a duration needs a unit (ms, s, m or h) behind its number, as in \"250ms\" or \"30s\"")]
    UnitMissing,
    /// Above [`DURATION_MAX`].
    #[error("a duration is at most \"{}\"", format_duration(DURATION_MAX))]
    TooLong,
}

/// Reads a whole number and one of the units `ms`, `s`, `m`, `h`, with nothing between or around them.
///
/// # Errors
///
/// The text has another form, or means more than [`DURATION_MAX`].
pub fn parse_duration(text: &str) -> Result<Duration, ParseDurationError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(ParseDurationError::Malformed);
    }
    if unit.is_empty() {
        return Err(ParseDurationError::UnitMissing);
    }
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseDurationError::Malformed)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*unit_ms))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or(ParseDurationError::TooLong)
}

/// Writes a duration with the longest unit that fits without remainder, so that [`parse_duration`] returns the
/// same duration. Fractions of a millisecond are cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    let longest = UNITS.iter().find(|(_, unit_ms)| total_ms.is_multiple_of(u128::from(*unit_ms)));
    match longest {
        Some((unit, unit_ms)) if total_ms > 0 => format!("{}{unit}", total_ms / u128::from(*unit_ms)),
        _ => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_reads_as_its_length() {
        let texts = ["0s", "250ms", "30s", "5m", "2h", "8760h"];
        let lengths_ms = texts.map(|text| parse_duration(text).unwrap().as_millis());
        assert_eq!(lengths_ms, [0, 250, 30_000, 300_000, 7_200_000, 31_536_000_000]);
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_duration() {
        let around = |ms: u64| [ms.saturating_sub(1), ms, ms + 1];
        for ms in [1, 999, 1_000, 1_500, 60_000, 90_000, HOUR_MS, 24 * HOUR_MS].into_iter().flat_map(around) {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "{ms} ms");
        }
    }

    #[test]
    fn longest_unit_without_remainder_is_written() {
        let written = [0, 1, 1_000, 1_500, 60_000, 90_000, 600_000, HOUR_MS, 25 * HOUR_MS]
            .map(|ms| format_duration(Duration::from_millis(ms)));
        assert_eq!(written, ["0s", "1ms", "1s", "1500ms", "1m", "90s", "10m", "1h", "25h"]);
    }

    #[test]
    fn part_finer_than_a_millisecond_is_cut_off() {
        assert_eq!(format_duration(Duration::from_micros(1_999)), "1ms");
        assert_eq!(format_duration(Duration::from_nanos(1)), "0s");
    }

    #[test]
    fn every_other_form_is_refused() {
        for text in
            ["", "s", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1d", "1h30m", "1µs", "١s", "soon"]
        {
            assert_eq!(parse_duration(text), Err(ParseDurationError::Malformed), "{text:?}");
        }
        for text in ["0", "30"] {
            assert_eq!(parse_duration(text), Err(ParseDurationError::UnitMissing), "{text:?}");
        }
        for text in ["8761h", "18446744073709551615h", "99999999999999999999999999ms"] {
            assert_eq!(parse_duration(text), Err(ParseDurationError::TooLong), "{text:?}");
        }
    }

    #[test]
    fn error_says_what_would_be_right() {
        assert!(ParseDurationError::Malformed.to_string().contains("\"250ms\""));
        assert!(ParseDurationError::UnitMissing.to_string().contains("needs a unit"));
        assert_eq!(ParseDurationError::TooLong.to_string(), "a duration is at most \"8760h\"");
    }
}
