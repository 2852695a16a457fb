//! The guardian is lost, and another takes its place.

use std::process;

use mainstay_actors::process::{ManagerWarning, Process};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::fixture::{LIMIT, ProcessFixture, script};
use crate::runtime_process::{RuntimeProcess, data_dir, signal, watchdog_pid};

/// How the marks of the runtime that this is a process of begin.
fn marker_prefix(process: &Process) -> String {
    let marker = &process.identity().marker;
    format!("{}-", marker.rsplit_once('-').unwrap().0)
}

async fn kill_watchdog(scene: &ProcessFixture, process: &Process, by: Signal) {
    let mut troubles = scene.manager.warnings();
    let prefix = marker_prefix(process);
    signal(watchdog_pid(process::id(), &prefix).unwrap(), by);
    if by == Signal::KILL {
        let trouble = timeout(LIMIT, troubles.recv()).await.unwrap().unwrap();
        assert!(matches!(trouble, ManagerWarning::WatchdogLost { .. }), "{trouble}");
    }
}

#[tokio::test]
async fn watchdog_ignores_termination_signals() {
    let scene = ProcessFixture::new().await;
    let it = scene.start_ready(&script("echo up; read -r _")).await;
    let before = watchdog_pid(process::id(), &marker_prefix(&it.process));
    for by in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_watchdog(&scene, &it.process, by).await;
    }
    // It acknowledges this one.
    let other = scene.start_ready(&script("echo up; read -r _")).await;
    assert_eq!(watchdog_pid(process::id(), &marker_prefix(&other.process)), before);
}

#[tokio::test]
async fn killed_watchdog_is_reported_and_processes_go_on() {
    let scene = ProcessFixture::new().await;
    let it = scene.start_ready(&script("echo up; read -r _; echo still here")).await;
    kill_watchdog(&scene, &it.process, Signal::KILL).await;
    let mut other = scene.start_ready(&script("echo up; read -r _; echo so am I")).await;
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
    let scene = ProcessFixture::new().await;
    let before = scene.start_ready(&script("trap '' TERM; echo up; sleep 1000; sleep 1000")).await;
    kill_watchdog(&scene, &before.process, Signal::KILL).await;
    let after = scene.start_ready(&script("sleep 1000 & echo up; wait")).await;
    println!("\nup {}", before.process.pid() + after.process.pid());
    std::future::pending::<()>().await;
}

#[test]
fn new_watchdog_ends_old_and_new_processes() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = RuntimeProcess::start("guardians::runtime_with_a_killed_watchdog", folder.path());
    runtime.wait_for_line("up ");
    runtime.kill();
    runtime.into_descendants().wait_gone();
}
