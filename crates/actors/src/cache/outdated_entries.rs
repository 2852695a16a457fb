//! Drops the entries that a write makes outdated, for the transport's layer.

use std::mem;
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay_runtime::Address;

use super::actor::{CacheMessage, InvalidatedBy, Invalidation};
use super::handle::CacheHandle;
use super::key;
use super::pattern::Selection;
use super::write_invalidation::{WriteRequest, WriteRule, invalidated_by};
use crate::request::Request;
use crate::transport::layers::OutdatedData;

/// Finds and drops what writes make outdated.
pub struct WriteInvalidator {
    /// The cache.
    pub cache: CacheHandle,
    /// The cache's actor. It is set before anything runs.
    pub actor: Arc<OnceLock<Address<CacheMessage>>>,
    /// The rules of the embedder.
    pub rules: Arc<[WriteRule]>,
}

impl WriteInvalidator {
    /// Returns the entries that `write` makes outdated.
    #[must_use]
    pub fn outdated_by(&self, write: &Request) -> OutdatedEntries {
        let write = WriteRequest::from(write);
        OutdatedEntries {
            cache: self.cache.clone(),
            actor: Arc::clone(&self.actor),
            path: write.path.to_owned(),
            selections: invalidated_by(write, &self.rules),
        }
    }
}

/// The entries that one write makes outdated.
pub struct OutdatedEntries {
    cache: CacheHandle,
    actor: Arc<OnceLock<Address<CacheMessage>>>,
    /// The path of the write, for the journal.
    path: String,
    selections: Vec<Selection>,
}

impl OutdatedEntries {
    fn invalidation(&self) -> Invalidation {
        let (pattern, selections) = (self.path.clone(), self.selections.clone());
        Invalidation { by: InvalidatedBy::Write, pattern, selections }
    }
}

impl OutdatedData for OutdatedEntries {
    fn add_all_responses(&mut self) {
        self.selections.push(Selection::prefix(key::RESPONSE_PREFIX));
    }

    fn invalidate(&self) -> BoxFuture<'_, ()> {
        async {
            if let Some(actor) = self.actor.get()
                && self.cache.would_invalidate(&self.selections)
            {
                let message = |reply| CacheMessage::Invalidate {
                    invalidation: self.invalidation(),
                    reply: Some(reply),
                };
                // An actor that crashed or stopped leaves a cold cache.
                let _ = actor.call(message).await;
            }
        }
        .boxed()
    }

    fn invalidate_unawaited(&mut self) {
        if !self.cache.would_invalidate(&self.selections) {
            return;
        }
        let message = CacheMessage::Invalidate { invalidation: self.invalidation(), reply: None };
        if self.actor.get().is_none_or(|actor| actor.try_cast(message).is_err()) {
            self.cache.invalidate_now(mem::take(&mut self.selections));
        }
    }
}
