//! Counts the kept connections that may be stale.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Counts responses over connections that may still be kept: at most that many kept ones can be stale.
#[derive(Debug, Clone)]
pub(super) struct PoolUse {
    count: Arc<AtomicUsize>,
    max: usize,
}

impl PoolUse {
    pub(super) fn new(max: usize) -> Self {
        Self { count: Arc::default(), max }
    }

    /// Counts a response that came to its end.
    pub(super) fn record_return(&self) {
        let add = |kept: usize| Some((kept + 1).min(self.max));
        // The closure never declines.
        let _ = self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes one back; `false` if there is none.
    pub(super) fn take_one(&self) -> bool {
        let take = |kept: usize| kept.checked_sub(1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}
