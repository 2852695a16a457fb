//! Reads the backend's invalidations, and hands them to a sink: the connection itself holds nothing to invalidate.

use futures_util::future::BoxFuture;
use mainstay_runtime::Context;
use serde::Deserialize;

use super::message::ConnectionMessage;

/// Data that the backend declares outdated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackendInvalidation {
    /// The frame `{"type":"invalidate","keys":[…]}` named these keys.
    Keys(Vec<String>),
    /// A frame of that type could not be read, so any data may be outdated.
    Unreadable,
    /// Invalidations may have been missed while no socket was open, so any data may be outdated.
    Gap,
}

impl BackendInvalidation {
    /// Reads a frame of the type `invalidate`.
    pub(super) fn from_frame(text: &str) -> Self {
        #[derive(Deserialize)]
        struct InvalidationFrame {
            keys: Vec<String>,
        }
        serde_json::from_str(text).map_or(Self::Unreadable, |frame: InvalidationFrame| Self::Keys(frame.keys))
    }
}

/// Receives the backend's invalidations.
pub trait InvalidationSink: Send + Sync {
    /// Drops the outdated data, and records it by `ctx`. The data is gone when the future resolves: only then do
    /// subscribers get the frame.
    fn invalidate<'a>(
        &'a self,
        ctx: &'a mut Context<ConnectionMessage>,
        invalidation: BackendInvalidation,
    ) -> BoxFuture<'a, ()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_names_its_keys() {
        let read = |text| BackendInvalidation::from_frame(text);
        let expected = BackendInvalidation::Keys(vec!["a:1".to_owned(), "/b?c".to_owned()]);
        assert_eq!(read(r#"{"type":"invalidate","keys":["a:1","/b?c"],"more":true}"#), expected);
        assert_eq!(read(r#"{"type":"invalidate","keys":[]}"#), BackendInvalidation::Keys(Vec::new()));
    }

    #[test]
    fn frame_without_a_list_of_keys_is_unreadable() {
        for text in [r#"{"type":"invalidate"}"#, r#"{"type":"invalidate","keys":"a:1"}"#, r#"{"keys":[1]}"#] {
            assert_eq!(BackendInvalidation::from_frame(text), BackendInvalidation::Unreadable, "{text}");
        }
    }
}
