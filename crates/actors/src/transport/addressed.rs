//! Sends to the present address of a backend whose address changes with each of its starts.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    FailureKind, HttpSettings, HttpTransport, SendProgress, StreamingResponse, Transport, TransportError,
};
use crate::{
    credentials::Credentials,
    error::{Error, Secrets},
    network::BackendAddress,
    request::Request,
};

/// A transport to a backend that the runtime starts at an address of its own each time.
///
/// Each start has a transport of its own, so no kept connection leads to an earlier process. While no start is ready,
/// nothing is sent: [`FailureKind::Refused`].
pub struct AddressedTransport {
    /// The settings, without address and token.
    settings: HttpSettings,
    address: watch::Receiver<Option<BackendAddress>>,
    current: Mutex<Option<(BackendAddress, Arc<HttpTransport>)>>,
}

impl AddressedTransport {
    /// Creates a transport that takes address and token from `address`, and the rest from `settings`.
    #[must_use]
    pub fn new(settings: HttpSettings, address: watch::Receiver<Option<BackendAddress>>) -> Self {
        Self { settings, address, current: Mutex::new(None) }
    }

    /// Creates the transport to one address.
    ///
    /// # Errors
    ///
    /// As [`HttpTransport::new`].
    pub fn connect_to(settings: &HttpSettings, address: &BackendAddress) -> Result<HttpTransport, Error> {
        HttpTransport::new(&HttpSettings {
            base_url: address.url.to_string(),
            credentials: address.token.as_deref().map_or_else(Credentials::none, Credentials::fixed),
            ..settings.clone()
        })
    }

    /// Returns the transport to the present address; `None` while there is none.
    fn current(&self) -> Result<Option<Arc<HttpTransport>>, Error> {
        let address = self.address.borrow().clone();
        let mut current = self.current.lock();
        let Some(address) = address else {
            *current = None;
            return Ok(None);
        };
        if let Some((known, transport)) = &*current
            && *known == address
        {
            return Ok(Some(Arc::clone(transport)));
        }
        let transport = Arc::new(Self::connect_to(&self.settings, &address)?);
        *current = Some((address, Arc::clone(&transport)));
        Ok(Some(transport))
    }
}

impl Transport for AddressedTransport {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        Box::pin(async move {
            let not_sent = |kind, text: &str| TransportError::new(kind, SendProgress::NotSent, text);
            match self.current() {
                Ok(Some(transport)) => transport.send(request, timeout).await,
                Ok(None) => Err(not_sent(FailureKind::Refused, "the backend is not ready")),
                Err(error) => Err(not_sent(FailureKind::Connect, error.log_text())),
            }
        })
    }

    fn secrets(&self) -> Secrets {
        match self.current() {
            Ok(Some(transport)) => transport.secrets(),
            Ok(None) | Err(_) => Secrets::default().with_headers(&self.settings.headers),
        }
    }
}

impl fmt::Debug for AddressedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddressedTransport").field("address", &*self.address.borrow()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;
    use crate::{network::urls::BaseUrl, tests::read_head};

    const LIMIT: Duration = Duration::from_secs(10);

    /// Opens a server on a port of its own; returns it, and its address with this token.
    async fn server(token: &str) -> (TcpListener, BackendAddress) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = BaseUrl::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        (listener, BackendAddress { url, token: Some(token.to_owned()) })
    }

    #[tokio::test]
    async fn each_start_is_reached_at_its_address_with_its_token() {
        let sender = watch::Sender::new(None);
        let transport = AddressedTransport::new(HttpSettings::new(""), sender.subscribe());
        let request = Request::get("/any").build().unwrap();
        let failure = transport.send(&request, LIMIT).await.unwrap_err();
        assert_eq!((failure.kind, failure.progress), (FailureKind::Refused, SendProgress::NotSent));
        for token in ["first-secret", "second-secret"] {
            let (listener, address) = server(token).await;
            sender.send_replace(Some(address));
            let served = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_head(&mut stream).await;
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                head
            };
            let (response, head) = tokio::join!(transport.send(&request, LIMIT), served);
            assert_eq!(response.unwrap().status, 204);
            let sent = head.to_lowercase();
            assert!(sent.contains(&format!("authorization: bearer {token}")), "{head}");
            assert_eq!(transport.secrets().redact(token), "[redacted]");
        }
        sender.send_replace(None);
        let failure = transport.send(&request, LIMIT).await.unwrap_err();
        assert_eq!(failure.progress, SendProgress::NotSent, "its server still listens, and is not asked");
    }
}
