//! Tests the end of processes with all their descendants.

use futures_util::{FutureExt, future::join};
use tokio::io::AsyncWriteExt;

use super::*;
use crate::fixture::RunningProcess;

/// The process does not end when it is asked to.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 1000; done";

/// The process ends when it is asked to.
const OBEDIENT: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done";

const SHORT_GRACE: Duration = Duration::from_millis(100);

/// Two requests to stop are one.
#[tokio::test]
async fn obedient_process_exits_by_itself_once() {
    let (_fixture, mut it) = start_ready(OBEDIENT).await;
    let (first, second) = timeout(LIMIT, join(it.process.stop(), it.process.stop())).await.unwrap();
    assert_eq!((first.code, first.signal, &first), (Some(3), None, &second));
    assert_eq!(it.process.stop().await, first);
    assert_eq!(it.wait_gone().await, "bye\n");
}

#[tokio::test]
async fn stubborn_process_is_killed_after_its_grace() {
    let fixture = ProcessFixture::new().await;
    // Without grace, a process that would obey is killed at once.
    for (text, grace) in [(STUBBORN, SHORT_GRACE), ("echo up; sleep 1000", Duration::ZERO)] {
        let mut it = fixture.start_ready(&ProcessSpec { grace, ..script(text) }).await;
        let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
        assert_eq!((exit.code, exit.signal, exit.survivors.len()), (None, Some(9), 0), "{text}");
        it.wait_gone().await;
    }
}

#[tokio::test]
async fn process_that_exits_on_stdin_eof_is_not_killed() {
    let until_its_end = script("trap '' TERM; echo up; echo up >&2; while read -r _; do :; done; exit 7");
    let fixture = ProcessFixture::new().await;
    // Either a caller holds the stdin, or no caller has taken it.
    let it = fixture.start_ready(&until_its_end).await;
    let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    let untaken = Process::start(&until_its_end, &fixture.manager).await.unwrap();
    let is_up = async {
        while untaken.last_line().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, is_up).await.unwrap();
    assert_eq!(timeout(LIMIT, untaken.stop()).await.unwrap().code, Some(7));
    // The same holds when everything is stopped.
    let it = fixture.start_ready(&until_its_end).await;
    timeout(LIMIT, fixture.manager.close()).await.unwrap();
    assert_eq!(it.process.exit().unwrap().code, Some(7));
}

/// A signal would end the script, and its sleep, before the state is saved.
#[tokio::test]
async fn state_is_saved_between_stdin_eof_and_the_signal() {
    let fixture = ProcessFixture::new().await;
    let saves = script("echo up; while read -r _; do :; done; sleep 0.2; echo saved > state; exit 6");
    let cwd = Some(fixture.folder.path().to_owned());
    let mut it = fixture.start_ready(&ProcessSpec { cwd, input_grace: LIMIT * 10, ..saves }).await;
    let exit = timeout(LIMIT, it.process.stop()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(6), None));
    assert_eq!(std::fs::read_to_string(fixture.folder.path().join("state")).unwrap(), "saved\n");
    it.wait_gone().await;
    // One that has no interest in its input is asked after that part of the grace.
    let obedient = ProcessSpec { input_grace: SHORT_GRACE, ..script(OBEDIENT) };
    let mut it = fixture.start_ready(&obedient).await;
    assert_eq!(timeout(LIMIT, it.process.stop()).await.unwrap().code, Some(3));
    it.wait_gone().await;
}

#[tokio::test]
async fn stop_unblocks_a_pending_stdin_write() {
    let (_fixture, mut it) = start_ready(STUBBORN).await;
    let mut stdin = it.pipes.stdin.take().unwrap();
    let mut write = Box::pin(timeout(LIMIT, stdin.write_all(&[b'x'; 1 << 20])));
    assert!((&mut write).now_or_never().is_none(), "it fits into no pipe");
    let written = tokio::select! {
        written = write => written.expect("it waits though nobody can read any more"),
        exit = it.process.stop() => panic!("{exit:?}"),
    };
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    it.process.kill();
    it.wait_gone().await;
}

#[tokio::test]
async fn stop_ends_all_descendants() {
    let (_fixture, mut it) = start_ready("sleep 1000 & (sleep 1000 & sleep 1000) & echo up; wait").await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.wait_gone().await;
}

#[tokio::test]
async fn exit_ends_all_descendants() {
    let (_fixture, mut it) = start_ready("sleep 1000 & echo up; exit 0").await;
    it.wait_gone().await;
    assert!(timeout(LIMIT, it.process.stop()).await.unwrap().is_success());
}

