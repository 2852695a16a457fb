//! Kills the runtime together with its watchdog; the next run finds the orphans.

use mainstay_actors::process::OpenError;

use super::*;

/// Linux alone tells when a process started.
#[cfg(target_os = "linux")]
mod pid_file;

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

#[tokio::test]
async fn second_runtime_on_one_pid_file_is_refused() {
    let (fixture, it) = start_ready("echo up; read -r _").await;
    let fault = ProcessManager::open(Some(fixture.folder.path())).await.unwrap_err();
    assert!(matches!(fault, OpenError::InUse { .. }), "{fault}");
    assert_eq!(it.process.exit(), None);
}
