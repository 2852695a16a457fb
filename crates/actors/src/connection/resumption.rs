//! Tracks the sequence numbers of incoming frames: which are new, duplicate or missing.
//!
//! The backend numbers `{"type":"event","seq":N}` frames in ascending order. After a reconnect it is asked for
//! everything after the last one seen. Whatever it no longer has becomes a [`Gap`], so nothing is lost silently.
//!
//! A backend may push a live event before it has read the request to resume. The gap is reported at once, and frames
//! that fill it later on the same socket are still new. A restarted backend may count from the start again. A correct
//! backend never repeats an event. A first number on a new socket that is not above the last one means a new count.
//! Only the very frame that was seen last does not. The new count is adopted, with a gap. A new count that has passed
//! the last number by the time of the reconnect cannot be detected.
//!
//! Without numbers nothing can be resumed, and each reconnect is a gap of unknown size.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hasher};

use serde::{Deserialize, Serialize};

/// Events of the backend are missing, or may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Gap {
    /// The last number seen before the gap; `None` if the backend's frames have no numbers.
    pub after: Option<u64>,
    /// The first number seen after it; not above `after` if the backend restarted its count.
    pub next: Option<u64>,
}

impl Gap {
    /// A gap of unknown size.
    const UNKNOWN: Self = Self { after: None, next: None };

    fn between(after: u64, next: u64) -> Self {
        Self { after: Some(after), next: Some(next) }
    }
}

/// The start of a new socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResumeStart {
    /// The first socket: nothing was missed.
    Fresh,
    /// Send this frame ahead of everything else.
    Resume(String),
    /// Nothing can be resumed, so events may be missing.
    Gap(Gap),
}

/// The classification of a text frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Observed {
    /// A frame without a number.
    Unnumbered,
    /// The next event, or one that fills a gap.
    New {
        /// The event's number.
        seq: u64,
    },
    /// A new event after numbers that were never seen.
    NewAfterGap {
        /// The event's number.
        seq: u64,
        /// The missing numbers.
        gap: Gap,
    },
    /// An event that was seen before and is not delivered again.
    Duplicate {
        /// The event's number.
        seq: u64,
    },
    /// An invalidation by the backend. It has no number.
    Invalidation,
    /// A frame without a `type`, or an event whose `seq` is no whole number from 0 to 2^64 - 1.
    Malformed,
}

/// The event numbers of one connection. They outlive sockets and, as a snapshot, the actor's incarnations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resumption {
    last: Option<u64>,
    /// The digest of that frame.
    #[serde(skip)]
    last_digest: Option<u64>,
    #[serde(default)]
    was_open: bool,
    #[serde(skip)]
    socket: SocketProgress,
}

/// The events seen on the current socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct SocketProgress {
    has_events: bool,
    /// The lowest number that may still fill the latest gap, and its end.
    missing: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct FrameHeader<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    seq: Option<u64>,
}

/// The type of a frame whose other fields are invalid.
#[derive(Deserialize)]
struct FrameType<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Serialize)]
struct ResumeRequest {
    #[serde(rename = "type")]
    kind: &'static str,
    after: u64,
}

impl Resumption {
    /// Returns the last number seen.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// Notes a new socket, and returns its start.
    pub(crate) fn on_open(&mut self) -> ResumeStart {
        self.socket = SocketProgress::default();
        let is_first = !std::mem::replace(&mut self.was_open, true);
        let request = self.last.map(|after| ResumeRequest { kind: "resume", after });
        match request.and_then(|request| serde_json::to_string(&request).ok()) {
            Some(text) => ResumeStart::Resume(text),
            None if is_first => ResumeStart::Fresh,
            None => ResumeStart::Gap(Gap::UNKNOWN),
        }
    }

