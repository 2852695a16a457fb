//! Asks the runtime each second, and carries commands out.

use std::time::Duration;

use mainstay_actors::logs::LogLine;
use mainstay_runtime::clock::{Clock, SystemClock};
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::model::{ScreenCommand, ScreenUpdate, Snapshot};
use crate::DataDir;
use crate::bridge::{BridgeCommand, LogsCommand, RequestsCommand};
use crate::cli::client::BridgeClient;
use crate::cli::error::CliError;
use crate::incidents::Incident;

/// The time from one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// A runtime that has not answered for this long is said not to answer.
const SILENT_AFTER: Duration = Duration::from_secs(3);
/// The incidents that are asked for.
const INCIDENTS_SHOWN: usize = 50;
/// The lines of a log that are asked for.
const LOG_LINES: usize = 50;

/// The state of the task.
struct Polling {
    data: DataDir,
    client: Option<BridgeClient>,
    log: Option<String>,
    updates: Sender<ScreenUpdate>,
}

/// Sends updates until the screen has gone.
pub(super) async fn run(data: DataDir, mut commands: Receiver<ScreenCommand>, updates: Sender<ScreenUpdate>) {
    let mut polling = Polling { data, client: None, log: None, updates };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sent = tokio::select! {
            _ = ticks.tick() => polling.look().await,
            command = commands.recv() => match command {
                Some(ScreenCommand::Log(log)) => {
                    polling.log = log;
                    polling.look().await
                }
                Some(ScreenCommand::Command { name, command }) => polling.carry_out(&name, *command).await,
                None => return,
            },
        };
        if !sent {
            return;
        }
    }
}

impl Polling {
    /// Asks for the state. Returns whether the screen is still there.
    async fn look(&mut self) -> bool {
        let updates = self.updates.clone();
        let update = match with_silence(&updates, self.snapshot()).await {
            Ok(snapshot) => ScreenUpdate::Snapshot(Box::new(snapshot)),
            Err(_) => {
                // The next look connects again: the runtime may be another one by then.
                self.client = None;
                ScreenUpdate::Gone
            }
        };
        self.updates.send(update).await.is_ok()
    }

    async fn carry_out(&mut self, name: &str, command: BridgeCommand) -> bool {
        let updates = self.updates.clone();
        let outcome = with_silence(&updates, async { self.client().await?.request(command).await }).await;
        let text = match outcome {
            Ok(_) => format!("{name}: done"),
            Err(failure) => match failure.error() {
                Some(error) => format!("{name}: {}", error.message),
                None => format!("{name}: the runtime does not answer"),
            },
        };
        self.updates.send(ScreenUpdate::Done(text)).await.is_ok() && self.look().await
    }

    async fn client(&mut self) -> Result<&mut BridgeClient, CliError> {
        if self.client.is_none() {
            self.client = Some(BridgeClient::connect(self.data.clone()).await?.quiet());
        }
        self.client.as_mut().ok_or_else(|| CliError::internal("no session"))
    }

    async fn snapshot(&mut self) -> Result<Snapshot, CliError> {
        #[derive(Deserialize)]
        struct IncidentList {
            incidents: Vec<Incident>,
        }
        #[derive(Deserialize)]
        struct LogLines {
            lines: Vec<LogLine>,
        }
        let log = self.log.clone();
        let client = self.client().await?;
        let status = client.request(BridgeCommand::Status {}).await?;
        let tree = client.request(BridgeCommand::Tree {}).await?;
        let requests = client.request(BridgeCommand::Requests(RequestsCommand::Show {})).await?;
        let incidents = client.request(BridgeCommand::Incidents { limit: Some(INCIDENTS_SHOWN) }).await?;
        let log = match log {
            Some(log) => {
                let read = LogsCommand::Read { log: log.clone(), lines: Some(LOG_LINES), since_ms: None };
                // An agent without a program has no log.
                let lines = client.request(BridgeCommand::Logs(read)).await.ok();
                lines.and_then(|lines| client.parse::<LogLines>(&lines).ok()).map(|read| (log, read.lines))
            }
            None => None,
        };
        Ok(Snapshot {
            at: SystemClock.now(),
            status: client.parse(&status)?,
            tree: client.parse(&tree)?,
            requests: client.parse(&requests)?,
            incidents: client.parse::<IncidentList>(&incidents)?.incidents,
            log,
        })
    }
}

/// Waits for an answer, and says meanwhile for how long there is none.
async fn with_silence<T>(updates: &Sender<ScreenUpdate>, answer: impl Future<Output = T>) -> T {
    let asked_at = Instant::now();
    tokio::pin!(answer);
    let mut limit = SILENT_AFTER;
    loop {
        match timeout(limit, &mut answer).await {
            Ok(answer) => return answer,
            Err(_) => {
                // A screen that does not take it draws again soon anyway.
                let _ = updates.try_send(ScreenUpdate::Silent { silence: asked_at.elapsed() });
                limit = INTERVAL;
            }
        }
    }
}
