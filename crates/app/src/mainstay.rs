//! The handle that an embedder holds, and what it is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::cache::WriteRule;
use mainstay_actors::error::Error;
use mainstay_actors::network::tls::TlsTrust;
use mainstay_actors::process::{OpenError, ProcessManager, StartReport};
use mainstay_actors::queue::Download;
use mainstay_actors::request::{Request, RequestId, Response};
use mainstay_actors::transport::Transport;
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Cursor, Journal, JournalConfig, JournalError, Subscription, millis};
use mainstay_runtime::rng::Rng;
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore, StoreError};
use mainstay_runtime::{Runtime, RuntimeExit, SupervisorHandle, TreeNode};
use thiserror::Error as ThisError;
use tokio::task::JoinSet;

use crate::agents::Agents;
use crate::cache::Cache;
use crate::config::Config;
use crate::connection::Connection;
use crate::data_dir::{DataDir, DataDirError};
use crate::environment::Environment;
use crate::inner::Inner;
use crate::process_events::{record_start_report, record_warnings};
use crate::status::{OutageReport, QueueReport, RuntimeReport, StatusReport};
use crate::tree_builder::{BuildError, Overrides, TreeSpec};

/// Why a runtime did not start.
#[derive(Debug, ThisError)]
pub enum StartError {
    /// The configuration cannot be carried out.
    #[error(transparent)]
    Config(#[from] BuildError),
    /// The data folder cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Another runtime is using the data folder.
    #[error("the data folder {dir} is in use by another runtime{by}: stop that one, or choose another folder", dir = dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// By whom, if that is known.
        by: String,
    },
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(JournalError),
    /// The states that outlive the process cannot be opened.
    #[error(transparent)]
    States(StoreError),
    /// The record of child processes cannot be used.
    #[error(transparent)]
    Processes(OpenError),
    /// The tree did not come up.
    #[error(transparent)]
    Tree(#[from] mainstay_runtime::RuntimeStartError),
}

/// What a runtime is started with; see [`Mainstay::builder`].
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

    /// Sets where the actors' states are kept that outlive the process, in place of a file in the data folder.
    #[must_use]
    pub fn state_store(mut self, store: Arc<dyn StateStore>) -> Self {
        self.state_store = Some(store);
        self
    }

    /// Sets the folder for the journal and for what is known of the agents; without one, both are kept in memory alone.
    #[must_use]
    pub fn data_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(path.into());
        self
    }

    /// Sets what makes the attempts at requests, in place of HTTP.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.overrides.transport = Some(transport);
        self
    }

    /// Sets whom TLS trusts and what it shows, for HTTP and the WebSocket, in place of the platform's trust and
    /// `backend.ca_file`: with [`Trust::preconfigured`] a client certificate of the embedder's own, for one. A transport of
    /// the embedder's own does as it likes.
    #[must_use]
    pub fn trust(mut self, trust: TlsTrust) -> Self {
        self.overrides.trust = Some(trust);
        self
    }

    /// Adds a rule for what a write makes invalid in the cache, beside the responses of the path that it is sent to: what a
    /// POST to `/api/tasks/7/notes` makes of the list of tasks, the backend alone knows. It is obeyed before the caller has
    /// the answer, for every request through the runtime.
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

    /// Sets where wall time comes from, in place of the machine's clock.
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

    /// Whether the start and the end of every request is recorded as well.
    #[must_use]
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Starts the tree, and returns once every actor in it is ready. The backend need not be there; one that the
    /// configuration has the runtime start is waited for until it is ready, has ended, or its startup grace is over.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<Mainstay, StartError> {
        let environment = Environment::read(&self.config, |name| std::env::var(name).ok())?;
        let TreeSpec { root, handles: members, secrets } =
            TreeSpec::build(&self.config, &environment, self.overrides)?;
        let data_dir = self.data_dir.map(DataDir::new);
        let journal = open_journal(
            data_dir.as_ref(),
            self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            JournalConfig {
                segment_bytes_max: self.config.journal.segment_bytes,
                segments_max: self.config.journal.segments as usize,
                verbose: self.verbose,
                secrets,
                ..JournalConfig::default()
            },
        )?;
        let warden = members.process_manager.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(record_warnings(journal.clone(), warden.warnings()));
        record_start_report(&journal, start_process_manager(&warden, data_dir.as_ref()).await?);
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
        let runtime = builder.start(root).await?;
        Ok(Mainstay(Arc::new(Inner { runtime, handles: members, states, _tasks: tasks })))
    }
}

fn open_journal(
    data: Option<&DataDir>,
    clock: Arc<dyn Clock>,
    config: JournalConfig,
) -> Result<Journal, StartError> {
    let boot = format!("{:016x}", Rng::from_entropy().bits());
    let Some(data) = data else { return Ok(Journal::in_memory(boot, clock, config)) };
    data.create()?;
    Journal::open(&data.journal(), boot, clock, config).map_err(|error| match error {
        JournalError::InUse { .. } => in_use(data),
        error => StartError::Journal(error),
    })
}

