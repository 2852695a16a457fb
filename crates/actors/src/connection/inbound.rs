//! Delivers the backend's frames to subscribers.
//!
//! All subscribers share one ring, bounded by count and bytes, which keeps only frames that a subscriber has not
//! taken yet. A slow subscriber loses the oldest frames and learns how many; the sender never waits.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::resumption::Gap;

/// An item for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A text frame.
    Text(Arc<str>),
    /// Events are or may be missing at this position. State derived from earlier frames should be fetched again.
    Gap(Gap),
    /// The subscriber was too slow and lost this many frames and gaps. Gaps after this are complete.
    Lagged(u64),
}

impl Inbound {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Gap(_) | Self::Lagged(_) => 0,
        }
    }
}

/// The limits of the buffer for slow subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastLimits {
    /// The most frames.
    pub entries_max: usize,
    /// The most bytes in all frames together. The newest frame is always kept.
    pub bytes_max: usize,
}

/// The sender of frames. Clones share one ring.
#[derive(Debug, Clone)]
pub struct FrameBroadcast {
    ring: Arc<Mutex<Ring>>,
    /// The number of frames so far. The subscriptions end with its last sender.
    changed: watch::Sender<u64>,
}

/// A subscription. Frames sent during its life are kept for it, within the limits.
#[derive(Debug)]
pub struct FrameSubscription {
    ring: Arc<Mutex<Ring>>,
    changed: watch::Receiver<u64>,
    id: u64,
}

#[derive(Debug)]
struct Ring {
    limits: BroadcastLimits,
    entries: VecDeque<Inbound>,
    bytes: usize,
    /// The number of the first entry in the ring, counted from the start.
    first_seq: u64,
    /// The number of the next entry for each subscriber.
    cursors: BTreeMap<u64, u64>,
    last_id: u64,
}

impl FrameBroadcast {
    pub(super) fn new(limits: BroadcastLimits) -> Self {
        let ring = Ring {
            limits,
            entries: VecDeque::new(),
            bytes: 0,
            first_seq: 0,
            cursors: BTreeMap::new(),
            last_id: 0,
        };
        Self { ring: Arc::new(Mutex::new(ring)), changed: watch::Sender::new(0) }
    }

    /// Subscribes to the frames from now on.
    #[must_use]
    pub fn subscribe(&self) -> FrameSubscription {
        let changed = self.changed.subscribe();
        let id = lock(&self.ring).subscribe();
        FrameSubscription { ring: Arc::clone(&self.ring), changed, id }
    }

    pub(super) fn send(&self, inbound: Inbound) {
        let end = lock(&self.ring).push(inbound);
        self.changed.send_replace(end);
    }
}

impl FrameSubscription {
    /// Waits for the next item; returns `None` once the connection is gone for good. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Inbound> {
        loop {
            self.changed.borrow_and_update();
            if let Some(inbound) = self.try_next() {
                return Some(inbound);
            }
            if self.changed.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// Returns the next item if there is one.
    pub fn try_next(&mut self) -> Option<Inbound> {
        lock(&self.ring).next_for(self.id)
    }
}

impl Drop for FrameSubscription {
    fn drop(&mut self) {
        lock(&self.ring).unsubscribe(self.id);
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock()
}

impl Ring {
    fn end(&self) -> u64 {
        self.first_seq + self.entries.len() as u64
    }

    fn subscribe(&mut self) -> u64 {
        self.last_id += 1;
        self.cursors.insert(self.last_id, self.end());
        self.last_id
    }

    fn unsubscribe(&mut self, id: u64) {
        self.cursors.remove(&id);
        self.trim();
    }

    /// Adds an item and returns the number of items so far.
    fn push(&mut self, inbound: Inbound) -> u64 {
        self.bytes += inbound.size_bytes();
        self.entries.push_back(inbound);
        while self.entries.len() > 1
            && (self.entries.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max)
        {
            self.pop_oldest();
        }
        self.trim();
        self.end()
    }

    fn next_for(&mut self, id: u64) -> Option<Inbound> {
        let (first, end) = (self.first_seq, self.end());
        let next = self.cursors.get_mut(&id)?;
        if *next < first {
            return Some(Inbound::Lagged(first - std::mem::replace(next, first)));
        }
        if *next >= end {
            return None;
        }
        let inbound = self.entries.get(usize::try_from(*next - first).ok()?).cloned();
        *next += 1;
        self.trim();
        inbound
    }

