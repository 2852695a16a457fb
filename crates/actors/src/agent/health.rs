//! An agent's health, as its checks tell it: pure, with the time passed in.
//!
//! One miss degrades an agent, `fail_after` misses in a row fail it, `recover_after` good answers in a row heal it.
//! A backend that cannot be reached says nothing about its agents: they become `unknown`, and nobody is restarted.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Reason};

/// The shortest time from one look at an agent to the next.
const CHECK_DELAY_MIN: Duration = Duration::from_millis(10);

/// How much an uptime may lag behind, in seconds, before it says that the agent was restarted: uptimes are often whole
/// seconds, and clocks differ.
const UPTIME_SLACK_S: f64 = 2.0;

/// The state of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It has not answered a check since it was started, and is within its grace.
    Starting,
    /// Its checks are answered.
    Healthy,
    /// It reports trouble, or missed a check.
    Degraded,
    /// It reports that it failed, or missed too many checks; or its restarts are spent.
    Failed,
    /// It has failed and is about to be restarted.
    Restarting,
    /// It was stopped.
    Stopped,
    /// The backend cannot be reached, so nobody can say.
    Unknown,
}

/// When an agent counts as ill or well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPolicy {
    /// The time from one check to the next.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Misses in a row that fail the agent (at least 1).
    pub fail_after: u32,
    /// Good answers in a row that heal it (at least 1).
    pub recover_after: u32,
    /// How long after its start an agent that was never well is not failed.
    pub startup_grace: Duration,
    /// How long an agent that is at work may make no progress; zero: for ever.
    pub progress_timeout: Duration,
}

/// The checks of many agents begin together in steps of this, or of a hundredth of their period where that is less. With
/// longer ones more requests are under way at once, and take memory: benches/README.md has the figures.
const CHECK_STEP_MAX: Duration = Duration::from_millis(10);

impl HealthPolicy {
    /// A delay from `now` that ends with a step which all agents of this period share, less than a step later: where there
    /// are thousands, a thread wakes once for several checks, and not for each.
    #[must_use]
    pub fn align_to_step(&self, delay: Duration, now: Duration) -> Duration {
        let step = (self.interval / 100).min(CHECK_STEP_MAX).as_nanos();
        let due = now.saturating_add(delay).as_nanos();
        let late = due.checked_rem(step).map_or(0, |past| (step - past) % step);
        // Less than a step, which has few nanoseconds.
        delay.saturating_add(Duration::from_nanos(u64::try_from(late).unwrap_or_default()))
    }
}

/// What an agent is seen to do, apart from answering checks: busy is not dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ActivitySigns {
    /// Whether it is working on a request.
    pub is_working: bool,
    /// When it last showed progress, or was last given something to do.
    pub progressed_at: Option<Duration>,
}

/// What an agent says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedHealth {
    /// All is well.
    Healthy,
    /// It works, with trouble.
    Degraded,
    /// It does not work.
    Failed,
}

/// What one check brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The agent answered.
    Answered {
        /// What it says of itself.
        reported: ReportedHealth,
        /// Seconds since it was started, as it says.
        uptime_s: Option<f64>,
        /// Its errors so far, as it says.
        error_count: Option<u64>,
    },
    /// The agent did not answer, or not so that it could be understood.
    Missed {
        /// What happened instead.
        why: Error,
    },
    /// The backend could not be reached.
    Unreachable {
        /// What happened instead.
        why: Error,
    },
    /// The agent is not there: it has ended, or has to be ended.
    Exited {
        /// What happened.
        why: Error,
    },
}

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// The status before.
    pub from: AgentStatus,
    /// The status after.
    pub to: AgentStatus,
}

/// What an observation led to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The change of status, if there was one.
    pub change: Option<StatusChange>,
    /// Why the agent is to be restarted, if it is.
    pub restart: Option<String>,
    /// Whether the agent says by its uptime that somebody else restarted it since the last answer.
    pub was_restarted_externally: bool,
    /// For how long the agent has been at work without progress, if that is why it is restarted.
    pub stuck_for: Option<Duration>,
}

/// One incarnation's health.
#[derive(Debug, Clone)]
pub struct Health {
    policy: Arc<HealthPolicy>,
    status: AgentStatus,
    since: Duration,
    started_at: Duration,
    was_healthy: bool,
    misses: u32,
    good_answers: u32,
    last_check: Option<Duration>,
    /// Boxed: mostly there is none.
    last_error: Option<Box<Error>>,
    uptime_s: Option<f64>,
    /// The last uptime, and when it was said.
    last_uptime: Option<(f64, Duration)>,
    error_count: Option<u64>,
}

impl Health {
    /// The health of an agent that was started at `now`.
    #[must_use]
    pub fn new(policy: Arc<HealthPolicy>, now: Duration) -> Self {
        Self {
            policy,
            status: AgentStatus::Starting,
            since: now,
            started_at: now,
            was_healthy: false,
            misses: 0,
            good_answers: 0,
            last_check: None,
            last_error: None,
            uptime_s: None,
            last_uptime: None,
            error_count: None,
        }
    }

