//! The handle that an embedder holds, and its builder.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{fmt, io};

use mainstay_actors::cache::WriteRule;
use mainstay_actors::cache::watch::FileSubscription;
use mainstay_actors::connection::ConnectionMessage;
use mainstay_actors::credentials::Credentials;
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::network::tls::TlsTrust;
use mainstay_actors::process::{OpenError, ProcessManager, StartReport};
use mainstay_actors::queue::{Download, PendingRequest};
use mainstay_actors::request::{Priority, Request, RequestId, Response};
use mainstay_actors::transport::Transport;
use mainstay_runtime::clock::{Clock, SystemClock, WallTime};
use mainstay_runtime::journal::{self, Cursor, Journal, JournalError, JournalOptions, millis};
use mainstay_runtime::rng::Rng;
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore, StoreError};
use mainstay_runtime::{Runtime, RuntimeExit, RuntimeStartError, SupervisorHandle, TreeNode};
use thiserror::Error as ThisError;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agents::Agents;
use crate::agents::outdated::restart_outdated;
use crate::cache::Cache;
use crate::config::Config;
use crate::connection::Connection;
use crate::credentials;
use crate::data_dir::{DataDir, DataDirError};
use crate::environment::Environment;
use crate::incidents::Incident;
use crate::inner::Inner;
use crate::logs::Logs;
use crate::owned_backend::{OwnedBackend, OwnedBackendReport, absence};
use crate::process_events::{read_login_path, record_start_report, record_warnings};
use crate::readiness::{self, ReadyState};
use crate::standstill::record_standstills;
use crate::status::{OutageReport, QueueReport, RuntimeReport, StatusReport, StorageReport};
use crate::subscription::Subscription;
use crate::supervision_report::{Suspended, TreePlace, complete_tree};
use crate::tree_builder::error::BuildError;
use crate::tree_builder::{Overrides, TreeSpec};

/// The longest wait for the files to be closed after a shutdown within a limit.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The reasons why a runtime does not start.
#[derive(Debug, ThisError)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A runtime in another process, or in this one, uses the data folder.
    #[error("the data folder {dir} is in use by another runtime{by}: stop that one, or choose another folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The owner of the folder, if it is known.
        by: String,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(JournalError),
    /// The stored states cannot be opened.
    #[error(transparent)]
    States(StoreError),
    /// The thread that writes the logs cannot be started.
    #[error("the thread that writes the logs cannot be started: {0}")]
    Logs(io::Error),
    /// The pid file of child processes cannot be used.
    #[error(transparent)]
    Processes(OpenError),
    /// The tree did not come up, or there is no tokio runtime for it.
    #[error(transparent)]
    Tree(#[from] RuntimeStartError),
}

/// The settings of a runtime; see [`Mainstay::builder`].
#[derive(Default)]
pub struct MainstayBuilder {
    config: Config,
    data_dir: Option<PathBuf>,
    overrides: Overrides,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    verbose: bool,
    state_store: Option<Arc<dyn StateStore>>,
}

impl MainstayBuilder {
    /// Sets the configuration; else every key has its default.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the store of the actors' durable states, in place of a file in the data folder.
    #[must_use]
    pub fn state_store(mut self, store: Arc<dyn StateStore>) -> Self {
        self.state_store = Some(store);
        self
    }

