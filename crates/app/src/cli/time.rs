//! Times as a person reads them: in the local time zone, or in UTC. Pure; the zone is passed in.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

/// A form for times.
#[derive(Debug, Clone)]
pub(super) struct TimeFormat {
    zone: TimeZone,
    is_utc: bool,
}

/// A day, as far as it matters for the times of that day: a clock may change its offset within a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    date: Date,
    offset: Offset,
}

impl TimeFormat {
    /// Returns the form for the time zone of this computer.
    pub(super) fn local() -> Self {
        Self { zone: TimeZone::system(), is_utc: false }
    }

    pub(super) fn utc() -> Self {
        Self { zone: TimeZone::UTC, is_utc: true }
    }

    #[cfg(test)]
    pub(super) fn in_zone(zone: TimeZone) -> Self {
        Self { zone, is_utc: false }
    }

    /// Returns the time of day with milliseconds: `22:38:01.164`.
    pub(super) fn clock(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%H:%M:%S%.3f").to_string()
    }

    /// Returns the time of day, with its date unless that is the day of `now`: `22:38:01`, `2026-11-28 22:38:01`, and with a
    /// `Z` in UTC.
    pub(super) fn moment(&self, at: Timestamp, now: Timestamp) -> String {
        let is_today = self.day(at).date == self.day(now).date;
        let pattern = if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        let mark = if self.is_utc { "Z" } else { "" };
        format!("{}{mark}", at.to_zoned(self.zone.clone()).strftime(pattern))
    }

    /// Returns the day of a time.
    pub(super) fn day(&self, at: Timestamp) -> Day {
        let zoned = at.to_zoned(self.zone.clone());
        Day { date: zoned.date(), offset: zoned.offset() }
    }

    /// Returns a line that begins a day: `2026-11-29, local time (UTC+01)`.
    pub(super) fn heading(&self, day: Day) -> String {
        match (self.is_utc, day.offset.is_zero()) {
            (true, _) => format!("{}, UTC", day.date),
            (false, true) => format!("{}, local time (UTC)", day.date),
            (false, false) => format!("{}, local time (UTC{})", day.date, day.offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Returns Central European Time, from a rule that needs no database.
    fn central_europe() -> TimeFormat {
        TimeFormat::in_zone(TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap())
    }

    #[test]
    fn moment_has_its_date_unless_it_is_of_today() {
        let (local, utc) = (central_europe(), TimeFormat::utc());
        let now = at("2026-11-29T23:30:00Z");
        for (time, in_local, in_utc) in [
            ("2026-11-29T23:29:59.999Z", "00:29:59", "23:29:59Z"),
            ("2026-11-29T22:59:00Z", "2026-11-29 23:59:00", "22:59:00Z"),
            ("2026-11-28T23:30:00Z", "2026-11-29 00:30:00", "2026-11-28 23:30:00Z"),
            ("2026-07-01T00:00:00Z", "2026-07-01 02:00:00", "2026-07-01 00:00:00Z"),
        ] {
            assert_eq!(
                (local.moment(at(time), now), utc.moment(at(time), now)),
                (in_local.into(), in_utc.into())
            );
        }
    }

    #[test]
    fn heading_names_day_and_offset() {
        let local = central_europe();
        let heading = |format: &TimeFormat, time| format.heading(format.day(at(time)));
        assert_eq!(heading(&local, "2026-11-29T23:30:00Z"), "2026-11-30, local time (UTC+01)");
        assert_eq!(heading(&local, "2026-07-01T00:30:00Z"), "2026-07-01, local time (UTC+02)");
        assert_eq!(heading(&TimeFormat::utc(), "2026-07-01T00:30:00Z"), "2026-07-01, UTC");
        let india = TimeFormat::in_zone(TimeZone::fixed(Offset::from_seconds(19_800).unwrap()));
        assert_eq!(heading(&india, "2026-07-01T20:00:00Z"), "2026-07-02, local time (UTC+05:30)");
        assert_eq!(local.clock(at("2026-07-01T00:30:00.0456Z")), "02:30:00.045");
    }

    #[test]
    fn day_changes_at_midnight_and_with_the_offset() {
        let local = central_europe();
        let day = |time| local.day(at(time));
        assert_eq!(day("2026-11-29T22:59:59Z"), day("2026-11-29T00:00:00Z"));
        assert_ne!(day("2026-11-29T22:59:59Z"), day("2026-11-29T23:00:00Z"));
        // Summer time ends at 01:00 UTC, and the hour from 02:00 comes again.
        assert_ne!(day("2026-10-25T00:59:59Z"), day("2026-10-25T01:00:00Z"));
    }
}
