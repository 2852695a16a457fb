//! The deaths of the backend over the calls to one agent, and the pauses that follow: pure, with the time passed in.
//!
//! Each kind of call has a record of its own. A death pauses the calls of its kind; deaths in a row quarantine them:
//! the pause is longer then, and grows with each further death. A good answer to such a call ends that.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call_pause::CallPause;
use super::health::HealthPolicy;
use crate::network::BackendEnds;
use crate::quarantine::DeathRecord;

/// The first pause of quarantined calls, in intervals.
const QUARANTINE_INTERVALS: u32 = 8;

/// The longest pause of quarantined calls, unless the interval is longer.
pub(super) const QUARANTINE_PAUSE_MAX: Duration = Duration::from_secs(60 * 60);

/// A kind of call to the backend that the runtime makes for an agent by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum AgentCall {
    /// A check of the agent's health.
    HealthCheck,
    /// A read of the agent's state.
    StateRead,
    /// A write of the saved state, to restore it.
    StateWrite,
    /// A restart of the agent.
    Restart,
}

impl AgentCall {
    /// The calls that a recovery may make.
    pub(super) const OF_RECOVERY: [Self; 3] = [Self::HealthCheck, Self::Restart, Self::StateWrite];

    /// Returns the name of one such call, for a person.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Self::HealthCheck => "health check",
            Self::StateRead => "state read",
            Self::StateWrite => "state write",
            Self::Restart => "restart call",
        }
    }
}

/// A death of the backend over a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallDeath {
    pub(super) call: AgentCall,
    /// The deaths in a row.
    pub(super) deaths: u32,
    pub(super) is_quarantined: bool,
    /// The pause that begins.
    pub(super) pause: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct CallEntry {
    /// The deaths since such a call was answered.
    deaths: DeathRecord,
    /// The pause after the last death.
    pause: Option<CallPause>,
}

impl CallEntry {
    fn is_quarantined(&self, policy: &HealthPolicy) -> bool {
        self.deaths.is_suspect() && self.deaths.deaths() >= policy.quarantine_after
    }

    /// Returns the length of the pause after a death. After a whole interval another cause of a second death is
    /// unlikely. A quarantine grows with each further death.
    fn pause_length(&self, policy: &HealthPolicy) -> Duration {
        if !self.is_quarantined(policy) {
            return policy.interval;
        }
        let doublings = self.deaths.deaths().saturating_sub(policy.quarantine_after).min(16);
        let pause = policy.interval.saturating_mul(QUARANTINE_INTERVALS << doublings);
        pause.min(QUARANTINE_PAUSE_MAX.max(policy.interval))
    }
}

/// The records of an agent's calls, one for each kind.
#[derive(Debug, Clone, Default)]
pub(super) struct CallRecords([CallEntry; 4]);

impl CallRecords {
    const fn of(&mut self, call: AgentCall) -> &mut CallEntry {
        &mut self.0[call as usize]
    }

    const fn get(&self, call: AgentCall) -> &CallEntry {
        &self.0[call as usize]
    }

    /// Notes that a call starts.
    pub(super) fn note_start(&mut self, call: AgentCall, ends: BackendEnds) {
        self.of(call).deaths.note_start(ends);
    }

    /// Notes that the connection broke while the backend had the call. If it is found gone next, it died over the call.
    pub(super) fn note_break(&mut self, call: AgentCall, ends: BackendEnds) {
        self.of(call).deaths.note_break(ends);
    }

    /// Notes that the call had a good answer, which ends its pause and its quarantine.
    pub(super) fn note_answer(&mut self, call: AgentCall) {
        *self.of(call) = CallEntry::default();
    }

    /// Notes that the backend is alive.
    pub(super) fn note_alive(&mut self) {
        self.0.iter_mut().for_each(|record| record.deaths.note_alive());
    }

    /// Notes that the runtime has ended the backend's process, if it has.
    pub(super) fn note_stops(&mut self, ends: BackendEnds) {
        for record in &mut self.0 {
            record.deaths.note_stops(ends);
        }
    }

    /// Returns whether a call broke and the backend's process has ended by itself, once for each exit.
    pub(super) fn take_exit(&mut self, ends: BackendEnds) -> bool {
        let mut has_exited = false;
        for record in &mut self.0 {
            has_exited |= record.deaths.take_exit(ends);
        }
        has_exited
    }

