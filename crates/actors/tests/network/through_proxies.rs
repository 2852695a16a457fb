//! Tests routes through proxies. Only the proxies resolve the backend's name, so what arrives came through them.

use std::{pin::pin, time::Duration};

use mainstay_actors::{
    connection::error::ConnectionErrorKind::{self, ProxyRefused, ProxyUnauthenticated, ProxyUnreachable},
    error::{Error, Reason},
    network::proxy::{ProxyChoice, ProxyVariables},
    transport::{FailureKind, SendProgress},
};
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    backend::TestBackend,
    certificates::TestAuthority,
    clients::TestRoute,
    proxies::{
        ProxyBehaviour::{self, ForwardTo, Hold, Respond},
        TestProxy,
    },
    server::header,
};

const NAME: &str = "backend.test";
/// `user:hush`.
const BASIC_CREDENTIALS: &str = "Basic dXNlcjpodXNo";
/// No resolver is asked for it: a label may have 63 characters.
const UNRESOLVABLE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.test";
/// For servers that never answer, so that no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

/// A backend without TLS and one over TLS, and the routes to them except for the proxy.
async fn backends(authority: &TestAuthority) -> [(TestBackend, TestRoute); 2] {
    let plain = TestBackend::start(None).await;
    let secure = TestBackend::start(Some(authority.acceptor(NAME))).await;
    let route = |scheme| TestRoute::new(format!("{scheme}://{NAME}:7777")).with_authority(authority);
    [(plain, route("http")), (secure, route("https"))]
}

/// Returns the routes to a backend without TLS and to one over TLS, neither of which is ever reached.
fn routes() -> [TestRoute; 2] {
    ["http", "https"].map(|scheme| TestRoute::new(format!("{scheme}://{NAME}:7777")))
}

fn proxy_kinds(kind: ConnectionErrorKind) -> (FailureKind, ConnectionErrorKind) {
    let failure = match kind {
        ProxyUnreachable => FailureKind::ProxyUnreachable,
        ProxyUnauthenticated => FailureKind::ProxyUnauthenticated,
        ProxyRefused => FailureKind::ProxyRefused,
        other => panic!("{other:?} is none of the proxy's"),
    };
    (failure, kind)
}

/// Checks that both clients report this fault of the proxy, and that nothing reached a backend.
async fn assert_proxy_fails(route: &TestRoute, kind: ConnectionErrorKind) {
    let (failure, fault) = route.assert_fails().await;
    assert_eq!((failure.kind, fault.kind), proxy_kinds(kind), "{}: {failure} {fault:?}", route.base);
    assert_eq!(failure.progress, SendProgress::NotSent);
    assert!(Error::from(&failure).message.to_lowercase().contains("proxy"));
    assert!(fault.message.to_lowercase().contains("proxy"));
}

// === getting through ===

#[tokio::test]
async fn http_proxy_reaches_plain_and_tls_backends() {
    let authority = TestAuthority::new();
    let logins = [("http://", None), ("http://user:hush@", Some(BASIC_CREDENTIALS))];
    let backends = [backends(&authority).await, backends(&authority).await];
    let rows = logins.into_iter().zip(backends).flat_map(|(login, both)| both.map(|it| (login, it)));
    for ((scheme, credentials), (mut backend, route)) in rows {
        let mut proxy = TestProxy::serve_http(None, credentials, ForwardTo(backend.port())).await;
        let route = route.with_proxy(&proxy.url(scheme));
        route.assert_connects().await;
        let (request, handshake) = (proxy.next_request().await, proxy.next_request().await);
        let asks = if route.base.starts_with("https") {
            format!("CONNECT {NAME}:7777 HTTP/1.1\r\n")
        } else {
            format!("GET http://{NAME}:7777/thing HTTP/1.1\r\n")
        };
        assert!(request.starts_with(&asks), "{request}");
        assert!(handshake.starts_with(&format!("CONNECT {NAME}:7777 HTTP/1.1\r\n")), "{handshake}");
        assert_eq!(header(&handshake, "host"), Some(format!("{NAME}:7777").as_str()));
        assert_eq!(header(&handshake, "proxy-authorization"), credentials);
        for asked in [request, handshake] {
            let head = backend.next_head().await;
            assert_eq!(header(&head, "host"), Some(format!("{NAME}:7777").as_str()), "{head}");
            assert_eq!(header(&head, "proxy-authorization"), None, "{head}");
            assert_eq!(header(&head, "authorization"), Some("Bearer sesame"), "{head}");
            assert_eq!(header(&head, "x-api-key"), Some("open"), "{head}");
            // A proxy sees the headers only of what it forwards without a tunnel.
            let is_hidden = !asked.contains("sesame") && !asked.contains("x-api-key");
            assert!(is_hidden || asked.starts_with("GET http:"), "{asked}");
        }
    }
}

