//! Proxies that lead to one backend, whatever name they are asked for.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::TcpStream,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use crate::listening::{Server, Stream, header, read_head};

pub(crate) struct Proxy {
    server: Server,
    asked: mpsc::Receiver<String>,
}

/// What a proxy does with whoever is welcome.
#[derive(Clone)]
pub(crate) enum Conduct {
    /// It leads to the backend at this port of the loopback.
    LeadTo(u16),
    /// HTTP: it answers with this. SOCKS: with this, once it has been told where to.
    Answer(Vec<u8>),
    /// It says nothing, ever.
    Hold,
}

impl Conduct {
    fn answer(text: &str) -> Self {
        Self::Answer(text.into())
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::answer(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"))
    }
}

impl Proxy {
    /// Speaks HTTP. Who does not bring `authorization`, where there is one, gets a 407.
    pub(crate) async fn http(
        tls: Option<TlsAcceptor>,
        authorization: Option<&'static str>,
        conduct: Conduct,
    ) -> Self {
        let (sender, asked) = mpsc::channel(64);
        let serve = move |stream| http(stream, authorization, conduct.clone(), sender.clone());
        Self { server: Server::start(tls, serve).await, asked }
    }

    /// Speaks SOCKS5. Takes this user and password alone, where there are any.
    pub(crate) async fn socks(user: Option<(&'static str, &'static str)>, conduct: Conduct) -> Self {
        let (sender, asked) = mpsc::channel(64);
        let serve = move |stream| socks(stream, user, conduct.clone(), sender.clone());
        Self { server: Server::start(None, serve).await, asked }
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.address.port()
    }

    /// What it was asked next: HTTP's head, or the place that SOCKS named.
    pub(crate) async fn asked(&mut self) -> String {
        self.asked.recv().await.unwrap()
    }

    /// Whether it was asked for nothing that was not yet taken.
    pub(crate) fn is_idle(&mut self) -> bool {
        self.asked.try_recv().is_err()
    }
}

async fn http(
    mut stream: Box<dyn Stream>,
    authorization: Option<&str>,
    conduct: Conduct,
    asked: mpsc::Sender<String>,
) -> Option<()> {
    let head = read_head(&mut stream).await?;
    asked.send(head.clone()).await.ok()?;
    if authorization.is_some() && header(&head, "proxy-authorization") != authorization {
        let answer = "HTTP/1.1 407 Who are you\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        return stream.write_all(answer.as_bytes()).await.ok();
    }
    let port = match conduct {
        Conduct::LeadTo(port) => port,
        Conduct::Answer(answer) => return stream.write_all(&answer).await.ok(),
        Conduct::Hold => return stream.read_u8().await.ok().map(drop),
    };
    let mut backend = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    if head.starts_with("CONNECT ") {
        // As old proxies say it.
        stream.write_all(b"HTTP/1.0 200 Connection established\r\n\r\n").await.ok()?;
    } else {
        backend.write_all(in_origin_form(&head).as_bytes()).await.ok()?;
    }
    copy_bidirectional(&mut stream, &mut backend).await.ok().map(drop)
}

/// The head as a backend gets it: a path in place of the whole address, and nothing that was for the proxy.
fn in_origin_form(head: &str) -> String {
    let (method, rest) = head.split_once(" http://").unwrap();
    let path = &rest[rest.find('/').unwrap()..];
    let lines = path.split_inclusive("\r\n");
    let kept = lines.filter(|line| !line.to_lowercase().starts_with("proxy-"));
    format!("{method} {}", kept.collect::<String>())
}

/// RFC 1928 and RFC 1929.
async fn socks(
    mut stream: Box<dyn Stream>,
    user: Option<(&str, &str)>,
    conduct: Conduct,
    asked: mpsc::Sender<String>,
) -> Option<()> {
    let [5, methods] = read(&mut stream).await? else { return None };
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await.ok()?;
    let wanted = if user.is_some() { 2 } else { 0 };
    if !offered.contains(&wanted) {
        return stream.write_all(&[5, 0xff]).await.ok();
    }
    stream.write_all(&[5, wanted]).await.ok()?;
    if let Some((name, password)) = user {
        let [1] = read(&mut stream).await? else { return None };
        let told = (text(&mut stream).await?, text(&mut stream).await?);
        let is_welcome = (told.0.as_str(), told.1.as_str()) == (name, password);
        stream.write_all(&[1, u8::from(!is_welcome)]).await.ok()?;
        if !is_welcome {
            return None;
        }
    }
    let [5, 1, 0, kind] = read(&mut stream).await? else { return None };
    let host = match kind {
        1 => std::net::Ipv4Addr::from(read::<4>(&mut stream).await?).to_string(),
        3 => text(&mut stream).await?,
        4 => format!("[{}]", std::net::Ipv6Addr::from(read::<16>(&mut stream).await?)),
        _ => return None,
    };
    let port = stream.read_u16().await.ok()?;
    asked.send(format!("{host}:{port}")).await.ok()?;
    let port = match conduct {
        Conduct::LeadTo(port) => port,
        Conduct::Answer(answer) => return stream.write_all(&answer).await.ok(),
        Conduct::Hold => return stream.read_u8().await.ok().map(drop),
    };
    let mut backend = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).await.ok()?;
    copy_bidirectional(&mut stream, &mut backend).await.ok().map(drop)
}

async fn read<const N: usize>(stream: &mut Box<dyn Stream>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

async fn text(stream: &mut Box<dyn Stream>) -> Option<String> {
    let mut bytes = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
