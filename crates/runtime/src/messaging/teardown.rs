//! Why what is being dropped is being dropped.
//!
//! A [`Reply`](crate::Reply) may be dropped unanswered in many places: with a handler that panicked or was
//! killed, with the state of a worker that crashed, with a task that it owned, with a mailbox that is emptied.
//! Whoever tears such a place down does it inside a scope that carries the reason; the reply reads it there.
//! One mechanism thus gives every caller a typed error, and no message type needs to know of it.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::messaging::call_error::CallError;

thread_local! {
    static REASON: Cell<Option<CallError>> = const { Cell::new(None) };
}

/// The reason in force on this thread.
///
/// Outside every scope, an unwinding thread says that a handler panicked; else nobody tore anything down, and the
/// handler simply dropped the reply.
pub(crate) fn reason() -> CallError {
    match REASON.get() {
        Some(reason) => reason,
        None if std::thread::panicking() => CallError::Crashed,
        None => CallError::Unanswered,
    }
}

/// Puts a reason in force until it is dropped.
struct Scope(Option<CallError>);

impl Scope {
    fn enter(reason: CallError) -> Self {
        Self(REASON.replace(Some(reason)))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        REASON.set(self.0);
    }
}

/// Drops `doomed`; replies in it answer with `reason`.
pub(crate) fn drop_for<T>(reason: CallError, doomed: T) {
    run_for(reason, || drop(doomed));
}

/// Runs `work`; replies that it drops answer with `reason`.
pub(crate) fn run_for(reason: CallError, work: impl FnOnce()) {
    let _scope = Scope::enter(reason);
    work();
}

pin_project! {
    /// Runs a future; if it is dropped before it ends, replies in it answer with what `reason` then says.
    pub(crate) struct Scoped<R: Fn() -> CallError, F> {
        #[pin]
        future: F,
        reason: R,
        ended: bool,
        // Dropped after the future: fields go in the order of their declaration.
        scope: Option<Scope>,
    }

    impl<R: Fn() -> CallError, F> PinnedDrop for Scoped<R, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Asking for the reason has its price, and most futures come to their end.
            if !*this.ended {
                *this.scope = Some(Scope::enter((this.reason)()));
            }
        }
    }
}

/// See [`Scoped`].
pub(crate) fn scoped<R: Fn() -> CallError, F: Future>(reason: R, future: F) -> Scoped<R, F> {
    Scoped { future, reason, ended: false, scope: None }
}

impl<R: Fn() -> CallError, F: Future> Future for Scoped<R, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = this.future.poll(cx);
        *this.ended = polled.is_ready();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Witness<'a>(&'a Cell<Option<CallError>>);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            self.0.set(Some(reason()));
        }
    }

    #[test]
    fn what_is_dropped_outside_every_scope_was_left_unanswered() {
        let seen = Cell::new(None);
        drop(Witness(&seen));
        assert_eq!(seen.get(), Some(CallError::Unanswered));
    }

    #[test]
    fn what_is_dropped_in_a_scope_learns_its_reason_and_the_scope_ends() {
        let seen = Cell::new(None);
        drop_for(CallError::Stopped, Witness(&seen));
        assert_eq!(seen.get(), Some(CallError::Stopped));
        assert_eq!(reason(), CallError::Unanswered);
    }

    #[tokio::test]
    async fn a_future_that_is_cancelled_tells_what_it_held_why() {
        let seen = Cell::new(None);
        let mut future = Box::pin(scoped(|| CallError::Crashed, async {
            let _held = Witness(&seen);
            std::future::pending::<()>().await;
        }));
        assert!(futures_util::poll!(&mut future).is_pending());
        drop(future);
        assert_eq!(seen.get(), Some(CallError::Crashed));
        assert_eq!(reason(), CallError::Unanswered);
    }

    #[tokio::test]
    async fn a_future_that_ends_leaves_no_reason_behind() {
        let seen = Cell::new(None);
        scoped(|| CallError::Crashed, async { drop(Witness(&seen)) }).await;
        assert_eq!(seen.get(), Some(CallError::Unanswered));
    }

    #[test]
    fn what_is_dropped_by_a_panic_has_crashed() {
        let seen = Cell::new(None);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = Witness(&seen);
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        assert_eq!(seen.get(), Some(CallError::Crashed));
    }
}
