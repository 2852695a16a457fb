//! Signals, and the end of processes that are not ours to wait for.

use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use super::process_table::{ProcessInfo, find};

/// Where no event tells that a process has ended, it is looked at this often.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Sends a signal to a group, if it is one that can be a child's.
pub(super) fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = child_pid(group) {
        // One that is gone needs none.
        let _ = kill_process_group(group, signal);
    }
}

/// Sends a signal to the process that was seen, and not to one that has got its id since.
pub(super) fn signal_process(seen: &ProcessInfo, signal: Signal) {
    let Some(pid) = child_pid(seen.pid) else { return };
    #[cfg(target_os = "linux")]
    if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        if is_same_process(seen) {
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
        return;
    }
    if is_same_process(seen) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether the group has any process, be it one that has ended and was not waited for.
pub(super) fn is_group_alive(group: u32) -> bool {
    child_pid(group).is_some_and(|group| test_kill_process_group(group).is_ok())
}

/// Ends when all of them have ended.
pub(super) async fn wait_all_exited(seen: &[ProcessInfo]) {
    join_all(seen.iter().map(wait_exited)).await;
}

async fn wait_exited(seen: &ProcessInfo) {
    if seen.started.is_empty() {
        // Nothing more can be known of it.
        return tokio::time::sleep(POLL_INTERVAL).await;
    }
    #[cfg(target_os = "linux")]
    if wait_pidfd(seen.pid, || is_same_process(seen)).await.is_ok() {
        return;
    }
    while find(seen.pid).is_some_and(|now| now.started == seen.started && !now.is_zombie) {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Ends when the process has, reaped or not; at once where the id turns out to be another's.
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

fn is_same_process(seen: &ProcessInfo) -> bool {
    find(seen.pid).is_some_and(|now| now.started == seen.started)
}

/// An id that can be a child's. Signals to 0 and 1 would go to ourselves, and to everybody.
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
