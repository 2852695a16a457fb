//! A transport that notes which agent is working on a request: one that is busy is not dead.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use mainstay_actors::agent::{ActivityMeter, AtWork};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{Answer, AnswerBody, OpenAnswer, Transport, TransportError};

/// Where the backend has its agents.
const AGENTS_PATH: &str = "/api/agents/";

/// What counts the requests that each agent is working on, by its id. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Meters(Arc<DashMap<String, ActivityMeter>>);

impl Meters {
    /// The meter of agent `id`, which is counted for from now on.
    pub(crate) fn of(&self, id: &str) -> ActivityMeter {
        self.0.entry(id.to_owned()).or_default().clone()
    }

    pub(crate) fn forget(&self, id: &str) {
        self.0.remove(id);
    }

    fn begin(&self, path: &str) -> Option<AtWork> {
        let id = path.strip_prefix(AGENTS_PATH)?.split(['/', '?']).next()?;
        let meter = self.0.get(id)?.clone();
        Some(meter.begin())
    }
}

/// See the module. For people's requests: a check is no work.
pub(crate) struct Metered {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) meters: Meters,
}

impl Transport for Metered {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        let Some(at_work) = self.meters.begin(request.path()) else {
            return self.transport.attempt(request, timeout);
        };
        let attempt = self.transport.attempt(request, timeout);
        async move {
            let _at_work = at_work;
            attempt.await
        }
        .boxed()
    }

    fn open<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
        let Some(at_work) = self.meters.begin(request.path()) else {
            return self.transport.open(request, timeout);
        };
        let attempt = self.transport.open(request, timeout);
        async move {
            let answer = attempt.await?;
            // An answer that goes on is work that goes on.
            let body = answer.body.inspect(move |_| at_work.progress());
            Ok(OpenAnswer { body: AnswerBody::new(body), ..answer })
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
    struct Speaker;

    impl Transport for Speaker {
        fn attempt<'a>(
            &'a self,
            _: &'a Request,
            _: Duration,
        ) -> BoxFuture<'a, Result<Answer, TransportError>> {
            std::future::pending().boxed()
        }

        fn open<'a>(
            &'a self,
            _: &'a Request,
            _: Duration,
        ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
            let parts = stream::iter(["one", "two"].map(|part| Ok(part.into())));
            let (status, headers, length) = (StatusCode::OK, HeaderMap::new(), None);
            std::future::ready(Ok(OpenAnswer {
                status,
                headers,
                length,
                is_end_marked: true,
                body: AnswerBody::new(parts),
            }))
            .boxed()
        }
    }

    #[tokio::test]
    async fn an_agent_is_at_work_until_the_last_part_of_its_answer_is_read_or_dropped() {
        let meters = Meters::default();
        let planner = meters.of("planner");
        let metered = Metered { transport: Arc::new(Speaker), meters: meters.clone() };
        let at_work = || planner.activity().in_flight;
        let second = Duration::from_secs(1);
        let elsewhere = Request::get("/api/agents/other/message").build().unwrap();
        drop(metered.open(&elsewhere, second).await.unwrap());
        assert_eq!(planner.activity().progressed_at, None);

        let request = Request::post("/api/agents/planner/message?x=1").build().unwrap();
        let mut answer = metered.open(&request, second).await.unwrap();
        assert_eq!(at_work(), 1);
        answer.body.next().await.unwrap().unwrap();
        assert_eq!(at_work(), 1);
        drop(answer);
        assert_eq!(at_work(), 0);

        let attempt = metered.attempt(&request, second);
        assert_eq!(at_work(), 1);
        drop(attempt);
        assert_eq!(at_work(), 0);
    }
}
