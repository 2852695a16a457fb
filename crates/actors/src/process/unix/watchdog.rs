//! The guardian: a small process that ends all others when the runtime is gone, however it went.
//!
//! A parent-death signal would not do: it goes to the child alone, not to its group, it is tied to the thread that
//! started the child, and only Linux has it. A shell that waits for the end of its input needs nothing of the sort.

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

/// The variable that tells a guardian from all that it could be taken for.
pub(super) const WATCHDOG_VARIABLE: &str = "MAINSTAY_GUARDIAN";

const SCRIPT: &str = include_str!("watchdog.sh");

/// A guardian that has not acknowledged by then is replaced.
const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// So long it is waited for at the end. It takes seconds where something does not want to end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long after one could not be started another is tried while nobody asks.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// So many orders wait; who gives more waits with them.
const COMMANDS_MAX: usize = 64;

/// The runtime's end of it. When this is dropped, the guardian ends whatever is left, and then itself.
#[derive(Debug)]
pub(super) struct Watchdog {
    commands: mpsc::Sender<WatchdogCommand>,
    /// Owns the task; never looked at.
    _task: JoinSet<()>,
}

#[derive(Debug)]
enum WatchdogCommand {
    Watch(u32, oneshot::Sender<Result<(), String>>),
    Unwatch(u32, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

impl Watchdog {
    /// One that is started when there is something to guard.
    pub(super) fn new(prefix: &str, troubles: broadcast::Sender<ManagerWarning>) -> Self {
        let (orders, received) = mpsc::channel(COMMANDS_MAX);
        let prefix = prefix.to_owned();
        let keeper = WatchdogTask {
            marker_prefix: prefix,
            warnings: troubles,
            groups: BTreeSet::new(),
            process: None,
            is_failing: false,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.run(received));
        Self { commands: orders, _task: tasks }
    }

    /// Has the group guarded. When this has returned, it will not outlive the runtime.
    pub(super) async fn watch(&self, group: u32) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let gone = || "the guardian's keeper is gone".to_owned();
        self.commands.send(WatchdogCommand::Watch(group, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Has the group guarded no more. It is to be called before its id can be another's.
    pub(super) async fn unwatch(&self, group: u32) {
        let (reply, released) = oneshot::channel();
        // A keeper that is gone guards nothing.
        if self.commands.send(WatchdogCommand::Unwatch(group, reply)).await.is_ok() {
            let _ = released.await;
        }
    }

    /// Ends the guardian, which ends what is left, and returns when it has. Nothing is guarded after that.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(WatchdogCommand::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// Keeps a guardian in place.
struct WatchdogTask {
    marker_prefix: String,
    warnings: broadcast::Sender<ManagerWarning>,
    groups: BTreeSet<u32>,
    process: Option<WatchdogProcess>,
    /// None could be put in place, and that was told.
    is_failing: bool,
}

impl WatchdogTask {
    async fn run(mut self, mut orders: mpsc::Receiver<WatchdogCommand>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
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
                how = self.wait_until_exited() => {
                    self.discard(&how).await;
                    // The next turn tries again where this fails.
                    let _ = self.respawn().await;
                }
            }
        }
    }

    async fn watch(&mut self, group: u32) -> io::Result<()> {
        self.groups.insert(group);
        let told = self.notify('+', group).await;
        if told.is_err() {
            self.groups.remove(&group);
        }
        told
    }

    async fn unwatch(&mut self, group: u32) {
        self.groups.remove(&group);
        // Where it cannot be told, it is replaced by one that never hears of the group.
        let _ = self.notify('-', group).await;
    }

    /// Tells the guardian; a new one, which is told everything, if this one does not acknowledge.
    async fn notify(&mut self, sign: char, group: u32) -> io::Result<()> {
        if let Some(post) = &mut self.process {
            match post.send_command(sign, group).await {
                Ok(()) => return Ok(()),
                Err(error) => self.discard(&error.to_string()).await,
            }
        }
        if self.groups.is_empty() { Ok(()) } else { self.respawn().await }
    }

    /// Puts a guardian in place that knows all groups.
    async fn respawn(&mut self) -> io::Result<()> {
        match WatchdogProcess::spawn(&self.marker_prefix, &self.groups).await {
            Ok(post) => {
                self.process = Some(post);
                self.is_failing = false;
                Ok(())
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let _ =
                        self.warnings.send(ManagerWarning::WatchdogUnavailable { why: error.to_string() });
                }
                Err(error)
            }
        }
    }

    /// Ends when there is no guardian though there should be one, with what is known of its end.
    async fn wait_until_exited(&mut self) -> String {
        match &mut self.process {
            Some(post) => {
                let ended = post.child.wait().await;
                ended.map_or_else(|error| error.to_string(), |status| status.to_string())
            }
            None if self.groups.is_empty() => std::future::pending().await,
            None => {
                sleep(RETRY_DELAY).await;
                String::new()
            }
        }
    }

    /// Lets go of the lifeline, and waits until the guardian has done its work.
    async fn close(&mut self) {
        let Some(WatchdogProcess { mut child, lifeline, .. }) = self.process.take() else { return };
        drop(lifeline);
        let _ = timeout(CLOSE_TIMEOUT, child.wait()).await;
    }

    /// Parts with a guardian. It must not outlive this: as its input ends, it would end what is to go on.
    async fn discard(&mut self, why: &str) {
        let Some(mut post) = self.process.take() else { return };
        let _ = post.child.kill().await;
        let _ = self.warnings.send(ManagerWarning::WatchdogLost { why: why.to_owned() });
    }
}

/// A guardian at work.
struct WatchdogProcess {
    child: Child,
    lifeline: ChildStdin,
    acks: Lines<BufReader<ChildStdout>>,
}

impl WatchdogProcess {
    async fn spawn(prefix: &str, groups: &BTreeSet<u32>) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "mainstay-guardian", prefix]);
        // It must not be found by the mark of a runtime around this one, which would end it before its work is done.
        command.env_remove(MARKER_VARIABLE).env(WATCHDOG_VARIABLE, "1").env("LC_ALL", "C");
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(lifeline), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the guardian has no pipes"));
        };
        let mut post = Self { child, lifeline, acks: BufReader::new(stdout).lines() };
        for group in groups {
            if let Err(error) = post.send_command('+', *group).await {
                let _ = post.child.kill().await;
                return Err(error);
            }
        }
        Ok(post)
    }

    async fn send_command(&mut self, sign: char, group: u32) -> io::Result<()> {
        let line = format!("{sign}{group}");
        let told = async {
            self.lifeline.write_all(format!("{line}\n").as_bytes()).await?;
            match self.acks.next_line().await? {
                Some(answer) if answer == line => Ok(()),
                Some(_) => Err(io::Error::other("the guardian answers what it was not told")),
                None => Err(io::ErrorKind::BrokenPipe.into()),
            }
        };
        timeout(ACK_TIMEOUT, told)
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the guardian does not acknowledge")))
    }
}
