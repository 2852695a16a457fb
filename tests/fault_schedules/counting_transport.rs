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
use mainstay::actors::transport::{FullResponse, ResponseBody, StreamingResponse, Transport, TransportError};

/// The header by which a request of the queue is known: agents are looked after past the queue.
pub(crate) const TAG: &str = "x-tag";

/// How many attempts are under way, and how many there ever were at once.
#[derive(Debug, Default)]
pub(crate) struct ConcurrencyCount {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl ConcurrencyCount {
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// Counts, and leaves the rest to another transport.
pub(crate) struct CountingTransport<T> {
    pub(crate) transport: T,
    pub(crate) count: Arc<ConcurrencyCount>,
}

/// An attempt is under way for as long as this lives.
struct InFlightGuard(Arc<ConcurrencyCount>);

impl InFlightGuard {
    fn begin(count: &Arc<ConcurrencyCount>) -> Self {
        let now = count.now.fetch_add(1, Ordering::SeqCst) + 1;
        count.most.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T: Transport> Transport for CountingTransport<T> {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
        let attempt = self.transport.send(request, timeout);
        if !request.headers().contains_key(TAG) {
            return attempt;
        }
        async move {
            let _under_way = InFlightGuard::begin(&self.count);
            attempt.await
        }
        .boxed()
    }

    fn send_streaming<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let opening = self.transport.send_streaming(request, timeout);
        async move {
            let under_way = InFlightGuard::begin(&self.count);
            let answer = opening.await?;
            // To its last part, or until it is dropped.
            let body = answer.body.inspect(move |_| _ = &under_way);
            Ok(StreamingResponse { body: ResponseBody::new(body), ..answer })
        }
        .boxed()
    }
}
