//! Catching panics, with what they say and where they happened.
//!
//! A panic's payload says what, never where; only the process-wide panic hook is told the place. So the first
//! runtime of a process puts a hook in front of the one that it finds. Ours takes notes of panics that will be caught
//! here, and of no others, and then calls the one that it found: what the embedder's hook does stays as it was. A hook
//! that the embedder sets later takes the place of ours; then a panic still says what, but no longer where.

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

use crate::actor::backtrace;
use crate::actor::failure::Failure;
use crate::messaging::call_error::CallError;
use crate::messaging::drop_reason;

/// The most that is kept of what a panic or an error says.
pub(crate) const MESSAGE_BYTES_MAX: usize = 8 * 1024;

thread_local! {
    /// How many scopes of this thread would catch a panic now.
    static CAPTURE_DEPTH: Cell<u32> = const { Cell::new(0) };
    static LAST_CAPTURED: RefCell<Option<CapturedPanic>> = const { RefCell::new(None) };
}

/// What the hook has seen of a panic.
struct CapturedPanic {
    /// What it says, by which it is known again: somebody in between may have caught it.
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
    /// Where backtraces are enabled, as by `RUST_BACKTRACE=1`.
    pub(crate) backtrace: Option<String>,
}

/// Puts the hook in place, once a process.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CAPTURE_DEPTH.try_with(Cell::get).is_ok_and(|watched| watched > 0) {
                capture(info);
            }
            previous(info);
        }));
    });
}

fn capture(info: &PanicHookInfo<'_>) {
    let note = CapturedPanic {
        text: panic_text(info.payload()).map(str::to_owned),
        location: info.location().map(ToString::to_string),
        backtrace: Backtrace::capture(),
    };
    LAST_CAPTURED.with(|noted| {
        if let Ok(mut noted) = noted.try_borrow_mut() {
            *noted = Some(note);
        }
    });
}

/// While it lives, panics of this thread are noted.
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
    /// Runs a future; its panics are noted and caught. A struct of its own, because an `async fn` would hold the future
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

/// Like [`attempt`], for work that is part of what is watched already.
pub(crate) fn catch_nested<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(into_panic)
}

/// Drops `doomed`, whose replies answer with `reason`; returns the panic of its destructor, if it panics.
pub(crate) fn drop_catching<T>(reason: CallError, doomed: T) -> Option<Panic> {
    catch(|| drop_reason::drop_with(reason, doomed)).err()
}

/// Drops `doomed`, whose replies answer with `reason`. The panic of a destructor is swallowed: what it belongs to
/// has ended already.
pub(crate) fn drop_quietly<T>(reason: CallError, doomed: T) {
    drop(drop_catching(reason, doomed));
}

/// Runs `work`, and swallows its panic. Replies that it drops answer with `reason`.
pub(crate) fn run_quietly(reason: CallError, work: impl FnOnce()) {
    drop(catch(|| drop_reason::run_with(reason, work)));
}

fn into_panic(payload: Box<dyn Any + Send>) -> Panic {
    let note = LAST_CAPTURED.take().filter(|note| note.text.as_deref() == panic_text(payload.as_ref()));
    let message = truncate(payload_text(payload.as_ref()));
    // The payload's own destructor might panic as well.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| drop_reason::drop_with(CallError::Crashed, payload)));
    let Some(CapturedPanic { location: place, backtrace, .. }) = note else {
        return Panic { message, location: None, backtrace: None };
    };
    let is_captured = backtrace.status() == BacktraceStatus::Captured;
    Panic { message, location: place, backtrace: is_captured.then(|| backtrace::render(&backtrace)) }
}

/// The text that `panic!` makes.
fn panic_text(payload: &(dyn Any + Send)) -> Option<&str> {
    let literal = payload.downcast_ref::<&str>().copied();
    literal.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// What a payload says. One that is no text can only be told where its type is known here.
fn payload_text(payload: &(dyn Any + Send)) -> String {
    let text = panic_text(payload)
        .or_else(|| payload.downcast_ref::<Box<str>>().map(AsRef::as_ref))
        .or_else(|| payload.downcast_ref::<Cow<'static, str>>().map(AsRef::as_ref));
    if let Some(text) = text {
        return text.to_owned();
    }
    if let Some(failure) = payload.downcast_ref::<Failure>() {
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

/// What an error says, even if it panics when it is asked.
pub(crate) fn error_text(error: &(dyn Error + Send + Sync)) -> String {
    let text = catch(|| error.to_string());
    truncate(
        text.unwrap_or_else(|panic| format!("an error that could not say what it is: {}", panic.message)),
    )
}

/// The start of `text`, as far as it is kept.
fn truncate(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(panics_with(Failure::from("no luck")).await.message, "no luck");
        assert_eq!(panics_with(Cow::Borrowed("lent")).await.message, "lent");
        let unknown = panics_with(Some(1.5)).await;
        assert_eq!(unknown.message, "a panic whose payload is no text");
        assert!(unknown.location.unwrap().contains("panics.rs:"));
    }

    #[tokio::test]
    async fn panic_message_is_truncated_at_a_char_boundary() {
        let panic = panics_with("ß".repeat(MESSAGE_BYTES_MAX)).await;
        assert_eq!(panic.message.len(), MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(panic.message.ends_with("ß…"));
    }

    #[tokio::test]
    async fn location_of_a_foreign_panic_is_not_reused() {
        install_hook();
        let panic = catch_future(async {
            let own = panic::catch_unwind(|| panic!("caught by the handler itself"));
            assert!(own.is_err());
            // Runs no hook.
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
