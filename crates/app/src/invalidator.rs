//! A transport that invalidates cached responses after a write, before the caller gets the answer.
//!
//! It stands below the queue and the agents, so it sees every attempt and every outcome.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use mainstay_actors::cache::{
    CacheHandle, CacheMessage, InvalidatedBy, Invalidation, Selection, WriteRequest, WriteRule,
    invalidated_by, key,
};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{
    FullResponse, ResponseBody, SendProgress, StreamingResponse, Transport, TransportError,
};
use mainstay_runtime::Address;

/// See the module.
pub(crate) struct InvalidationLayer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) cache: CacheHandle,
    /// The cache's actor, set before anything runs.
    pub(crate) actor: Arc<OnceLock<Address<CacheMessage>>>,
    pub(crate) rules: Arc<[WriteRule]>,
}

impl InvalidationLayer {
    fn pending(&self, write: WriteRequest<'_>) -> PendingInvalidation {
        PendingInvalidation {
            cache: self.cache.clone(),
            actor: Arc::clone(&self.actor),
            path: write.path.to_owned(),
            selections: invalidated_by(write, &self.rules),
            is_pending: true,
        }
    }
}

impl Transport for InvalidationLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
        let Some(write) = WriteRequest::from_request(request) else {
            return self.transport.send(request, timeout);
        };
        async move {
            let mut aftermath = self.pending(write);
            let ended = self.transport.send(request, timeout).await;
            if ended.as_ref().is_ok_and(|answer| answer.is_redirected) {
                // The write took effect at another path, which is unknown.
                aftermath.selections.push(Selection::prefix(key::RESPONSE_PREFIX));
            }
            aftermath.finish(may_have_taken_effect(&ended)).await;
            ended
        }
        .boxed()
    }

    fn send_streaming<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let Some(write) = WriteRequest::from_request(request) else {
            return self.transport.send_streaming(request, timeout);
        };
        async move {
            let aftermath = self.pending(write);
            let opened = self.transport.send_streaming(request, timeout).await;
            let may_have_acted = may_have_taken_effect(&opened);
            match opened {
                Err(error) => {
                    aftermath.finish(may_have_acted).await;
                    Err(error)
                }
                Ok(answer) => {
                    aftermath.apply().await;
                    // The backend may change data as long as its response goes on.
                    let end = stream::once(aftermath.finish(true)).filter_map(|()| async { None });
                    Ok(StreamingResponse { body: ResponseBody::new(answer.body.chain(end)), ..answer })
                }
            }
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

fn may_have_taken_effect<T>(ended: &Result<T, TransportError>) -> bool {
    !matches!(ended, Err(TransportError { progress: SendProgress::NotSent, .. }))
}

/// Invalidates what a write concerns once it has ended, also where the write was aborted.
struct PendingInvalidation {
    cache: CacheHandle,
    actor: Arc<OnceLock<Address<CacheMessage>>>,
    path: String,
    selections: Vec<Selection>,
    is_pending: bool,
}

impl PendingInvalidation {
    async fn finish(mut self, may_have_acted: bool) {
        if may_have_acted {
            self.apply().await;
        }
        self.is_pending = false;
    }

    async fn apply(&self) {
        if let Some(actor) = self.actor.get()
            && self.cache.would_invalidate(&self.selections)
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

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if !self.is_pending || !self.cache.would_invalidate(&self.selections) {
            return;
        }
        let message = CacheMessage::Invalidate { invalidation: self.invalidation(), reply: None };
        if self.actor.get().is_none_or(|actor| actor.try_cast(message).is_err()) {
            self.cache.invalidate_now(std::mem::take(&mut self.selections));
        }
    }
}
