//! Generates the random traces' parts: keys, invalidations, and values that say when they were true.

use super::*;

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

/// The index of a key in [`KEYS`].
pub(super) type KeyIndex = usize;

pub(super) fn key() -> impl Strategy<Value = KeyIndex> {
    0..KEYS.len()
}

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Generates pauses that end exactly at a lifetime's end, or one off.
pub(super) fn pause() -> impl Strategy<Value = u64> {
    prop::sample::select(vec![1, 199, 200, 201, 499, 500, 999, 1_000, 1_001, 3_000])
}

pub(super) fn age_max() -> impl Strategy<Value = Option<Duration>> {
    prop::option::weighted(0.2, prop::sample::select(vec![ms(0), ms(200), ms(999), ms(1_500)]))
}

pub(super) fn entry_options() -> impl Strategy<Value = EntryOptions> {
    let ttl = prop::sample::select(vec![ms(0), ms(500), ms(1_000), ms(1_000), ms(5_000), ms(5_000)]);
    let stale_for = prop::sample::select(vec![ms(0), ms(1_000), ms(3_000)]);
    let negative_ttl = prop::sample::select(vec![ms(0), ms(200), ms(1_000)]);
    (ttl, stale_for, negative_ttl, any::<bool>()).prop_map(
        |(ttl, stale_for, negative_ttl, depends_on_connection)| EntryOptions {
            ttl,
            stale_for,
            negative_ttl,
            depends_on_connection,
        },
    )
}

/// A generated invalidation.
#[derive(Debug, Clone)]
pub(super) enum InvalidationCase {
    Key(KeyIndex),
    Prefix(&'static str),
    Glob(GlobCase),
    /// A function that selects keys with this last character.
    EndsWith(char),
    DependsOnConnection,
    All,
    /// The change of a file or folder: its contents, and every search over a folder above it.
    File(&'static str),
}

/// A pattern, and a function that matches as it should.
#[derive(Clone, Copy)]
pub(super) struct GlobCase(&'static str, fn(&str) -> bool);

impl std::fmt::Debug for GlobCase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

const GLOBS: [GlobCase; 5] = [
    GlobCase("file:/a/*", |key| key == "file:/a/b"),
    GlobCase("search:/{a,e}/**", |key| key.starts_with("search:/")),
    GlobCase("**1", |key| key.ends_with('1')),
    GlobCase("n:[23]", |key| key == "n:2"),
    GlobCase("http:**", |key| key.starts_with("http:")),
];

/// Returns whether an entry matches, by its key and whether it depends on the connection.
pub(super) type MatchFn = Box<dyn Fn(&str, bool) -> bool + Send + Sync>;

/// A selection of an invalidation, with a function of the test's own that matches as it should.
pub(super) struct InvalidationPart {
    pub(super) selection: Selection,
    pub(super) matches: MatchFn,
}

pub(super) fn invalidation_case() -> impl Strategy<Value = InvalidationCase> {
    prop_oneof![
        5 => key().prop_map(InvalidationCase::Key),
        3 => prop::sample::select(vec!["http:", "n:", "search:/a", "file:/a/c", "http:GET /2/1x", "none:"])
            .prop_map(InvalidationCase::Prefix),
        3 => prop::sample::select(GLOBS.to_vec()).prop_map(InvalidationCase::Glob),
        1 => prop::sample::select(vec!['1', 'x']).prop_map(InvalidationCase::EndsWith),
        2 => Just(InvalidationCase::DependsOnConnection),
        1 => Just(InvalidationCase::All),
        4 => prop::sample::select(vec!["/a/b", "/a/c/d", "/a/c", "/e"]).prop_map(InvalidationCase::File),
    ]
}

impl InvalidationCase {
    pub(super) fn parts(&self) -> Vec<InvalidationPart> {
        let part = |selection, concerns: MatchFn| InvalidationPart { selection, matches: concerns };
        let of = |pattern: Pattern| Selection::try_from(&pattern).unwrap();
        match *self {
            Self::Key(key) => {
                vec![part(Selection::key(KEYS[key]), Box::new(move |other, _| other == KEYS[key]))]
            }
            Self::Prefix(beginning) => {
                vec![part(Selection::prefix(beginning), Box::new(move |key, _| key.starts_with(beginning)))]
            }
            Self::Glob(GlobCase(pattern, holds)) => {
                vec![part(of(Pattern::Glob(pattern.to_owned())), Box::new(move |key, _| holds(key)))]
            }
            Self::EndsWith(end) => {
                let selection = Selection::predicate(move |key| key.ends_with(end));
                vec![part(selection, Box::new(move |key, _| key.ends_with(end)))]
            }
            Self::DependsOnConnection => {
                vec![part(
                    Selection::depends_on_connection(),
                    Box::new(|_, depends_on_connection| depends_on_connection),
                )]
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
}

/// The origin of a value or an error, stored in its text. Times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SourceToken {
    /// The version of the source that was read.
    pub(super) version: u64,
    pub(super) depends_on_connection: bool,
    /// The time at which it was requested or stored.
    pub(super) as_of: u64,
    /// The time from which no caller may get it.
    pub(super) expires_at: u64,
}

impl SourceToken {
    /// Returns the origin of a value that is stored or requested at `now`.
    pub(super) fn of(version: u64, now: u64, options: EntryOptions) -> Self {
        let until = ms(now).saturating_add(options.ttl).saturating_add(options.stale_for);
        let expires_at = u64::try_from(until.as_millis()).unwrap();
        Self { version, depends_on_connection: options.depends_on_connection, as_of: now, expires_at }
    }

    fn text(self) -> String {
        let Self { version, depends_on_connection, as_of, expires_at } = self;
        format!("{version} {depends_on_connection} {as_of} {expires_at}")
    }

    fn read(text: &str) -> Self {
        let parts: Vec<_> = text.split_whitespace().collect();
        let [version, depends_on_connection, as_of, expires_at] = parts[..] else {
            panic!("no token: {text:?}")
        };
        let number = |text: &str| text.parse().unwrap();
        Self {
            version: number(version),
            depends_on_connection: depends_on_connection == "true",
            as_of: number(as_of),
            expires_at: number(expires_at),
        }
    }

    /// Returns a value of at least this many bytes.
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

/// The oldest version that may still be returned, for each key.
#[derive(Debug, Clone, Default)]
pub(super) struct VersionFloors {
    /// The oldest versions of entries that depend on the connection, and of those that do not.
    floors: [[u64; 2]; KEYS.len()],
}

impl VersionFloors {
    /// Records that an invalidation returned that began at `version`.
    pub(super) fn raise(&mut self, version: u64, concerns: impl Fn(&str, bool) -> bool) {
        for (key, floors) in KEYS.iter().zip(&mut self.floors) {
            for (depends_on_connection, floor) in [false, true].into_iter().zip(floors) {
                if concerns(key, depends_on_connection) {
                    *floor = version.max(*floor);
                }
            }
        }
    }

    /// Checks that a caller who asked under these promises may get `token`.
    pub(super) fn check(&self, key: KeyIndex, token: SourceToken) -> Result<(), String> {
        let floor = self.floors[key][usize::from(token.depends_on_connection)];
        if token.version < floor {
            return Err(format!("{}: {token:?} is from before {floor}", KEYS[key]));
        }
        Ok(())
    }

    /// Checks the same of a cached value at `now`.
    pub(super) fn check_cached(&self, key: KeyIndex, token: SourceToken, now: u64) -> Result<(), String> {
        if now >= token.expires_at {
            return Err(format!("{} at {now} ms: {token:?} is too old", KEYS[key]));
        }
        self.check(key, token)
    }
}
