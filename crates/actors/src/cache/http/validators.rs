//! Asking whether what is held still holds (RFC 9111, 4.3). Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::cache_control;

/// The longest entity tag that is sent back.
const ETAG_BYTES_MAX: usize = 1024;

/// What a 304 says nothing of: it belongs to the body that is held, or to the connection (RFC 9111, 3.2 and 3.1).
const NOT_FRESHENED_HEADERS: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::CONNECTION,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The conditions under which the server need not send what is held again (4.3.1); none if it has no validator.
///
/// The time of modification is one only if it was over by a second when the response was made: else a second change in
/// that second would go unseen (RFC 9110, 8.8.2.2).
pub(super) fn conditional_headers(headers: &HeaderMap, asked_at: SystemTime) -> HeaderMap {
    let mut conditions = HeaderMap::new();
    if let Some(etag) = etag(headers) {
        conditions.insert(header::IF_NONE_MATCH, etag.clone());
    }
    let made_at = headers.get(header::DATE).and_then(cache_control::date).unwrap_or(asked_at);
    let modified = headers.get(header::LAST_MODIFIED);
    let is_settled = |modified: &&HeaderValue| {
        let modified = cache_control::date(modified);
        let age = modified.and_then(|modified| made_at.duration_since(modified).ok());
        age.is_some_and(|age| age >= Duration::from_secs(1))
    };
    if let Some(modified) = modified.filter(is_settled) {
        conditions.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
    conditions
}

/// The entity tag, if it is one (RFC 9110, 8.8.3).
fn etag(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(header::ETAG)?;
    let opaque = opaque_tag(value).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_tag = value.len() <= ETAG_BYTES_MAX && !opaque.contains(&b'"');
    is_tag.then_some(value)
}

/// A tag without what says that it is weak.
fn opaque_tag(etag: &HeaderValue) -> &[u8] {
    etag.as_bytes().strip_prefix(b"W/").unwrap_or(etag.as_bytes())
}

fn is_weak(etag: &HeaderValue) -> bool {
    etag.as_bytes().starts_with(b"W/")
}

/// Whether a 304 speaks of what is held (4.3.4). One that names nothing does: it was asked about that alone.
pub(super) fn is_validated_by(held: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if let Some(named) = not_modified.get(header::ETAG) {
        let is_same = |held: &HeaderValue| {
            // A strong tag names the very bytes, which a weak one never promised.
            opaque_tag(held) == opaque_tag(named) && (is_weak(named) || !is_weak(held))
        };
        return held.get(header::ETAG).is_some_and(is_same);
    }
    let named = not_modified.get(header::LAST_MODIFIED);
    named.is_none_or(|named| held.get(header::LAST_MODIFIED) == Some(named))
}

/// The headers of what is held after a 304 has confirmed it (3.2): each that the 304 has takes the place of those of that
/// name.
pub(super) fn freshened_headers(held: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut headers = held.clone();
    // They told when the old answer was made, and how long it had been on its way.
    headers.remove(header::AGE);
    headers.remove(header::DATE);
    for name in not_modified.keys().filter(|name| !NOT_FRESHENED_HEADERS.contains(name)) {
        headers.remove(name);
        for value in not_modified.get_all(name) {
            // Only a map with tens of thousands refuses one.
            let _ = headers.try_append(name.clone(), value.clone());
        }
    }
    headers
}
