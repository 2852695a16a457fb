//! The runtime is killed together with its guardian; the next run finds what they left.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::{fs, process};

use mainstay_actors::process::{OpenFault, Warden};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::another_runtime::{AnotherRuntime, folder, guardian_of, signal};
use crate::scene::{LIMIT, Scene, script};

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn a_runtime_starts_processes_and_is_killed_with_its_guardian() {
    let Some(folder) = folder() else { return };
    let warden = Warden::open(Some(&folder)).await.unwrap().warden;
    let scene = Scene { warden, folder: tempfile::tempdir().unwrap() };
    let spec = script("sleep 1000 & (trap '' TERM; exec sleep 1000) & echo up; wait");
    let _first = scene.up(&spec).await;
    let _second = scene.up(&script("echo up; sleep 1000")).await;
    println!("\nup {}", process::id());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn what_a_run_left_behind_is_found_and_ended_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let mut runtime = AnotherRuntime::start(
        "leftovers::a_runtime_starts_processes_and_is_killed_with_its_guardian",
        folder.path(),
    );
    runtime.says("up ");
    let guardian = guardian_of(runtime.pid(), "-").unwrap();
    // A runtime that stands still puts no other in its place.
    signal(runtime.pid(), Signal::STOP);
    signal(guardian, Signal::KILL);
    runtime.kill();
    let remains = runtime.remains();
    assert!(remains.are_there());
    let opening = timeout(LIMIT, Warden::open(Some(folder.path()))).await.unwrap().unwrap();
    let told: Vec<_> =
        opening.leftovers.iter().map(|it| (it.name.as_str(), it.processes, it.left.len())).collect();
    assert_eq!(told, [("script", 3, 0), ("script", 2, 0)]);
    tokio::task::spawn_blocking(|| remains.gone()).await.unwrap();
    // They are told of once.
    drop(opening);
    let again = Warden::open(Some(folder.path())).await.unwrap();
    assert_eq!(again.leftovers, []);
}

/// A process with a group of its own that is none of ours.
struct Stranger(Child);

impl Stranger {
    fn new() -> Self {
        let mut command = Command::new("sleep");
        Self(command.arg("1000").process_group(0).stdin(Stdio::null()).spawn().unwrap())
    }

    fn is_there(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line of the record, as the runtime writes it of a process.
async fn line() -> Value {
    let scene = Scene::new().await;
    let _it = scene.up(&script("echo up; read -r _")).await;
    serde_json::from_str(&scene.record()).unwrap()
}

/// When a process was started, as the runtime would record it.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(19).unwrap().to_owned()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_merely_got_the_id_of_one_that_was_recorded_is_spared() {
    let mut stranger = Stranger::new();
    let folder = tempfile::tempdir().unwrap();
    let mut line = line().await;
    let started = started(stranger.0.id());
    let earlier = (started.parse::<u64>().unwrap() - 1).to_string();
    line["pid"] = json!(stranger.0.id());
    line["started"] = json!(earlier);
    fs::write(folder.path().join("processes"), format!("{line}\n")).unwrap();
    let opening = Warden::open(Some(folder.path())).await.unwrap();
    assert_eq!((opening.leftovers, opening.damaged_lines), (Vec::new(), 0));
    assert!(stranger.is_there());
    drop(opening.warden);

    // Had it been started when the record says, it would have been the one.
    line["started"] = json!(started);
    fs::write(folder.path().join("processes"), format!("{line}\n")).unwrap();
    let opening = Warden::open(Some(folder.path())).await.unwrap();
    assert_eq!(opening.leftovers.len(), 1);
    assert!(!stranger.is_there());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_damaged_record_costs_what_was_damaged_and_no_more() {
    let mut stranger = Stranger::new();
    let folder = tempfile::tempdir().unwrap();
    let mut line = line().await;
    line["pid"] = json!(stranger.0.id());
    line["started"] = json!(started(stranger.0.id()));
    let text = format!("{{\"name\":\"scr\u{0}\n{line}\n\u{1}\u{2}");
    fs::write(folder.path().join("processes"), &text).unwrap();
    let opening = Warden::open(Some(folder.path())).await.unwrap();
    assert_eq!((opening.damaged_lines, opening.leftovers.len()), (2, 1));
    assert!(!stranger.is_there());
    assert_eq!(fs::read_to_string(folder.path().join("processes.damaged")).unwrap(), text);
}

#[tokio::test]
async fn two_runtimes_cannot_have_one_record() {
    let scene = Scene::new().await;
    let it = scene.up(&script("echo up; read -r _")).await;
    let fault = Warden::open(Some(scene.folder.path())).await.unwrap_err();
    assert!(matches!(fault, OpenFault::InUse { .. }), "{fault}");
    assert_eq!(it.process.exit(), None);
}
