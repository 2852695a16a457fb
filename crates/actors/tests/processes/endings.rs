//! How processes are ended, with all that they started.

use std::time::Duration;

use futures_util::FutureExt;
use mainstay_actors::process::{Process, ProcessSpec, StartFault, Warden};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::scene::{LIMIT, Running, Scene, has, script};

/// Does not end when it is asked to.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 1000; done";

#[tokio::test]
async fn a_process_that_obeys_ends_in_its_own_way() {
    let scene = Scene::new().await;
    let mut it =
        scene.up(&script("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done")).await;
    let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    assert_eq!(it.gone().await, "bye\n");
}

#[tokio::test]
async fn a_process_that_ignores_the_request_is_killed_when_its_grace_is_over() {
    let scene = Scene::new().await;
    let mut it = scene.up(&ProcessSpec { grace: Duration::from_millis(100), ..script(STUBBORN) }).await;
    let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
    assert_eq!((exit.code, exit.signal, exit.left.len()), (None, Some(9), 0));
    it.gone().await;
}

#[tokio::test]
async fn a_process_that_ends_with_its_input_is_not_killed_though_it_ignores_the_request_to_end() {
    let until_its_end = script("trap '' TERM; echo up; echo up >&2; while read -r _; do :; done; exit 7");
    let scene = Scene::new().await;
    // Whether somebody holds its input, or nobody has taken that.
    let it = scene.up(&until_its_end).await;
    let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    let untaken = Process::start(&until_its_end, &scene.warden).await.unwrap();
    let is_up = async {
        while untaken.stderr().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, is_up).await.unwrap();
    assert_eq!(timeout(LIMIT, untaken.stop()).await.unwrap().code, Some(7));
    // And when everything is stopped.
    let it = scene.up(&until_its_end).await;
    timeout(LIMIT, scene.warden.close()).await.unwrap();
    assert_eq!(it.process.exit().unwrap().code, Some(7));
}

#[tokio::test]
async fn whoever_waits_for_a_process_to_read_waits_no_more_once_it_is_stopped() {
    let scene = Scene::new().await;
    let mut it = scene.up(&script(STUBBORN)).await;
    let mut stdin = it.pipes.stdin.take().unwrap();
    let mut write = Box::pin(timeout(LIMIT, stdin.write_all(&[b'x'; 1 << 20])));
    assert!((&mut write).now_or_never().is_none(), "it fits into no pipe");
    let written = tokio::select! {
        written = write => written.expect("it waits though nobody can read any more"),
        exit = it.process.stop() => panic!("{exit:?}"),
    };
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    it.process.kill();
    it.gone().await;
}

#[tokio::test]
async fn a_process_without_grace_is_killed_at_once() {
    let scene = Scene::new().await;
    let it = scene.up(&ProcessSpec { grace: Duration::ZERO, ..script("echo up; sleep 1000") }).await;
    assert_eq!(timeout(LIMIT, it.process.stop()).await.unwrap().signal, Some(9));
}

#[tokio::test]
async fn what_a_process_started_is_ended_with_it() {
    let scene = Scene::new().await;
    let mut it = scene.up(&script("sleep 1000 & (sleep 1000 & sleep 1000) & echo up; wait")).await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.gone().await;
}

#[tokio::test]
async fn what_a_process_started_is_ended_when_it_exits_by_itself() {
    let scene = Scene::new().await;
    let mut it = scene.up(&script("sleep 1000 & echo up; exit 0")).await;
    it.gone().await;
    assert!(timeout(LIMIT, it.process.stop()).await.unwrap().is_success());
}

