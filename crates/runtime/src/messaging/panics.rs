//! Catching panics, with their text and location.
//!
//! The payload of a panic has its text; only the process-wide panic hook gets its location. So the first runtime of a
//! process installs a hook before the existing one. It captures the panics that are caught here, and no others, and
//! then calls the existing hook, whose behaviour does not change. A hook that the embedder installs later replaces
//! this one; then a panic still has its text, but no location.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt::Display;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::Pin;
use std::sync::Once;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::journal::Journal;
use crate::messaging::backtrace;
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;

/// The size limit of the recorded text of a panic or an error.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// The size limit of a text until it is redacted. It exceeds the other, so that a secret is whole when it is searched.
const RAW_MESSAGE_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;

thread_local! {
    /// The number of scopes on this thread that would catch a panic now.
    static CAPTURE_DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST_CAPTURED: RefCell<Option<CapturedPanic>> = const { RefCell::new(None) };
}

/// A panic as the hook has seen it.
struct CapturedPanic {
    /// The text, which identifies the panic: another scope may have caught it.
    text: Option<String>,
    location: Option<String>,
    backtrace: Backtrace,
}

/// A panic that was caught.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) message: String,
    /// `file:line:column`.
    pub(crate) location: Option<String>,
    /// Present where backtraces are enabled, as by `RUST_BACKTRACE=1`.
    pub(crate) backtrace: Option<String>,
}

/// Installs the hook, once per process.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CAPTURE_DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0) {
                capture(info);
            }
            previous(info);
        }));
    });
}

fn capture(info: &PanicHookInfo<'_>) {
    let captured = CapturedPanic {
        text: panic_text(info.payload()).map(str::to_owned),
        location: info.location().map(ToString::to_string),
        backtrace: Backtrace::capture(),
    };
    LAST_CAPTURED.with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(captured);
        }
    });
}

/// Captures the panics of this thread until it is dropped.
struct CaptureGuard;

impl CaptureGuard {
    fn enter() -> Self {
        CAPTURE_DEPTH.set(CAPTURE_DEPTH.get().saturating_add(1));
        Self
    }
}

impl Drop for CaptureGuard {
    fn drop(&mut self) {
        CAPTURE_DEPTH.set(CAPTURE_DEPTH.get().saturating_sub(1));
    }
}

pin_project! {
    /// Runs a future, and captures and catches its panics. It is a struct because an `async fn` would hold the future
    /// twice, and each actor keeps room for it.
    pub(crate) struct CatchPanic<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Panic>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        match catch(|| future.poll(cx)) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

/// Runs `future`, and returns its panic if it panics.
pub(crate) fn catch_future<F: Future>(future: F) -> CatchPanic<F> {
    CatchPanic { future }
}

/// Runs `work`, and returns its panic if it panics.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_nested(|| {
        let _watch = CaptureGuard::enter();
        work()
    })
}

/// Runs `work` like [`catch`], inside a scope that already captures.
pub(crate) fn catch_nested<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(into_panic)
}

pin_project! {
    /// Runs a handler, and turns its panic into its error. A reply that it drops in its last step, as `?` does,
    /// answers with the outcome of that step.
    pub(crate) struct HandlerFuture<F> {
        #[pin]
        handler: F,
    }
}

/// Wraps `handler` in a [`HandlerFuture`].
pub(crate) fn handler_future<F, T, E>(handler: F) -> HandlerFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Panic>,
{
    HandlerFuture { handler }
}

impl<F, T, E> Future for HandlerFuture<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Panic>,
{
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        let mut step = drop_reason::PollGuard::enter();
        let handler = self.project().handler;
        // Caught as near to the handler as possible: unwinding is most of the cost of a crash, and it costs per
        // frame.
        let polled = catch_nested(|| handler.poll(cx)).unwrap_or_else(|panic| Poll::Ready(Err(panic.into())));
        // A handler that continues has dropped the reply for good.
        step.reason =
            if matches!(polled, Poll::Ready(Err(_))) { CallError::Crashed } else { CallError::NoReply };
        polled
    }
}

/// Drops `doomed`, whose replies answer with `reason`; returns the panic of its destructor, if there is one.
pub(crate) fn drop_catching<T>(reason: CallError, doomed: T) -> Option<Panic> {
    catch(|| drop_reason::drop_with(reason, doomed)).err()
}

/// Drops `doomed`, whose replies answer with `reason`. A panic of its destructor is ignored: its owner has already
/// ended.
pub(crate) fn drop_quietly<T>(reason: CallError, doomed: T) {
    drop(drop_catching(reason, doomed));
}

/// Runs `work`, and ignores its panic. Replies that it drops answer with `reason`.
pub(crate) fn run_quietly(reason: CallError, work: impl FnOnce()) {
    drop(catch(|| drop_reason::run_with(reason, work)));
}

fn into_panic(payload: Box<dyn Any + Send>) -> Panic {
    let captured =
        LAST_CAPTURED.take().filter(|captured| captured.text.as_deref() == panic_text(payload.as_ref()));
    let message = truncate(payload_text(payload.as_ref()), RAW_MESSAGE_BYTES_MAX);
    // The payload's own destructor may panic as well.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop_reason::drop_with(CallError::Crashed, payload)));
    let Some(CapturedPanic { location, backtrace, .. }) = captured else {
        return Panic { message, location: None, backtrace: None };
    };
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    Panic { message, location, backtrace: is_captured.then(|| backtrace::render(&backtrace)) }
}

