//! Broadcasts items to subscribers, within limits of count and memory.
//!
//! All subscribers share one ring, which keeps only items that a subscriber has not taken yet. A slow subscriber loses
//! the oldest items and learns how many; the sender never waits. `tokio::sync::broadcast` does not fit: it limits the
//! count alone, and allocates its whole capacity at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// An item that subscribers receive. A clone shares its content.
pub trait BroadcastItem: Clone {
    /// Estimates its memory, in bytes.
    fn size_bytes(&self) -> usize;

    /// Creates the item that a subscriber receives in place of the `count` items that it lost.
    fn lagged(count: u64) -> Self;
}

/// The limits of the buffer for slow subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BroadcastLimits {
    /// The most items.
    pub items_max: usize,
    /// The most bytes in all items together. The newest item is always kept, so that a fast subscriber loses none.
    pub bytes_max: usize,
}

/// The sender of items. Clones share one ring.
#[derive(Debug)]
pub struct Broadcast<T> {
    ring: Arc<Mutex<Ring<T>>>,
    /// The number of items so far. The subscriptions end with its last sender.
    changed: watch::Sender<u64>,
}

/// A subscription. Items sent during its life are kept for it, within the limits.
#[derive(Debug)]
pub struct BroadcastSubscription<T> {
    ring: Arc<Mutex<Ring<T>>>,
    changed: watch::Receiver<u64>,
    id: u64,
    /// The items that come before those of the ring.
    first: VecDeque<T>,
}

#[derive(Debug)]
struct Ring<T> {
    limits: BroadcastLimits,
    /// The items and their sizes in bytes.
    items: VecDeque<(T, usize)>,
    bytes: usize,
    /// The number of the first item in the ring, counted from the start.
    first_seq: u64,
    /// The number of the next item for each subscriber.
    cursors: BTreeMap<u64, u64>,
    last_id: u64,
    /// True if nothing more comes, although a sender may be left.
    is_closed: bool,
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self { ring: Arc::clone(&self.ring), changed: self.changed.clone() }
    }
}

impl<T: BroadcastItem> Broadcast<T> {
    /// Creates a broadcast without subscribers.
    #[must_use]
    pub(crate) fn new(limits: BroadcastLimits) -> Self {
        let ring = Ring {
            limits,
            items: VecDeque::new(),
            bytes: 0,
            first_seq: 0,
            cursors: BTreeMap::new(),
            last_id: 0,
            is_closed: false,
        };
        Self { ring: Arc::new(Mutex::new(ring)), changed: watch::Sender::new(0) }
    }

    /// Subscribes to the items from now on.
    #[must_use]
    pub fn subscribe(&self) -> BroadcastSubscription<T> {
        self.subscribe_after(VecDeque::new())
    }

    /// Subscribes to these items, and to those from now on.
    #[must_use]
    pub(crate) fn subscribe_after(&self, first: VecDeque<T>) -> BroadcastSubscription<T> {
        let changed = self.changed.subscribe();
        let id = self.ring.lock().subscribe();
        BroadcastSubscription { ring: Arc::clone(&self.ring), changed, id, first }
    }

    /// Sends an item, which is dropped without subscribers. Never waits: old items that slow subscribers have not taken
    /// are dropped for it.
    pub(crate) fn send(&self, item: T) {
        let end = self.ring.lock().push(item);
        self.changed.send_replace(end);
    }

    /// Ends the subscriptions once they have taken what is there.
    pub(crate) fn close(&self) {
        self.ring.lock().is_closed = true;
        self.changed.send_modify(|_| {});
    }

    /// Returns the number of buffered items, and their bytes.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> (usize, usize) {
        let ring = self.ring.lock();
        (ring.items.len(), ring.bytes)
    }
}

