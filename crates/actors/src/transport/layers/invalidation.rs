//! Drops what a write makes outdated, before its caller has the response.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};

use crate::{
    error::Secrets,
    request::Request,
    transport::{ResponseBody, SendProgress, StreamingResponse, Transport, TransportError},
};

/// The data that one write makes outdated.
pub trait OutdatedData: Send + Sync + 'static {
    /// Adds all responses: the write was redirected, so the path that it changed is unknown.
    fn add_all_responses(&mut self);

    /// Drops the data. It is gone when the future resolves.
    fn invalidate(&self) -> BoxFuture<'_, ()>;

    /// Drops the data without a wait, since the attempt was aborted. It is gone soon after.
    fn invalidate_unawaited(&mut self);
}

type OutdatedBy = dyn Fn(&Request) -> Box<dyn OutdatedData> + Send + Sync;

/// A transport that drops what a write makes outdated: once the response has begun, and again at its end. It sees
/// every attempt of the queue and of the agents, however that ends.
///
/// A write is a request whose method is not safe (RFC 9110, 9.2.1).
pub struct InvalidationLayer {
    transport: Arc<dyn Transport>,
    outdated_by: Box<OutdatedBy>,
}

impl InvalidationLayer {
    /// Wraps `transport`. `outdated_by` is called before a write is sent.
    pub fn new<D: OutdatedData>(
        transport: Arc<dyn Transport>,
        outdated_by: impl Fn(&Request) -> D + Send + Sync + 'static,
    ) -> Self {
        Self { transport, outdated_by: Box::new(move |write| Box::new(outdated_by(write))) }
    }
}

impl Transport for InvalidationLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        if request.method().is_safe() {
            return self.transport.send(request, timeout);
        }
        let mut pending = PendingInvalidation { data: (self.outdated_by)(request), is_pending: true };
        async move {
            match self.transport.send(request, timeout).await {
                Err(failure) => {
                    if failure.progress != SendProgress::NotSent {
                        pending.data.invalidate().await;
                    }
                    pending.disarm();
                    Err(failure)
                }
                Ok(response) => {
                    if response.is_redirected || response.status.is_redirection() {
                        pending.data.add_all_responses();
                    }
                    pending.data.invalidate().await;
                    Ok(StreamingResponse { body: pending.until_end_of(response.body), ..response })
                }
            }
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

/// An invalidation that is still due. If it is dropped before, the attempt was aborted, and the write may have taken
/// effect.
struct PendingInvalidation {
    data: Box<dyn OutdatedData>,
    is_pending: bool,
}

impl PendingInvalidation {
    fn disarm(&mut self) {
        self.is_pending = false;
    }

    /// Returns the same body. The data is dropped again before its end or its error is returned, since the backend may
    /// change more for as long as it responds.
    fn until_end_of(self, body: ResponseBody) -> ResponseBody {
        ResponseBody::new(stream::unfold((self, body), |(mut pending, mut body)| async move {
            let part = body.next().await;
            if !matches!(part, Some(Ok(_))) {
                pending.data.invalidate().await;
                pending.disarm();
            }
            part.map(|part| (part, (pending, body)))
        }))
    }
}

impl Drop for PendingInvalidation {
    fn drop(&mut self) {
        if self.is_pending {
            self.data.invalidate_unawaited();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use parking_lot::Mutex;

    use super::{super::tests::TestTransport, *};

    const SECOND: Duration = Duration::from_secs(1);

    type SharedLines = Arc<Mutex<Vec<String>>>;

    /// Records its calls.
    struct RecordedData(SharedLines, String);

    impl OutdatedData for RecordedData {
        fn add_all_responses(&mut self) {
            self.1.push_str(" and all");
        }

        fn invalidate(&self) -> BoxFuture<'_, ()> {
            self.0.lock().push(format!("awaited {}", self.1));
            std::future::ready(()).boxed()
        }

        fn invalidate_unawaited(&mut self) {
            self.0.lock().push(format!("unawaited {}", self.1));
        }
    }

    fn layer(transport: TestTransport) -> (InvalidationLayer, impl Fn() -> Vec<String>) {
        let log = SharedLines::default();
        let shared = Arc::clone(&log);
        let data = move |write: &Request| RecordedData(Arc::clone(&shared), write.path().to_owned());
        (InvalidationLayer::new(Arc::new(transport), data), move || std::mem::take(&mut *log.lock()))
    }

    fn put() -> Request {
        Request::put("/n").build().unwrap()
    }

    #[tokio::test]
    async fn response_invalidates_at_its_head_and_again_at_its_end() {
        let (layer, take_log) = layer(TestTransport::responding(409, &["part"]));
        let mut response = layer.send(&put(), SECOND).await.unwrap();
        assert_eq!(take_log(), ["awaited /n"]);
        assert_eq!(response.body.next().await.unwrap().unwrap(), "part");
        assert_eq!(take_log(), [""; 0]);
        assert!(response.body.next().await.is_none());
        assert_eq!(take_log(), ["awaited /n"]);
        drop(response);
        assert_eq!(take_log(), [""; 0]);
    }

    #[tokio::test]
    async fn broken_response_invalidates_before_its_error() {
        let (layer, take_log) = layer(TestTransport::responding(200, &["part"]).breaking_off());
        assert!(layer.collect(&put(), SECOND).await.is_err());
        assert_eq!(take_log(), ["awaited /n", "awaited /n"]);
    }

    #[tokio::test]
    async fn aborted_write_invalidates_without_a_wait() {
        let (layer, take_log) = layer(TestTransport::responding(200, &["one", "two"]));
        drop(layer.send(&put(), SECOND));
        assert_eq!(take_log(), ["unawaited /n"]);
        let mut response = layer.send(&put(), SECOND).await.unwrap();
        response.body.next().await.unwrap().unwrap();
        drop(response);
        assert_eq!(take_log(), ["awaited /n", "unawaited /n"]);
    }

    #[tokio::test]
    async fn redirected_write_invalidates_all_responses() {
        let (layer, take_log) = layer(TestTransport::responding(200, &[]).redirected());
        layer.collect(&put(), SECOND).await.unwrap();
        assert_eq!(take_log(), ["awaited /n and all", "awaited /n and all"]);
        // One that is not followed may have changed another path as well.
        let (layer, take_log) = self::layer(TestTransport::responding(303, &[]));
        layer.collect(&put(), SECOND).await.unwrap();
        assert_eq!(take_log(), ["awaited /n and all", "awaited /n and all"]);
    }

    #[tokio::test]
    async fn safe_request_invalidates_nothing() {
        let (layer, take_log) = layer(TestTransport::responding(200, &["part"]));
        for (method, is_write) in [
            (Method::GET, false),
            (Method::HEAD, false),
            (Method::OPTIONS, false),
            (Method::POST, true),
            (Method::PUT, true),
            (Method::PATCH, true),
            (Method::DELETE, true),
        ] {
            let request = Request::builder(method, "/n").build().unwrap();
            layer.collect(&request, SECOND).await.unwrap();
            assert_eq!(!take_log().is_empty(), is_write, "{}", request.method());
        }
    }
}
