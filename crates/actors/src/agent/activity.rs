//! Counts an agent's work in flight.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::driver::Activity;

/// Counts the requests that an agent is working on, and the time of its last progress. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ActivityMeter(Arc<MeterState>);

#[derive(Debug, Default)]
struct MeterState {
    activity: Mutex<Activity>,
    /// Notified when an idle agent gets work.
    work_started: Notify,
}

/// A request that an agent is working on, until this is dropped.
#[derive(Debug)]
pub struct ActivityGuard(ActivityMeter);

impl ActivityMeter {
    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.0.activity.lock()
    }

    /// Counts a request that the agent starts to work on.
    #[must_use = "the agent counts as working while this is kept"]
    pub fn begin(&self) -> ActivityGuard {
        let mut activity = self.lock();
        activity.in_flight += 1;
        activity.progressed_at = Some(Instant::now());
        drop(activity);
        self.0.work_started.notify_waiters();
        ActivityGuard(self.clone())
    }

    /// Waits until the agent has work.
    pub(crate) async fn wait_for_work(&self) {
        let started = self.0.work_started.notified();
        tokio::pin!(started);
        // Enabled before the check, so that no work is missed.
        started.as_mut().enable();
        if self.activity().in_flight == 0 {
            started.await;
        }
    }

    /// Notes that the agent made progress.
    pub(crate) fn note_progress(&self) {
        self.lock().progressed_at = Some(Instant::now());
    }

    /// Returns the agent's activity.
    #[must_use]
    pub fn activity(&self) -> Activity {
        *self.lock()
    }
}

impl ActivityGuard {
    /// Notes that the agent made progress.
    pub fn note_progress(&self) {
        self.0.note_progress();
    }
}

/// The meters of all agents whose requests are counted, by their ids. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct ActivityMeters(Arc<DashMap<String, ActivityMeter>>);

impl ActivityMeters {
    /// Returns the meter of agent `id`, whose requests are counted from now on.
    #[must_use]
    pub fn get_or_create(&self, id: &str) -> ActivityMeter {
        self.0.entry(id.to_owned()).or_default().clone()
    }

    /// Returns the meter of agent `id`, if its requests are counted.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<ActivityMeter> {
        self.0.get(id).map(|meter| meter.clone())
    }

    /// Removes the meter of agent `id`.
    pub fn remove(&self, id: &str) {
        self.0.remove(id);
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        let mut activity = self.0.lock();
        activity.in_flight = activity.in_flight.saturating_sub(1);
        activity.progressed_at = Some(Instant::now());
    }
}
