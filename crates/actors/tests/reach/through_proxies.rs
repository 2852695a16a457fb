//! Through proxies. The backend's name resolves nowhere but at a proxy, so what arrives has come through it.

use std::{pin::pin, time::Duration};

use mainstay_actors::{
    connection::fault::FaultKind::{self, ProxyRefused, ProxyUnauthenticated, ProxyUnreachable},
    error::{Error, Reason},
    reach::proxy::{Proxy as ProxySettings, ProxyChoice, ProxyVariables},
    transport::{FailureKind, Reach},
};
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    backend::Backend,
    certificates::Authority,
    clients::Way,
    listening::header,
    proxies::{Conduct, Proxy},
};

const NAME: &str = "backend.test";
/// `user:hush`.
const BASIC: &str = "Basic dXNlcjpodXNo";
/// Not even asked of a resolver: a label may have 63 characters.
const NOWHERE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.test";
/// Where the servers never answer, so that no speed is assumed.
const SHORT: Duration = Duration::from_millis(50);

/// A backend in the clear and one over TLS, and the ways to them but for the proxy.
async fn backends(authority: &Authority) -> [(Backend, Way); 2] {
    let plain = Backend::start(None).await;
    let secure = Backend::start(Some(authority.acceptor(NAME))).await;
    let way = |scheme| Way::to(format!("{scheme}://{NAME}:7777")).trusting(authority);
    [(plain, way("http")), (secure, way("https"))]
}

/// The ways to a backend in the clear and to one over TLS, neither of which is ever reached.
fn ways() -> [Way; 2] {
    ["http", "https"].map(|scheme| Way::to(format!("{scheme}://{NAME}:7777")))
}

fn kinds(kind: FaultKind) -> (FailureKind, FaultKind) {
    let failure = match kind {
        ProxyUnreachable => FailureKind::ProxyUnreachable,
        ProxyUnauthenticated => FailureKind::ProxyUnauthenticated,
        ProxyRefused => FailureKind::ProxyRefused,
        other => panic!("{other:?} is none of the proxy's"),
    };
    (failure, kind)
}

/// Both clients find this fault, which is the proxy's, and nothing reached a backend.
async fn proxy_fails(way: &Way, kind: FaultKind) {
    let (failure, fault) = way.fails().await;
    assert_eq!((failure.kind, fault.kind), kinds(kind), "{}: {failure} {fault:?}", way.base);
    assert_eq!(failure.reach, Reach::NotSent);
    assert!(Error::from(&failure).message.to_lowercase().contains("proxy"));
    assert!(fault.message.to_lowercase().contains("proxy"));
}

// === getting through ===

#[tokio::test]
async fn an_http_proxy_leads_to_backends_in_the_clear_and_over_tls() {
    let authority = Authority::new();
    for (mut backend, way) in backends(&authority).await {
        let mut proxy = Proxy::http(None, None, Conduct::LeadTo(backend.port())).await;
        let way = way.through(&format!("http://127.0.0.1:{}", proxy.port()));
        way.arrives().await;
        let (request, handshake) = (proxy.asked().await, proxy.asked().await);
        let asks = if way.base.starts_with("https") {
            format!("CONNECT {NAME}:7777 HTTP/1.1\r\n")
        } else {
            format!("GET http://{NAME}:7777/thing HTTP/1.1\r\n")
        };
        assert!(request.starts_with(&asks), "{request}");
        assert!(handshake.starts_with(&format!("CONNECT {NAME}:7777 HTTP/1.1\r\n")), "{handshake}");
        assert_eq!(header(&handshake, "host"), Some(format!("{NAME}:7777").as_str()));
        assert_eq!(header(&handshake, "proxy-authorization"), None);
        for _ in 0..2 {
            let head = backend.head().await;
            assert_eq!(header(&head, "host"), Some(format!("{NAME}:7777").as_str()), "{head}");
        }
    }
}

#[tokio::test]
async fn an_http_proxy_with_a_login_gets_it_and_the_backend_does_not() {
    let authority = Authority::new();
    for (mut backend, way) in backends(&authority).await {
        let proxy = Proxy::http(None, Some(BASIC), Conduct::LeadTo(backend.port())).await;
        way.through(&format!("http://user:hush@127.0.0.1:{}", proxy.port())).arrives().await;
        for _ in 0..2 {
            assert_eq!(header(&backend.head().await, "proxy-authorization"), None);
        }
    }
}

#[tokio::test]
async fn an_http_proxy_that_is_spoken_to_over_tls_must_be_trusted_too() {
    let authority = Authority::new();
    for (backend, way) in backends(&authority).await {
        let tls = authority.acceptor("localhost");
        let proxy = Proxy::http(Some(tls), Some(BASIC), Conduct::LeadTo(backend.port())).await;
        let address = format!("https://user:hush@localhost:{}", proxy.port());
        way.clone().through(&address).arrives().await;
        proxy_fails(&way.trusting(&Authority::new()).through(&address), ProxyUnreachable).await;
    }
}

