//! A snapshot on its way into a store.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use super::StoredState;
use crate::actor::failure::Failure;

type Encode = Box<dyn FnOnce() -> Result<Vec<u8>, Failure> + Send>;

/// A snapshot on its way into a store: encoded by whoever first needs it so, at most once. One that is replaced before
/// that costs no encoding.
pub struct Draft {
    version: u32,
    form: Mutex<Form>,
}

enum Form {
    Plain(Encode),
    Encoded(Result<StoredState, String>),
}

impl Draft {
    /// A snapshot whose schema has this version, and how it is encoded.
    pub fn new(version: u32, encode: impl FnOnce() -> Result<Vec<u8>, Failure> + Send + 'static) -> Self {
        Self { version, form: Mutex::new(Form::Plain(Box::new(encode))) }
    }

    /// A state that is encoded already.
    #[must_use]
    pub fn of(state: StoredState) -> Self {
        Self { version: state.version, form: Mutex::new(Form::Encoded(Ok(state))) }
    }

    /// The snapshot, encoded.
    ///
    /// # Errors
    /// When it cannot be encoded, with the reason.
    pub fn encode(&self) -> Result<StoredState, String> {
        let mut form = self.form.lock().unwrap_or_else(PoisonError::into_inner);
        let unfinished = Form::Encoded(Err("its encoding was broken off".to_owned()));
        let encoded = match std::mem::replace(&mut *form, unfinished) {
            Form::Encoded(encoded) => encoded,
            Form::Plain(encode) => self.run(encode),
        };
        *form = Form::Encoded(encoded.clone());
        encoded
    }

    fn run(&self, encode: Encode) -> Result<StoredState, String> {
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
    fn a_draft_is_encoded_once_however_often_it_is_asked_for() {
        let times = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&times);
        let draft = Draft::new(3, move || {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(b"7".to_vec())
        });
        let first = draft.encode().unwrap();
        assert_eq!((first.version, &*first.content), (3, b"7".as_slice()));
        assert_eq!(draft.encode(), Ok(first));
        assert_eq!(times.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_snapshot_that_fails_or_panics_while_it_is_encoded_says_so_every_time() {
        let failing = Draft::new(1, || Err("no".into()));
        let panicking = Draft::new(1, || panic!("on purpose"));
        for _ in 0..2 {
            assert_eq!(failing.encode(), Err("the snapshot cannot be encoded: no".to_owned()));
            assert_eq!(panicking.encode(), Err("the snapshot cannot be encoded: it panicked".to_owned()));
        }
    }
}
