//! The handle that an embedder holds: it sends requests, gives the parts of a runtime, and ends it.
//!
//! - [`MainstayBuilder`] takes the settings and starts the runtime; [`StartError`] says why it does not start
//! - `reports` says what is and what was

mod builder;
mod reports;
mod start_error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::cache::watch::FileSubscription;
use mainstay_actors::connection::ConnectionMessage;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::queue::{Download, PendingRequest};
use mainstay_actors::request::{Priority, Request, RequestId, Response};
use mainstay_runtime::{RuntimeExit, SupervisorHandle};
use tokio::time::timeout;

pub use self::builder::MainstayBuilder;
pub use self::start_error::StartError;
use crate::agents::Agents;
use crate::cache::Cache;
use crate::connection::Connection;
use crate::inner::Inner;
use crate::logs::Logs;
use crate::owned_backend::OwnedBackend;
use crate::readiness::{self, ReadyState};

/// The longest wait for the files to be closed after a shutdown within a limit.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A running runtime. Cheap to clone. [`shutdown`](Self::shutdown) stops it in order; dropping the last clone kills it.
#[derive(Clone)]
pub struct Mainstay(pub(crate) Arc<Inner>);

impl fmt::Debug for Mainstay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let journal = self.journal();
        f.debug_struct("Mainstay")
            .field("run", &journal.run())
            .field("boot", &journal.boot())
            .finish_non_exhaustive()
    }
}

impl Mainstay {
    /// Returns a builder with the default settings.
    #[must_use]
    pub fn builder() -> MainstayBuilder {
        MainstayBuilder::default()
    }

