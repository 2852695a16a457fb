//! A finding in words.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{count, millis_text};

use super::Finding;
use crate::tree_place::BACKEND_NAME;

/// The longest part of a program's line in a sentence, in characters.
const LINE_CHARS_MAX: usize = 100;

impl Finding {
    /// Returns the sentence, without its full stop.
    pub(super) fn describe(&self, now: Timestamp, zone: &TimeZone) -> String {
        let since = |at: &WallTime| clock_text(at.0, now, zone);
        match self {
            Self::Well {} => "All is well".to_owned(),
            Self::Storage { part, message } => format!("The {part} cannot be written: {message}"),
            Self::GivenUp { names, more } => format!("{} given up", are(names, *more)),
            Self::Suspended { name, since: at } => {
                format!(
                    "{}'s process is stopped by a signal or a debugger since {}",
                    subject(name),
                    since(at)
                )
            }
            Self::Restarting { name, at, attempt, more } => {
                let when = match at.map(|at| remaining(at.0, now)) {
                    Some(0) => "restarts now".to_owned(),
                    Some(ms) => format!("restarts in {}", millis_text(ms)),
                    None => "is being restarted".to_owned(),
                };
                let attempt = attempt
                    .map(|attempt| format!(" (attempt {} of {})", attempt.number, attempt.max))
                    .unwrap_or_default();
                let more = if *more == 0 { String::new() } else { format!(", and {more} more") };
                format!("{} {when}{attempt}{more}", subject(name))
            }
            Self::Stopping { since: at, names, more } => {
                let awaited = match names[..] {
                    [] => String::new(),
                    _ => format!(", and waits for {}", objects(names, *more)),
                };
                format!("Mainstay is stopping since {}{awaited}", since(at))
            }
            Self::Starting { names, more, since: at, awaits, last_line } => {
                let awaits = awaits.as_ref().map(|sign| format!(": it is ready when {sign}"));
                let line = last_line.as_ref().map(|line| format!("; its last line: {}", shortened(line)));
                let (awaits, line) = (awaits.unwrap_or_default(), line.unwrap_or_default());
                format!("{} starting since {}{awaits}{line}", are(names, *more), since(at))
            }
            Self::BackendAway { since: at, .. } => format!("The backend is away since {}", since(at)),
            Self::Unconnected { since: at, attempt, max, has_failed, .. } => {
                let attempt = if *has_failed {
                    "attempts go on slowly".to_owned()
                } else {
                    format!("attempt {attempt} of {max}")
                };
                format!("The connection is lost since {} ({attempt})", since(at))
            }
            Self::NoWebsocket { status, .. } => format!(
                "The backend has answered by HTTP ({status}) where its WebSocket should be: if it has none, set \
                 [connection] enabled = false"
            ),
            Self::Unwell { names, more } => format!("{} not well", are(names, *more)),
            Self::Unknown { names, more } => {
                format!("The backend of {} cannot be reached", listed(names, *more))
            }
            Self::Asks { name, more: 0, .. } => format!("{name} waits for your answer"),
            Self::Asks { name, more, .. } => {
                format!("{name} waits for your answer ({} more)", count(*more, "question"))
            }
            Self::Unwatched { path } => format!("The folder {path} is not watched"),
            Self::Stopped { names, more } => format!("{} stopped", are(names, *more)),
            Self::Disconnected { since: at } => format!("The connection is closed since {}", since(at)),
        }
    }
}

/// Returns a name as the subject of a sentence.
fn subject(name: &str) -> &str {
    if name == BACKEND_NAME { "The backend" } else { name }
}

/// Returns names as a list.
fn listed(names: &[String], more: usize) -> String {
    match (names, more) {
        ([first @ .., last], 0) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        (names, 0) => names.join(", "),
        (names, more) => format!("{} and {more} more", names.join(", ")),
    }
}

/// Returns names as the object of a sentence.
fn objects(names: &[String], more: usize) -> String {
    let object = |name: &String| if name == BACKEND_NAME { "the backend".to_owned() } else { name.clone() };
    listed(&names.iter().map(object).collect::<Vec<_>>(), more)
}

/// Returns the beginning of a line that may be long.
fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// Returns names as the subject of a sentence, with its verb.
fn are(names: &[String], more: usize) -> String {
    let names: Vec<String> = names.iter().map(|name| subject(name).to_owned()).collect();
    let verb = if names.len() + more == 1 { "is" } else { "are" };
    format!("{} {verb}", listed(&names, more))
}

/// Returns the time from `now` to `at` in milliseconds, rounded to seconds from one second on.
fn remaining(at: Timestamp, now: Timestamp) -> u64 {
    let ms = u64::try_from(at.duration_since(now).as_millis()).unwrap_or(0);
    if ms < 1000 { ms } else { (ms + 500) / 1000 * 1000 }
}

/// Returns the time of day, with its date unless that is the day of `now`.
fn clock_text(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone.clone()));
    let pattern = if at.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    at.strftime(pattern).to_string()
}
