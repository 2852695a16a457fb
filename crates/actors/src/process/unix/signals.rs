//! Sends signals, and waits for processes that are no children of ours.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use super::process_table::{ProcessInfo, find};

/// The polling interval for the exit of a process that no event reports.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Sends a signal to a group, if its id can be a child's.
pub(super) fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = child_pid(group) {
        // A group that is gone needs none.
        let _ = kill_process_group(group, signal);
    }
}

/// Sends a signal to the process that was seen, and not to a new one under its id.
pub(super) fn signal_process(process: &ProcessInfo, signal: Signal) {
    let Some(pid) = child_pid(process.pid) else { return };
    #[cfg(target_os = "linux")]
    if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        if is_same_process(process) {
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
        return;
    }
    if is_same_process(process) {
        let _ = kill_process(pid, signal);
    }
}

/// Returns whether the group has any process, zombies included.
pub(super) fn is_group_alive(group: u32) -> bool {
    child_pid(group).is_some_and(|group| test_kill_process_group(group).is_ok())
}

/// Returns when all of the processes have exited.
pub(super) async fn wait_all_exited(process: &[ProcessInfo]) {
    join_all(process.iter().map(wait_exited)).await;
}

async fn wait_exited(process: &ProcessInfo) {
    if process.started.is_empty() {
        // The system can report no more of it.
        return tokio::time::sleep(POLL_INTERVAL).await;
    }
    #[cfg(target_os = "linux")]
    if wait_pidfd(process.pid, || is_same_process(process)).await.is_ok() {
        return;
    }
    while find(process.pid).is_some_and(|now| now.started == process.started && !now.is_zombie) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Returns when the process has exited, reaped or not; at once if its id is another's by now.
#[cfg(target_os = "linux")]
pub(super) async fn wait_pidfd(pid: u32, is_the_one: impl FnOnce() -> bool) -> std::io::Result<()> {
    use rustix::io::Errno;
    use rustix::process::{PidfdFlags, pidfd_open};
    use tokio::io::{Interest, unix::AsyncFd};

    let Some(pid) = child_pid(pid) else { return Ok(()) };
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if !is_the_one() {
        return Ok(());
    }
    #[allow(
        deprecated,
        reason = "sound for a descriptor that is owned; what replaces it is unsafe, which is forbidden"
    )]
    let watched = AsyncFd::with_interest(handle, Interest::READABLE)?;
    let _ended = watched.readable().await?;
    Ok(())
}

fn is_same_process(process: &ProcessInfo) -> bool {
    find(process.pid).is_some_and(|now| now.started == process.started)
}

/// Returns an id that can be a child's. Signals to 0 and 1 would reach ourselves, or every process.
pub(super) fn child_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 1).and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_signal_goes_to_everybody() {
        for pid in [0, 1, 1 << 31, u32::MAX] {
            assert_eq!(child_pid(pid), None);
        }
        assert!(child_pid(2).is_some());
    }
}
