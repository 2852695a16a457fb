//! Whether the backend's events came through as was promised: each once, in order, and none missing without a word.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::drive::Lived;
use crate::schedule::{CHATTER, LEDGER};

pub(crate) fn faults(lived: &Lived) -> Vec<String> {
    let mut faults = order(&lived.frames, gaps(lived));
    faults.extend(repeats(lived));
    faults
}

/// The gaps that the journal tells of, as the numbers before and behind.
fn gaps(lived: &Lived) -> Vec<(u64, u64)> {
    let number = |record: &mainstay::runtime::journal::Record, name| record.fields[name].as_u64();
    let gaps = lived.records.iter().filter(|record| record.kind == "connection_gap");
    gaps.filter_map(|gap| Some((number(gap, "after")?, number(gap, "next")?))).collect()
}

/// Each event is followed by the next number, or by the one behind the next gap that was told of.
fn order(frames: &[Value], gaps: Vec<(u64, u64)>) -> Vec<String> {
    let numbered = frames.iter().filter(|frame| frame["type"] == "event");
    let seqs: Vec<u64> = numbered.filter_map(|frame| frame["seq"].as_u64()).collect();
    let leaps = seqs.windows(2).map(|pair| (pair[0], pair[1])).filter(|(last, next)| last + 1 != *next);
    let leaps: Vec<_> = leaps.collect();
    if leaps == gaps {
        return Vec::new();
    }
    vec![format!("the events' numbers leap so: {leaps:?}\n    and the gaps that were told of are: {gaps:?}")]
}

/// An event comes at most as often as what it tells of happened.
fn repeats(lived: &Lived) -> Vec<String> {
    let mut come: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for frame in lived.frames.iter().filter(|frame| frame["kind"] == "agent_message") {
        if let (Some(agent), Some(text)) = (frame["agent"].as_str(), frame["message"]["text"].as_str()) {
            *come.entry((agent, text)).or_default() += 1;
        }
    }
    let happened = |(agent, text): (&str, &str)| match agent {
        LEDGER => lived.done.messages.iter().filter(|message| message["text"] == text).count(),
        // Each was sent once.
        CHATTER => 1,
        _ => 0,
    };
    let too_often = come.into_iter().filter(|(what, times)| *times > happened(*what));
    too_often.map(|(what, times)| format!("the event of {what:?} came {times} times")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faulty(seqs: &[u64], gaps: &[(u64, u64)]) -> bool {
        let frames: Vec<Value> = seqs.iter().map(|seq| json!({ "type": "event", "seq": seq })).collect();
        !order(&frames, gaps.to_vec()).is_empty()
    }

    #[test]
    fn a_hole_a_repeat_or_a_wrong_order_is_found_and_one_that_was_told_of_is_none() {
        assert!(!faulty(&[3, 4, 5], &[]));
        assert!(faulty(&[3, 5], &[]));
        assert!(!faulty(&[3, 5], &[(3, 5)]));
        assert!(faulty(&[3, 4, 4], &[]));
        assert!(faulty(&[3, 5, 4, 6], &[(3, 5)]));
        assert!(!faulty(&[3, 4, 1, 2], &[(4, 1)]));
        assert!(faulty(&[3, 4], &[(4, 9)]));
    }
}
