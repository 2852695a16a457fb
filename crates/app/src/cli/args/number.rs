//! Parses numbers, and says which ones are valid.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Returns the parser of a whole number in `range`. Its error names the range.
pub(super) fn whole_number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| match text.parse() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("it must be a whole number from {} to {}", range.start(), range.end())),
    }
}

/// Parses the number of a request.
pub(super) fn request_number(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "it must be the number of a request, such as 7, as `mainstay requests` shows it")
}