    /// Sets the folder for the journal, the agents' states and the logs. Without one, the first two are in memory only, and
    /// there are no logs.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Sets the transport that sends requests, in place of HTTP.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.overrides.transport = Some(transport);
        self
    }

    /// Sets the certificates that TLS trusts, for HTTP and the WebSocket.
    ///
    /// They replace the platform's and those of `backend.ca_file`. With [`TlsTrust::preconfigured`] an embedder also
    /// presents a client certificate. A transport set with [`transport`](Self::transport) does not use them.
    #[must_use]
    pub fn trust(mut self, trust: TlsTrust) -> Self {
        self.overrides.trust = Some(trust);
        self
    }

    /// Sets the source of the bearer token, in place of the configuration's. It is asked before each dial of the
    /// WebSocket and each attempt of a request. After a 401 it is asked once more. Its tokens are redacted
    /// everywhere.
    ///
    /// ```
    /// use mainstay::{CredentialRequest, Credentials, Mainstay};
    ///
    /// let credentials = Credentials::from_callback(|request| async move {
    ///     if request == CredentialRequest::Renew {
    ///         // Log in again here.
    ///     }
    ///     Ok(Some("token".to_owned()))
    /// });
    /// let builder = Mainstay::builder().credentials(credentials);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.overrides.credentials = Some(credentials);
        self
    }

    /// Adds a rule that says which cached responses a write makes invalid, beside those of its own path. For example, a
    /// POST to `/api/tasks/7/notes` may change the list of tasks. The rule holds for every request through the runtime.
    /// The responses are dropped before the caller gets the answer.
    ///
    /// ```
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use mainstay::{Mainstay, Selection, WriteRule};
    ///
    /// let rule = WriteRule::after("/api/tasks/**", [Selection::glob("http:/api/tasks**")?])?;
    /// let builder = Mainstay::builder().invalidate_after(rule);
    /// # let _ = builder;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn invalidate_after(mut self, rule: WriteRule) -> Self {
        self.overrides.write_rules.push(rule);
        self
    }

    /// Sets the source of wall time, in place of the computer's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Seeds the randomness of delays, so that a run can be repeated.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Records the start and the end of every request as well.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Starts the tree, and returns once its actors run. It waits for no backend and for no agent: see
    /// [`Mainstay::ready`]. The actors run on the tokio runtime that runs this future, and end with it.
    ///
    /// # Errors
    /// See [`StartError`]. Outside tokio, it is an error and no panic.
    pub async fn start(self) -> Result<Mainstay, StartError> {
        let mainstay = self.spawn().await?;
        mainstay.started().await?;
        Ok(mainstay)
    }

    /// Starts the tree as [`start`](Self::start) does, but does not wait for its actors: see [`Mainstay::started`]. With
    /// many agents, the handle can be used and the runtime shut down in the meantime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn spawn(self) -> Result<Mainstay, StartError> {
        Handle::try_current().map_err(|_| RuntimeStartError::OutsideTokio)?;
        let environment = Environment::read(&self.config, |name| std::env::var(name).ok())?;
        let overrides = Overrides { data_dir: self.data_dir.clone(), ..self.overrides };
        let TreeSpec { root, handles, secrets } = TreeSpec::build(&self.config, &environment, overrides)?;
        let data_dir = self.data_dir.map(DataDir::new);
        let journal = open_journal(
            data_dir.as_ref(),
            self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            JournalOptions {
                segment_bytes_max: self.config.journal.segment_bytes,
                segments_max: self.config.journal.segments as usize,
                verbose: self.verbose,
                secrets,
                ..JournalOptions::default()
            },
        )?;
        credentials::observe(&handles.credentials, &journal);
        let logs = data_dir.as_ref().map(DataDir::logs);
        handles.logs.start(logs.as_deref(), journal.clone()).map_err(StartError::Logs)?;
        let mut tasks = JoinSet::new();
        let process_manager = &handles.process_manager;
        tasks.spawn(record_warnings(journal.clone(), process_manager.warnings()));
        tasks.spawn(record_standstills(journal.clone()));
        if let Some(login_path) = &handles.login_path {
            tasks.spawn(read_login_path(journal.clone(), login_path.clone()));
        }
        record_start_report(&journal, start_process_manager(process_manager, data_dir.as_ref()).await?);
        let mut builder = Runtime::builder().journal(journal);
        let mut states = None;
        if let Some(store) = self.state_store {
            builder = builder.state_store(store);
        } else if let Some(data) = &data_dir {
            let store = states.insert(Arc::new(open_states(data)?));
            builder = builder.state_store(Arc::clone(store) as Arc<dyn StateStore>);
        }
        if let Some(seed) = self.seed {
            builder = builder.seed(seed);
        }
        let runtime = builder.spawn(root).await?;
        let ended = runtime.ended();
        Ok(Mainstay(Arc::new_cyclic(|inner| {
            tasks.spawn(end_subscriptions(Weak::clone(inner), ended));
            if let Some(assigned) = handles.factory.processes.assigned.clone() {
                tasks.spawn(restart_outdated(Weak::clone(inner), assigned));
            }
            Inner {
                runtime,
                handles,
                states,
                incidents: Mutex::default(),
                has_stopped: watch::Sender::new(false),
                _tasks: tasks,
            }
        })))
    }
}

fn open_journal(
    data: Option<&DataDir>,
    clock: Arc<dyn Clock>,
    options: JournalOptions,
) -> Result<Journal, StartError> {
    let boot = format!("{:016x}", Rng::from_entropy().bits());
    let Some(data) = data else { return Ok(Journal::in_memory(boot, clock, options)) };
    data.create()?;
    Journal::open(&data.journal(), boot, clock, options).map_err(|error| match error {
        JournalError::InUse { .. } => in_use(data),
        error => StartError::Journal(error),
    })
}

/// Ends the subscriptions once the tree has ended, also if it ended by itself and no handle waits for that.
async fn end_subscriptions(inner: Weak<Inner>, ended: impl Future<Output = ()>) {
    ended.await;
    if let Some(inner) = inner.upgrade() {
        inner.runtime.finished().await;
        inner.has_stopped.send_replace(true);
    }
}

/// Ends the orphans of an earlier run.
async fn start_process_manager(
    process_manager: &ProcessManager,
    data: Option<&DataDir>,
) -> Result<StartReport, StartError> {
    process_manager.start(data.map(DataDir::path)).await.map_err(|error| match (error, data) {
        (OpenError::InUse { .. }, Some(data)) => in_use(data),
        (error, _) => StartError::Processes(error),
    })
}

