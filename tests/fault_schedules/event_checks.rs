//! Checks that the backend's events arrived as promised: each once, in order, and none missing without a gap.

use std::collections::BTreeMap;

use mainstay::Gap;
use mainstay::Inbound;
use serde_json::Value;

use crate::run_result::RunResult;
use crate::schedule::{CHATTER, FaultAction, LEDGER, Schedule};

/// The history with which a backend loses no event in a schedule.
const ALL_EVENTS: usize = 1024;

pub(crate) fn violations(schedule: &Schedule, result: &RunResult) -> Vec<String> {
    let events: Vec<FrameEvent> = result.frames.iter().filter_map(FrameEvent::from_inbound).collect();
    let gaps = gaps(&events);
    let mut violations: Vec<String> = order(&events).into_iter().collect();
    violations.extend(repeats(result, &events));
    if has_all(schedule) && gaps.iter().any(|gap| gap.after.is_some()) {
        violations.push(format!("the backend had every event, and listeners got gaps: {gaps:?}"));
    }
    let journalled = journalled(result);
    if journalled != gaps {
        violations.push(format!("the journal records the gaps {journalled:?}, and listeners of {gaps:?}"));
    }
    violations
}

/// Returns whether the backend has every event until the end, for a client that resumes.
fn has_all(schedule: &Schedule) -> bool {
    let is_lost = schedule.faults.iter().any(|fault| fault.action == FaultAction::RestartBackend);
    schedule.history_max >= ALL_EVENTS && !is_lost
}

/// The deliveries to a listener.
#[derive(Debug, Clone, PartialEq)]
enum FrameEvent {
    /// An event of the backend, and its number.
    Numbered(u64, Value),
    Gap(Gap),
    /// The number of deliveries that the listener missed, although it takes all.
    Lagged(u64),
}

impl FrameEvent {
    /// Parses an event; `None` for other frames.
    fn from_inbound(inbound: &Inbound) -> Option<Self> {
        match inbound {
            Inbound::Text(text) => {
                let frame: Value = serde_json::from_str(text).unwrap_or_default();
                let seq = frame["seq"].as_u64().filter(|_| frame["type"] == "event")?;
                Some(Self::Numbered(seq, frame))
            }
            Inbound::Binary(_) => None,
            Inbound::Gap(gap) => Some(Self::Gap(*gap)),
            Inbound::Lagged(times) => Some(Self::Lagged(*times)),
        }
    }
}

/// Returns the gaps that listeners received.
fn gaps(events: &[FrameEvent]) -> Vec<Gap> {
    let gap = |event: &FrameEvent| match event {
        FrameEvent::Gap(gap) => Some(*gap),
        _ => None,
    };
    events.iter().filter_map(gap).collect()
}

/// Returns the gaps in the journal.
fn journalled(result: &RunResult) -> Vec<Gap> {
    let gaps = result.records.iter().filter(|record| record.kind == "connection_gap");
    gaps.map(|record| record.decode().expect("it is a gap")).collect()
}

/// Checks that the next number follows each event, or the number behind the gap between them.
fn order(events: &[FrameEvent]) -> Option<String> {
    let (mut last, mut gap) = (None, None);
    for event in events {
        match event {
            FrameEvent::Lagged(_) => {
                return Some(format!("a listener that takes everything lost something: {event:?}"));
            }
            FrameEvent::Gap(Gap { after: None, .. }) if last.is_none() => {}
            FrameEvent::Gap(reported) if gap.is_some() => {
                return Some(format!("two gaps came together: {gap:?}, {reported:?}"));
            }
            FrameEvent::Gap(reported) => gap = Some(*reported),
            FrameEvent::Numbered(seq, _) => {
                let follows = match (last, gap.take()) {
                    (None, reported) => reported.is_none(),
                    (Some(last), None) => last + 1 == *seq,
                    (Some(last), Some(reported)) => reported == Gap { after: Some(last), next: Some(*seq) },
                };
                if !follows {
                    return Some(format!("event {seq} does not follow from event {last:?}"));
                }
                last = Some(*seq);
            }
        }
    }
    None
}

/// Checks that an event arrives at most as often as its cause happened.
fn repeats(result: &RunResult, events: &[FrameEvent]) -> Vec<String> {
    let mut come: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for event in events {
        if let FrameEvent::Numbered(_, frame) = event
            && let (Some(agent), Some(text)) = (frame["agent"].as_str(), frame["message"]["text"].as_str())
        {
            *come.entry((agent, text)).or_default() += 1;
        }
    }
    let happened = |(agent, text): (&str, &str)| match agent {
        LEDGER => result.backend.messages.iter().filter(|message| message["text"] == text).count(),
        // Each was sent once.
        CHATTER => 1,
        _ => 0,
    };
    let too_often = come.into_iter().filter(|(what, times)| *times > happened(*what));
    too_often.map(|(what, times)| format!("the event of {what:?} came {times} times")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u64) -> FrameEvent {
        FrameEvent::Numbered(seq, Value::Null)
    }

    fn gap(after: u64, next: u64) -> FrameEvent {
        FrameEvent::Gap(Gap { after: Some(after), next: Some(next) })
    }

    const UNKNOWN: FrameEvent = FrameEvent::Gap(Gap { after: None, next: None });

    #[test]
    fn order_check_finds_holes_and_repeats_but_no_reported_gap() {
        let right: [&[FrameEvent]; 5] = [
            &[event(3), event(4), event(5)],
            &[event(3), gap(3, 5), event(5)],
            &[event(3), event(4), gap(4, 1), event(1), event(2)],
            &[UNKNOWN, UNKNOWN, event(7), event(8)],
            &[event(3), gap(3, 5)],
        ];
        for events in right {
            assert_eq!(order(events), None, "{events:?}");
        }
        let wrong: [&[FrameEvent]; 7] = [
            &[event(3), event(5)],
            &[event(3), event(4), event(4)],
            &[event(3), gap(3, 5), event(5), event(4), event(6)],
            &[event(3), event(4), gap(4, 9), event(5)],
            &[event(3), UNKNOWN, event(4)],
            &[event(3), gap(3, 5), gap(5, 7), event(7)],
            &[event(3), FrameEvent::Lagged(1), event(4)],
        ];
        for events in wrong {
            assert!(order(events).is_some(), "{events:?}");
        }
    }
}
