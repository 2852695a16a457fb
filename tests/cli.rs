//! Tests the command line from outside: a failure is one clear line with the exit code of the contract, and the screens fit
//! and show what they should.

mod support;

use std::fs;

use serde_json::{Value, json};
use support::{CommandOutput, EventFollower, MainstayProcess, Scenario, in_time, run, run_json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// Asserts that the command printed one line on stderr, nothing on stdout, and ended with `code`.
fn error_line(ended: &CommandOutput, code: i32) -> &str {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "", "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    ended.stderr.trim_end()
}

#[tokio::test]
async fn default_configuration_is_valid() {
    let data = tempfile::tempdir().unwrap();
    let printed = run(data.path(), &["config", "default"]).await;
    let file = data.path().join("default.toml");
    fs::write(&file, printed.stdout).unwrap();
    assert_eq!(run(data.path(), &["config", "check", file.to_str().unwrap()]).await.code, Some(0));
}

#[tokio::test]
async fn port_in_use_is_named() {
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
async fn data_folder_in_use_is_refused_and_says_by_whom() {
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
    let status = in_time(demo.wait()).await.unwrap();
    assert!(status.success(), "{status}");
    let stopped = run(data.path(), &["events", "--kind", "runtime_stopped", "--json"]).await;
    assert_eq!(stopped.stdout.lines().count(), 1, "{stopped:?}");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let command =
        support::mainstay(data.path(), &["events"]).stdout(full).stderr(std::process::Stdio::piped()).spawn();
    let ended = in_time(command.unwrap().wait_with_output()).await.unwrap();
    let words = "mainstay: stdout cannot be written: No space left on device (os error 28)\n";
    assert_eq!((ended.status.code(), &*String::from_utf8_lossy(&ended.stderr)), (Some(1), words));
}

#[cfg(unix)]
#[tokio::test]
async fn journal_is_for_its_owner_alone() {
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
async fn wrong_configuration_is_named_with_its_line() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("odd.toml");
    for (text, named, caret) in [
        ("[cache]\nwatch = [\"/a/../b\"]\n", "cache.watch", "  2 | watch = [\"/a/../b\"]\n    |         ^"),
        (
            "[backend]\nca_file = \"/mainstay/none.pem\"\n",
            "backend.ca_file",
            "  2 | ca_file = \"/mainstay/none.pem\"\n    |           ^",
        ),
        (
            "[connection]\nmax_retires = 3\n",
            "odd.toml:2:1: unknown key \"connection.max_retires\"; did you mean \"max_retries\"?",
            "  2 | max_retires = 3\n    | ^",
        ),
    ] {
        fs::write(&file, text).unwrap();
        let ended = run(data.path(), &["config", "check", file.to_str().unwrap()]).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        let (line, snippet) = ended.stderr.trim_end().split_once('\n').unwrap();
        assert!(line.contains(named), "{line}");
        assert_eq!(snippet, caret);
        let started = run(data.path(), &["run", "--config", file.to_str().unwrap()]).await;
        assert_eq!((started.code, started.stdout, started.stderr), (Some(2), String::new(), ended.stderr));
    }
    fs::write(&file, "[backend]\ntoken_env = \"MAINSTAY_TEST_UNSET\"\n").unwrap();
    let started = run(data.path(), &["run", "--config", file.to_str().unwrap()]).await;
    let (line, snippet) = started.stderr.trim_end().split_once('\n').unwrap();
    assert!(line.contains("odd.toml:2:13") && line.contains("MAINSTAY_TEST_UNSET"), "{line}");
    assert!(snippet.ends_with("    |             ^"), "{snippet}");
}

/// Runs a command with this text as its standard input.
async fn run_with_input(args: &[&str], input: &str) -> CommandOutput {
    let data = tempfile::tempdir().unwrap();
    let mut command = support::mainstay(data.path(), args);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = in_time(child.wait_with_output()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test]
async fn config_check_warns_of_what_is_not_there() {
    let config = "[backend]\ntoken_env = \"MAINSTAY_TEST_UNSET\"\n\n[[agent]]\nid = \"a\"\ndriver = \"process\"\n\
                  command = [\"mainstay-has-no-such-program\"]\n";
    let ended = run_with_input(&["config", "check", "-"], config).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "stdin is valid, with 2 warnings\n"),
        "{ended:?}"
    );
    for part in [
        "mainstay: stdin:2:13: warning: \"backend.token_env\" names the environment variable",
        "mainstay: stdin:7:11: warning: \"agent[0].command\" cannot be started here: there is no program",
        "  2 | token_env = \"…\"\n    |             ^\n",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    let ended = run_with_input(&["config", "check", "-", "--json"], config).await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((report["valid"].as_bool(), report["warnings"].as_array().unwrap().len()), (Some(true), 2));
    assert_eq!((report["warnings"][1]["line"].as_u64(), ended.stderr.as_str()), (Some(7), ""));
    let ended = run_with_input(&["config", "check", "-", "--json"], "[cache]\nttl = 1\n").await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, report["errors"][0]["key"].as_str()), (Some(2), Some("cache.ttl")));
    let ended = run_with_input(&["config", "check", "absent.toml", "--json"], "").await;
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (ended.code, &report["valid"], &report["file"]),
        (Some(2), &json!(false), &json!("absent.toml"))
    );
    assert!(report["errors"][0]["message"].as_str().unwrap().starts_with("cannot be read: "), "{report}");
    assert!(ended.stderr.starts_with("mainstay: absent.toml: cannot be read: "), "{ended:?}");
}

