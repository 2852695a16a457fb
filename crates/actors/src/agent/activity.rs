//! Counts what an agent is seen to do.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::driver::Activity;

/// Counts the requests that an agent is working on, and notes its progress. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ActivityMeter(Arc<MeterState>);

#[derive(Debug, Default)]
struct MeterState {
    activity: Mutex<Activity>,
    /// Told when the agent is given something to do that had nothing.
    work_started: Notify,
}

/// A request that an agent is working on, until this is dropped.
#[derive(Debug)]
pub struct ActivityGuard(ActivityMeter);

impl ActivityMeter {
    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.0.activity.lock()
    }

    /// The agent is given something to do.
    #[must_use = "it is at work for as long as this is kept"]
    pub fn begin(&self) -> ActivityGuard {
        let mut activity = self.lock();
        activity.in_flight += 1;
        activity.progressed_at = Some(Instant::now());
        drop(activity);
        self.0.work_started.notify_waiters();
        ActivityGuard(self.clone())
    }

    /// Waits until the agent has something to do.
    pub async fn wait_for_work(&self) {
        let begun = self.0.work_started.notified();
        tokio::pin!(begun);
        // What begins from here on is not missed.
        begun.as_mut().enable();
        if self.activity().in_flight == 0 {
            begun.await;
        }
    }

    /// The agent shows that it is getting on.
    pub fn note_progress(&self) {
        self.lock().progressed_at = Some(Instant::now());
    }

    /// What it is seen to do.
    #[must_use]
    pub fn activity(&self) -> Activity {
        *self.lock()
    }
}

impl ActivityGuard {
    /// The agent shows that it is getting on.
    pub fn note_progress(&self) {
        self.0.note_progress();
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        activity.in_flight = activity.in_flight.saturating_sub(1);
        activity.progressed_at = Some(Instant::now());
    }
}
