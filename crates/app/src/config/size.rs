//! Sizes in bytes as people write them: `512KiB`, `64MiB`, `1GiB`, or a plain number of bytes.

use thiserror::Error;

/// The largest size that is read, in bytes: 1024 GiB.
pub const SIZE_MAX: u64 = 1 << 40;

/// Each unit with its size in bytes, the largest first.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)];

/// The reasons why a text is not a size, with the right form. The text itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseSizeError {
    /// No whole number at the start, or something unknown behind it.
    #[error(
        "a size is a whole number of bytes, or a whole number and KiB, MiB or GiB, as in \"512KiB\" or \"64MiB\""
    )]
    Malformed,
    /// Above [`SIZE_MAX`].
    #[error("a size is at most \"{}\"", format_size(SIZE_MAX))]
    TooLarge,
}

/// Reads a number of bytes: a whole number, alone or with one of the units `KiB`, `MiB`, `GiB` behind it.
///
/// # Errors
///
/// The text has another form, or means more than [`SIZE_MAX`].
pub fn parse_size(text: &str) -> Result<u64, ParseSizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(ParseSizeError::Malformed);
    }
    let (_, unit_bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseSizeError::Malformed)?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*unit_bytes))
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or(ParseSizeError::TooLarge)
}

/// Writes a number of bytes with the largest unit that fits without remainder, so that [`parse_size`] returns
/// the same number.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let largest = UNITS.iter().find(|(_, unit_bytes)| bytes.is_multiple_of(*unit_bytes));
    match largest {
        Some((unit, unit_bytes)) if bytes > 0 => format!("{}{unit}", bytes / unit_bytes),
        _ => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_reads_as_its_bytes() {
        let bytes = ["0", "1000", "512KiB", "64MiB", "1GiB", "1024GiB"].map(|text| parse_size(text).unwrap());
        assert_eq!(bytes, [0, 1_000, 524_288, 67_108_864, 1_073_741_824, SIZE_MAX]);
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_size() {
        let around = |bytes: u64| [bytes - 1, bytes, bytes + 1];
        for bytes in (1..40).map(|power| 1 << power).flat_map(around) {
            assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }
    }

    #[test]
    fn largest_unit_without_remainder_is_written() {
        let written = [0, 1, 1_000, 1_024, 1_536, 64 << 20, 1 << 30].map(format_size);
        assert_eq!(written, ["0", "1", "1000", "1KiB", "1536", "64MiB", "1GiB"]);
    }

    #[test]
    fn every_other_form_is_refused() {
        for text in ["", "MiB", "-1", "1.5MiB", "1 MiB", "64MB", "64mib", "64M", "64B", "much"] {
            assert_eq!(parse_size(text), Err(ParseSizeError::Malformed), "{text:?}");
        }
        for text in ["1025GiB", "18446744073709551615", "18446744073709551616", "99999999999999999999GiB"] {
            assert_eq!(parse_size(text), Err(ParseSizeError::TooLarge), "{text:?}");
        }
    }

    #[test]
    fn error_says_what_would_be_right() {
        assert!(ParseSizeError::Malformed.to_string().contains("\"64MiB\""));
        assert_eq!(ParseSizeError::TooLarge.to_string(), "a size is at most \"1024GiB\"");
    }
}
