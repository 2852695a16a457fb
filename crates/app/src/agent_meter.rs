//! A transport that notes which agent is working on a request: one that is busy is not dead.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay_actors::agent::{ActivityMeter, AtWork};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{Answer, OpenAnswer, Transport, TransportError};

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
            let _at_work = at_work;
            attempt.await
        }
        .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}
