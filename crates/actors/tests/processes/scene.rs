//! Scripts that run as processes, and what is seen of them.

use std::path::PathBuf;
use std::time::Duration;

use mainstay_actors::process::{Input, Process, ProcessSpec, Warden};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::time::timeout;

/// Nothing that is waited for takes so long, however slow the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A script of the shell, which has ten times as long to end as any test waits, unless it says otherwise.
pub(crate) fn script(text: &str) -> ProcessSpec {
    ProcessSpec { grace: LIMIT * 10, ..ProcessSpec::new("script", ["sh", "-c", text, "script"]) }
}

pub(crate) struct Scene {
    pub(crate) warden: Warden,
    pub(crate) folder: TempDir,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let warden = Warden::open(Some(folder.path())).await.unwrap().warden;
        Self { warden, folder }
    }

    pub(crate) async fn start(&self, spec: &ProcessSpec) -> Running {
        let process = Process::start(spec, &self.warden).await.unwrap();
        let (stdin, stdout) = process.take_stdio().unwrap();
        Running { process, pipes: Pipes { stdin: Some(stdin), stdout: BufReader::new(stdout) } }
    }

    /// Starts the script, and waits until it has said something.
    pub(crate) async fn up(&self, spec: &ProcessSpec) -> Running {
        let mut running = self.start(spec).await;
        running.line().await;
        running
    }

    /// What stands in the record of processes.
    pub(crate) fn record(&self) -> String {
        std::fs::read_to_string(self.record_file()).unwrap()
    }

    pub(crate) fn record_file(&self) -> PathBuf {
        self.folder.path().join("processes")
    }
}

pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) pipes: Pipes,
}

/// A process may take the end of its input for an order to end, so this is kept with its output.
pub(crate) struct Pipes {
    pub(crate) stdin: Option<Input>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(LIMIT, self.pipes.stdout.read_line(&mut line)).await.unwrap().unwrap();
        assert!(line.ends_with('\n'), "it said no more: {line:?} {:?}", self.process.exit());
        line.trim_end().to_owned()
    }

    pub(crate) async fn gone(&mut self) -> String {
        self.pipes.gone().await
    }
}

impl Pipes {
    /// Waits until the process and all that inherited its output are gone, and returns what it still said.
    pub(crate) async fn gone(&mut self) -> String {
        let mut rest = Vec::new();
        timeout(LIMIT, self.stdout.read_to_end(&mut rest))
            .await
            .expect("something holds its output")
            .unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Whether the program is there.
pub(crate) fn has(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file())
}
