//! The input of a process, which its stop closes whoever holds it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;

/// What a process reads. It ends when this is dropped, and when the process is stopped; to write to it fails after that
/// as it does where nobody reads any more.
#[derive(Debug)]
pub struct Input(Pipe);

/// The same, for whoever stops the process.
#[derive(Debug, Clone)]
pub(super) struct Pipe(Arc<Mutex<End>>);

#[derive(Debug)]
struct End {
    /// Until it is closed.
    stdin: Option<ChildStdin>,
    /// Whoever waits until more can be written.
    writer: Option<Waker>,
}

impl Input {
    pub(super) fn new(stdin: ChildStdin) -> Self {
        Self(Pipe(Arc::new(Mutex::new(End { stdin: Some(stdin), writer: None }))))
    }

    pub(super) fn pipe(&self) -> Pipe {
        self.0.clone()
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut ChildStdin>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut end = self.0.end();
        let Some(stdin) = &mut end.stdin else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let polled = poll(Pin::new(stdin), cx);
        end.writer = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Pipe {
    /// Closes it: whoever reads it comes to its end.
    pub(super) fn close(&self) {
        let (stdin, writer) = {
            let mut end = self.end();
            (end.stdin.take(), end.writer.take())
        };
        drop(stdin);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncWrite for Input {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll(cx, |stdin, cx| stdin.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stdin, cx| stdin.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, |stdin, cx| stdin.poll_shutdown(cx))
    }
}
