//! Checks the path of a request.

use super::REQUEST_PATH_BYTES_MAX;
use crate::error::{Error, Reason};

/// Rejects a path that could leave the backend's base address, or that a URL parser would change.
pub(super) fn check(path: &str) -> Result<(), Error> {
    if path.len() > REQUEST_PATH_BYTES_MAX {
        return Err(Error::new(Reason::RequestTooLarge)
            .with_message("The request's path is longer than 8 KiB. Send what is long in the body."));
    }
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(invalid("The request's path must start with one slash and name no host.", path));
    }
    if !path.bytes().all(|byte| byte.is_ascii_graphic() && !br#"\#"<>^`{|}"#.contains(&byte)) {
        return Err(invalid(
            "The request's path must be of plain characters. Percent-encode all others.",
            path,
        ));
    }
    let decoded = decode(path).ok_or_else(|| {
        invalid("A percent sign in the request's path must begin a code of two hex digits.", path)
    })?;
    check_segments(&decoded).map_err(|message| invalid(message, path))
}

/// Returns the part before the query with its percent codes decoded, as some servers do; `None` if a code is broken.
/// The query's codes are checked too.
fn decode(path: &str) -> Option<Vec<u8>> {
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    let mut in_query = false;
    while let Some(byte) = bytes.next() {
        in_query |= byte == b'?';
        let byte = if byte == b'%' { hex(bytes.next()?)? << 4 | hex(bytes.next()?)? } else { byte };
        if !in_query {
            decoded.push(byte);
        }
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn check_segments(decoded: &[u8]) -> Result<(), &'static str> {
    if decoded.iter().any(u8::is_ascii_control) {
        return Err("The request's path must not contain control characters, not even encoded.");
    }
    let climbs = |segment: &[u8]| segment == b"." || segment == b"..";
    if decoded.split(|byte| *byte == b'/' || *byte == b'\\').any(climbs) {
        return Err("The request's path must be written out, without segments of dots alone.");
    }
    Ok(())
}

fn invalid(message: &str, path: &str) -> Error {
    let without_query = path.split('?').next().unwrap_or_default();
    Error::invalid(message).with_details(&format!("path {without_query}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::tests::words::assert_message_helps;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/api/agents/planner/health",
            "/api/files/src/main.rs",
            "/a//b/",
            "/a..b/...",
            "/search?q=a%20b&path=../x&url=http://example.com/%0A",
            "/%C3%A4",
        ] {
            check(path).unwrap_or_else(|error| panic!("{path}: {error:?}"));
        }
    }

    #[test]
    fn unsafe_path_is_refused_with_the_rule() {
        for path in [
            "",
            "api",
            "http://example.com/",
            "//example.com/x",
            "/\\example.com",
            "/a/../b",
            "/a/%2e%2E/b",
            "/a/..%2fb",
            "/a/..%5cb",
            "/a/./b",
            "/..",
            "/a b",
            "/a\r\nHost: x",
            "/a%0d%0aHost:%20x",
            "/a%00",
            "/ä",
            "/a#b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/a?b=%q1",
        ] {
            let error = check(path).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest, "{path}");
            assert_ne!(error.message, Reason::InvalidRequest.message(), "{path}");
            assert_message_helps(&error.message);
        }
        assert!(check(&"/x".repeat(REQUEST_PATH_BYTES_MAX)).is_err());
    }

    proptest! {
        #[test]
        fn accepted_path_stays_below_the_base_unchanged(
            path in "/[ -~]{0,12}|/[./%25eEfF\\\\a]{0,12}",
        ) {
            if check(&path).is_ok() {
                let url = url::Url::parse(&format!("http://base.test:81/prefix{path}")).unwrap();
                prop_assert_eq!(url.origin().ascii_serialization(), "http://base.test:81");
                prop_assert!(url.path().starts_with("/prefix/"));
                // Within a query the parser encodes the apostrophe, which changes nothing.
                prop_assert_eq!(url.as_str().replace("%27", "'"), format!("http://base.test:81/prefix{path}"));
            }
        }
    }
}
