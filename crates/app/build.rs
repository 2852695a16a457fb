//! Names the commit of a release build, for `mainstay --version`.
//!
//! Other builds do not ask, so that a new commit compiles nothing again.

use std::env;
use std::path::Path;
use std::process::Command;

/// The root of the repository, seen from this package.
const ROOT: &str = "../..";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let has_binary = env::var_os("CARGO_FEATURE_CLI").is_some();
    // A copy without its history may lie within another repository, whose commit says nothing about it.
    let has_history = Path::new(ROOT).join(".git").exists();
    let commit = if is_release && has_binary && has_history { commit() } else { None };
    println!("cargo::rustc-env=MAINSTAY_COMMIT={}", commit.unwrap_or_default());
}

/// Returns the commit and its date in brackets, or nothing if git cannot be asked.
fn commit() -> Option<String> {
    // Each commit, checkout and reset adds a line to this file.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    let log = Path::new(ROOT).join(log);
    // A file that is not there would be a change in each build. Some clones keep no such file.
    if log.exists() {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    git(&["log", "-1", "--format= (%h, %cs)", "--abbrev=12"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).current_dir(ROOT).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
