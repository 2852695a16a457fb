//! Runs the watchdog: a small process that ends all others when the runtime is gone, for any cause.
//!
//! A parent-death signal does not fit. It reaches the child alone, not its group, it is tied to the thread that
//! started the child, and only Linux has it. A shell that waits for the end of its stdin has none of these limits.

use std::collections::BTreeSet;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::manager::ManagerWarning;
use super::super::spec::MARKER_VARIABLE;

/// The variable that distinguishes a watchdog from other processes.
pub(super) const WATCHDOG_VARIABLE: &str = "MAINSTAY_WATCHDOG";

const SCRIPT: &str = include_str!("watchdog.sh");

/// The time for an acknowledgement. A watchdog without one is replaced.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for the watchdog's exit. It takes seconds if a process does not end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause before another start after a failed one, while there is no command.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The number of commands that may wait. Senders beyond it wait for room.
const COMMANDS_MAX: usize = 64;

/// The runtime's side of the watchdog. When this is dropped, the watchdog ends the remaining groups, and then itself.
#[derive(Debug)]
pub(super) struct Watchdog {
    commands: mpsc::Sender<WatchdogCommand>,
    /// Owns the task; never read.
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum WatchdogCommand {
    Watch(u32, oneshot::Sender<Result<(), String>>),
    Unwatch(u32, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Watchdog {
    /// Creates a watchdog that starts with the first group.
    pub(super) fn new(prefix: &str, warnings: broadcast::Sender<ManagerWarning>) -> Self {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let task = WatchdogTask {
            marker_prefix: prefix.to_owned(),
            warnings,
            groups: BTreeSet::new(),
            process: None,
            is_failing: false,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(received));
        Self { commands, _task: tasks }
    }

    /// Adds the group. Once this has returned, it will not outlive the runtime.
    pub(super) async fn watch(&self, group: u32) -> Result<(), String> {
        let (reply, acknowledged) = oneshot::channel();
        let gone = || "the watchdog's task is gone".to_owned();
        self.commands.send(WatchdogCommand::Watch(group, reply)).await.map_err(|_| gone())?;
        acknowledged.await.map_err(|_| gone())?
    }

    /// Removes the group. Call this before its id can be another's.
    pub(super) async fn unwatch(&self, group: u32) {
        let (reply, released) = oneshot::channel();
        // A task that is gone watches nothing.
        if self.commands.send(WatchdogCommand::Unwatch(group, reply)).await.is_ok() {
            let _ = released.await;
        }
    }

    /// Ends the watchdog, which ends the remaining groups, and returns when it has. Nothing is watched after that.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(WatchdogCommand::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Keeps a watchdog process running.
struct WatchdogTask {
    marker_prefix: String,
    warnings: broadcast::Sender<ManagerWarning>,
    groups: BTreeSet<u32>,
    process: Option<WatchdogProcess>,
    /// True if no process could be started, and this was reported.
    is_failing: bool,
}

impl WatchdogTask {
    async fn run(mut self, mut commands: mpsc::Receiver<WatchdogCommand>) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(WatchdogCommand::Close(reply)) => {
                        self.close().await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(WatchdogCommand::Watch(group, reply)) => {
                        let _ = reply.send(self.watch(group).await.map_err(|error| error.to_string()));
                    }
                    Some(WatchdogCommand::Unwatch(group, reply)) => {
                        self.unwatch(group).await;
                        let _ = reply.send(());
                    }
                    None => return,
                },
                reason = self.wait_until_exited() => {
                    self.discard(&reason).await;
                    // The next turn tries again if this fails.
                    let _ = self.respawn().await;
                }
            }
        }
    }

    async fn watch(&mut self, group: u32) -> io::Result<()> {
        self.groups.insert(group);
        let notified = self.notify('+', group).await;
        if notified.is_err() {
            self.groups.remove(&group);
        }
        notified
    }

    async fn unwatch(&mut self, group: u32) {
        self.groups.remove(&group);
        // A watchdog that cannot be reached is replaced by one that never gets the group.
        let _ = self.notify('-', group).await;
    }

    /// Sends a command to the watchdog process. If it does not acknowledge, a new one takes over with all groups.
    async fn notify(&mut self, sign: char, group: u32) -> io::Result<()> {
        if let Some(process) = &mut self.process {
            match process.send_command(sign, group).await {
                Ok(()) => return Ok(()),
                Err(error) => self.discard(&error.to_string()).await,
            }
        }
        if self.groups.is_empty() { Ok(()) } else { self.respawn().await }
    }

    /// Starts a watchdog process that knows all groups.
    async fn respawn(&mut self) -> io::Result<()> {
        match WatchdogProcess::spawn(&self.marker_prefix, &self.groups).await {
            Ok(process) => {
                self.process = Some(process);
                self.is_failing = false;
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let _ = self
                        .warnings
                        .send(ManagerWarning::WatchdogUnavailable { message: error.to_string() });
                }
                Err(error)
            }
        }
    }

    /// Returns the reason when a watchdog is needed and its process is gone.
    async fn wait_until_exited(&mut self) -> String {
        match &mut self.process {
            Some(process) => {
                let ended = process.child.wait().await;
                ended.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            None if self.groups.is_empty() => std::future::pending().await,
            None => {
                sleep(RETRY_DELAY).await;
                String::new()
            }
        }
    }

    /// Closes its stdin, and waits until the watchdog has done its work.
    async fn close(&mut self) {
        let Some(WatchdogProcess { mut child, lifeline, .. }) = self.process.take() else { return };
        drop(lifeline);
        let _ = timeout(CLOSE_TIMEOUT, child.wait()).await;
    }

    /// Kills a watchdog process. It must not outlive this call: at the end of its stdin it would end groups that are
    /// to live on.
    async fn discard(&mut self, reason: &str) {
        let Some(mut process) = self.process.take() else { return };
        let _ = process.child.kill().await;
        let _ = self.warnings.send(ManagerWarning::WatchdogLost { message: reason.to_owned() });
    }
}

/// A running watchdog process.
struct WatchdogProcess {
    child: Child,
    lifeline: ChildStdin,
    acks: Lines<BufReader<ChildStdout>>,
}

impl WatchdogProcess {
    async fn spawn(prefix: &str, groups: &BTreeSet<u32>) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "mainstay-watchdog", prefix]);
        // The watchdog must not carry the marker of a runtime around this one, which would end it too early.
        command.env_remove(MARKER_VARIABLE).env(WATCHDOG_VARIABLE, "1").env("LC_ALL", "C");
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(lifeline), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the watchdog has no pipes"));
        };
        let mut process = Self { child, lifeline, acks: BufReader::new(stdout).lines() };
        for group in groups {
            if let Err(error) = process.send_command('+', *group).await {
                let _ = process.child.kill().await;
                return Err(error);
            }
        }
        Ok(process)
    }

    async fn send_command(&mut self, sign: char, group: u32) -> io::Result<()> {
        let line = format!("{sign}{group}");
        let notified = async {
            self.lifeline.write_all(format!("{line}\n").as_bytes()).await?;
            match self.acks.next_line().await? {
                Some(acknowledged) if acknowledged == line => Ok(()),
                Some(_) => Err(io::Error::other("the watchdog acknowledges another command")),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        timeout(ACK_TIMEOUT, notified)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the watchdog does not acknowledge")))
    }
}
