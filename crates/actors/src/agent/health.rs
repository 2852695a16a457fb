//! The health of an agent, derived from its checks: pure, with the time passed in.
//!
//! One miss degrades an agent, `fail_after` misses in a row fail it, `recover_after` good answers in a row heal it.
//! An unreachable backend says nothing about its agents: they become `unknown`, and none is restarted.
//!
//! A backend that dies over each check of one agent gets few of them: after `quarantine_after` deaths in a row the agent
//! is degraded, and its checks pause, longer after each further death.

use std::sync::Arc;
use std::time::Duration;

use mainstay_runtime::journal::{millis, millis_text};
use serde::{Deserialize, Serialize};

use super::check_pause::CheckPause;
use crate::error::{Code, Error, Reason};
use crate::network::BackendEnds;
use crate::quarantine::DeathRecord;
use crate::transport::FailureKind;

/// The shortest time between two checks of an agent.
const CHECK_DELAY_MIN: Duration = Duration::from_millis(10);

/// The most by which an uptime may lag, in seconds, before it indicates a restart: uptimes are often whole seconds,
/// and clocks differ.
const UPTIME_SLACK_S: f64 = 2.0;

/// The status of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The policy for an agent's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// The time from one check to the next.
    pub interval: Duration,
    /// The time limit of a check.
    pub timeout: Duration,
    /// The misses in a row that fail the agent (at least 1).
    pub fail_after: u32,
    /// The good answers in a row that heal it (at least 1).
    pub recover_after: u32,
    /// The time after a start within which an agent that was never healthy does not fail.
    pub startup_grace: Duration,
    /// The time for which an agent may work without progress; zero for no limit.
    pub progress_timeout: Duration,
    /// The least uptime of an agent that counts as healthy for the first time; zero for an agent behind the backend,
    /// whose uptime may be rounded.
    pub min_uptime: Duration,
    /// The deaths over one message, or over checks in a row, after which the message or the checks are quarantined
    /// (at least 1). Deaths are those of the agent or its backend. Quarantined checks pause for eight intervals, and
    /// for twice as long after each further death. A pause begins at the death, and again when the backend first
    /// returns.
    pub quarantine_after: u32,
}

/// The first pause of quarantined checks, in intervals.
const QUARANTINE_INTERVALS: u32 = 8;

/// The longest pause of quarantined checks, unless the interval is longer.
const QUARANTINE_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// The grid on which the checks of many agents begin together, or a hundredth of the interval if that is less. A
/// coarser grid sends more requests at once, which takes memory: benches/README.md has the figures.
const CHECK_STEP_MAX: Duration = Duration::from_millis(10);

impl HealthPolicy {
    /// Lengthens a delay from `now` by less than a step, to end on the grid that all agents of this interval share.
    /// With thousands of agents a thread then wakes once for several checks.
    #[must_use]
    pub(crate) fn align_to_step(&self, delay: Duration, now: Duration) -> Duration {
        let step = (self.interval / 100).min(CHECK_STEP_MAX).as_nanos();
        let due = now.saturating_add(delay).as_nanos();
        let late = due.checked_rem(step).map_or(0, |past| (step - past) % step);
        // Less than a step, which has few nanoseconds.
        delay.saturating_add(Duration::from_nanos(u64::try_from(late).unwrap_or_default()))
    }
}

/// The agent's activity, apart from answers to checks: a busy agent is not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ActivitySigns {
    /// True if it is working on a request.
    pub is_working: bool,
    /// The time of its last progress, or of its last new request.
    pub progressed_at: Option<Duration>,
}

/// The health that an agent reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedHealth {
    /// The agent works.
    Healthy,
    /// The agent works with problems.
    Degraded,
    /// The agent does not work.
    Failed,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The agent answered.
    Answered {
        /// The health that it reports.
        reported: ReportedHealth,
        /// The seconds since its start, as it reports.
        uptime_s: Option<f64>,
        /// The number of its errors, as it reports.
        error_count: Option<u64>,
    },
    /// The agent did not answer, or its answer was unreadable.
    Missed {
        /// The error.
        why: Error,
    },
    /// The agent can do nothing, not even work: its process is stopped by a signal or a debugger.
    Suspended {
        /// The error.
        why: Error,
    },
    /// The backend was unreachable.
    Unreachable {
        /// The error.
        why: Error,
    },
    /// The agent has exited, or must be ended.
    Exited {
        /// The error.
        why: Error,
    },
}

