//! Rules for switches, numbers, durations and sizes.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::DeValue;

use super::{ParseResult, TomlValue, invalid, mismatch};
use crate::config::choice::NamedChoice;
use crate::config::duration::{ParseDurationError, format_duration, parse_duration};
use crate::config::size::{ParseSizeError, format_size, parse_size};
use crate::suggestion::{join_quoted, nearest_hint};

/// Parses `true` or `false`.
pub(crate) fn flag(value: &TomlValue<'_>) -> ParseResult<bool> {
    value.get_ref().as_bool().map_or_else(|| mismatch("true or false", value), Ok)
}

/// Reads a name of `C`.
pub(crate) fn choice<C: NamedChoice>(value: &TomlValue<'_>) -> ParseResult<C> {
    let names: Vec<&str> = C::NAMES.iter().map(|(name, _)| *name).collect();
    let expected = join_quoted(&names, "or");
    let Some(text) = value.get_ref().as_str() else {
        return mismatch(&expected, value);
    };
    let found = C::NAMES.iter().find(|(name, _)| *name == text);
    let refused = || invalid(format!("must be {expected}{}", nearest_hint(text, &names)));
    found.map_or_else(refused, |(_, choice)| Ok(*choice))
}

/// Parses a whole number within `bounds`.
pub(crate) fn count<T>(bounds: RangeInclusive<T>) -> impl Fn(&TomlValue<'_>) -> ParseResult<T>
where
    T: PartialOrd + Display + TryFrom<i64>,
{
    move |value| {
        let DeValue::Integer(number) = value.get_ref() else {
            return mismatch(&format!("a whole number from {} to {}", bounds.start(), bounds.end()), value);
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        check_bounds(number.and_then(|number| T::try_from(number).ok()), &bounds, |bound| bound.to_string())
    }
}

/// Parses a number within `bounds`, whole or not.
pub(crate) fn ratio(bounds: RangeInclusive<f64>) -> impl Fn(&TomlValue<'_>) -> ParseResult<f64> {
    move |value| {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            _ => {
                let expected = format!("a decimal number from {} to {}", bounds.start(), bounds.end());
                return mismatch(&expected, value);
            }
        };
        check_bounds(number, &bounds, |bound| bound.to_string())
    }
}

/// Parses a duration within `bounds`.
pub(crate) fn duration(bounds: RangeInclusive<Duration>) -> impl Fn(&TomlValue<'_>) -> ParseResult<Duration> {
    move |value| {
        let Some(text) = value.get_ref().as_str() else {
            return mismatch("a string with a duration, as in \"250ms\" or \"30s\"", value);
        };
        let duration = match parse_duration(text) {
            Ok(duration) => Some(duration),
            Err(ParseDurationError::TooLong) => None,
            Err(error) => return invalid(format!("cannot be read: {error}")),
        };
        check_bounds(duration, &bounds, |bound| format!("\"{}\"", format_duration(*bound)))
    }
}

/// Parses a size in bytes within `bounds`: a string such as `"64MiB"`, or a whole number.
pub(crate) fn size(bounds: RangeInclusive<u64>) -> impl Fn(&TomlValue<'_>) -> ParseResult<u64> {
    move |value| {
        let bytes = match value.get_ref() {
            DeValue::String(text) => parse_size(text),
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).map_err(|_| ParseSizeError::TooLarge)
            }
            _ => return mismatch("a size, as in \"64MiB\" or 1048576", value),
        };
        match bytes {
            Err(error @ ParseSizeError::Malformed) => invalid(format!("cannot be read: {error}")),
            Ok(_) | Err(ParseSizeError::TooLarge) => {
                check_bounds(bytes.ok(), &bounds, |bound| format!("\"{}\"", format_size(*bound)))
            }
        }
    }
}

