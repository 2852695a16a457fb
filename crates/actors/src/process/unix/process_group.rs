//! Starts a process behind a gate, watches it, and ends it with its descendants.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep};

use super::super::child::{Grace, ProcessCondition, ProcessIdentity, StdioPipes, WaitStatus};
use super::super::shutdown::{ShutdownSequence, ShutdownStep, Urgency};
use super::super::spec::{MARKER_VARIABLE, ProcessSpec, SpawnError};
use super::ProcessRegistry;
use super::pid_file::PidFileEntry;
use super::process_table::{self, ProcessInfo, group_members};
use super::signals::{is_group_alive, signal_group, signal_process, wait_all_exited};

/// The gate: nothing runs before a newline on its stdin. If the runtime is gone by then, the stdin ends and so does
/// the gate. `exec` keeps the id, so the gate's identity is the program's.
const GATE_SCRIPT: &str = r#"IFS= read -r _ || exit 0; exec "$@""#;

/// The number of looks that must find nothing. During `exec` a process has no environment for a moment, and one look
/// can miss a fork.
const RECHECK_DELAY: Duration = Duration::from_millis(10);

/// A process that leads a group of its own.
#[derive(Debug)]
pub(in crate::process) struct ProcessGroup {
    child: Child,
    name: String,
    pid: u32,
    started: String,
    marker: String,
    grace: Duration,
    input_grace: Duration,
}

impl ProcessGroup {
    /// Starts the gate, behind which the process waits.
    pub(in crate::process) fn spawn(
        spec: &ProcessSpec,
        registry: &ProcessRegistry,
    ) -> Result<(Self, StdioPipes), SpawnError> {
        let marker = registry.next_marker();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE_SCRIPT, &spec.name]).args(&spec.command);
        command.envs(&spec.env).env(MARKER_VARIABLE, &marker).env_remove(super::watchdog::WATCHDOG_VARIABLE);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(SpawnError::Io)?;
        let broken = || SpawnError::Io(io::Error::other("it has no id or no pipes"));
        let pid = child.id().ok_or_else(broken)?;
        let pipes = StdioPipes {
            stdin: child.stdin.take().ok_or_else(broken)?,
            stdout: child.stdout.take().ok_or_else(broken)?,
            stderr: child.stderr.take().ok_or_else(broken)?,
        };
        let started = process_table::find(pid).map(|process| process.started).unwrap_or_default();
        let (name, grace, input_grace) = (spec.name.clone(), spec.grace, spec.input_grace);
        Ok((Self { child, name, pid, started, marker, grace, input_grace }, pipes))
    }

    pub(in crate::process) fn identity(&self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, started: self.started.clone(), marker: self.marker.clone() }
    }

    /// Registers the process, so that it will not outlive the runtime.
    pub(in crate::process) async fn register(&self, registry: &ProcessRegistry) -> Result<(), SpawnError> {
        registry.watchdog.watch(self.pid).await.map_err(SpawnError::NoWatchdog)?;
        let entry = PidFileEntry {
            name: self.name.clone(),
            pid: self.pid,
            started: self.started.clone(),
            boot: registry.boot_id.clone(),
            marker: self.marker.clone(),
        };
        registry.update_pid_file(|entries| entries.push(entry)).await;
        Ok(())
    }

    /// Opens the gate.
    pub(in crate::process) async fn open_gate(&self, stdin: &mut ChildStdin) {
        // If the process is dead by now, its exit will show it.
        let _ = stdin.write_all(b"\n").await;
    }

    /// Waits for the exit of the process itself. Until [`reap`](Self::reap) its id remains its own, if the system can
    /// report an exit without reaping.
    pub(in crate::process) async fn wait_for_exit(&mut self) -> WaitStatus {
        #[cfg(target_os = "linux")]
        if super::signals::wait_pidfd(self.pid, || true).await.is_ok()
            && let Some(status) = peek_wait_status(self.pid)
        {
            return status;
        }
        match self.child.wait().await {
            Ok(status) => WaitStatus { code: status.code(), signal: status.signal() },
            // Another part of this program has reaped it.
            Err(_) => WaitStatus::default(),
        }
    }

    /// Ends the process and its descendants: asks, waits for the grace, kills. Once `asked`, it no longer waits for what
    /// they do at the end of their input; in a hurry it only kills. Returns the ids of those that remain.
    pub(in crate::process) async fn shut_down(
        &self,
        grace: Grace,
        asked: impl Future<Output = ()>,
        in_a_hurry: impl Future<Output = ()>,
    ) -> Vec<u32> {
        let sequence = match grace {
            Grace::AfterInput => ShutdownSequence::new(self.grace).with_input_grace(self.input_grace),
            Grace::Configured => ShutdownSequence::new(self.grace),
            Grace::None => ShutdownSequence::new(Duration::ZERO),
        };
        shut_down(&self.process_set(), sequence, asked, in_a_hurry).await
    }

    /// Reaps the process after its exit. Its remains stay watched and recorded.
    pub(in crate::process) async fn reap(mut self, registry: &ProcessRegistry, survivors: &[u32]) {
        if survivors.is_empty() {
            registry.watchdog.unwatch(self.pid).await;
            registry.update_pid_file(|entries| entries.retain(|entry| entry.marker != self.marker)).await;
        }
        // If it is among the remains, tokio reaps it later.
        if !survivors.contains(&self.pid) {
            let _ = self.child.wait().await;
        }
    }

    fn process_set(&self) -> ProcessSet {
        let (marker, since) = (self.marker.clone(), self.started.clone());
        ProcessSet { group: Some(self.pid), marker, started_since: since }
    }
}