impl Observation {
    /// Returns whether the connection broke while the backend had the check.
    pub(super) fn is_break(&self) -> bool {
        matches!(self, Self::Missed { why } if is_break(why))
    }

    /// Returns whether the agent or its backend answered, if only with an error.
    pub(super) fn is_answer(&self) -> bool {
        match self {
            Self::Answered { .. } => true,
            Self::Missed { why } => is_answer(why),
            Self::Suspended { .. } | Self::Unreachable { .. } | Self::Exited { .. } => false,
        }
    }

    /// Returns whether no connection to the backend could be made. That alone shows that the backend is gone. A check
    /// that was missed while the WebSocket reconnects is `Unreachable` too, but the backend may live: the WebSocket
    /// also reconnects after a network's hiccup, or for ever where its path does not exist.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Unreachable { why } if is_refusal(why.reason))
    }
}

/// Returns whether an error says that the connection broke before a whole answer. The head of a good answer is none: a
/// backend that dies while it answers died over the question.
pub(super) fn is_break(error: &Error) -> bool {
    let is_bad = |status| Reason::from_status(status).is_some();
    error.code == Code::NetworkError && !error.status.is_some_and(is_bad)
}

/// Returns whether an error is the backend's answer.
fn is_answer(error: &Error) -> bool {
    error.status.is_some() && !is_break(error)
}

