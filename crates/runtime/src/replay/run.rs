//! One run of a runtime: what is known of its actors, and whether the next event can be so.
//!
//! Only a supervisor's own records are relied upon: what it records of its children is in the order in which it did it.
//! An actor's own records count only if they bear its present generation, because an incarnation that was abandoned may
//! still be at work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::exit;
use super::mismatch::{Mismatch, json};
use super::trace::{Ended, Known, Life, Sequel, Trace, Ward};
use super::verdict::{Stated, Verdict, parent};
use crate::events::{
    ActorExited, ActorReady, ActorRestarted, ActorStarted, BudgetReset, RuntimeStarted, StartOrdered,
};
use crate::journal::{Event, Record, millis};
use crate::policy::{ChildHistory, Decision, StateSource};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Run {
    boot: Option<String>,
    /// Whether it has said so: the journal may have a word to say before.
    pub(super) has_begun: bool,
    mono_ms: u64,
    traces: BTreeMap<String, Trace>,
    /// Actors of which an incarnation was abandoned: as supervisors, two of them may have recorded at once.
    contested: BTreeSet<String>,
}

impl Run {
    /// The run that `record` begins.
    pub(super) fn new(record: &Record) -> Self {
        let has_begun = record.kind == RuntimeStarted::KIND;
        Self { boot: Some(record.boot.clone()), has_begun, ..Self::default() }
    }

    pub(super) fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// Forgets everything that was carried: events are missing.
    pub(super) fn forget(&mut self) {
        self.traces.clear();
    }

    /// Checks that time does not run backwards.
    pub(super) fn note_time(&mut self, record: &Record) -> Vec<Mismatch> {
        let before = std::mem::replace(&mut self.mono_ms, record.mono_ms);
        let why = "time does not run backwards within a run";
        let is_back = record.mono_ms < before;
        let found = is_back.then(|| Mismatch::new("mono_ms", record.mono_ms.into(), before.into(), why));
        found.into_iter().collect()
    }

    fn trace(&mut self, actor: &str) -> &mut Trace {
        let whole_since = self.traces.get(parent(actor)).and_then(|parent| parent.ward.whole_since);
        self.traces.entry(actor.to_owned()).or_insert_with(|| {
            let value = ChildHistory::default();
            Trace { history: whole_since.map(|since| Known { value, since }), ..Trace::default() }
        })
    }

    /// The actor's present incarnation, if `record` is about that one.
    fn life(&mut self, record: &Record) -> Option<&mut Life> {
        let life = self.traces.get_mut(&record.actor)?.life.as_mut()?;
        (life.generation == record.generation).then_some(life)
    }

    /// Takes in an event that is no decision.
    pub(super) fn event(&mut self, record: &Record) -> Vec<Mismatch> {
        let found = match record.kind.as_str() {
            ActorStarted::KIND => self.started(record),
            ActorReady::KIND => {
                if let Some(life) = self.life(record) {
                    life.ready_ms = Some(record.mono_ms);
                }
                None
            }
            ActorRestarted::KIND => self.restarted(record),
            ActorExited::KIND => {
                self.exited(record);
                None
            }
            BudgetReset::KIND => {
                self.reset(record);
                None
            }
            StartOrdered::KIND => {
                self.start_ordered(record);
                None
            }
            _ => None,
        };
        found.into_iter().collect()
    }

    // === lives ===

    fn started(&mut self, record: &Record) -> Option<Mismatch> {
        self.drop_those_below(&record.actor);
        let trace = self.trace(&record.actor);
        if record.generation == 1 {
            // A child that was added anew: whatever bore its name before has nothing to do with it.
            let history = Some(Known { value: ChildHistory::default(), since: record.seq });
            *trace = Trace { history, ..Trace::default() };
        }
        trace.ward = Ward::new(record.seq);
        let sequel = trace.sequel.take();
        trace.life = Some(Life {
            started_ms: Some(record.mono_ms),
            fresh_by: sequel.filter(|sequel| sequel.fresh).map(|sequel| sequel.by),
            ..Life::new(record.generation)
        });
        sequel.and_then(|sequel| check_start(record, sequel))
    }

    /// A supervisor's incarnation knows nothing of what an earlier one's children went through.
    fn drop_those_below(&mut self, actor: &str) {
        let below = self.below(actor).map(|(path, _)| path.clone()).collect::<Vec<_>>();
        for path in below {
            self.traces.remove(&path);
        }
    }

    fn below(&mut self, actor: &str) -> impl Iterator<Item = (&String, &mut Trace)> {
        // In the order of bytes '0' comes right after '/', so all that begins with the path and a slash lies in between.
        self.traces.range_mut(format!("{actor}/")..format!("{actor}0"))
    }

    fn restarted(&mut self, record: &Record) -> Option<Mismatch> {
        let state = record.fields.get("state")?;
        let restored = match state.as_str()? {
            "restored" => true,
            "fresh" => false,
            _ => return None,
        };
        let life = self.life(record)?;
        life.restored = Some(restored);
        let by = life.fresh_by.filter(|_| restored)?;
        let why = format!("decision {by} set the checkpoint aside");
        Some(Mismatch::new("state", state.clone(), "fresh".into(), why))
    }

    fn exited(&mut self, record: &Record) {
        let Ok(exited) = record.decode::<ActorExited>() else {
            // Of a newer format, perhaps: then nothing is known of this end.
            self.trace(&record.actor).life = None;
            return;
        };
        let ended = Ended {
            seq: record.seq,
            cause: exited.cause,
            abandoned: exited.abandoned,
            mono_ms: record.mono_ms,
        };
        if exited.abandoned {
            self.contested.insert(record.actor.clone());
        }
        let trace = self.trace(&record.actor);
        match &mut trace.life {
            Some(life) if life.generation == record.generation => life.ended = Some(ended),
            life => *life = Some(Life { ended: Some(ended), ..Life::new(record.generation) }),
        }
    }

