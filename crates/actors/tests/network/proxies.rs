//! Runs proxies that lead to one backend, whatever name they are asked for.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use crate::server::{IoStream, TestServer, header, read_head};

pub(crate) struct TestProxy {
    server: TestServer,
    requests: mpsc::Receiver<String>,
}

/// The proxy's treatment of an accepted client.
#[derive(Clone)]
pub(crate) enum ProxyBehaviour {
    /// It leads to the backend at this port of the loopback.
    ForwardTo(u16),
    /// HTTP: it answers with this. SOCKS: it replies with this to the target.
    Respond(Vec<u8>),
    /// It never answers.
    Hold,
}

impl ProxyBehaviour {
    pub(crate) fn respond_status(status: u16) -> Self {
        Self::Respond(format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n").into())
    }

    /// Returns the way to the backend, or does what the proxy does instead.
    async fn reach_backend(self, stream: &mut Box<dyn IoStream>) -> Option<TcpStream> {
        match self {
            Self::ForwardTo(port) => return TcpStream::connect(("127.0.0.1", port)).await.ok(),
            Self::Respond(answer) => stream.write_all(&answer).await.ok()?,
            Self::Hold => drop(stream.read_u8().await.ok()?),
        }
        None
    }
}

impl TestProxy {
    /// Starts an HTTP proxy. It answers 407 to clients without the `authorization`, if one is set.
    pub(crate) async fn serve_http(
        tls: Option<TlsAcceptor>,
        authorization: Option<&'static str>,
        conduct: ProxyBehaviour,
    ) -> Self {
        let (sender, asked) = mpsc::channel(64);
        let serve = move |stream| http(stream, authorization, conduct.clone(), sender.clone());
        Self { server: TestServer::start(tls, serve).await, requests: asked }
    }

    /// Starts a SOCKS5 proxy. It accepts only this user and password, if they are set.
    pub(crate) async fn serve_socks(
        user: Option<(&'static str, &'static str)>,
        conduct: ProxyBehaviour,
    ) -> Self {
        let (sender, asked) = mpsc::channel(64);
        let serve = move |stream| socks(stream, user, conduct.clone(), sender.clone());
        Self { server: TestServer::start(None, serve).await, requests: asked }
    }

    /// Returns the proxy's URL, with this scheme and login: `http://`, or `socks5h://user:password@`.
    pub(crate) fn url(&self, scheme: &str) -> String {
        let host = if scheme.starts_with("https:") { "localhost" } else { "127.0.0.1" };
        format!("{scheme}{host}:{}", self.server.address.port())
    }

    /// Returns the next target that a client asked for: HTTP's head, or the address that SOCKS named.
    pub(crate) async fn next_request(&mut self) -> String {
        self.requests.recv().await.unwrap()
    }

    /// Returns whether no client asked for another target.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn http(
    mut stream: Box<dyn IoStream>,
    authorization: Option<&str>,
    conduct: ProxyBehaviour,
    asked: mpsc::Sender<String>,
) -> Option<()> {
    let head = read_head(&mut stream).await?;
    asked.send(head.clone()).await.ok()?;
    if authorization.is_some() && header(&head, "proxy-authorization") != authorization {
        let answer = "HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(answer.as_bytes()).await.ok();
    }
    let mut backend = conduct.reach_backend(&mut stream).await?;
    if head.starts_with("CONNECT ") {
        // As old proxies write it.
        stream.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n").await.ok()?;
    } else {
        backend.write_all(to_origin_form(&head).as_bytes()).await.ok()?;
    }
    copy_bidirectional(&mut stream, &mut backend).await.ok().map(drop)
}

/// Returns the head as a backend gets it: with a path instead of the whole address, and without the proxy's headers.
fn to_origin_form(head: &str) -> String {
    let (method, rest) = head.split_once(" http://").unwrap();
    let path = &rest[rest.find('/').unwrap()..];
    let lines = path.split_inclusive("\r\n");
    let kept = lines.filter(|line| !line.to_lowercase().starts_with("proxy-"));
    format!("{method} {}", kept.collect::<String>())
}

/// RFC 1928 and RFC 1929.
async fn socks(
    mut stream: Box<dyn IoStream>,
    user: Option<(&str, &str)>,
    conduct: ProxyBehaviour,
    asked: mpsc::Sender<String>,
) -> Option<()> {
    let [5, methods] = read_bytes(&mut stream).await? else { return None };
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await.ok()?;
    let wanted = if user.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        return stream.write_all(&[5, 0xff]).await.ok();
    }
    stream.write_all(&[5, wanted]).await.ok()?;
    if let Some((name, password)) = user {
        let [1] = read_bytes(&mut stream).await? else { return None };
        let login = (read_text(&mut stream).await?, read_text(&mut stream).await?);
        let is_welcome = (login.0.as_str(), login.1.as_str()) == (name, password);
        stream.write_all(&[1, u8::from(!is_welcome)]).await.ok()?;
        if !is_welcome {
            return None;
        }
    }
    let [5, 1, 0, kind] = read_bytes(&mut stream).await? else { return None };
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read_bytes::<4>(&mut stream).await?).to_string(),
        3 => read_text(&mut stream).await?,
        4 => format!("[{}]", std::net::Ipv6Addr::from(read_bytes::<16>(&mut stream).await?)),
        _ => return None,
    };
    let port = stream.read_u16().await.ok()?;
    asked.send(format!("{host}:{port}")).await.ok()?;
    let mut backend = conduct.reach_backend(&mut stream).await?;
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await.ok()?;
    copy_bidirectional(&mut stream, &mut backend).await.ok().map(drop)
}

async fn read_bytes<const N: usize>(stream: &mut Box<dyn IoStream>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn read_text(stream: &mut Box<dyn IoStream>) -> Option<String> {
    let mut bytes = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
