//! Whether each text that was sent over the WebSocket had one fate, and was seen as often as that says.

use std::collections::BTreeMap;

use mainstay::actors::connection::outbound::SendOutcome;
use mainstay::actors::error::Reason;

use crate::run_checks::ensure;
use crate::run_result::{RunResult, SendRecord};
use crate::schedule::Schedule;

/// Everything that is wrong with texts.
pub(crate) fn violations(schedule: &Schedule, lived: &RunResult) -> Vec<String> {
    let mut faults = Vec::from_iter(unsent(lived));
    let finale = schedule.final_phase.as_ref().map_or(0, |finale| finale.sends.len());
    if lived.sends.len() != schedule.sends.len() + finale {
        faults.push(format!("{} senders were told anything", lived.sends.len()));
    }
    for sent in lived.sends.iter().chain(&lived.probes) {
        let seen = lived.traffic.texts.iter().filter(|text| **text == sent.text).count();
        if let Err(fault) = check_sent(sent, seen) {
            faults.push(format!(
                "{fault}, and was seen {seen} times: {:?} of {:.100}",
                sent.outcome, sent.text
            ));
        }
    }
    faults
}

/// The journal tells of as many texts that were not sent, or not for certain, as there were, reason by reason.
fn unsent(lived: &RunResult) -> Option<String> {
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for record in lived.records.iter().filter(|record| record.kind == "connection_unsent") {
        let reason = record.fields["reason"].as_str().unwrap_or_default().to_owned();
        *told.entry(reason).or_default() += record.fields["messages"].as_u64().unwrap_or(0);
    }
    let mut happened: BTreeMap<String, u64> = BTreeMap::new();
    for sent in lived.sends.iter().chain(&lived.probes) {
        let reason = match sent.outcome {
            Ok(SendOutcome::Expired) => "expired",
            Ok(SendOutcome::Rejected) => "no_room",
            Ok(SendOutcome::TooLarge) => "too_large",
            Ok(SendOutcome::Dropped) => "actor_ended",
            Ok(SendOutcome::Unknown) => "interrupted",
            Ok(SendOutcome::Sent) | Err(_) => continue,
        };
        *happened.entry(reason.to_owned()).or_default() += 1;
    }
    let differ = told != happened;
    differ.then(|| {
        format!("the journal tells of these texts as unsent: {told:?}, and senders were told: {happened:?}")
    })
}

fn check_sent(sent: &SendRecord, seen: usize) -> Result<(), String> {
    match &sent.outcome {
        Ok(SendOutcome::Sent | SendOutcome::Unknown) => ensure(seen <= 1, "a text was sent once"),
        Ok(SendOutcome::Expired | SendOutcome::Rejected | SendOutcome::TooLarge | SendOutcome::Dropped) => {
            ensure(seen == 0, "a text was not sent")
        }
        // The runtime stopped before its actor saw it.
        Err(error) if error.reason == Reason::Stopped => ensure(seen == 0, "a text came too late"),
        Err(_) => Err("a text has no fate".to_owned()),
    }
}
