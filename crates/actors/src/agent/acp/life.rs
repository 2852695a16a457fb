//! One life of an agent's process, with the connection to it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, timeout};

use super::client::AcpClient;
use super::fault::AcpFault;
use super::options::AcpOptions;
use super::session::SessionStart;
use crate::agent::driver::ProcessFacts;
use crate::agent::feed::AgentFeed;
use crate::agent::health::{Observation, Reported};
use crate::agent::process::memory::MemoryGauge;
use crate::agent::process::words::{absent, ended, stopped};
use crate::error::{Error, Reason};
use crate::process::{Exit, Launch, LaunchFault, Process, Warden};

/// How long the end of a connection waits for the end of the process, which says more.
const EXIT_WITHIN: Duration = Duration::from_millis(500);

/// Why an agent does not talk to us.
#[derive(Debug)]
pub(super) enum NotTalking {
    /// Its process did not come up.
    Launch(LaunchFault),
    /// It did not introduce itself, or begin a conversation.
    Acp(AcpFault),
}

/// The process and the connection. When this is dropped, the process is killed with all that it started.
pub(super) struct Life {
    process: Process,
    /// Once it has introduced itself and begun a conversation.
    client: OnceLock<AcpClient>,
    /// It has introduced itself, and is to take a conversation up again.
    is_taking_up: AtomicBool,
    started_at: Instant,
    /// Why it is to be ended though it runs.
    condemned: Mutex<Option<Error>>,
    /// Why it is being stopped, once it is: then however it ends, it ends for that.
    ending: OnceLock<Error>,
    memory: MemoryGauge,
}

impl Life {
    /// Starts the process. Nothing has been said yet: see [`talk`](Self::talk).
    pub(super) async fn begin(launch: &Launch, warden: &Warden) -> Result<Self, LaunchFault> {
        Ok(Self {
            process: launch.start(warden).await?,
            client: OnceLock::new(),
            is_taking_up: AtomicBool::new(false),
            started_at: Instant::now(),
            condemned: Mutex::default(),
            ending: OnceLock::new(),
            memory: MemoryGauge::default(),
        })
    }

    /// Has the agent introduce itself, and begins a conversation with it or takes up the one known as `kept`.
    pub(super) async fn talk(
        &self,
        launch: &Launch,
        cwd: &Path,
        kept: Option<&str>,
        feed: &AgentFeed,
        options: &AcpOptions,
    ) -> Result<SessionStart, NotTalking> {
        launch.ready(&self.process, &launch.ready.cue()).await.map_err(NotTalking::Launch)?;
        let Some((write, read)) = self.process.take_stdio() else {
            return Err(NotTalking::Acp(AcpFault::Closed));
        };
        let begun = async {
            let client = AcpClient::open(read, write, feed.clone(), options.clone()).await?;
            self.is_taking_up.store(kept.is_some() && client.offers_a_way_back(), Ordering::Relaxed);
            let start = client.start_session(cwd, kept).await?;
            self.is_taking_up.store(false, Ordering::Relaxed);
            Ok((client, start))
        };
        let begun = tokio::select! {
            biased;
            exit = self.process.exited() => return Err(NotTalking::Launch(LaunchFault::Exited(exit))),
            begun = timeout(launch.ready_within, begun) => begun,
        };
        let begun = begun
            .map_err(|_| LaunchFault::Late { within: launch.ready_within, stderr: self.process.stderr() });
        match begun.map_err(NotTalking::Launch)? {
            Ok((client, start)) => {
                // One life talks once.
                let _ = self.client.set(client);
                Ok(start)
            }
            Err(fault) => Err(match self.exit_behind(&fault).await {
                Some(exit) => NotTalking::Launch(LaunchFault::Exited(exit)),
                None => NotTalking::Acp(fault),
            }),
        }
    }

    /// Whether it has introduced itself and got no further, since it was to take a conversation up again.
    pub(super) fn is_taking_up(&self) -> bool {
        self.is_taking_up.load(Ordering::Relaxed)
    }

    /// The connection, where there is a conversation.
    pub(super) fn client(&self) -> Option<&AcpClient> {
        self.client.get()
    }

    /// How it is.
    pub(super) async fn observe(&self) -> Observation {
        let over = self.client().and_then(AcpClient::end);
        let exit = match &over {
            Some(fault) => self.exit_behind(fault).await,
            None => self.process.exit(),
        };
        if let Some(exit) = exit {
            return Observation::Gone { why: self.ending().unwrap_or_else(|| ended(&exit)) };
        }
        if let Some(why) = self.condemned().clone().or_else(|| over.as_ref().map(cut_off)) {
            return Observation::Gone { why };
        }
        if self.client().is_none() {
            return Observation::Gone { why: absent("its process has not begun a conversation yet") };
        }
        Observation::Answered {
            reported: Reported::Healthy,
            uptime_s: Some(self.started_at.elapsed().as_secs_f64()),
            error_count: None,
        }
    }

    /// Waits until it has ended, or talks no more.
    pub(super) fn over(&self) -> impl Future<Output = ()> + Send + use<> {
        let exited = self.process.exited().boxed();
        let ended = self.client().map(AcpClient::ended);
        async move {
            match ended {
                Some(ended) => tokio::select! {
                    _ = exited => {}
                    _ = ended => {}
                },
                None => drop(exited.await),
            }
        }
    }

    /// How the process ended, where that is why the connection did.
    pub(super) async fn exit_behind(&self, fault: &AcpFault) -> Option<Exit> {
        if !fault.is_end_of_pipe() {
            return None;
        }
        timeout(EXIT_WITHIN, self.process.exited()).await.ok()
    }

    /// Why it is being stopped, or was, if that came before its end.
    pub(super) fn ending(&self) -> Option<Error> {
        self.ending.get().cloned()
    }

    /// Stops it, and returns when nothing is left of it.
    pub(super) async fn stop(&self) {
        // What happened before is told as what it was.
        if self.process.exit().is_none() && self.client().is_none_or(|client| client.end().is_none()) {
            let _ = self.ending.set(self.condemned().clone().unwrap_or_else(stopped));
        }
        self.process.stop().await;
    }

    /// Kills it, and waits for nothing.
    pub(super) fn kill(&self) {
        self.process.kill();
    }

    /// It is to be ended, though it runs.
    pub(super) fn condemn(&self, why: &Error) {
        *self.condemned() = Some(why.clone());
    }

    /// Looks how much memory it takes, in bytes.
    pub(super) async fn look_at_memory(&self) -> Option<u64> {
        self.memory.look_at(&self.process).await
    }

    /// What is known of the process, while it runs.
    pub(super) fn facts(&self) -> Option<ProcessFacts> {
        self.memory.facts_of(&self.process)
    }

    fn condemned(&self) -> MutexGuard<'_, Option<Error>> {
        self.condemned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent runs, and cannot be talked to any more.
fn cut_off(fault: &AcpFault) -> Error {
    Error::new(Reason::AgentFailed)
        .with_message(
            "The agent cannot be talked to any more, and is to be restarted. Look into its last error.",
        )
        .with_details(&fault.to_string())
}
