//! A process and all that it starts: begun behind a gate, watched, ended.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};

use super::super::child::{Grace, Identity, Pipes, Status};
use super::super::ending::{Ending, Step};
use super::super::spec::{MARKER, ProcessSpec, StartFault};
use super::Custody;
use super::record::Entry;
use super::sight::{self, Seen, members};
use super::signals::{all_gone, is_inhabited, signal_group, signal_one};

/// Nothing runs before the gate opens: a newline on its input. If the runtime is gone by then, the input ends and so
/// does this. `exec` keeps the id, so what was recorded of the gate is true of the program.
const GATE: &str = r#"IFS= read -r _ || exit 0; exec "$@""#;

/// A process that is becoming another program has no environment for a moment, and one may be forked behind the back of
/// a look. So nothing is believed to be gone before it was not there twice.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(10);

/// A process that is the leader of a group of its own.
#[derive(Debug)]
pub(in crate::process) struct Body {
    child: Child,
    name: String,
    pid: u32,
    started: String,
    marker: String,
    grace: Duration,
}

impl Body {
    /// Starts the gate, behind which the process waits.
    pub(in crate::process) fn spawn(
        spec: &ProcessSpec,
        custody: &Custody,
    ) -> Result<(Self, Pipes), StartFault> {
        let marker = custody.next_marker();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, &spec.name]).args(&spec.command);
        command.envs(&spec.env).env(MARKER, &marker).env_remove(super::guardian::GUARDIAN);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(StartFault::Refused)?;
        let broken = || StartFault::Refused(io::Error::other("it has no id or no pipes"));
        let pid = child.id().ok_or_else(broken)?;
        let pipes = Pipes {
            stdin: child.stdin.take().ok_or_else(broken)?,
            stdout: child.stdout.take().ok_or_else(broken)?,
            stderr: child.stderr.take().ok_or_else(broken)?,
        };
        let started = sight::look_at(pid).map(|seen| seen.started).unwrap_or_default();
        let (name, grace) = (spec.name.clone(), spec.grace);
        Ok((Self { child, name, pid, started, marker, grace }, pipes))
    }

    pub(in crate::process) fn identity(&self) -> Identity {
        Identity { pid: self.pid, started: self.started.clone(), marker: self.marker.clone() }
    }

    /// Makes the process known, so that it will not outlive the runtime.
    pub(in crate::process) async fn register(&self, custody: &Custody) -> Result<(), StartFault> {
        custody.guardian.guard(self.pid).await.map_err(StartFault::Unguarded)?;
        let entry = Entry {
            name: self.name.clone(),
            pid: self.pid,
            started: self.started.clone(),
            boot: custody.boot.clone(),
            marker: self.marker.clone(),
        };
        custody.write(|entries| entries.push(entry)).await;
        Ok(())
    }

    /// Lets it go.
    pub(in crate::process) async fn open_gate(&self, stdin: &mut ChildStdin) {
        // One that is dead by now will be seen to be.
        let _ = stdin.write_all(b"\n").await;
    }

    /// Ends when the process itself has. Until [`bury`](Self::bury) its id remains its own, where the system lets us see
    /// an end without taking note of it.
    pub(in crate::process) async fn ended(&mut self) -> Status {
        #[cfg(target_os = "linux")]
        if super::signals::ended(self.pid, || true).await.is_ok()
            && let Some(status) = peek(self.pid)
        {
            return status;
        }
        match self.child.wait().await {
            Ok(status) => Status { code: status.code(), signal: status.signal() },
            // Somebody else in this program has waited for it.
            Err(_) => Status::default(),
        }
    }

    /// Ends the process and all that it started: asks, waits for the grace, kills. In a hurry it only kills. Returns the
    /// ids of what is left all the same.
    pub(in crate::process) async fn end(
        &self,
        grace: Grace,
        in_a_hurry: impl Future<Output = ()>,
    ) -> Vec<u32> {
        let grace = match grace {
            Grace::AsAgreed => self.grace,
            Grace::None => Duration::ZERO,
        };
        end(&self.target(), grace, in_a_hurry).await
    }

    /// Has the process forgotten, once it has ended. What is left of it remains guarded and recorded.
    pub(in crate::process) async fn bury(mut self, custody: &Custody, left: &[u32]) {
        if left.is_empty() {
            custody.guardian.release(self.pid).await;
            custody.write(|entries| entries.retain(|entry| entry.marker != self.marker)).await;
        }
        // If it is among what is left, the runtime that we run in waits for it when it can.
        if !left.contains(&self.pid) {
            let _ = self.child.wait().await;
        }
    }

    fn target(&self) -> Target {
        let (marker, since) = (self.marker.clone(), self.started.clone());
        Target { group: Some(self.pid), marker, since }
    }
}

