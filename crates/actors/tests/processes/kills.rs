//! Kills the runtime, which must leave nothing behind.

use std::time::Instant;

use super::*;
use crate::tier;

/// The number of runtimes that are killed at a random moment.
const QUICK_KILLS: u32 = 5;
const KILLS: u32 = 50;

/// Scripts that are hard to end.
const SCRIPTS: [&str; 5] = [
    "echo up; sleep 1000; sleep 1000",
    "trap '' TERM HUP INT; echo up; while :; do sleep 1000; done",
    "sleep 1000 & (sleep 1000 & (trap '' TERM; exec sleep 1000) & wait) & echo up; wait",
    "(setsid sh -c '(trap \"\" TERM; exec sleep 1000) &' &); echo up; wait",
    "trap '(trap \"\" TERM; exec sleep 1000) & wait' TERM; echo up; sleep 1000 & wait; wait",
];

fn supported_scripts() -> impl Iterator<Item = &'static str> {
    SCRIPTS
        .into_iter()
        .filter(|kind| !kind.contains("setsid") || (has_program("setsid") && cfg!(target_os = "linux")))
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn runtime_with_processes_of_every_kind() {
    let Some(_) = data_dir() else { return };
    let fixture = ProcessFixture::new().await;
    println!("\nbegun");
    let mut all = Vec::new();
    for kind in supported_scripts() {
        all.push(fixture.start_ready(&script(kind)).await);
    }
    println!("\nall up {}", process::id());
    loop {
        // Some are always just being started, and some just being stopped.
        let fresh = Process::start(&script("sleep 1000 & wait"), &fixture.manager).await.unwrap();
        fresh.stop().await;
    }
}

fn start_runtime() -> (RuntimeProcess, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let name = "kills::runtime_with_processes_of_every_kind";
    (RuntimeProcess::start(name, folder.path()), folder)
}

#[test]
fn killed_runtime_leaves_no_process() {
    let (mut runtime, _folder) = start_runtime();
    runtime.wait_for_line("all up ");
    runtime.kill();
    runtime.into_descendants().wait_gone();
}

#[test]
fn runtime_killed_at_any_time_leaves_no_process() {
    let kills = u64::from(tier::cases(QUICK_KILLS, KILLS));
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let (mut runtime, _folder) = start_runtime();
        runtime.wait_for_line("begun");
        // Spread over the runtime's work from its first process on; the golden ratio leaves no gaps.
        let moment = Duration::from_micros(kill.wrapping_mul(61_803) % 100_000);
        #[allow(clippy::disallowed_methods, reason = "it is to be killed at a moment of no meaning")]
        thread::sleep(moment);
        runtime.kill();
        let killed = now();
        runtime.into_descendants().wait_gone();
        slowest = slowest.max(killed.elapsed());
    }
    println!("{kills} kills; the last process was gone after at most {slowest:?}");
}

#[allow(clippy::disallowed_methods, reason = "there is no runtime here whose clock could be asked")]
fn now() -> Instant {
    Instant::now()
}
