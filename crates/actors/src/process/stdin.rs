//! Implements the stdin of a process, which a stop closes for every holder.

use parking_lot::{Mutex, MutexGuard};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncWrite;
use tokio::process::ChildStdin;

/// The stdin of a process. It ends when this is dropped and when the process is stopped. Writes then fail as on a
/// pipe without a reader.
#[derive(Debug)]
pub struct ProcessStdin(StdinCloser);

/// The handle with which a stop closes the stdin.
#[derive(Debug, Clone)]
pub(super) struct StdinCloser(Arc<Mutex<PipeState>>);

#[derive(Debug)]
struct PipeState {
    /// The pipe, until it is closed.
    stdin: Option<ChildStdin>,
    /// The waker of the task that waits for room in the pipe.
    writer: Option<Waker>,
}

impl ProcessStdin {
    pub(super) fn new(stdin: ChildStdin) -> Self {
        Self(StdinCloser(Arc::new(Mutex::new(PipeState { stdin: Some(stdin), writer: None }))))
    }

    pub(super) fn closer(&self) -> StdinCloser {
        self.0.clone()
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut ChildStdin>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut end = self.0.state();
        let Some(stdin) = &mut end.stdin else { return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) };
        let polled = poll(Pin::new(stdin), cx);
        end.writer = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

impl Drop for ProcessStdin {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl StdinCloser {
    /// Closes the pipe, so that its reader gets its end.
    pub(super) fn close(&self) {
        let (stdin, writer) = {
            let mut end = self.state();
            (end.stdin.take(), end.writer.take())
        };
        drop(stdin);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, PipeState> {
        self.0.lock()
    }
}

impl AsyncWrite for ProcessStdin {
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
