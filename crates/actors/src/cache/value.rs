//! What can be kept, and what that takes.

use std::sync::Arc;

use bytes::Bytes;

use super::http::StoredResponse;
use crate::error::Error;

/// What an entry costs beside its key and its value: its places in the map and in the index.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// What can be kept. Cheap to clone.
#[derive(Debug, Clone)]
pub enum CacheValue {
    /// A response of the backend.
    Response(Arc<StoredResponse>),
    /// Anything else.
    Bytes(Bytes),
}

impl CacheValue {
    /// What it takes, in bytes.
    fn size_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Response(held) => held.size_bytes(),
        }
    }
}

/// What stands under a key.
#[derive(Debug, Clone)]
pub(super) enum StoredValue {
    Value(CacheValue),
    /// It could not be had.
    Failure(Arc<Error>),
}

impl StoredValue {
    /// What it takes together with its key, in bytes.
    pub(super) fn weight(&self, key: &str) -> u64 {
        let bytes = match self {
            Self::Value(value) => value.size_bytes(),
            Self::Failure(error) => error.message.len() + error.details.as_ref().map_or(0, String::len),
        };
        (key.len() as u64).saturating_add(bytes as u64).saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}
