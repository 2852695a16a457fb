//! Which entries an invalidation concerns: pure.

use std::fmt;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::KEY_BYTES_MAX;

/// The most stars and choices, as in `{one,other}`, in a pattern. Choices may stand in each other, and what turns a pattern
/// into a matcher goes down into each: where there were thousands, it would run out of stack. Of a pattern of thousands of
/// stars, a single long key can be matched in many ways, and to follow them all takes seconds.
const WILDCARDS_MAX: usize = 32;

/// Which entries an invalidation concerns, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "pattern", rename_all = "snake_case")]
pub enum Pattern {
    /// The entry with this key.
    Key(String),
    /// Every entry whose key begins so.
    Prefix(String),
    /// Every entry whose key this matches from its first character to its last: `*` and `?` stand for what has no `/` in
    /// it, `**` for anything, `[ab]` and `{one,other}` for one of those. Stars and braces are at most 32 together.
    Glob(String),
    /// Every entry.
    All,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// It is longer than any key.
    #[error("a pattern for keys has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// It has too many stars and choices.
    #[error("a pattern for keys has at most {WILDCARDS_MAX} stars and choices in braces")]
    TooManyWildcards,
    /// It is no glob.
    #[error("{pattern:?} is no pattern for keys: {reason}")]
    Glob {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Which entries an invalidation concerns, ready to be asked. Cheap to clone.
#[derive(Clone)]
pub struct Selection(SelectionRule);

#[derive(Clone)]
enum SelectionRule {
    Key(Arc<str>),
    Prefix(Arc<str>),
    Glob { literal_prefix: Arc<str>, matcher: Arc<GlobMatcher> },
    Predicate(Arc<dyn Fn(&str) -> bool + Send + Sync>),
    DependsOnConnection,
    All,
}

/// What an entry shows to a selection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) key: &'a str,
    pub(super) depends_on_connection: bool,
}

impl Selection {
    /// The entry with this key.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self(SelectionRule::Key(key.into()))
    }

    /// Every entry whose key begins so.
    #[must_use]
    pub fn prefix(beginning: &str) -> Self {
        Self(SelectionRule::Prefix(beginning.into()))
    }

    /// Every entry for whose key this holds. It is called for every key that there is, on the cache's actor: a panic in it
    /// leaves a cold cache.
    #[must_use]
    pub fn predicate(holds: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(SelectionRule::Predicate(Arc::new(holds)))
    }

    /// Every entry whose key this pattern matches; see [`Pattern::Glob`].
    ///
    /// # Errors
    /// When it is no pattern, is longer than any key, or has too many stars and choices.
    pub fn glob(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > KEY_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if count_wildcards(pattern) > WILDCARDS_MAX {
            return Err(PatternError::TooManyWildcards);
        }
        glob(pattern).map(Self)
    }

    /// Every entry.
    #[must_use]
    pub const fn all() -> Self {
        Self(SelectionRule::All)
    }

    /// Every entry that was kept on the understanding that the backend says over the link when it changes.
    #[must_use]
    pub fn depends_on_connection() -> Self {
        Self(SelectionRule::DependsOnConnection)
    }

    pub(super) fn matches(
        &self,
        Candidate { key, depends_on_connection: is_of_the_link }: Candidate<'_>,
    ) -> bool {
        match &self.0 {
            SelectionRule::Key(wanted) => key == &**wanted,
            SelectionRule::Prefix(beginning) => key.starts_with(&**beginning),
            SelectionRule::Glob { matcher, .. } => matcher.is_match(key),
            SelectionRule::Predicate(holds) => holds(key),
            SelectionRule::DependsOnConnection => is_of_the_link,
            SelectionRule::All => true,
        }
    }

    /// Whether it matches a text that is no key of an entry.
    pub(super) fn matches_str(&self, text: &str) -> bool {
        self.matches(Candidate { key: text, depends_on_connection: false })
    }

    /// The one key that this can match.
    pub(super) fn exact_key(&self) -> Option<&str> {
        if let SelectionRule::Key(key) = &self.0 { Some(key) } else { None }
    }

