//! Plans the end of a group of processes: wait for those that end with their input, ask, wait, then kill.

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

/// The urgency of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Urgency {
    None,
    /// The processes are asked now, however long their input has ended.
    Ask,
    /// There is no grace, or no more of it.
    Kill,
}

/// The course of one shutdown.
#[derive(Debug)]
pub(super) struct ShutdownSequence {
    grace: Duration,
    input_grace: Duration,
    stage: ShutdownStage,
}

#[derive(Debug, Clone, Copy)]
enum ShutdownStage {
    New,
    /// The input of the processes has ended, and they are asked at `until`. `is_late` as in `Terminating`.
    InputEnded {
        until: Duration,
        kill_at: Duration,
        is_late: bool,
    },
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
    /// Creates a shutdown that kills after this time, and asks at once. With none, no process is asked.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, input_grace: Duration::ZERO, stage: ShutdownStage::New }
    }

    /// Asks only after this part of the grace: the input of the processes has ended, and some end with it.
    #[must_use]
    pub(super) fn with_input_grace(self, input_grace: Duration) -> Self {
        Self { input_grace: input_grace.min(self.grace), ..self }
    }

    /// Returns the next step, given the number of processes `left` and the time `now`, from any origin.
    pub(super) fn next(&mut self, now: Duration, left: usize, urgency: Urgency) -> ShutdownStep {
        if left == 0 {
            return ShutdownStep::Done;
        }
        let in_a_hurry = urgency == Urgency::Kill;
        match self.stage {
            ShutdownStage::New if !in_a_hurry && !self.grace.is_zero() => {
                let kill_at = now.saturating_add(self.grace);
                if self.input_grace.is_zero() || urgency == Urgency::Ask {
                    return self.terminate(kill_at);
                }
                let until = now.saturating_add(self.input_grace);
                self.stage = ShutdownStage::InputEnded { until, kill_at, is_late: false };
                ShutdownStep::Wait(until)
            }
            ShutdownStage::InputEnded { until, .. } if urgency == Urgency::None && now < until => {
                ShutdownStep::Wait(until)
            }
            ShutdownStage::InputEnded { until, kill_at, is_late: false }
                if urgency == Urgency::None && now.saturating_sub(until) >= LATE_MIN =>
            {
                let late = now.saturating_sub(until).saturating_add(DRAIN_TIME);
                let (until, kill_at) = (now.saturating_add(DRAIN_TIME), kill_at.saturating_add(late));
                self.stage = ShutdownStage::InputEnded { until, kill_at, is_late: true };
                ShutdownStep::Wait(until)
            }
            ShutdownStage::InputEnded { kill_at, .. } if !in_a_hurry => self.terminate(kill_at),
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
            ShutdownStage::New | ShutdownStage::InputEnded { .. } | ShutdownStage::Terminating { .. } => {
                self.kill(now, 1)
            }
            ShutdownStage::Killing { times, until: Some(until) } => {
                self.stage = ShutdownStage::Killing { times, until: None };
                ShutdownStep::Wait(until)
            }
            ShutdownStage::Killing { times, until: None } if times < KILLS_MAX => self.kill(now, times + 1),
            ShutdownStage::Killing { .. } => ShutdownStep::GiveUp,
        }
    }

    fn terminate(&mut self, until: Duration) -> ShutdownStep {
        self.stage = ShutdownStage::Terminating { until, is_late: false };
        ShutdownStep::Terminate
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
        assert_eq!(ShutdownSequence::new(ms(5)).next(ms(0), 0, Urgency::None), ShutdownStep::Done);
    }

    #[test]
    fn process_that_exits_in_grace_is_not_killed() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(1000), 3, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1001), 2, Urgency::None), ShutdownStep::Wait(ms(1500)));
        assert_eq!(sequence.next(ms(1499), 1, Urgency::None), ShutdownStep::Wait(ms(1500)));
        assert_eq!(sequence.next(ms(1499), 0, Urgency::None), ShutdownStep::Done);
    }

    #[test]
    fn stubborn_process_is_killed_after_its_grace() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(499), 1, Urgency::None), ShutdownStep::Wait(ms(500)));
        assert_eq!(sequence.next(ms(500), 1, Urgency::None), ShutdownStep::Kill);
        assert_eq!(sequence.next(ms(500), 1, Urgency::None), ShutdownStep::Wait(ms(1000)));
        assert_eq!(sequence.next(ms(600), 0, Urgency::None), ShutdownStep::Done);
    }

    #[test]
    fn input_grace_delays_the_request_and_not_the_kill() {
        let mut sequence = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(sequence.next(ms(0), 2, Urgency::None), ShutdownStep::Wait(ms(100)));
        assert_eq!(sequence.next(ms(99), 1, Urgency::None), ShutdownStep::Wait(ms(100)));
        assert_eq!(sequence.next(ms(100), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(101), 1, Urgency::None), ShutdownStep::Wait(ms(500)));
        assert_eq!(sequence.next(ms(500), 1, Urgency::None), ShutdownStep::Kill);
        let mut orderly = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(orderly.next(ms(0), 1, Urgency::None), ShutdownStep::Wait(ms(100)));
        assert_eq!(orderly.next(ms(50), 0, Urgency::None), ShutdownStep::Done);
        let mut hurried = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(hurried.next(ms(0), 1, Urgency::None), ShutdownStep::Wait(ms(100)));
        assert_eq!(hurried.next(ms(1), 1, Urgency::Kill), ShutdownStep::Kill);
        let mut none = ShutdownSequence::new(ms(0)).with_input_grace(ms(100));
        assert_eq!(none.next(ms(0), 1, Urgency::None), ShutdownStep::Kill);
    }

    #[test]
    fn urgent_stop_asks_without_a_wait_for_the_end_of_the_input() {
        let mut sequence = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(sequence.next(ms(0), 1, Urgency::None), ShutdownStep::Wait(ms(100)));
        assert_eq!(sequence.next(ms(10), 1, Urgency::Ask), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(11), 1, Urgency::Ask), ShutdownStep::Wait(ms(500)));
        let mut at_once = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(at_once.next(ms(0), 1, Urgency::Ask), ShutdownStep::Terminate);
    }

    #[test]
    fn standstill_after_the_end_of_the_input_counts_for_nothing() {
        let mut sequence = ShutdownSequence::new(ms(500)).with_input_grace(ms(100));
        assert_eq!(sequence.next(ms(0), 1, Urgency::None), ShutdownStep::Wait(ms(100)));
        let asked_at = ms(7100) + DRAIN_TIME;
        assert_eq!(sequence.next(ms(7100), 1, Urgency::None), ShutdownStep::Wait(asked_at));
        assert_eq!(sequence.next(asked_at + LATE_MIN, 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(
            sequence.next(asked_at + LATE_MIN, 1, Urgency::None),
            ShutdownStep::Wait(asked_at + ms(400))
        );
    }

    #[test]
    fn grace_noticed_late_is_prolonged_once() {
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1), 1, Urgency::None), ShutdownStep::Wait(ms(500)));
        let prolonged = ms(7000) + DRAIN_TIME;
        assert_eq!(sequence.next(ms(7000), 1, Urgency::None), ShutdownStep::Wait(prolonged));
        assert_eq!(sequence.next(ms(7001), 1, Urgency::None), ShutdownStep::Wait(prolonged));
        assert_eq!(sequence.next(prolonged + LATE_MIN, 1, Urgency::None), ShutdownStep::Kill);
        let mut hurried = ShutdownSequence::new(ms(500));
        assert_eq!(hurried.next(ms(0), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(hurried.next(ms(7000), 1, Urgency::Kill), ShutdownStep::Kill);
    }

    #[test]
    fn hurry_skips_or_ends_the_grace() {
        assert_eq!(ShutdownSequence::new(ms(500)).next(ms(0), 1, Urgency::Kill), ShutdownStep::Kill);
        assert_eq!(ShutdownSequence::new(ms(0)).next(ms(0), 1, Urgency::None), ShutdownStep::Kill);
        let mut sequence = ShutdownSequence::new(ms(500));
        assert_eq!(sequence.next(ms(0), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(1), 1, Urgency::Kill), ShutdownStep::Kill);
    }

    #[test]
    fn unkillable_process_is_given_up_after_kills_max() {
        let mut sequence = ShutdownSequence::new(ms(0));
        let steps: Vec<ShutdownStep> = (0..100).map(|now| sequence.next(ms(now), 1, Urgency::None)).collect();
        let kills = steps.iter().filter(|step| **step == ShutdownStep::Kill).count();
        assert_eq!(u32::try_from(kills), Ok(KILLS_MAX));
        assert_eq!(steps.last(), Some(&ShutdownStep::GiveUp));
    }

    #[test]
    fn longest_grace_does_not_overflow() {
        let mut sequence = ShutdownSequence::new(Duration::MAX);
        assert_eq!(sequence.next(ms(1), 1, Urgency::None), ShutdownStep::Terminate);
        assert_eq!(sequence.next(ms(2), 1, Urgency::None), ShutdownStep::Wait(Duration::MAX));
    }
}
