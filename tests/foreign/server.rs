//! Runs a foreign server as a process of its own, on a loopback port.

use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::support::TEST_TIMEOUT;

const WEBSOCKETS: &str = "python/ws_server.py";

/// Names the script to start over one library, and its options.
#[derive(Clone)]
pub struct ServerSpec {
    interpreter: Interpreter,
    script: &'static str,
    args: Vec<String>,
}

#[derive(Clone, Copy)]
enum Interpreter {
    Python,
    Node,
}

/// The `websockets` package, without HTTP.
pub fn websockets() -> ServerSpec {
    ServerSpec::new(Interpreter::Python, WEBSOCKETS)
}

/// FastAPI on uvicorn as `uvicorn[standard]` has it: httptools, uvloop, the `websockets` package below ASGI.
pub fn uvicorn() -> ServerSpec {
    ServerSpec::new(Interpreter::Python, "python/app.py")
}

/// FastAPI on uvicorn with pure Python: h11, asyncio's loop, wsproto.
pub fn h11() -> ServerSpec {
    uvicorn().with(["--http", "h11", "--loop", "asyncio", "--ws", "wsproto"])
}

/// Express on Node's HTTP server, with `ws`.
pub fn node() -> ServerSpec {
    ServerSpec::new(Interpreter::Node, "node/server.js")
}

impl ServerSpec {
    fn new(runtime: Interpreter, script: &'static str) -> Self {
        Self { interpreter: runtime, script, args: Vec::new() }
    }

    /// Returns the same with further options; a later one wins over an earlier one.
    pub fn with<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.args.extend(args.map(str::to_owned));
        self
    }

    /// Returns whether it has no HTTP beside the WebSocket.
    pub fn is_websocket_only(&self) -> bool {
        self.script == WEBSOCKETS
    }

    /// Returns whether it is Node.
    pub fn is_node(&self) -> bool {
        matches!(self.interpreter, Interpreter::Node)
    }

    /// Starts it on any free port.
    pub async fn start(&self) -> RunningServer {
        self.start_on(0).await
    }

    /// Starts it on this port, and returns when it listens.
    pub async fn start_on(&self, port: u16) -> RunningServer {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign").join(self.script);
        let mut command = match self.interpreter {
            Interpreter::Python => {
                let mut python = Command::new(installed("MAINSTAY_FOREIGN_PYTHON"));
                // The variable keeps compiled copies away from the sources.
                python.arg("-B");
                python
            }
            Interpreter::Node => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", installed("MAINSTAY_FOREIGN_NODE_MODULES"));
                node
            }
        };
        command.arg(script).args(&self.args).arg("--port").arg(port.to_string()).kill_on_drop(true);
        // This process holds the other end of its stdin, so the server ends with this process, however that ends.
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server can be started");
        let stdin = child.stdin.take().expect("stdin is piped");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut server = RunningServer { spec: self.clone(), child, _stdin: stdin, lines, port };
        let line = server.line().await;
        let port = line.strip_prefix("listening on ").and_then(|port| port.parse().ok());
        server.port = port.unwrap_or_else(|| panic!("it printed {line:?} in place of its port"));
        server
    }
}

pub fn installed(name: &str) -> OsString {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("{name} is not set: run these tests with tests/foreign/run"))
}

/// A running server. It is killed when this is dropped.
pub struct RunningServer {
    pub spec: ServerSpec,
    child: Child,
    /// The stdin of `child`, which would close it at the first wait.
    _stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    port: u16,
}

impl RunningServer {
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    async fn line(&mut self) -> String {
        let line =
            timeout(TEST_TIMEOUT, self.lines.next_line()).await.expect("the server prints a further line");
        line.expect("it can be read").unwrap_or_else(|| panic!("the server has ended: see its stderr"))
    }

    /// Waits until it has printed this line. Other lines before it are allowed unless they have the same kind.
    pub async fn expect_line(&mut self, wanted: &str) {
        let kind = wanted.split(' ').next();
        loop {
            let line = self.line().await;
            if line.split(' ').next() == kind {
                assert_eq!(line, wanted);
                return;
            }
        }
    }

    /// Kills it without a warning, and returns when it is gone.
    pub async fn kill(mut self) -> StoppedServer {
        self.child.kill().await.expect("it can be killed");
        StoppedServer { spec: self.spec, port: self.port }
    }

    /// Asks it to end, as a service manager does.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Waits until it has ended by itself.
    pub async fn wait(mut self) -> (ExitStatus, StoppedServer) {
        let status =
            timeout(TEST_TIMEOUT, self.child.wait()).await.expect("it ends").expect("it can be waited for");
        (status, StoppedServer { spec: self.spec, port: self.port })
    }

    /// Stops all of its threads: from now on only the kernel accepts connections for it.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Resumes its threads.
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it is running");
        let sent = Command::new("kill").arg(signal).arg(pid.to_string()).status().await;
        assert!(sent.expect("kill can be run").success());
    }
}

/// A server that has ended.
pub struct StoppedServer {
    spec: ServerSpec,
    port: u16,
}

impl StoppedServer {
    /// Starts it again on its port, with further options.
    pub async fn restart_with<const N: usize>(self, args: [&str; N]) -> RunningServer {
        self.spec.with(args).start_on(self.port).await
    }
}
