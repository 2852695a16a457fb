//! Runs scripts as processes, and reads their output.

use mainstay_actors::process::ProcessStdin;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::ChildStdout,
};

use super::*;

/// Longer than any wait, however slow the machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A shell script. It has ten times as long to end as any test waits, unless it says otherwise.
pub(crate) fn script(text: &str) -> ProcessSpec {
    ProcessSpec { grace: LIMIT * 10, ..ProcessSpec::new("script", ["sh", "-c", text, "script"]) }
}

pub(crate) struct ProcessFixture {
    pub(crate) manager: ProcessManager,
    pub(crate) folder: TempDir,
}

impl ProcessFixture {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let manager = ProcessManager::open(Some(folder.path())).await.unwrap().manager;
        Self { manager, folder }
    }

    pub(crate) async fn start(&self, spec: &ProcessSpec) -> RunningProcess {
        let process = Process::start(spec, &self.manager).await.unwrap();
        let (stdin, stdout) = process.take_stdio().unwrap();
        RunningProcess { process, pipes: ProcessPipes { stdin: Some(stdin), stdout: BufReader::new(stdout) } }
    }

    /// Starts the script, and waits for its first line.
    pub(crate) async fn start_ready(&self, spec: &ProcessSpec) -> RunningProcess {
        let mut running = self.start(spec).await;
        running.read_line().await;
        running
    }

    /// Returns the content of the PID file.
    pub(crate) fn pid_file_text(&self) -> String {
        std::fs::read_to_string(self.pid_file()).unwrap()
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.folder.path().join("processes")
    }
}

/// Starts the script below a manager of its own, and waits for its first line.
pub(crate) async fn start_ready(text: &str) -> (ProcessFixture, RunningProcess) {
    let fixture = ProcessFixture::new().await;
    let running = fixture.start_ready(&script(text)).await;
    (fixture, running)
}

pub(crate) struct RunningProcess {
    pub(crate) process: Process,
    pub(crate) pipes: ProcessPipes,
}

/// A process may take the end of its stdin for a request to end, so this is kept with its output.
pub(crate) struct ProcessPipes {
    pub(crate) stdin: Option<ProcessStdin>,
    stdout: BufReader<ChildStdout>,
}

impl RunningProcess {
    pub(crate) async fn read_line(&mut self) -> String {
        let mut line = String::new();
        timeout(LIMIT, self.pipes.stdout.read_line(&mut line)).await.unwrap().unwrap();
        assert!(line.ends_with('\n'), "it said no more: {line:?} {:?}", self.process.exit());
        line.trim_end().to_owned()
    }

    pub(crate) async fn wait_gone(&mut self) -> String {
        self.pipes.wait_gone().await
    }
}

impl ProcessPipes {
    /// Waits until the process and all that inherited its output are gone, and returns the rest of the output.
    pub(crate) async fn wait_gone(&mut self) -> String {
        let mut rest = Vec::new();
        timeout(LIMIT, self.stdout.read_to_end(&mut rest))
            .await
            .expect("something holds its output")
            .unwrap();
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// Returns whether the program is there.
pub(crate) fn has_program(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file())
}
