//! What the random traces are made of: keys, orders to invalidate, and values that say when they were true.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::{CacheValue, InvalidatedBy, Invalidation, Keeping, Pattern, Selection};
use crate::error::{Error, Reason};

pub(super) const KEYS: [&str; 9] = [
    "file:/a/b",
    "file:/a/c/d",
    "search:/a//x",
    "search:/a/c//x",
    "search:/e//x",
    "http:GET /1",
    "http:GET /2/1",
    "n:1",
    "n:2",
];

/// A key, by its place in [`KEYS`].
pub(super) type Key = usize;

pub(super) fn key() -> impl Strategy<Value = Key> {
    0..KEYS.len()
}

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Times that meet the ends of what is kept exactly, and miss them by one.
pub(super) fn pause() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1, 199, 200, 201, 499, 500, 999, 1_000, 1_001, 3_000])
}

pub(super) fn age_max() -> impl Strategy<Value = Option<Duration>> {
    prop::option::weighted(0.2, prop::sample::select(vec![ms(0), ms(200), ms(999), ms(1_500)]))
}

pub(super) fn keeping() -> impl Strategy<Value = Keeping> {
    let ttl = prop::sample::select(vec![ms(0), ms(500), ms(1_000), ms(1_000), ms(5_000), ms(5_000)]);
    let stale_for = prop::sample::select(vec![ms(0), ms(1_000), ms(3_000)]);
    let failures_for = prop::sample::select(vec![ms(0), ms(200), ms(1_000)]);
    (ttl, stale_for, failures_for, any::<bool>()).prop_map(
        |(ttl, stale_for, failures_for, is_of_the_link)| Keeping {
            ttl,
            stale_for,
            failures_for,
            is_of_the_link,
        },
    )
}

/// Something is to be invalidated.
#[derive(Debug, Clone)]
pub(super) enum Order {
    Key(Key),
    Prefix(&'static str),
    Glob(Glob),
    /// By a function: what ends so.
    EndsWith(char),
    OfTheLink,
    All,
    /// What a change of this file or folder takes away: its own contents, and every search over a folder that it is in.
    File(&'static str),
}

/// A pattern, and what it means.
#[derive(Clone, Copy)]
pub(super) struct Glob(&'static str, fn(&str) -> bool);

impl std::fmt::Debug for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

const GLOBS: [Glob; 5] = [
    Glob("file:/a/*", |key| key == "file:/a/b"),
    Glob("search:/{a,e}/**", |key| key.starts_with("search:/")),
    Glob("**1", |key| key.ends_with('1')),
    Glob("n:[23]", |key| key == "n:2"),
    Glob("http:**", |key| key.starts_with("http:")),
];

/// Whether a key is concerned, with whether what stands there is of the link.
pub(super) type Concerns = Box<dyn Fn(&str, bool) -> bool + Send + Sync>;

/// One of the selections of an order, and what it means in plain words of the test's own.
pub(super) struct Part {
    pub(super) selection: Selection,
    pub(super) concerns: Concerns,
}

pub(super) fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        5 => key().prop_map(Order::Key),
        3 => prop::sample::select(vec!["http:", "n:", "search:/a", "file:/a/c", "http:GET /2/1x", "none:"])
            .prop_map(Order::Prefix),
        3 => prop::sample::select(GLOBS.to_vec()).prop_map(Order::Glob),
        1 => prop::sample::select(vec!['1', 'x']).prop_map(Order::EndsWith),
        2 => Just(Order::OfTheLink),
        1 => Just(Order::All),
        4 => prop::sample::select(vec!["/a/b", "/a/c/d", "/a/c", "/e"]).prop_map(Order::File),
    ]
}

impl Order {
    pub(super) fn parts(&self) -> Vec<Part> {
        let part = |selection, concerns: Concerns| Part { selection, concerns };
        let of = |pattern: Pattern| Selection::try_from(&pattern).unwrap();
        match *self {
            Self::Key(key) => {
                vec![part(Selection::key(KEYS[key]), Box::new(move |other, _| other == KEYS[key]))]
            }
            Self::Prefix(beginning) => {
                vec![part(Selection::prefix(beginning), Box::new(move |key, _| key.starts_with(beginning)))]
            }
            Self::Glob(Glob(pattern, holds)) => {
                vec![part(of(Pattern::Glob(pattern.to_owned())), Box::new(move |key, _| holds(key)))]
            }
            Self::EndsWith(end) => {
                let selection = Selection::predicate(move |key| key.ends_with(end));
                vec![part(selection, Box::new(move |key, _| key.ends_with(end)))]
            }
            Self::OfTheLink => {
                vec![part(Selection::of_the_link(), Box::new(|_, is_of_the_link| is_of_the_link))]
            }
            Self::All => vec![part(of(Pattern::All), Box::new(|_, _| true))],
            Self::File(path) => {
                let contents = format!("file:{path}");
                let mut parts =
                    vec![part(Selection::key(&contents), Box::new(move |key, _| key == contents))];
                let folders =
                    path.match_indices('/').map(|(end, _)| &path[..end]).filter(|folder| !folder.is_empty());
                parts.extend(folders.map(|folder| {
                    let searches = format!("search:{folder}//");
                    part(Selection::prefix(&searches), Box::new(move |key, _| key.starts_with(&searches)))
                }));
                parts
            }
        }
    }

