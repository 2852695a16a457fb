//! Tests what the next run takes from a PID file: only processes that are still the same.

use std::{fs, os::unix::process::CommandExt};

use serde_json::{Value, json};

use super::*;

/// A process with a group of its own that is unrelated to ours.
struct UnrelatedProcess(Child);

impl UnrelatedProcess {
    fn new() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("1000").process_group(0).stdin(Stdio::null()).spawn().unwrap())
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for UnrelatedProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a line of the PID file, as the runtime writes it for a process.
async fn pid_file_line() -> Value {
    let fixture = ProcessFixture::new().await;
    let process = fixture.start_ready(&script("echo up; read -r _")).await;
    let line = serde_json::from_str(&fixture.pid_file_text()).unwrap();
    // Gone, so that no process with its marker is found.
    process.process.stop().await;
    line
}

/// Returns a process's start time, as the runtime would record it.
fn start_time(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(19).unwrap().to_owned()
}

#[tokio::test]
async fn process_with_a_reused_pid_is_spared() {
    let mut stranger = UnrelatedProcess::new();
    let folder = tempfile::tempdir().unwrap();
    let mut line = pid_file_line().await;
    let started = start_time(stranger.0.id());
    let earlier = (started.parse::<u64>().unwrap() - 1).to_string();
    line["pid"] = json!(stranger.0.id());
    line["started"] = json!(earlier);
    fs::write(folder.path().join("processes"), format!("{line}\n")).unwrap();
    let report = ProcessManager::open(Some(folder.path())).await.unwrap();
    assert_eq!((report.orphans, report.damaged_lines), (Vec::new(), 0));
    assert!(stranger.is_running());
    drop(report.manager);

    // With the recorded start time, it would have been the same process.
    line["started"] = json!(started);
    fs::write(folder.path().join("processes"), format!("{line}\n")).unwrap();
    let report = ProcessManager::open(Some(folder.path())).await.unwrap();
    assert_eq!(report.orphans.len(), 1);
    assert!(!stranger.is_running());
}

#[tokio::test]
async fn damaged_pid_file_loses_only_the_damaged_lines() {
    let mut stranger = UnrelatedProcess::new();
    let folder = tempfile::tempdir().unwrap();
    let mut line = pid_file_line().await;
    line["pid"] = json!(stranger.0.id());
    line["started"] = json!(start_time(stranger.0.id()));
    let text = format!("{{\"name\":\"scr\u{0}\n{line}\n\u{1}\u{2}");
    fs::write(folder.path().join("processes"), &text).unwrap();
    let report = ProcessManager::open(Some(folder.path())).await.unwrap();
    assert_eq!((report.damaged_lines, report.orphans.len()), (2, 1));
    assert!(!stranger.is_running());
    assert_eq!(fs::read_to_string(folder.path().join("processes.damaged")).unwrap(), text);
}
