//! The health of an agent, derived from its checks: pure, with the time passed in.
//!
//! One miss degrades an agent, `fail_after` misses in a row fail it, `recover_after` good answers in a row heal it.
//! An unreachable backend says nothing about its agents: they become `unknown`, and none is restarted.
//!
//! A backend that dies over each check of one agent gets few of them: after `quarantine_after` deaths in a row the agent
//! is degraded, and its checks pause, longer after each further death.

mod check_quarantine;
mod observation;
mod policy;

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{millis, millis_text};
use serde::{Deserialize, Serialize};

use super::check_pause::CheckPause;
use crate::error::{Error, Reason};
use crate::quarantine::DeathRecord;

pub(crate) use observation::ActivitySigns;
pub(super) use observation::is_break;
pub use observation::{Observation, ReportedHealth};
use observation::{is_answer, is_refusal};
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
    /// The deaths of the backend over checks in a row, if no more checks are sent for them.
    pub check_deaths: Option<u32>,
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
    /// The deaths of the backend over checks, since one was answered.
    deaths: DeathRecord,
    /// The pause after the last death.
    pause: Option<CheckPause>,
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
            deaths: DeathRecord::default(),
            pause: None,
            has_renewed_token: false,
        }
    }

    /// Returns the health with the error of the incarnation before, which stands until the agent answers well.
    #[must_use]
    pub(crate) fn with_last_error(self, last_error: Option<Box<Error>>) -> Self {
        Self { last_error, ..self }
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
        let (mut was_restarted_elsewhere, mut check_deaths) = (false, None);
        let stuck_for =
            self.stuck_for(activity, now).filter(|_| !matches!(observation, Observation::Exited { .. }));
        let to = match observation {
            Observation::Answered { reported, uptime_s, error_count } => {
                self.deaths = DeathRecord::default();
                self.pause = None;
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
                    self.deaths.note_alive();
                }
                self.prolong_quarantine(now);
                self.missed(why.without_renewal(), is_busy, now)
            }
            Observation::Suspended { why } => self.missed(why, false, now),
            Observation::Unreachable { why } => {
                self.misses = 0;
                self.good_answers = 0;
                if is_refusal(why.reason) {
                    check_deaths = self.note_gone(now);
                } else {
                    self.prolong_quarantine(now);
                }
                if self.are_checks_quarantined() {
                    self.last_error = Some(self.quarantined_error());
                    AgentStatus::Degraded
                } else {
                    self.last_error = Some(Box::new(why));
                    AgentStatus::Unknown
                }
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
            return Outcome { was_restarted_externally, check_deaths, ..self.change_to(to) };
        };
        let limit = millis_text(millis(self.policy.progress_timeout));
        let details = format!("it has worked without progress for longer than {limit}");
        let message = "The agent is stuck: it works without progress. It is being restarted.";
        self.last_error = Some(unhealthy_error(&details, message));
        Outcome { stuck_for: Some(quiet), ..self.change_to(AgentStatus::Failed) }
    }

    /// Returns whether a check or a recovery that failed so is repeated at once: the backend rejected the token, and
    /// there is a new one. That says nothing about the agent. The second time in a row it counts as any failure.
    pub(super) fn should_repeat(&mut self, why: &Error) -> bool {
        let repeats = why.is_token_renewed() && !self.has_renewed_token && !self.are_checks_quarantined();
        if repeats {
            self.has_renewed_token = true;
            self.deaths.note_alive();
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
        } else if self.is_starting(now) {
            AgentStatus::Starting
        } else {
            AgentStatus::Degraded
        }
    }

    fn failed_unless_starting(&self, now: Duration) -> AgentStatus {
        if self.is_starting(now) { AgentStatus::Starting } else { AgentStatus::Failed }
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
