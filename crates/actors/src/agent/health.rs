//! The health of an agent, derived from its checks: pure, with the time passed in.
//!
//! One miss degrades an agent, `fail_after` misses in a row fail it, `recover_after` good answers in a row heal it.
//! An unreachable backend says nothing about its agents: they become `unknown`, and none is restarted.
//!
//! An agent whose checks or restarts are quarantined is degraded: the backend died over too many of them.

mod observation;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{count, millis, millis_text};
use serde::{Deserialize, Serialize};

use super::call_quarantine::{AgentCall, CallDeath, CallRecords};
use crate::error::{Error, Reason};
use crate::network::BackendEnds;

pub(crate) use observation::ActivitySigns;
use observation::is_answer;
pub(super) use observation::is_break;
use observation::is_refusal;
pub use observation::{Observation, ReportedHealth};
pub use policy::HealthPolicy;

/// The shortest time between two checks of an agent.
const CHECK_DELAY_MIN: Duration = Duration::from_millis(10);

/// The most by which an uptime may lag, in seconds, before it indicates a restart: uptimes are often whole seconds,
/// and clocks differ.
const UPTIME_SLACK_S: f64 = 2.0;

/// The status of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// The agent has not answered a check since its start, and is within its startup grace.
    Starting,
    /// The agent answers its checks.
    Healthy,
    /// The agent reports problems, or missed a check.
    Degraded,
    /// The agent reports a failure, or missed too many checks; or its restarts are used up.
    Failed,
    /// The agent failed, and restarts soon.
    Restarting,
    /// The agent was stopped.
    Stopped,
    /// The backend is unreachable, so its state is unknown.
    Unknown,
}

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatusChange {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
}

/// The consequences of an observation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outcome {
    /// The change of status, if there was one.
    pub change: Option<StatusChange>,
    /// The reason for a restart, if one is due.
    pub restart: Option<String>,
    /// True if the uptime shows that the agent was restarted from outside since the last answer.
    pub was_restarted_externally: bool,
    /// The time for which the agent has worked without progress, if that is why it restarts.
    pub stuck_for: Option<Duration>,
    /// The deaths of the backend over calls that this shows.
    pub call_deaths: Vec<CallDeath>,
}

/// The health of an agent within one incarnation.
#[derive(Debug, Clone)]
pub(crate) struct Health {
    policy: Arc<HealthPolicy>,
    status: AgentStatus,
    started_at: Duration,
    was_healthy: bool,
    misses: u32,
    good_answers: u32,
    is_suspended: bool,
    last_check: Option<Duration>,
    /// Boxed, since mostly there is none.
    last_error: Option<Box<Error>>,
    uptime_s: Option<f64>,
    /// The last uptime and the time of that report.
    last_uptime: Option<(f64, Duration)>,
    error_count: Option<u64>,
    /// The deaths of the backend over the agent's calls.
    calls: CallRecords,
    /// True if a call was repeated with a new token, and none has succeeded or failed otherwise since.
    has_renewed_token: bool,
}

impl Health {
    /// Returns the health of an agent that started at `now`.
    #[must_use]
    pub(crate) fn new(policy: Arc<HealthPolicy>, now: Duration) -> Self {
        Self {
            policy,
            status: AgentStatus::Starting,
            started_at: now,
            was_healthy: false,
            misses: 0,
            good_answers: 0,
            is_suspended: false,
            last_check: None,
            last_error: None,
            uptime_s: None,
            last_uptime: None,
            error_count: None,
            calls: CallRecords::default(),
            has_renewed_token: false,
        }
    }

    /// Returns the health with the error of the incarnation before, which stands until the agent answers well.
    #[must_use]
    pub(crate) fn with_last_error(self, last_error: Option<Box<Error>>) -> Self {
        Self { last_error, ..self }
    }

    /// Returns the health with the records of the incarnation before.
    #[must_use]
    pub(super) fn with_calls(self, calls: CallRecords) -> Self {
        Self { calls, ..self }
    }