    /// Classifies one text frame.
    pub(crate) fn observe(&mut self, text: &str) -> Observed {
        match serde_json::from_str::<FrameHeader<'_>>(text) {
            Ok(FrameHeader { kind, seq: Some(seq) }) if kind == "event" => self.observe_seq(seq, text),
            Ok(FrameHeader { kind, .. }) if kind == "invalidate" => Observed::Invalidation,
            Ok(_) => Observed::Unnumbered,
            // An invalidation holds whatever its other fields are.
            Err(_) => match serde_json::from_str::<FrameType<'_>>(text) {
                Ok(FrameType { kind }) if kind == "invalidate" => Observed::Invalidation,
                _ => Observed::Malformed,
            },
        }
    }

    fn observe_seq(&mut self, seq: u64, text: &str) -> Observed {
        let is_first = !std::mem::replace(&mut self.socket.has_events, true);
        let digest = digest(text);
        let Some(last) = self.last else {
            self.set_last(seq, digest);
            return Observed::New { seq };
        };
        let is_the_last = seq == last && self.last_digest.is_none_or(|seen| seen == digest);
        if seq > last {
            self.set_last(seq, digest);
            if seq - last == 1 {
                return Observed::New { seq };
            }
            self.socket.missing = Some((last + 1, seq));
            Observed::NewAfterGap { seq, gap: Gap::between(last, seq) }
        } else if is_first && !is_the_last {
            self.set_last(seq, digest);
            Observed::NewAfterGap { seq, gap: Gap::between(last, seq) }
        } else {
            self.fill_gap(seq)
        }
    }

    fn set_last(&mut self, seq: u64, digest: u64) {
        self.last = Some(seq);
        self.last_digest = Some(digest);
    }

    fn fill_gap(&mut self, seq: u64) -> Observed {
        match self.socket.missing {
            Some((lowest, end)) if (lowest..end).contains(&seq) => {
                self.socket.missing = Some((seq + 1, end));
                Observed::New { seq }
            }
            _ => Observed::Duplicate { seq },
        }
    }
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> String {
        format!(r#"{{"type":"event","seq":{seq},"payload":{{"type":"inner","seq":1}}}}"#)
    }

    /// Returns another event with this number, as from a restarted backend.
    fn other_event(seq: u64) -> String {
        format!(r#"{{"type":"event","seq":{seq},"payload":"another"}}"#)
    }

    fn after_events(seqs: &[u64]) -> Resumption {
        let mut resumption = Resumption::default();
        assert_eq!(resumption.on_open(), ResumeStart::Fresh);
        for seq in seqs {
            resumption.observe(&event(*seq));
        }
        resumption
    }

    #[test]
    fn reconnect_without_numbers_is_an_unknown_gap() {
        let mut resumption = after_events(&[]);
        resumption.observe(r#"{"type":"note"}"#);
        assert_eq!(resumption.on_open(), ResumeStart::Gap(Gap { after: None, next: None }));
        let expected = ResumeStart::Gap(Gap::UNKNOWN);
        assert_eq!(resumption.clone().on_open(), expected, "also for who goes on from a snapshot");
        resumption.observe(&event(5));
        assert_eq!(resumption.on_open(), ResumeStart::Resume(r#"{"type":"resume","after":5}"#.into()));
    }

    #[test]
    fn restarted_count_reaching_the_same_number_loses_no_event() {
        let mut resumption = after_events(&[1]);
        resumption.on_open();
        let expected = Observed::NewAfterGap { seq: 1, gap: Gap::between(1, 1) };
        assert_eq!(resumption.observe(&other_event(1)), expected);
        assert_eq!(resumption.observe(&other_event(1)), Observed::Duplicate { seq: 1 });
        assert_eq!(resumption.observe(&other_event(2)), Observed::New { seq: 2 });
    }

    #[test]
    fn event_seen_before_is_a_duplicate() {
        let mut resumption = after_events(&[1, 2, 3]);
        assert_eq!(resumption.observe(&event(2)), Observed::Duplicate { seq: 2 });
        resumption.on_open();
        assert_eq!(resumption.observe(&event(3)), Observed::Duplicate { seq: 3 });
        assert_eq!(resumption.last(), Some(3));
    }

    #[test]
    fn live_event_before_resumed_events_loses_none() {
        let mut resumption = after_events(&[1, 2]);
        resumption.on_open();
        let observed = [5, 3, 3, 4, 5, 6].map(|seq| resumption.observe(&event(seq)));
        assert_eq!(
            observed,
            [
                Observed::NewAfterGap { seq: 5, gap: Gap::between(2, 5) },
                Observed::New { seq: 3 },
                Observed::Duplicate { seq: 3 },
                Observed::New { seq: 4 },
                Observed::Duplicate { seq: 5 },
                Observed::New { seq: 6 },
            ]
        );
    }

    #[test]
    fn restarted_count_is_adopted_and_reported_as_a_gap() {
        let mut resumption = after_events(&[40, 41]);
        resumption.on_open();
        assert_eq!(resumption.observe(&event(1)), Observed::NewAfterGap { seq: 1, gap: Gap::between(41, 1) });
        assert_eq!(resumption.observe(&event(2)), Observed::New { seq: 2 });
    }

    #[test]
    fn frames_without_number_pass_and_malformed_are_named() {
        let mut resumption = after_events(&[1]);
        for text in [r#"{"type":"hello"}"#, r#"{"type":"event"}"#, r#"{"type":"state","seq":9}"#] {
            assert_eq!(resumption.observe(text), Observed::Unnumbered, "{text}");
        }
        for text in ["", "7", "{}", r#"{"type":"event","seq":-1}"#, r#"{"type":"event","seq":"2"}"#] {
            assert_eq!(resumption.observe(text), Observed::Malformed, "{text}");
        }
        assert_eq!(resumption.last(), Some(1));
    }

    #[test]
    fn highest_number_does_not_overflow() {
        let mut resumption = after_events(&[u64::MAX - 1, u64::MAX]);
        assert_eq!(resumption.observe(&event(u64::MAX)), Observed::Duplicate { seq: u64::MAX });
    }

    #[test]
    fn checkpoint_keeps_the_last_number() {
        let stored = serde_json::to_string(&after_events(&[1, 2])).unwrap();
        let mut restored: Resumption = serde_json::from_str(&stored).unwrap();
        assert_eq!(restored.on_open(), ResumeStart::Resume(r#"{"type":"resume","after":2}"#.into()));
    }

    #[test]
    fn invalidation_is_recognized_with_any_number() {
        for seq in
            ["", r#""seq":7,"#, r#""seq":-1,"#, r#""seq":1.5,"#, r#""seq":"7","#, r#""seq":7,"seq":8,"#]
        {
            let text = format!(r#"{{"type":"invalidate",{seq}"keys":["a:1"]}}"#);
            assert_eq!(Resumption::default().observe(&text), Observed::Invalidation, "{text}");
        }
    }
}
