//! The memory that one client's commands may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_actors::error::{Error, Reason};

/// The most bytes of requests, messages, frames and parts of bodies that one client may have under way.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// Counts the bytes of one client's commands that are under way.
#[derive(Debug, Default)]
pub(super) struct ByteLimit(Arc<AtomicUsize>);

/// Bytes that count until they are dropped.
#[derive(Debug)]
pub(super) struct HeldBytes {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl ByteLimit {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_they_are_dropped() {
        let limit = ByteLimit::default();
        let all = limit.hold(BYTES_MAX).unwrap();
        assert_eq!(limit.hold(1).unwrap_err().reason, Reason::QueueFull);
        drop(all);
        assert!(limit.hold(BYTES_MAX + 1).is_err() && limit.hold(BYTES_MAX).is_ok());
    }
}
