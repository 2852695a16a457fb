//! The guardian is lost, and another takes its place.

use std::process;

use mainstay_actors::process::{Process, Trouble};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::another_runtime::{AnotherRuntime, folder, guardian_of, signal};
use crate::scene::{LIMIT, Scene, script};

/// How the marks of the runtime that this is a process of begin.
fn prefix_of(process: &Process) -> String {
    let marker = &process.identity().marker;
    format!("{}-", marker.rsplit_once('-').unwrap().0)
}

async fn lose_guardian(scene: &Scene, process: &Process, by: Signal) {
    let mut troubles = scene.warden.troubles();
    let prefix = prefix_of(process);
    signal(guardian_of(process::id(), &prefix).unwrap(), by);
    if by == Signal::KILL {
        let trouble = timeout(LIMIT, troubles.recv()).await.unwrap().unwrap();
        assert!(matches!(trouble, Trouble::GuardianLost { .. }), "{trouble}");
    }
}

#[tokio::test]
async fn a_guardian_does_not_end_when_it_is_merely_asked_to() {
    let scene = Scene::new().await;
    let it = scene.up(&script("echo up; read -r _")).await;
    let before = guardian_of(process::id(), &prefix_of(&it.process));
    for by in [Signal::TERM, Signal::INT, Signal::HUP] {
        lose_guardian(&scene, &it.process, by).await;
    }
    // It acknowledges this one.
    let other = scene.up(&script("echo up; read -r _")).await;
    assert_eq!(guardian_of(process::id(), &prefix_of(&other.process)), before);
}

#[tokio::test]
async fn a_guardian_that_is_killed_is_told_of_and_harms_no_process() {
    let scene = Scene::new().await;
    let it = scene.up(&script("echo up; read -r _; echo still here")).await;
    lose_guardian(&scene, &it.process, Signal::KILL).await;
    let mut other = scene.up(&script("echo up; read -r _; echo so am I")).await;
    let mut it = it;
    it.pipes.stdin = None;
    assert_eq!(it.line().await, "still here");
    other.pipes.stdin = None;
    assert_eq!(other.line().await, "so am I");
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn a_runtime_whose_guardian_is_killed_runs_until_it_is_killed() {
    let Some(_) = folder() else { return };
    let scene = Scene::new().await;
    let before = scene.up(&script("trap '' TERM; echo up; sleep 1000; sleep 1000")).await;
    lose_guardian(&scene, &before.process, Signal::KILL).await;
    let after = scene.up(&script("sleep 1000 & echo up; wait")).await;
    println!("\nup {}", before.process.pid() + after.process.pid());
    std::future::pending::<()>().await;
}

#[test]
fn the_guardian_that_takes_over_ends_what_was_there_before_it_and_what_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = AnotherRuntime::start(
        "guardians::a_runtime_whose_guardian_is_killed_runs_until_it_is_killed",
        folder.path(),
    );
    runtime.says("up ");
    runtime.kill();
    runtime.remains().gone();
}
