//! Writes journals as supervisors do, without any actor.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::events::*;
use crate::journal::{Event, Record};
use crate::path::ActorPath;
use crate::policy::*;

pub(super) const POOL: &str = "root/pool";

/// The records of one run, in order.
pub(super) struct JournalBuilder {
    pub(super) records: Vec<Record>,
    pub(super) now_ms: u64,
}

impl JournalBuilder {
    pub(super) fn new() -> Self {
        Self { records: Vec::new(), now_ms: 0 }
    }

    pub(super) fn record<E: Event>(&mut self, actor: &str, generation: u64, event: &E) -> u64 {
        let Value::Object(fields) = serde_json::to_value(event).unwrap() else { unreachable!() };
        let seq = self.records.len() as u64 + 1;
        self.records.push(Record {
            run: 1,
            seq,
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            mono_ms: self.now_ms,
            actor: actor.to_owned(),
            generation,
            kind: E::KIND.to_owned(),
            fields,
        });
        seq
    }

    /// Records the start of an incarnation that is ready at once, as a restart if it has a source of its state.
    pub(super) fn record_start(&mut self, actor: &str, generation: u64, from_checkpoint: Option<bool>) {
        self.record(actor, generation, &ActorStarted {});
        self.record(actor, generation, &ActorReady { start_ms: 0 });
        if let Some(from_checkpoint) = from_checkpoint {
            let state = if from_checkpoint { StateSource::Checkpoint } else { StateSource::Fresh };
            self.record(actor, generation, &ActorRestarted { downtime_ms: 0, state, backlog: 0 });
        }
    }

    pub(super) fn record_exit(&mut self, actor: &str, generation: u64, exit: Exit) {
        let Exit { cause, abandoned, unrecoverable, .. } = exit;
        let exited = ActorExited {
            cause,
            message: None,
            location: None,
            backtrace: None,
            unexpected: false,
            abandoned,
            unrecoverable,
        };
        self.record(actor, generation, &exited);
    }

    /// Decides, and records the decision.
    pub(super) fn record_decision(
        &mut self,
        (actor, generation): (&str, u64),
        policies: (&Arc<ChildPolicy>, &SupervisorPolicy),
        (history, siblings): (&mut ChildHistory, &mut SupervisorHistory),
        (exit, jitter, significant_others): (Exit, f64, u32),
        group: &[String],
    ) -> Decision {
        let now = Duration::from_millis(self.now_ms);
        let (child, supervisor) = policies;
        let inputs = DecisionInputs {
            now_ms: self.now_ms,
            jitter,
            significant_others,
            exit,
            history: history.clone(),
            siblings: siblings.clone(),
            child: Arc::clone(child),
            supervisor: *supervisor,
        };
        let moment = DecisionContext { now, jitter, significant_others };
        let decision = decide((child, supervisor), (history, siblings), exit, moment);
        let used = child.budget.map_or(0, |budget| history.used(budget, now));
        let alone = [actor.to_owned()];
        let scope = match decision {
            Decision::Restart { scope: RestartScope::All | RestartScope::Rest, .. } => group,
            _ => &alone,
        };
        let scope = scope.iter().map(|path| actor_path(path)).collect();
        self.record(actor, generation, &Decided::new(decision, used, scope, inputs));
        decision
    }
}

fn actor_path(text: &str) -> ActorPath {
    serde_json::from_value(json!(text)).unwrap()
}
