//! The managed process below the `process` and `acp` drivers: its start, its memory, its stop, and why it ended.

pub(in crate::agent) mod errors;
mod liveness;
mod memory;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use self::errors::{not_running_error, start_error, stopped_error};
pub use self::liveness::HealthProbe;
use self::liveness::{find_silence, suspended_error};
use self::memory::{MemoryGauge, wait_until_over_ceiling};
use crate::agent::driver::{DriverError, ProcessUsage};
use crate::agent::health::Observation;
use crate::agent::updates::UpdateBroadcast;
use crate::error::{Error, Secrets};
use crate::process::{Launch, LaunchError, Process, ProcessCondition, ProcessExit, ProcessManager};

/// The default interval of memory measurements.
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// The default time limit for a sign of life.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The time for which the end of a conversation waits for the end of the process, which says more.
pub(super) const EXIT_TIMEOUT: Duration = Duration::from_millis(500);

/// Describes how a driver starts and watches the process of its agent.
pub struct ProcessSetup {
    /// Starts the process.
    pub launch: Launch,
    /// Cleans up processes that would be left behind.
    pub manager: ProcessManager,
    /// Receives what the agent says beside its answers.
    pub updates: UpdateBroadcast,
    /// The memory of the process and its descendants, in bytes, above which the agent is restarted. Three measurements
    /// in a row must be above it. `None` for no limit.
    pub memory_bytes_max: Option<u64>,
    /// The interval of measurements; 10 s unless set.
    pub memory_interval: Duration,
    /// The sign of life that a check asks for.
    pub health: HealthProbe,
    /// The time limit for that sign; 5 s unless set.
    pub health_timeout: Duration,
}

impl ProcessSetup {
    /// Creates a setup without subscribers and without a limit of memory.
    #[must_use]
    pub fn new(launch: Launch, manager: ProcessManager) -> Self {
        Self {
            launch,
            manager,
            updates: UpdateBroadcast::default(),
            memory_bytes_max: None,
            memory_interval: MEMORY_INTERVAL,
            health: HealthProbe::None,
            health_timeout: HEALTH_TIMEOUT,
        }
    }
}

/// A process of an agent. Dropping it kills the process with all that it started.
pub(super) struct ManagedProcess {
    process: Process,
    started_at: Instant,
    /// The reason for ending a process that still runs.
    kill_reason: Mutex<Option<Error>>,
    /// The reason of a requested stop. Once set, it explains the end however the process exits.
    stop_reason: Arc<OnceLock<Error>>,
    memory: MemoryGauge,
}

impl ManagedProcess {
    pub(super) async fn start(setup: &ProcessSetup) -> Result<Self, LaunchError> {
        Ok(Self {
            process: setup.launch.start(&setup.manager).await?,
            started_at: Instant::now(),
            kill_reason: Mutex::default(),
            stop_reason: Arc::default(),
            memory: MemoryGauge::default(),
        })
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    pub(super) fn uptime_s(&self) -> f64 {
        self.started_at.elapsed().as_secs_f64()
    }

    /// Returns the reason for ending a process that still runs.
    pub(super) fn kill_reason(&self) -> Option<Error> {
        self.kill_reason.lock().clone()
    }

    /// Returns the cell of the reason of a requested stop.
    pub(super) fn stop_reason(&self) -> &Arc<OnceLock<Error>> {
        &self.stop_reason
    }

    /// Returns the end of a process that had to be killed, for a log.
    pub(super) fn killed(&self) -> Option<String> {
        self.process.exit().filter(ProcessExit::is_kill).map(|exit| exit.describe_kill())
    }

    /// Notes that a stop is requested. Call it only if nothing has ended before, which keeps its own reason.
    pub(super) fn note_stop(&self) {
        let _ = self.stop_reason.set(self.kill_reason().unwrap_or_else(stopped_error));
    }
}

/// An instance of an agent: a process and the conversation with it.
pub(super) trait Instance: Send + Sync + 'static {
    fn managed(&self) -> &ManagedProcess;

    /// Returns the agent's health.
    fn observe(&self) -> impl Future<Output = Observation> + Send;

    /// Asks the agent for a sign of life over its conversation, and resolves when it gives one.
    fn ping(&self) -> impl Future<Output = ()> + Send;

    /// Resolves when the instance has ended. Keeps nothing of it alive.
    fn ended(&self) -> BoxFuture<'static, ()>;

    /// Stops the process, and returns when nothing of it is left.
    fn stop(&self) -> impl Future<Output = ()> + Send;

    /// Kills the process without waiting.
    fn kill(&self);
}

/// Starts an agent's process, watches it, and stops it: the base of a driver. It runs one instance at a time.
pub(super) struct ProcessHost<I> {
    pub(super) setup: ProcessSetup,
    /// The secrets that the agent may repeat.
    pub(super) secrets: Secrets,
    restart_lock: tokio::sync::Mutex<()>,
    instance: Mutex<Option<Arc<I>>>,
}

