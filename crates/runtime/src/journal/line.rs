//! Encodes an event as one line: a JSON object whose last member is a checksum of all the others.
//!
//! The checksum is CRC-32C (Castagnoli; RFC 3720, appendix B.4) over the line's bytes with the member
//! `,"crc":"…"` taken out, as eight lower-case hex digits.

use std::fmt::Write;
use std::sync::Arc;

use jiff::Timestamp;
use thiserror::Error;

use super::cursor::NUMBER_MAX;
use super::timestamp::TimestampFormatter;

/// The capacity that is kept for the next line after a long one, in bytes.
const LINE_CAPACITY_MAX: usize = 16 * 1024;

/// A line is not an event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// The line does not end in a checksum.
    #[error("the line has no checksum")]
    NoChecksum,
    /// The line's checksum is not that of its content.
    #[error("the checksum says {stated}, the content gives {actual}")]
    WrongChecksum {
        /// The checksum in the line.
        stated: String,
        /// The checksum of the content.
        actual: String,
    },
    /// The line's content is not an event.
    #[error("the content is no event: {0}")]
    NotAnEvent(String),
    /// The line's run or number is larger than any that a journal gives.
    #[error("its {name} is {number}, and {NUMBER_MAX} is the largest that a journal gives")]
    TooLarge {
        /// `run` or `seq`.
        name: &'static str,
        /// The number in the line.
        number: u64,
    },
}

/// An event as a line without its place in the journal. It is made before the journal is locked.
pub(super) struct UnsequencedLine<'a> {
    /// `actor`, `generation` and `kind`, as members of the line.
    members: String,
    /// The event's own JSON object.
    fields: &'a str,
}