#[tokio::test]
async fn unknown_names_are_errors_with_the_nearest() {
    let data = tempfile::tempdir().unwrap();
    let mut demo = MainstayProcess::start(data.path(), &["demo"]);
    demo.line_containing("root/agents/reviewer").await;
    let known = run(data.path(), &["events", "--kind", "gave_up", "--actor", "root/agents/*"]).await;
    assert_eq!((known.code, known.stderr.as_str()), (Some(0), ""), "{known:?}");
    let known = run(data.path(), &["events", "--kind", "agent_health,"]).await;
    assert_eq!((known.code, known.stderr.as_str()), (Some(0), ""), "{known:?}");
    let beyond = run(data.path(), &["events", "--after", "9.9"]).await;
    assert_eq!((beyond.code, beyond.stdout.as_str()), (Some(0), ""), "{beyond:?}");
    assert!(
        beyond.stderr.starts_with("mainstay: --after 9.9 is beyond the end of the journal, which is 1."),
        "{beyond:?}"
    );
    let commands: [(&[&str], i32, &str); 7] = [
        (
            &["logs", "planner"],
            1,
            "NOT_FOUND: there is no log \"planner\"; there is none at all; only a program that the runtime starts has one: \
             `mainstay agents` shows the agents' drivers",
        ),
        (
            &["events", "--kind", "actor_ready,actr_exited"],
            2,
            "--kind: there is no kind of event \"actr_exited\"; did you mean \"actor_exited\"?",
        ),
        (
            &["events", "--actor", "root/agent/reviewr"],
            2,
            "--actor: there is no actor \"root/agent/reviewr\"; did you mean \"root/agents/reviewer\"?",
        ),
        (
            &["events", "-f", "--actor", "reviewer"],
            2,
            "--actor: there is no actor \"reviewer\"; did you mean \"root/agents/reviewer\"?",
        ),
        (
            &["agent", "show", "reviewr"],
            1,
            "NOT_FOUND agent_unknown: there is no agent \"reviewr\"; did you mean \"reviewer\"?",
        ),
        (
            &["agent", "restart", "x"],
            1,
            "NOT_FOUND agent_unknown: there is no agent \"x\"; known are \"planner\", \"coder\", \"reviewer\"",
        ),
        (
            &["request", "GET", "/nowhere"],
            1,
            "NOT_FOUND: The backend does not have what was asked for. Check the name. (HTTP 404: \
             nothing answers at /nowhere)",
        ),
    ];
    for (command, code, expected) in commands {
        let ended = run(data.path(), command).await;
        assert_eq!(error_line(&ended, code), format!("mainstay: {expected}"), "{command:?}");
    }
}

