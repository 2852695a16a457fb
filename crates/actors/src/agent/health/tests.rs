//! Tests the health of an agent.

use super::*;
use crate::agent::call_quarantine::QUARANTINE_PAUSE_MAX;
use crate::error::tests::words::assert_message_helps;
use crate::network::BackendEnds;
use crate::tests::s;
use crate::transport::FailureKind;

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
    health.note_break(AgentCall::HealthCheck, BackendEnds::default());
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
            let pause = health.remaining_pause(&[AgentCall::HealthCheck], s(10 * u64::from(death) + 1));
            assert_eq!(pause, Some(health.policy.interval));
        }
        for further in 0..20_u32 {
            assert_eq!(die(&mut health, 100 + 10 * u64::from(further)), AgentStatus::Degraded);
            let pause = (health.policy.interval * (8 << further.min(10))).min(QUARANTINE_PAUSE_MAX);
            let now = s(101 + 10 * u64::from(further));
            assert_eq!(health.remaining_pause(&[AgentCall::HealthCheck], now), Some(pause));
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
        assert_eq!(health.remaining_pause(&[AgentCall::HealthCheck], s(100 * round + 50)), None);
    }
    assert!(!missed_check().is_break() && !refused_check().is_break());
    let mut health = healthy();
    for (at, reason, status) in [(3000, Reason::ServerError, 500), (3100, Reason::NetworkLoginRequired, 511)]
    {
        health.note_break(AgentCall::HealthCheck, BackendEnds::default());
        health.observe(broken_check(), IDLE, s(at));
        let answer = Observation::Missed { why: Error { status: Some(status), ..Error::new(reason) } };
        assert!(!answer.is_break() && answer.is_answer(), "{status}");
        health.observe(answer, IDLE, s(at + 1));
        health.observe(refused_check(), IDLE, s(at + 2));
        let pause = health.remaining_pause(&[AgentCall::HealthCheck], s(at + 2));
        assert_eq!(pause, None, "{status}: it answered after the break");
    }
    for at in 2000..2010 {
        health.observe(refused_check(), IDLE, s(at));
        assert_eq!(health.status(), AgentStatus::Unknown);
    }
}

/// The first health check of a program that starts again breaks, while its checks are quarantined.
#[test]
fn quarantined_agent_that_is_starting_stays_degraded() {
    let mut health = health();
    assert_eq!((die(&mut health, 1), die(&mut health, 4)), (AgentStatus::Unknown, AgentStatus::Degraded));
    assert_eq!(health.observe(broken_check(), IDLE, s(20)).change, None);
    assert_eq!(health.status(), AgentStatus::Degraded);
}

#[test]
fn message_of_quarantined_calls_says_that_they_are_made_again() {
    for (call, noun) in [(AgentCall::HealthCheck, "health checks"), (AgentCall::Restart, "restart calls")] {
        let mut health = healthy();
        for at in [10, 20] {
            health.note_break(call, BackendEnds::default());
            health.observe(refused_check(), IDLE, s(at));
        }
        let error = health.last_error().unwrap();
        assert_eq!((health.status(), error.reason), (AgentStatus::Degraded, Reason::Quarantined));
        assert!(!error.message.contains("not sent again") && error.message.contains("after a pause"));
        assert_eq!(error.log_text(), format!("the backend died over 2 {noun} of this agent in a row"));
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
        health.note_break(AgentCall::HealthCheck, BackendEnds::default());
        health.observe(Observation::Unreachable { why }, IDLE, s(10));
        assert_eq!(health.status(), AgentStatus::Unknown);
        assert_eq!(health.is_call_open(), !is_refusal, "{kind:?}");
        assert_eq!(health.calls.deaths(AgentCall::HealthCheck), u32::from(is_refusal), "{kind:?}");
    }
}

#[test]
fn break_within_a_good_answer_is_a_break_and_no_answer() {
    let broken =
        |status| Observation::Missed { why: Error::new(Reason::ConnectionReset).with_status(status) };
    assert!(broken(200).is_break() && !broken(200).is_answer());
    assert!(!broken(503).is_break() && broken(503).is_answer());
    let mut health = healthy();
    health.note_break(AgentCall::HealthCheck, BackendEnds::default());
    health.observe(broken(200), IDLE, s(10));
    assert!(health.is_call_open());
}

#[test]
fn unanswered_check_in_quarantine_begins_the_pause_again() {
    let mut health = healthy();
    assert_eq!((die(&mut health, 10), die(&mut health, 20)), (AgentStatus::Unknown, AgentStatus::Degraded));
    let paused = |health: &Health, at: u64| health.remaining_pause(&[AgentCall::HealthCheck], s(at));
    let pause = paused(&health, 21).unwrap();
    assert_eq!((pause, paused(&health, 21 + pause.as_secs())), (health.policy.interval * 8, None));
    let reset = Observation::Unreachable { why: Error::new(Reason::ConnectionReset) };
    for (at, unanswered) in [(300, missed_check()), (600, reset)] {
        health.observe(unanswered, IDLE, s(at));
        health.note_return(s(at + 10));
        assert_eq!(paused(&health, at + 10), Some(pause - s(10)));
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
