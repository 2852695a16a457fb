//! Reads what begins each line, without the rest of it.

use super::cursor::{Cursor, NUMBER_MAX};
use super::line::{self, LineError};

/// The members that begin each line, before those of the event's kind.
///
/// Reading them takes a tenth of the time of a whole [`Record`](super::Record), which matters to a reader that needs few
/// kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineHead<'l> {
    /// The event's place in the journal.
    pub cursor: Cursor,
    /// The wall time, RFC 3339 in UTC.
    pub at: &'l str,
    /// The actor's path.
    pub actor: &'l str,
    /// The actor's incarnation, 0 if there is none.
    pub generation: u64,
    /// The kind of event.
    pub kind: &'l str,
    /// The kind's own members, as they stand in the object of the line.
    pub members: &'l str,
}

impl<'l> LineHead<'l> {
    /// Checks a line's checksum and reads its head. Returns `None` if the line does not begin as the journal writes it,
    /// or has an escaped character there: [`Record::parse`](super::Record::parse) reads such a line.
    ///
    /// # Errors
    /// Returns an error if the line is torn or was changed.
    pub fn parse(text: &'l str) -> Result<Option<Self>, LineError> {
        Ok(Self::read(line::verified_body(text)?))
    }

    fn read(body: &'l str) -> Option<Self> {
        let (run, rest) = number(body.strip_prefix(r#"{"run":"#)?)?;
        let (seq, rest) = number(rest.strip_prefix(r#","seq":"#)?)?;
        let (at, rest) = string(rest.strip_prefix(r#","at":"#)?)?;
        let (_, rest) = number(rest.strip_prefix(r#","mono_ms":"#)?)?;
        let (actor, rest) = string(rest.strip_prefix(r#","actor":"#)?)?;
        let (generation, rest) = number(rest.strip_prefix(r#","generation":"#)?)?;
        let (kind, rest) = string(rest.strip_prefix(r#","kind":"#)?)?;
        let is_whole = run <= NUMBER_MAX && seq <= NUMBER_MAX && (rest.is_empty() || rest.starts_with(','));
        let members = rest.strip_prefix(',').unwrap_or_default();
        is_whole.then_some(Self { cursor: Cursor::new(run, seq), at, actor, generation, kind, members })
    }
}

/// Splits a number off.
fn number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().position(|byte| !byte.is_ascii_digit())?;
    let (number, rest) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, rest))
}

/// Splits a string without escapes off.
fn string(text: &str) -> Option<(&str, &str)> {
    let (string, rest) = text.strip_prefix('"')?.split_once('"')?;
    (!string.contains('\\')).then_some((string, rest))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::journal::Record;
    use crate::journal::line::{LineEncoder, UnsequencedLine};

    fn line(seq: u64, actor: &str, fields: &str) -> String {
        let unsequenced = UnsequencedLine::new(actor, 2, "actor_exited", fields);
        LineEncoder::new(3).encode(seq, Timestamp::UNIX_EPOCH, 12, &unsequenced).to_string()
    }

    proptest! {
        #[test]
        fn head_is_that_of_the_record(
            seq in 1..=NUMBER_MAX,
            actor in "[a-z\"\\\\ä/,:]{0,12}",
            fields in prop_oneof![Just("{}"), Just(r#"{"kind_of":"x","n":[1,"}"]}"#)],
        ) {
            let line = line(seq, &actor, fields);
            let record = Record::parse(&line).unwrap();
            let head = LineHead::parse(&line).unwrap();
            prop_assert_eq!(head.is_none(), actor.contains(['"', '\\']), "{}", line);
            if let Some(head) = head {
                let expected = (record.cursor(), &*record.at, &*record.actor, record.generation, &*record.kind);
                prop_assert_eq!((head.cursor, head.at, head.actor, head.generation, head.kind), expected);
                prop_assert_eq!(format!("{{{}}}", head.members), fields);
            }
        }
    }

    #[test]
    fn changed_line_has_no_head() {
        let changed = line(7, "root/a", "{}").replace("root/a", "root/b");
        assert!(matches!(LineHead::parse(&changed), Err(LineError::WrongChecksum { .. })));
    }
}
