//! The change that an event makes to the state of an actor.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_actors::agent::AgentStatus;
use mainstay_actors::connection::error::status_without_websocket;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::error::Error;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::{Cursor, Event, LineHead, Record};
use mainstay_runtime::policy::ExitCause;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::events::{
    ActorExited, ActorReady, ActorStarted, AgentHealth, BackendResumed, BackendSuspended, BudgetReset,
    ConnectionChanged, Decided, DecisionKind, DecisionOutcome, GaveUp, QueueHeld, QueueReleased,
    RestartCancelled, RuntimeStarted, RuntimeStopped, summary,
};
use crate::supervision_report::RestartAttempt;

/// The state of an actor in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum HistoryState {
    /// The actor is being started.
    Starting,
    /// The actor is at work.
    Up,
    /// The actor is at work, and is not well: it misses checks, is suspended, or has lost its connection.
    Degraded,
    /// The actor has ended, and no decision has been recorded.
    Down,
    /// The actor has ended, and is to be restarted.
    Restarting,
    /// The actor is given up.
    GivenUp,
    /// The actor was stopped, or ended by itself.
    Stopped,
}

/// An event, as the fold reads it.
pub(super) trait EventSource {
    fn kind(&self) -> &str;

    /// Reads the kind's own fields as `T`; `None` if another version wrote them.
    fn decode<T: DeserializeOwned>(&self) -> Option<T>;

    /// Reads a decision without its inputs, which are most of its text.
    fn decode_outcome(&self) -> Option<DecisionOutcome> {
        self.decode()
    }

    /// Returns the event as one sentence, whatever its fields are.
    fn describe(&self) -> String;
}

impl EventSource for Record {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn decode<T: DeserializeOwned>(&self) -> Option<T> {
        Record::decode(self).ok()
    }

    fn describe(&self) -> String {
        summary(self)
    }
}

/// A line of the journal. Only the fields of the kinds that make a change are read.
pub(super) struct LineEvent<'l> {
    pub(super) head: LineHead<'l>,
    pub(super) text: &'l str,
}

impl EventSource for LineEvent<'_> {
    fn kind(&self) -> &str {
        self.head.kind
    }

    fn decode<T: DeserializeOwned>(&self) -> Option<T> {
        decode_members(self.head.members)
    }

    fn decode_outcome(&self) -> Option<DecisionOutcome> {
        // The quotes of a name within a text would be escaped.
        let members = self.head.members;
        decode_members(members.split_once(r#","inputs":"#).map_or(members, |(outcome, _)| outcome))
    }

    fn describe(&self) -> String {
        Record::parse(self.text).map(|record| summary(&record)).unwrap_or_default()
    }
}

/// Reads an object from its members. That is faster than to read the whole line and to ignore its head.
fn decode_members<T: DeserializeOwned>(members: &str) -> Option<T> {
    serde_json::from_str(&["{", members, "}"].concat()).ok()
}

/// The texts of steps. Equal ones are kept once, since crashes mostly repeat.
#[derive(Debug, Clone, Default)]
pub(super) struct TextPool(HashSet<Arc<str>>);

/// The most texts of which a later one may be a repetition.
const TEXTS_MAX: usize = 1000;

impl TextPool {
    fn keep(&mut self, text: &str) -> Arc<str> {
        if let Some(kept) = self.0.get(text) {
            return Arc::clone(kept);
        }
        if self.0.len() == TEXTS_MAX {
            self.0.clear();
        }
        let kept: Arc<str> = text.into();
        self.0.insert(Arc::clone(&kept));
        kept
    }
}

/// A change, with its event.
#[derive(Debug, Clone)]
pub(super) struct HistoryStep {
    pub(super) at: Timestamp,
    pub(super) cursor: Cursor,
    /// The actor's place in the list of paths.
    pub(super) actor: u32,
    pub(super) generation: u64,
    pub(super) change: StateChange,
    /// The event, if the timeline marks it.
    pub(super) mark: Option<Mark>,
}

/// An event that the timeline marks.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) kind: &'static str,
    pub(super) summary: Arc<str>,
}

