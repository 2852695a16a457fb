//! Counts the attempts of the queue that are in flight, at the one place where the count is exact.
//!
//! At the proxy or in the backend the count would be too high: both learn of a cancelled attempt later than the queue,
//! which may have begun the next by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use mainstay::Request;
use mainstay::transport::{ResponseBody, StreamingResponse, Transport, TransportError};

/// The header that marks the queue's requests: agents' checks bypass the queue.
pub(crate) const TAG: &str = "x-tag";

/// The number of attempts in flight now, and the largest number so far.
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

/// A transport that counts, and leaves the rest to another transport.
pub(crate) struct CountingTransport<T> {
    pub(crate) transport: T,
    pub(crate) count: Arc<ConcurrencyCount>,
}

/// Counts one attempt in flight for as long as this lives.
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
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let opening = self.transport.send(request, timeout);
        if !request.headers().contains_key(TAG) {
            return opening;
        }
        async move {
            let under_way = InFlightGuard::begin(&self.count);
            let answer = opening.await?;
            // The attempt lasts to its last part, or until it is dropped.
            let body = answer.body.inspect(move |_| _ = &under_way);
            Ok(StreamingResponse { body: ResponseBody::new(body), ..answer })
        }
        .boxed()
    }
}
