//! Kills the watchdog, which must be replaced.

use mainstay_actors::process::ManagerWarning;

use super::*;

/// The prefix of the markers of the runtime that runs in this process.
fn marker_prefix(process: &Process) -> String {
    let marker = &process.identity().marker;
    format!("{}-", marker.rsplit_once('-').unwrap().0)
}

async fn kill_watchdog(fixture: &ProcessFixture, process: &Process, by: Signal) {
    let mut warnings = fixture.manager.warnings();
    let prefix = marker_prefix(process);
    signal(watchdog_pid(process::id(), &prefix).unwrap(), by);
    if by == Signal::KILL {
        let warning = timeout(LIMIT, warnings.recv()).await.unwrap().unwrap();
        assert!(matches!(warning, ManagerWarning::WatchdogLost { .. }), "{warning}");
    }
}

#[tokio::test]
async fn watchdog_ignores_termination_signals() {
    let (fixture, it) = start_ready("echo up; read -r _").await;
    let before = watchdog_pid(process::id(), &marker_prefix(&it.process));
    for by in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_watchdog(&fixture, &it.process, by).await;
    }
    // This one acknowledges.
    let other = fixture.start_ready(&script("echo up; read -r _")).await;
    assert_eq!(watchdog_pid(process::id(), &marker_prefix(&other.process)), before);
}

#[tokio::test]
async fn killed_watchdog_is_reported_and_processes_go_on() {
    let (fixture, it) = start_ready("echo up; read -r _; echo still here").await;
    kill_watchdog(&fixture, &it.process, Signal::KILL).await;
    let mut other = fixture.start_ready(&script("echo up; read -r _; echo so am I")).await;
    let mut it = it;
    it.pipes.stdin = None;
    assert_eq!(it.read_line().await, "still here");
    other.pipes.stdin = None;
    assert_eq!(other.read_line().await, "so am I");
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn runtime_with_a_killed_watchdog() {
    let Some(_) = data_dir() else { return };
    let fixture = ProcessFixture::new().await;
    let before = fixture.start_ready(&script("trap '' TERM; echo up; sleep 1000; sleep 1000")).await;
    kill_watchdog(&fixture, &before.process, Signal::KILL).await;
    let after = fixture.start_ready(&script("sleep 1000 & echo up; wait")).await;
    println!("\nup {}", before.process.pid() + after.process.pid());
    std::future::pending::<()>().await;
}

#[test]
fn new_watchdog_ends_old_and_new_processes() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = RuntimeProcess::start("watchdog::runtime_with_a_killed_watchdog", folder.path());
    runtime.wait_for_line("up ");
    runtime.kill();
    runtime.into_descendants().wait_gone();
}