/// Ends what processes an earlier run has left behind.
async fn start_process_manager(
    warden: &ProcessManager,
    data: Option<&DataDir>,
) -> Result<StartReport, StartError> {
    warden.start(data.map(DataDir::path)).await.map_err(|error| match (error, data) {
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

/// A running runtime. Cheap to clone; dropping the last clone kills the tree, [`shutdown`](Self::shutdown) stops it in
/// order.
#[derive(Clone)]
pub struct Mainstay(pub(crate) Arc<Inner>);

impl Mainstay {
    /// What a runtime is started with.
    #[must_use]
    pub fn builder() -> MainstayBuilder {
        MainstayBuilder::default()
    }

    /// Sends a request through the queue, and waits for the response. Dropping the future cancels the request.
    ///
    /// # Errors
    /// Whatever became of it instead: see [`Error`].
    pub async fn request(&self, request: Request) -> Result<Response, Error> {
        self.0.handles.queue.request(request).await
    }

    /// Like [`request`](Self::request), and says at once which id the request has, for [`cancel`](Self::cancel) and for
    /// finding it in the journal. The request is on its way when this returns. Dropping the future cancels it.
    #[must_use = "dropping the future cancels the request"]
    pub fn submit(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Response, Error>> + Send + use<>) {
        self.0.handles.queue.submit(request)
    }

    /// Cancels a request: its caller gets the reason `cancelled`. `false` if it had ended already. One that was under
    /// way may have reached the backend.
    ///
    /// # Errors
    /// `stopped` or `crashed` if the queue did not answer.
    pub async fn cancel(&self, id: RequestId) -> Result<bool, Error> {
        self.0.handles.queue.cancel(id).await
    }

    /// Sends a request through the queue, and waits for a good answer to begin; its body is then read as it comes, of
    /// any size and without being held in memory. Dropping the future, or the [`Download`], cancels the request.
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
    /// As [`request`](Self::request); what befalls the answer later is told by the [`Download`].
    pub async fn open(&self, request: Request) -> Result<Download, Error> {
        self.0.handles.queue.open(request).await
    }

    /// Like [`open`](Self::open), and says at once which id the request has, as [`submit`](Self::submit) does.
    #[must_use = "dropping the future cancels the request"]
    pub fn submit_open(
        &self,
        request: Request,
    ) -> (RequestId, impl Future<Output = Result<Download, Error>> + Send + use<>) {
        self.0.handles.queue.submit_open(request)
    }

    /// Like [`request`](Self::request), but a GET is answered from the cache if the response there is no older than
    /// `age_max`, and the backend's `Cache-Control` and `Expires` let it be used (RFC 9111, as a private cache). Where they
    /// say nothing of how long, `age_max` alone decides. What may not be used any more and has an `ETag` or
    /// `Last-Modified` is asked for under a condition; a 304 is never seen here.
    ///
    /// A response is used only for requests with the same headers of their own. Other methods, and requests with a body, an
    /// idempotency key, credentials of their own, or headers that themselves say something of caching or of a range, go to
    /// the backend, and nothing is kept of them.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub async fn request_cached(&self, request: Request, age_max: Duration) -> Result<Response, Error> {
        self.0.handles.responses.request(request, age_max, self.0.time_point().wall.into()).await
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> Cache {
        Cache(Arc::clone(&self.0))
    }

    /// The agents.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents(Arc::clone(&self.0))
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> Connection {
        Connection(Arc::clone(&self.0))
    }

    /// The root supervisor, to add children of the embedder's own next to the built-in ones.
    #[must_use]
    pub fn supervisor(&self) -> &SupervisorHandle {
        self.0.runtime.root()
    }

    /// The supervision tree as it stands now. Asks no actor.
    #[must_use]
    pub fn tree(&self) -> TreeNode {
        self.0.runtime.tree()
    }

    /// Follows the journal from the oldest event that is kept.
    #[must_use]
    pub fn events(&self) -> Subscription {
        self.journal().subscribe()
    }

    /// Follows the journal from the event after `cursor` on, across runs: see [`Journal::subscribe_after`].
    #[must_use]
    pub fn events_after(&self, cursor: Cursor) -> Subscription {
        self.journal().subscribe_after(cursor)
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        self.0.runtime.journal()
    }

    /// Everything that a person asks first, in one view.
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
            connection: self.connection().report(),
            queue: self.queue_report(),
            cache: self.cache().report(),
            agents: self.agents().list(),
        }
    }

    fn queue_report(&self) -> QueueReport {
        let (stats, moment) = (self.0.handles.queue_view.stats(), self.0.time_point());
        let hold = stats.outage.map(|hold| OutageReport {
            since: moment.format_wall_time(hold.since),
            reason: hold.reason,
            message: hold.reason.message().to_owned(),
            failures: hold.failures,
            next_probe_at: moment.format_wall_time(hold.next_probe_at),
            next_probe_in_ms: millis(hold.next_probe_at.saturating_sub(moment.now)),
        });
        QueueReport { stats, held: hold }
    }

    /// Stops everything in order. What waits is answered with `stopped`; the journal is on disk when this returns.
    pub async fn shutdown(&self) -> RuntimeExit {
        let ending = self.0.runtime.shutdown().await;
        self.0.close().await;
        ending
    }

    /// Returns when the tree has ended, by [`shutdown`](Self::shutdown) or because it could not go on.
    pub async fn finished(&self) -> RuntimeExit {
        let ending = self.0.runtime.finished().await;
        self.0.close().await;
        ending
    }
}
