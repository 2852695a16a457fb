//! Maps the failures of reqwest.

use std::{error::Error as StdError, io};

use crate::{
    network::{proxy_error::ProxyError, tls::is_tls_failure},
    transport::{FailureKind, SendProgress, TransportError},
};

/// Returns the failure for an `error` before the response began.
pub(super) fn kind_before_response(error: &reqwest::Error) -> FailureKind {
    if error.is_builder() {
        return FailureKind::BadRequest;
    }
    if error.is_connect() {
        return connect_failure_kind(error);
    }
    if error.is_timeout() {
        return FailureKind::TimedOut;
    }
    if is_malformed_response(error) { FailureKind::BadResponse } else { FailureKind::Reset }
}

/// Returns the failure for an `error` within the response.
pub(super) fn kind_in_body(error: &reqwest::Error) -> FailureKind {
    if error.is_timeout() {
        FailureKind::BodyTimedOut
    } else if is_malformed_response(error) || is_badly_packed(error) {
        FailureKind::BadResponse
    } else {
        FailureKind::BodyReset
    }
}

fn connect_failure_kind(error: &reqwest::Error) -> FailureKind {
    if error.is_timeout() {
        return FailureKind::ConnectTimedOut;
    }
    if let Some(error) = causes(error).find_map(|cause| ProxyError::from_error_text(&cause.to_string())) {
        return match error {
            ProxyError::Unreachable => FailureKind::ProxyUnreachable,
            ProxyError::Unauthenticated => FailureKind::ProxyUnauthenticated,
            ProxyError::Refused => FailureKind::ProxyRefused,
            ProxyError::Denied => FailureKind::ProxyDenied,
        };
    }
    if error.is_dns() {
        return FailureKind::HostNotFound;
    }
    if io_causes(error).any(|cause| cause.kind() == io::ErrorKind::ConnectionRefused) {
        FailureKind::Refused
    } else if causes(error).any(is_tls_failure) {
        FailureKind::Tls
    } else {
        FailureKind::Connect
    }
}

/// Returns the same failure for a connection to a proxy that forwards requests: its failures to connect are the
/// proxy's.
pub(super) fn attribute_to_proxy(failure: TransportError) -> TransportError {
    use FailureKind::{Connect, ConnectTimedOut, HostNotFound, ProxyUnreachable, Refused, Tls};
    if !matches!(failure.kind, Connect | ConnectTimedOut | HostNotFound | Refused | Tls) {
        return failure;
    }
    TransportError { kind: ProxyUnreachable, ..failure }
}

/// Returns the failure for a forwarding proxy that asks for a login in place of the backend's response.
pub(super) fn proxy_unauthenticated() -> TransportError {
    let details = "the proxy answered with HTTP 407";
    TransportError::new(FailureKind::ProxyUnauthenticated, SendProgress::NotSent, details)
}

/// Returns whether the request was never begun on its connection, so that the server cannot have seen it.
pub(super) fn is_unsent(error: &reqwest::Error) -> bool {
    let canceled = |error: &hyper::Error| error.is_canceled();
    error.is_builder() || error.is_connect() || hyper_causes(error).any(canceled)
}

/// Returns whether the bytes came but are not HTTP: a broken head, or a broken chunk within the body.
fn is_malformed_response(error: &reqwest::Error) -> bool {
    let unreadable =
        |cause: &io::Error| matches!(cause.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput);
    hyper_causes(error).any(hyper::Error::is_parse) || io_causes(error).any(unreadable)
}

/// Returns whether the bytes came whole, and cannot be unpacked to their end.
fn is_badly_packed(error: &reqwest::Error) -> bool {
    error.is_decode() && hyper_causes(error).next().is_none()
}

/// The words of layers that only say where the cause below them was met.
const LAYERS: [&str; 8] = [
    "error sending request",
    "request or response body error",
    "error decoding response body",
    "error reading a body from connection",
    "connection error",
    "tcp connect error",
    "dns error",
    "client error (",
];

/// Returns the cause in words, for a log; without the URL, whose query may hold secrets.
pub(super) fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let causes = causes(&error).map(ToString::to_string);
    join_causes(std::iter::once(error.to_string()).chain(causes))
}

/// Joins the texts of a chain of causes, from the outermost on: each thing once, and the layers only if they are all.
fn join_causes(texts: impl IntoIterator<Item = String>) -> String {
    let mut texts: Vec<String> = texts.into_iter().collect();
    let is_layer = |text: &String| LAYERS.iter().any(|layer| text.starts_with(layer));
    if !texts.iter().all(is_layer) {
        texts.retain(|text| !is_layer(text));
    }
    let mut joined = String::new();
    for text in texts {
        // Some layers repeat the text of the layer below, OpenSSL's with more behind it.
        if !joined.contains(&text) {
            joined.push_str(if joined.is_empty() { "" } else { ": " });
            joined.push_str(&text);
        }
    }
    joined
}

fn hyper_causes(error: &reqwest::Error) -> impl Iterator<Item = &hyper::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref())
}

fn io_causes(error: &reqwest::Error) -> impl Iterator<Item = &io::Error> {
    causes(error).filter_map(|cause| cause.downcast_ref())
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| next_cause(cause))
}

/// Returns the next cause. An I/O error that wraps another error returns that error's source as its own, and so hides
/// the error.
fn next_cause<'a>(cause: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => cause.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_named_once_without_their_layers() {
        for (texts, expected) in [
            (
                &[
                    "error sending request",
                    "client error (SendRequest)",
                    "connection closed before message completed",
                ][..],
                "connection closed before message completed",
            ),
            (
                &[
                    "error sending request",
                    "client error (Connect)",
                    "tcp connect error",
                    "Connection refused (os error 111)",
                ],
                "Connection refused (os error 111)",
            ),
            (
                &[
                    "request or response body error",
                    "error reading a body from connection",
                    "end of file before message length reached",
                ],
                "end of file before message length reached",
            ),
            (
                &["error sending request", "invalid HTTP header parsed", "invalid HTTP"],
                "invalid HTTP header parsed",
            ),
            (&["builder error", "empty host"], "builder error: empty host"),
            (&["error sending request"], "error sending request"),
        ] {
            assert_eq!(join_causes(texts.iter().map(ToString::to_string)), expected);
        }
    }
}
