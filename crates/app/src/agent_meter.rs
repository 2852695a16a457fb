//! A transport that counts the requests each agent is working on, because a busy agent is not failed.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use mainstay_actors::agent::{ActivityGuard, ActivityMeter};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{FullResponse, ResponseBody, StreamingResponse, Transport, TransportError};

/// The path under which the backend has its agents.
const AGENTS_PATH: &str = "/api/agents/";

/// Counts the requests that each agent is working on, by its id. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct ActivityMeters(Arc<DashMap<String, ActivityMeter>>);

impl ActivityMeters {
    /// Returns the meter of agent `id`, and creates it if needed.
    pub(crate) fn get_or_create(&self, id: &str) -> ActivityMeter {
        self.0.entry(id.to_owned()).or_default().clone()
    }

    pub(crate) fn remove(&self, id: &str) {
        self.0.remove(id);
    }

    fn begin(&self, path: &str) -> Option<ActivityGuard> {
        let id = path.strip_prefix(AGENTS_PATH)?.split(['/', '?']).next()?;
        let meter = self.0.get(id)?.clone();
        Some(meter.begin())
    }
}

/// Counts the requests of people. Health checks do not pass through it, because a check is no work.
pub(crate) struct ActivityLayer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) meters: ActivityMeters,
}

impl Transport for ActivityLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
        let Some(at_work) = self.meters.begin(request.path()) else {
            return self.transport.send(request, timeout);
        };
        let attempt = self.transport.send(request, timeout);
        async move {
            let _at_work = at_work;
            attempt.await
        }
        .boxed()
    }

    fn send_streaming<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let Some(at_work) = self.meters.begin(request.path()) else {
            return self.transport.send_streaming(request, timeout);
        };
        let attempt = self.transport.send_streaming(request, timeout);
        async move {
            let answer = attempt.await?;
            // The agent works as long as its response goes on.
            let body = answer.body.inspect(move |_| at_work.note_progress());
            Ok(StreamingResponse { body: ResponseBody::new(body), ..answer })
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::{HeaderMap, StatusCode};

    use super::*;

    /// Answers with two parts.
    struct StreamingTransport;

    impl Transport for StreamingTransport {
        fn send<'a>(
            &'a self,
            _: &'a Request,
            _: Duration,
        ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
            std::future::pending().boxed()
        }

        fn send_streaming<'a>(
            &'a self,
            _: &'a Request,
            _: Duration,
        ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
            let parts = stream::iter(["one", "two"].map(|part| Ok(part.into())));
            let (status, headers, length) = (StatusCode::OK, HeaderMap::new(), None);
            std::future::ready(Ok(StreamingResponse {
                status,
                headers,
                length,
                is_end_marked: true,
                body: ResponseBody::new(parts),
            }))
            .boxed()
        }
    }

    #[tokio::test]
    async fn activity_open_response_counts_until_read_or_dropped() {
        let meters = ActivityMeters::default();
        let planner = meters.get_or_create("planner");
        let metered = ActivityLayer { transport: Arc::new(StreamingTransport), meters: meters.clone() };
        let at_work = || planner.activity().in_flight;
        let second = Duration::from_secs(1);
        let elsewhere = Request::get("/api/agents/other/message").build().unwrap();
        drop(metered.send_streaming(&elsewhere, second).await.unwrap());
        assert_eq!(planner.activity().progressed_at, None);

        let request = Request::post("/api/agents/planner/message?x=1").build().unwrap();
        let mut answer = metered.send_streaming(&request, second).await.unwrap();
        assert_eq!(at_work(), 1);
        answer.body.next().await.unwrap().unwrap();
        assert_eq!(at_work(), 1);
        drop(answer);
        assert_eq!(at_work(), 0);

        let attempt = metered.send(&request, second);
        assert_eq!(at_work(), 1);
        drop(attempt);
        assert_eq!(at_work(), 0);
    }
}
