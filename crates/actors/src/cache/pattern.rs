//! Selects the entries that an invalidation concerns: pure.

use std::fmt;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::key::KEY_BYTES_MAX;

/// The most wildcards in a pattern: stars and alternatives as in `{one,other}`. Alternatives can nest, and the
/// compiler recurses into them: thousands would overflow the stack. With thousands of stars one long key matches in
/// many ways, which takes seconds to try.
const WILDCARDS_MAX: usize = 32;

/// A pattern of keys, which selects the entries to invalidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", content = "pattern", rename_all = "snake_case")]
pub enum Pattern {
    /// The entry with this key.
    Key(String),
    /// Every entry whose key has this prefix.
    Prefix(String),
    /// Every entry whose whole key matches. `*` and `?` match text without `/`, `**` matches any text, `[ab]` and
    /// `{one,other}` match one of those. Stars and braces are at most 32 together.
    Glob(String),
    /// Every entry.
    All,
}

/// Says why a pattern is invalid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// The pattern is longer than any key.
    #[error("a pattern for keys has at most {KEY_BYTES_MAX} bytes")]
    TooLong,
    /// The pattern has too many stars and alternatives.
    #[error("a pattern for keys has at most {WILDCARDS_MAX} stars and choices in braces")]
    TooManyWildcards,
    /// The pattern is not a glob.
    #[error("{pattern:?} is no pattern for keys: {reason}")]
    Glob {
        /// The pattern.
        pattern: String,
        /// The syntax error.
        reason: String,
    },
}

/// A compiled selection of entries. Cheap to clone.
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

/// The properties of an entry that a selection can test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) key: &'a str,
    pub(super) depends_on_connection: bool,
}

impl Selection {
    /// Selects the entry with this key.
    #[must_use]
    pub fn key(key: &str) -> Self {
        Self(SelectionRule::Key(key.into()))
    }

    /// Selects every entry whose key has this prefix.
    #[must_use]
    pub fn prefix(beginning: &str) -> Self {
        Self(SelectionRule::Prefix(beginning.into()))
    }

    /// Selects every entry for whose key the function returns true. The cache's actor calls it for every key; a panic
    /// in it empties the cache.
    #[must_use]
    pub fn predicate(holds: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(SelectionRule::Predicate(Arc::new(holds)))
    }

    /// Selects every entry whose key matches this pattern; see [`Pattern::Glob`].
    ///
    /// # Errors
    /// Fails if the glob is invalid, longer than any key, or has too many stars and alternatives.
    pub fn glob(pattern: &str) -> Result<Self, PatternError> {
        if pattern.len() > KEY_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if count_wildcards(pattern) > WILDCARDS_MAX {
            return Err(PatternError::TooManyWildcards);
        }
        glob(pattern).map(Self)
    }

    /// Selects every entry.
    #[must_use]
    pub const fn all() -> Self {
        Self(SelectionRule::All)
    }

    /// Selects every entry that depends on the backend's announcements over the connection.
    #[must_use]
    pub fn depends_on_connection() -> Self {
        Self(SelectionRule::DependsOnConnection)
    }

    pub(super) fn matches(&self, Candidate { key, depends_on_connection }: Candidate<'_>) -> bool {
        match &self.0 {
            SelectionRule::Key(wanted) => key == &**wanted,
            SelectionRule::Prefix(beginning) => key.starts_with(&**beginning),
            SelectionRule::Glob { matcher, .. } => matcher.is_match(key),
            SelectionRule::Predicate(holds) => holds(key),
            SelectionRule::DependsOnConnection => depends_on_connection,
            SelectionRule::All => true,
        }
    }

    /// Returns whether it matches a text that is not an entry's key.
    #[must_use]
    pub fn matches_str(&self, text: &str) -> bool {
        self.matches(Candidate { key: text, depends_on_connection: false })
    }

    /// Returns the only key that this can match.
    pub(super) fn exact_key(&self) -> Option<&str> {
        if let SelectionRule::Key(key) = &self.0 { Some(key) } else { None }
    }

    /// Returns the prefix that all matching keys share.
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

/// Counts stars and alternatives. Those in a class are counted too, though they are neither: this is a bound.
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

/// Converts to globset's syntax. globset treats `**` as any text only if it fills a segment; elsewhere it is a `*`,
/// which stops at a `/`.
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
                // Without a slash, or with at least one.
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
        let expected = ["file:/a", "http:/a/1", "http:/a/1/x"];
        assert_eq!(matched(Pattern::Glob(text("{http:/a/1**,file:**}"))), expected);
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
            // A brace in a class closes nothing, and a brace does not close a class.
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
