//! Checks that each text over the WebSocket had one outcome, and that the network saw it as often as that outcome says.

use std::collections::BTreeMap;

use mainstay::Reason;
use mainstay::{SendFailure, SendOutcome};

use crate::run_checks::ensure;
use crate::run_result::{RunResult, SendRecord};
use crate::schedule::Schedule;

/// Returns all violations about texts.
pub(crate) fn violations(schedule: &Schedule, result: &RunResult) -> Vec<String> {
    let mut violations = Vec::from_iter(unsent(result));
    let final_phase = schedule.final_phase.as_ref().map_or(0, |final_phase| final_phase.sends.len());
    if result.sends.len() != schedule.sends.len() + final_phase {
        violations.push(format!("{} senders have an outcome", result.sends.len()));
    }
    for sent in result.sends.iter().chain(&result.probes) {
        let seen = result.traffic.texts.iter().filter(|text| **text == sent.text).count();
        if let Err(violation) = check_sent(sent, seen) {
            violations.push(format!(
                "{violation}, and was seen {seen} times: {:?} of {:.100}",
                sent.outcome, sent.text
            ));
        }
    }
    violations
}

/// Checks that the journal counts the texts that were not sent, or not for certain, outcome by outcome.
fn unsent(result: &RunResult) -> Option<String> {
    let mut journalled: BTreeMap<String, u64> = BTreeMap::new();
    for record in result.records.iter().filter(|record| record.kind == "connection_unsent") {
        let outcome = record.fields["outcome"].as_str().unwrap_or_default().to_owned();
        *journalled.entry(outcome).or_default() += record.fields["messages"].as_u64().unwrap_or(0);
    }
    let mut happened: BTreeMap<String, u64> = BTreeMap::new();
    for sent in result.sends.iter().chain(&result.probes) {
        let Ok(outcome) = sent.outcome.as_ref() else { continue };
        if *outcome != SendOutcome::Sent {
            *happened.entry(to_word(*outcome)).or_default() += 1;
        }
    }
    let differ = journalled != happened;
    differ.then(|| {
        format!("the journal records these texts as unsent: {journalled:?}, and senders these: {happened:?}")
    })
}

fn to_word(outcome: SendOutcome) -> String {
    serde_json::to_value(outcome).unwrap().as_str().unwrap().to_owned()
}

fn check_sent(sent: &SendRecord, seen: usize) -> Result<(), String> {
    match &sent.outcome {
        Ok(SendOutcome::Sent | SendOutcome::Failed(SendFailure::Unknown)) => {
            ensure(seen <= 1, "a text was sent once")
        }
        Ok(SendOutcome::Failed(
            SendFailure::Expired
            | SendFailure::QueueFull
            | SendFailure::TooLarge
            | SendFailure::Dropped
            | SendFailure::Disabled,
        )) => ensure(seen == 0, "a text was not sent"),
        // The runtime stopped before its actor received the text.
        Err(error) if error.reason == Reason::Stopped => ensure(seen == 0, "a text came too late"),
        Err(_) => Err("a text has no outcome".to_owned()),
    }
}
