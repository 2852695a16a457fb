//! Kills the runtime together with its watchdog; the next run finds the orphans.

use std::{fs, os::unix::process::CommandExt};

use mainstay_actors::process::OpenError;
use serde_json::{Value, json};

use super::*;

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn runtime_to_kill_with_its_watchdog() {
    let Some(folder) = data_dir() else { return };
    let manager = ProcessManager::open(Some(&folder)).await.unwrap().manager;
    let fixture = ProcessFixture { manager, folder: tempfile::tempdir().unwrap() };
    let spec = script("sleep 1000 & (trap '' TERM; exec sleep 1000) & echo up; wait");
    let _first = fixture.start_ready(&spec).await;
    let _second = fixture.start_ready(&script("echo up; sleep 1000")).await;
    println!("\nup {}", process::id());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn orphans_of_a_run_are_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = RuntimeProcess::start("orphans::runtime_to_kill_with_its_watchdog", folder.path());
    runtime.wait_for_line("up ");
    let watchdog = watchdog_pid(runtime.pid(), "-").unwrap();
    // A stopped runtime starts no other watchdog.
    signal(runtime.pid(), Signal::STOP);
    signal(watchdog, Signal::KILL);
    runtime.kill();
    let remains = runtime.into_descendants();
    assert!(remains.are_running());
    let report = timeout(LIMIT, ProcessManager::open(Some(folder.path()))).await.unwrap().unwrap();
    let reported: Vec<_> =
        report.orphans.iter().map(|it| (it.name.as_str(), it.processes, it.survivors.len())).collect();
    assert_eq!(reported, [("script", 3, 0), ("script", 2, 0)]);
    tokio::task::spawn_blocking(|| remains.wait_gone()).await.unwrap();
    // Orphans are reported once.
    drop(report);
    let again = ProcessManager::open(Some(folder.path())).await.unwrap();
    assert_eq!(again.orphans, []);
}

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
    let _it = fixture.start_ready(&script("echo up; read -r _")).await;
    serde_json::from_str(&fixture.pid_file_text()).unwrap()
}

/// Returns a process's start time, as the runtime would record it.
#[cfg(target_os = "linux")]
fn start_time(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(19).unwrap().to_owned()
}

#[cfg(target_os = "linux")]
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

#[cfg(target_os = "linux")]
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

#[tokio::test]
async fn second_runtime_on_one_pid_file_is_refused() {
    let (fixture, it) = start_ready("echo up; read -r _").await;
    let fault = ProcessManager::open(Some(fixture.folder.path())).await.unwrap_err();
    assert!(matches!(fault, OpenError::InUse { .. }), "{fault}");
    assert_eq!(it.process.exit(), None);
}