/// Kills the group at once, and waits for nothing.
pub(in crate::process) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// The resident memory of a process and all that it started, in bytes. What they share counts for each.
pub(in crate::process) async fn resident_bytes(identity: &Identity) -> Option<u64> {
    let Identity { pid, started, marker } = identity.clone();
    let target = Target { group: Some(pid), marker, since: started };
    Some(target.living().await.iter().map(|seen| seen.resident_bytes).sum())
}

#[cfg(target_os = "linux")]
fn peek(pid: u32) -> Option<Status> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(super::signals::id(pid)?), options).ok()??;
    Some(Status { code: status.exit_status(), signal: status.terminating_signal() })
}

/// Processes that belong together.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The group that is theirs for certain, if there is one.
    pub(super) group: Option<u32>,
    pub(super) marker: String,
    /// None of them is older.
    pub(super) since: String,
}

impl Target {
    async fn living(&self) -> Vec<Seen> {
        match look(self.since.clone()).await {
            Ok(seen) => members(&seen, self.group, &self.marker).into_iter().cloned().collect(),
            // Where the system shows no processes, it still says whether the group has any.
            Err(_) => {
                let group = self.group.filter(|group| is_inhabited(*group));
                group.map(|group| Seen { pid: group, group, ..Seen::default() }).into_iter().collect()
            }
        }
    }

    fn signal(&self, living: &[Seen], signal: Signal) {
        let is_in_group = |seen: &&Seen| Some(seen.group) == self.group;
        if let Some(seen) = living.iter().find(is_in_group) {
            signal_group(seen.group, signal);
        }
        for seen in living.iter().filter(|seen| !is_in_group(seen)) {
            signal_one(seen, signal);
        }
    }
}

/// All processes, looked at where it holds nobody up.
pub(super) async fn look(since: String) -> io::Result<Vec<Seen>> {
    let looked = tokio::task::spawn_blocking(move || sight::look(&since));
    looked.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

/// Ends them all, as [`Body::end`].
pub(super) async fn end(target: &Target, grace: Duration, in_a_hurry: impl Future<Output = ()>) -> Vec<u32> {
    let begun = Instant::now();
    let (mut ending, mut is_sure) = (Ending::new(grace), false);
    let (mut in_a_hurry, mut is_hurried) = (pin!(in_a_hurry), false);
    loop {
        let living = target.living().await;
        let step = ending.next(begun.elapsed(), living.len(), is_hurried);
        let was_sure = std::mem::replace(&mut is_sure, step == Step::Done);
        match step {
            Step::Ask => target.signal(&living, Signal::TERM),
            Step::Kill => target.signal(&living, Signal::KILL),
            Step::Wait(until) => tokio::select! {
                () = all_gone(&living) => {}
                () = sleep(until.saturating_sub(begun.elapsed())) => {}
                () = &mut in_a_hurry, if !is_hurried => is_hurried = true,
            },
            Step::Done if was_sure => return Vec::new(),
            Step::Done => sleep(SECOND_LOOK_AFTER).await,
            Step::GiveUp => return living.iter().map(|seen| seen.pid).collect(),
        }
    }
}