#[tokio::test]
async fn https_proxy_must_be_trusted() {
    let authority = TestAuthority::new();
    for (backend, route) in backends(&authority).await {
        let tls = authority.acceptor("localhost");
        let proxy =
            TestProxy::serve_http(Some(tls), Some(BASIC_CREDENTIALS), ForwardTo(backend.port())).await;
        let address = proxy.url("https://user:hush@");
        route.clone().with_proxy(&address).assert_connects().await;
        let untrusting = route.with_authority(&TestAuthority::new()).with_proxy(&address);
        assert_proxy_fails(&untrusting, ProxyUnreachable).await;
    }
}

#[tokio::test]
async fn socks5_proxy_reaches_backends_with_and_without_login() {
    let authority = TestAuthority::new();
    for (login, user) in [("", None), ("user:h%75sh@", Some(("user", "hush")))] {
        for (backend, route) in backends(&authority).await {
            let mut proxy = TestProxy::serve_socks(user, ForwardTo(backend.port())).await;
            route.with_proxy(&proxy.url(&format!("socks5h://{login}"))).assert_connects().await;
            for _ in 0..2 {
                let asked = proxy.next_request().await;
                assert_eq!(asked, format!("{NAME}:7777"), "the name is the proxy's to resolve");
            }
        }
    }
}

#[tokio::test]
async fn socks5_resolves_the_name_locally() {
    let backend = TestBackend::start(None).await;
    let mut proxy = TestProxy::serve_socks(None, ForwardTo(backend.port())).await;
    let address = proxy.url("socks5://");
    TestRoute::new("http://localhost:7777").with_proxy(&address).assert_connects().await;
    for _ in 0..2 {
        let asked = proxy.next_request().await;
        assert!(asked == "127.0.0.1:7777" || asked == "[::1]:7777", "{asked}");
    }
    let unresolvable = TestRoute::new(format!("http://{UNRESOLVABLE}")).with_proxy(&address);
    let fault = unresolvable.dial().await.unwrap_err();
    assert_eq!(fault.kind, ConnectionErrorKind::Unresolved, "which is no fault of the proxy's");
}

// === choosing ===

#[tokio::test]
async fn no_proxy_is_honoured() {
    let backend = TestBackend::start(None).await;
    let mut proxy = TestProxy::serve_http(None, None, ForwardTo(backend.port())).await;
    let route = |no: &str| {
        let all = proxy.url("http://");
        let variables = ProxyVariables { all, no_proxy: no.to_owned(), ..ProxyVariables::default() };
        TestRoute::new(format!("http://{UNRESOLVABLE}:7777"))
            .with_proxy_choice(&ProxyChoice::System, variables)
    };
    let (spared, used) = (route("elsewhere.test,.test"), route("elsewhere.test"));
    let (failure, fault) = spared.assert_fails().await;
    assert_eq!((failure.kind, fault.kind), (FailureKind::HostNotFound, ConnectionErrorKind::Unresolved));
    assert!(proxy.is_idle());
    used.assert_connects().await;
    assert!(!proxy.is_idle());
}

// === what the proxy does wrong ===