    pub(super) fn invalidation(&self) -> Invalidation {
        let selections = self.parts().into_iter().map(|part| part.selection).collect();
        Invalidation { by: InvalidatedBy::Predicate, pattern: format!("{self:?}"), selections }
    }

    /// Whether it takes this away.
    pub(super) fn concerns(&self, key: &str, is_of_the_link: bool) -> bool {
        self.parts().iter().any(|part| (part.concerns)(key, is_of_the_link))
    }
}

/// What stands in a value, or in the details of an error: where it comes from. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Of the source, when this was read from it.
    pub(super) version: u64,
    pub(super) is_of_the_link: bool,
    /// When whoever loaded or put it asked.
    pub(super) true_at: u64,
    /// From when on nobody may be given it.
    pub(super) useless_from: u64,
}

impl Token {
    /// A value that is put, or whose load begins, at `now`.
    pub(super) fn of(version: u64, now: u64, keeping: Keeping) -> Self {
        let until = ms(now).saturating_add(keeping.ttl).saturating_add(keeping.stale_for);
        let useless_from = u64::try_from(until.as_millis()).unwrap();
        Self { version, is_of_the_link: keeping.is_of_the_link, true_at: now, useless_from }
    }

    fn text(self) -> String {
        let Self { version, is_of_the_link, true_at, useless_from } = self;
        format!("{version} {is_of_the_link} {true_at} {useless_from}")
    }

    fn read(text: &str) -> Self {
        let parts: Vec<_> = text.split_whitespace().collect();
        let [version, is_of_the_link, true_at, useless_from] = parts[..] else {
            panic!("no token: {text:?}")
        };
        let number = |text: &str| text.parse().unwrap();
        Self {
            version: number(version),
            is_of_the_link: is_of_the_link == "true",
            true_at: number(true_at),
            useless_from: number(useless_from),
        }
    }

    /// A value that takes at least so many bytes.
    pub(super) fn value(self, bytes: usize) -> CacheValue {
        let mut text = self.text();
        text.extend(std::iter::repeat_n(' ', bytes.saturating_sub(text.len())));
        CacheValue::Bytes(Bytes::from(text))
    }

    pub(super) fn of_value(value: &CacheValue) -> Self {
        let CacheValue::Bytes(bytes) = value else { panic!("not put here: {value:?}") };
        Self::read(std::str::from_utf8(bytes).unwrap())
    }

    pub(super) fn error(self, reason: Reason) -> Error {
        Error::new(reason).with_details(&self.text())
    }

    pub(super) fn of_error(error: &Error) -> Self {
        Self::read(error.details.as_deref().unwrap_or_default())
    }
}

/// The oldest version that may still be told, for each key.
#[derive(Debug, Clone, Default)]
pub(super) struct Promises {
    /// … of what depends on the link, and of what does not.
    floors: [[u64; 2]; KEYS.len()],
}

impl Promises {
    /// An invalidation has returned that was ordered when the source had reached `version`.
    pub(super) fn raise(&mut self, version: u64, concerns: impl Fn(&str, bool) -> bool) {
        for (key, floors) in KEYS.iter().zip(&mut self.floors) {
            for (is_of_the_link, floor) in [false, true].into_iter().zip(floors) {
                if concerns(key, is_of_the_link) {
                    *floor = version.max(*floor);
                }
            }
        }
    }

    /// Whether one who asked when this was promised may be told `token`.
    pub(super) fn check(&self, key: Key, token: Token) -> Result<(), String> {
        let floor = self.floors[key][usize::from(token.is_of_the_link)];
        if token.version < floor {
            return Err(format!("{}: {token:?} is from before {floor}", KEYS[key]));
        }
        Ok(())
    }

    /// … at `now`, when it was found there.
    pub(super) fn check_kept(&self, key: Key, token: Token, now: u64) -> Result<(), String> {
        if now >= token.useless_from {
            return Err(format!("{} at {now} ms: {token:?} is too old", KEYS[key]));
        }
        self.check(key, token)
    }
}
