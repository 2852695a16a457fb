//! The path of an actor in its tree.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The path of an actor in its supervision tree, such as `root/pool/worker-1`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(transparent)]
pub struct ActorPath(Arc<str>);

/// The error for a child's name that cannot be part of a path.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name:?} is not a valid name: use 1 to {max} letters, digits, '-', '_' or '.'", max = ActorPath::NAME_BYTES_MAX)]
pub struct InvalidName {
    /// The refused name.
    pub name: String,
}

impl ActorPath {
    /// The maximum length of a name, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// Returns the path of a tree's root.
    ///
    /// # Errors
    /// When `name` is invalid.
    pub fn root(name: &str) -> Result<Self, InvalidName> {
        check_name(name)?;
        Ok(Self(name.into()))
    }

    /// Returns the path of the child `name` below this one.
    ///
    /// # Errors
    /// When `name` is invalid.
    pub fn child(&self, name: &str) -> Result<Self, InvalidName> {
        check_name(name)?;
        Ok(Self(format!("{}/{name}", self.0).into()))
    }

    /// Returns the path under which the journal records its own events.
    pub(crate) fn journal() -> Self {
        Self("journal".into())
    }

    /// Returns the path under which a state store records its own events.
    #[cfg(feature = "redb")]
    pub(crate) fn state_store() -> Self {
        Self("state".into())
    }

    /// Returns a path from stored text, which was valid when it was written.
    #[cfg(feature = "redb")]
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last part of the path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ActorPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Checks that `name` may be part of a path.
pub(crate) fn check_name(name: &str) -> Result<(), InvalidName> {
    let fits = (1..=ActorPath::NAME_BYTES_MAX).contains(&name.len());
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits && plain { Ok(()) } else { Err(InvalidName { name: name.chars().take(80).collect() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_its_names_joined_by_slashes() {
        let path = ActorPath::root("root").and_then(|root| root.child("pool")).unwrap();
        assert_eq!((path.as_str(), path.name()), ("root/pool", "pool"));
    }

    #[test]
    fn names_that_would_break_a_path_are_refused() {
        for name in ["", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(ActorPath::root(name).is_err(), "{name:?}");
        }
    }
}
