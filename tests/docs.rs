//! Checks README.md and docs/: snippets parse or run, links lead to files, and the generated pages are up to date.
//!
//! `UPDATE_EXPECT=1` rewrites the generated pages. Rust snippets are doctests of the crate `mainstay`; tests/foreign runs the
//! backend in Python.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::process::Stdio;

use expect_test::expect_file;
use mainstay::bridge::BridgeCommand;
use mainstay::config::{Config, DEFAULT_TOML};
use serde_json::Value;
#[cfg(unix)]
use tokio::io::AsyncReadExt;

use crate::support::Scenario;

mod support;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the Markdown files of the root, of docs/, of ui/ and of benches/, with their texts.
fn pages() -> Vec<(PathBuf, String)> {
    let folders =
        ["", "docs", "docs/conformance", "docs/ui", "benches", "ui"].map(|folder| repository().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    assert!(paths.len() > 20, "pages are missing: {paths:?}");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Returns the blocks of code in this language, each without its fences.
fn snippets<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = page.split(fence.as_str()).skip(1);
    parts.map(|rest| rest.split_once("\n```").expect("a block of code has an end").0).collect()
}

#[test]
fn toml_snippets_are_valid_configurations() {
    let mut count = 0;
    for (path, page) in pages() {
        // The line for Cargo.toml is no configuration.
        for text in snippets(&page, "toml").into_iter().filter(|text| !text.starts_with("mainstay = ")) {
            Config::from_toml(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            count += 1;
        }
    }
    assert!(count > 2, "{count} snippets");
}

/// A `main` that returns an error prints its `Debug`, which is for programmers.
#[test]
fn programs_of_the_pages_print_errors_for_people() {
    let examples =
        ["embed", "transfer"].map(|name| repository().join(format!("crates/app/examples/{name}.rs")));
    let examples = examples.map(|path| (path.clone(), fs::read_to_string(path).unwrap()));
    let mut count = 0;
    for (path, page) in pages().into_iter().chain(examples) {
        for (_, rest) in page.match_indices("fn main()").map(|(at, _)| page.split_at(at)) {
            let signature = rest.lines().next().unwrap_or_default();
            assert!(!signature.contains("Result"), "{}: {signature}", path.display());
            count += 1;
        }
    }
    assert!(count > 2, "{count} programs");
}

#[test]
fn json_snippets_parse() {
    let mut count = 0;
    for (path, page) in pages() {
        for text in snippets(&page, "json") {
            for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
                value.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} values");
}

#[test]
fn bridge_page_has_valid_commands() {
    let page = fs::read_to_string(repository().join("docs/bridge.md")).unwrap();
    let lines: Vec<&str> = snippets(&page, "json").into_iter().flat_map(str::lines).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        let mut command: Value = serde_json::from_str(line).unwrap();
        command.as_object_mut().unwrap().remove("id").expect("a command has an id");
        serde_json::from_value::<BridgeCommand>(command).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}

/// Returns the targets of a page's links within the repository.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// Returns whether a page has the heading of an anchor, as GitHub derives it.
fn has_anchor(page: &str, anchor: &str) -> bool {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let mut anchors = headings.map(|line| {
        let kept = line.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>()
    });
    anchors.any(|found| found == anchor)
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut broken = Vec::new();
    for (path, page) in pages() {
        for target in links(&page) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let is_sound =
                to.exists() && (anchor.is_empty() || has_anchor(&fs::read_to_string(&to).unwrap(), anchor));
            if !is_sound {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links without a target:\n{}", broken.join("\n"));
}

#[test]
fn index_lists_each_page_of_docs() {
    // docs/ui.md is the index of docs/ui/.
    let [index, ui_index] =
        ["docs/README.md", "docs/ui.md"].map(|page| fs::read_to_string(repository().join(page)).unwrap());
    let targets = links(&index).chain(links(&ui_index).filter(|target| target.starts_with("ui/")));
    let listed: BTreeSet<_> = targets.map(|target| repository().join("docs").join(target)).collect();
    let pages = pages().into_iter().map(|(path, _)| path);
    let docs = pages.filter(|path| path.starts_with(repository().join("docs")));
    let missing: Vec<_> =
        docs.filter(|path| !path.ends_with("docs/README.md") && !listed.contains(path)).collect();
    assert!(missing.is_empty(), "docs/README.md does not list {missing:?}");
}

#[test]
fn configuration_page_is_up_to_date() {
    let page = format!(
        "# Configuration\n\nA TOML file; every key is optional. This page is `mainstay config default`: each key with its \
         meaning and default.\n`mainstay config check FILE` names each unknown key and each invalid value, with its line. A \
         test writes this page.\n\n```toml\n{}```\n",
        &**DEFAULT_TOML
    );
    expect_file!["../docs/configuration.md"].assert_eq(&page);
}

/// Appends the help of a command and of the commands below it.
fn write_help(page: &mut String, command: &[&str]) {
    let output = std::process::Command::new(support::mainstay_binary())
        .args(command)
        .arg("--help")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    let help = String::from_utf8(output.stdout).unwrap();
    let title = [&["mainstay"], command].concat().join(" ");
    // Every command takes the global options, so the page has them once.
    let own =
        if command.is_empty() { help.as_str() } else { help.split("\nGlobal options:").next().unwrap() };
    let lines: Vec<&str> = own.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## {title}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()));
    let below =
        lines.iter().skip_while(|line| **line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    for name in below
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?.split(' ').next())
    {
        if name != "help" {
            write_help(page, &[command, &[name]].concat());
        }
    }
}

#[test]
fn cli_page_is_up_to_date() {
    let mut page = "# Command line\n\nThe help of every command of the binary `mainstay`; each takes the global options. Durations read \
                    `250ms`, `30s`,\n`5m`. `--json`, or `-o json`, prints one JSON value and nothing else; `events`, \
                    `logs` and `agent listen` print one a line.\n\
                    Exit codes: 0 done, 1 failed, 2 wrong usage\nor configuration, 3 no runtime is running in that data folder. \
                    [Operations](operations.md) shows the commands in use. A test\nwrites this page.\n\n\
                    `--log` writes an event's sentence, and these fields: its `kind`, `actor` and `generation`, its place as `run` and \
                    `seq`,\nits `cause` and `reason` if it has them, and what else it has as JSON in `fields`. `tracing` takes only \
                    names of\nfields that are known when a program is compiled.\n"
        .to_owned();
    write_help(&mut page, &[]);
    expect_file!["../docs/cli.md"].assert_eq(&page);
}

/// Runs one line of a page in a shell, with `mainstay` as a command. A line that follows something runs until its first
/// output.
#[cfg(unix)]
async fn run_line(line: &str, data: &Path) {
    let follows = line.contains("--follow");
    // Without a shell in between, the command ends when it is killed.
    let exec = if follows { "exec " } else { "" };
    let script = format!("mainstay() {{ {exec}\"$BINARY\" --data-dir \"$DATA\" \"$@\"; }}\n{line}");
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &script]).env("BINARY", support::mainstay_binary()).env("DATA", data);
    command.current_dir(data).kill_on_drop(true);
    let run = async {
        if follows {
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let read = child.stdout.as_mut().unwrap().read(&mut [0]).await;
            assert_eq!(read.unwrap(), 1, "{line} ended without output");
            child.kill().await.unwrap();
        } else {
            let output = command.output().await.unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
        }
    };
    tokio::time::timeout(support::TEST_TIMEOUT, run).await.unwrap_or_else(|_| panic!("{line} did not end"));
}

/// Runs the commands of a page, but those that start a runtime, and returns their number.
#[cfg(unix)]
async fn run_commands(page: &str, data: &Path) -> usize {
    let page = fs::read_to_string(repository().join("docs").join(page)).unwrap();
    let lines = snippets(&page, "sh").into_iter().flat_map(str::lines);
    let mut count = 0;
    for line in lines.filter(|line| line.starts_with("mainstay ") && !line.starts_with("mainstay run ")) {
        run_line(line, data).await;
        count += 1;
    }
    count
}

#[cfg(unix)]
#[tokio::test]
async fn commands_of_the_pages_succeed() {
    let scenario = Scenario::with_planner("").await;
    let mut count = 0;
    for page in ["operations.md", "getting-started.md"] {
        count += run_commands(page, scenario.data.path()).await;
    }
    assert!(count > 10, "{count} commands");
}

#[cfg(unix)]
#[tokio::test]
async fn commands_of_the_page_of_logs_succeed() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("mainstay.toml");
    let command = "command = ['sh', '-c', 'echo hello; exec sleep 1000']";
    let config = format!(
        "[connection]\nenabled = false\n[backend]\nurl = 'http://127.0.0.1:1'\nready = 'none'\n{command}\n\
         [[agent]]\nid = 'planner'\ndriver = 'process'\n{command}\n"
    );
    fs::write(&file, config).unwrap();
    let runtime = support::start_runtime(data.path(), &file);
    for id in ["backend", "planner"] {
        let has_line = async || support::run(data.path(), &["logs", id]).await.stdout.contains("hello");
        support::eventually("the log has a line", has_line).await;
    }
    assert_eq!(run_commands("logs.md", data.path()).await, 3);
    runtime.stop().await;
}
