//! Takes the settings of a runtime, and starts it.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use mainstay_actors::cache::WriteRule;
use mainstay_actors::credentials::Credentials;
use mainstay_actors::network::tls::TlsTrust;
use mainstay_actors::process::{OpenError, ProcessManager, StartReport};
use mainstay_actors::transport::Transport;
use mainstay_runtime::clock::{Clock, SystemClock};
use mainstay_runtime::journal::{Journal, JournalError, JournalOptions};
use mainstay_runtime::rng::Rng;
use mainstay_runtime::standstill::StandstillClock;
use mainstay_runtime::state::{RedbConfig, RedbStore, StateStore, StoreError};
use mainstay_runtime::{Runtime, RuntimeStartError};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::Mainstay;
use super::start_error::StartError;
use crate::agents::outdated::restart_outdated;
use crate::config::Config;
use crate::credentials;
use crate::data_dir::DataDir;
use crate::environment::Environment;
use crate::inner::Inner;
use crate::process_events::{read_login_path, record_start_report, record_warnings};
use crate::standstill::record_standstills;
use crate::tree_builder::{Overrides, TreeSpec};

/// The settings of a runtime; see [`Mainstay::builder`].
#[derive(Default)]
pub struct MainstayBuilder {
    config: Config,
    data_dir: Option<PathBuf>,
    overrides: Overrides,
    clock: Option<Arc<dyn Clock>>,
    seed: Option<u64>,
    verbose: bool,
    is_demo: bool,
    state_store: Option<Arc<dyn StateStore>>,
}

impl MainstayBuilder {
    /// Sets the configuration; else every key has its default.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Says that the backend is the embedded one of a demo, which people may break.
    #[cfg(feature = "cli")]
    pub(crate) fn demo(mut self, is_demo: bool) -> Self {
        self.is_demo = is_demo;
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
        let standstill_clock = Arc::<StandstillClock>::default();
        tasks.spawn(record_standstills(journal.clone(), Arc::clone(&standstill_clock)));
        if let Some(login_path) = &handles.login_path {
            tasks.spawn(read_login_path(journal.clone(), login_path.clone()));
        }
        record_start_report(&journal, start_process_manager(process_manager, data_dir.as_ref()).await?);
        let mut builder = Runtime::builder().journal(journal).standstill_clock(standstill_clock);
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
                is_demo: self.is_demo,
                incidents: Mutex::default(),
                history: Mutex::default(),
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