/// Returns whether a failure with this reason made no connection. The queue takes the same failures as evidence.
fn is_refusal(reason: Reason) -> bool {
    FailureKind::ALL.iter().any(|kind| kind.is_unreachable() && kind.reason() == reason)
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
                    self.last_error = Some(quarantined_error(self.deaths.deaths()));
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

    /// Notes that the connection broke while the backend had a check. If it is found gone next, it died over the check.
    pub(super) fn note_break(&mut self, ends: BackendEnds) {
        self.deaths.note_break(ends);
    }

    /// Notes that a check starts.
    pub(super) fn note_start(&mut self, ends: BackendEnds) {
        self.deaths.note_start(ends);
    }

    /// Notes that the runtime has ended the backend's process, if it has.
    pub(super) fn note_stops(&mut self, ends: BackendEnds) {
        self.deaths.note_stops(ends);
    }

    /// Returns whether a check broke and the backend's process has ended by itself, once for each exit.
    pub(super) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        self.deaths.take_exit(ends)
    }

    /// Returns whether a check broke, and nothing is known of the backend since.
    pub(super) fn is_check_open(&self) -> bool {
        self.deaths.is_open()
    }

    /// Notes that the backend is gone. Returns the deaths over checks if this one quarantines them, or prolongs that.
    fn note_gone(&mut self, now: Duration) -> Option<u32> {
        let before = self.deaths.deaths();
        let is_quarantined = self.deaths.note_gone(self.policy.quarantine_after);
        let deaths = self.deaths.deaths();
        if deaths > before {
            self.pause = Some(CheckPause::after_death(self.pause_length(), now));
        }
        is_quarantined.then_some(deaths)
    }

    /// Begins the pause again after a check that was neither answered nor deadly, if the checks are quarantined.
    fn prolong_quarantine(&mut self, now: Duration) {
        if self.are_checks_quarantined() {
            self.pause = Some(CheckPause::after_miss(self.pause_length(), now));
        }
    }

    /// Notes that the backend seems available.
    pub(super) fn note_return(&mut self, now: Duration) {
        let length = self.pause_length();
        if let Some(pause) = &mut self.pause {
            pause.note_return(length, now);
        }
    }

    /// Returns the rest of the pause after a check over which the backend died.
    pub(super) fn remaining_pause(&self, now: Duration) -> Option<Duration> {
        self.pause?.remaining(now)
    }

    /// Returns the length of the pause after a death. After a whole interval another cause of a second death is
    /// unlikely. A quarantine grows with each further death.
    pub(super) fn pause_length(&self) -> Duration {
        let interval = self.policy.interval;
        if !self.are_checks_quarantined() {
            return interval;
        }
        let doublings = self.deaths.deaths().saturating_sub(self.policy.quarantine_after).min(16);
        let pause = interval.saturating_mul(QUARANTINE_INTERVALS << doublings);
        pause.min(QUARANTINE_PAUSE_MAX.max(interval))
    }

    /// Returns whether checks pause because the backend died over too many of them. An answer ends that.
    pub(super) fn are_checks_quarantined(&self) -> bool {
        self.deaths.is_suspect() && self.deaths.deaths() >= self.policy.quarantine_after
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

fn quarantined_error(deaths: u32) -> Box<Error> {
    let details = format!("the backend died over {deaths} checks of this agent in a row");
    Box::new(Error::new(Reason::Quarantined).with_details(&details))
}

fn unhealthy_error(details: &str, message: &str) -> Box<Error> {
    Box::new(Error::new(Reason::AgentUnhealthy).with_details(details).with_message(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::words::assert_message_helps;
    use crate::tests::s;

    const IDLE: ActivitySigns = ActivitySigns { is_working: false, progressed_at: None };

    fn health() -> Health {
        let policy = HealthPolicy {
            interval: s(30),
            timeout: s(5),
            fail_after: 3,
            recover_after: 2,
            startup_grace: s(30),
            progress_timeout: Duration::ZERO,
            min_uptime: Duration::ZERO,
            quarantine_after: 2,
        };
        Health::new(Arc::new(policy), s(0))
    }

    fn healthy() -> Health {
        let mut health = health();
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(1));
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(2));
        assert_eq!(health.status(), AgentStatus::Healthy);
        health
    }

    fn answered_with(reported: ReportedHealth) -> Observation {
        Observation::Answered { reported, uptime_s: Some(1.0), error_count: Some(0) }
    }

    fn missed_check() -> Observation {
        Observation::Missed { why: Error::new(Reason::TimedOut).with_details("no answer in time") }
    }

    #[test]
    fn align_to_step_rounds_up_to_shared_steps() {
        let policy = health().policy;
        let us = Duration::from_micros;
        for now in [us(0), us(1), us(9_999), us(10_000), us(123_456_789)] {
            for delay in [us(0), us(7_001), s(15), s(30)] {
                let stepped = policy.align_to_step(delay, now);
                let late = stepped - delay;
                assert_eq!((now + stepped).as_nanos() % 10_000_000, 0, "{now:?} {delay:?}");
                assert!(late < us(10_000), "{now:?} {delay:?} {late:?}");
            }
        }
    }

    #[test]
    fn align_to_step_is_a_hundredth_of_a_short_interval() {
        let ms = Duration::from_millis;
        let of = |interval| HealthPolicy { interval, ..*health().policy };
        let expected = Duration::from_micros(100_700);
        assert_eq!(of(ms(100)).align_to_step(ms(100), Duration::from_micros(10_300)), expected);
        assert_eq!(of(Duration::ZERO).align_to_step(ms(3), ms(1)), ms(3));
        assert_eq!(of(s(30)).align_to_step(Duration::MAX, ms(1)), Duration::MAX);
    }

    #[test]
    fn observe_misses_degrade_then_fail_and_answers_heal() {
        let mut health = healthy();
        health.observe(missed_check(), IDLE, s(40));
        assert_eq!(health.status(), AgentStatus::Degraded);
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(50));
        assert_eq!(health.status(), AgentStatus::Degraded);
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(60));
        assert_eq!(health.status(), AgentStatus::Healthy);
        let outcomes: Vec<_> =
            [70, 80, 90].map(|at| health.observe(missed_check(), IDLE, s(at)).restart).into_iter().collect();
        assert_eq!(outcomes, [None, None, Some("no answer in time".to_owned())]);
    }

    fn broken_check() -> Observation {
        Observation::Missed { why: Error::new(Reason::ConnectionReset) }
    }

    fn refused_check() -> Observation {
        Observation::Unreachable { why: Error::new(Reason::ConnectionRefused) }
    }

    /// Has the backend die over a check at `at`, and returns the status after that.
    fn die(health: &mut Health, at: u64) -> AgentStatus {
        assert!(broken_check().is_break());
        health.note_break(BackendEnds::default());
        health.observe(broken_check(), IDLE, s(at));
        health.observe(refused_check(), IDLE, s(at + 1));
        health.status()
    }

    #[test]
    fn checks_that_kill_the_backend_are_quarantined_at_the_limit() {
        for limit in 1..=3 {
            let mut health = healthy();
            health.policy = Arc::new(HealthPolicy { quarantine_after: limit, ..*health.policy });
            for death in 1..limit {
                assert_eq!(die(&mut health, 10 * u64::from(death)), AgentStatus::Unknown);
                assert_eq!(health.pause_length(), health.policy.interval);
            }
            for further in 0..20_u32 {
                assert_eq!(die(&mut health, 100 + 10 * u64::from(further)), AgentStatus::Degraded);
                let pause = (health.policy.interval * (8 << further.min(10))).min(QUARANTINE_PAUSE_MAX);
                assert_eq!(health.remaining_pause(s(101 + 10 * u64::from(further))), Some(pause));
            }
            let error = health.last_error().unwrap();
            assert_eq!(error.reason, Reason::Quarantined);
            assert_message_helps(&error.message);
        }
    }

    #[test]
    fn answered_or_unbroken_checks_are_not_quarantined() {
        let mut health = healthy();
        for round in 1..10 {
            assert_eq!(die(&mut health, 100 * round), AgentStatus::Unknown);
            health.observe(answered_with(ReportedHealth::Failed), IDLE, s(100 * round + 50));
            assert_eq!(health.pause, None);
        }
        assert!(!missed_check().is_break() && !refused_check().is_break());
        let mut health = healthy();
        for (at, reason, status) in
            [(3000, Reason::ServerError, 500), (3100, Reason::NetworkLoginRequired, 511)]
        {
            health.note_break(BackendEnds::default());
            health.observe(broken_check(), IDLE, s(at));
            let answer = Observation::Missed { why: Error { status: Some(status), ..Error::new(reason) } };
            assert!(!answer.is_break() && answer.is_answer(), "{status}");
            health.observe(answer, IDLE, s(at + 1));
            health.observe(refused_check(), IDLE, s(at + 2));
            assert_eq!(health.pause, None, "{status}: it answered after the break");
        }
        for at in 2000..2010 {
            health.observe(refused_check(), IDLE, s(at));
            assert_eq!(health.status(), AgentStatus::Unknown);
        }
    }

    /// Requests have the same evidence. A proxy's denial has the reason of its refusal.
    #[test]
    fn only_a_failure_to_connect_shows_that_the_backend_is_gone() {
        for kind in FailureKind::ALL {
            let why = Error::new(kind.reason());
            let is_refusal = kind.is_unreachable() || *kind == FailureKind::ProxyDenied;
            assert_eq!(Observation::Unreachable { why: why.clone() }.is_refusal(), is_refusal, "{kind:?}");
            assert!(!Observation::Missed { why: why.clone() }.is_refusal());
            let mut health = healthy();
            health.note_break(BackendEnds::default());
            health.observe(Observation::Unreachable { why }, IDLE, s(10));
            assert_eq!(health.status(), AgentStatus::Unknown);
            assert_eq!(health.is_check_open(), !is_refusal, "{kind:?}");
            assert_eq!(health.deaths.deaths(), u32::from(is_refusal), "{kind:?}");
        }
    }

    #[test]
    fn break_within_a_good_answer_is_a_break_and_no_answer() {
        let broken =
            |status| Observation::Missed { why: Error::new(Reason::ConnectionReset).with_status(status) };
        assert!(broken(200).is_break() && !broken(200).is_answer());
        assert!(!broken(503).is_break() && broken(503).is_answer());
        let mut health = healthy();
        health.note_break(BackendEnds::default());
        health.observe(broken(200), IDLE, s(10));
        assert!(health.is_check_open());
    }

    #[test]
    fn unanswered_check_in_quarantine_begins_the_pause_again() {
        let mut health = healthy();
        assert_eq!(
            (die(&mut health, 10), die(&mut health, 20)),
            (AgentStatus::Unknown, AgentStatus::Degraded)
        );
        let pause = health.pause_length();
        assert_eq!(health.remaining_pause(s(21) + pause), None);
        let reset = Observation::Unreachable { why: Error::new(Reason::ConnectionReset) };
        for (at, unanswered) in [(300, missed_check()), (600, reset)] {
            health.observe(unanswered, IDLE, s(at));
            health.note_return(s(at + 10));
            assert_eq!(health.remaining_pause(s(at + 10)), Some(pause - s(10)));
        }
    }

    #[test]
    fn observe_before_min_uptime_stays_starting() {
        let policy = HealthPolicy { min_uptime: s(2), recover_after: 1, ..*health().policy };
        let mut health = Health::new(Arc::new(policy), s(0));
        let up = |uptime_s: f64| Observation::Answered {
            reported: ReportedHealth::Healthy,
            uptime_s: Some(uptime_s),
            error_count: None,
        };
        for (uptime_s, next) in [(0.0, s(2)), (0.5, Duration::from_millis(1500)), (1.9999, CHECK_DELAY_MIN)] {
            assert_eq!(health.observe(up(uptime_s), IDLE, s(10)), Outcome::default());
            assert_eq!((health.status(), health.next_check_in(IDLE, s(10))), (AgentStatus::Starting, next));
        }
        health.observe(up(2.0), IDLE, s(12));
        assert_eq!((health.status(), health.next_check_in(IDLE, s(12))), (AgentStatus::Healthy, s(30)));
        // Once healthy, a process that was restarted from outside is no reason for another status.
        health.observe(up(0.0), IDLE, s(42));
        assert_eq!((health.status(), health.next_check_in(IDLE, s(42))), (AgentStatus::Healthy, s(30)));
    }

    #[test]
    fn observe_suspended_agent_fails_also_at_work() {
        let busy = ActivitySigns { is_working: true, progressed_at: Some(s(1)) };
        let suspended = || Observation::Suspended { why: Error::new(Reason::AgentUnhealthy) };
        let mut health = healthy();
        let restarts = [10, 20, 30].map(|at| health.observe(suspended(), busy, s(at)).restart.is_some());
        assert_eq!(restarts, [false, false, true]);
        let mut health = healthy();
        for at in [10, 20, 30, 40] {
            assert_eq!(health.observe(missed_check(), busy, s(at)).restart, None);
        }
        assert!(!suspended().is_answer() && !suspended().is_break());
    }

    #[test]
    fn observe_reported_failure_restarts_once() {
        let mut health = healthy();
        assert!(health.observe(answered_with(ReportedHealth::Failed), IDLE, s(40)).restart.is_some());
        assert_message_helps(&health.last_error().unwrap().message);
        assert_eq!(health.observe(answered_with(ReportedHealth::Failed), IDLE, s(41)), Outcome::default());
    }

    #[test]
    fn observe_misses_within_grace_stay_starting() {
        let mut health = health();
        for at in [1, 5, 10, 29] {
            assert_eq!(health.observe(missed_check(), IDLE, s(at)), Outcome::default());
        }
        assert!(health.observe(missed_check(), IDLE, s(30)).restart.is_some());
    }

    #[test]
    fn observe_first_good_answer_ends_grace() {
        let mut health = healthy();
        assert!(health.observe(answered_with(ReportedHealth::Failed), IDLE, s(3)).restart.is_some());
    }

    #[test]
    fn observe_uptime_reset_means_external_restart() {
        let says = |uptime_s: f64| Observation::Answered {
            reported: ReportedHealth::Healthy,
            uptime_s: Some(uptime_s),
            error_count: None,
        };
        let mut health = health();
        let restarted = [(1.0, 10), (11.0, 20), (20.0, 30), (3.0, 40), (13.0, 50), (30.0, 90)]
            .map(|(uptime, at)| health.observe(says(uptime), IDLE, s(at)).was_restarted_externally);
        assert_eq!(restarted, [false, false, false, true, false, true]);
    }

    #[test]
    fn observe_unreachable_backend_is_unknown() {
        let mut health = healthy();
        for at in 40..60 {
            let outcome = health.observe(
                Observation::Unreachable { why: Error::new(Reason::ConnectionRefused) },
                IDLE,
                s(at),
            );
            assert_eq!(outcome.restart, None);
        }
        assert_eq!((health.status(), health.misses()), (AgentStatus::Unknown, 0));
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(60));
        health.observe(answered_with(ReportedHealth::Healthy), IDLE, s(61));
        assert_eq!(health.status(), AgentStatus::Healthy);
    }
}