fn open_states(data: &DataDir) -> Result<RedbStore, StartError> {
    match RedbStore::open(&data.states(), RedbConfig::default()) {
        Ok(store) => Ok(store),
        Err(StoreError::InUse { .. }) => Err(in_use(data)),
        Err(error) => Err(StartError::States(error)),
    }
}

fn in_use(data: &DataDir) -> StartError {
    let control = data.read_control().ok().flatten();
    let by = control.map_or_else(String::new, |control| format!(" (process {})", control.pid));
    StartError::InUse { dir: data.path().to_owned(), by }
}

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

    /// Returns the current supervision tree. The `next_step` of an agent or a backend that was given up names the command
    /// that helps; one whose process is stopped by a signal or a debugger is `suspended`. Asks no actor.
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        let mut tree = self.0.runtime.tree();
        let (agents, backend) = (self.agents(), self.backend());
        complete_tree(&mut tree, &|place| match place {
            TreePlace::Backend => {
                let report =
                    backend.as_ref()?.bare_report().filter(|report| report.suspended_since.is_some())?;
                Some(Suspended { last_error: report.last_error, next_step: report.next_step })
            }
            TreePlace::Agent(id) => {
                let view = agents.suspended(id)?;
                Some(Suspended { last_error: view.last_error, next_step: view.next_step })
            }
        });
        tree
    }

    /// Subscribes to the events from the oldest one that is kept. The stream ends when the runtime has stopped.
    pub fn events(&self) -> Subscription {
        self.subscription(self.journal().subscribe())
    }

    /// Subscribes to the events after `cursor`, across runs: see [`Journal::subscribe_after`].
    pub fn events_after(&self, cursor: Cursor) -> Subscription {
        self.subscription(self.journal().subscribe_after(cursor))
    }

    fn subscription(&self, events: journal::JournalSubscription) -> Subscription {
        Subscription::new(events, self.0.has_stopped.subscribe())
    }

    /// Returns the incidents of the journal, oldest first, at most the last 200: what failed, what was decided about it,
    /// and how it ended. The first call reads all events that are kept, and each later one those that have come since.
    pub async fn incidents(&self) -> Vec<Incident> {
        let mut reader = self.0.incidents.lock().await;
        let end = self.journal().cursor();
        let events = self.events_after(reader.cursor());
        reader.read(events, end).await;
        reader.log().incidents().cloned().collect()
    }

    /// Returns the journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        self.0.runtime.journal()
    }

    /// Returns the runtime's wall time.
    pub(crate) fn now(&self) -> WallTime {
        let time_point = self.0.time_point();
        time_point.wall_time(time_point.now)
    }

    /// Returns the state of everything in one view.
    pub async fn status(&self) -> StatusReport {
        let journal = self.journal();
        let Cursor { run, seq } = journal.cursor();
        StatusReport {
            runtime: RuntimeReport {
                run,
                boot: journal.boot().to_owned(),
                pid: std::process::id(),
                uptime_ms: millis(journal.now()),
                seq,
            },
            backend: self
                .backend()
                .and_then(|backend| backend.report())
                .map(OwnedBackendReport::without_output),
            connection: self.connection().report(),
            queue: self.queue_report(),
            cache: self.cache().report(),
            agents: self.agents().list(),
            storage: StorageReport {
                journal: journal.degraded().into(),
                state: self.0.runtime.state_degraded().into(),
                logs: self.0.handles.logs.degraded().into(),
            },
        }
    }

    fn queue_report(&self) -> QueueReport {
        let (stats, time_point) = (self.0.handles.queue_view.stats(), self.0.time_point());
        let now = time_point.now;
        let absence = self.0.handles.owned_backend.as_ref().and_then(|backend| absence(backend, now));
        let held = stats.outage.map(|outage| {
            let next_probe = outage.next_probe_after(now).filter(|_| absence.is_none());
            OutageReport {
                since: time_point.wall_time(outage.since),
                reason: outage.reason,
                waits_for_backend: absence.is_some(),
                message: absence.map_or_else(|| outage.reason.message().to_owned(), |absence| absence.text),
                failures: outage.failures,
                next_probe_at: next_probe.map(|at| time_point.wall_time(at)),
                next_probe_in_ms: next_probe.map(|at| millis(at - now)),
            }
        });
        QueueReport { stats, held }
    }

    /// Stops everything in order, and returns once the journal is on disk. Callers that wait get `stopped`. The agents
    /// stop at the same time. A program that ignores the request to end is killed after 5 s.
    pub async fn shutdown(&self) -> RuntimeExit {
        let exit = self.0.runtime.shutdown().await;
        self.0.close().await;
        exit
    }

    /// Stops everything in order within `limit`, as [`shutdown`](Self::shutdown) does. The actors share the time, and
    /// what has not ended in its part is killed: see [`Runtime::shutdown_within`].
    pub async fn shutdown_within(&self, limit: Duration) -> RuntimeExit {
        let exit = self.0.runtime.shutdown_within(limit).await;
        // A disk that does not answer is not waited for. What it was given is lost, and the journal says so.
        let _ = timeout(CLOSE_TIMEOUT, self.0.close()).await;
        exit
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
