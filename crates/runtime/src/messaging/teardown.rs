//! Why what is being dropped is being dropped.
//!
//! A [`Reply`](crate::Reply) may be dropped unanswered in many places: with a handler that panicked or was
//! killed, with the state of a worker that crashed, with a task that it owned, with a mailbox that is emptied.
//! Whoever tears such a place down does it inside a scope that carries the reason; the reply reads it there.
//! One mechanism thus gives every caller a typed error, and no message type needs to know of it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::actor::panics::{self, Panic};
use crate::messaging::call_error::CallError;

thread_local! {
    static REASON: Cell<Option<CallError>> = const { Cell::new(None) };
    /// Whether a handler is being polled on this thread.
    static IN_STEP: Cell<bool> = const { Cell::new(false) };
    /// Replies that handlers being polled on this thread have dropped, those of the innermost last.
    static LEFT: RefCell<Vec<oneshot::Sender<CallError>>> = const { RefCell::new(Vec::new()) };
    /// How many those are: asked once a message, which is cheaper than to look.
    static LEFT_COUNT: Cell<usize> = const { Cell::new(0) };
}

/// Why a reply is dropped unanswered.
#[derive(Debug)]
pub(crate) enum Reason {
    Known(CallError),
    /// It depends on how the handler ends that is dropping it.
    Pending(oneshot::Receiver<CallError>),
}

/// The reason in force on this thread.
///
/// Outside every scope, an unwinding thread says that a handler panicked. Else it was dropped by a handler, which may be
/// about to fail; and where there is none either, nobody tore anything down and it was simply dropped.
pub(crate) fn reason() -> Reason {
    match REASON.get() {
        Some(reason) => Reason::Known(reason),
        None if std::thread::panicking() => Reason::Known(CallError::Crashed),
        None => left_by_handler().map_or(Reason::Known(CallError::Unanswered), Reason::Pending),
    }
}

fn left_by_handler() -> Option<oneshot::Receiver<CallError>> {
    if !IN_STEP.get() {
        return None;
    }
    // A thread that is ending has no handler any more.
    let left = LEFT.try_with(|left| {
        let mut left = left.try_borrow_mut().ok()?;
        let (sender, receiver) = oneshot::channel();
        left.push(sender);
        LEFT_COUNT.set(left.len());
        Some(receiver)
    });
    left.ok().flatten()
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

pin_project! {
    /// Runs a handler; if it panics, that is its error. A reply that it drops in its last step, as `?` does, answers by
    /// how that step ends.
    pub(crate) struct Judged<F> {
        #[pin]
        handler: F,
    }
}

/// See [`Judged`].
pub(crate) fn judged<F, T, E>(handler: F) -> Judged<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Panic>,
{
    Judged { handler }
}

impl<F, T, E> Future for Judged<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Panic>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut step = Step::begin();
        let handler = self.project().handler;
        // Caught as near to the handler as can be: most of what a crash costs is unwinding, and that costs by the frame.
        let polled =
            panics::attempt_again(|| handler.poll(cx)).unwrap_or_else(|panic| Poll::Ready(Err(panic.into())));
        // A handler that goes on has left the reply for good.
        step.verdict =
            if matches!(polled, Poll::Ready(Err(_))) { CallError::Crashed } else { CallError::Unanswered };
        polled
    }
}

/// One step of a handler, and how those fare whose replies it dropped.
struct Step {
    /// Whether it is part of another's step, and how many replies that had dropped before.
    is_inner: bool,
    before: usize,
    verdict: CallError,
}

impl Step {
    fn begin() -> Self {
        // Unless the step comes to its end.
        let verdict = CallError::Crashed;
        Self { is_inner: IN_STEP.replace(true), before: LEFT_COUNT.get(), verdict }
    }

    /// Tells those whose replies were dropped in this step.
    #[cold]
    fn tell(&self) {
        let left = LEFT.with(|left| left.borrow_mut().split_off(self.before));
        LEFT_COUNT.set(self.before);
        for caller in left {
            let _ = caller.send(self.verdict);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        IN_STEP.set(self.is_inner);
        if LEFT_COUNT.get() > self.before {
            self.tell();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Witness<'a>(&'a Cell<Option<CallError>>);

    impl Drop for Witness<'_> {
        fn drop(&mut self) {
            self.0.set(Some(known()));
        }
    }

    fn known() -> CallError {
        match reason() {
            Reason::Known(reason) => reason,
            Reason::Pending(_) => panic!("no handler is being polled"),
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
        assert_eq!(known(), CallError::Unanswered);
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
        assert_eq!(known(), CallError::Unanswered);
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

    fn pending() -> oneshot::Receiver<CallError> {
        match reason() {
            Reason::Known(reason) => panic!("{reason} is known already"),
            Reason::Pending(verdict) => verdict,
        }
    }

    #[derive(Debug, PartialEq)]
    struct Failed;

    impl From<Panic> for Failed {
        fn from(_: Panic) -> Self {
            Self
        }
    }

    #[tokio::test]
    async fn what_a_handler_drops_as_it_fails_has_crashed_and_as_it_ends_was_left_unanswered() {
        let mut verdict = None;
        let failed: Result<(), Failed> = judged(async {
            verdict = Some(pending());
            Err(Failed)
        })
        .await;
        assert!(failed.is_err());
        assert_eq!(verdict.unwrap().await, Ok(CallError::Crashed));
        let ended: Result<_, Failed> = judged(async { Ok(pending()) }).await;
        assert_eq!(ended.unwrap().await, Ok(CallError::Unanswered));
    }

    #[tokio::test]
    async fn a_handler_may_wait_for_what_it_dropped_itself() {
        let ended: Result<_, Failed> = judged(async { Ok(pending().await) }).await;
        assert_eq!(ended, Ok(Ok(CallError::Unanswered)));
        assert_eq!(known(), CallError::Unanswered);
    }

    fn luckless() -> Result<(), Failed> {
        panic!("on purpose");
    }

    #[tokio::test]
    async fn what_a_handler_dropped_in_the_step_that_panicked_has_crashed() {
        let verdict = Cell::new(None);
        let handler = judged(async {
            verdict.set(Some(pending()));
            luckless()
        });
        assert_eq!(handler.await, Err(Failed));
        assert_eq!(verdict.take().unwrap().await, Ok(CallError::Crashed));
    }
}
