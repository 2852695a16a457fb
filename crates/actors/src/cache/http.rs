//! The policy for responses to GET, as their server allows (RFC 9111, for a private cache), no older than their
//! caller accepts.
//!
//! - `cache_control` reads the headers that concern caching; `lifetime` derives how long a response is fresh.
//! - `validators` builds conditional requests and applies a 304.
//! - `stored_response` is a stored response, and decides which requests it may answer.
//!
//! All of it is pure; [`ResponseCache`](crate::response_cache::ResponseCache) carries it out.

mod cache_control;
mod lifetime;
mod stored_response;
#[cfg(test)]
mod tests;
mod validators;

pub(crate) use self::stored_response::StoredResponse;
pub(crate) use self::stored_response::{RequestTime, is_cacheable, is_superseding_error};
