//! A snapshot that waits to be stored.

use std::panic::{self, AssertUnwindSafe};

use parking_lot::Mutex;

use super::StoredState;
use crate::actor::failure::Failure;

type EncodeFn = Box<dyn FnOnce() -> Result<Vec<u8>, Failure> + Send>;

/// A snapshot that waits to be stored. It is encoded when first needed, and at most once, so one that is replaced
/// before that costs nothing.
pub struct PendingSnapshot {
    version: u32,
    encoding: Mutex<Encoding>,
}

enum Encoding {
    Deferred(EncodeFn),
    Encoded(Result<StoredState, String>),
}

impl PendingSnapshot {
    /// Returns a snapshot whose schema has this version, with its encoding.
    pub fn new(version: u32, encode: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static) -> Self {
        Self { version, encoding: Mutex::new(Encoding::Deferred(Box::new(encode))) }
    }

    /// Returns a snapshot of a state that is encoded already.
    #[must_use]
    pub fn from_state(state: StoredState) -> Self {
        Self { version: state.version, encoding: Mutex::new(Encoding::Encoded(Ok(state))) }
    }

    /// Returns the encoded snapshot.
    ///
    /// # Errors
    /// Returns the reason if it cannot be encoded.
    pub fn encode(&self) -> Result<StoredState, String> {
        let mut encoding = self.encoding.lock();
        let unfinished = Encoding::Encoded(Err("its encoding was interrupted".to_owned()));
        let encoded = match std::mem::replace(&mut *encoding, unfinished) {
            Encoding::Encoded(encoded) => encoded,
            Encoding::Deferred(encode) => self.run_encoder(encode),
        };
        *encoding = Encoding::Encoded(encoded.clone());
        encoded
    }

    fn run_encoder(&self, encode: EncodeFn) -> Result<StoredState, String> {
        match panic::catch_unwind(AssertUnwindSafe(encode)) {
            Ok(Ok(content)) => {
                Ok(StoredState { version: self.version, failed_starts: 0, content: content.into() })
            }
            Ok(Err(error)) => Err(format!("the snapshot cannot be encoded: {error}")),
            Err(_) => Err("the snapshot cannot be encoded: it panicked".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn pending_snapshot_is_encoded_once() {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let pending = PendingSnapshot::new(3, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(b"7".to_vec())
        });
        let first = pending.encode().unwrap();
        assert_eq!((first.version, &*first.content), (3, b"7".as_slice()));
        assert_eq!(pending.encode(), Ok(first));
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn failed_encoding_returns_its_error_every_time() {
        let failing = PendingSnapshot::new(1, || Err("no".into()));
        let panicking = PendingSnapshot::new(1, || panic!("on purpose"));
        for _ in 0..2 {
            assert_eq!(failing.encode(), Err("the snapshot cannot be encoded: no".to_owned()));
            assert_eq!(panicking.encode(), Err("the snapshot cannot be encoded: it panicked".to_owned()));
        }
    }
}
