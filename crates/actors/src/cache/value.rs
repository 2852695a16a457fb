//! The values of the cache, and their weight.

use std::sync::Arc;

use bytes::Bytes;

use super::http::StoredResponse;
use crate::error::Error;

/// The cost of an entry beside its key and value, in bytes: its places in the map and in the index.
const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// A value that can be cached. Cheap to clone.
#[derive(Debug, Clone)]
pub enum CacheValue {
    /// A response of the backend.
    Response(Arc<StoredResponse>),
    /// Any other bytes.
    Bytes(Bytes),
}

impl CacheValue {
    /// Returns its size in bytes.
    fn size_bytes(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Response(stored) => stored.size_bytes(),
        }
    }
}

/// The entry of a key.
#[derive(Debug, Clone)]
pub(super) enum StoredValue {
    Value(CacheValue),
    /// A failed load.
    Failure(Arc<Error>),
}

impl StoredValue {
    /// Returns its weight together with its key, in bytes.
    pub(super) fn weight(&self, key: &str) -> u64 {
        let bytes = match self {
            Self::Value(value) => value.size_bytes(),
            Self::Failure(error) => error.message.len() + error.details.as_ref().map_or(0, String::len),
        };
        (key.len() as u64).saturating_add(bytes as u64).saturating_add(ENTRY_OVERHEAD_BYTES)
    }
}