/// A change of the state of one actor, or of the runtime.
#[derive(Debug, Clone)]
pub(super) enum StateChange {
    RunStarted,
    RunEnded,
    Starting,
    Ready,
    Exited {
        was_asked: bool,
        error: Arc<str>,
    },
    Restarting {
        at: WallTime,
        attempt: Option<RestartAttempt>,
    },
    GivenUp {
        is_unrecoverable: bool,
    },
    Left,
    BudgetReset,
    Health(AgentStatus),
    Suspended(bool),
    Connection {
        state: ConnectionState,
        attempt: u32,
        max: u32,
        next_attempt_at: Option<WallTime>,
        status_without_websocket: Option<u16>,
    },
    Held {
        waiting: usize,
    },
    Released,
}

impl StateChange {
    /// Reads the change that an event makes, and its mark if the timeline marks its kind: unasked ends, and decisions.
    /// Most kinds make no change.
    pub(super) fn of(
        event: &impl EventSource,
        at: Timestamp,
        texts: &mut TextPool,
    ) -> Option<(Self, Option<Mark>)> {
        let change = match event.kind() {
            RuntimeStarted::KIND => Self::RunStarted,
            RuntimeStopped::KIND => Self::RunEnded,
            ActorStarted::KIND => Self::Starting,
            ActorReady::KIND => Self::Ready,
            ActorExited::KIND => {
                let exit: Option<ActorExited> = event.decode();
                let was_asked = exit
                    .as_ref()
                    .is_some_and(|exit| matches!(exit.cause, ExitCause::Normal | ExitCause::Shutdown));
                let error = texts.keep(&exit.map_or_else(|| event.describe(), |exit| exit.summary()));
                let mark =
                    (!was_asked).then(|| Mark { kind: ActorExited::KIND, summary: Arc::clone(&error) });
                return Some((Self::Exited { was_asked, error }, mark));
            }
            Decided::KIND => {
                let outcome = event.decode_outcome()?;
                let text = match outcome.decision {
                    // Its reason is among the inputs.
                    DecisionKind::GiveUp => event.describe(),
                    _ => outcome.describe(false),
                };
                let mark = Mark { kind: Decided::KIND, summary: texts.keep(&text) };
                return Some((Self::of_decision(&outcome, at), Some(mark)));
            }
            GaveUp::KIND => {
                let mark = Mark { kind: GaveUp::KIND, summary: texts.keep(&event.describe()) };
                let is_unrecoverable = event.decode::<GaveUp>().is_some_and(|gave_up| gave_up.unrecoverable);
                return Some((Self::GivenUp { is_unrecoverable }, Some(mark)));
            }
            RestartCancelled::KIND => Self::Left,
            BudgetReset::KIND => Self::BudgetReset,
            AgentHealth::KIND => Self::Health(event.decode::<AgentHealth>()?.to),
            BackendSuspended::KIND => Self::Suspended(true),
            BackendResumed::KIND => Self::Suspended(false),
            ConnectionChanged::KIND => {
                let ConnectionChanged { to, attempt, max, next_attempt_at, error, .. } = event.decode()?;
                let next_attempt_at = next_attempt_at.and_then(|at| at.parse().ok()).map(WallTime);
                let status_without_websocket =
                    error.and_then(|error| status_without_websocket(&Error::from(&error)));
                Self::Connection { state: to, attempt, max, next_attempt_at, status_without_websocket }
            }
            QueueHeld::KIND => Self::Held { waiting: event.decode::<QueueHeld>()?.waiting },
            QueueReleased::KIND => Self::Released,
            _ => return None,
        };
        Some((change, None))
    }

    fn of_decision(outcome: &DecisionOutcome, at: Timestamp) -> Self {
        match outcome.decision {
            DecisionKind::Restart => {
                let delay = std::time::Duration::from_millis(outcome.delay_ms.unwrap_or(0));
                let attempt =
                    outcome.budget.map(|budget| RestartAttempt { number: budget.used, max: budget.max });
                Self::Restarting { at: WallTime(at.saturating_add(delay).unwrap_or(at)), attempt }
            }
            // Its next event says whether a restart can help.
            DecisionKind::GiveUp => Self::GivenUp { is_unrecoverable: false },
            DecisionKind::Leave | DecisionKind::Escalate | DecisionKind::ShutDown => Self::Left,
        }
    }
}
