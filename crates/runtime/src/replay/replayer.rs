//! Replays one run of a runtime: the known state of its actors, and whether the next event is possible.
//!
//! Only a supervisor's own records are certain: it records its children's events in the order in which it acted. An
//! actor's own records count only with its current generation, because an abandoned incarnation may still be at work.

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
    ActorExited, ActorReady, ActorRestarted, ActorStarted, BudgetReset, RestartCancelled, RuntimeStarted,
    StartOrdered,
};
use crate::journal::{Cursor, Event, Record, millis};
use crate::policy::{ChildHistory, Decision, StateSource};

/// The replay of one run; see the module.
#[derive(Debug, Default)]
pub(super) struct Replayer {
    number: Option<u64>,
    /// True if the runtime has recorded its start. Events of the journal itself may come before.
    pub(super) has_started: bool,
    mono_ms: u64,
    timelines: BTreeMap<String, ActorTimeline>,
    /// Actors of which an incarnation was abandoned. If they are supervisors, two incarnations may have recorded at
    /// once.
    abandoned_actors: BTreeSet<String>,
}

impl Replayer {
    /// Returns the replay of the run that `record` begins.
    pub(super) fn new(record: &Record) -> Self {
        let has_started = record.kind == RuntimeStarted::KIND;
        Self { number: Some(record.run), has_started, ..Self::default() }
    }

    pub(super) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Forgets everything, because events are missing.
    pub(super) fn clear_timelines(&mut self) {
        self.timelines.clear();
    }

