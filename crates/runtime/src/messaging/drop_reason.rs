//! The reason for which a reply is dropped unanswered.
//!
//! A [`Reply`](crate::Reply) may be dropped in many places: with a handler that panicked or was killed, with the
//! state of a crashed worker, with an owned task, with a mailbox that is emptied. The code that tears such a place
//! down runs inside a scope that carries the reason, and the reply reads it there. So every caller gets a typed
//! error, and no message type needs code for it.
//!
//! The reason must be known where the reply is dropped. A caller that asked the slot for the last exit got a wrong
//! answer 87 times in 121 random traces of messages. A `Promise` from `Reply::channel` knows no slot, since the message
//! that carries its reply is opaque (76 times). A caller of `Address::call` asks too early or too late (11 times): the
//! channel of a killed handler closes before its exit is recorded, and after a crash the actor may be stopped before
//! the caller runs.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::oneshot;

use crate::messaging::call_error::CallError;

thread_local! {
    static REASON: Cell<Option<CallError>> = const { Cell::new(None) };
    /// Apart from the replies, because it is read at each message, and a value without a destructor is cheap to reach.
    static STEP: Cell<Step> = const { Cell::new(Step::None) };
    /// The callers whose replies the present step has dropped.
    static DROPPED_REPLIES: Cell<Vec<oneshot::Sender<CallError>>> = const { Cell::new(Vec::new()) };
}

/// The step of a handler that a thread runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The thread polls no handler.
    None,
    /// A handler that has dropped no reply in this step.
    Clean,
    /// A handler whose callers of this step are in [`DROPPED_REPLIES`].
    DroppedReplies,
}

/// The reason for which a reply is dropped unanswered.
#[derive(Debug)]
pub(crate) enum DropReason {
    Known(CallError),
    /// The reason depends on how the handler that drops it ends.
    Pending(oneshot::Receiver<CallError>),
}

/// Returns the reason in force on this thread.
///
/// Outside every scope, an unwinding thread means that a handler panicked. Else the handler that is polled dropped
/// it, and may be about to fail. Without such a handler, the reply was simply dropped.
pub(crate) fn current() -> DropReason {
    match REASON.get() {
        Some(reason) => DropReason::Known(reason),
        None if std::thread::panicking() => DropReason::Known(CallError::Crashed),
        None => dropped_by_handler().map_or(DropReason::Known(CallError::NoReply), DropReason::Pending),
    }
}

fn dropped_by_handler() -> Option<oneshot::Receiver<CallError>> {
    if STEP.get() == Step::None {
        return None;
    }
    let (caller, reason) = oneshot::channel();
    let mut callers = DROPPED_REPLIES.take();
    callers.push(caller);
    DROPPED_REPLIES.set(callers);
    STEP.set(Step::DroppedReplies);
    Some(reason)
}

/// Puts a reason in force until it is dropped.
struct ReasonScope(Option<CallError>);

impl ReasonScope {
    fn enter(reason: CallError) -> Self {
        Self(REASON.replace(Some(reason)))
    }
}

impl Drop for ReasonScope {
    fn drop(&mut self) {
        REASON.set(self.0);
    }
}

/// Drops `doomed`; replies in it answer with `reason`.
pub(crate) fn drop_with<T>(reason: CallError, doomed: T) {
    run_with(reason, || drop(doomed));
}

/// Runs `work`; replies that it drops answer with `reason`.
pub(crate) fn run_with(reason: CallError, work: impl FnOnce()) {
    let _scope = ReasonScope::enter(reason);
    work();
}

pin_project! {
    /// Runs a future; if it is dropped before it ends, replies in it answer with what `reason` then says.
    pub(crate) struct WithDropReason<R: Fn() -> CallError, F> {
        // `None` once it has ended.
        #[pin]
        future: Option<F>,
        reason: R,
    }

    impl<R: Fn() -> CallError, F> PinnedDrop for WithDropReason<R, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _scope = ReasonScope::enter((this.reason)());
                this.future.set(None);
            }
        }
    }
}

/// Wraps `future` in a [`WithDropReason`].
pub(crate) fn with_drop_reason<R: Fn() -> CallError, F: Future>(
    reason: R,
    future: F,
) -> WithDropReason<R, F> {
    WithDropReason { future: Some(future), reason }
}

impl<R: Fn() -> CallError, F: Future> Future for WithDropReason<R, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut future = self.project().future;
        let Some(running) = future.as_mut().as_pin_mut() else { return Poll::Pending };
        let polled = running.poll(cx);
        if polled.is_ready() {
            future.set(None);
        }
        polled
    }
}

/// Guards a step of a handler. At its end, it sends the reason to the callers whose replies the step dropped.
pub(crate) struct PollGuard {
    pub(crate) reason: CallError,
    /// The enclosing step and its callers, where a handler runs another executor.
    outer: Step,
    outer_callers: Vec<oneshot::Sender<CallError>>,
}

impl PollGuard {
    pub(crate) fn enter() -> Self {
        let outer = STEP.replace(Step::Clean);
        let outer_callers = if outer == Step::DroppedReplies { DROPPED_REPLIES.take() } else { Vec::new() };
        // The reason holds unless the step finishes.
        Self { reason: CallError::Crashed, outer, outer_callers }
    }

