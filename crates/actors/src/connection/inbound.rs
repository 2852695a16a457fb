//! The items that subscribers of the backend's frames receive.

use std::sync::Arc;

use bytes::Bytes;

use super::resumption::Gap;
use crate::broadcast::{Broadcast, BroadcastItem, BroadcastSubscription};

/// An item for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbound {
    /// A text frame.
    Text(Arc<str>),
    /// A binary frame.
    Binary(Bytes),
    /// Events are or may be missing at this position. State derived from earlier frames should be fetched again.
    Gap(Gap),
    /// The subscriber was too slow and lost this many frames and gaps. Gaps after this are complete.
    Lagged(u64),
}

impl BroadcastItem for Inbound {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Gap(_) | Self::Lagged(_) => 0,
        }
    }

    fn lagged(count: u64) -> Self {
        Self::Lagged(count)
    }
}

/// The sender of frames.
pub(crate) type FrameBroadcast = Broadcast<Inbound>;

/// Subscribes to the backend's frames.
pub type FrameSubscription = BroadcastSubscription<Inbound>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::BroadcastLimits;

    #[test]
    fn gap_keeps_its_place_between_frames() {
        let frames = FrameBroadcast::new(BroadcastLimits { items_max: 8, bytes_max: 100 });
        let mut subscription = frames.subscribe();
        let items = [
            Inbound::Text("one".into()),
            Inbound::Gap(Gap { after: Some(1), next: Some(7) }),
            Inbound::Text("seven".into()),
        ];
        items.iter().for_each(|item| frames.send(item.clone()));
        let got: Vec<_> = std::iter::from_fn(|| subscription.try_next()).collect();
        assert_eq!(got, items);
    }
}
