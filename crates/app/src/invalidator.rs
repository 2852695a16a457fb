//! A transport that drops from the cache what a write makes invalid, before anybody has the answer.
//!
//! It stands below the queue and the agents, so it sees every attempt, in whatever way that ends.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use mainstay_actors::cache::{
    CacheHandle, CacheMessage, InvalidatedBy, Invalidation, Selection, Write, WriteRule, invalidated_by, key,
};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{Answer, AnswerBody, OpenAnswer, Reach, Transport, TransportError};
use mainstay_runtime::Address;

/// See the module.
pub(crate) struct Invalidator {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) cache: CacheHandle,
    /// It is set before anything runs.
    pub(crate) actor: Arc<OnceLock<Address<CacheMessage>>>,
    pub(crate) rules: Arc<[WriteRule]>,
}

impl Invalidator {
    fn aftermath(&self, write: Write<'_>) -> Aftermath {
        Aftermath {
            cache: self.cache.clone(),
            actor: Arc::clone(&self.actor),
            path: write.path.to_owned(),
            selections: invalidated_by(write, &self.rules),
            is_due: true,
        }
    }
}

impl Transport for Invalidator {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        let Some(write) = Write::of(request) else { return self.transport.attempt(request, timeout) };
        async move {
            let mut aftermath = self.aftermath(write);
            let ended = self.transport.attempt(request, timeout).await;
            if ended.as_ref().is_ok_and(|answer| answer.is_redirected) {
                // It was carried out elsewhere, and nobody tells where.
                aftermath.selections.push(Selection::prefix(key::RESPONSES));
            }
            aftermath.settle(may_have_acted(&ended)).await;
            ended
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
        let Some(write) = Write::of(request) else { return self.transport.open(request, timeout) };
        async move {
            let aftermath = self.aftermath(write);
            let opened = self.transport.open(request, timeout).await;
            let may_have_acted = may_have_acted(&opened);
            match opened {
                Err(error) => {
                    aftermath.settle(may_have_acted).await;
                    Err(error)
                }
                Ok(answer) => {
                    aftermath.carry_out().await;
                    // The backend may go on changing things for as long as it answers.
                    let end = stream::once(aftermath.settle(true)).filter_map(|()| async { None });
                    Ok(OpenAnswer { body: AnswerBody::new(answer.body.chain(end)), ..answer })
                }
            }
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

fn may_have_acted<T>(ended: &Result<T, TransportError>) -> bool {
    !matches!(ended, Err(TransportError { reach: Reach::NotSent, .. }))
}

/// What is due once a write has ended. It is carried out also where that is cut off.
struct Aftermath {
    cache: CacheHandle,
    actor: Arc<OnceLock<Address<CacheMessage>>>,
    path: String,
    selections: Vec<Selection>,
    is_due: bool,
}

impl Aftermath {
    async fn settle(mut self, may_have_acted: bool) {
        if may_have_acted {
            self.carry_out().await;
        }
        self.is_due = false;
    }

    async fn carry_out(&self) {
        if let Some(actor) = self.actor.get()
            && self.cache.concerns(&self.selections)
        {
            let message =
                |reply| CacheMessage::Invalidate { invalidation: self.invalidation(), reply: Some(reply) };
            // An actor that crashed or stopped leaves a cold cache.
            let _ = actor.call(message).await;
        }
    }

    fn invalidation(&self) -> Invalidation {
        Invalidation {
            by: InvalidatedBy::Write,
            pattern: self.path.clone(),
            selections: self.selections.clone(),
        }
    }
}

impl Drop for Aftermath {
    fn drop(&mut self) {
        if !self.is_due || !self.cache.concerns(&self.selections) {
            return;
        }
        let message = CacheMessage::Invalidate { invalidation: self.invalidation(), reply: None };
        if self.actor.get().is_none_or(|actor| actor.try_cast(message).is_err()) {
            self.cache.drop_at_once(std::mem::take(&mut self.selections));
        }
    }
}