#[tokio::test]
async fn any_method_is_sent_and_a_slip_gets_a_hint() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "1").await;
    for (method, hint) in [("SET", Some("GET")), ("PROPFIND", None)] {
        let ended = run(data.path(), &["request", method, "/api/search?q=x"]).await;
        let hint = hint.map(|near| format!("the method {method} was sent as it is; did you mean {near}?\n"));
        let error = ended.stderr.strip_prefix(&hint.unwrap_or_default()).unwrap_or_default();
        assert!(error.starts_with("mainstay: ") && error.contains("HTTP 405"), "{ended:?}");
        assert_eq!((ended.code, error.lines().count()), (Some(1), 1), "{ended:?}");
    }
}

#[tokio::test]
async fn run_with_a_file_names_the_option_for_it() {
    let data = tempfile::tempdir().unwrap();
    let ended = run(data.path(), &["run", "m.toml"]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("a configuration is named by '--config m.toml'"), "{ended:?}");
    for command in [&["demo", "m.toml"][..], &["run", "--confg"]] {
        assert!(!run(data.path(), command).await.stderr.contains("a configuration is named"), "{command:?}");
    }
}

#[tokio::test]
async fn foreign_and_damaged_files_are_named_with_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    fs::write(data.path().join("control.json"), "{").unwrap();
    let ended = run(data.path(), &["status"]).await;
    let line = error_line(&ended, 1);
    assert!(line.contains("control.json is no control file: it breaks off in line 1"), "{line}");
    assert!(line.contains("delete that file"), "{line}");
    let journal = data.path().join("journal");
    fs::create_dir(&journal).unwrap();
    let segment = journal.join("journal-0000000001-0000000000000001.jsonl");
    fs::write(&segment, "foreign\n".repeat(100)).unwrap();
    for command in ["events", "dead-letters"] {
        let ended = run(data.path(), &[command]).await;
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(0), 2), "{ended:?}");
        assert!(ended.stderr.contains("99 more damaged lines skipped; if that file"), "{ended:?}");
    }
    let ended = run(data.path(), &["replay", segment.to_str().unwrap()]).await;
    assert!(error_line(&ended, 1).contains("there is no event, so this is no journal: "), "{ended:?}");
    fs::remove_file(&segment).unwrap();
    fs::create_dir(&segment).unwrap();
    for command in ["events", "dead-letters", "replay"] {
        let ended = run(data.path(), &[command]).await;
        let line = error_line(&ended, 1);
        assert!(line.contains("data_unusable: ") && line.contains("move it away"), "{line}");
        assert!(line.contains(segment.to_str().unwrap()), "{line}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn misplaced_file_or_folder_is_named_with_what_to_do() {
    let all: [&[&str]; 8] = [
        &["status"],
        &["demo"],
        &["run"],
        &["logs", "a"],
        &["events"],
        &["events", "-f"],
        &["dead-letters"],
        &["replay"],
    ];
    let start: &[&[&str]] = &[&["demo"], &["run"]];
    // What stands there, whether it is a folder, and the commands that need it to be the other.
    for (name, is_folder, commands) in [
        ("data", false, &all[..]),
        ("data/journal", false, &[&["demo"], &["events"], &["events", "-f"], &["dead-letters"], &["replay"]]),
        ("data/journal/journal.lock", true, start),
        ("data/state.redb", true, start),
        ("data/state.redb.lock", true, start),
        ("data/processes", true, start),
        ("data/processes.lock", true, start),
        ("data/control.json", true, &[&["status"], &["demo"]]),
        ("data/logs", false, &[&["logs", "a"]]),
        ("data/logs/a.log", true, &[&["logs", "a"]]),
        ("data/logs/a.1.log", true, &[&["logs", "a"]]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(name);
        fs::create_dir_all(if is_folder { &place } else { place.parent().unwrap() }).unwrap();
        let what = match is_folder {
            true => "is a folder in the place of a file: move it away",
            false => "is a file in the place of a folder: move it away, or name another folder",
        };
        if !is_folder {
            fs::write(&place, "foreign").unwrap();
        }
        for command in commands {
            let ended = run(&folder.path().join("data"), command).await;
            let line = ended.stderr.trim_end();
            assert!(line.ends_with(&format!("{} {what}", place.display())), "{name} {command:?}: {ended:?}");
            assert_eq!((ended.code, line.lines().count()), (Some(1), 1), "{name} {command:?}: {ended:?}");
            assert!(!line.contains("os error"), "{line}");
            assert_eq!(line.matches(folder.path().to_str().unwrap()).count(), 1, "{line}");
        }
    }
}

/// Returns the rows of the tables of a view, with their titles. Other lines of a view have any length in a pipe.
fn table_rows(view: &str) -> Vec<&str> {
    let is_table = |block: &&str| ["actor  ", "agent  ", "id  "].iter().any(|title| block.starts_with(title));
    view.split("\n\n").filter(is_table).flat_map(str::lines).collect()
}

#[tokio::test]
async fn tables_fit_80_columns_and_wide_ones_have_all() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "12").await;
    EventFollower::follow(data.path()).wait_for_agent("agent-12", "healthy").await;
    assert_eq!(run(data.path(), &["demo", "crash", "agent-12"]).await.code, Some(0));
    for command in ["tree", "agents", "status", "requests"] {
        let table = run(data.path(), &[command]).await.stdout;
        let rows = table_rows(&table);
        assert!(rows.iter().any(|row| row.contains("agent-12")) || command == "requests", "{table}");
        for row in rows {
            assert!(row.chars().count() <= 80, "{row}\n{table}");
        }
        let wide = run(data.path(), &[command, "-o", "wide"]).await.stdout;
        assert!(wide.contains("last error") || command == "requests", "{wide}");
        let narrow = support::mainstay(data.path(), &[command]).env("COLUMNS", "60").output();
        let narrow = in_time(narrow).await.unwrap();
        let narrow = String::from_utf8(narrow.stdout).unwrap();
        assert!(narrow.contains("agent-12") || command == "requests", "{narrow}");
        let json = run(data.path(), &[command, "-o", "json"]).await.stdout;
        assert!(serde_json::from_str::<Value>(&json).is_ok_and(|json| !json.is_null()), "{json}");
    }
}