    // === orders ===

    fn reset(&mut self, record: &Record) {
        let trace = self.trace(&record.actor);
        trace.history = Some(Known { value: ChildHistory::default(), since: record.seq });
        trace.sequel = None;
    }

    /// A child that waits for its turn hurries its whole group.
    fn start_ordered(&mut self, record: &Record) {
        let supervisor = parent(&record.actor);
        for (path, trace) in self.below(supervisor) {
            if parent(path) == supervisor {
                trace.sequel = None;
            }
        }
    }

    // === decisions ===

    /// Checks a decision against its inputs and against what is known, and carries on from it.
    pub(super) fn decision(&mut self, record: &Record, stated: &Stated) -> Vec<Mismatch> {
        let mut verdict = Verdict::on(record, stated);
        let mismatches = std::mem::take(&mut verdict.mismatches);
        if self.contested.contains(parent(&record.actor)) {
            self.lose_track(record);
            return mismatches;
        }
        // What is wrong with the inputs is told first: the rest may follow from it.
        let mut found = Vec::new();
        if let Some(life) = self.traces.get(&record.actor).and_then(|trace| trace.life.as_ref()) {
            found.extend(exit::check(record, &stated.inputs, life));
        }
        found.extend(self.check_known(record, stated));
        found.extend(mismatches);
        if found.is_empty() {
            self.carry(record, stated, verdict);
        } else {
            // One difference is told once, and not again by everything that follows from it.
            self.lose_track(record);
        }
        found
    }

    /// Forgets what `record`, a decision, may have changed.
    pub(super) fn lose_track(&mut self, record: &Record) {
        let trace = self.trace(&record.actor);
        (trace.history, trace.policy, trace.sequel) = (None, None, None);
        if let Some(life) = &mut trace.life {
            life.decided_by = Some(record.seq);
        }
        let ward = &mut self.trace(parent(&record.actor)).ward;
        (ward.history, ward.policy) = (None, None);
    }

    fn check_known(&self, record: &Record, stated: &Stated) -> Vec<Mismatch> {
        let inputs = &stated.inputs;
        let mut found = Vec::new();
        if let Some(trace) = self.traces.get(&record.actor) {
            found.extend(contradicted("inputs.history", &inputs.history, trace.history.as_ref(), LEFT));
            found.extend(contradicted("inputs.child", &inputs.child, trace.policy.as_ref(), RULED));
        }
        if let Some(Trace { ward, .. }) = self.traces.get(parent(&record.actor)) {
            found.extend(contradicted("inputs.siblings", &inputs.siblings, ward.history.as_ref(), LEFT));
            found.extend(contradicted("inputs.supervisor", &inputs.supervisor, ward.policy.as_ref(), RULED));
            if inputs.now_ms < ward.decided_ms {
                let why = "the same supervisor had decided later than this before";
                let stated = inputs.now_ms.into();
                found.push(Mismatch::new("inputs.now_ms", stated, ward.decided_ms.into(), why));
            }
        }
        found
    }

    fn carry(&mut self, record: &Record, stated: &Stated, verdict: Verdict) {
        let since = record.seq;
        let due = verdict.due(stated.now());
        let fresh = matches!(verdict.decision, Decision::Restart { state: StateSource::Fresh, .. });
        let ward = &mut self.trace(parent(&record.actor)).ward;
        ward.decided_ms = stated.inputs.now_ms;
        ward.history = Some(Known { value: verdict.siblings, since });
        ward.policy.get_or_insert(Known { value: stated.inputs.supervisor, since });
        for sibling in stated.scope.iter().filter(|path| **path != record.actor) {
            self.postpone(sibling, since, due);
        }
        let trace = self.trace(&record.actor);
        trace.history = Some(Known { value: verdict.history, since });
        trace.policy.get_or_insert_with(|| Known { value: stated.inputs.child.clone(), since });
        trace.sequel = Some(Sequel { by: since, due, fresh });
        if let Some(life) = &mut trace.life {
            life.decided_by = Some(since);
        }
    }

    /// One that is restarted with its sibling starts no earlier than that; a delay of its own is not cut short.
    fn postpone(&mut self, sibling: &str, by: u64, due: Option<Duration>) {
        let trace = self.trace(sibling);
        match trace.sequel {
            Some(Sequel { due: own, .. }) if own.is_none() || own >= due => {}
            Some(Sequel { fresh, .. }) => trace.sequel = Some(Sequel { by, due, fresh }),
            None => trace.sequel = Some(Sequel { by, due, fresh: false }),
        }
    }
}

/// Whether an actor may start now.
fn check_start(record: &Record, sequel: Sequel) -> Option<Mismatch> {
    let Sequel { by, due, .. } = sequel;
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
const LEFT: &str = "left this behind";
/// Why something is expected: what an earlier decision followed from, and does not change.
const RULED: &str = "was decided by this, and it does not change";

fn contradicted<T: Serialize + PartialEq>(
    what: &str,
    stated: &T,
    known: Option<&Known<T>>,
    why: &str,
) -> Option<Mismatch> {
    let known = known.filter(|known| known.value != *stated)?;
    Mismatch::between(what, &json(stated), &json(&known.value), || format!("event {} {why}", known.since))
}
