//! Ends a command that panics with one error for its client.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use mainstay_actors::error::{Error, Reason};

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

    #[tokio::test]
    async fn panic_becomes_an_internal_error() {
        let panics = async { std::panic::panic_any("injected") };
        let ended: Result<(), Error> = catch_panic(panics).await;
        assert_eq!(ended.unwrap_err().reason, Reason::Internal);
        assert_eq!(catch_panic(async { 7 }).await, Ok(7));
        assert_eq!(panic_text(&"text".to_owned()), "text");
    }
}
