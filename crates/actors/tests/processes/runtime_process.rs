//! Runs this test binary again, as a runtime in another process that can be killed.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::ChildStdout,
    sync::mpsc,
};

use rustix::process::{Pid, kill_process};

use super::*;

const FOLDER: &str = "MAINSTAY_TEST_PROCESSES_FOLDER";

/// Returns the folder to use, in the other process; `None` in this one.
pub(crate) fn data_dir() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Another process that runs a test of this binary.
pub(crate) struct RuntimeProcess {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl RuntimeProcess {
    /// Starts the test `name`. Its output is descriptor 3 as well, which all its descendants inherit. The output ends
    /// when none of them is left, the watchdog included.
    pub(crate) fn start(name: &str, folder: &Path) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3>&1"#, "sh"]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--ignored", "--nocapture"]).env(FOLDER, folder);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this beginning, and returns the rest of it.
    pub(crate) fn wait_for_line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended without saying {begin:?}");
            if let Some((_, rest)) = line.split_once(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns its remains, to wait for.
    pub(crate) fn into_descendants(self) -> Descendants {
        let (ended, remains) = mpsc::sync_channel(1);
        let mut output = self.output;
        thread::spawn(move || {
            let _ = output.read_to_end(&mut Vec::new());
            let _ = ended.send(());
        });
        Descendants(remains)
    }
}

/// The descendants of the process.
pub(crate) struct Descendants(mpsc::Receiver<()>);

impl Descendants {
    /// Waits until nothing is left.
    pub(crate) fn wait_gone(self) {
        self.0.recv_timeout(LIMIT).expect("something of the killed runtime still runs");
    }

    /// Returns whether something is still there.
    pub(crate) fn are_running(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

/// Returns the watchdog among the children of a process, if it is there.
pub(crate) fn watchdog_pid(parent: u32, prefix: &str) -> Option<u32> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,args="]).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    listed.lines().filter(|line| line.contains("mainstay-watchdog")).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (pid, ppid) = (fields.next()?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        (ppid == parent && line.trim_end().ends_with(prefix)).then_some(pid)
    })
}

pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), signal).unwrap();
}
