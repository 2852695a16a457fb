//! Decides what follows when a signal or a debugger stops the backend's process. Pure.

use std::time::Duration;

/// The limits for a process that is suspended: stopped by a signal or a debugger, so that it does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspensionPolicy {
    /// The time between two looks at the process.
    pub look_interval: Duration,
    /// The time after which a process that is still suspended is started again.
    pub restart_after: Duration,
}

/// The suspension of one process, as the looks at it show it.
#[derive(Debug, Default)]
pub(super) struct Suspension {
    since: Option<Duration>,
}

/// The result of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SuspensionChange {
    None,
    Began,
    Ended,
    /// The suspension has lasted too long.
    Overdue {
        lasted: Duration,
    },
}

impl Suspension {
    /// Returns the time of the look that first showed the process as suspended, while it is.
    pub(super) const fn since(&self) -> Option<Duration> {
        self.since
    }

    /// Notes whether the process is suspended at this time.
    pub(super) fn observe(
        &mut self,
        is_suspended: bool,
        now: Duration,
        policy: SuspensionPolicy,
    ) -> SuspensionChange {
        match (self.since, is_suspended) {
            (None, false) => SuspensionChange::None,
            (None, true) => {
                self.since = Some(now);
                SuspensionChange::Began
            }
            (Some(_), false) => {
                self.since = None;
                SuspensionChange::Ended
            }
            (Some(since), true) => match now.saturating_sub(since) {
                lasted if lasted >= policy.restart_after => SuspensionChange::Overdue { lasted },
                _ => SuspensionChange::None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspension_is_overdue_only_if_it_lasts() {
        use SuspensionChange::*;

        let second = Duration::from_secs;
        let policy = SuspensionPolicy { look_interval: second(5), restart_after: second(90) };
        let mut suspension = Suspension::default();
        let looks = [
            (0, false),
            (5, true),
            (10, true),
            (90, true),
            (94, false),
            (95, true),
            (184, true),
            (185, true),
        ];
        let changes = looks.map(|(at, is_suspended)| suspension.observe(is_suspended, second(at), policy));
        let overdue = Overdue { lasted: second(90) };
        assert_eq!(changes, [None, Began, None, None, Ended, Began, None, overdue]);
    }
}
