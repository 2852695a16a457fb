//! The states of each actor over a span of time.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_runtime::clock::WallTime;
use mainstay_runtime::journal::Cursor;
use serde::{Deserialize, Serialize};

use super::moment::{ActorState, States};
use super::step::{HistoryState, HistoryStep, StateChange};

/// The states of the actors over a span of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct HistoryLanes {
    /// The beginning: the later one of what was asked for and the first event that is kept; none without events.
    pub from: Option<WallTime>,
    /// The end: the earlier one of what was asked for and the last event.
    pub to: Option<WallTime>,
    /// The lanes, by the actors' paths, at most 200. Actors with marks come before others if there are more.
    pub lanes: Vec<Lane>,
    /// The number of further actors.
    pub lanes_left_out: usize,
    /// The runs of the runtime within the span.
    pub runs: Vec<RunSpan>,
}

/// The states of one actor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct Lane {
    /// The actor's path.
    pub actor: String,
    /// The states, in order, at most the last 500.
    pub spans: Vec<LaneSpan>,
    /// The exits and decisions, in order, at most the last 100.
    pub marks: Vec<LaneMark>,
}

/// A time in which an actor had one state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LaneSpan {
    /// The beginning.
    pub from: WallTime,
    /// The end; none for the state of now.
    pub to: Option<WallTime>,
    /// The state.
    pub state: HistoryState,
}

/// An exit or a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct LaneMark {
    /// The time.
    pub at: WallTime,
    /// The event.
    pub cursor: Cursor,
    /// The kind of event.
    pub kind: String,
    /// The event as one sentence.
    pub summary: String,
}

/// A run of the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct RunSpan {
    /// The number of the run.
    pub run: u64,
    /// The first event.
    pub from: WallTime,
    /// The last event, if the run has ended.
    pub to: Option<WallTime>,
}

/// The most lanes.
const LANES_MAX: usize = 200;
/// The most states of a lane.
const SPANS_MAX: usize = 500;
/// The most marks of a lane.
const MARKS_MAX: usize = 100;

/// Collects the lanes from the steps.
pub(super) struct LanesBuilder {
    from: Timestamp,
    to: Timestamp,
    /// The lanes, each at the place of its actor's path.
    lanes: Vec<(VecDeque<LaneSpan>, VecDeque<LaneMark>)>,
    runs: Vec<RunSpan>,
    /// The time of the step before.
    before: Timestamp,
}

impl LanesBuilder {
    pub(super) fn new(from: Timestamp, to: Timestamp) -> Self {
        Self { from, to, lanes: Vec::new(), runs: Vec::new(), before: from }
    }

    /// Begins with the states of the actors at `at`, the time of the first step.
    pub(super) fn begin(&mut self, at: Timestamp, states: &States) {
        self.before = at;
        if let Some(cursor) = states.cursor {
            self.runs.push(RunSpan { run: cursor.run, from: WallTime(at), to: None });
        }
        for (place, actor) in states.actors.iter().enumerate() {
            if let Some(actor) = actor {
                self.change(place, at, Some(actor.shown()));
            }
        }
    }

    /// Carries a step out on `states`, and adds what it changes.
    pub(super) fn step(&mut self, step: &HistoryStep, states: &mut States) {
        if self.runs.last().is_none_or(|run| run.run != step.cursor.run) {
            self.end_run();
            self.runs.push(RunSpan { run: step.cursor.run, from: WallTime(step.at), to: None });
        }
        states.apply(step);
        self.before = step.at;
        if matches!(step.change, StateChange::RunEnded) {
            self.end_run();
            return;
        }
        let actor = step.actor as usize;
        let state = states.actors.get(actor).and_then(Option::as_ref).map(ActorState::shown);
        self.change(actor, step.at, state);
        if let Some(mark) = &step.mark
            && (self.from..=self.to).contains(&step.at)
        {
            let marks = &mut self.lane(actor).1;
            push_bounded(
                marks,
                MARKS_MAX,
                LaneMark {
                    at: WallTime(step.at),
                    cursor: step.cursor,
                    kind: mark.kind.to_owned(),
                    summary: mark.summary.to_string(),
                },
            );
        }
    }

    /// Returns the lanes; `last` is the time of the last event.
    pub(super) fn finish(self, last: Timestamp, paths: &[Arc<str>]) -> HistoryLanes {
        let Self { from, to, lanes, runs, .. } = self;
        let mut lanes: Vec<Lane> = paths
            .iter()
            .zip(lanes)
            .filter(|(_, (spans, marks))| !spans.is_empty() || !marks.is_empty())
            .map(|(path, (spans, marks))| Lane {
                actor: path.to_string(),
                spans: spans.into(),
                marks: marks.into(),
            })
            .collect();
        for lane in &mut lanes {
            // What lasts beyond the end is cut there, unless the end is now.
            let open_end = (to < last).then_some(WallTime(to));
            lane.spans
                .iter_mut()
                .for_each(|span| span.to = span.to.or(open_end).map(|end| WallTime(end.0.min(to))));
        }
        let lanes_left_out = lanes.len().saturating_sub(LANES_MAX);
        lanes.sort_by_key(|lane| lane.marks.is_empty());
        lanes.truncate(LANES_MAX);
        lanes.sort_by(|a, b| a.actor.split('/').cmp(b.actor.split('/')));
        let runs = runs.into_iter().filter(|run| run.from.0 <= to && run.to.is_none_or(|end| end.0 >= from));
        HistoryLanes {
            from: Some(WallTime(from)),
            to: Some(WallTime(to)),
            lanes,
            lanes_left_out,
            runs: runs.collect(),
        }
    }

    fn lane(&mut self, place: usize) -> &mut (VecDeque<LaneSpan>, VecDeque<LaneMark>) {
        if self.lanes.len() <= place {
            self.lanes.resize_with(place + 1, Default::default);
        }
        &mut self.lanes[place]
    }

    /// Ends the state of an actor, and begins the next one if there is one.
    fn change(&mut self, place: usize, at: Timestamp, state: Option<HistoryState>) {
        let (from, to) = (self.from, self.to);
        let spans = &mut self.lane(place).0;
        if let Some(last) = spans.back_mut().filter(|last| last.to.is_none()) {
            if Some(last.state) == state {
                return;
            }
            last.to = Some(WallTime(at));
            if at <= from {
                spans.pop_back();
            }
        }
        if let Some(state) = state
            && at <= to
        {
            push_bounded(spans, SPANS_MAX, LaneSpan { from: WallTime(at.max(from)), to: None, state });
        }
    }

    /// Ends the states of all actors, with the last step of the run.
    fn end_run(&mut self) {
        let at = self.before;
        for place in 0..self.lanes.len() {
            self.change(place, at, None);
        }
        if let Some(run) = self.runs.last_mut() {
            run.to.get_or_insert(WallTime(at));
        }
    }
}

fn push_bounded<T>(list: &mut VecDeque<T>, max: usize, item: T) {
    if list.len() == max {
        list.pop_front();
    }
    list.push_back(item);
}
