//! The last updates of one agent, for those who come back: pure.

use std::collections::VecDeque;

/// The most updates of one agent that are kept.
pub(super) const UPDATES_KEPT_MAX: usize = 1024;
/// The most memory of an agent's kept updates, in bytes. A single larger one is kept alone.
pub(super) const UPDATE_BYTES_KEPT_MAX: usize = 1 << 20;

/// The kept updates, oldest first. Their numbers have no gap.
#[derive(Debug)]
pub(super) struct UpdateHistory<T> {
    updates: VecDeque<KeptUpdate<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct KeptUpdate<T> {
    seq: u64,
    bytes: usize,
    update: T,
}

impl<T> Default for UpdateHistory<T> {
    fn default() -> Self {
        Self { updates: VecDeque::new(), bytes: 0 }
    }
}

impl<T> UpdateHistory<T> {
    /// Adds update number `seq`, which has this memory. The oldest are dropped for it.
    pub(super) fn push(&mut self, seq: u64, bytes: usize, update: T) {
        self.bytes += bytes;
        self.updates.push_back(KeptUpdate { seq, bytes, update });
        while self.updates.len() > 1
            && (self.updates.len() > UPDATES_KEPT_MAX || self.bytes > UPDATE_BYTES_KEPT_MAX)
        {
            self.bytes -= self.updates.pop_front().map_or(0, |oldest| oldest.bytes);
        }
    }

    /// Returns the number of the oldest kept update.
    pub(super) fn first_seq(&self) -> Option<u64> {
        self.updates.front().map(|kept| kept.seq)
    }

    /// Returns the updates with a number above `seq`.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &T> {
        self.updates.iter().skip_while(move |kept| kept.seq <= seq).map(|kept| &kept.update)
    }
}