#[tokio::test]
async fn a_socks5_proxy_leads_to_backends_in_the_clear_and_over_tls_with_a_login_and_without() {
    let authority = Authority::new();
    for (login, user) in [("", None), ("user:h%75sh@", Some(("user", "hush")))] {
        for (backend, way) in backends(&authority).await {
            let mut proxy = Proxy::socks(user, Conduct::LeadTo(backend.port())).await;
            way.through(&format!("socks5h://{login}127.0.0.1:{}", proxy.port())).arrives().await;
            for _ in 0..2 {
                assert_eq!(proxy.asked().await, format!("{NAME}:7777"), "the name is the proxy's to resolve");
            }
        }
    }
}

#[tokio::test]
async fn socks5_without_an_h_resolves_the_name_here() {
    let backend = Backend::start(None).await;
    let mut proxy = Proxy::socks(None, Conduct::LeadTo(backend.port())).await;
    let address = format!("socks5://127.0.0.1:{}", proxy.port());
    Way::to("http://localhost:7777").through(&address).arrives().await;
    for _ in 0..2 {
        let asked = proxy.asked().await;
        assert!(asked == "127.0.0.1:7777" || asked == "[::1]:7777", "{asked}");
    }
    let fault = Way::to(format!("http://{NOWHERE}")).through(&address).dial().await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unresolved, "which is no fault of the proxy's");
}

#[tokio::test]
async fn headers_and_token_arrive_over_http_and_websocket_and_no_tunnel_shows_them_to_the_proxy() {
    let authority = Authority::new();
    let [_, (mut backend, way)] = backends(&authority).await;
    let mut proxy = Proxy::http(None, None, Conduct::LeadTo(backend.port())).await;
    way.through(&format!("http://127.0.0.1:{}", proxy.port())).arrives().await;
    for _ in 0..2 {
        let head = backend.head().await;
        assert_eq!(header(&head, "authorization"), Some("Bearer sesame"), "{head}");
        assert_eq!(header(&head, "x-api-key"), Some("open"), "{head}");
        let asked = proxy.asked().await;
        assert!(!asked.contains("sesame") && !asked.contains("x-api-key"), "{asked}");
    }
}

// === choosing ===

#[tokio::test]
async fn no_proxy_is_honoured() {
    let backend = Backend::start(None).await;
    let mut proxy = Proxy::http(None, None, Conduct::LeadTo(backend.port())).await;
    let way = |no: &str| {
        let all = format!("http://127.0.0.1:{}", proxy.port());
        let variables = ProxyVariables { all, no: no.to_owned(), ..ProxyVariables::default() };
        Way::to(format!("http://{NOWHERE}:7777")).choosing(&ProxyChoice::System, variables)
    };
    let (spared, used) = (way("elsewhere.test,.test"), way("elsewhere.test"));
    let (failure, fault) = spared.fails().await;
    assert_eq!((failure.kind, fault.kind), (FailureKind::HostNotFound, FaultKind::Unresolved));
    assert!(proxy.is_idle());
    used.arrives().await;
    assert!(!proxy.is_idle());
}

#[tokio::test]
async fn a_backend_on_this_computer_is_reached_past_the_systems_proxy_but_through_a_named_one() {
    let backend = Backend::start(None).await;
    let mut proxy = Proxy::http(None, None, Conduct::LeadTo(backend.port())).await;
    let all = format!("http://127.0.0.1:{}", proxy.port());
    let way = |choice: &ProxyChoice| {
        let variables = ProxyVariables { all: all.clone(), ..ProxyVariables::default() };
        Way::to(format!("http://127.0.0.1:{}", backend.port())).choosing(choice, variables)
    };
    way(&ProxyChoice::System).arrives().await;
    assert!(proxy.is_idle());
    way(&ProxyChoice::Explicit(ProxySettings::parse(&all).unwrap())).arrives().await;
    assert!(!proxy.is_idle());
}

// === what the proxy does wrong ===