#[tokio::test]
async fn watched_view_comes_again_until_it_is_stopped() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "1").await;
    let mut watch = MainstayProcess::start(data.path(), &["tree", "--watch"]);
    for _ in 0..2 {
        watch.line_containing("each second until Ctrl-C").await;
        watch.line_containing("planner").await;
    }
    #[cfg(unix)]
    {
        watch.signal("INT").await;
        assert!(watch.wait().await.0.success());
    }
    let commands: [(&[&str], &str); 5] = [
        (&["agents"], "/0/id"),
        (&["agent", "show", "planner"], "/id"),
        (&["connection"], "/state"),
        (&["cache"], "/entries"),
        (&["cache", "show"], "/entries"),
    ];
    for (command, member) in commands {
        let mut watch = MainstayProcess::start(data.path(), &[command, &["-w", "--json"]].concat());
        for _ in 0..2 {
            let view: Value = serde_json::from_str(&watch.line().await).unwrap();
            assert!(view.pointer(member).is_some(), "{command:?}: {view}");
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn frozen_runtime_is_named_while_a_command_waits_for_it() {
    let data = tempfile::tempdir().unwrap();
    let (demo, _) = support::start_demo(data.path(), "1").await;
    let silence = format!("the runtime (process {}, from control.json) does not answer", demo.pid());
    demo.signal("STOP").await;
    let mut status = support::mainstay(data.path(), &["status"]).spawn().unwrap();
    let mut errors = BufReader::new(status.stderr.take().unwrap()).lines();
    assert!(in_time(errors.next_line()).await.unwrap().unwrap().contains(&silence));
    demo.signal("CONT").await;
    assert_eq!(in_time(errors.next_line()).await.unwrap(), None);
    assert!(in_time(status.wait()).await.unwrap().success());
    // A view that waits for its next answer, and a command that takes long.
    let mut watch = support::mainstay(data.path(), &["status", "-w"]).spawn().unwrap();
    let mut views = BufReader::new(watch.stdout.take().unwrap()).lines();
    assert!(in_time(views.next_line()).await.unwrap().unwrap().contains("each second"));
    demo.signal("STOP").await;
    let mut errors = BufReader::new(watch.stderr.take().unwrap()).lines();
    assert!(in_time(errors.next_line()).await.unwrap().unwrap().contains(&silence));
    demo.signal("CONT").await;
    demo.stop().await;
    let stopped = in_time(errors.next_line()).await.unwrap().unwrap();
    assert_eq!(stopped, "mainstay: the runtime has stopped");
    assert_eq!(in_time(watch.wait()).await.unwrap().code(), Some(1));
}

#[tokio::test]
async fn demo_commands_break_and_heal_the_running_demo() {
    let data = tempfile::tempdir().unwrap();
    let mut demo = MainstayProcess::start(data.path(), &["demo"]);
    let dashboard = demo.line_containing("dashboard ").await;
    let live = demo.line().await;
    let (address, token) = live.strip_prefix("live page ").and_then(|page| page.split_once('#')).unwrap();
    assert!(
        address.ends_with("/ui/examples/live.html") && dashboard.contains(&format!("/#{token} ")),
        "{live}"
    );
    let page = support::http_client().get(address).send().await.unwrap();
    assert!(page.status().is_success(), "{page:?}");
    let hint = demo.line_containing("to break it: ").await;
    assert!(hint.contains(data.path().to_str().unwrap()) && hint.contains(" demo crash planner"), "{hint}");
    let mut events = EventFollower::follow(data.path());
    events.wait_for_agent("coder", "healthy").await;
    let mark = events.mark();
    assert_eq!(run(data.path(), &["demo", "crash", "planner"]).await.stdout.lines().count(), 1);
    events.wait_since(mark, support::is_agent_health("planner", "failed")).await;
    run(data.path(), &["demo", "hang", "coder"]).await;
    events.wait_since(mark, support::is_agent_health("coder", "degraded")).await;
    run(data.path(), &["demo", "heal", "coder"]).await;
    run(data.path(), &["demo", "drop"]).await;
    events.wait_since(mark, support::is_connection_state("reconnecting")).await;
    let fail = ["demo", "fail", "/api/files", "--times", "1", "--status", "418"];
    assert!(
        run(data.path(), &fail).await.stdout.contains("the next request whose path begins with /api/files")
    );
    let get = ["request", "GET", "/api/files/README.md", "--retries", "0"];
    let failed = run(data.path(), &get).await;
    assert!(error_line(&failed, 1).contains("HTTP 418"), "{failed:?}");
    for fault in [&["slow"][..], &["reset", "/api/echo"], &["refuse", "0s"], &["half-open", "0s"]] {
        let ended = run(data.path(), &[&["demo"], fault].concat()).await;
        assert_eq!((ended.code, ended.stdout.lines().count()), (Some(0), 1), "{ended:?}");
    }
    let unknown = run(data.path(), &["demo", "hang", "codr"]).await;
    assert!(error_line(&unknown, 1).contains("did you mean \"coder\"?"), "{unknown:?}");
}

#[tokio::test]
async fn demo_die_crashes_an_agent_until_it_is_given_up() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "1").await;
    let mut events = EventFollower::follow(data.path());
    let is_of_planner =
        |event: &Value, kind: &str| event["actor"] == "root/agents/planner" && event["kind"] == kind;
    let mut die = MainstayProcess::start(data.path(), &["demo", "die", "planner"]);
    for _ in 0..5 {
        events.wait_for(|event| is_of_planner(event, "decision") && event["decision"] == "restart").await;
        // It ends the delay, and uses none of the restarts.
        assert_eq!(run(data.path(), &["agent", "restart", "planner"]).await.code, Some(0));
    }
    events.wait_for(|event| is_of_planner(event, "gave_up")).await;
    let (status, output) = die.wait().await;
    assert!(status.success(), "{output}");
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.first(), Some(&"planner has crashed (5 restarts left)"));
    assert!(
        lines.last().unwrap().starts_with("planner is given up: `mainstay agent reset planner`"),
        "{output}"
    );
}

