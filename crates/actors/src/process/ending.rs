//! How processes are ended: asked to, given time, then killed. Pure.

use std::time::Duration;

/// A kill works at once, unless the kernel itself holds a process up. So long each is given.
const KILL_WAIT: Duration = Duration::from_millis(500);

/// So often the rest is looked for and killed: something may have been forked while the last look was on its way.
const KILLS_MAX: u32 = 10;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask all that are left to end.
    Ask,
    /// Wait until none is left, though no longer than until then; then look again.
    Wait(Duration),
    /// Kill all that are left.
    Kill,
    /// None is left.
    Done,
    /// Some are left that cannot be ended.
    GiveUp,
}

/// The course of one ending.
#[derive(Debug)]
pub(super) struct Ending {
    grace: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    New,
    Asked {
        until: Duration,
    },
    /// `until` is there while there is still something to wait for.
    Killed {
        times: u32,
        until: Option<Duration>,
    },
}

impl Ending {
    /// With so long between asking and killing; with none, nothing is asked.
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, stage: Stage::New }
    }

    /// The next step, where so many are `left` at the time `now`, counted from anywhere. In a hurry there is no grace, or
    /// no more of it.
    pub(super) fn next(&mut self, now: Duration, left: usize, in_a_hurry: bool) -> Step {
        if left == 0 {
            return Step::Done;
        }
        match self.stage {
            Stage::New if !in_a_hurry && !self.grace.is_zero() => {
                self.stage = Stage::Asked { until: now.saturating_add(self.grace) };
                Step::Ask
            }
            Stage::Asked { until } if !in_a_hurry && now < until => Step::Wait(until),
            Stage::New | Stage::Asked { .. } => self.kill(now, 1),
            Stage::Killed { times, until: Some(until) } => {
                self.stage = Stage::Killed { times, until: None };
                Step::Wait(until)
            }
            Stage::Killed { times, until: None } if times < KILLS_MAX => self.kill(now, times + 1),
            Stage::Killed { .. } => Step::GiveUp,
        }
    }

    fn kill(&mut self, now: Duration, times: u32) -> Step {
        self.stage = Stage::Killed { times, until: Some(now.saturating_add(KILL_WAIT)) };
        Step::Kill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_done_to_what_is_gone_already() {
        assert_eq!(Ending::new(ms(5)).next(ms(0), 0, false), Step::Done);
    }

    #[test]
    fn what_obeys_is_never_killed() {
        let mut ending = Ending::new(ms(500));
        assert_eq!(ending.next(ms(1000), 3, false), Step::Ask);
        assert_eq!(ending.next(ms(1001), 2, false), Step::Wait(ms(1500)));
        assert_eq!(ending.next(ms(1499), 1, false), Step::Wait(ms(1500)));
        assert_eq!(ending.next(ms(1499), 0, false), Step::Done);
    }

    #[test]
    fn what_does_not_obey_is_killed_when_the_grace_is_over_and_not_before() {
        let mut ending = Ending::new(ms(500));
        assert_eq!(ending.next(ms(0), 1, false), Step::Ask);
        assert_eq!(ending.next(ms(499), 1, false), Step::Wait(ms(500)));
        assert_eq!(ending.next(ms(500), 1, false), Step::Kill);
        assert_eq!(ending.next(ms(500), 1, false), Step::Wait(ms(1000)));
        assert_eq!(ending.next(ms(600), 0, false), Step::Done);
    }

    #[test]
    fn a_hurry_leaves_no_grace_and_cuts_one_short() {
        assert_eq!(Ending::new(ms(500)).next(ms(0), 1, true), Step::Kill);
        assert_eq!(Ending::new(ms(0)).next(ms(0), 1, false), Step::Kill);
        let mut ending = Ending::new(ms(500));
        assert_eq!(ending.next(ms(0), 1, false), Step::Ask);
        assert_eq!(ending.next(ms(1), 1, true), Step::Kill);
    }

    #[test]
    fn what_cannot_be_killed_is_given_up_after_a_bounded_number_of_kills() {
        let mut ending = Ending::new(ms(0));
        let steps: Vec<Step> = (0..100).map(|now| ending.next(ms(now), 1, false)).collect();
        let kills = steps.iter().filter(|step| **step == Step::Kill).count();
        assert_eq!(u32::try_from(kills), Ok(KILLS_MAX));
        assert_eq!(steps.last(), Some(&Step::GiveUp));
    }

    #[test]
    fn no_grace_is_so_long_that_it_overflows() {
        let mut ending = Ending::new(Duration::MAX);
        assert_eq!(ending.next(ms(1), 1, false), Step::Ask);
        assert_eq!(ending.next(ms(2), 1, false), Step::Wait(Duration::MAX));
    }
}
