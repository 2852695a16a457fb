//! The events of a runtime as a stream that ends with it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, Stream, StreamExt};
use mainstay_runtime::journal::{self, Cursor, Delivery};
use tokio::sync::watch;

/// The events of a runtime, each once and in order, or a gap in place of events that are kept nowhere any more.
///
/// The stream ends when the runtime has stopped and all its events are delivered. It does not keep the runtime alive.
#[must_use = "a subscription does nothing until it is polled"]
pub struct Subscription {
    deliveries: BoxStream<'static, (Delivery, Cursor)>,
    cursor: Cursor,
}

impl Subscription {
    pub(crate) fn new(events: journal::JournalSubscription, has_stopped: watch::Receiver<bool>) -> Self {
        let cursor = events.cursor();
        let deliveries = stream::unfold((events, has_stopped), |(mut events, mut has_stopped)| async move {
            let delivery = tokio::select! {
                biased;
                delivery = events.next() => Some(delivery),
                () = stopped(&mut has_stopped) => events.try_next().await,
            };
            delivery.map(|delivery| ((delivery, events.cursor()), (events, has_stopped)))
        });
        Self { deliveries: deliveries.fuse().boxed(), cursor }
    }

    /// Returns the cursor of the last delivery: another subscription after it continues where this one is.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Waits for the next delivery; `None` once the runtime has stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Delivery> {
        StreamExt::next(self).await
    }

    /// Returns the next delivery if it is there already. Never waits.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.next().now_or_never().flatten()
    }
}

/// Waits until the runtime has stopped or was dropped.
async fn stopped(has_stopped: &mut watch::Receiver<bool>) {
    let _ = has_stopped.wait_for(|has_stopped| *has_stopped).await;
}

impl Stream for Subscription {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Delivery>> {
        self.deliveries.poll_next_unpin(context).map(|next| {
            next.map(|(delivery, cursor)| {
                self.cursor = cursor;
                delivery
            })
        })
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mainstay::Mainstay;

    fn assert_stream<S: Stream + fmt::Debug + Send + Unpin>(_: &S) {}

    async fn kinds(mut events: Subscription) -> Vec<String> {
        let mut kinds = Vec::new();
        while let Some(delivery) = events.next().await {
            if let Delivery::Event(record) = delivery {
                kinds.push(record.kind);
            }
        }
        assert_eq!(events.next().await, None, "the end lasts");
        kinds
    }

    #[tokio::test]
    async fn subscription_ends_after_runtime_stopped() {
        let mainstay = Mainstay::builder().start().await.unwrap();
        let events = mainstay.events();
        assert_stream(&events);
        mainstay.shutdown().await;
        let late = mainstay.events();
        let kinds_seen = kinds(events).await;
        assert_eq!(kinds_seen.first().map(String::as_str), Some("runtime_started"));
        assert!(kinds_seen.iter().any(|kind| kind == "runtime_stopped"), "{kinds_seen:?}");
        assert_eq!(kinds(late).await, kinds_seen, "a subscription after the stop gets the same");
    }

    #[tokio::test]
    async fn subscription_ends_when_runtime_is_dropped() {
        let mainstay = Mainstay::builder().start().await.unwrap();
        let events = mainstay.events();
        drop(mainstay);
        assert!(!kinds(events).await.is_empty());
    }
}