#[tokio::test]
async fn demo_command_never_reaches_a_backend_of_another_runtime() {
    let data = tempfile::tempdir().unwrap();
    let (sender, mut heads) = tokio::sync::mpsc::channel(8);
    let (port, _server) = support::serve_connections(move |mut stream| {
        let sender = sender.clone();
        async move {
            while let Some(head) = support::read_head(&mut stream).await {
                sender.send(head).await.unwrap();
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"injected\": true}";
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    let config = data.path().join("mainstay.toml");
    let more = "[connection]\nenabled = false\n";
    fs::write(&config, format!("[backend]\nurl = \"http://127.0.0.1:{port}\"\n{more}")).unwrap();
    let mut runtime = support::start_runtime(data.path(), &config);
    runtime.line_containing("dashboard ").await;
    let refused = run(data.path(), &["demo", "drop"]).await;
    assert!(error_line(&refused, 1).contains("is not that of `mainstay demo`"), "{refused:?}");
    // What came before this request would have come by now.
    run(data.path(), &["request", "GET", "/first"]).await;
    assert!(in_time(heads.recv()).await.unwrap().starts_with("GET /first "));
}

#[tokio::test]
async fn agent_show_ends_with_its_last_events() {
    let scenario = Scenario::with_planner("").await;
    scenario.run(&["agent", "restart", "planner"]).await;
    let shown = scenario.run(&["agent", "show", "planner"]).await;
    let (_, events) = shown.split_once("\nlast 5 events\n").unwrap_or_else(|| panic!("{shown}"));
    assert_eq!(events.lines().count(), 5, "{shown}");
    let json = scenario.show("planner").await;
    let of_planner = |event: &&Value| event["actor"] == "root/agents/planner";
    assert_eq!(json["events"].as_array().unwrap().iter().filter(of_planner).count(), 5);
    let printed = scenario.run(&["events", "--json", "--actor", "root/agents/planner"]).await;
    let last: Vec<u64> = printed
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect();
    let shown: Vec<u64> =
        json["events"].as_array().unwrap().iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(last.windows(5).any(|window| window == shown), "{last:?} {shown:?}");
}

#[tokio::test]
async fn cache_is_shown_and_invalidated() {
    let scenario = Scenario::with_planner("").await;
    for path in ["/api/files/README.md", "/api/files/notes/todo.txt"] {
        scenario.run(&["request", "GET", path, "--cache", "1m"]).await;
    }
    let data = scenario.data.path();
    assert_eq!(run_json(data, &["cache"]).await["entries"], 2);
    assert!(scenario.run(&["cache", "show"]).await.contains("entries     2, the oldest for "));
    assert_eq!(scenario.run(&["cache", "invalidate", "--all"]).await, "2 entries were dropped\n");
    assert_eq!(run_json(data, &["cache", "show"]).await["invalidated"], 2);
    let nothing = run(data, &["cache", "invalidate"]).await;
    assert_eq!(nothing.code, Some(2), "{nothing:?}");
}

#[tokio::test]
async fn environment_decides_folder_zone_and_colour() {
    let data = tempfile::tempdir().unwrap();
    run(data.path(), &["demo", "--for", "100ms"]).await;
    let printed = |args: &[&str], variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new(support::mainstay_binary());
        command.args(args).env_remove("NO_COLOR").env("MAINSTAY_DATA_DIR", data.path());
        String::from_utf8(command.envs(variables.iter().copied()).output().unwrap().stdout).unwrap()
    };
    let heading = |args: &[&str], variables: &[(&str, &str)]| {
        printed(&[&["events"], args].concat(), variables).lines().next().unwrap_or_default().to_owned()
    };
    let india = [("TZ", "IST-5:30")];
    assert!(heading(&[], &india).ends_with(", local time (UTC+05:30)"), "{}", heading(&[], &india));
    assert!(heading(&["--utc"], &india).ends_with(", UTC"));
    assert!(heading(&["--color", "always"], &[("NO_COLOR", "1")]).starts_with("\x1b[2m"));
    assert!(!printed(&["events", "--color", "never"], &[("CLICOLOR_FORCE", "1")]).contains('\x1b'));
    // Help and usage errors obey as well.
    assert!(printed(&["--color", "always", "--help"], &[("NO_COLOR", "1")]).contains('\x1b'));
    assert!(!printed(&["--help", "--color=never"], &[("CLICOLOR_FORCE", "1")]).contains('\x1b'));
    let usage = run(data.path(), &["statuss", "--color", "always"]).await;
    assert!(usage.stderr.contains('\x1b'), "{usage:?}");
    let default = printed(&["config", "default"], &[("MAINSTAY_DATA_DIR", "")]);
    assert!(default.contains("[backend]"), "an empty variable is as good as none: {default}");
    let version = printed(&["--version"], &[]);
    assert!(version.starts_with(&format!("mainstay {}", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[tokio::test]
async fn incident_is_listed_and_explained_after_the_end() {
    let data = tempfile::tempdir().unwrap();
    let demo = MainstayProcess::start(data.path(), &["demo"]);
    let mut events = EventFollower::follow(data.path());
    events.wait_for_agent("planner", "healthy").await;
    assert_eq!(run(data.path(), &["panic", "cache"]).await.code, Some(0));
    events.wait_for_event("root/cache", "actor_restarted").await;
    let status = run(data.path(), &["status"]).await.stdout;
    assert!(status.starts_with("All is well\n"), "{status}");
    demo.stop().await;

    let listed = run(data.path(), &["incidents"]).await;
    assert_eq!(listed.code, Some(0), "{listed:?}");
    let row = listed.stdout.lines().find(|line| line.contains("cache: panicked")).expect(&listed.stdout);
    let id = row.split_whitespace().next().unwrap();
    let story = run(data.path(), &["why", id]).await.stdout;
    assert!(story.starts_with("cache: panicked: injected panic (at crates/runtime/src/"), "{story}");
    assert!(story.contains("\nDecision: restart in 100 ms, attempt 1 (1 of 10 restarts used).\n"), "{story}");
    assert!(story.contains("\nIt was over at "), "{story}");
    // The stop of the runtime is later. It concerns every actor, and so says nothing about this one.
    assert_eq!(run_json(data.path(), &["why", "cache"]).await["id"], id);
    let stop = run_json(data.path(), &["why", "root"]).await;
    assert!(stop["title"].as_str().unwrap().starts_with("The runtime is stopping"), "{stop}");
    let all = run_json(data.path(), &["incidents"]).await;
    assert_eq!(all.as_array().unwrap().iter().filter(|incident| incident["id"] == id).count(), 1);

    let unknown = run(data.path(), &["why", "planer"]).await;
    assert!(error_line(&unknown, 1).contains("did you mean \"planner\"?"), "{unknown:?}");
    let unknown = run(data.path(), &["why", "4711"]).await;
    assert!(error_line(&unknown, 1).contains("the journal has no event about 4711"), "{unknown:?}");
}