    /// What every key that this matches begins with.
    pub(super) fn literal_prefix(&self) -> &str {
        match &self.0 {
            SelectionRule::Key(text)
            | SelectionRule::Prefix(text)
            | SelectionRule::Glob { literal_prefix: text, .. } => text,
            SelectionRule::Predicate(_) | SelectionRule::DependsOnConnection | SelectionRule::All => "",
        }
    }
}

impl TryFrom<&Pattern> for Selection {
    type Error = PatternError;

    fn try_from(pattern: &Pattern) -> Result<Self, PatternError> {
        let (Pattern::Key(text) | Pattern::Prefix(text) | Pattern::Glob(text)) = pattern else {
            return Ok(Self::all());
        };
        if text.len() > KEY_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(match pattern {
            Pattern::Key(key) => Self::key(key),
            Pattern::Prefix(beginning) => Self::prefix(beginning),
            _ => Self::glob(text)?,
        })
    }
}

fn glob(pattern: &str) -> Result<SelectionRule, PatternError> {
    let built =
        GlobBuilder::new(&to_globset_syntax(pattern)).literal_separator(true).backslash_escape(true).build();
    let glob = built.map_err(|error| PatternError::Glob {
        pattern: pattern.to_owned(),
        reason: error.kind().to_string(),
    })?;
    let literal =
        pattern.find(['*', '?', '[', ']', '{', '}', '\\', '!']).map_or(pattern, |end| &pattern[..end]);
    Ok(SelectionRule::Glob { literal_prefix: literal.into(), matcher: Arc::new(glob.compile_matcher()) })
}

/// How many stars and choices it may have. What stands in a class is neither, and is counted all the same: this is a bound.
fn count_wildcards(pattern: &str) -> usize {
    let (mut count, mut before, mut chars) = (0, None, pattern.chars());
    while let Some(char) = chars.next() {
        if char == '\\' {
            chars.next();
        } else if char == '{' || (char == '*' && before != Some('*')) {
            count += 1;
        }
        before = Some(char);
    }
    count
}

/// globset takes `**` for anything only where it fills a segment; elsewhere it is one `*` for it, which ends at a `/`.
fn to_globset_syntax(pattern: &str) -> String {
    let mut words = String::with_capacity(pattern.len());
    let mut rest = pattern.char_indices().peekable();
    let mut is_in_class = false;
    while let Some((at, char)) = rest.next() {
        match char {
            '\\' => {
                words.push(char);
                words.extend(rest.next().map(|(_, escaped)| escaped));
            }
            '*' if !is_in_class && pattern[at..].starts_with("**") => {
                let run = pattern[at..].len() - pattern[at..].trim_start_matches('*').len();
                for _ in 1..run {
                    rest.next();
                }
                let (before, after) = (&pattern[..at], &pattern[at + run..]);
                let is_segment = (before.is_empty() || before.ends_with('/'))
                    && (after.is_empty() || after.starts_with('/'));
                // No slash, or at least one.
                words.push_str(if is_segment { "**" } else { "{*,*/**/*}" });
            }
            _ => {
                is_in_class = if is_in_class { char != ']' } else { char == '[' };
                words.push(char);
            }
        }
    }
    words
}

impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SelectionRule::Key(key) => write!(f, "key {key:?}"),
            SelectionRule::Prefix(beginning) => write!(f, "prefix {beginning:?}"),
            SelectionRule::Glob { matcher, .. } => write!(f, "glob {:?}", matcher.glob().glob()),
            SelectionRule::Predicate(_) => f.write_str("predicate"),
            SelectionRule::DependsOnConnection => f.write_str("of the link"),
            SelectionRule::All => f.write_str("all"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(pattern: Pattern) -> Vec<&'static str> {
        let keys = ["file:/a", "http:/a/1", "http:/a/1/x", "http:/a/2", "http:/b"];
        let selection = Selection::try_from(&pattern).unwrap();
        let chosen = keys.into_iter().filter(|key| {
            let is_chosen = selection.matches(Candidate { key, depends_on_connection: false });
            assert!(!is_chosen || key.starts_with(selection.literal_prefix()), "{selection:?} {key}");
            is_chosen
        });
        chosen.collect()
    }

    #[test]
    fn pattern_kinds_match_expected_keys() {
        let text = |text: &str| text.to_owned();
        assert_eq!(matched(Pattern::Key(text("http:/a/1"))), ["http:/a/1"]);
        assert_eq!(matched(Pattern::Prefix(text("http:/a/"))), ["http:/a/1", "http:/a/1/x", "http:/a/2"]);
        assert_eq!(matched(Pattern::Glob(text("http:/a/*"))), ["http:/a/1", "http:/a/2"]);
        assert_eq!(matched(Pattern::Glob(text("http:/**"))).len(), 4);
        assert_eq!(matched(Pattern::Glob(text("{file,http}:/[ab]"))), ["file:/a", "http:/b"]);
        assert_eq!(matched(Pattern::Glob(text("http:/a"))), [""; 0]);
        for anything in ["http:**", "h**", "{http,none}:**", "http:/**", "***p:/**", "**/?", "http:**/**"] {
            assert!(matched(Pattern::Glob(text(anything))).len() >= 3, "{anything}");
        }
        assert_eq!(matched(Pattern::Glob(text("**1**x"))), ["http:/a/1/x"]);
        assert_eq!(matched(Pattern::Glob(text("**a"))), ["file:/a"]);
        assert_eq!(matched(Pattern::Glob(text("http:/a/[**12]"))), ["http:/a/1", "http:/a/2"]);
        assert_eq!(
            matched(Pattern::Glob(text("{http:/a/1**,file:**}"))),
            ["file:/a", "http:/a/1", "http:/a/1/x"]
        );
        assert_eq!(matched(Pattern::Glob(text("http:\\**"))), [""; 0]);
        assert_eq!(matched(Pattern::All).len(), 5);
    }

    #[test]
    fn pattern_malformed_or_too_long_errors() {
        let refusal = |pattern| Selection::try_from(&pattern).unwrap_err().to_string();
        assert_eq!(
            refusal(Pattern::Glob("http:/[a".to_owned())),
            "\"http:/[a\" is no pattern for keys: unclosed character class; missing ']'"
        );
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(refusal(Pattern::Prefix(long)), "a pattern for keys has at most 8192 bytes");
    }

    #[test]
    fn glob_too_many_wildcards_errors_and_long_glob_compiles() {
        let nested = |depth: usize| format!("{}a{}", "{".repeat(depth), "}".repeat(depth));
        let refusal = |pattern: &str| Selection::glob(pattern).unwrap_err().to_string();
        let expected = "a pattern for keys has at most 32 stars and choices in braces";
        for depth in [WILDCARDS_MAX + 1, 300, 2000] {
            assert_eq!(refusal(&nested(depth)), expected, "{depth}");
            // A brace in a class closes nothing, and a class is not closed by a brace.
            assert_eq!(refusal(&"{[}]".repeat(depth)), expected, "{depth}");
            assert_eq!(refusal(&format!("[\\]{}", nested(depth))), expected, "{depth}");
            assert_eq!(refusal(&"**a".repeat(depth)), expected, "{depth}");
        }
        assert!(Selection::glob(&nested(WILDCARDS_MAX)).unwrap().matches_str("a"));
        assert!(Selection::glob(&"**/".repeat(WILDCARDS_MAX)).is_ok());
        assert!(Selection::glob(&"\\{\\*".repeat(100)).unwrap().matches_str(&"{*".repeat(100)));
        for part in ["***", "?", "[a-z]", "[!\u{1}-\u{10ffff}]", "[", "]", "\\", "}", ","] {
            let long = part.repeat(KEY_BYTES_MAX / part.len());
            let _ = Selection::glob(&long).map(|selection| selection.matches_str(&"a/".repeat(4096)));
        }
    }
}
