//! One event as one line: a JSON object whose last member is a checksum of all the others.
//!
//! The checksum is CRC-32C (Castagnoli; RFC 3720, appendix B.4) over the line's bytes with the member
//! `,"crc":"…"` taken out, as eight lower-case hex digits.

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use thiserror::Error;

/// Why a line is not an event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    /// It does not end in a checksum.
    #[error("the line has no checksum")]
    NoChecksum,
    /// Its checksum is not that of its content.
    #[error("the checksum says {stated}, the content gives {actual}")]
    WrongChecksum {
        /// The checksum in the line.
        stated: String,
        /// The checksum of the content.
        actual: String,
    },
    /// Its content is no event.
    #[error("the content is no event: {0}")]
    NoEvent(String),
}

/// What the journal adds to an event, in the order of the line.
#[derive(Serialize)]
pub(super) struct Header<'a> {
    pub(super) seq: u64,
    pub(super) boot: &'a str,
    /// RFC 3339 in UTC, to the millisecond.
    #[serde(serialize_with = "millisecond")]
    pub(super) at: Timestamp,
    pub(super) mono_ms: u64,
    pub(super) actor: &'a str,
    pub(super) generation: u64,
    pub(super) kind: &'a str,
}

fn millisecond<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.3}"))
}

/// The line, without its line break. `fields` is the event's own JSON object.
pub(super) fn encode(header: &Header<'_>, fields: &str) -> String {
    let mut line = serde_json::to_string(header).unwrap_or_default();
    line.pop();
    let own = fields.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or_default();
    if !own.is_empty() {
        line.push(',');
        line.push_str(own);
    }
    line.push('}');
    let crc = checksum(&line);
    line.pop();
    line.push_str(&format!(",\"crc\":\"{crc}\"}}"));
    line
}

/// The line's content without its checksum, once that has been found right.
pub(super) fn verify(line: &str) -> Result<String, LineError> {
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
    let content = format!("{body}}}");
    let actual = checksum(&content);
    if stated == actual {
        Ok(content)
    } else {
        Err(LineError::WrongChecksum { stated: stated.to_owned(), actual })
    }
}

fn checksum(content: &str) -> String {
    format!("{:08x}", crc32c::crc32c(content.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header<'static> {
        Header {
            seq: 7,
            boot: "b0",
            at: Timestamp::UNIX_EPOCH,
            mono_ms: 12,
            actor: "root/a",
            generation: 2,
            kind: "actor_exited",
        }
    }

    #[test]
    fn a_line_has_the_header_then_the_events_fields_then_the_checksum() {
        let line = encode(&header(), r#"{"cause":"panic"}"#);
        expect_test::expect![[r#"{"seq":7,"boot":"b0","at":"1970-01-01T00:00:00.000Z","mono_ms":12,"actor":"root/a","generation":2,"kind":"actor_exited","cause":"panic","crc":"ab3f9591"}"#]].assert_eq(&line);
    }

    #[test]
    fn the_checksum_is_crc32c_as_the_standard_has_it() {
        assert_eq!(checksum("123456789"), "e3069283");
    }

    #[test]
    fn a_line_that_was_changed_anywhere_is_found_out() {
        let line = encode(&header(), r#"{"cause":"panic"}"#);
        assert!(verify(&line).is_ok());
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes).into_owned();
            assert!(verify(&changed).is_err(), "a change at byte {at} went unseen");
        }
    }

    #[test]
    fn text_that_is_no_line_is_refused_without_a_panic() {
        for text in ["", "{}", "ä", "{\"seq\":1}", &"ß".repeat(30)] {
            assert_eq!(verify(text), Err(LineError::NoChecksum));
        }
    }
}