#[tokio::test]
async fn a_process_that_was_left_behind_is_killed_when_it_does_not_obey() {
    let scene = Scene::new().await;
    let spec = script("(trap '' TERM; echo up; exec sleep 1000) & read -r _; exit 5");
    let mut it = scene.up(&ProcessSpec { grace: Duration::from_millis(100), ..spec }).await;
    assert_eq!(timeout(LIMIT, it.process.stop()).await.unwrap().left.len(), 0);
    it.gone().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_process_that_became_a_daemon_is_ended_with_the_one_that_started_it() {
    assert!(has("setsid"), "util-linux is on every Linux");
    let scene = Scene::new().await;
    // Its parents are gone, and it has a session and a group of its own.
    let daemon = "(setsid sh -c '(trap \"\" TERM; echo up; exec sleep 1000) &' &); sleep 1000 & wait";
    let mut it = scene.up(&ProcessSpec { grace: Duration::from_millis(100), ..script(daemon) }).await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.gone().await;
    // The same where the process itself is gone first.
    let daemon = "(setsid sh -c '(echo up; exec sleep 1000) &' &); read -r _; exit 0";
    let mut it = scene.up(&script(daemon)).await;
    it.pipes.stdin = None;
    it.gone().await;
}

#[tokio::test]
async fn a_process_with_a_group_and_an_environment_of_its_own_is_found_by_its_ancestors() {
    if !has("setsid") {
        return;
    }
    let scene = Scene::new().await;
    let mut it =
        scene.up(&script("env -i $(command -v setsid) /bin/sh -c 'echo up; exec sleep 1000'; exit 0")).await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.gone().await;
}

#[tokio::test]
async fn a_process_that_is_dropped_is_killed_with_all_that_it_started() {
    let scene = Scene::new().await;
    let stubborn = format!("({STUBBORN}) & {STUBBORN}");
    let it = scene.up(&script(&stubborn)).await;
    let Running { process, mut pipes } = it;
    drop(process);
    pipes.gone().await;
    scene.warden.close().await;
    assert_eq!(scene.record(), "");
}

#[tokio::test]
async fn dropping_cuts_a_stop_short_that_nobody_waits_for() {
    let scene = Scene::new().await;
    let it = scene.up(&script(STUBBORN)).await;
    assert!(it.process.stop().now_or_never().is_none());
    let Running { process, mut pipes } = it;
    drop(process);
    pipes.gone().await;
}

#[tokio::test]
async fn a_start_that_is_called_off_leaves_nothing_behind() {
    let scene = Scene::new().await;
    let marker = scene.folder.path().join("it-ran");
    let spec = script(&format!("touch {}", marker.display()));
    for _ in 0..10 {
        assert!(Process::start(&spec, &scene.warden).now_or_never().is_none());
    }
    scene.warden.close().await;
    assert_eq!(scene.record(), "");
    assert!(!marker.exists());
}

#[tokio::test]
async fn stopping_twice_is_the_same_as_once() {
    let scene = Scene::new().await;
    let it = scene.up(&script("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")).await;
    let (first, second) = tokio::join!(it.process.stop(), it.process.stop());
    assert_eq!((first.code, &first), (Some(3), &second));
    assert_eq!(it.process.stop().await, first);
}

#[tokio::test]
async fn what_is_stopped_is_recorded_no_more() {
    let scene = Scene::new().await;
    let (first, second) =
        (scene.up(&script("echo up; read -r _")).await, scene.up(&script("echo up; read -r _")).await);
    let has = |it: &Process| scene.record().contains(&it.identity().marker);
    assert!(has(&first.process) && has(&second.process));
    first.process.stop().await;
    assert!(!has(&first.process) && has(&second.process));
}

#[tokio::test]
async fn closing_the_warden_stops_everything_and_nothing_starts_after_it() {
    let scene = Scene::new().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(scene.up(&script("trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")).await);
    }
    timeout(LIMIT, scene.warden.close()).await.unwrap();
    for it in &mut all {
        it.gone().await;
        assert_eq!(it.process.exit().unwrap().code, Some(3));
    }
    let fault = Process::start(&script("exit 0"), &scene.warden).await.unwrap_err();
    assert!(matches!(fault, StartFault::Stopping), "{fault}");
    assert_eq!(scene.record(), "");
}

#[tokio::test]
async fn without_a_folder_processes_run_and_end_all_the_same() {
    let warden = Warden::open(None).await.unwrap().warden;
    let process = Process::start(&script("exec sleep 1000"), &warden).await.unwrap();
    assert_eq!(timeout(LIMIT, process.stop()).await.unwrap().signal, Some(15));
}

#[tokio::test]
async fn the_memory_of_a_process_is_told_with_that_of_all_that_it_started() {
    let scene = Scene::new().await;
    let alone = scene.up(&script("echo up; read -r _")).await;
    let with_others = scene.up(&script("for i in 1 2 3 4; do sleep 1000 & done; echo up; read -r _")).await;
    let (one, five) = (alone.process.memory().await.unwrap(), with_others.process.memory().await.unwrap());
    assert!(one > 100_000 && five > one * 2, "{one} {five}");
    alone.process.stop().await;
    assert_eq!(alone.process.memory().await, None);
}
