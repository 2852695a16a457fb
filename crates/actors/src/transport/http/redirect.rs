//! Decides whether a redirect is followed, and to where.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

/// The most redirects that one attempt follows.
pub(super) const REDIRECTS_MAX: usize = 5;

/// The next request after a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutboundRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    /// True if the body is sent again.
    pub(super) keeps_body: bool,
    /// The token's header, if the request has none of its own.
    pub(super) authorization: Option<HeaderValue>,
}

/// Returns whether `to` has another origin than `from`.
pub(super) fn is_cross_origin(from: &Url, to: &Url) -> bool {
    from.origin() != to.origin()
}

/// Returns the next request; `None` if the response is final.
///
/// Only redirects within the origin of `url` are followed: headers hold credentials, and a page of another origin is
/// not the backend. The method changes as RFC 9110, 15.4 has it. 301, 302 and 303 can turn a write into a read, whose
/// answer would pass for that of the write. After a write they are followed only if `follows_writes`.
pub(super) fn next_request(
    method: &Method,
    url: &Url,
    status: StatusCode,
    headers: &HeaderMap,
    follows_writes: bool,
) -> Option<OutboundRequest> {
    let repeats = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    if !(method.is_safe() || repeats || follows_writes) {
        return None;
    }
    let keeps = match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => method != Method::POST,
        StatusCode::SEE_OTHER => method.is_safe(),
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        _ => return None,
    };
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let mut next = url.join(location).ok()?;
    next.set_fragment(None);
    if is_cross_origin(url, &next) || !next.username().is_empty() || next.password().is_some() {
        return None;
    }
    let method = if keeps { method.clone() } else { Method::GET };
    Some(OutboundRequest { method, url: next, keeps_body: keeps, authorization: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(method: Method, status: u16, location: &'static str) -> Option<OutboundRequest> {
        let url = Url::parse("http://base.test:8000/items?x=1").unwrap();
        let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static(location))]);
        next_request(&method, &url, StatusCode::from_u16(status).unwrap(), &headers, true)
    }

    #[test]
    fn write_is_followed_unasked_only_where_its_method_is_repeated() {
        let url = Url::parse("http://base.test:8000/items").unwrap();
        let headers = HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("/items/"))]);
        for status in [301, 302, 303, 307, 308] {
            let status = StatusCode::from_u16(status).unwrap();
            let follow =
                |method| next_request(&method, &url, status, &headers, false).map(|next| next.method);
            for write in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let expected = (status.as_u16() >= 307).then(|| write.clone());
                assert_eq!(follow(write), expected, "{status}");
            }
            for read in [Method::GET, Method::HEAD] {
                assert_eq!(follow(read.clone()), Some(read), "{status}");
            }
        }
    }

    #[test]
    fn same_origin_redirect_changes_method_by_status() {
        for (method, status, expected, keeps_body) in [
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::POST, 303, Method::GET, false),
            (Method::PUT, 302, Method::PUT, true),
            (Method::PUT, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, true),
        ] {
            let next = follow(method, status, "/items/").unwrap();
            assert_eq!(next.url.as_str(), "http://base.test:8000/items/");
            assert_eq!((next.method, next.keeps_body), (expected, keeps_body), "{status}");
        }
    }

    #[test]
    fn foreign_or_invalid_redirect_is_not_followed() {
        for location in [
            "http://base.test:8001/items",
            "https://base.test:8000/items",
            "http://other.test:8000/items",
            "//other.test/items",
            "http://user:pass@base.test:8000/items",
            "file:///etc/passwd",
            "http://",
        ] {
            assert_eq!(follow(Method::GET, 302, location), None, "{location}");
        }
        assert_eq!(follow(Method::GET, 304, "/items/"), None);
        assert_eq!(follow(Method::GET, 200, "/items/"), None);
        assert_eq!(
            next_request(
                &Method::GET,
                &Url::parse("http://a.test/").unwrap(),
                StatusCode::FOUND,
                &HeaderMap::new(),
                true
            ),
            None
        );
    }
}