    #[cold]
    fn answer_callers(&self) {
        for caller in DROPPED_REPLIES.take() {
            let _ = caller.send(self.reason);
        }
    }
}

impl Drop for PollGuard {
    fn drop(&mut self) {
        if STEP.replace(self.outer) == Step::DroppedReplies {
            self.answer_callers();
        }
        if self.outer == Step::DroppedReplies {
            DROPPED_REPLIES.set(std::mem::take(&mut self.outer_callers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messaging::panics::{Panic, handler_future};

    struct RecordsReasonOnDrop<'a>(&'a Cell<Option<CallError>>);

    impl Drop for RecordsReasonOnDrop<'_> {
        fn drop(&mut self) {
            self.0.set(Some(known_reason()));
        }
    }

    fn known_reason() -> CallError {
        match current() {
            DropReason::Known(reason) => reason,
            DropReason::Pending(_) => panic!("no handler is being polled"),
        }
    }

    #[test]
    fn drop_outside_scopes_is_unanswered() {
        let seen = Cell::new(None);
        drop(RecordsReasonOnDrop(&seen));
        assert_eq!(seen.get(), Some(CallError::NoReply));
    }

    #[test]
    fn drop_inside_scope_has_the_scopes_reason() {
        let seen = Cell::new(None);
        drop_with(CallError::Stopped, RecordsReasonOnDrop(&seen));
        assert_eq!(seen.get(), Some(CallError::Stopped));
        assert_eq!(known_reason(), CallError::NoReply);
    }

    #[tokio::test]
    async fn cancelled_future_drops_with_its_reason() {
        let seen = Cell::new(None);
        let mut future = Box::pin(with_drop_reason(|| CallError::Crashed, async {
            let _held = RecordsReasonOnDrop(&seen);
            std::future::pending::<()>().await;
        }));
        assert!(futures_util::poll!(&mut future).is_pending());
        drop(future);
        assert_eq!(seen.get(), Some(CallError::Crashed));
        assert_eq!(known_reason(), CallError::NoReply);
    }

    #[tokio::test]
    async fn finished_future_leaves_no_reason() {
        let seen = Cell::new(None);
        with_drop_reason(|| CallError::Crashed, async { drop(RecordsReasonOnDrop(&seen)) }).await;
        assert_eq!(seen.get(), Some(CallError::NoReply));
    }

    #[test]
    fn drop_during_panic_is_crashed() {
        let seen = Cell::new(None);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = RecordsReasonOnDrop(&seen);
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        assert_eq!(seen.get(), Some(CallError::Crashed));
    }

    fn pending_reason() -> oneshot::Receiver<CallError> {
        match current() {
            DropReason::Known(reason) => panic!("{reason} is known already"),
            DropReason::Pending(reason) => reason,
        }
    }

    #[derive(Debug, PartialEq)]
    struct HandlerFailed;

    impl From<Panic> for HandlerFailed {
        fn from(_: Panic) -> Self {
            Self
        }
    }

    #[tokio::test]
    async fn drop_in_handler_follows_its_result() {
        let mut reason = None;
        let failed: Result<(), HandlerFailed> = handler_future(async {
            reason = Some(pending_reason());
            Err(HandlerFailed)
        })
        .await;
        assert!(failed.is_err());
        assert_eq!(reason.unwrap().await, Ok(CallError::Crashed));
        let ended: Result<_, HandlerFailed> = handler_future(async { Ok(pending_reason()) }).await;
        assert_eq!(ended.unwrap().await, Ok(CallError::NoReply));
    }

    #[tokio::test]
    async fn handler_awaits_a_reply_it_dropped() {
        let ended: Result<_, HandlerFailed> = handler_future(async { Ok(pending_reason().await) }).await;
        assert_eq!(ended, Ok(Ok(CallError::NoReply)));
        assert_eq!(known_reason(), CallError::NoReply);
    }

    /// A handler that blocks on another executor runs steps within its own.
    #[tokio::test]
    async fn step_within_a_step_answers_its_own_callers_alone() {
        let mut reasons = Vec::new();
        let failed: Result<(), HandlerFailed> = handler_future(async {
            reasons.push(pending_reason());
            let inner = handler_future(async { Ok::<_, HandlerFailed>(pending_reason()) });
            reasons.push(futures_util::FutureExt::now_or_never(inner).unwrap().unwrap());
            assert_eq!(reasons[1].try_recv(), Ok(CallError::NoReply));
            assert!(reasons[0].try_recv().is_err(), "the outer step has not ended");
            reasons.push(pending_reason());
            Err(HandlerFailed)
        })
        .await;
        assert!(failed.is_err());
        assert_eq!(reasons[0].try_recv(), Ok(CallError::Crashed));
        assert_eq!(reasons[2].try_recv(), Ok(CallError::Crashed));
    }

    fn panicking_handler() -> Result<(), HandlerFailed> {
        panic!("on purpose");
    }

    #[tokio::test]
    async fn drop_in_panicking_poll_is_crashed() {
        let reason = Cell::new(None);
        let handler = handler_future(async {
            reason.set(Some(pending_reason()));
            panicking_handler()
        });
        assert_eq!(handler.await, Err(HandlerFailed));
        assert_eq!(reason.take().unwrap().await, Ok(CallError::Crashed));
    }
}
