//! Runs the two clients on one route.

use std::time::Duration;

use mainstay_actors::{
    connection::{
        error::ConnectionError,
        socket::{BoxedStream, SocketFrame, SocketLimits, SocketReader, SocketWriter, dial},
        target::SocketTarget,
    },
    credentials::Credentials,
    network::{
        Route,
        proxy::{Proxy, ProxyChoice, ProxyVariables, SystemProxies},
        tls::TlsTrust,
        urls::BaseUrl,
    },
    request::Request,
    transport::{FullResponse, HttpSettings, HttpTransport, Transport, TransportError},
};

use crate::certificates::TestAuthority;

/// A guard against hanging, never reached.
pub(crate) const LONG: Duration = Duration::from_secs(60);
const LIMITS: SocketLimits = SocketLimits { message_max_bytes: 1024 };

/// One route to one backend, for both clients.
#[derive(Clone)]
pub(crate) struct TestRoute {
    pub(crate) base: String,
    pub(crate) route: Route,
    pub(crate) connect_timeout: Duration,
}

impl TestRoute {
    /// Connects directly to the backend at `base`, and trusts the platform and the given authorities.
    pub(crate) fn new(base: impl Into<String>) -> Self {
        let route = Route { proxy_timeout: LONG, ..Route::default() };
        Self { base: base.into(), route, connect_timeout: LONG }
    }

    pub(crate) fn with_authority(mut self, authority: &TestAuthority) -> Self {
        self.route.trust = TlsTrust::with_authorities(authority.pem().as_bytes()).unwrap();
        self
    }

    pub(crate) fn with_proxy(mut self, proxy: &str) -> Self {
        self.route.proxy = Some(Proxy::parse(proxy).unwrap());
        self
    }

    pub(crate) fn with_proxy_choice(mut self, choice: &ProxyChoice, system: ProxyVariables) -> Self {
        let backend = BaseUrl::parse(&self.base).unwrap();
        let system = || SystemProxies::from_variables(system);
        self.route.proxy = choice.resolve(&backend, system).unwrap();
        self
    }

    pub(crate) fn transport(&self) -> HttpTransport {
        let mut settings = HttpSettings::new(&self.base);
        settings.route = self.route.clone();
        settings.connect_timeout = self.connect_timeout;
        settings.credentials = Credentials::fixed("sesame");
        settings.headers.insert("x-api-key", "open".parse().unwrap());
        HttpTransport::new(&settings).unwrap()
    }

    /// Sends one request.
    pub(crate) async fn send_request(&self) -> Result<FullResponse, TransportError> {
        self.transport().collect(&Request::get("/thing").build().unwrap(), LONG).await
    }

    pub(crate) fn target(&self) -> SocketTarget {
        let target = SocketTarget::new(&self.base, "/ws").unwrap().with_route(self.route.clone());
        target.with_bearer("sesame").unwrap().with_header("x-api-key", "open").unwrap()
    }

    /// Opens one WebSocket.
    pub(crate) async fn dial(
        &self,
    ) -> Result<(SocketWriter<BoxedStream>, SocketReader<BoxedStream>), ConnectionError> {
        dial(&self.target(), LIMITS).await
    }

    /// Checks that both clients reach the backend.
    pub(crate) async fn assert_connects(&self) {
        let answer = self.send_request().await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"hello"[..]), "{}", self.base);
        let (_writer, mut reader) = self.dial().await.unwrap();
        assert_eq!(reader.read().await, Ok(SocketFrame::Text("hello".into())), "{}", self.base);
    }

    /// Checks that both clients fail, and that neither error shows a secret.
    pub(crate) async fn assert_fails(&self) -> (TransportError, ConnectionError) {
        let (failure, fault) = (self.send_request().await.unwrap_err(), self.dial().await.unwrap_err());
        for shown in [format!("{failure:?}"), format!("{fault:?}")] {
            for secret in ["sesame", "hush", "x-api-key", "/thing", "/ws"] {
                assert!(!shown.contains(secret), "{secret} in {shown}");
            }
        }
        (failure, fault)
    }
}