    /// Drops the entries that every subscriber has taken.
    fn trim(&mut self) {
        let wanted = self.cursors.values().min().copied().unwrap_or_else(|| self.end());
        while self.first_seq < wanted && !self.entries.is_empty() {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.bytes -= gone.size_bytes();
            self.first_seq += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn broadcast(entries_max: usize, bytes_max: usize) -> FrameBroadcast {
        FrameBroadcast::new(BroadcastLimits { entries_max, bytes_max })
    }

    fn text(text: &str) -> Inbound {
        Inbound::Text(text.into())
    }

    fn send_all(broadcast: &FrameBroadcast, texts: &[&str]) {
        for one in texts {
            broadcast.send(text(one));
        }
    }

    fn buffered(broadcast: &FrameBroadcast) -> (usize, usize) {
        let ring = lock(&broadcast.ring);
        (ring.entries.len(), ring.bytes)
    }

    #[tokio::test]
    async fn listener_gets_all_frames_since_it_subscribed_in_order() {
        let broadcast = broadcast(8, 100);
        let mut early = broadcast.subscribe();
        send_all(&broadcast, &["a"]);
        let mut late = broadcast.subscribe();
        send_all(&broadcast, &["b"]);
        assert_eq!([early.next().await, early.next().await], [Some(text("a")), Some(text("b"))]);
        assert_eq!(late.next().await, Some(text("b")));
        assert_eq!((early.try_next(), late.try_next()), (None, None));
    }

    #[tokio::test]
    async fn waiting_listener_is_woken_by_a_frame() {
        let broadcast = broadcast(8, 100);
        let mut listener = broadcast.subscribe();
        let mut next = pin!(listener.next());
        assert!(poll!(&mut next).is_pending());
        send_all(&broadcast, &["a"]);
        assert_eq!(next.await, Some(text("a")));
    }

    #[test]
    fn slow_listener_learns_how_many_it_missed_and_continues() {
        let broadcast = broadcast(2, 100);
        let mut slow = broadcast.subscribe();
        let mut quick = broadcast.subscribe();
        for one in ["a", "b", "c", "d", "e"] {
            send_all(&broadcast, &[one]);
            assert_eq!(quick.try_next(), Some(text(one)));
        }
        let got: Vec<_> = std::iter::from_fn(|| slow.try_next()).collect();
        assert_eq!(got, [Inbound::Lagged(3), text("d"), text("e")]);
    }

    #[test]
    fn gap_keeps_its_place_between_frames() {
        let broadcast = broadcast(8, 100);
        let mut listener = broadcast.subscribe();
        let gap = Inbound::Gap(Gap { after: Some(1), next: Some(7) });
        broadcast.send(text("one"));
        broadcast.send(gap.clone());
        broadcast.send(text("seven"));
        let got: Vec<_> = std::iter::from_fn(|| listener.try_next()).collect();
        assert_eq!(got, [text("one"), gap, text("seven")]);
    }

    #[test]
    fn buffer_for_an_idle_listener_is_bounded_in_bytes() {
        let broadcast = broadcast(1000, 10);
        let mut listener = broadcast.subscribe();
        for _ in 0..100 {
            send_all(&broadcast, &["four"]);
            assert!(buffered(&broadcast).1 <= 10);
        }
        send_all(&broadcast, &["more than ten bytes"]);
        assert_eq!(buffered(&broadcast), (1, 19), "the newest is kept in any case");
        assert_eq!(listener.try_next(), Some(Inbound::Lagged(100)));
        assert_eq!(listener.try_next(), Some(text("more than ten bytes")));
    }

    #[test]
    fn buffer_drops_frames_that_every_listener_has_taken() {
        let broadcast = broadcast(8, 100);
        send_all(&broadcast, &["a"]);
        assert_eq!(buffered(&broadcast), (0, 0));
        let mut first = broadcast.subscribe();
        let second = broadcast.subscribe();
        send_all(&broadcast, &["b", "c"]);
        first.try_next().unwrap();
        assert_eq!(buffered(&broadcast), (2, 2));
        drop(second);
        assert_eq!(buffered(&broadcast), (1, 1));
        first.try_next().unwrap();
        assert_eq!(buffered(&broadcast), (0, 0));
    }

    #[tokio::test]
    async fn subscription_drains_before_it_ends_with_the_sender() {
        let broadcast = broadcast(8, 100);
        let mut listener = broadcast.subscribe();
        send_all(&broadcast, &["a"]);
        drop(broadcast);
        assert_eq!(listener.next().await, Some(text("a")));
        assert_eq!(listener.next().await, None);
    }
}
