//! Tests that a failed start prints one clear line and returns the exit code of the contract.

mod support;

use std::fs;

use support::{CommandOutput, EventFollower, MainstayProcess, run};

/// Asserts that the command printed one line on stderr, nothing on stdout, and ended with `code`.
fn error_line(ended: &CommandOutput, code: i32) -> &str {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    ended.stderr.trim_end()
}

#[tokio::test]
async fn the_default_configuration_is_valid() {
    let data = tempfile::tempdir().unwrap();
    let printed = run(data.path(), &["config", "default"]).await;
    let file = data.path().join("default.toml");
    fs::write(&file, printed.stdout).unwrap();
    assert_eq!(run(data.path(), &["config", "check", file.to_str().unwrap()]).await.code, Some(0));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = run(data.path(), &["demo-backend", "--port", &port]).await;
    assert!(error_line(&ended, 1).contains(&format!("port {port}")), "{ended:?}");
    let file = data.path().join("port.toml");
    fs::write(&file, format!("[control]\nport = {port}\n")).unwrap();
    let ended = run(data.path(), &["run", "--config", file.to_str().unwrap()]).await;
    assert!(error_line(&ended, 1).contains(&format!("port {port}")), "{ended:?}");
}

#[tokio::test]
async fn a_data_folder_in_use_is_refused_and_says_by_whom() {
    let data = tempfile::tempdir().unwrap();
    let first = MainstayProcess::start(data.path(), &["demo"]);
    EventFollower::follow(data.path()).wait_for_event("root", "actor_ready").await;
    // The control file is written right after the tree is ready; it may or may not name the process yet.
    let ended = run(data.path(), &["demo", "--for", "1s"]).await;
    let line = error_line(&ended, 1);
    assert!(line.contains("in use by another runtime"), "{line}");
    assert!(line.contains(data.path().to_str().unwrap()), "{line}");
    let (status, _) = first.stop().await;
    assert!(status.success());
    assert_eq!(run(data.path(), &["demo", "--for", "100ms"]).await.code, Some(0));
}

#[tokio::test]
async fn commands_without_runtime_say_not_running() {
    let data = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 9] = [
        &["status"],
        &["tree"],
        &["agents"],
        &["agent", "restart", "planner"],
        &["connection"],
        &["reconnect"],
        &["disconnect"],
        &["request", "GET", "/"],
        &["status", "--json"],
    ];
    for command in commands {
        let ended = run(data.path(), command).await;
        assert!(error_line(&ended, 3).contains("no runtime is running"), "{command:?}");
    }
}

#[tokio::test]
async fn colours_can_be_forced() {
    let data = tempfile::tempdir().unwrap();
    let forced = [("NO_COLOR", ""), ("CLICOLOR_FORCE", "1")];
    let mut demo = MainstayProcess::start_with(data.path(), &["demo"], &forced);
    demo.line_containing("\x1b[2m").await;
}

#[tokio::test]
async fn killed_runtime_counts_as_not_running() {
    let data = tempfile::tempdir().unwrap();
    let mut demo = MainstayProcess::start(data.path(), &["demo"]);
    demo.line_containing("dashboard").await;
    demo.kill().await;
    assert!(data.path().join("control.json").exists());
    let ended = run(data.path(), &["status"]).await;
    assert!(error_line(&ended, 3).contains("no runtime is running"));
}

#[tokio::test]
async fn usage_errors_exit_with_two() {
    let data = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 4] = [
        &["no-such-command"],
        &["demo", "--for", "soon"],
        &["events", "--actor", "[", "--after", "0"],
        &["request", "GET"],
    ];
    for command in commands {
        let ended = run(data.path(), command).await;
        assert_eq!(ended.code, Some(2), "{command:?}: {ended:?}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn full_stdout_stops_printing_but_not_the_runtime() {
    let data = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut demo = support::mainstay(data.path(), &["demo", "--for", "2s"]).stdout(full).spawn().unwrap();
    EventFollower::follow(data.path()).wait_for_agent("planner", "healthy").await;
    let status = demo.wait().await.unwrap();
    assert!(status.success(), "{status}");
    let stopped = run(data.path(), &["events", "--kind", "runtime_stopped", "--json"]).await;
    assert_eq!(stopped.stdout.lines().count(), 1, "{stopped:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_journal_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    run(data.path(), &["demo", "--for", "100ms"]).await;
    let journal = data.path().join("journal");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&journal), 0o700);
    for file in fs::read_dir(&journal).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn wrong_configuration_is_named_in_one_line() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("odd.toml");
    for (text, command, named) in [
        ("[cache]\nwatch = [\"/a/../b\"]\n", ["config", "check"], "cache.watch"),
        ("[backend]\nca_file = \"/mainstay/has/no/such/file.pem\"\n", ["config", "check"], "backend.ca_file"),
        ("[backend]\ntoken_env = \"MAINSTAY_TEST_UNSET\"\n", ["run", "--config"], "MAINSTAY_TEST_UNSET"),
        (
            "[connection]\nmax_retires = 3\n",
            ["config", "check"],
            "odd.toml:2:1: unknown key \"connection.max_retires\"; did you mean \"max_retries\"?",
        ),
        ("[connection]\nmax_retires = 3\n", ["run", "--config"], "odd.toml:2:1"),
    ] {
        fs::write(&file, text).unwrap();
        let ended = run(data.path(), &[&command[..], &[file.to_str().unwrap()]].concat()).await;
        assert!(error_line(&ended, 2).contains(named), "{text}: {ended:?}");
    }
}