    /// Returns whether a call broke, and nothing is known of the backend since.
    pub(super) fn is_open(&self) -> bool {
        self.0.iter().any(|record| record.deaths.is_open())
    }

    /// Notes that the backend is gone. Returns the calls over which it died.
    pub(super) fn note_gone(&mut self, policy: &HealthPolicy, now: Duration) -> Vec<CallDeath> {
        let calls = [AgentCall::HealthCheck, AgentCall::StateRead, AgentCall::StateWrite, AgentCall::Restart];
        calls.into_iter().filter_map(|call| self.note_gone_over(call, policy, now)).collect()
    }

    fn note_gone_over(&mut self, call: AgentCall, policy: &HealthPolicy, now: Duration) -> Option<CallDeath> {
        let record = self.of(call);
        if !record.deaths.is_open() {
            return None;
        }
        let is_quarantined = record.deaths.note_gone(policy.quarantine_after);
        let pause = record.pause_length(policy);
        record.pause = Some(CallPause::after_death(pause, now));
        Some(CallDeath { call, deaths: record.deaths.deaths(), is_quarantined, pause })
    }

    /// Begins the pause again after a call that was neither answered nor deadly, if such calls are quarantined.
    pub(super) fn prolong_quarantine(&mut self, call: AgentCall, policy: &HealthPolicy, now: Duration) {
        let record = self.of(call);
        if record.is_quarantined(policy) {
            record.pause = Some(CallPause::after_miss(record.pause_length(policy), now));
        }
    }

    /// Notes that the backend seems available.
    pub(super) fn note_return(&mut self, policy: &HealthPolicy, now: Duration) {
        for record in &mut self.0 {
            let length = record.pause_length(policy);
            if let Some(pause) = &mut record.pause {
                pause.note_return(length, now);
            }
        }
    }

    /// Returns the rest of the longest pause of these calls.
    pub(super) fn remaining_pause(&self, calls: &[AgentCall], now: Duration) -> Option<Duration> {
        calls.iter().filter_map(|call| self.get(*call).pause?.remaining(now)).max()
    }

    /// Returns whether such calls pause because the backend died over too many of them.
    pub(super) fn is_quarantined(&self, call: AgentCall, policy: &HealthPolicy) -> bool {
        self.get(call).is_quarantined(policy)
    }

    /// Returns how often the backend died over such calls in a row.
    pub(super) fn deaths(&self, call: AgentCall) -> u32 {
        self.get(call).deaths.deaths()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::s;

    const NONE: BackendEnds = BackendEnds { exits: 0, stops: 0 };

    fn policy() -> HealthPolicy {
        HealthPolicy {
            interval: s(30),
            timeout: s(5),
            fail_after: 3,
            recover_after: 1,
            startup_grace: s(30),
            progress_timeout: Duration::ZERO,
            min_uptime: Duration::ZERO,
            quarantine_after: 2,
        }
    }

    #[test]
    fn death_pauses_only_the_calls_that_broke() {
        let calls = [AgentCall::HealthCheck, AgentCall::StateRead, AgentCall::StateWrite, AgentCall::Restart];
        for call in calls {
            let mut records = CallRecords::default();
            for (deaths, pause) in [(1, s(30)), (2, s(240)), (3, s(480))] {
                records.note_break(call, NONE);
                let is_quarantined = deaths >= 2;
                let death = CallDeath { call, deaths, is_quarantined, pause };
                assert_eq!(records.note_gone(&policy(), s(10)), [death]);
                for other in calls {
                    let expected = (other == call).then_some(pause);
                    assert_eq!(records.remaining_pause(&[other], s(10)), expected, "{other:?}");
                }
            }
            records.note_answer(call);
            assert_eq!(records.remaining_pause(&calls, s(10)), None);
        }
    }

    #[test]
    fn exit_that_two_broken_calls_show_is_a_death_over_both() {
        let mut records = CallRecords::default();
        let exited = BackendEnds { exits: 1, ..NONE };
        for call in [AgentCall::StateRead, AgentCall::HealthCheck] {
            records.note_start(call, NONE);
            records.note_break(call, NONE);
        }
        assert!(!records.take_exit(NONE) && records.take_exit(exited));
        assert_eq!(records.note_gone(&policy(), s(0)).len(), 2);
        assert!(!records.is_open() && !records.take_exit(exited));
    }
}
