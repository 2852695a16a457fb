//! Holds the secrets of a journal, which may grow while it is open: tokens change, and a program gets a new one at each
//! start.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::redaction::Redaction;

/// The most texts that are added later. A token that changes every minute must not grow the search for ever.
const ADDED_MAX: usize = 256;

/// The secrets known so far, and their redaction. Cheap to clone; clones share everything.
#[derive(Clone, Default)]
pub struct KnownSecrets(Arc<Inner>);

#[derive(Default)]
struct Inner {
    configured: Vec<String>,
    added: Mutex<VecDeque<String>>,
    redaction: RwLock<Redaction>,
}

impl KnownSecrets {
    /// Creates the list with texts that are never forgotten. An empty text is ignored; any other counts, so leave out
    /// what every text contains.
    #[must_use]
    pub fn new(configured: Vec<String>) -> Self {
        let redaction = RwLock::new(Redaction::new(&configured));
        Self(Arc::new(Inner { configured, added: Mutex::default(), redaction }))
    }

    /// Returns the redaction of all texts so far.
    #[must_use]
    pub fn redaction(&self) -> Redaction {
        self.0.redaction.read().clone()
    }

    /// Adds texts. Of added ones, the newest 256 count. Costs milliseconds for a new text, and nothing for a known one.
    pub fn add(&self, texts: impl IntoIterator<Item = String>) {
        let Inner { configured, added, redaction } = &*self.0;
        let mut added = added.lock();
        let mut is_changed = false;
        for text in texts {
            if text.is_empty() || configured.contains(&text) || added.contains(&text) {
                continue;
            }
            added.push_back(text);
            is_changed = true;
        }
        if !is_changed {
            return;
        }
        while added.len() > ADDED_MAX {
            added.pop_front();
        }
        let all: Vec<String> = configured.iter().chain(added.iter()).cloned().collect();
        *redaction.write() = Redaction::new(&all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_added_secrets_and_all_configured_ones_count() {
        let secrets = KnownSecrets::new(vec!["configured".to_owned()]);
        secrets.add((0..=ADDED_MAX).map(|number| format!("<{number}>")));
        secrets.add([String::new(), "configured".to_owned()]);
        let redaction = secrets.redaction();
        for secret in ["configured".to_owned(), "<1>".to_owned(), format!("<{ADDED_MAX}>")] {
            assert_eq!(redaction.redact(&secret), "[redacted]", "{secret}");
        }
        assert_eq!(redaction.redact("<0>"), "<0>", "the oldest gave way");
    }
}
