//! The backend's frames on their way to whoever listens.
//!
//! One ring for all listeners, bounded by count and by bytes, which keeps only what somebody has still to take. A
//! listener that falls behind loses the oldest and is told how many; nothing waits for it.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tokio::sync::watch;

use super::resumption::Gap;

/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A text frame, as it came.
    Text(Arc<str>),
    /// Events are or may be missing between the frames before this and those behind it. Whoever built something from
    /// them should fetch it anew.
    Gap(Gap),
    /// This listener was too slow: so many frames or gaps before the next one are lost to it. What is said of a gap holds.
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

/// How much is kept for listeners that are behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastLimits {
    /// The most frames.
    pub entries_max: usize,
    /// The most bytes in all of them together. The newest frame is kept in any case.
    pub bytes_max: usize,
}

/// Where frames are handed on. Clones are the same feed.
#[derive(Debug, Clone)]
pub struct FrameBroadcast {
    ring: Arc<Mutex<Ring>>,
    /// How many frames there were. With its last sender the feed ends.
    changed: watch::Sender<u64>,
}

/// One listener. What comes while it is there is kept for it, within limits.
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
    /// The number of the first entry here; they are counted from the feed's beginning.
    first_seq: u64,
    /// The number of the entry that each listener takes next.
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

    /// A listener for what comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> FrameSubscription {
        let news = self.changed.subscribe();
        let id = lock(&self.ring).subscribe();
        FrameSubscription { ring: Arc::clone(&self.ring), changed: news, id }
    }

    pub(super) fn send(&self, inbound: Inbound) {
        let end = lock(&self.ring).push(inbound);
        self.changed.send_replace(end);
    }
}

impl FrameSubscription {
    /// The next of what came, as soon as there is something; `None` once the connection is gone for good. Dropping the
    /// future loses nothing.
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

    /// The next of what came, if it is here.
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

    /// Takes it in, and says how many there were.
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

    /// Lets go of what every listener has.
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

    fn send_all(feed: &FrameBroadcast, texts: &[&str]) {
        for one in texts {
            feed.send(text(one));
        }
    }

    fn buffered(feed: &FrameBroadcast) -> (usize, usize) {
        let ring = lock(&feed.ring);
        (ring.entries.len(), ring.bytes)
    }

    #[tokio::test]
    async fn listener_gets_all_frames_since_it_subscribed_in_order() {
        let feed = broadcast(8, 100);
        let mut early = feed.subscribe();
        send_all(&feed, &["a"]);
        let mut late = feed.subscribe();
        send_all(&feed, &["b"]);
        assert_eq!([early.next().await, early.next().await], [Some(text("a")), Some(text("b"))]);
        assert_eq!(late.next().await, Some(text("b")));
        assert_eq!((early.try_next(), late.try_next()), (None, None));
    }

    #[tokio::test]
    async fn waiting_listener_is_woken_by_a_frame() {
        let feed = broadcast(8, 100);
        let mut listener = feed.subscribe();
        let mut next = pin!(listener.next());
        assert!(poll!(&mut next).is_pending());
        send_all(&feed, &["a"]);
        assert_eq!(next.await, Some(text("a")));
    }

    #[test]
    fn slow_listener_learns_how_many_it_missed_and_continues() {
        let feed = broadcast(2, 100);
        let mut slow = feed.subscribe();
        let mut quick = feed.subscribe();
        for one in ["a", "b", "c", "d", "e"] {
            send_all(&feed, &[one]);
            assert_eq!(quick.try_next(), Some(text(one)));
        }
        let got: Vec<_> = std::iter::from_fn(|| slow.try_next()).collect();
        assert_eq!(got, [Inbound::Lagged(3), text("d"), text("e")]);
    }

    #[test]
    fn gap_keeps_its_place_between_frames() {
        let feed = broadcast(8, 100);
        let mut listener = feed.subscribe();
        let gap = Inbound::Gap(Gap { after: Some(1), next: Some(7) });
        feed.send(text("one"));
        feed.send(gap.clone());
        feed.send(text("seven"));
        let got: Vec<_> = std::iter::from_fn(|| listener.try_next()).collect();
        assert_eq!(got, [text("one"), gap, text("seven")]);
    }

    #[test]
    fn buffer_for_an_idle_listener_is_bounded_in_bytes() {
        let feed = broadcast(1000, 10);
        let mut listener = feed.subscribe();
        for _ in 0..100 {
            send_all(&feed, &["four"]);
            assert!(buffered(&feed).1 <= 10);
        }
        send_all(&feed, &["more than ten bytes"]);
        assert_eq!(buffered(&feed), (1, 19), "the newest is kept in any case");
        assert_eq!(listener.try_next(), Some(Inbound::Lagged(100)));
        assert_eq!(listener.try_next(), Some(text("more than ten bytes")));
    }

    #[test]
    fn buffer_drops_frames_that_every_listener_has_taken() {
        let feed = broadcast(8, 100);
        send_all(&feed, &["a"]);
        assert_eq!(buffered(&feed), (0, 0));
        let mut first = feed.subscribe();
        let second = feed.subscribe();
        send_all(&feed, &["b", "c"]);
        first.try_next().unwrap();
        assert_eq!(buffered(&feed), (2, 2));
        drop(second);
        assert_eq!(buffered(&feed), (1, 1));
        first.try_next().unwrap();
        assert_eq!(buffered(&feed), (0, 0));
    }

    #[tokio::test]
    async fn subscription_drains_before_it_ends_with_the_sender() {
        let feed = broadcast(8, 100);
        let mut listener = feed.subscribe();
        send_all(&feed, &["a"]);
        drop(feed);
        assert_eq!(listener.next().await, Some(text("a")));
        assert_eq!(listener.next().await, None);
    }
}