#[tokio::test]
async fn stubborn_descendant_is_killed() {
    let fixture = ProcessFixture::new().await;
    let spec = script("(trap '' TERM; echo up; exec sleep 1000) & read -r _; exit 5");
    let mut it = fixture.start_ready(&ProcessSpec { grace: SHORT_GRACE, ..spec }).await;
    assert_eq!(timeout(LIMIT, it.process.stop()).await.unwrap().survivors.len(), 0);
    it.wait_gone().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn daemonized_descendant_is_ended() {
    assert!(has_program("setsid"), "util-linux is on every Linux");
    let fixture = ProcessFixture::new().await;
    // Its parents are gone, and it has a session and a group of its own.
    let daemon = "(setsid sh -c '(trap \"\" TERM; echo up; exec sleep 1000) &' &); sleep 1000 & wait";
    let mut it = fixture.start_ready(&ProcessSpec { grace: SHORT_GRACE, ..script(daemon) }).await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.wait_gone().await;
    // The same holds if the process itself is gone first.
    let daemon = "(setsid sh -c '(echo up; exec sleep 1000) &' &); read -r _; exit 0";
    let mut it = fixture.start_ready(&script(daemon)).await;
    it.pipes.stdin = None;
    it.wait_gone().await;
}

#[tokio::test]
async fn unmarked_descendant_is_found_by_its_ancestors() {
    if !has_program("setsid") {
        return;
    }
    let fixture = ProcessFixture::new().await;
    let unmarked = "env -i $(command -v setsid) /bin/sh -c 'echo up; exec sleep 1000'; exit 0";
    let mut it = fixture.start_ready(&script(unmarked)).await;
    timeout(LIMIT, it.process.stop()).await.unwrap();
    it.wait_gone().await;
}

#[tokio::test]
async fn dropped_process_is_killed_with_descendants() {
    let fixture = ProcessFixture::new().await;
    let stubborn = format!("({STUBBORN}) & {STUBBORN}");
    let it = fixture.start_ready(&script(&stubborn)).await;
    let RunningProcess { process, mut pipes } = it;
    drop(process);
    pipes.wait_gone().await;
    fixture.manager.close().await;
    assert_eq!(fixture.pid_file_text(), "");
}

#[tokio::test]
async fn drop_cuts_a_pending_stop_short() {
    let (_fixture, it) = start_ready(STUBBORN).await;
    assert!(it.process.stop().now_or_never().is_none());
    let RunningProcess { process, mut pipes } = it;
    drop(process);
    pipes.wait_gone().await;
}

#[tokio::test]
async fn cancelled_start_leaves_nothing() {
    let fixture = ProcessFixture::new().await;
    let marker = fixture.folder.path().join("it-ran");
    let spec = script(&format!("touch {}", marker.display()));
    for _ in 0..10 {
        assert!(Process::start(&spec, &fixture.manager).now_or_never().is_none());
    }
    fixture.manager.close().await;
    assert_eq!(fixture.pid_file_text(), "");
    assert!(!marker.exists());
}

#[tokio::test]
async fn stopped_process_leaves_the_pid_file() {
    let fixture = ProcessFixture::new().await;
    let first = fixture.start_ready(&script("echo up; read -r _")).await;
    let second = fixture.start_ready(&script("echo up; read -r _")).await;
    let has = |it: &Process| fixture.pid_file_text().contains(&it.identity().marker);
    assert!(has(&first.process) && has(&second.process));
    first.process.stop().await;
    assert!(!has(&first.process) && has(&second.process));
}

#[tokio::test]
async fn close_stops_everything_and_refuses_new_starts() {
    let fixture = ProcessFixture::new().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(fixture.start_ready(&script(OBEDIENT)).await);
    }
    timeout(LIMIT, fixture.manager.close()).await.unwrap();
    for it in &mut all {
        it.wait_gone().await;
        assert_eq!(it.process.exit().unwrap().code, Some(3));
    }
    let fault = Process::start(&script("exit 0"), &fixture.manager).await.unwrap_err();
    assert!(matches!(fault, SpawnError::Stopping), "{fault}");
    assert_eq!(fixture.pid_file_text(), "");
}

#[tokio::test]
async fn processes_run_without_a_data_dir() {
    let manager = ProcessManager::open(None).await.unwrap().manager;
    let process = Process::start(&script("exec sleep 1000"), &manager).await.unwrap();
    assert_eq!(timeout(LIMIT, process.stop()).await.unwrap().signal, Some(15));
}

#[tokio::test]
async fn memory_includes_all_descendants() {
    let fixture = ProcessFixture::new().await;
    let alone = fixture.start_ready(&script("echo up; read -r _")).await;
    let four_more = "for i in 1 2 3 4; do sleep 1000 & done; echo up; read -r _";
    let with_others = fixture.start_ready(&script(four_more)).await;
    let (one, five) = (alone.process.memory().await.unwrap(), with_others.process.memory().await.unwrap());
    assert!(one > 100_000 && five > one * 2, "{one} {five}");
    alone.process.stop().await;
    assert_eq!(alone.process.memory().await, None);
}
