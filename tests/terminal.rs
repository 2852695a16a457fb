//! Tests the command line on a real terminal: a view that draws itself again, a dumb terminal, and answers that would
//! drive it.

#![cfg(unix)]

mod support;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::{TEST_TIMEOUT, mainstay, read_head, send_signal, serve_connections};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A command whose output is a terminal of 24 rows and 100 columns.
struct OnTerminal {
    child: Child,
    pieces: mpsc::Receiver<Vec<u8>>,
    stderr: Lines<BufReader<ChildStderr>>,
    shown: String,
}

impl OnTerminal {
    fn start(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = mainstay(data, args);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm").env("CI", "true");
        command.envs(variables.iter().copied());
        command.stdout(terminal);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // The command holds the only open side of the terminal from here on, so that reading ends with it.
        drop(command);
        let (sender, pieces) = mpsc::channel(64);
        std::thread::spawn(move || {
            let (mut screen, mut buffer) = (File::from(screen), [0; 4096]);
            loop {
                match screen.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) if sender.blocking_send(buffer[..length].to_vec()).is_err() => return,
                    Err(error) if error.kind() != ErrorKind::Interrupted => return,
                    _ => {}
                }
            }
        });
        Self { child, pieces, stderr, shown: String::new() }
    }

    /// Waits for more of the output. Returns false at its end.
    async fn read_more(&mut self) -> bool {
        let piece = timeout(TEST_TIMEOUT, self.pieces.recv()).await;
        let piece = piece.unwrap_or_else(|_| panic!("nothing more came after {:?}", self.shown));
        self.shown.push_str(&String::from_utf8_lossy(piece.as_deref().unwrap_or_default()));
        piece.is_some()
    }

    /// Waits until the output has this text so often.
    async fn wait_for(&mut self, text: &str, times: usize) {
        while self.shown.matches(text).count() < times {
            assert!(self.read_more().await, "it ended after {:?}", self.shown);
        }
    }

    /// Reads until it ends by itself.
    async fn finish(mut self) -> (bool, String) {
        while self.read_more().await {}
        (self.child.wait().await.unwrap().success(), self.shown)
    }

    async fn interrupt(self) -> (bool, String) {
        send_signal(self.child.id().unwrap().into(), "INT").await;
        self.finish().await
    }
}

#[tokio::test]
async fn watched_view_redraws_a_terminal_and_follows_on_a_dumb_one() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "1").await;
    let mut watch = OnTerminal::start(data.path(), &["tree", "-w"], &[]);
    watch.wait_for("\x1b[H", 3).await;
    let (is_success, shown) = watch.interrupt().await;
    assert!(is_success, "{shown:?}");
    assert_eq!(shown.matches("\x1b[2J").count(), 1, "the screen is cleared once: {shown:?}");
    assert!(shown.contains("\x1b[32m"), "it has colours: {shown:?}");
    assert!(shown.contains("each second until Ctrl-C"), "{shown:?}");
    let mut watch = OnTerminal::start(data.path(), &["tree", "-w"], &[("TERM", "dumb")]);
    watch.wait_for("each second until Ctrl-C", 2).await;
    let (is_success, shown) = watch.interrupt().await;
    assert!(is_success && !shown.contains('\x1b'), "{shown:?}");
    // Events are wrapped, and wrapped lines are indented.
    let (_, shown) = OnTerminal::start(data.path(), &["events"], &[("TERM", "dumb")]).finish().await;
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown:?}");
    assert!(shown.contains("\r\n               "), "{shown:?}");
    // A terminal's lines are cut to its width.
    let (_, shown) = OnTerminal::start(data.path(), &["agents"], &[("TERM", "dumb")]).finish().await;
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown:?}");
}

#[tokio::test]
async fn help_on_a_terminal_has_the_colours_that_are_wanted() {
    let data = tempfile::tempdir().unwrap();
    for (args, has_colours) in [(&["--help"][..], true), (&["--color", "never", "--help"], false)] {
        let (is_success, shown) = OnTerminal::start(data.path(), args, &[]).finish().await;
        assert!(is_success && shown.contains("Usage:"), "{shown:?}");
        assert_eq!(shown.contains('\x1b'), has_colours, "{args:?}: {shown:?}");
    }
}

#[tokio::test]
async fn watched_view_stops_while_it_waits_for_an_answer() {
    let data = tempfile::tempdir().unwrap();
    let (demo, _) = support::start_demo(data.path(), "1").await;
    let mut watch = OnTerminal::start(data.path(), &["status", "-w"], &[]);
    watch.wait_for("\x1b[H", 1).await;
    // A stopped runtime answers nothing. The view says that while its question is open.
    demo.signal("STOP").await;
    let notice = timeout(TEST_TIMEOUT, watch.stderr.next_line()).await.unwrap().unwrap().unwrap();
    assert!(notice.contains("does not answer"), "{notice}");
    let (is_success, shown) = watch.interrupt().await;
    demo.signal("CONT").await;
    assert!(is_success, "{shown:?}");
}

#[tokio::test]
async fn answer_cannot_drive_a_terminal_and_passes_a_pipe_as_it_is() {
    let data = tempfile::tempdir().unwrap();
    let body = "\x1b]0;title\x07\u{9b}2J\ta\nb";
    let (port, _server) = serve_connections(move |mut stream| async move {
        while let Some(head) = read_head(&mut stream).await {
            let (kind, body) = match head.starts_with("GET /json") {
                true => ("application/json", "{\"a\": \"\u{9b}2J\"}".to_owned()),
                false => ("text/plain", body.to_owned()),
            };
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}", body.len());
            if stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let more = "[connection]\nenabled = false\n";
    let config = data.path().join("mainstay.toml");
    std::fs::write(&config, format!("[backend]\nurl = \"http://127.0.0.1:{port}\"\n{more}")).unwrap();
    let _runtime = support::start_runtime(data.path(), &config);
    support::EventFollower::follow(data.path()).wait_for_event("root", "actor_ready").await;
    support::eventually("the runtime answers", async || {
        support::run(data.path(), &["status"]).await.code == Some(0)
    })
    .await;
    let (is_success, shown) = OnTerminal::start(data.path(), &["request", "GET", "/"], &[]).finish().await;
    assert!(is_success, "{shown:?}");
    assert_eq!(shown, "\\u{1b}]0;title\\u{7}\\u{9b}2J\ta\r\nb\r\n");
    assert_eq!(support::run(data.path(), &["request", "GET", "/"]).await.stdout, format!("{body}\n"));
    let (_, shown) = OnTerminal::start(data.path(), &["request", "GET", "/json"], &[]).finish().await;
    assert!(shown.contains("\\u009b2J") && !shown.contains('\u{9b}'), "{shown:?}");
}
