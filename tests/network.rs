//! Tests the route to the backend, as the file and the environment of a real process set it.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::StreamExt;
use serde_json::Value;
use support::{
    CommandOutput, EventFollower, TEST_TIMEOUT, header, mainstay, read_head, run, serve_connections,
    start_runtime, websocket_response,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

/// Serves as proxy and backend in one, whatever the target. Returns each head, and closes the first WebSocket with
/// every secret that it received.
struct RecordingProxy {
    port: u16,
    heads: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl RecordingProxy {
    async fn start() -> Self {
        let (sender, heads) = mpsc::channel(64);
        // Connections come one after the other, except for the request, which opens no WebSocket.
        let is_first = AtomicBool::new(true);
        let serve = move |socket| serve(socket, sender.clone(), is_first.swap(false, SeqCst));
        let (port, tasks) = serve_connections(serve).await;
        Self { port, heads, _tasks: tasks }
    }

    async fn next_head(&mut self) -> String {
        timeout(TEST_TIMEOUT, self.heads.recv()).await.unwrap().unwrap()
    }

    /// Returns the next head with this beginning.
    async fn next_head_with(&mut self, beginning: &str) -> String {
        loop {
            let head = self.next_head().await;
            if head.starts_with(beginning) {
                return head;
            }
        }
    }
}

async fn serve(mut socket: TcpStream, heads: mpsc::Sender<String>, sends_secrets: bool) -> Option<()> {
    let mut secrets = String::new();
    loop {
        let head = read_head(&mut socket).await?;
        heads.send(head.clone()).await.ok()?;
        for secret in ["proxy-authorization", "authorization", "x-api-key"] {
            secrets.push_str(header(&head, secret).unwrap_or_default());
        }
        let Some(answer) = websocket_response(&head) else {
            let length = if head.starts_with("CONNECT ") { "" } else { "content-length: 0\r\n" };
            socket.write_all(format!("HTTP/1.1 200 OK\r\n{length}\r\n").as_bytes()).await.ok()?;
            continue;
        };
        socket.write_all(answer.as_bytes()).await.ok()?;
        let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
        if sends_secrets {
            let frame = CloseFrame { code: 4000.into(), reason: format!("received {secrets}").into() };
            socket.close(Some(frame)).await.ok()?;
        }
        while socket.next().await?.is_ok() {}
        return None;
    }
}

fn everything_in(folder: &Path) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).collect()
}

/// Starts `run` in an environment with this proxy and no other variable about proxies.
fn run_with_proxy(data: &Path, config: &Path, proxy: &str) -> tokio::process::Command {
    let mut command = mainstay(data, &["run", "--config", config.to_str().unwrap()]);
    for name in ["ALL_PROXY", "all_proxy", "http_proxy", "NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
        command.env_remove(name);
    }
    command.env("HTTP_PROXY", proxy);
    command
}

/// Returns the error of a request.
async fn failed_request(data: &Path) -> Value {
    let ended = request(data, "/").await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Makes a request as soon as there is a control server, which has no event in the journal.
async fn request(data: &Path, path: &str) -> CommandOutput {
    let args = ["request", "GET", path, "--wait-timeout", "1s", "--json"];
    let mut ended = run(data, &args).await;
    let asking = async {
        while ended.code == Some(3) {
            ended = run(data, &args).await;
        }
    };
    timeout(TEST_TIMEOUT, asking).await.unwrap();
    ended
}

/// Runs `config check` on this text.
async fn check_config(data: &Path, text: &str) -> CommandOutput {
    let file = data.join("checked.toml");
    fs::write(&file, text).unwrap();
    run(data, &["config", "check", file.to_str().unwrap()]).await
}

#[cfg(unix)]
#[tokio::test]
async fn secrets_reach_proxy_and_backend_but_not_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let mut middle = RecordingProxy::start().await;
    let file = data.path().join("mainstay.toml");
    let text = "[backend]\nurl = \"http://backend.test:8000\"\ntoken_env = \"TEST_TOKEN\"\n\
                headers_env = { X-Api-Key = \"TEST_KEY\" }\n\
                [connection]\ndelay_min = \"10ms\"\ndelay_max = \"10ms\"\n";
    fs::write(&file, text).unwrap();
    let mut command =
        run_with_proxy(data.path(), &file, &format!("http://user:pr0xy@127.0.0.1:{}", middle.port));
    // The header holds the password as base64, and so would the journal without redaction.
    command.env("TEST_TOKEN", "t0ken-hush").env("TEST_KEY", "k3y-hush");
    let mut runtime = command.spawn().unwrap();

    for _ in 0..2 {
        let asked = middle.next_head_with("CONNECT backend.test:8000 ").await.to_lowercase();
        assert!(asked.contains("proxy-authorization: basic dxnlcjpwcjb4eq==\r\n"), "{asked}");
        let handshake = middle.next_head_with("GET /ws ").await;
        assert!(handshake.contains("authorization: Bearer t0ken-hush\r\n"), "{handshake}");
        assert!(handshake.contains("x-api-key: k3y-hush\r\n"), "{handshake}");
    }
    let answered = request(data.path(), "/hello").await;
    assert_eq!(answered.code, Some(0), "{answered:?}");
    let request = middle.next_head_with("GET http://backend.test:8000/hello ").await;
    for line in [
        "authorization: Bearer t0ken-hush",
        "x-api-key: k3y-hush",
        "proxy-authorization: Basic dXNlcjpwcjB4eQ==",
    ] {
        assert!(request.contains(&format!("{line}\r\n")), "{line} is missing in {request}");
    }

    let asked = tokio::process::Command::new("kill").arg(runtime.id().unwrap().to_string()).status().await;
    assert!(asked.unwrap().success());
    timeout(TEST_TIMEOUT, runtime.wait()).await.unwrap().unwrap();
    let journal = everything_in(&data.path().join("journal"));
    assert!(journal.contains("closed by the peer with code 4000: received Basic [redacted]"), "{journal}");
    for secret in ["t0ken-hush", "k3y-hush", "dXNlcjpwcjB4eQ"] {
        assert!(!journal.contains(secret), "{secret} in {journal}");
    }
}