    /// Applies the result of a check, together with the agent's activity.
    ///
    /// An agent that is working, or made progress since the last check, does not fail for missed checks: it is busy,
    /// and so degraded. That does not hold for a suspended one. An agent is not healthy before `min_uptime`. An agent that works without progress for `progress_timeout` fails whatever it answers.
    pub(crate) fn observe(
        &mut self,
        observation: Observation,
        activity: ActivitySigns,
        now: Duration,
    ) -> Outcome {
        let is_busy =
            activity.is_working || activity.progressed_at.is_some_and(|at| Some(at) > self.last_check);
        (self.last_check, self.has_renewed_token) = (Some(now), false);
        self.is_suspended = matches!(observation, Observation::Suspended { .. });
        let (mut was_restarted_elsewhere, mut call_deaths) = (false, Vec::new());
        let stuck_for =
            self.stuck_for(activity, now).filter(|_| !matches!(observation, Observation::Exited { .. }));
        let to = match observation {
            Observation::Answered { reported, uptime_s, error_count } => {
                self.note_answer(AgentCall::HealthCheck);
                was_restarted_elsewhere =
                    reported != ReportedHealth::Failed && self.is_uptime_reset(uptime_s, now);
                self.last_uptime = uptime_s.map(|uptime_s| (uptime_s, now));
                self.uptime_s = uptime_s;
                self.error_count = error_count;
                if reported == ReportedHealth::Healthy && !self.time_to_min_uptime().is_zero() {
                    // A program that dies at once was never healthy.
                    self.status
                } else {
                    self.answered(reported, now)
                }
            }
            Observation::Missed { why } => {
                if is_answer(&why) {
                    self.calls.note_alive();
                }
                self.calls.prolong_quarantine(AgentCall::HealthCheck, &self.policy, now);
                self.missed(why.without_renewal(), is_busy, now)
            }
            Observation::Suspended { why } => self.missed(why, false, now),
            Observation::Unreachable { why } => {
                self.misses = 0;
                self.good_answers = 0;
                if is_refusal(why.reason) {
                    call_deaths = self.calls.note_gone(&self.policy, now);
                } else {
                    self.calls.prolong_quarantine(AgentCall::HealthCheck, &self.policy, now);
                }
                let error = self.quarantined_error();
                let status = if error.is_some() { AgentStatus::Degraded } else { AgentStatus::Unknown };
                self.last_error = Some(error.unwrap_or_else(|| Box::new(why)));
                status
            }
            Observation::Exited { why } => {
                self.good_answers = 0;
                self.last_error = Some(Box::new(why.without_renewal()));
                AgentStatus::Failed
            }
        };
        // An agent whose backend is unreachable cannot show progress.
        let Some(quiet) = stuck_for.filter(|_| to != AgentStatus::Unknown) else {
            let was_restarted_externally = was_restarted_elsewhere;
            return Outcome { was_restarted_externally, call_deaths, ..self.change_to(to) };
        };
        let limit = millis_text(millis(self.policy.progress_timeout));
        let details = format!("it has worked without progress for longer than {limit}");
        let message = "The agent is stuck: it works without progress. It is being restarted.";
        self.last_error = Some(unhealthy_error(&details, message));
        Outcome { stuck_for: Some(quiet), call_deaths, ..self.change_to(AgentStatus::Failed) }
    }

    /// Returns whether a check or a recovery that failed so is repeated at once: the backend rejected the token, and
    /// there is a new one. That says nothing about the agent. The second time in a row it counts as any failure.
    pub(super) fn should_repeat(&mut self, why: &Error) -> bool {
        let repeats = why.is_token_renewed() && !self.has_renewed_token && !self.are_checks_quarantined();
        if repeats {
            self.has_renewed_token = true;
            self.calls.note_alive();
        }
        repeats
    }

    /// Returns the time for which the agent has worked without progress, if it is over the limit.
    fn stuck_for(&self, activity: ActivitySigns, now: Duration) -> Option<Duration> {
        let is_limited = !self.policy.progress_timeout.is_zero();
        let quiet = now.saturating_sub(activity.progressed_at?);
        (is_limited && activity.is_working && quiet >= self.policy.progress_timeout).then_some(quiet)
    }

