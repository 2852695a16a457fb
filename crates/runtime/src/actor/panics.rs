//! Where a panic happened.
//!
//! A panic's payload says what, never where; only the process-wide panic hook is told the place. So the first
//! runtime of a process puts a hook in front of the one that it finds. Ours notes the place for the thread that
//! panicked and then calls the other, so what the embedder's hook does stays as it was.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use futures_util::FutureExt;

use crate::messaging::call_error::CallError;
use crate::messaging::teardown;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// `file:line:column`.
    pub(crate) location: Option<String>,
}

/// Puts the hook in place, once a process.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PLACE.with(|noted| {
                if let Ok(mut noted) = noted.try_borrow_mut() {
                    *noted = place;
                }
            });
            previous(info);
        }));
    });
}

/// Runs `future`, and returns its panic if it panics.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Panic> {
    AssertUnwindSafe(future).catch_unwind().await.map_err(describe)
}

/// Drops `doomed`, whose replies answer with `reason`. The panic of a destructor is swallowed: what it belongs to
/// has ended already.
pub(crate) fn drop_quietly<T>(reason: CallError, doomed: T) {
    quietly(reason, || drop(doomed));
}

/// Runs `work`, and swallows its panic. Replies that it drops answer with `reason`.
pub(crate) fn quietly(reason: CallError, work: impl FnOnce()) {
    let _ = panic::catch_unwind(AssertUnwindSafe(|| teardown::run_for(reason, work)));
}

fn describe(payload: Box<dyn Any + Send>) -> Panic {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic whose payload is no text".to_owned(),
    };
    let location = PLACE.with(|noted| noted.borrow_mut().take());
    // The payload's own destructor might panic as well.
    drop_quietly(CallError::Crashed, payload);
    Panic { message, location }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_caught_panic_says_what_and_where() {
        install_hook();
        let panic = caught(async { panic!("out of {}", "luck") }).await.unwrap_err();
        assert_eq!(panic.message, "out of luck");
        assert!(panic.location.unwrap().contains("panics.rs:"));
    }
}
