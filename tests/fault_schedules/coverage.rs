//! Counts what happened over all schedules: the times of recovery, and that everything possible occurred.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::run_result::RunResult;
use crate::schedule::Schedule;

/// The counts of all schedules.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    recovered_after: Vec<(Duration, u64)>,
    faults: BTreeMap<&'static str, u64>,
    ends: BTreeMap<String, u64>,
    send_outcomes: BTreeMap<String, u64>,
    gaps: u64,
    restarts: u64,
    final_phases: u64,
}

/// The occurrences that one in a hundred schedules must have. Without them the test proves less than it seems.
const EXPECTED: [&str; 10] = [
    "done",
    "outcome_unknown",
    "cancelled",
    "expired",
    "queue_full",
    "evicted",
    "timed_out",
    "connection_reset",
    // The request waited for an unreachable backend until it expired.
    "disconnected",
    "stopped",
];

impl Coverage {
    pub(crate) fn count(&mut self, schedule: &Schedule, result: &RunResult) {
        self.recovered_after.push((result.recovered_after, schedule.seed));
        self.final_phases += u64::from(schedule.final_phase.is_some());
        for fault in &schedule.faults {
            *self.faults.entry(fault.name()).or_default() += 1;
        }
        for called in &result.calls {
            let end = match &called.outcome {
                None => "dropped".to_owned(),
                Some(Ok(_)) => "done".to_owned(),
                Some(Err(error)) => error.reason.to_string(),
            };
            *self.ends.entry(end).or_default() += 1;
        }
        for sent in &result.sends {
            let outcome = match &sent.outcome {
                Ok(outcome) => format!("{outcome:?}"),
                Err(error) => error.reason.to_string(),
            };
            *self.send_outcomes.entry(outcome).or_default() += 1;
        }
        let events = |kind: &str| result.records.iter().filter(|record| record.kind == kind).count() as u64;
        self.gaps += events("connection_gap");
        self.restarts += events("actor_restarted");
    }

    /// # Panics
    /// If something possible hardly ever occurred.
    pub(crate) fn check(&self) {
        let rare = self.recovered_after.len() as u64 / 100;
        for end in EXPECTED {
            assert!(self.ends.get(end).is_some_and(|times| *times >= rare), "{end} is too rare: {self}");
        }
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut after = self.recovered_after.clone();
        after.sort();
        let part = |share: f64| {
            let at = ((after.len() as f64 * share) as usize).min(after.len().saturating_sub(1));
            after.get(at).map_or(0, |(after, _)| after.as_millis())
        };
        writeln!(
            f,
            "{} schedules, {} of them with a last fault at the shutdown",
            after.len(),
            self.final_phases
        )?;
        writeln!(
            f,
            "well again after the last fault: half within {} ms, 90% {} ms, 99% {} ms, all {} ms (seed {})",
            part(0.5),
            part(0.9),
            part(0.99),
            part(1.0),
            after.last().map_or(0, |(_, seed)| *seed),
        )?;
        writeln!(f, "faults: {:?}", self.faults)?;
        writeln!(f, "requests: {:?}", self.ends)?;
        writeln!(f, "texts: {:?}", self.send_outcomes)?;
        write!(f, "gaps: {}, agents restarted: {}", self.gaps, self.restarts)
    }
}
