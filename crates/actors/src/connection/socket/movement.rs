//! Whether anything moves on a socket while no message is complete.
//!
//! A large message on a slow line can take longer than a peer may be silent, and what answers a ping waits behind it.
//! So the bytes themselves are watched: any that came, and any that went out after having had to wait, since those
//! could only go because the other end had taken some before. What the system takes at once proves nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has moved since somebody last asked.
#[derive(Debug, Default)]
pub(super) struct Movement {
    has_moved: AtomicBool,
    asker: AtomicWaker,
}

impl Movement {
    /// Forgets what has moved.
    pub(super) fn forget(&self) {
        self.has_moved.store(false, Ordering::Relaxed);
    }

    /// Ready once something has moved, which is forgotten thereby. To be polled by one task, the one that reads.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        self.asker.register(context.waker());
        if self.has_moved.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }

    fn note(&self) {
        self.has_moved.store(true, Ordering::Release);
    }
}

/// A stream whose movement is noted.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    movement: Arc<Movement>,
    /// What was to go out last had to wait.
    is_waiting: bool,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Movement>) {
        let movement = Arc::<Movement>::default();
        (Self { stream, movement: Arc::clone(&movement), is_waiting: false }, movement)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            // The one who reads is the one who asks, so nobody needs to be woken.
            self.movement.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        let has_waited = std::mem::replace(&mut self.is_waiting, written.is_pending());
        if has_waited && matches!(written, Poll::Ready(Ok(1..))) {
            self.movement.note();
            self.movement.asker.wake();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