impl<T: BroadcastItem> BroadcastSubscription<T> {
    /// Waits for the next item; returns `None` once the sender is gone for good, or has closed the broadcast. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<T> {
        loop {
            self.changed.borrow_and_update();
            if let Some(item) = self.try_next() {
                return Some(item);
            }
            if self.ring.lock().is_closed || self.changed.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// Returns the next item if there is one.
    pub(crate) fn try_next(&mut self) -> Option<T> {
        if let Some(item) = self.first.pop_front() {
            return Some(item);
        }
        self.ring.lock().next_for(self.id)
    }
}

impl<T> Drop for BroadcastSubscription<T> {
    fn drop(&mut self) {
        self.ring.lock().unsubscribe(self.id);
    }
}

impl<T> Ring<T> {
    fn end(&self) -> u64 {
        self.first_seq + self.items.len() as u64
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

    /// Drops the items that every subscriber has taken.
    fn trim(&mut self) {
        let wanted = self.cursors.values().min().copied().unwrap_or_else(|| self.end());
        while self.first_seq < wanted && !self.items.is_empty() {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some((_, bytes)) = self.items.pop_front() {
            self.bytes -= bytes;
            self.first_seq += 1;
        }
    }
}

impl<T: BroadcastItem> Ring<T> {
    /// Adds an item and returns the number of items so far.
    fn push(&mut self, item: T) -> u64 {
        let bytes = item.size_bytes();
        self.bytes += bytes;
        self.items.push_back((item, bytes));
        while self.items.len() > 1
            && (self.items.len() > self.limits.items_max || self.bytes > self.limits.bytes_max)
        {
            self.pop_oldest();
        }
        self.trim();
        self.end()
    }

    fn next_for(&mut self, id: u64) -> Option<T> {
        let (first, end) = (self.first_seq, self.end());
        let next = self.cursors.get_mut(&id)?;
        if *next < first {
            return Some(T::lagged(first - std::mem::replace(next, first)));
        }
        if *next >= end {
            return None;
        }
        let (item, _) = self.items.get(usize::try_from(*next - first).ok()?)?;
        let item = item.clone();
        *next += 1;
        self.trim();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    enum TestItem {
        Text(&'static str),
        Lagged(u64),
    }
    use TestItem::{Lagged, Text};

    impl BroadcastItem for TestItem {
        fn size_bytes(&self) -> usize {
            match self {
                Text(text) => text.len(),
                Lagged(_) => 0,
            }
        }

        fn lagged(count: u64) -> Self {
            Lagged(count)
        }
    }

    fn broadcast(items_max: usize, bytes_max: usize) -> Broadcast<TestItem> {
        Broadcast::new(BroadcastLimits { items_max, bytes_max })
    }

    fn drain(subscription: &mut BroadcastSubscription<TestItem>) -> Vec<TestItem> {
        std::iter::from_fn(|| subscription.try_next()).collect()
    }

    #[tokio::test]
    async fn subscriber_gets_all_items_since_it_subscribed_in_order() {
        let broadcast = broadcast(8, 100);
        let mut early = broadcast.subscribe();
        broadcast.send(Text("a"));
        let mut late = broadcast.subscribe();
        broadcast.send(Text("b"));
        assert_eq!([early.next().await, early.next().await], [Some(Text("a")), Some(Text("b"))]);
        assert_eq!(late.next().await, Some(Text("b")));
        assert_eq!((early.try_next(), late.try_next()), (None, None));
    }

    #[tokio::test]
    async fn waiting_subscriber_is_woken_by_an_item() {
        let broadcast = broadcast(8, 100);
        let mut subscription = broadcast.subscribe();
        let mut next = pin!(subscription.next());
        assert!(poll!(&mut next).is_pending());
        broadcast.send(Text("a"));
        assert_eq!(next.await, Some(Text("a")));
    }

    #[test]
    fn slow_subscriber_learns_how_many_it_lost_and_continues() {
        let broadcast = broadcast(2, 100);
        let mut slow = broadcast.subscribe();
        let mut quick = broadcast.subscribe();
        for one in ["a", "b", "c", "d", "e"] {
            broadcast.send(Text(one));
            assert_eq!(quick.try_next(), Some(Text(one)));
        }
        assert_eq!(drain(&mut slow), [Lagged(3), Text("d"), Text("e")]);
    }

    #[test]
    fn buffer_for_an_idle_subscriber_is_bounded_in_bytes() {
        let broadcast = broadcast(1000, 10);
        let mut subscription = broadcast.subscribe();
        for _ in 0..100 {
            broadcast.send(Text("four"));
            assert!(broadcast.buffered().1 <= 10);
        }
        broadcast.send(Text("more than ten bytes"));
        assert_eq!(broadcast.buffered(), (1, 19), "the newest is kept in any case");
        assert_eq!(drain(&mut subscription), [Lagged(100), Text("more than ten bytes")]);
        broadcast.send(Text("more than ten bytes"));
        broadcast.send(Text("one"));
        assert_eq!(drain(&mut subscription), [Lagged(1), Text("one")], "and gives way to a newer one");
    }

    #[test]
    fn buffer_drops_items_that_every_subscriber_has_taken() {
        let broadcast = broadcast(8, 100);
        broadcast.send(Text("a"));
        assert_eq!(broadcast.buffered(), (0, 0));
        let mut first = broadcast.subscribe();
        let second = broadcast.subscribe();
        broadcast.send(Text("b"));
        broadcast.send(Text("c"));
        first.try_next().unwrap();
        assert_eq!(broadcast.buffered(), (2, 2));
        drop(second);
        assert_eq!(broadcast.buffered(), (1, 1));
        first.try_next().unwrap();
        assert_eq!(broadcast.buffered(), (0, 0));
    }

    #[tokio::test]
    async fn subscription_drains_before_it_ends_with_the_sender() {
        let broadcast = broadcast(1, 100);
        let mut subscription = broadcast.subscribe();
        broadcast.send(Text("a"));
        broadcast.send(Text("b"));
        drop(broadcast);
        assert_eq!(subscription.next().await, Some(Lagged(1)));
        assert_eq!(subscription.next().await, Some(Text("b")));
        assert_eq!(subscription.next().await, None);
    }
}
