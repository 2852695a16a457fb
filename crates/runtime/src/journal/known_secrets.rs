//! Holds the secrets of a journal, which may grow while it is open: tokens change, and a program gets a new one at each
//! start.

use std::collections::VecDeque;

use parking_lot::{Mutex, RwLock};

use super::redaction::Redaction;

/// The most texts that are added later. A token that changes every minute must not grow the search for ever.
const ADDED_MAX: usize = 256;

/// The secrets known so far, and their redaction.
pub(super) struct KnownSecrets {
    configured: Vec<String>,
    added: Mutex<VecDeque<String>>,
    redaction: RwLock<Redaction>,
}

impl KnownSecrets {
    pub(super) fn new(configured: &[String]) -> Self {
        Self {
            configured: configured.to_vec(),
            added: Mutex::default(),
            redaction: RwLock::new(Redaction::new(configured)),
        }
    }

    /// Returns the redaction of all texts so far.
    pub(super) fn redaction(&self) -> Redaction {
        self.redaction.read().clone()
    }

    /// Adds texts; the oldest added ones are forgotten beyond [`ADDED_MAX`].
    pub(super) fn add(&self, texts: impl IntoIterator<Item = String>) {
        let mut added = self.added.lock();
        let mut is_changed = false;
        for text in texts {
            if text.is_empty() || self.configured.contains(&text) || added.contains(&text) {
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
        let all: Vec<String> = self.configured.iter().chain(added.iter()).cloned().collect();
        *self.redaction.write() = Redaction::new(&all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_added_secrets_and_all_configured_ones_count() {
        let secrets = KnownSecrets::new(&["configured".to_owned()]);
        secrets.add((0..=ADDED_MAX).map(|number| format!("<{number}>")));
        secrets.add([String::new(), "configured".to_owned()]);
        let redaction = secrets.redaction();
        for secret in ["configured".to_owned(), "<1>".to_owned(), format!("<{ADDED_MAX}>")] {
            assert_eq!(redaction.redact(&secret), "[redacted]", "{secret}");
        }
        assert_eq!(redaction.redact("<0>"), "<0>", "the oldest gave way");
    }
}
