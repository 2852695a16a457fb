//! Responses of GETs, kept as their server allows (RFC 9111, for a private cache) and no older than their caller will
//! have them.
//!
//! - `directives`: what headers say of keeping a response; `terms`: what follows from it
//! - `validators`: how what is held is asked about, and what a 304 changes
//! - `held`: a response that is held, and whom it may be given to
//!
//! All of them are pure; `responses` obeys them.

mod cache_control;
mod lifetime;
mod stored_response;
#[cfg(test)]
mod tests;
mod validators;

pub use self::stored_response::StoredResponse;
pub(super) use self::stored_response::{RequestTime, is_cacheable, is_superseding_error};
