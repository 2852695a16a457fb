//! Plans the end of a group of processes: ask, wait, then kill.

use std::time::Duration;

use crate::standstill::{DRAIN_TIME, LATE_MIN};

/// The time that a killed process gets. A kill works at once, unless the kernel itself holds the process up.
const KILL_WAIT: Duration = Duration::from_millis(500);

/// The interval between kills of the remaining processes: one may have been forked during the last look.
const KILLS_MAX: u32 = 10;

/// The next step of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShutdownStep {
    /// Ask all that are left to end.
    Terminate,
    /// Wait until none is left, until this time at most; then look again.
    Wait(Duration),
    /// Kill all that are left.
    Kill,
    /// No process is left.
    Done,
    /// Processes are left that cannot be ended.
    GiveUp,
}

/// The course of one shutdown.
#[derive(Debug)]
pub(super) struct ShutdownSequence {
    grace: Duration,
    stage: ShutdownStage,
}

#[derive(Debug, Clone, Copy)]
enum ShutdownStage {
    New,
    /// `is_late` is set once the end of the grace was noticed late: this process stood still, and perhaps the others too.
    Terminating {
        until: Duration,
        is_late: bool,
    },
    /// `until` is set while there is time left to wait.
    Killing {
        times: u32,
        until: Option<Duration>,
    },
}

impl ShutdownSequence {
    /// Creates a shutdown with this time between asking and killing. With none, no process is asked.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, stage: ShutdownStage::New }
    }

    /// Returns the next step, given the number of processes `left` and the time `now`, from any origin. In a hurry
    /// there is no grace, or no more of it.
    pub(super) fn next(&mut self, now: Duration, left: usize, in_a_hurry: bool) -> ShutdownStep {
        if left == 0 {
            return ShutdownStep::Done;
        }
        match self.stage {
            ShutdownStage::New if !in_a_hurry && !self.grace.is_zero() => {
                self.stage =
                    ShutdownStage::Terminating { until: now.saturating_add(self.grace), is_late: false };
                ShutdownStep::Terminate
            }
            ShutdownStage::Terminating { until, .. } if !in_a_hurry && now < until => {
                ShutdownStep::Wait(until)
            }
            ShutdownStage::Terminating { until, is_late: false }
                if !in_a_hurry && now.saturating_sub(until) >= LATE_MIN =>
            {
                let until = now.saturating_add(DRAIN_TIME);
                self.stage = ShutdownStage::Terminating { until, is_late: true };
                ShutdownStep::Wait(until)
            }
            ShutdownStage::New | ShutdownStage::Terminating { .. } => self.kill(now, 1),
            ShutdownStage::Killing { times, until: Some(until) } => {
                self.stage = ShutdownStage::Killing { times, until: None };
                ShutdownStep::Wait(until)
            }
            ShutdownStage::Killing { times, until: None } if times < KILLS_MAX => self.kill(now, times + 1),
            ShutdownStage::Killing { .. } => ShutdownStep::GiveUp,
        }
    }

    fn kill(&mut self, now: Duration, times: u32) -> ShutdownStep {
        self.stage = ShutdownStage::Killing { times, until: Some(now.saturating_add(KILL_WAIT)) };
        ShutdownStep::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn exited_processes_are_done_at_once() {
        assert_eq!(ShutdownSequence::new(ms(5)).next(ms(0), 0, false), ShutdownStep::Done);
    }

    #[test]
    fn process_that_exits_in_grace_is_not_killed() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(1000), 3, false), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1001), 2, false), ShutdownStep::Wait(ms(1500)));
        assert_eq!(sequence.next(ms(1499), 1, false), ShutdownStep::Wait(ms(1500)));
        assert_eq!(sequence.next(ms(1499), 0, false), ShutdownStep::Done);
    }

    #[test]
    fn stubborn_process_is_killed_after_its_grace() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, false), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(499), 1, false), ShutdownStep::Wait(ms(500)));
        assert_eq!(sequence.next(ms(500), 1, false), ShutdownStep::Kill);
        assert_eq!(sequence.next(ms(500), 1, false), ShutdownStep::Wait(ms(1000)));
        assert_eq!(sequence.next(ms(600), 0, false), ShutdownStep::Done);
    }

    #[test]
    fn grace_noticed_late_is_prolonged_once() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, false), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1), 1, false), ShutdownStep::Wait(ms(500)));
        let prolonged = ms(7000) + DRAIN_TIME;
        assert_eq!(sequence.next(ms(7000), 1, false), ShutdownStep::Wait(prolonged));
        assert_eq!(sequence.next(ms(7001), 1, false), ShutdownStep::Wait(prolonged));
        assert_eq!(sequence.next(prolonged + LATE_MIN, 1, false), ShutdownStep::Kill);
        let mut hurried = ShutdownSequence::new(ms(500));
        assert_eq!(hurried.next(ms(0), 1, false), ShutdownStep::Terminate);
        assert_eq!(hurried.next(ms(7000), 1, true), ShutdownStep::Kill);
    }

    #[test]
    fn hurry_skips_or_ends_the_grace() {
        assert_eq!(ShutdownSequence::new(ms(500)).next(ms(0), 1, true), ShutdownStep::Kill);
        assert_eq!(ShutdownSequence::new(ms(0)).next(ms(0), 1, false), ShutdownStep::Kill);
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, false), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1), 1, true), ShutdownStep::Kill);
    }

    #[test]
    fn unkillable_process_is_given_up_after_kills_max() {
        let mut sequence = ShutdownSequence::new(ms(0));
        let steps: Vec<ShutdownStep> = (0..100).map(|now| sequence.next(ms(now), 1, false)).collect();
        let kills = steps.iter().filter(|step| **step == ShutdownStep::Kill).count();
        assert_eq!(u32::try_from(kills), Ok(KILLS_MAX));
        assert_eq!(steps.last(), Some(&ShutdownStep::GiveUp));
    }

    #[test]
    fn longest_grace_does_not_overflow() {
        let mut sequence = ShutdownSequence::new(Duration::MAX);
        assert_eq!(sequence.next(ms(1), 1, false), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(2), 1, false), ShutdownStep::Wait(Duration::MAX));
    }
}
