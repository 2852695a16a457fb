//! Wall time in the form that a line has it.

use std::fmt::Write;

use jiff::Timestamp;

/// Writes RFC 3339 in UTC, to the millisecond. It formats each second once, because most lines share theirs with
/// others.
#[derive(Debug, Default)]
pub(super) struct TimestampFormatter {
    cached_second: i64,
    /// The text of the second up to its dot; empty before the first.
    cached_text: String,
}

impl TimestampFormatter {
    pub(super) fn append_to(&mut self, at: Timestamp, line: &mut String) {
        let second = at.as_second();
        // Before 1970 the fraction counts backwards; the library handles that.
        if second < 1 {
            // Writing to a string cannot fail.
            let _ = write!(line, "{at:.3}");
            return;
        }
        if self.cached_second != second || self.cached_text.is_empty() {
            self.cached_second = second;
            self.cached_text.clear();
            let _ = write!(self.cached_text, "{at:.0}");
            self.cached_text.pop();
        }
        line.push_str(&self.cached_text);
        let _ = write!(line, ".{:03}Z", at.subsec_millisecond());
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn timestamp_equals_the_librarys_format(
            times in prop::collection::vec((-3_000_000_000i64..200_000_000_000, 0i32..1_000_000_000), 1..20),
            steps in prop::collection::vec(0i64..700, 20),
        ) {
            let mut stamp = TimestampFormatter::default();
            for ((second, nanosecond), step_ms) in times.into_iter().zip(steps) {
                let at = Timestamp::new(second, nanosecond).unwrap();
                for at in [at, at + SignedDuration::from_millis(step_ms)] {
                    let mut text = String::new();
                    stamp.append_to(at, &mut text);
                    prop_assert_eq!(text, format!("{at:.3}"));
                }
            }
        }
    }
}
