//! Opens the stream below TLS and WebSocket: directly, or through a proxy.

use std::{
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use futures_util::future::{Either, select};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::{client::legacy::connect::proxy::SocksV5, rt::TokioIo};
use tokio::time::timeout;
use tokio_tungstenite::MaybeTlsStream;
use tower_service::Service;

use super::{Resolver, TcpOrTlsStream, io_error, tcp};
use crate::{
    connection::{
        error::{ConnectionError, ConnectionErrorKind},
        target::SocketTarget,
    },
    error::retry_after,
    network::{
        Route,
        proxy::{Proxy, ProxyScheme},
        proxy_error::ProxyError,
        tls::{self, TlsPeer},
    },
};

/// The longest response to a `CONNECT`, in bytes.
const CONNECT_RESPONSE_BYTES_MAX: usize = 16 << 10;

/// Opens a stream that ends at the backend.
pub(super) async fn open_stream(target: &SocketTarget) -> Result<TcpOrTlsStream, ConnectionError> {
    let endpoint = target.endpoint();
    let (route, resolver) = (target.route(), target.resolver());
    let Some(proxy) = &route.proxy else {
        return Ok(MaybeTlsStream::Plain(tcp::connect(resolver, endpoint).await?));
    };
    let authority = match proxy.scheme() {
        // With `socks5` the client resolves the name, with `socks5h` the proxy does.
        ProxyScheme::Socks5 => {
            let found = resolver.resolve(endpoint).await.map_err(|error| io_error::from_lookup(&error))?;
            let no_address =
                || ConnectionError::new(ConnectionErrorKind::Unresolved, "the name has no address");
            let address = found.first().ok_or_else(no_address)?;
            SocketAddr::new(address.ip(), address.port()).to_string()
        }
        _ => endpoint.to_string(),
    };
    let stream = timeout(route.proxy_timeout, connect_to_proxy(resolver, route, proxy))
        .await
        .map_err(|_| proxy_unreachable("it did not take the connection in time"))??;
    match proxy.scheme() {
        ProxyScheme::Http | ProxyScheme::Https => {
            open_http_tunnel(stream, &authority, proxy.authorization()).await
        }
        ProxyScheme::Socks5 | ProxyScheme::Socks5h => open_socks_tunnel(stream, &authority, proxy).await,
    }
}

/// Opens a stream that ends at the proxy.
async fn connect_to_proxy(
    resolver: &Resolver,
    route: &Route,
    proxy: &Proxy,
) -> Result<TcpOrTlsStream, ConnectionError> {
    let endpoint = proxy.endpoint();
    let stream = tcp::connect(resolver, endpoint).await.map_err(|error| proxy_unreachable(&error.details))?;
    if !proxy.is_secure() {
        return Ok(MaybeTlsStream::Plain(stream));
    }
    let without_tls = |error: &dyn std::fmt::Display| proxy_unreachable(&format!("its TLS failed: {error}"));
    tls::connect(&route.trust, TlsPeer::Proxy, endpoint.host_name(), stream)
        .await
        .map_err(|error| without_tls(&error))
}

/// Asks an HTTP proxy to connect the stream to `authority`.
async fn open_http_tunnel(
    stream: TcpOrTlsStream,
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> Result<TcpOrTlsStream, ConnectionError> {
    let broken = |error: hyper::Error| proxy_unreachable(&format!("it broke off: {error}"));
    let mut builder = http1::Builder::new();
    let handshake = builder.max_buf_size(CONNECT_RESPONSE_BYTES_MAX).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let response = std::pin::pin!(sender.send_request(connect_request(authority, authorization)?));
    let connection = std::pin::pin!(connection.without_shutdown());
    let parts = match select(response, connection).await {
        Either::Left((response, connection)) => {
            check_connect_response(&response.map_err(broken)?)?;
            connection.await
        }
        Either::Right((parts, response)) => {
            check_connect_response(&response.await.map_err(broken)?)?;
            parts
        }
    };
    let parts = parts.map_err(broken)?;
    if !parts.read_buf.is_empty() {
        // A backend waits for the client to speak first, so these bytes are not the backend's.
        return Err(proxy_unreachable("it sent more than its answer"));
    }
    Ok(parts.io.into_inner())
}

fn connect_request(
    authority: &str,
    authorization: Option<&HeaderValue>,
) -> Result<Request<String>, ConnectionError> {
    let mut request =
        Request::builder().method(Method::CONNECT).uri(authority).header(header::HOST, authority);
    if let Some(authorization) = authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let invalid = |_| {
        ConnectionError::new(ConnectionErrorKind::InvalidTarget, "the address cannot be asked of a proxy")
    };
    request.body(String::new()).map_err(invalid)
}

fn check_connect_response(response: &Response<Incoming>) -> Result<(), ConnectionError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let kind = if status.as_u16() == 407 {
        ConnectionErrorKind::ProxyUnauthenticated
    } else {
        ConnectionErrorKind::ProxyRefused
    };
    let error = ConnectionError::new(kind, &format!("the proxy answered with HTTP {}", status.as_u16()));
    let retry_after = retry_after(response.headers(), None);
    Err(ConnectionError { status: Some(status.as_u16()), retry_after, ..error })
}

/// Asks a SOCKS5 proxy to connect the stream to `authority`.
async fn open_socks_tunnel(
    stream: TcpOrTlsStream,
    authority: &str,
    proxy: &Proxy,
) -> Result<TcpOrTlsStream, ConnectionError> {
    let invalid = |_| {
        ConnectionError::new(ConnectionErrorKind::InvalidTarget, "the address cannot be asked of a proxy")
    };
    let authority: Uri = format!("http://{authority}").parse().map_err(invalid)?;
    let mut socks = SocksV5::new(Uri::default(), ProxyStream(Some(TokioIo::new(stream))));
    if let Some((user, password)) = proxy.user_and_password() {
        socks = socks.with_auth(user.to_owned(), password.to_owned());
    }
    let opened = socks.call(authority).await.map_err(|error| {
        let text = error.to_string();
        let kind = match ProxyError::from_error_text(&text) {
            Some(ProxyError::Unauthenticated) => ConnectionErrorKind::ProxyUnauthenticated,
            Some(ProxyError::Refused | ProxyError::Denied) => ConnectionErrorKind::ProxyRefused,
            Some(ProxyError::Unreachable) | None => ConnectionErrorKind::ProxyUnreachable,
        };
        ConnectionError::new(kind, &text)
    })?;
    Ok(opened.into_inner())
}

fn proxy_unreachable(details: &str) -> ConnectionError {
    ConnectionError::new(ConnectionErrorKind::ProxyUnreachable, &format!("the proxy: {details}"))
}

/// The stream to the proxy, opened before the handshake asks for it.
struct ProxyStream(Option<TokioIo<TcpOrTlsStream>>);

impl Service<Uri> for ProxyStream {
    type Response = TokioIo<TcpOrTlsStream>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<TokioIo<TcpOrTlsStream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _proxy: Uri) -> Self::Future {
        ready(self.0.take().ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}
