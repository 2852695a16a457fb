//! Counts the requests that each agent works on: a busy agent is alive, even if it answers no check.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};

use crate::{
    error::Secrets,
    request::Request,
    transport::{ResponseBody, StreamingResponse, Transport, TransportError},
};

/// The path below which the backend has its agents.
const AGENTS_PATH: &str = "/api/agents/";

/// A request that an agent works on. It is called at each part of the response, and dropped at the end.
pub type OnProgress = Box<dyn Fn() + Send>;

type Begin = dyn Fn(&str) -> Option<OnProgress> + Send + Sync;

/// A transport that counts the requests below `/api/agents/{id}` as the work of agent `id`. It is for requests only: a
/// check is no work.
pub struct ActivityLayer {
    transport: Arc<dyn Transport>,
    begin: Box<Begin>,
}

impl ActivityLayer {
    /// Wraps `transport`. `begin` gets the id of the agent that starts to work on a request, and returns `None` if its
    /// work is not counted.
    pub fn new(
        transport: Arc<dyn Transport>,
        begin: impl Fn(&str) -> Option<OnProgress> + Send + Sync + 'static,
    ) -> Self {
        Self { transport, begin: Box::new(begin) }
    }

    fn begin(&self, path: &str) -> Option<OnProgress> {
        (self.begin)(path.strip_prefix(AGENTS_PATH)?.split(['/', '?']).next()?)
    }
}

impl Transport for ActivityLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        let attempt = self.transport.send(request, timeout);
        let Some(on_progress) = self.begin(request.path()) else { return attempt };
        async move {
            let response = attempt.await?;
            let body = response.body.inspect(move |_| on_progress());
            Ok(StreamingResponse { body: ResponseBody::new(body), ..response })
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::{super::tests::TestTransport, *};

    /// Records its calls and its drop.
    struct RecordedWork(Arc<Mutex<Vec<String>>>, String);

    impl Drop for RecordedWork {
        fn drop(&mut self) {
            self.0.lock().push(format!("{} ends", self.1));
        }
    }

    #[tokio::test]
    async fn work_lasts_until_the_response_is_read_or_dropped() {
        let log = Arc::<Mutex<Vec<String>>>::default();
        let take_log = || std::mem::take(&mut *log.lock());
        let shared = Arc::clone(&log);
        let transport = TestTransport::responding(200, &["one", "two"]);
        let layer = ActivityLayer::new(Arc::new(transport), move |id| {
            shared.lock().push(format!("{id} begins"));
            let work = RecordedWork(Arc::clone(&shared), id.to_owned());
            let is_counted = id != "other";
            is_counted
                .then(|| Box::new(move || work.0.lock().push(format!("{} progresses", work.1))) as OnProgress)
        });
        let second = Duration::from_secs(1);
        for path in ["/api/agentsx/planner", "/planner"] {
            drop(layer.send(&Request::get(path).build().unwrap(), second).await.unwrap());
        }
        assert_eq!(take_log(), [""; 0]);

        let request = Request::post("/api/agents/planner/message?x=1").build().unwrap();
        let mut response = layer.send(&request, second).await.unwrap();
        assert_eq!(take_log(), ["planner begins"]);
        response.body.next().await.unwrap().unwrap();
        assert_eq!(take_log(), ["planner progresses"]);
        drop(response);
        assert_eq!(take_log(), ["planner ends"]);

        let attempt = layer.collect(&request, second);
        assert_eq!(take_log(), ["planner begins"]);
        drop(attempt);
        assert_eq!(take_log(), ["planner ends"]);
        let whole = layer.collect(&request, second).await.unwrap();
        assert_eq!(whole.body, "onetwo");
        assert_eq!(
            take_log(),
            ["planner begins", "planner progresses", "planner progresses", "planner ends"]
        );
    }
}