    /// Returns the time until the agent is up long enough to be healthy for the first time; zero afterwards.
    pub(super) fn time_to_min_uptime(&self) -> Duration {
        let uptime = self.uptime_s.and_then(|uptime_s| Duration::try_from_secs_f64(uptime_s).ok());
        let left = uptime.map_or(Duration::ZERO, |uptime| self.policy.min_uptime.saturating_sub(uptime));
        if self.was_healthy { Duration::ZERO } else { left }
    }

    /// Returns the delay of the next check from `now`: the interval, or less if the agent would be stuck before, or may
    /// be healthy before.
    #[must_use]
    pub(crate) fn next_check_in(&self, activity: ActivitySigns, now: Duration) -> Duration {
        let uptime_check = self.time_to_min_uptime();
        let usual = self.next_usual_check_in(activity, now);
        if uptime_check.is_zero() { usual } else { usual.min(uptime_check.max(CHECK_DELAY_MIN)) }
    }

    fn next_usual_check_in(&self, activity: ActivitySigns, now: Duration) -> Duration {
        let Some(progressed_at) = activity.progressed_at.filter(|_| activity.is_working) else {
            return self.policy.interval;
        };
        if self.policy.progress_timeout.is_zero() {
            return self.policy.interval;
        }
        let limit = progressed_at.saturating_add(self.policy.progress_timeout);
        self.policy.interval.min(limit.saturating_sub(now).max(CHECK_DELAY_MIN))
    }

    /// Returns whether an uptime is lower than the last one plus the time since.
    fn is_uptime_reset(&self, uptime_s: Option<f64>, now: Duration) -> bool {
        let (Some(uptime_s), Some((before_s, at))) = (uptime_s, self.last_uptime) else { return false };
        let expected_s = before_s + now.saturating_sub(at).as_secs_f64();
        uptime_s + UPTIME_SLACK_S < expected_s
    }

    fn answered(&mut self, reported: ReportedHealth, now: Duration) -> AgentStatus {
        match reported {
            ReportedHealth::Healthy => {
                self.misses = 0;
                self.good_answers += 1;
                if self.good_answers < self.policy.recover_after.max(1) {
                    return self.status;
                }
                self.was_healthy = true;
                self.last_error = None;
                AgentStatus::Healthy
            }
            ReportedHealth::Degraded => {
                self.misses = 0;
                self.good_answers = 0;
                self.was_healthy = true;
                self.last_error = Some(unhealthy_error(
                    "the agent reports that it is degraded",
                    "The agent reports that it works with problems. Look into its log if that persists.",
                ));
                AgentStatus::Degraded
            }
            ReportedHealth::Failed => {
                self.good_answers = 0;
                self.last_error = Some(unhealthy_error(
                    "the agent reports that it failed",
                    "The agent reports that it has failed. Look into its log, or restart it.",
                ));
                self.failed_unless_starting(now)
            }
        }
    }

    fn missed(&mut self, why: Error, is_busy: bool, now: Duration) -> AgentStatus {
        self.good_answers = 0;
        self.misses += 1;
        self.last_error = Some(Box::new(why));
        if self.misses >= self.policy.fail_after.max(1) && !is_busy {
            self.failed_unless_starting(now)
        } else if self.is_starting(now) && !self.are_checks_quarantined() {
            AgentStatus::Starting
        } else {
            AgentStatus::Degraded
        }
    }

    fn failed_unless_starting(&self, now: Duration) -> AgentStatus {
        if self.is_starting(now) { AgentStatus::Starting } else { AgentStatus::Failed }
    }

    /// Notes that a call starts.
    pub(super) fn note_start(&mut self, call: AgentCall, ends: BackendEnds) {
        self.calls.note_start(call, ends);
    }

    /// Notes that the connection broke while the backend had a call.
    pub(super) fn note_break(&mut self, call: AgentCall, ends: BackendEnds) {
        self.calls.note_break(call, ends);
    }

    /// Notes that a call had a good answer, so that the backend lives.
    pub(super) fn note_answer(&mut self, call: AgentCall) {
        self.calls.note_alive();
        self.calls.note_answer(call);
    }

    /// Notes how a call failed that is no check: its connection broke, or the backend answered, or neither.
    pub(super) fn note_failure(&mut self, call: AgentCall, why: &Error, ends: BackendEnds, now: Duration) {
        if is_break(why) {
            return self.calls.note_break(call, ends);
        }
        if is_answer(why) {
            self.calls.note_alive();
        }
        self.calls.prolong_quarantine(call, &self.policy, now);
    }