    /// Takes in what a check brought, of an agent that is seen to do this.
    ///
    /// An agent that is at work, or that has made progress since the last check, is not failed for missing checks: it is
    /// busy, and so degraded. One that is at work without progress for `progress_timeout` is failed whatever it answers.
    pub fn observe(&mut self, observation: Observation, signs: ActivitySigns, now: Duration) -> Outcome {
        let is_busy = signs.is_working || signs.progressed_at.is_some_and(|at| Some(at) > self.last_check);
        self.last_check = Some(now);
        let mut was_restarted_elsewhere = false;
        let stuck_for =
            self.stuck_for(signs, now).filter(|_| !matches!(observation, Observation::Exited { .. }));
        let to = match observation {
            Observation::Answered { reported, uptime_s, error_count } => {
                was_restarted_elsewhere =
                    reported != ReportedHealth::Failed && self.is_uptime_reset(uptime_s, now);
                self.last_uptime = uptime_s.map(|uptime_s| (uptime_s, now));
                self.uptime_s = uptime_s;
                self.error_count = error_count;
                self.answered(reported, now)
            }
            Observation::Missed { why } => self.missed(why, is_busy, now),
            Observation::Unreachable { why } => {
                self.misses = 0;
                self.good_answers = 0;
                self.last_error = Some(Box::new(why));
                AgentStatus::Unknown
            }
            Observation::Exited { why } => {
                self.good_answers = 0;
                self.last_error = Some(Box::new(why));
                AgentStatus::Failed
            }
        };
        // One whose backend is out of reach cannot show its progress.
        let Some(quiet) = stuck_for.filter(|_| to != AgentStatus::Unknown) else {
            return Outcome { was_restarted_externally: was_restarted_elsewhere, ..self.change_to(to, now) };
        };
        let limit = self.policy.progress_timeout;
        let details = format!("it has been at work without progress for longer than {limit:?}");
        let words = "The agent hangs: it works on something without getting on. It is restarted.";
        self.last_error = Some(unhealthy_error(&details, words));
        Outcome { stuck_for: Some(quiet), ..self.change_to(AgentStatus::Failed, now) }
    }

    /// For how long the agent has been at work without progress, if that is too long.
    fn stuck_for(&self, signs: ActivitySigns, now: Duration) -> Option<Duration> {
        let is_limited = !self.policy.progress_timeout.is_zero();
        let quiet = now.saturating_sub(signs.progressed_at?);
        (is_limited && signs.is_working && quiet >= self.policy.progress_timeout).then_some(quiet)
    }

    /// When the agent is to be looked at next, counted from `now`: after the interval, or when it has been at work without
    /// progress for too long.
    #[must_use]
    pub fn next_check_in(&self, signs: ActivitySigns, now: Duration) -> Duration {
        let Some(progressed_at) = signs.progressed_at.filter(|_| signs.is_working) else {
            return self.policy.interval;
        };
        if self.policy.progress_timeout.is_zero() {
            return self.policy.interval;
        }
        let limit = progressed_at.saturating_add(self.policy.progress_timeout);
        self.policy.interval.min(limit.saturating_sub(now).max(CHECK_DELAY_MIN))
    }

    /// Whether an uptime is less than what the last one has grown to since.
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
                    "The agent reports that it works with trouble. Look into its log if that stays so.",
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

    fn is_starting(&self, now: Duration) -> bool {
        !self.was_healthy && now.saturating_sub(self.started_at) < self.policy.startup_grace
    }

    fn change_to(&mut self, to: AgentStatus, now: Duration) -> Outcome {
        let from = std::mem::replace(&mut self.status, to);
        if from == to {
            return Outcome::default();
        }
        self.since = now;
        let restart = (to == AgentStatus::Failed).then(|| {
            self.last_error.as_ref().map_or("the agent failed", |error| error.log_text()).to_owned()
        });
        Outcome { change: Some(StatusChange { from, to }), restart, ..Outcome::default() }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        self.status
    }

    /// Since when the status holds.
    #[must_use]
    pub fn since(&self) -> Duration {
        self.since
    }

    /// Checks missed in a row.
    #[must_use]
    pub fn misses(&self) -> u32 {
        self.misses
    }

    /// When a check last ended.
    #[must_use]
    pub fn last_check(&self) -> Option<Duration> {
        self.last_check
    }

    /// What was last wrong, while something is.
    #[must_use]
    pub fn last_error(&self) -> Option<&Error> {
        self.last_error.as_deref()
    }

    /// Seconds since the agent was started, as it last said.
    #[must_use]
    pub fn uptime_s(&self) -> Option<f64> {
        self.uptime_s
    }

    /// The agent's errors, as it last said.
    #[must_use]
    pub fn error_count(&self) -> Option<u64> {
        self.error_count
    }
}

fn unhealthy_error(details: &str, message: &str) -> Box<Error> {
    Box::new(Error::new(Reason::AgentUnhealthy).with_details(details).with_message(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::words::assert_message_helps;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const IDLE: ActivitySigns = ActivitySigns { is_working: false, progressed_at: None };

    fn health() -> Health {
        let policy = HealthPolicy {
            interval: s(30),
            timeout: s(5),
            fail_after: 3,
            recover_after: 2,
            startup_grace: s(30),
            progress_timeout: Duration::ZERO,
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
        assert_eq!(
            of(ms(100)).align_to_step(ms(100), Duration::from_micros(10_300)),
            Duration::from_micros(100_700)
        );
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