#[tokio::test]
async fn proxy_407_differs_from_a_backend_401() {
    for route in routes() {
        let proxy = TestProxy::serve_http(None, Some(BASIC_CREDENTIALS), Hold).await;
        for login in ["", "user:hush2@"] {
            let route = route.clone().with_proxy(&proxy.url(&format!("http://{login}")));
            assert_proxy_fails(&route, ProxyUnauthenticated).await;
        }
        let proxy = TestProxy::serve_socks(Some(("user", "hush")), Hold).await;
        for login in ["", "user:hush2@"] {
            let route = route.clone().with_proxy(&proxy.url(&format!("socks5h://{login}")));
            assert_proxy_fails(&route, ProxyUnauthenticated).await;
        }
    }
    let backend = TestBackend::with_status(None, Some(401)).await;
    let proxy = TestProxy::serve_http(None, None, ForwardTo(backend.port())).await;
    let route = TestRoute::new(format!("http://{NAME}")).with_proxy(&proxy.url("http://"));
    assert_eq!(route.dial().await.unwrap_err().kind, ConnectionErrorKind::Unauthenticated);
    let status = route.send_request().await.unwrap().status.as_u16();
    assert_eq!(Reason::from_status(status), Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn unreachable_proxy_is_proxy_unreachable() {
    // Bound and not listening: no other program gets the port, and connections to it are refused.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = silent.local_addr().unwrap();
    for route in routes() {
        let unreachable = ["http", "https", "socks5h"].map(|scheme| format!("{scheme}://{dead}"));
        let unresolvable = ["http", "socks5h"].map(|scheme| format!("{scheme}://{UNRESOLVABLE}"));
        for address in unreachable.iter().chain(&unresolvable) {
            assert_proxy_fails(&route.clone().with_proxy(address), ProxyUnreachable).await;
        }
    }
}

#[tokio::test]
async fn refusing_proxy_is_proxy_refused() {
    for status in [403, 502] {
        let proxy = TestProxy::serve_http(None, None, ProxyBehaviour::respond_status(status)).await;
        let address = proxy.url("http://");
        let [plain, secure] = routes().map(|route| route.with_proxy(&address));
        assert_proxy_fails(&secure, ProxyRefused).await;
        let fault = plain.dial().await.unwrap_err();
        assert_eq!((fault.kind, fault.status), (ProxyRefused, Some(status)));
        // Without a tunnel nothing tells a proxy's response from the backend's.
        assert_eq!(plain.send_request().await.unwrap().status.as_u16(), status);
    }
    // Not allowed; host unreachable; connection refused.
    for code in [2, 4, 5] {
        let proxy = TestProxy::serve_socks(None, Respond(vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0])).await;
        for route in routes() {
            let route = route.with_proxy(&proxy.url("socks5h://"));
            let (failure, fault) = route.assert_fails().await;
            let kind = if code == 2 { FailureKind::ProxyDenied } else { FailureKind::ProxyRefused };
            assert_eq!((failure.kind, fault.kind), (kind, ProxyRefused), "{code}");
        }
    }
}

#[tokio::test]
async fn non_proxy_is_proxy_unreachable() {
    let hangs_up = TestProxy::serve_http(None, None, Respond(Vec::new())).await;
    let [plain, secure] = routes().map(|route| route.with_proxy(&hangs_up.url("http://")));
    assert_proxy_fails(&secure, ProxyUnreachable).await;
    assert_eq!(plain.dial().await.unwrap_err().kind, ProxyUnreachable);
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 200 OK\r\n\r\nand more"] {
        let other = TestProxy::serve_http(None, None, Respond(answer.into())).await;
        for route in routes() {
            let fault = route.with_proxy(&other.url("http://")).dial().await.unwrap_err();
            assert_eq!(fault.kind, ProxyUnreachable, "{answer}");
        }
    }
    let other = TestProxy::serve_socks(None, Respond(b"HTTP/1.1 400 Bad Request\r\n\r\n".into())).await;
    for route in routes() {
        assert_proxy_fails(&route.with_proxy(&other.url("socks5h://")), ProxyUnreachable).await;
    }
}

// === time ===

#[tokio::test]
async fn silent_proxy_is_proxy_unreachable() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    for mut route in routes().map(|route| route.with_proxy(&address)) {
        route.route.proxy_timeout = SHORT;
        assert_eq!(route.dial().await.unwrap_err().kind, ProxyUnreachable);
        route.connect_timeout = SHORT;
        let kind = route.send_request().await.unwrap_err().kind;
        // A tunnel does not show which of its two ends did not answer.
        let is_tunnel = route.base.starts_with("https");
        let expected = if is_tunnel { FailureKind::ConnectTimedOut } else { FailureKind::ProxyUnreachable };
        assert_eq!(kind, expected, "{}", route.base);
    }
}

#[tokio::test]
async fn connect_timeout_covers_the_proxy() {
    for route in routes() {
        let proxy = TestProxy::serve_socks(None, Hold).await;
        let mut route = route.with_proxy(&proxy.url("socks5h://"));
        route.connect_timeout = SHORT;
        let failure = route.send_request().await.unwrap_err();
        assert_eq!((failure.kind, failure.progress), (FailureKind::ConnectTimedOut, SendProgress::NotSent));
    }
}

#[tokio::test]
async fn dropped_dial_leaves_its_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "socks5h"] {
        let route = TestRoute::new(format!("http://{NAME}")).with_proxy(&format!("{scheme}://{address}"));
        let mut proxy = {
            let mut dialling = pin!(route.dial());
            tokio::select! {
                _ = &mut dialling => panic!("nobody answered"),
                accepted = listener.accept() => accepted.unwrap().0,
            }
        };
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut proxy, &mut rest).await.unwrap();
    }
}
