//! Runs p-queue in a Node process of its own.
//!
//! Npm installs its packages once, as `node/package-lock.json` has them, into a folder beside the binary.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::contender::BenchError;

const SCRIPT: &str = "p_queue.mjs";
const FILES: [&str; 3] = ["package.json", "package-lock.json", SCRIPT];

/// Installs the script's packages and returns their folder.
///
/// # Errors
/// Returns the reason in words: no Node, no npm, or no registry.
pub(crate) fn install() -> Result<PathBuf, String> {
    let version = Command::new("node").arg("--version").output();
    let version = version.map_err(|error| format!("node cannot be started ({error})"))?;
    eprintln!("  node {}", String::from_utf8_lossy(&version.stdout).trim());
    let folder = folder().map_err(|error| format!("its folder cannot be made ({error})"))?;
    // In place of `npm`, which is a script with another name on Windows.
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let mut install = Command::new(npm);
    install.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]);
    let done = install.current_dir(&folder).stdin(Stdio::null()).output();
    let done = done.map_err(|error| format!("npm cannot be started ({error})"))?;
    if !done.status.success() {
        return Err(format!("npm ci ended with {}", done.status));
    }
    Ok(folder)
}

/// Makes the folder, with all files but npm's packages.
fn folder() -> Result<PathBuf, BenchError> {
    let binary = std::env::current_exe()?;
    let folder = binary.parent().ok_or("the binary stands in no folder")?.join("node");
    std::fs::create_dir_all(&folder)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("node");
    for file in FILES {
        std::fs::copy(source.join(file), folder.join(file))?;
    }
    Ok(folder)
}

/// A process that measures one version of p-queue repeatedly. It ends when this is dropped.
pub(crate) struct PQueue {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl PQueue {
    pub(crate) fn start(folder: &Path, package: &str) -> Result<Self, BenchError> {
        let mut command = Command::new("node");
        command.args([SCRIPT, package]).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take().ok_or("there is no output")?);
        Ok(Self { process, input, output: BufReader::new(output) })
    }

    /// Returns the nanoseconds of a job.
    pub(crate) fn round(&mut self, is_mixed: bool, jobs: usize, seed: u32) -> Result<f64, BenchError> {
        let input = self.input.as_mut().ok_or("there is no input")?;
        let way = if is_mixed { "mixed" } else { "equal" };
        writeln!(input, "{way} {jobs} {seed}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let took: f64 = line.trim().parse().map_err(|_| "p-queue's process ended")?;
        Ok(took / jobs as f64)
    }
}

impl Drop for PQueue {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}
