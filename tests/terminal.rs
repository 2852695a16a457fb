//! Tests the command line on a real terminal: a view that draws itself again, a dumb terminal, and answers that would
//! drive it.

#![cfg(unix)]

mod support;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use support::{TEST_TIMEOUT, mainstay, read_head, run, send_signal, serve_connections};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A command whose output is a terminal of 24 rows and 80 columns.
struct OnTerminal {
    child: Child,
    pieces: mpsc::Receiver<Vec<u8>>,
    stderr: Lines<BufReader<ChildStderr>>,
    shown: String,
    keyboard: File,
}

impl OnTerminal {
    fn start(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::start_with(data, args, variables, false)
    }

    /// Starts a command that also reads the terminal, if `has_keyboard`.
    fn start_with(data: &Path, args: &[&str], variables: &[(&str, &str)], has_keyboard: bool) -> Self {
        let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&screen).unwrap();
        unlockpt(&screen).unwrap();
        let name = ptsname(&screen, Vec::new()).unwrap().into_string().unwrap();
        let terminal = File::options().read(true).write(true).open(name).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = mainstay(data, args);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("TERM", "xterm").env("CI", "true");
        command.envs(variables.iter().copied());
        if has_keyboard {
            command.stdin(terminal.try_clone().unwrap());
        }
        command.stdout(terminal);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        // The command holds the only open side of the terminal from here on, so that reading ends with it.
        drop(command);
        let (sender, pieces) = mpsc::channel(64);
        let screen = File::from(screen);
        let keyboard = screen.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut screen, mut buffer) = (screen, [0; 4096]);
            loop {
                match screen.read(&mut buffer) {
                    Ok(0) => return,
                    Ok(length) if sender.blocking_send(buffer[..length].to_vec()).is_err() => return,
                    Err(error) if error.kind() != ErrorKind::Interrupted => return,
                    _ => {}
                }
            }
        });
        Self { child, pieces, stderr, shown: String::new(), keyboard }
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
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

    /// Waits until the screen has shown these words. It moves the cursor over blanks instead of writing them.
    async fn wait_for_words(&mut self, words: &str) {
        let words: String = words.split_whitespace().collect();
        let shown = async {
            while !without_escapes(&self.shown).contains(&words) {
                assert!(self.read_more().await, "it ended after {:?}", self.shown);
            }
        };
        timeout(TEST_TIMEOUT, shown).await.unwrap_or_else(|_| panic!("{words} did not come"));
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

/// Removes escape sequences and blanks.
fn without_escapes(shown: &str) -> String {
    let mut pieces = shown.split('\x1b');
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces
        .map(|piece| piece.split_once(|end: char| end.is_ascii_alphabetic()).map_or("", |(_, text)| text));
    std::iter::once(first.as_str()).chain(rest).flat_map(str::split_whitespace).collect()
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
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown:?}");
    assert!(shown.contains("\r\n               "), "{shown:?}");
    // A terminal's lines are cut to its width.
    let (_, shown) = OnTerminal::start(data.path(), &["agents"], &[("TERM", "dumb")]).finish().await;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown:?}");
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

#[tokio::test]
async fn screen_takes_keys_and_restores_the_terminal() {
    let data = tempfile::tempdir().unwrap();
    let (_demo, _) = support::start_demo(data.path(), "1").await;
    let mut screen = OnTerminal::start_with(data.path(), &["status", "--watch"], &[], true);
    screen.wait_for("\x1b[?1049h", 1).await;
    screen.wait_for_words("All is well").await;
    assert_eq!(run(data.path(), &["panic", "cache"]).await.code, Some(0));
    screen.wait_for_words("cache: panicked").await;
    // The cache's actor is the third below the root.
    screen.press("jjjw");
    screen.wait_for_words("why root/cache").await;
    screen.wait_for_words("Decision: restart in 100 ms").await;
    screen.press("x?");
    screen.wait_for_words("restart the selected agent").await;
    screen.press("xGr");
    screen.wait_for_words("restart planner?").await;
    screen.press("y");
    screen.wait_for_words("restart planner: done").await;
    screen.press("q");
    let (is_success, shown) = screen.finish().await;
    assert!(is_success, "{shown:?}");
    assert!(
        shown.contains("\x1b[?1049l") && shown.contains("\x1b[?25h"),
        "the terminal is restored: {shown:?}"
    );
}