/// Kills the group at once, and waits for nothing.
pub(in crate::process) fn kill_group(pid: u32) {
    signal_group(pid, Signal::KILL);
}

/// Returns the resident memory of a process and its descendants, in bytes. Shared memory counts for each.
pub(in crate::process) async fn resident_bytes(identity: &ProcessIdentity) -> Option<u64> {
    let ProcessIdentity { pid, started, marker } = identity.clone();
    let target = ProcessSet { group: Some(pid), marker, started_since: started };
    Some(target.list_live().await.iter().map(|process| process.resident_bytes).sum())
}

/// Returns the condition of the process. One that the table does not have counts as running.
pub(in crate::process) async fn condition(identity: &ProcessIdentity) -> ProcessCondition {
    let ProcessIdentity { pid, started, .. } = identity.clone();
    let found = tokio::task::spawn_blocking(move || process_table::find(pid));
    match found.await.ok().flatten() {
        Some(now) if now.is_zombie || now.started != started => ProcessCondition::Exited,
        Some(now) if now.is_suspended => ProcessCondition::Suspended,
        _ => ProcessCondition::Running,
    }
}

#[cfg(target_os = "linux")]
fn peek_wait_status(pid: u32) -> Option<WaitStatus> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let status = waitid(WaitId::Pid(super::signals::child_pid(pid)?), options).ok()??;
    Some(WaitStatus { code: status.exit_status(), signal: status.terminating_signal() })
}

/// A set of processes that belong together.
#[derive(Debug, Clone)]
pub(super) struct ProcessSet {
    /// The group that is certainly theirs, if there is one.
    pub(super) group: Option<u32>,
    pub(super) marker: String,
    /// The earliest start time among them.
    pub(super) started_since: String,
}

impl ProcessSet {
    async fn list_live(&self) -> Vec<ProcessInfo> {
        match list_processes(self.started_since.clone()).await {
            Ok(process) => group_members(&process, self.group, &self.marker).into_iter().cloned().collect(),
            // On a system that shows no processes, it still says whether the group has any.
            Err(_) => {
                let group = self.group.filter(|group| is_group_alive(*group));
                group
                    .map(|group| ProcessInfo { pid: group, group, ..ProcessInfo::default() })
                    .into_iter()
                    .collect()
            }
        }
    }

    fn send_signal(&self, live: &[ProcessInfo], signal: Signal) {
        let is_in_group = |process: &&ProcessInfo| Some(process.group) == self.group;
        if let Some(process) = live.iter().find(is_in_group) {
            signal_group(process.group, signal);
        }
        for process in live.iter().filter(|process| !is_in_group(process)) {
            signal_process(process, signal);
        }
    }
}

/// Lists all processes, without blocking the runtime.
pub(super) async fn list_processes(since: String) -> io::Result<Vec<ProcessInfo>> {
    let looked = tokio::task::spawn_blocking(move || process_table::list(&since));
    looked.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}

/// Ends them all, as [`ProcessGroup::shut_down`].
pub(super) async fn shut_down(
    target: &ProcessSet,
    mut sequence: ShutdownSequence,
    asked: impl Future<Output = ()>,
    in_a_hurry: impl Future<Output = ()>,
) -> Vec<u32> {
    let (started_at, mut is_sure) = (Instant::now(), false);
    let (mut asked, mut in_a_hurry, mut urgency) = (pin!(asked), pin!(in_a_hurry), Urgency::None);
    loop {
        let live = target.list_live().await;
        let step = sequence.next(started_at.elapsed(), live.len(), urgency);
        let was_sure = std::mem::replace(&mut is_sure, step == ShutdownStep::Done);
        match step {
            ShutdownStep::Terminate => target.send_signal(&live, Signal::TERM),
            ShutdownStep::Kill => target.send_signal(&live, Signal::KILL),
            ShutdownStep::Wait(until) => tokio::select! {
                () = wait_all_exited(&live) => {}
                () = sleep(until.saturating_sub(started_at.elapsed())) => {}
                () = &mut asked, if urgency == Urgency::None => urgency = Urgency::Ask,
                () = &mut in_a_hurry, if urgency < Urgency::Kill => urgency = Urgency::Kill,
            },
            ShutdownStep::Done if was_sure => return Vec::new(),
            ShutdownStep::Done => sleep(RECHECK_DELAY).await,
            ShutdownStep::GiveUp => return live.iter().map(|process| process.pid).collect(),
        }
    }
}