impl<I: Instance> ProcessHost<I> {
    pub(super) fn new(setup: ProcessSetup) -> Self {
        let secrets = setup.launch.spec.known_secrets();
        Self { setup, secrets, restart_lock: tokio::sync::Mutex::default(), instance: Mutex::default() }
    }

    /// Replaces the current instance by the one that `start` makes, and stops that again unless `ready` accepts it.
    /// Waits until no other restart runs.
    pub(super) async fn restart<T, Ready: Future<Output = Result<T, DriverError>>>(
        &self,
        start: impl Future<Output = Result<I, LaunchError>>,
        ready: impl FnOnce(Arc<I>) -> Ready,
    ) -> Result<T, DriverError> {
        let _restart = self.restart_lock.lock().await;
        self.stop().await;
        let started = async {
            let instance = Arc::new(start.await.map_err(|error| start_error(&error))?);
            *self.instance.lock() = Some(Arc::clone(&instance));
            let ready = ready(Arc::clone(&instance)).await;
            if ready.is_err() {
                self.stop_instance(&instance).await;
            }
            ready
        };
        started.await.map_err(|error| error.redacted(&self.secrets))
    }

    pub(super) fn instance(&self) -> Option<Arc<I>> {
        self.instance.lock().clone()
    }

    /// Returns the current instance, or the error for a process that is not running.
    pub(super) fn running_instance(&self) -> Result<Arc<I>, Error> {
        self.instance().ok_or_else(|| not_running_error("its process does not run"))
    }

    /// Returns whether a check asks the backend.
    pub(super) fn asks_backend(&self) -> bool {
        matches!(self.setup.health, HealthProbe::Backend { .. })
    }

    /// Returns the agent's health.
    pub(super) async fn observe(&self) -> Observation {
        let observation = match self.running_instance() {
            Ok(instance) => match instance.observe().await {
                answered @ Observation::Answered { .. } => {
                    let ProcessSetup { health, health_timeout, .. } = &self.setup;
                    let process = instance.managed().process();
                    match process.condition().await {
                        ProcessCondition::Exited => {
                            // After a standstill its exit may not have been read yet.
                            let _ = timeout(*health_timeout, process.exited()).await;
                            instance.observe().await
                        }
                        ProcessCondition::Suspended => Observation::Suspended { why: suspended_error() },
                        ProcessCondition::Running => {
                            let silence = find_silence(health, *health_timeout, instance.ping()).await;
                            silence.unwrap_or(answered)
                        }
                    }
                }
                other => other,
            },
            Err(why) => Observation::Exited { why },
        };
        match observation {
            Observation::Exited { why } => Observation::Exited { why: why.redacted(&self.secrets) },
            other => other,
        }
    }

    /// Resolves when the instance has ended, or takes too much memory.
    pub(super) async fn wait_for_failure(&self) -> Observation {
        let Some(instance) = self.instance() else { return self.observe().await };
        let ended = instance.ended();
        // A weak reference, so that this does not keep the agent alive.
        let instance = Arc::downgrade(&instance);
        let memory = wait_until_over_ceiling(self.setup.memory_bytes_max, self.setup.memory_interval, || {
            let instance = instance.clone();
            async move {
                let instance = instance.upgrade()?;
                let managed = instance.managed();
                Some(managed.memory.measure(&managed.process).await)
            }
        });
        tokio::select! {
            () = ended => self.observe().await,
            why = memory => {
                if let Some(instance) = instance.upgrade() {
                    *instance.managed().kill_reason.lock() = Some(why.clone());
                    // It must not grow until its restart is due.
                    instance.stop().await;
                }
                Observation::Exited { why }
            }
        }
    }

    /// Stops the current instance, and returns it.
    pub(super) async fn stop(&self) -> Option<Arc<I>> {
        let instance = self.instance()?;
        self.stop_instance(&instance).await;
        Some(instance)
    }

    async fn stop_instance(&self, instance: &Arc<I>) {
        instance.stop().await;
        // Another instance may have started meanwhile.
        self.instance.lock().take_if(|now| Arc::ptr_eq(now, instance));
    }

    /// Asks the process of the current instance to end now.
    pub(super) fn ask_to_end(&self) {
        if let Some(instance) = self.instance() {
            instance.managed().process.ask_to_end();
        }
    }

    /// Kills the current instance without waiting.
    pub(super) fn kill(&self) {
        if let Some(instance) = self.instance.lock().take() {
            instance.kill();
        }
    }

    /// Returns whether the system could not run the program of the current instance.
    pub(super) fn is_unrunnable(&self) -> bool {
        self.instance()
            .is_some_and(|instance| instance.managed().process.exit().is_some_and(|exit| exit.never_ran))
    }

    /// Returns whether a signal or a debugger has stopped the process of the current instance.
    pub(super) async fn is_suspended(&self) -> bool {
        match self.instance() {
            Some(instance) => instance.managed().process.is_suspended().await,
            None => false,
        }
    }

    /// Returns the process's usage, while it runs.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        let instance = self.instance()?;
        let managed = instance.managed();
        managed.memory.usage_of(&managed.process)
    }
}
