//! Tracks when bytes last moved on a stream, below TLS and frames.
//!
//! A large message takes time, and until it is complete there is no frame, and no pong can overtake it. Moving bytes
//! show that a slow peer is alive; a write without moving bytes shows that a peer has stopped reading.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

/// The times at which bytes last moved.
#[derive(Debug)]
pub(crate) struct IoActivity {
    started_at: Instant,
    /// Milliseconds since then, plus one; 0: never.
    peer_active_ms: AtomicU64,
    /// Likewise, for written bytes.
    written_ms: AtomicU64,
}

impl IoActivity {
    fn new() -> Self {
        Self { started_at: Instant::now(), peer_active_ms: AtomicU64::new(0), written_ms: AtomicU64::new(0) }
    }

    /// Returns when the peer last showed activity: bytes came in, or a blocked write continued. A write that had room
    /// from the start proves nothing: the room is our own system's.
    #[must_use]
    pub(crate) fn last_peer_activity(&self) -> Option<Instant> {
        self.instant(&self.peer_active_ms)
    }

    /// Waits until no byte has been written for `limit`, counted from now at the earliest.
    pub(crate) async fn write_stalled(&self, limit: Duration) {
        let asked_at = Instant::now();
        loop {
            let taken_at = self.instant(&self.written_ms).map_or(asked_at, |at| at.max(asked_at));
            let Some(due) = taken_at.checked_add(limit) else { return std::future::pending().await };
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn instant(&self, mark: &AtomicU64) -> Option<Instant> {
        let passed_ms = mark.load(Relaxed).checked_sub(1)?;
        Some(self.started_at + Duration::from_millis(passed_ms))
    }

    fn touch(&self, mark: &AtomicU64) {
        let passed_ms = u64::try_from(self.started_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        mark.store(passed_ms.saturating_add(1), Relaxed);
    }
}

/// A stream that records its [`IoActivity`].
#[derive(Debug)]
pub(super) struct ActivityStream<S> {
    stream: S,
    activity: Arc<IoActivity>,
    /// True if the last write found no room.
    is_blocked: bool,
}

impl<S> ActivityStream<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<IoActivity>) {
        let activity = Arc::new(IoActivity::new());
        (Self { stream, activity: Arc::clone(&activity), is_blocked: false }, activity)
    }

    fn observe_write(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.is_blocked = true,
            Poll::Ready(Ok(bytes)) if *bytes > 0 => {
                if std::mem::take(&mut self.is_blocked) {
                    self.activity.touch(&self.activity.peer_active_ms);
                }
                self.activity.touch(&self.activity.written_ms);
            }
            Poll::Ready(_) => {}
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ActivityStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.touch(&self.activity.peer_active_ms);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ActivityStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.observe_write(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.observe_write(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns a stream that takes this many bytes before it blocks.
    fn activity_stream(room_bytes: usize) -> (ActivityStream<DuplexStream>, Arc<IoActivity>, DuplexStream) {
        let (near, far) = duplex(room_bytes);
        let (stream, activity) = ActivityStream::new(near);
        (stream, activity, far)
    }

    #[tokio::test(start_paused = true)]
    async fn incoming_bytes_count_as_activity() {
        let (mut stream, activity, mut far) = activity_stream(64);
        assert_eq!(activity.last_peer_activity(), None);
        advance(SECOND).await;
        far.write_all(b"half a fra").await.unwrap();
        stream.read_u8().await.unwrap();
        assert_eq!(activity.last_peer_activity(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn write_counts_as_activity_only_after_waiting_for_room() {
        let (mut stream, activity, mut far) = activity_stream(4);
        stream.write_all(b"four").await.unwrap();
        assert_eq!(activity.last_peer_activity(), None);
        let mut write = pin!(stream.write_all(b"more"));
        assert!(poll!(&mut write).is_pending());
        advance(SECOND).await;
        assert_eq!(activity.last_peer_activity(), None);
        far.read_u8().await.unwrap();
        assert!(poll!(&mut write).is_pending(), "there was room for one byte");
        assert_eq!(activity.last_peer_activity(), Some(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn write_is_stalled_once_no_byte_was_taken_for_the_limit() {
        let (mut stream, activity, mut far) = activity_stream(4);
        let start = Instant::now();
        let mut write = pin!(stream.write_all(b"eightby."));
        assert!(poll!(&mut write).is_pending());
        let mut stalled = pin!(activity.write_stalled(10 * SECOND));
        for _ in 0..3 {
            tokio::time::sleep(9 * SECOND).await;
            far.read_u8().await.unwrap();
            assert!(poll!(&mut write).is_pending());
            assert!(poll!(&mut stalled).is_pending());
        }
        stalled.await;
        assert_eq!(start.elapsed(), 37 * SECOND);
    }
}
