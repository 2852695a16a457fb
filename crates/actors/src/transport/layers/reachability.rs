//! Reports each response of the backend.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    error::Secrets,
    request::Request,
    transport::{SendProgress, StreamingResponse, Transport, TransportError},
};

/// A transport that reports each response as soon as it has begun.
///
/// The WebSocket may have spent all its attempts while the backend was away, and requests may be held. When the
/// backend answers any request or check, both can go on at once.
pub struct ReachabilityLayer {
    transport: Arc<dyn Transport>,
    on_response: Box<dyn Fn() + Send + Sync>,
}

impl ReachabilityLayer {
    /// Wraps `transport`; `on_response` must not block.
    pub fn new(transport: Arc<dyn Transport>, on_response: impl Fn() + Send + Sync + 'static) -> Self {
        Self { transport, on_response: Box::new(on_response) }
    }
}

impl Transport for ReachabilityLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let attempt = self.transport.send(request, timeout);
        attempt
            .inspect(|sent| {
                if sent.as_ref().map_or_else(|failure| failure.progress == SendProgress::Answered, |_| true) {
                    (self.on_response)();
                }
            })
            .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{super::tests::TestTransport, *};

    #[tokio::test]
    async fn every_response_is_reported_also_an_unusable_one() {
        let reports = Arc::new(AtomicU32::new(0));
        for (transport, expected) in [
            (TestTransport::responding(503, &[]), 1),
            (TestTransport::failing(SendProgress::NotSent), 0),
            (TestTransport::failing(SendProgress::MaybeSent), 0),
            (TestTransport::failing(SendProgress::Answered), 1),
        ] {
            let counted = Arc::clone(&reports);
            let layer = ReachabilityLayer::new(Arc::new(transport), move || {
                counted.fetch_add(1, Ordering::Relaxed);
            });
            let request = Request::get("/any").build().unwrap();
            let _ = layer.send(&request, Duration::from_secs(1)).await;
            assert_eq!(reports.swap(0, Ordering::Relaxed), expected);
        }
    }
}