    /// Sends a request through the queue, and waits for the response. Dropping the future cancels the request.
    ///
    /// # Errors
    /// The reason why it failed or was not sent: see [`Error`].
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        self.0.handles.queue.request(request).await
    }

    /// Sends a request, as [`request`](Self::request) does, and returns its id at once, for [`cancel`](Self::cancel)
    /// and the journal. The request is queued when this returns. Dropping the future cancels it.
    #[must_use = "dropping the future cancels the request"]
    pub fn submit(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        self.0.handles.queue.submit(request)
    }

    /// Cancels a request: its caller gets the reason `cancelled`. Returns `false` if it had ended already. A request
    /// that was in flight may have reached the backend.
    ///
    /// # Errors
    /// `stopped` or `crashed` if the queue did not answer.
    pub async fn cancel(&self, id: RequestId) -> Result<bool, Error> {
        self.0.handles.queue.cancel(id).await
    }

    /// Changes the priority of a waiting request. Returns `false` if it does not wait: it runs, or has ended.
    ///
    /// # Errors
    /// `stopped` or `crashed` if the queue did not answer.
    pub async fn set_priority(&self, id: RequestId, priority: Priority) -> Result<bool, Error> {
        self.0.handles.queue.set_priority(id, priority).await
    }

    /// Lists the requests that have not ended, oldest first, at most `count`.
    ///
    /// # Errors
    /// `stopped` or `crashed` if the queue did not answer.
    pub async fn requests(&self, count: usize) -> Result<Vec<PendingRequest>, Error> {
        self.0.handles.queue.list(count).await
    }

    /// Sends a request through the queue, and waits until a successful answer begins. The [`Download`] then reads the
    /// body as it comes, of any size and without holding it in memory. Dropping the future, or the [`Download`],
    /// cancels the request.
    ///
    /// ```no_run
    /// # async fn example(mainstay: mainstay::Mainstay) -> Result<(), mainstay::Error> {
    /// use mainstay::Request;
    ///
    /// let request = Request::put("/api/reports/may").file("may.pdf").build()?;
    /// mainstay.request(request).await?;
    /// let report = mainstay.open(Request::get("/api/reports/may").build()?).await?;
    /// let bytes = report.save_to("copy.pdf").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`request`](Self::request). Later errors come from the [`Download`].
    pub async fn open(&self, request: Request) -> Result<Download, Error> {
        self.0.handles.queue.open(request).await
    }

    /// Sends a request, as [`open`](Self::open) does, and returns its id at once, as [`submit`](Self::submit) does.
    #[must_use = "dropping the future cancels the request"]
    pub fn submit_open(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Download, Error>> + Send + use<>) {
        self.0.handles.queue.submit_open(request)
    }

    /// Sends a request like [`request`](Self::request), but answers a GET from the cache if possible.
    ///
    /// A stored response is used if it is no older than `age_max`, and if the backend's `Cache-Control` and `Expires`
    /// permit it (RFC 9111, private cache). If they state no lifetime, `age_max` alone decides. An older response
    /// with an `ETag` or `Last-Modified` is revalidated; the caller never sees a 304.
    ///
    /// A stored response serves only requests with the same headers. These go to the backend, and their responses are
    /// not stored: other methods, and requests with a body, an idempotency key, credentials, or headers about caching
    /// or ranges.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_cached(&self, request: Request, age_max: Duration) -> Result<Response, Error> {
        self.0.handles.responses.request(request, age_max, self.journal().wall_time().into()).await
    }

    /// Returns the handle of the cache.
    #[must_use]
    pub fn cache(&self) -> Cache {
        Cache(Arc::clone(&self.0))
    }

    /// Subscribes to the changes of files in the folders of `cache.watch`, from now on. A change comes after the cached
    /// results of its path were dropped.
    ///
    /// A listener reads a whole folder again after [`FileChangeKind::Rescan`](crate::FileChangeKind::Rescan), and all of
    /// them after [`FileEvent::Lagged`](crate::FileEvent::Lagged), which says that it was too slow. Without folders there
    /// are no changes. What a file system does not report, such as one on the network, is not seen.
    #[must_use]
    pub fn files(&self) -> FileSubscription {
        self.0.handles.file_feed.subscribe()
    }

    /// Returns the handle of the agents.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents(Arc::clone(&self.0))
    }

    /// Returns the handle of the logs: of what the backend's own process and the agents' processes print.
    #[must_use]
    pub fn logs(&self) -> Logs {
        Logs(Arc::clone(&self.0))
    }

    /// Returns the handle of the backend's own process, if the runtime starts the backend.
    #[must_use]
    pub fn backend(&self) -> Option<OwnedBackend> {
        self.0.handles.owned_backend.is_some().then(|| OwnedBackend(Arc::clone(&self.0)))
    }

    /// Waits until the actors run, after [`MainstayBuilder::spawn`]. It waits for no backend and for no agent.
    ///
    /// # Errors
    /// [`StartError::Tree`] when an actor does not start, or the runtime stops meanwhile.
    pub async fn started(&self) -> Result<(), StartError> {
        Ok(self.0.runtime.started().await?)
    }

    /// Waits until everything has started: the backend (if the runtime starts it) is ready, the connection is open, and
    /// every agent is healthy or degraded. Sets no time limit of its own.
    ///
    /// ```no_run
    /// # async fn example(config: mainstay::config::Config) -> Result<(), Box<dyn std::error::Error>> {
    /// let mainstay = mainstay::Mainstay::builder().config(config).start().await?;
    /// // The runtime works from here on: requests wait for the backend by themselves.
    /// mainstay.ready().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The reason why a part does not become ready until a person acts: it is given up, was stopped, or has failed.
    /// `stopped` if the runtime stops meanwhile.
    pub async fn ready(&self) -> Result<(), Error> {
        let mut events = self.events_after(self.journal().cursor());
        let mut connection = self.connection().watch();
        loop {
            match readiness::assess(&self.status().await) {
                ReadyState::Ready => return Ok(()),
                ReadyState::Failed(why) => return Err(*why),
                ReadyState::Waiting(_) => {}
            }
            tokio::select! {
                event = events.next() => if event.is_none() { return Err(Error::new(Reason::Stopped)) },
                Ok(()) = connection.changed() => {}
            }
        }
    }

    /// Returns what keeps the runtime from being [`ready`](Self::ready), in plain words; `None` once it is.
    pub async fn pending(&self) -> Option<String> {
        match readiness::assess(&self.status().await) {
            ReadyState::Ready => None,
            ReadyState::Failed(why) => Some(why.log_text().to_owned()),
            ReadyState::Waiting(what) => Some(what),
        }
    }

    /// Returns the handle of the connection.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.0))
    }

    /// Asks the source of the backend's token for a new one, and lets a waiting or failed connection try it at once.
    /// Returns whether it is another token than before.
    ///
    /// # Errors
    /// `unauthenticated` if the source fails; the last token then stays in use. `invalid_config` if there is no source.
    pub async fn reload_credentials(&self) -> Result<bool, Error> {
        let handles = &self.0.handles;
        if handles.credentials.is_none() {
            return Err(Error::new(Reason::InvalidConfig).with_message(
                "The configuration names no source of a token. Name one there, such as token_file.",
            ));
        }
        let is_new = handles.credentials.reload().await.map_err(|error| {
            Error::new(Reason::Unauthenticated)
                .with_message("No token could be read, so the last one stays. Check where it comes from.")
                .with_details(&error.to_string())
        })?;
        // With a full mailbox the connection is busy, and its next dial reads the token anyway.
        let _ = handles.connection.try_cast(ConnectionMessage::CredentialsChanged);
        Ok(is_new)
    }

    /// Returns the root supervisor, to which an embedder adds children of its own.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorHandle {
        self.0.runtime.root()
    }

    /// Stops everything in order, and returns once the journal is on disk. Callers that wait get `stopped`. The agents
    /// stop at the same time. A program that ignores the request to end is killed after 5 s.
    pub async fn shutdown(&self) -> RuntimeExit {
        let exit = self.0.runtime.shutdown().await;
        self.0.close().await;
        exit
    }

    /// Stops everything in order within `limit`, as [`shutdown`](Self::shutdown) does. The actors share the time, and
    /// what has not ended in its part is killed: see [`Runtime::shutdown_within`](mainstay_runtime::Runtime::shutdown_within).
    pub async fn shutdown_within(&self, limit: Duration) -> RuntimeExit {
        let exit = self.0.runtime.shutdown_within(limit).await;
        // A disk that does not answer is not waited for. What it was given is lost, and the journal says so.
        let _ = timeout(CLOSE_TIMEOUT, self.0.close()).await;
        exit
    }

    /// Returns whether a stop was requested, or the tree has ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.runtime.is_stopping()
    }

    /// Ends everything at once, also while it stops in order. The journal has `reason` as the cause of the end: see
    /// [`Runtime::kill`](mainstay_runtime::Runtime::kill).
    pub async fn kill(&self, reason: &str) {
        self.0.runtime.kill(reason).await;
    }

    /// Waits until the tree has ended, by [`shutdown`](Self::shutdown) or because its root gave up.
    pub async fn finished(&self) -> RuntimeExit {
        let exit = self.0.runtime.finished().await;
        self.0.close().await;
        exit
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;
    use crate::config::Config;
    use crate::status::StatusReport;

    const fn assert_handle<T: fmt::Debug + Clone + Send + Sync + 'static>() {}

    /// A shell keeps the handle in its state and sends it to its threads.
    const _: () = assert_handle::<Mainstay>();

    const fn assert_report<T: fmt::Debug + Clone + PartialEq + Serialize>() {}

    /// A shell compares reports, keeps them, and passes them to its windows.
    const _: () = {
        use crate::journal::Record;
        use crate::supervision::{ChildPolicy, RuntimeExit, SupervisorPolicy, TreeNode};

        assert_report::<ChildPolicy>();
        assert_report::<SupervisorPolicy>();
        assert_report::<StatusReport>();
        assert_report::<TreeNode>();
        assert_report::<RuntimeExit>();
        assert_report::<Record>();
        assert_report::<crate::AgentView>();
        assert_report::<crate::AgentUpdate>();
        assert_report::<crate::ConnectionReport>();
        assert_report::<Error>();
    };

    #[test]
    fn start_outside_tokio_is_an_error() {
        let start = Mainstay::builder().start();
        let error = futures_util::FutureExt::now_or_never(start).unwrap().err().unwrap();
        let text = "there is no tokio runtime here: call start from async code that tokio runs, or from within its block_on";
        assert_eq!(error.to_string(), text);
    }

    /// A key that one agent overrides keeps its value.
    #[tokio::test]
    async fn changed_defaults_reach_agents_that_were_read_before() {
        let text = "[[agent]]\nid = \"plain\"\n[[agent]]\nid = \"own\"\nmax_restarts = 2";
        let mut config = Config::from_toml(text).unwrap();
        config.agents.max_restarts = 9;
        let mainstay = Mainstay::builder().config(config).start().await.unwrap();
        let budget = |id| mainstay.agents().get(id).unwrap().supervision.budget.unwrap().max;
        assert_eq!(["plain", "own"].map(budget), [9, 2]);
        mainstay.shutdown().await;
    }

    #[tokio::test]
    async fn debug_output_names_the_run() {
        let mainstay = Mainstay::builder().start().await.unwrap();
        let text = format!("{mainstay:?}");
        assert!(text.starts_with("Mainstay { run: 1, boot: "), "{text}");
        mainstay.shutdown().await;
    }
}
