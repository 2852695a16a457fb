//! Runs the README's program, which is an example of the crate `mainstay`: against a port where nothing listens, and with a
//! configuration that is wrong.

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use support::{example_binary, in_time};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

/// Returns the program, in a folder with this configuration.
fn program(folder: &Path, config: &str) -> Command {
    fs::write(folder.join("mainstay.toml"), config).unwrap();
    let mut command = Command::new(example_binary("readme"));
    command.current_dir(folder).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn repository_file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn example_is_the_program_of_the_readme() {
    let example = repository_file("crates/app/examples/readme.rs");
    let (_, program) = example.split_once("\n\n").unwrap();
    assert!(repository_file("README.md").contains(&format!("```rust,no_run\n{program}```\n")));
}

#[tokio::test]
async fn readme_program_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let config = format!("[backend]\nurl = \"http://127.0.0.1:{port}\"\n[[agent]]\nid = \"planner\"\n");
    let mut program = program(folder.path(), &config).spawn().unwrap();
    let mut lines = BufReader::new(program.stderr.take().unwrap()).lines();
    let line = in_time(lines.next_line()).await.unwrap();
    assert_eq!(line.as_deref(), Some("waiting for the connection to the backend"));
    in_time(program.kill()).await.unwrap();
}

#[tokio::test]
async fn readme_program_prints_errors_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let output = in_time(program(folder.path(), "[backend]\nurll = \"x\"\n").output()).await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
    assert!(error.starts_with("mainstay.toml:2:1: ") && error.contains("did you mean \"url\"?"), "{error}");
    assert!(!error.contains('{'), "it is no Debug text: {error}");
}