    /// Drops the record of a call that is not made any more.
    pub(super) fn forget_call(&mut self, call: AgentCall) {
        self.calls.note_answer(call);
    }

    /// Notes the ends of the backend's process. Returns whether a call broke and the process has ended by itself, once
    /// for each exit.
    pub(super) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        self.calls.note_stops(ends);
        self.calls.take_exit(ends)
    }

    /// Returns whether a call broke, and nothing is known of the backend since.
    pub(super) fn is_call_open(&self) -> bool {
        self.calls.is_open()
    }

    /// Notes that the backend seems available.
    pub(super) fn note_return(&mut self, now: Duration) {
        self.calls.note_return(&self.policy, now);
    }

    /// Returns the rest of the longest pause of these calls.
    pub(super) fn remaining_pause(&self, calls: &[AgentCall], now: Duration) -> Option<Duration> {
        self.calls.remaining_pause(calls, now)
    }

    /// Returns whether checks pause because the backend died over too many of them. An answer ends that.
    pub(super) fn are_checks_quarantined(&self) -> bool {
        self.calls.is_quarantined(AgentCall::HealthCheck, &self.policy)
    }

    /// Takes the records of the calls, for the next incarnation.
    pub(super) fn take_calls(&mut self) -> CallRecords {
        std::mem::take(&mut self.calls)
    }

    /// Returns the error of an agent whose checks or restarts are quarantined.
    fn quarantined_error(&self) -> Option<Box<Error>> {
        let calls = [AgentCall::HealthCheck, AgentCall::Restart];
        let call = calls.into_iter().find(|call| self.calls.is_quarantined(*call, &self.policy))?;
        let deaths = count(self.calls.deaths(call), call.noun());
        let details = format!("the backend died over {deaths} of this agent in a row");
        let message = "The backend died over each call for this agent, so the next comes after a pause. Look into the \
                       backend's log first.";
        Some(Box::new(Error::new(Reason::Quarantined).with_details(&details).with_message(message)))
    }

    /// Begins the startup grace again at `now`, when the agent's program has been started.
    pub(super) fn restart_grace(&mut self, now: Duration) {
        self.started_at = now;
    }

    fn is_starting(&self, now: Duration) -> bool {
        !self.was_healthy && now.saturating_sub(self.started_at) < self.policy.startup_grace
    }

    fn change_to(&mut self, to: AgentStatus) -> Outcome {
        let from = std::mem::replace(&mut self.status, to);
        if from == to {
            return Outcome::default();
        }
        let restart = (to == AgentStatus::Failed).then(|| {
            self.last_error.as_ref().map_or("the agent failed", |error| error.log_text()).to_owned()
        });
        Outcome { change: Some(StatusChange { from, to }), restart, ..Outcome::default() }
    }

    /// Returns the status.
    #[must_use]
    pub(crate) fn status(&self) -> AgentStatus {
        self.status
    }

    /// Returns the checks missed in a row.
    #[must_use]
    pub(crate) fn misses(&self) -> u32 {
        self.misses
    }

    /// Returns whether the last check found the agent's process suspended.
    #[must_use]
    pub(crate) fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Returns the time of the last check's end.
    #[must_use]
    pub(crate) fn last_check(&self) -> Option<Duration> {
        self.last_check
    }

    /// Returns the current error.
    #[must_use]
    pub(crate) fn last_error(&self) -> Option<&Error> {
        self.last_error.as_deref()
    }

    /// Returns the seconds since the agent's start, as it last reported.
    #[must_use]
    pub(crate) fn uptime_s(&self) -> Option<f64> {
        self.uptime_s
    }

    /// Returns the agent's number of errors, as it last reported.
    #[must_use]
    pub(crate) fn error_count(&self) -> Option<u64> {
        self.error_count
    }
}

fn unhealthy_error(details: &str, message: &str) -> Box<Error> {
    Box::new(Error::new(Reason::AgentUnhealthy).with_details(details).with_message(message))
}

#[cfg(test)]
mod tests;