/// Returns the text of a payload that `panic!` made.
fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Returns the text of a payload, which is known only for some types.
fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = panic_text(payload)
        .or_else(|| payload.downcast_ref::<Box<str>>().map(AsRef::as_ref))
        .or_else(|| payload.downcast_ref::<Cow<'static, str>>().map(AsRef::as_ref));
    if let Some(text) = text {
        return text.to_owned();
    }
    if let Some(failure) = payload.downcast_ref::<Box<dyn Error + Send + Sync>>() {
        return error_text(failure.as_ref());
    }
    numeric_payload_text::<i32>(payload)
        .or_else(|| numeric_payload_text::<u32>(payload))
        .or_else(|| numeric_payload_text::<i64>(payload))
        .or_else(|| numeric_payload_text::<u64>(payload))
        .or_else(|| numeric_payload_text::<usize>(payload))
        .unwrap_or_else(|| "a panic whose payload is no text".to_owned())
}

fn numeric_payload_text<N: Any + Display>(payload: &(dyn Any + Send)) -> Option<String> {
    payload.downcast_ref::<N>().map(|number| format!("{number}, a {}", std::any::type_name::<N>()))
}

/// Returns the text of an error, even if its `Display` panics.
pub(crate) fn error_text(error: &(dyn Error + Send + Sync)) -> String {
    let text = catch(|| error.to_string());
    let text =
        text.unwrap_or_else(|panic| format!("an error that could not say what it is: {}", panic.message));
    truncate(text, RAW_MESSAGE_BYTES_MAX)
}

/// Returns the text of a panic or an error as it is recorded: without secrets, then cut to the size limit.
pub(crate) fn recorded_text(journal: &Journal, text: &str) -> String {
    truncate(journal.redact(text).into_owned(), MESSAGE_BYTES_MAX)
}

fn truncate(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::journal::{JournalOptions, KnownSecrets};

    async fn panics_with<P: Any + Send>(payload: P) -> Panic {
        catch_future(async { panic::panic_any(payload) }).await.unwrap_err()
    }

    #[tokio::test]
    async fn caught_panic_has_message_and_location() {
        install_hook();
        let panic = catch_future(async { panic!("out of {}", "luck") }).await.unwrap_err();
        assert_eq!(panic.message, "out of luck");
        assert!(panic.location.unwrap().contains("panics.rs:"));
    }

    #[tokio::test]
    async fn payload_without_text_is_rendered_if_type_is_known() {
        install_hook();
        assert_eq!(panics_with(7_i32).await.message, "7, a i32");
        assert_eq!(panics_with(Box::<dyn Error + Send + Sync>::from("no luck")).await.message, "no luck");
        assert_eq!(panics_with(Cow::Borrowed("lent")).await.message, "lent");
        let unknown = panics_with(Some(1.5)).await;
        assert_eq!(unknown.message, "a panic whose payload is no text");
        assert!(unknown.location.unwrap().contains("panics.rs:"));
    }

    #[tokio::test]
    async fn panic_message_is_truncated_at_a_char_boundary() {
        let panic = panics_with("ß".repeat(RAW_MESSAGE_BYTES_MAX)).await;
        assert_eq!(panic.message.len(), RAW_MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(panic.message.ends_with("ß…"));
        let recorded = recorded_text(&journal(), &panic.message);
        assert_eq!(recorded.len(), MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(recorded.ends_with("ß…"));
    }

    #[tokio::test]
    async fn secret_across_the_cut_of_a_message_is_redacted() {
        for before in MESSAGE_BYTES_MAX - 10..MESSAGE_BYTES_MAX + 2 {
            let text = format!("{}s3cret{}", "x".repeat(before), "y".repeat(MESSAGE_BYTES_MAX));
            let recorded = recorded_text(&journal(), &panics_with(text).await.message);
            assert!(!recorded.contains("s3"), "{before}");
        }
    }

    fn journal() -> Journal {
        let config = JournalOptions {
            secrets: KnownSecrets::new(vec!["s3cret".to_owned()]),
            ..JournalOptions::default()
        };
        Journal::in_memory("boot", Arc::new(SystemClock), config)
    }

    #[tokio::test]
    async fn location_of_a_foreign_panic_is_not_reused() {
        install_hook();
        let panic = catch_future(async {
            let own = panic::catch_unwind(|| panic!("caught by the handler itself"));
            assert!(own.is_err());
            // `resume_unwind` runs no hook.
            panic::resume_unwind(Box::new("unnoticed"));
        });
        let panic: Result<(), Panic> = panic.await;
        assert_eq!(
            panic.unwrap_err(),
            Panic { message: "unnoticed".to_owned(), location: None, backtrace: None }
        );
    }

    #[test]
    fn panic_outside_catch_is_not_captured() {
        install_hook();
        assert!(panic::catch_unwind(|| panic!("not ours")).is_err());
        assert!(LAST_CAPTURED.take().is_none());
    }

    #[test]
    fn drop_panic_is_caught() {
        struct PanickingDrop;
        impl Drop for PanickingDrop {
            fn drop(&mut self) {
                panic!("broken");
            }
        }
        assert_eq!(drop_catching(CallError::Stopped, PanickingDrop).unwrap().message, "broken");
    }
}