/// Returns `number` if there is one within `bounds`.
fn check_bounds<T: PartialOrd>(
    number: Option<T>,
    bounds: &RangeInclusive<T>,
    shown: impl Fn(&T) -> String,
) -> ParseResult<T> {
    number.filter(|number| bounds.contains(number)).map_or_else(
        || invalid(format!("must be from {} to {}", shown(bounds.start()), shown(bounds.end()))),
        Ok,
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::Overflow;
    use crate::config::parser::tests::{check_errors, read};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn numbers_read_in_every_notation_of_toml() {
        for toml in ["16", "+16", "0x10", "0o20", "0b10000", "1_6"] {
            assert_eq!(read(toml, count(0..=16_u32)), Ok(16), "{toml}");
            assert_eq!(read(toml, size(0..=16)), Ok(16), "{toml}");
        }
        for toml in ["2", "2.0", "0.2e1"] {
            assert_eq!(read(toml, ratio(1.0..=2.0)), Ok(2.0), "{toml}");
        }
    }

    #[test]
    fn number_out_of_bounds_names_the_bounds() {
        check_errors(
            &expect![[r#"
            0                        "k" must be from 1 to 9
            -1                       "k" must be from 1 to 9
            10                       "k" must be from 1 to 9
            99999999999999999999     "k" must be from 1 to 9
            "5"                      "k" must be a whole number from 1 to 9, not a string
            5.0                      "k" must be a whole number from 1 to 9, not a float
        "#]],
            count(1..=9_u16),
        );
        check_errors(
            &expect![[r#"
            0.99                     "k" must be from 1 to 100
            nan                      "k" must be from 1 to 100
            inf                      "k" must be from 1 to 100
            -2                       "k" must be from 1 to 100
            1e400                    "k" must be from 1 to 100
            true                     "k" must be a decimal number from 1 to 100, not a boolean
        "#]],
            ratio(1.0..=100.0),
        );
    }

    #[test]
    fn bad_duration_names_the_form_or_the_bounds() {
        check_errors(
            &expect![[r#"
            "0s"                     "k" must be from "1s" to "1m"
            "2m"                     "k" must be from "1s" to "1m"
            "9999999h"               "k" must be from "1s" to "1m"
            "30"                     "k" cannot be read: a duration needs a unit (ms, s, m or h) behind its number, as in "250ms" or "30s"
            "-1s"                    "k" cannot be read: a duration is a whole number and a unit (ms, s, m or h), as in "250ms", "30s", "5m" or "2h"
            30                       "k" must be a string with a duration, as in "250ms" or "30s", not an integer
            07:32:00                 "k" must be a string with a duration, as in "250ms" or "30s", not a date
        "#]],
            duration(SECOND..=60 * SECOND),
        );
    }

    #[test]
    fn bad_size_names_the_form_or_the_bounds() {
        check_errors(
            &expect![[r#"
            0                        "k" must be from "1" to "1MiB"
            -1                       "k" must be from "1" to "1MiB"
            "2MiB"                   "k" must be from "1" to "1MiB"
            "9999GiB"                "k" must be from "1" to "1MiB"
            "64MB"                   "k" cannot be read: a size is a whole number of bytes, or a whole number and KiB, MiB or GiB, as in "512KiB" or "64MiB"
            1.5                      "k" must be a size, as in "64MiB" or 1048576, not a float
        "#]],
            size(1..=1 << 20),
        );
    }

    #[test]
    fn choice_outside_the_list_names_the_list() {
        assert_eq!(read("\"drop-oldest\"", choice), Ok(Overflow::DropOldest));
        check_errors(
            &expect![[r#"
            "Reject"                 "k" must be "reject", "drop-oldest" or "drop-lowest"; did you mean "reject"?
            "drop-oldst"             "k" must be "reject", "drop-oldest" or "drop-lowest"; did you mean "drop-oldest"?
            "newest"                 "k" must be "reject", "drop-oldest" or "drop-lowest"
            ""                       "k" must be "reject", "drop-oldest" or "drop-lowest"
            1                        "k" must be "reject", "drop-oldest" or "drop-lowest", not an integer
        "#]],
            choice::<Overflow>,
        );
    }

    #[test]
    fn switch_is_true_or_false() {
        assert_eq!(read("false", flag), Ok(false));
        assert_eq!(read("\"yes\"", flag), Err("\"k\" must be true or false, not a string".to_owned()));
    }
}