    /// Checks that time does not run backwards.
    pub(super) fn check_time(&mut self, record: &Record) -> Vec<Mismatch> {
        let before = std::mem::replace(&mut self.mono_ms, record.mono_ms);
        let message = "time does not run backwards within a run";
        let is_back = record.mono_ms < before;
        let found = is_back.then(|| Mismatch::new("mono_ms", record.mono_ms.into(), before.into(), message));
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

    /// Returns the actor's current incarnation, if `record` is about that one.
    fn incarnation(&mut self, record: &Record) -> Option<&mut IncarnationTimeline> {
        let incarnation = self.timelines.get_mut(&record.actor)?.incarnation.as_mut()?;
        (incarnation.generation == record.generation).then_some(incarnation)
    }

    /// Applies an event that is not a decision.
    pub(super) fn apply_event(&mut self, record: &Record) -> Vec<Mismatch> {
        let found = match record.kind.as_str() {
            ActorStarted::KIND => self.apply_start(record),
            ActorReady::KIND => {
                if let Some(incarnation) = self.incarnation(record) {
                    incarnation.ready_ms = Some(record.mono_ms);
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
            RestartCancelled::KIND => {
                self.apply_restart_cancelled(record);
                None
            }
            _ => None,
        };
        found.into_iter().collect()
    }

    // === incarnations ===

    fn apply_start(&mut self, record: &Record) -> Option<Mismatch> {
        self.remove_descendants(&record.actor);
        let timeline = self.timeline(&record.actor);
        if record.generation == 1 {
            // The child was added again: an earlier child of its name is unrelated.
            let history = Some(Known { value: ChildHistory::default(), since: record.cursor() });
            *timeline = ActorTimeline { history, ..ActorTimeline::default() };
        }
        timeline.as_supervisor = SupervisorTimeline::new(record.cursor());
        let expected_start = timeline.expected_start.take();
        timeline.incarnation = Some(IncarnationTimeline {
            started_ms: Some(record.mono_ms),
            fresh_start_decision: expected_start
                .filter(|expected_start| expected_start.is_fresh)
                .map(|expected_start| expected_start.by),
            ..IncarnationTimeline::new(record.generation)
        });
        expected_start.and_then(|expected_start| check_start(record, expected_start))
    }

    /// Forgets the children of an earlier incarnation of a supervisor.
    fn remove_descendants(&mut self, actor: &str) {
        let below = self.descendants(actor).map(|(path, _)| path.clone()).collect::<Vec<_>>();
        for path in below {
            self.timelines.remove(&path);
        }
    }

    fn descendants(&mut self, actor: &str) -> impl Iterator<Item = (&String, &mut ActorTimeline)> {
        // In byte order '0' comes right after '/', so everything that begins with the path and a slash lies between
        // them.
        self.timelines.range_mut(format!("{actor}/")..format!("{actor}0"))
    }

    fn apply_restart(&mut self, record: &Record) -> Option<Mismatch> {
        let state = record.fields.get("state")?;
        let from_checkpoint = match state.as_str()? {
            "checkpoint" => true,
            "fresh" => false,
            _ => return None,
        };
        let incarnation = self.incarnation(record)?;
        incarnation.from_checkpoint = Some(from_checkpoint);
        let by = incarnation.fresh_start_decision.filter(|_| from_checkpoint)?;
        let message = format!("decision {by} discarded the checkpoint");
        Some(Mismatch::new("state", state.clone(), "fresh".into(), message))
    }

    fn apply_exit(&mut self, record: &Record) {
        let Ok(exited) = record.decode::<ActorExited>() else {
            // A newer format may have written this, so nothing is known of this end.
            self.timeline(&record.actor).incarnation = None;
            return;
        };
        let ended = RecordedExit {
            event: record.cursor(),
            cause: exited.cause,
            is_abandoned: exited.abandoned,
            is_unrecoverable: exited.unrecoverable,
            mono_ms: record.mono_ms,
        };
        if exited.abandoned {
            self.abandoned_actors.insert(record.actor.clone());
        }
        let timeline = self.timeline(&record.actor);
        match &mut timeline.incarnation {
            Some(incarnation) if incarnation.generation == record.generation => {
                incarnation.exit = Some(ended)
            }
            incarnation => {
                *incarnation = Some(IncarnationTimeline {
                    exit: Some(ended),
                    ..IncarnationTimeline::new(record.generation)
                })
            }
        }
    }

    // === commands ===

    fn apply_budget_reset(&mut self, record: &Record) {
        let timeline = self.timeline(&record.actor);
        timeline.history = Some(Known { value: ChildHistory::default(), since: record.cursor() });
        timeline.expected_start = None;
    }

    /// Applies a start by command. A child that waits for its turn brings its whole group forward.
    fn apply_start_order(&mut self, record: &Record) {
        let supervisor = parent(&record.actor);
        for (path, timeline) in self.descendants(supervisor) {
            if parent(path) == supervisor {
                timeline.expected_start = None;
            }
        }
    }

    fn apply_restart_cancelled(&mut self, record: &Record) {
        let expected_start = &mut self.timeline(&record.actor).expected_start;
        let is_fresh = expected_start.is_some_and(|expected_start| expected_start.is_fresh);
        *expected_start = Some(ExpectedStart { by: record.cursor(), due: None, is_fresh });
    }

    // === decisions ===

    /// Checks a decision against its inputs and against what is known, and updates what is known.
    pub(super) fn check_decision(&mut self, record: &Record, stated: &RecordedDecision) -> Vec<Mismatch> {
        let mut rechecked = RecheckedDecision::recheck(record, stated);
        let mismatches = std::mem::take(&mut rechecked.mismatches);
        if self.abandoned_actors.contains(parent(&record.actor)) {
            self.discard_knowledge(record);
            return mismatches;
        }
        // A fault of the inputs is reported first, because the others may follow from it.
        let mut found = Vec::new();
        if let Some(incarnation) =
            self.timelines.get(&record.actor).and_then(|timeline| timeline.incarnation.as_ref())
        {
            found.extend(exit_check::check(record, &stated.inputs, incarnation));
        }
        found.extend(self.check_inputs(record, stated));
        found.extend(mismatches);
        if found.is_empty() {
            self.update_timelines(record, stated, rechecked);
        } else {
            // A difference is reported once, and not again by everything that follows from it.
            self.discard_knowledge(record);
        }
        found
    }

    /// Forgets what `record`, a decision, may have changed.
    pub(super) fn discard_knowledge(&mut self, record: &Record) {
        let timeline = self.timeline(&record.actor);
        (timeline.history, timeline.policy, timeline.expected_start) = (None, None, None);
        if let Some(incarnation) = &mut timeline.incarnation {
            incarnation.exit_decision = Some(record.cursor());
        }
        let as_supervisor = &mut self.timeline(parent(&record.actor)).as_supervisor;
        (as_supervisor.history, as_supervisor.policy) = (None, None);
    }

    fn check_inputs(&self, record: &Record, stated: &RecordedDecision) -> Vec<Mismatch> {
        let inputs = &stated.inputs;
        let mut found = Vec::new();
        if let Some(timeline) = self.timelines.get(&record.actor) {
            found.extend(find_contradiction(
                "inputs.history",
                &inputs.history,
                timeline.history.as_ref(),
                HISTORY_SOURCE,
            ));
            found.extend(find_contradiction(
                "inputs.child",
                &inputs.child,
                timeline.policy.as_ref(),
                POLICY_SOURCE,
            ));
        }
        if let Some(ActorTimeline { as_supervisor, .. }) = self.timelines.get(parent(&record.actor)) {
            found.extend(find_contradiction(
                "inputs.siblings",
                &inputs.siblings,
                as_supervisor.history.as_ref(),
                HISTORY_SOURCE,
            ));
            found.extend(find_contradiction(
                "inputs.supervisor",
                &inputs.supervisor,
                as_supervisor.policy.as_ref(),
                POLICY_SOURCE,
            ));
            if inputs.now_ms < as_supervisor.decided_ms {
                let message = "the same supervisor had decided later than this before";
                let stated = inputs.now_ms.into();
                found.push(Mismatch::new("inputs.now_ms", stated, as_supervisor.decided_ms.into(), message));
            }
        }
        found
    }

    fn update_timelines(&mut self, record: &Record, stated: &RecordedDecision, rechecked: RecheckedDecision) {
        let since = record.cursor();
        let due = rechecked.restart_due(stated.now());
        let fresh = matches!(rechecked.decision, Decision::Restart { state: StateSource::Fresh, .. });
        let as_supervisor = &mut self.timeline(parent(&record.actor)).as_supervisor;
        as_supervisor.decided_ms = stated.inputs.now_ms;
        as_supervisor.history = Some(Known { value: rechecked.siblings, since });
        as_supervisor.policy.get_or_insert(Known { value: stated.inputs.supervisor, since });
        for sibling in stated.scope.iter().filter(|path| **path != record.actor) {
            self.delay_start(sibling, since, due);
        }
        let timeline = self.timeline(&record.actor);
        timeline.history = Some(Known { value: rechecked.history, since });
        timeline.policy.get_or_insert_with(|| Known { value: stated.inputs.child.clone(), since });
        timeline.expected_start = Some(ExpectedStart { by: since, due, is_fresh: fresh });
        if let Some(incarnation) = &mut timeline.incarnation {
            incarnation.exit_decision = Some(since);
        }
    }

    /// Delays a sibling that is restarted with the child; a longer delay of its own stays.
    fn delay_start(&mut self, sibling: &str, by: Cursor, due: Option<Duration>) {
        let timeline = self.timeline(sibling);
        match timeline.expected_start {
            Some(ExpectedStart { due: own, .. }) if own.is_none() || own >= due => {}
            Some(ExpectedStart { is_fresh: fresh, .. }) => {
                timeline.expected_start = Some(ExpectedStart { by, due, is_fresh: fresh })
            }
            None => timeline.expected_start = Some(ExpectedStart { by, due, is_fresh: false }),
        }
    }
}

/// Checks that an actor may start now.
fn check_start(record: &Record, expected_start: ExpectedStart) -> Option<Mismatch> {
    let ExpectedStart { by, due, .. } = expected_start;
    let (expected, message) = match due {
        Some(due) if Duration::from_millis(record.mono_ms) >= due => return None,
        Some(due) => {
            let due_ms = millis(due.saturating_add(Duration::from_nanos(999_999)));
            (due_ms.into(), format!("decision {by} restarts it at this time, and no command came between"))
        }
        None => ("none".into(), format!("event {by} does not restart it, and no command came between")),
    };
    Some(Mismatch::new("start", record.mono_ms.into(), expected, message))
}

/// The reason for an expected value: an event left it behind.
const HISTORY_SOURCE: &str = "left this behind";
/// The reason for an expected value: an earlier decision followed from it, and it does not change.
const POLICY_SOURCE: &str = "decided by this, and it does not change";

fn find_contradiction<T: Serialize + PartialEq>(
    field: &str,
    stated: &T,
    known: Option<&Known<T>>,
    message: &str,
) -> Option<Mismatch> {
    let known = known.filter(|known| known.value != *stated)?;
    Mismatch::between(field, &to_json(stated), &to_json(&known.value), || {
        format!("event {} {message}", known.since)
    })
}
