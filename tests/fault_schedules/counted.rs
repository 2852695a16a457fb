//! A transport that counts how many attempts of the queue are under way, where nothing blurs it.
//!
//! At the proxy or in the backend the count would be too high: of an attempt that is called off, each hears later than
//! the queue, which may have begun the next by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use mainstay::Request;
use mainstay::actors::transport::{Answer, AnswerBody, OpenAnswer, Transport, TransportError};

/// The header by which a request of the queue is known: agents are looked after past the queue.
pub(crate) const TAG: &str = "x-tag";

/// How many attempts are under way, and how many there ever were at once.
#[derive(Debug, Default)]
pub(crate) struct Count {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Count {
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Counts, and leaves the rest to another transport.
pub(crate) struct Counted<T> {
    pub(crate) transport: T,
    pub(crate) count: Arc<Count>,
}

/// An attempt is under way for as long as this lives.
struct UnderWay(Arc<Count>);

impl UnderWay {
    fn begin(count: &Arc<Count>) -> Self {
        let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T: Transport> Transport for Counted<T> {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        let attempt = self.transport.attempt(request, timeout);
        if !request.headers().contains_key(TAG) {
            return attempt;
        }
        async move {
            let _under_way = UnderWay::begin(&self.count);
            attempt.await
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
        let opening = self.transport.open(request, timeout);
        async move {
            let under_way = UnderWay::begin(&self.count);
            let answer = opening.await?;
            // To its last part, or until it is dropped.
            let body = answer.body.inspect(move |_| _ = &under_way);
            Ok(OpenAnswer { body: AnswerBody::new(body), ..answer })
        }
        .boxed()
    }
}