impl<'a> UnsequencedLine<'a> {
    pub(super) fn new(actor: &str, generation: u64, kind: &str, fields: &'a str) -> Self {
        let mut members = String::with_capacity(64 + actor.len() + kind.len());
        members.push_str(r#","actor":"#);
        push_json_string(actor, &mut members);
        // Writing to a string cannot fail.
        let _ = write!(members, r#","generation":{generation},"kind":"#);
        push_json_string(kind, &mut members);
        Self { members, fields }
    }
}

/// Writes the lines of one run.
pub(super) struct LineEncoder {
    run: u64,
    timestamp: TimestampFormatter,
    line: String,
}

impl LineEncoder {
    pub(super) fn new(run: u64) -> Self {
        Self { run, timestamp: TimestampFormatter::default(), line: String::new() }
    }

    /// Returns `unsequenced` as the line with number `seq`, without its line break.
    pub(super) fn encode(
        &mut self,
        seq: u64,
        at: Timestamp,
        mono_ms: u64,
        unsequenced: &UnsequencedLine<'_>,
    ) -> Arc<str> {
        let line = &mut self.line;
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, r#"{{"run":{},"seq":{seq},"at":""#, self.run);
        self.timestamp.append_to(at, line);
        let _ = write!(line, r#"","mono_ms":{mono_ms}"#);
        line.push_str(&unsequenced.members);
        let own =
            unsequenced.fields.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
        if !own.is_empty() {
            line.push(',');
            line.push_str(own);
        }
        line.push('}');
        append_checksum(line);
        let encoded = Arc::from(line.as_str());
        line.shrink_to(LINE_CAPACITY_MAX);
        encoded
    }
}

/// Appends `text` as a JSON string.
pub(super) fn push_json_string(text: &str, json: &mut String) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // A string always serialises.
        json.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        json.push('"');
        json.push_str(text);
        json.push('"');
    }
}

/// Appends the checksum of a JSON object that has members, as its last member.
fn append_checksum(object: &mut String) {
    let crc = crc32c::crc32c(object.as_bytes());
    object.pop();
    // Writing to a string cannot fail.
    let _ = write!(object, r#","crc":"{crc:08x}"}}"#);
}

/// Checks a line's checksum, and returns its content without it.
pub(super) fn verify_checksum(line: &str) -> Result<String, LineError> {
    verified_body(line).map(|body| format!("{body}}}"))
}

/// Checks a line's checksum, and returns its content without it and without the last brace.
pub(super) fn verified_body(line: &str) -> Result<&str, LineError> {
    const MEMBER_BYTES: usize = r#","crc":"00000000"}"#.len();
    let (body, member) = line
        .len()
        .checked_sub(MEMBER_BYTES)
        .and_then(|at| line.split_at_checked(at))
        .ok_or(LineError::NoChecksum)?;
    let stated = member
        .strip_prefix(r#","crc":""#)
        .and_then(|rest| rest.strip_suffix("\"}"))
        .ok_or(LineError::NoChecksum)?;
    let actual = crc32c::crc32c_append(crc32c::crc32c(body.as_bytes()), b"}");
    if is_checksum(stated, actual) {
        Ok(body)
    } else {
        Err(LineError::WrongChecksum { stated: stated.to_owned(), actual: format!("{actual:08x}") })
    }
}

/// Returns whether `stated` is `checksum` in eight lower-case digits.
fn is_checksum(stated: &str, checksum: u32) -> bool {
    let digits = (0..8).rev().map(|digit| (checksum >> (4 * digit)) & 15);
    stated.len() == 8
        && stated.chars().zip(digits).all(|(char, digit)| char::from_digit(digit, 16) == Some(char))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(actor: &str, fields: &str) -> Arc<str> {
        let unsequenced = UnsequencedLine::new(actor, 2, "actor_exited", fields);
        LineEncoder::new(3).encode(7, Timestamp::UNIX_EPOCH, 12, &unsequenced)
    }

    #[test]
    fn line_has_header_then_fields_then_checksum() {
        let line = line("root/a", r#"{"cause":"panic"}"#);
        expect_test::expect![[r#"{"run":3,"seq":7,"at":"1970-01-01T00:00:00.000Z","mono_ms":12,"actor":"root/a","generation":2,"kind":"actor_exited","cause":"panic","crc":"71620354"}"#]].assert_eq(&line);
    }

    #[test]
    fn line_without_fields_is_valid() {
        let line = line("root/a", "{}");
        expect_test::expect![[r#"{"run":3,"seq":7,"at":"1970-01-01T00:00:00.000Z","mono_ms":12,"actor":"root/a","generation":2,"kind":"actor_exited","crc":"009943e8"}"#]].assert_eq(&line);
        assert!(verify_checksum(&line).is_ok());
    }

    #[test]
    fn escaped_actor_name_round_trips() {
        for name in ["a\"b", "a\\", "\n", "ä\u{7f}"] {
            let content = verify_checksum(&line(name, "{}")).unwrap();
            let value: serde_json::Value = serde_json::from_str(&content).unwrap();
            assert_eq!(value["actor"], name);
        }
    }

    #[test]
    fn checksum_matches_the_crc32c_check_value() {
        assert!(is_checksum("e3069283", crc32c::crc32c(b"123456789")));
        assert!(!is_checksum("e3069284", crc32c::crc32c(b"123456789")));
    }

    #[test]
    fn changed_line_fails_verification() {
        let line = line("root/a", r#"{"cause":"panic"}"#);
        assert!(verify_checksum(&line).is_ok());
        for at in 0..line.len() {
            let mut bytes = line.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            assert!(verify_checksum(&changed).is_err(), "a change at byte {at} went unseen");
        }
    }

    #[test]
    fn text_without_checksum_is_an_error() {
        for text in ["", "{}", "ä", "{\"seq\":1}", &"ß".repeat(30)] {
            assert_eq!(verify_checksum(text), Err(LineError::NoChecksum));
        }
    }

    #[test]
    fn number_beyond_the_limit_is_refused_by_name() {
        for (run, seq, refused) in [
            (NUMBER_MAX, NUMBER_MAX, None),
            (1, u64::MAX, Some("seq")),
            (NUMBER_MAX + 1, 1, Some("run")),
            (u64::MAX, u64::MAX, Some("run")),
        ] {
            let unsequenced = UnsequencedLine::new("root", 0, "noted", "{}");
            let line = LineEncoder::new(run).encode(seq, Timestamp::UNIX_EPOCH, 0, &unsequenced);
            let error = super::super::Record::parse(&line).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), refused.is_some(), "{line}: {error:?}");
            if let (Some(error), Some(name)) = (error, refused) {
                assert!(error.contains(&format!("its {name} is ")), "{error}");
                assert!(error.contains("9007199254740991 is the largest"), "{error}");
            }
        }
    }
}