#[tokio::test]
async fn proxy_none_ignores_environment_proxies() {
    let data = tempfile::tempdir().unwrap();
    let mut middle = RecordingProxy::start().await;
    let file = data.path().join("mainstay.toml");
    // A resolver is never asked: a label has at most 63 characters.
    let nowhere = format!("http://{}.test", "x".repeat(64));
    let text = format!(
        "[backend]\nurl = \"{nowhere}\"\nproxy = \"none\"\n\
         [connection]\nmax_retries = 0\n[requests]\nretries = 0\n"
    );
    fs::write(&file, text).unwrap();
    let proxy = format!("http://127.0.0.1:{}", middle.port);
    let _runtime = run_with_proxy(data.path(), &file, &proxy).spawn().unwrap();
    let mut events = EventFollower::follow(data.path());
    let failed = events.wait_for_connection("failed").await;
    assert_eq!(failed["error"]["reason"], "host_not_found", "{failed}");
    let error = failed_request(data.path()).await;
    assert_eq!(error["details"], "the last attempt failed: host_not_found", "{error}");
    assert!(middle.heads.try_recv().is_err());
}

#[tokio::test]
async fn invalid_ca_file_error_names_line_and_fix() {
    let data = tempfile::tempdir().unwrap();
    let pem = data.path().join("ca.pem");
    let text = format!("[backend]\nca_file = {:?}\n", pem.to_str().unwrap());
    let checked = check_config(data.path(), &text).await;
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.stderr.contains("checked.toml:2:11: backend.ca_file: "), "{checked:?}");
    assert!(
        checked.stderr.contains(pem.to_str().unwrap()) && checked.stderr.contains("cannot be read"),
        "{checked:?}"
    );
    fs::write(&pem, "no certificate").unwrap();
    let checked = check_config(data.path(), &text).await;
    assert!(checked.stderr.contains("-----BEGIN CERTIFICATE-----"), "{checked:?}");
    let file = data.path().join("checked.toml");
    let ended = run(data.path(), &["run", "--config", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(2), "{ended:?}");
    assert!(ended.stderr.contains("backend.ca_file") && ended.stderr.contains("ca.pem"), "{ended:?}");
}

#[tokio::test]
async fn config_check_works_without_the_environment() {
    let data = tempfile::tempdir().unwrap();
    let text = "[backend]\ntoken_env = \"MAINSTAY_TEST_NOT_SET\"\nproxy_env = \"MAINSTAY_TEST_NOT_SET\"\n\
                headers_env = { x-api-key = \"MAINSTAY_TEST_NOT_SET\" }\n";
    let checked = check_config(data.path(), text).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let file = data.path().join("checked.toml");
    let ended = run(data.path(), &["run", "--config", file.to_str().unwrap()]).await;
    assert!(ended.code == Some(2) && ended.stderr.contains("MAINSTAY_TEST_NOT_SET"), "{ended:?}");
}

#[tokio::test]
async fn dead_proxy_is_named_in_journal_and_errors() {
    let data = tempfile::tempdir().unwrap();
    // The port is bound without a listener: it refuses connections, and no other process gets it.
    let dead = tokio::net::TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let text = format!(
        "[backend]\nproxy = \"http://{}\"\n[connection]\nmax_retries = 0\n[requests]\nretries = 0\n",
        dead.local_addr().unwrap()
    );
    let file = data.path().join("mainstay.toml");
    fs::write(&file, text).unwrap();
    let _runtime = start_runtime(data.path(), &file);
    let mut events = EventFollower::follow(data.path());
    let failed = events.wait_for_connection("failed").await;
    assert_eq!(failed["error"]["reason"], "proxy_unreachable", "{failed}");
    let error = failed_request(data.path()).await;
    assert_eq!(error["details"], "the last attempt failed: proxy_unreachable", "{error}");
}