#[tokio::test]
async fn a_proxy_that_wants_another_login_is_told_from_a_backend_that_does() {
    for way in ways() {
        let proxy = Proxy::http(None, Some(BASIC), Conduct::Hold).await;
        for login in ["", "user:hush2@"] {
            let way = way.clone().through(&format!("http://{login}127.0.0.1:{}", proxy.port()));
            proxy_fails(&way, ProxyUnauthenticated).await;
        }
        let proxy = Proxy::socks(Some(("user", "hush")), Conduct::Hold).await;
        for login in ["", "user:hush2@"] {
            let way = way.clone().through(&format!("socks5h://{login}127.0.0.1:{}", proxy.port()));
            proxy_fails(&way, ProxyUnauthenticated).await;
        }
    }
    let backend = Backend::answering(None, Some(401)).await;
    let proxy = Proxy::http(None, None, Conduct::LeadTo(backend.port())).await;
    let way = Way::to(format!("http://{NAME}")).through(&format!("http://127.0.0.1:{}", proxy.port()));
    assert_eq!(way.dial().await.unwrap_err().kind, FaultKind::Unauthenticated);
    assert_eq!(Reason::of_status(way.ask().await.unwrap().status.as_u16()), Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_said_to_be_the_proxy() {
    // Bound and not listening: nobody else gets the port, and whoever connects to it is refused.
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let dead = silent.local_addr().unwrap();
    for way in ways() {
        for scheme in ["http", "https", "socks5h"] {
            proxy_fails(&way.clone().through(&format!("{scheme}://{dead}")), ProxyUnreachable).await;
        }
        for scheme in ["http", "socks5h"] {
            proxy_fails(&way.clone().through(&format!("{scheme}://{NOWHERE}")), ProxyUnreachable).await;
        }
    }
}

#[tokio::test]
async fn a_proxy_that_does_not_get_through_is_told_from_one_that_is_not_there() {
    for status in [403, 502] {
        let proxy = Proxy::http(None, None, Conduct::status(status)).await;
        let address = format!("http://127.0.0.1:{}", proxy.port());
        let [plain, secure] = ways().map(|way| way.through(&address));
        proxy_fails(&secure, ProxyRefused).await;
        let fault = plain.dial().await.unwrap_err();
        assert_eq!((fault.kind, fault.status), (ProxyRefused, Some(status)));
        // Without a tunnel nothing tells a proxy's answer from the backend's.
        assert_eq!(plain.ask().await.unwrap().status.as_u16(), status);
    }
    // Not allowed; host unreachable; connection refused.
    for code in [2, 4, 5] {
        let proxy = Proxy::socks(None, Conduct::Answer(vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0])).await;
        for way in ways() {
            let way = way.through(&format!("socks5h://127.0.0.1:{}", proxy.port()));
            let (failure, fault) = way.fails().await;
            let kind = if code == 2 { FailureKind::ProxyDenied } else { FailureKind::ProxyRefused };
            assert_eq!((failure.kind, fault.kind), (kind, ProxyRefused), "{code}");
        }
    }
}

#[tokio::test]
async fn what_is_no_proxy_counts_as_one_that_cannot_be_reached() {
    let hangs_up = Proxy::http(None, None, Conduct::Answer(Vec::new())).await;
    let [plain, secure] = ways().map(|way| way.through(&format!("http://127.0.0.1:{}", hangs_up.port())));
    proxy_fails(&secure, ProxyUnreachable).await;
    assert_eq!(plain.dial().await.unwrap_err().kind, ProxyUnreachable);
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 200 OK\r\n\r\nand more"] {
        let other = Proxy::http(None, None, Conduct::Answer(answer.into())).await;
        for way in ways() {
            let fault = way.through(&format!("http://127.0.0.1:{}", other.port())).dial().await.unwrap_err();
            assert_eq!(fault.kind, ProxyUnreachable, "{answer}");
        }
    }
    let other = Proxy::socks(None, Conduct::Answer(b"HTTP/1.1 400 Bad Request\r\n\r\n".into())).await;
    for way in ways() {
        proxy_fails(&way.through(&format!("socks5h://127.0.0.1:{}", other.port())), ProxyUnreachable).await;
    }
}

// === time ===

#[tokio::test]
async fn a_proxy_that_never_takes_the_connection_is_said_to_be_the_proxy() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://{}", silent.local_addr().unwrap());
    for mut way in ways().map(|way| way.through(&address)) {
        way.route.proxy_timeout = SHORT;
        assert_eq!(way.dial().await.unwrap_err().kind, ProxyUnreachable);
        way.connect_timeout = SHORT;
        let kind = way.ask().await.unwrap_err().kind;
        // Of a tunnel it is not known which of its two ends did not answer.
        let is_tunnel = way.base.starts_with("https");
        let expected = if is_tunnel { FailureKind::ConnectTimedOut } else { FailureKind::ProxyUnreachable };
        assert_eq!(kind, expected, "{}", way.base);
    }
}

#[tokio::test]
async fn the_time_to_connect_covers_the_proxy() {
    for way in ways() {
        let proxy = Proxy::socks(None, Conduct::Hold).await;
        let mut way = way.through(&format!("socks5h://127.0.0.1:{}", proxy.port()));
        way.connect_timeout = SHORT;
        let failure = way.ask().await.unwrap_err();
        assert_eq!((failure.kind, failure.reach), (FailureKind::ConnectTimedOut, Reach::NotSent));
    }
}

#[tokio::test]
async fn a_dial_that_is_dropped_leaves_its_proxy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for scheme in ["http", "socks5h"] {
        let way = Way::to(format!("http://{NAME}")).through(&format!("{scheme}://{address}"));
        let mut proxy = {
            let mut dialling = pin!(way.dial());
            tokio::select! {
                _ = &mut dialling => panic!("nobody answered"),
                accepted = listener.accept() => accepted.unwrap().0,
            }
        };
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut proxy, &mut rest).await.unwrap();
    }
}
