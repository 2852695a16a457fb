//! One run of a runtime: what is known of its actors, and whether the next event can be so.
//!
//! Only a supervisor's own records are relied upon: what it records of its children is in the order in which it did it.
//! An actor's own records count only if they bear its present generation, because an incarnation that was abandoned may
//! still be at work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::exit_check;
use super::mismatch::{Mismatch, to_json};
use super::recheck::{RecheckedDecision, RecordedDecision, parent};
use super::timeline::{
    ActorTimeline, ExpectedStart, IncarnationTimeline, Known, RecordedExit, SupervisorTimeline,
};
use crate::events::{
    ActorExited, ActorReady, ActorRestarted, ActorStarted, BudgetReset, RuntimeStarted, StartOrdered,
};
use crate::journal::{Cursor, Event, Record, millis};
use crate::policy::{ChildHistory, Decision, StateSource};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replayer {
    number: Option<u64>,
    /// Whether it has said so: events of the journal itself may come before.
    pub(super) has_started: bool,
    mono_ms: u64,
    timelines: BTreeMap<String, ActorTimeline>,
    /// Actors of which an incarnation was abandoned: as supervisors, two of them may have recorded at once.
    abandoned_actors: BTreeSet<String>,
}

impl Replayer {
    /// The run that `record` begins.
    pub(super) fn new(record: &Record) -> Self {
        let has_started = record.kind == RuntimeStarted::KIND;
        Self { number: Some(record.run), has_started, ..Self::default() }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Forgets everything that was carried: events are missing.
    pub(super) fn clear_timelines(&mut self) {
        self.timelines.clear();
    }

    /// Checks that time does not run backwards.
    pub(super) fn check_time(&mut self, record: &Record) -> Vec<Mismatch> {
        let before = std::mem::replace(&mut self.mono_ms, record.mono_ms);
        let why = "time does not run backwards within a run";
        let is_back = record.mono_ms < before;
        let found = is_back.then(|| Mismatch::new("mono_ms", record.mono_ms.into(), before.into(), why));
        found.into_iter().collect()
    }

    fn timeline(&mut self, actor: &str) -> &mut ActorTimeline {
        let whole_since =
            self.timelines.get(parent(actor)).and_then(|parent| parent.as_supervisor.complete_since);
        self.timelines.entry(actor.to_owned()).or_insert_with(|| {
            let value = ChildHistory::default();
            ActorTimeline {
                history: whole_since.map(|since| Known { value, since }),
                ..ActorTimeline::default()
            }
        })
    }

    /// The actor's present incarnation, if `record` is about that one.
    fn incarnation(&mut self, record: &Record) -> Option<&mut IncarnationTimeline> {
        let life = self.timelines.get_mut(&record.actor)?.incarnation.as_mut()?;
        (life.generation == record.generation).then_some(life)
    }

    /// Takes in an event that is no decision.
    pub(super) fn apply_event(&mut self, record: &Record) -> Vec<Mismatch> {
        let found = match record.kind.as_str() {
            ActorStarted::KIND => self.apply_start(record),
            ActorReady::KIND => {
                if let Some(life) = self.incarnation(record) {
                    life.ready_ms = Some(record.mono_ms);
                }
                None
            }
            ActorRestarted::KIND => self.apply_restart(record),
            ActorExited::KIND => {
                self.apply_exit(record);
                None
            }
            BudgetReset::KIND => {
                self.apply_budget_reset(record);
                None
            }
            StartOrdered::KIND => {
                self.apply_start_order(record);
                None
            }
            _ => None,
        };
        found.into_iter().collect()
    }

    // === lives ===

    fn apply_start(&mut self, record: &Record) -> Option<Mismatch> {
        self.remove_descendants(&record.actor);
        let trace = self.timeline(&record.actor);
        if record.generation == 1 {
            // A child that was added anew: whatever bore its name before has nothing to do with it.
            let history = Some(Known { value: ChildHistory::default(), since: record.cursor() });
            *trace = ActorTimeline { history, ..ActorTimeline::default() };
        }
        trace.as_supervisor = SupervisorTimeline::new(record.cursor());
        let sequel = trace.expected_start.take();
        trace.incarnation = Some(IncarnationTimeline {
            started_ms: Some(record.mono_ms),
            fresh_start_decision: sequel.filter(|sequel| sequel.is_fresh).map(|sequel| sequel.by),
            ..IncarnationTimeline::new(record.generation)
        });
        sequel.and_then(|sequel| check_start(record, sequel))
    }

    /// A supervisor's incarnation knows nothing of what an earlier one's children went through.
    fn remove_descendants(&mut self, actor: &str) {
        let below = self.descendants(actor).map(|(path, _)| path.clone()).collect::<Vec<_>>();
        for path in below {
            self.timelines.remove(&path);
        }
    }

    fn descendants(&mut self, actor: &str) -> impl Iterator<Item = (&String, &mut ActorTimeline)> {
        // In the order of bytes '0' comes right after '/', so all that begins with the path and a slash lies in between.
        self.timelines.range_mut(format!("{actor}/")..format!("{actor}0"))
    }

    fn apply_restart(&mut self, record: &Record) -> Option<Mismatch> {
        let state = record.fields.get("state")?;
        let restored = match state.as_str()? {
            "restored" => true,
            "fresh" => false,
            _ => return None,
        };
        let life = self.incarnation(record)?;
        life.restored = Some(restored);
        let by = life.fresh_start_decision.filter(|_| restored)?;
        let why = format!("decision {by} set the checkpoint aside");
        Some(Mismatch::new("state", state.clone(), "fresh".into(), why))
    }

    fn apply_exit(&mut self, record: &Record) {
        let Ok(exited) = record.decode::<ActorExited>() else {
            // Of a newer format, perhaps: then nothing is known of this end.
            self.timeline(&record.actor).incarnation = None;
            return;
        };
        let ended = RecordedExit {
            event: record.cursor(),
            cause: exited.cause,
            is_abandoned: exited.abandoned,
            mono_ms: record.mono_ms,
        };
        if exited.abandoned {
            self.abandoned_actors.insert(record.actor.clone());
        }
        let trace = self.timeline(&record.actor);
        match &mut trace.incarnation {
            Some(life) if life.generation == record.generation => life.exit = Some(ended),
            life => {
                *life = Some(IncarnationTimeline {
                    exit: Some(ended),
                    ..IncarnationTimeline::new(record.generation)
                })
            }
        }
    }

    // === orders ===

    fn apply_budget_reset(&mut self, record: &Record) {
        let trace = self.timeline(&record.actor);
        trace.history = Some(Known { value: ChildHistory::default(), since: record.cursor() });
        trace.expected_start = None;
    }

    /// A child that waits for its turn hurries its whole group.
    fn apply_start_order(&mut self, record: &Record) {
        let supervisor = parent(&record.actor);
        for (path, trace) in self.descendants(supervisor) {
            if parent(path) == supervisor {
                trace.expected_start = None;
            }
        }
    }

    // === decisions ===

    /// Checks a decision against its inputs and against what is known, and carries on from it.
    pub(super) fn check_decision(&mut self, record: &Record, stated: &RecordedDecision) -> Vec<Mismatch> {
        let mut verdict = RecheckedDecision::recheck(record, stated);
        let mismatches = std::mem::take(&mut verdict.mismatches);
        if self.abandoned_actors.contains(parent(&record.actor)) {
            self.discard_knowledge(record);
            return mismatches;
        }
        // What is wrong with the inputs is told first: the rest may follow from it.
        let mut found = Vec::new();
        if let Some(life) = self.timelines.get(&record.actor).and_then(|trace| trace.incarnation.as_ref()) {
            found.extend(exit_check::check(record, &stated.inputs, life));
        }
        found.extend(self.check_inputs(record, stated));
        found.extend(mismatches);
        if found.is_empty() {
            self.update_timelines(record, stated, verdict);
        } else {
            // One difference is told once, and not again by everything that follows from it.
            self.discard_knowledge(record);
        }
        found
    }

    /// Forgets what `record`, a decision, may have changed.
    pub(super) fn discard_knowledge(&mut self, record: &Record) {
        let trace = self.timeline(&record.actor);
        (trace.history, trace.policy, trace.expected_start) = (None, None, None);
        if let Some(life) = &mut trace.incarnation {
            life.exit_decision = Some(record.cursor());
        }
        let ward = &mut self.timeline(parent(&record.actor)).as_supervisor;
        (ward.history, ward.policy) = (None, None);
    }

    fn check_inputs(&self, record: &Record, stated: &RecordedDecision) -> Vec<Mismatch> {
        let inputs = &stated.inputs;
        let mut found = Vec::new();
        if let Some(trace) = self.timelines.get(&record.actor) {
            found.extend(find_contradiction(
                "inputs.history",
                &inputs.history,
                trace.history.as_ref(),
                HISTORY_SOURCE,
            ));
            found.extend(find_contradiction(
                "inputs.child",
                &inputs.child,
                trace.policy.as_ref(),
                POLICY_SOURCE,
            ));
        }
        if let Some(ActorTimeline { as_supervisor: ward, .. }) = self.timelines.get(parent(&record.actor)) {
            found.extend(find_contradiction(
                "inputs.siblings",
                &inputs.siblings,
                ward.history.as_ref(),
                HISTORY_SOURCE,
            ));
            found.extend(find_contradiction(
                "inputs.supervisor",
                &inputs.supervisor,
                ward.policy.as_ref(),
                POLICY_SOURCE,
            ));
            if inputs.now_ms < ward.decided_ms {
                let why = "the same supervisor had decided later than this before";
                let stated = inputs.now_ms.into();
                found.push(Mismatch::new("inputs.now_ms", stated, ward.decided_ms.into(), why));
            }
        }
        found
    }

    fn update_timelines(&mut self, record: &Record, stated: &RecordedDecision, verdict: RecheckedDecision) {
        let since = record.cursor();
        let due = verdict.restart_due(stated.now());
        let fresh = matches!(verdict.decision, Decision::Restart { state: StateSource::Fresh, .. });
        let ward = &mut self.timeline(parent(&record.actor)).as_supervisor;
        ward.decided_ms = stated.inputs.now_ms;
        ward.history = Some(Known { value: verdict.siblings, since });
        ward.policy.get_or_insert(Known { value: stated.inputs.supervisor, since });
        for sibling in stated.scope.iter().filter(|path| **path != record.actor) {
            self.delay_start(sibling, since, due);
        }
        let trace = self.timeline(&record.actor);
        trace.history = Some(Known { value: verdict.history, since });
        trace.policy.get_or_insert_with(|| Known { value: stated.inputs.child.clone(), since });
        trace.expected_start = Some(ExpectedStart { by: since, due, is_fresh: fresh });
        if let Some(life) = &mut trace.incarnation {
            life.exit_decision = Some(since);
        }
    }

    /// One that is restarted with its sibling starts no earlier than that; a delay of its own is not cut short.
    fn delay_start(&mut self, sibling: &str, by: Cursor, due: Option<Duration>) {
        let trace = self.timeline(sibling);
        match trace.expected_start {
            Some(ExpectedStart { due: own, .. }) if own.is_none() || own >= due => {}
            Some(ExpectedStart { is_fresh: fresh, .. }) => {
                trace.expected_start = Some(ExpectedStart { by, due, is_fresh: fresh })
            }
            None => trace.expected_start = Some(ExpectedStart { by, due, is_fresh: false }),
        }
    }
}

/// Whether an actor may start now.
fn check_start(record: &Record, sequel: ExpectedStart) -> Option<Mismatch> {
    let ExpectedStart { by, due, .. } = sequel;
    let (expected, why) = match due {
        Some(due) if Duration::from_millis(record.mono_ms) >= due => return None,
        Some(due) => {
            let due_ms = millis(due.saturating_add(Duration::from_nanos(999_999)));
            (due_ms.into(), format!("decision {by} restarts it at this time, and no order came between"))
        }
        None => ("none".into(), format!("decision {by} does not restart it, and no order came between")),
    };
    Some(Mismatch::new("start", record.mono_ms.into(), expected, why))
}

/// Why something is expected: what an event left behind.
const HISTORY_SOURCE: &str = "left this behind";
/// Why something is expected: what an earlier decision followed from, and does not change.
const POLICY_SOURCE: &str = "was decided by this, and it does not change";

fn find_contradiction<T: Serialize + PartialEq>(
    what: &str,
    stated: &T,
    known: Option<&Known<T>>,
    why: &str,
) -> Option<Mismatch> {
    let known = known.filter(|known| known.value != *stated)?;
    Mismatch::between(what, &to_json(stated), &to_json(&known.value), || {
        format!("event {} {why}", known.since)
    })
}
