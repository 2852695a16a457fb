//! The backend's frames on their way to whoever listens.
//!
//! One ring for all listeners, bounded by count and by bytes, which keeps only what somebody has still to take. A
//! listener that falls behind loses the oldest and is told how many; nothing waits for it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::frames::Gap;

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
pub struct FeedLimits {
    /// The most frames.
    pub entries_max: usize,
    /// The most bytes in all of them together. The newest frame is kept in any case.
    pub bytes_max: usize,
}

/// Where frames are handed on. Clones are the same feed.
#[derive(Debug, Clone)]
pub struct Feed {
    ring: Arc<Mutex<Ring>>,
    /// How many frames there were. With its last sender the feed ends.
    news: watch::Sender<u64>,
}

/// One listener. What comes while it is there is kept for it, within limits.
#[derive(Debug)]
pub struct Frames {
    ring: Arc<Mutex<Ring>>,
    news: watch::Receiver<u64>,
    id: u64,
}

#[derive(Debug)]
struct Ring {
    limits: FeedLimits,
    entries: VecDeque<Inbound>,
    bytes: usize,
    /// The number of the first entry here; they are counted from the feed's beginning.
    first: u64,
    /// The number of the entry that each listener takes next.
    listeners: BTreeMap<u64, u64>,
    ids: u64,
}

impl Feed {
    pub(super) fn new(limits: FeedLimits) -> Self {
        let ring =
            Ring { limits, entries: VecDeque::new(), bytes: 0, first: 0, listeners: BTreeMap::new(), ids: 0 };
        Self { ring: Arc::new(Mutex::new(ring)), news: watch::Sender::new(0) }
    }

    /// A listener for what comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> Frames {
        let news = self.news.subscribe();
        let id = lock(&self.ring).join();
        Frames { ring: Arc::clone(&self.ring), news, id }
    }

    pub(super) fn send(&self, inbound: Inbound) {
        let end = lock(&self.ring).push(inbound);
        self.news.send_replace(end);
    }
}

impl Frames {
    /// The next of what came, as soon as there is something; `None` once the connection is gone for good. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<Inbound> {
        loop {
            self.news.borrow_and_update();
            if let Some(inbound) = self.try_next() {
                return Some(inbound);
            }
            if self.news.changed().await.is_err() {
                return self.try_next();
            }
        }
    }

    /// The next of what came, if it is here.
    pub fn try_next(&mut self) -> Option<Inbound> {
        lock(&self.ring).take(self.id)
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        lock(&self.ring).leave(self.id);
    }
}

fn lock(ring: &Mutex<Ring>) -> MutexGuard<'_, Ring> {
    ring.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ring {
    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    fn join(&mut self) -> u64 {
        self.ids += 1;
        self.listeners.insert(self.ids, self.end());
        self.ids
    }

    fn leave(&mut self, id: u64) {
        self.listeners.remove(&id);
        self.trim();
    }

    /// Takes it in, and says how many there were.
    fn push(&mut self, inbound: Inbound) -> u64 {
        self.bytes += inbound.size_bytes();
        self.entries.push_back(inbound);
        while self.entries.len() > 1
            && (self.entries.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max)
        {
            self.drop_first();
        }
        self.trim();
        self.end()
    }

    fn take(&mut self, id: u64) -> Option<Inbound> {
        let (first, end) = (self.first, self.end());
        let next = self.listeners.get_mut(&id)?;
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
        let wanted = self.listeners.values().min().copied().unwrap_or_else(|| self.end());
        while self.first < wanted && !self.entries.is_empty() {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.bytes -= gone.size_bytes();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    fn feed(entries_max: usize, bytes_max: usize) -> Feed {
        Feed::new(FeedLimits { entries_max, bytes_max })
    }

    fn text(text: &str) -> Inbound {
        Inbound::Text(text.into())
    }

    fn say(feed: &Feed, texts: &[&str]) {
        for one in texts {
            feed.send(text(one));
        }
    }

    fn kept(feed: &Feed) -> (usize, usize) {
        let ring = lock(&feed.ring);
        (ring.entries.len(), ring.bytes)
    }

    #[tokio::test]
    async fn each_listener_gets_everything_from_its_beginning_on_in_order() {
        let feed = feed(8, 100);
        let mut early = feed.subscribe();
        say(&feed, &["a"]);
        let mut late = feed.subscribe();
        say(&feed, &["b"]);
        assert_eq!([early.next().await, early.next().await], [Some(text("a")), Some(text("b"))]);
        assert_eq!(late.next().await, Some(text("b")));
        assert_eq!((early.try_next(), late.try_next()), (None, None));
    }

    #[tokio::test]
    async fn one_that_waits_is_woken() {
        let feed = feed(8, 100);
        let mut listener = feed.subscribe();
        let mut next = pin!(listener.next());
        assert!(poll!(&mut next).is_pending());
        say(&feed, &["a"]);
        assert_eq!(next.await, Some(text("a")));
    }

    #[test]
    fn one_that_falls_behind_is_told_how_much_it_lost_and_goes_on_with_the_oldest_that_is_left() {
        let feed = feed(2, 100);
        let mut slow = feed.subscribe();
        let mut quick = feed.subscribe();
        for one in ["a", "b", "c", "d", "e"] {
            say(&feed, &[one]);
            assert_eq!(quick.try_next(), Some(text(one)));
        }
        let got: Vec<_> = std::iter::from_fn(|| slow.try_next()).collect();
        assert_eq!(got, [Inbound::Lagged(3), text("d"), text("e")]);
    }

    #[test]
    fn a_gap_keeps_its_place_between_the_frames() {
        let feed = feed(8, 100);
        let mut listener = feed.subscribe();
        let gap = Inbound::Gap(Gap { after: Some(1), next: Some(7) });
        feed.send(text("one"));
        feed.send(gap.clone());
        feed.send(text("seven"));
        let got: Vec<_> = std::iter::from_fn(|| listener.try_next()).collect();
        assert_eq!(got, [text("one"), gap, text("seven")]);
    }

    #[test]
    fn what_is_kept_for_one_that_never_takes_anything_is_bounded_in_bytes() {
        let feed = feed(1000, 10);
        let mut listener = feed.subscribe();
        for _ in 0..100 {
            say(&feed, &["four"]);
            assert!(kept(&feed).1 <= 10);
        }
        say(&feed, &["more than ten bytes"]);
        assert_eq!(kept(&feed), (1, 19), "the newest is kept in any case");
        assert_eq!(listener.try_next(), Some(Inbound::Lagged(100)));
        assert_eq!(listener.try_next(), Some(text("more than ten bytes")));
    }

    #[test]
    fn nothing_is_kept_that_nobody_has_still_to_take() {
        let feed = feed(8, 100);
        say(&feed, &["a"]);
        assert_eq!(kept(&feed), (0, 0));
        let mut first = feed.subscribe();
        let second = feed.subscribe();
        say(&feed, &["b", "c"]);
        first.try_next().unwrap();
        assert_eq!(kept(&feed), (2, 2));
        drop(second);
        assert_eq!(kept(&feed), (1, 1));
        first.try_next().unwrap();
        assert_eq!(kept(&feed), (0, 0));
    }

    #[tokio::test]
    async fn the_feed_ends_with_its_last_sender_and_what_it_had_is_still_taken() {
        let feed = feed(8, 100);
        let mut listener = feed.subscribe();
        say(&feed, &["a"]);
        drop(feed);
        assert_eq!(listener.next().await, Some(text("a")));
        assert_eq!(listener.next().await, None);
    }
}
