//! Revalidates stored responses (RFC 9111, 4.3). Pure.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::cache_control;

/// The longest entity tag that is sent back, in bytes.
const ETAG_BYTES_MAX: usize = 1024;

/// The headers that a 304 does not update: they belong to the stored body or to the connection (RFC 9111, 3.2 and
/// 3.1).
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

/// Returns the headers of a conditional request (4.3.1); none if the response has no validator.
///
/// `Last-Modified` counts only if it was at least a second old when the response was made. Otherwise a second change
/// within that second would go unseen (RFC 9110, 8.8.2.2).
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

/// Returns the entity tag if it is valid (RFC 9110, 8.8.3).
fn etag(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(header::ETAG)?;
    let opaque = opaque_tag(value).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let is_tag = value.len() <= ETAG_BYTES_MAX && !opaque.contains(&b'"');
    is_tag.then_some(value)
}

/// Returns a tag without its mark of weakness.
fn opaque_tag(etag: &HeaderValue) -> &[u8] {
    etag.as_bytes().strip_prefix(b"W/").unwrap_or(etag.as_bytes())
}

fn is_weak(etag: &HeaderValue) -> bool {
    etag.as_bytes().starts_with(b"W/")
}

/// Returns whether a 304 concerns the stored response (4.3.4). One without validators does: the request was about
/// that response alone.
pub(super) fn is_validated_by(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    if let Some(named) = not_modified.get(header::ETAG) {
        let is_same = |stored: &HeaderValue| {
            // A strong tag names the exact bytes, which a weak one never promised.
            opaque_tag(stored) == opaque_tag(named) && (is_weak(named) || !is_weak(stored))
        };
        return stored.get(header::ETAG).is_some_and(is_same);
    }
    let named = not_modified.get(header::LAST_MODIFIED);
    named.is_none_or(|named| stored.get(header::LAST_MODIFIED) == Some(named))
}

/// Returns the stored headers after a 304 (3.2): each header of the 304 replaces those of its name.
pub(super) fn freshened_headers(stored: &HeaderMap, not_modified: &HeaderMap) -> HeaderMap {
    let mut headers = stored.clone();
    // These describe the age and date of the old response.
    headers.remove(header::AGE);
    headers.remove(header::DATE);
    for name in not_modified.keys().filter(|name| !NOT_FRESHENED_HEADERS.contains(name)) {
        headers.remove(name);
        for value in not_modified.get_all(name) {
            // Only a map with tens of thousands of headers rejects one.
            let _ = headers.try_append(name.clone(), value.clone());
        }
    }
    headers
}
