//! The memory that one client's commands may hold, and the end of a command that panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use mainstay_actors::error::{Error, Reason};

/// The most bytes of requests, messages, frames and parts of bodies that one client may have under way.
const BYTES_MAX: usize = 64 << 20;

/// Counts the bytes of one client's commands that are under way.
#[derive(Debug, Default)]
pub(super) struct ByteBudget(Arc<AtomicUsize>);

/// Bytes that count until they are dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl ByteBudget {
    /// Counts bytes.
    ///
    /// # Errors
    /// `queue_full` when the client would hold too many.
    pub(super) fn hold(&self, bytes: usize) -> Result<HeldBytes, Error> {
        let held = Arc::clone(&self.0);
        if held.fetch_add(bytes, Ordering::Relaxed) + bytes > BYTES_MAX {
            held.fetch_sub(bytes, Ordering::Relaxed);
            let details = format!("the commands of this session under way may hold {BYTES_MAX} bytes");
            return Err(Error::new(Reason::QueueFull).with_details(&details));
        }
        Ok(HeldBytes { held, bytes })
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Runs the work of a command. A panic in it is logged, and becomes an error for its client.
///
/// # Errors
/// `internal` when the work panics.
pub(super) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        tracing::error!(panic = panic_text(&*panic), "a command of the bridge panicked");
        Error::new(Reason::Internal).with_details("the command panicked; the log has more")
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_they_are_dropped() {
        let budget = ByteBudget::default();
        let all = budget.hold(BYTES_MAX).unwrap();
        assert_eq!(budget.hold(1).unwrap_err().reason, Reason::QueueFull);
        drop(all);
        assert!(budget.hold(BYTES_MAX + 1).is_err() && budget.hold(BYTES_MAX).is_ok());
    }

    #[tokio::test]
    async fn panic_becomes_an_internal_error() {
        let panics = async { std::panic::panic_any("injected") };
        let ended: Result<(), Error> = catch_panic(panics).await;
        assert_eq!(ended.unwrap_err().reason, Reason::Internal);
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        assert_eq!(panic_text(&"text".to_owned()), "text");
    }
}
