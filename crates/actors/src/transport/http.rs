//! Implements the real transport: HTTP/1.1 over reqwest.
//!
//! - `exchange` sends a request over one connection and reads the response
//! - `upload` tracks whether a request has left
//! - [`HttpSettings`]: the settings of the transport, and the clients of reqwest for them
//! - `error` maps reqwest's errors, `redirect` decides about redirects
//! - `pool_use` and `stale_connections` judge the connections that are kept
//!
//! Responses are asked for as they are. One that comes packed with gzip or deflate is unpacked, and any other coding is
//! an error: a caller never gets packed bytes that it did not ask for.
//!
//! One attempt sends the request once. Only a redirect within the backend's own origin makes it send again. It never
//! repeats a failed send, not over a kept connection that the server had closed meanwhile, and not with a new token. The
//! failure says so (`is_on_kept_connection`, [`FailureKind::TokenRenewed`]), and `queue::retry` decides.
//!
//! Below it, hyper-util takes another connection if the chosen one was closed before the request was begun. Nothing of
//! the request has left then, so that is no second send.

mod error;
mod exchange;
mod pool_use;
mod redirect;
pub(super) mod settings;
mod stale_connections;
#[cfg(test)]
pub(super) mod tests;
mod upload;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use reqwest::Client;
use tokio::time::Instant;

use self::{
    exchange::{ResponseReader, send},
    pool_use::PoolUse,
    redirect::{OutboundRequest, REDIRECTS_MAX},
    settings::{HttpSettings, build_client, configured_secrets},
    stale_connections::StaleConnectionGuard,
};
use super::{FailureKind, ResponseHead, SendProgress, StreamingResponse, Transport, TransportError};
use crate::{
    credentials::Credentials,
    error::{Error, Reason, Secrets},
    network::urls::BaseUrl,
    request::{Body, Request},
};

/// Implements [`Transport`] over HTTP/1.1.
///
/// Headers that hold credentials never leave the origin of the base address.
pub struct HttpTransport {
    base: BaseUrl,
    /// Keeps connections for the next request.
    pooled_client: Client,
    /// Makes a connection for each request, and keeps none.
    unpooled_client: Client,
    pool_use: PoolUse,
    /// Tracks kept connections that may be closed after a server's failure or a 401.
    after_failure: StaleConnectionGuard,
    /// Tracks kept connections that were closed without notice.
    after_break: StaleConnectionGuard,
    /// True if connections are made to a proxy that forwards requests.
    is_proxy_forwarding: bool,
    /// The secrets of every request, and the number of tokens among them.
    secrets: Mutex<(u64, Secrets)>,
    settings: HttpSettings,
}

impl HttpTransport {
    /// Creates a transport to one backend. It connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`Reason::InvalidConfig`] if the address or the token is not valid, [`Reason::Internal`] if TLS cannot be set
    /// up on this computer.
    pub fn new(settings: &HttpSettings) -> Result<Self, Error> {
        let base = BaseUrl::parse(&settings.base_url).map_err(|error| {
            Error::new(Reason::InvalidConfig)
                .with_message("The backend's address must be a valid one. Correct the configuration.")
                .with_details(&format!("it {error}"))
        })?;
        check_known_token(&settings.credentials)?;
        let is_secure = base.is_secure();
        let client = |idle_max| build_client(settings, is_secure, idle_max);
        Ok(Self {
            pooled_client: client(settings.idle_connections_max)?,
            unpooled_client: client(0)?,
            base,
            pool_use: PoolUse::new(settings.idle_connections_max),
            after_failure: StaleConnectionGuard::new(),
            after_break: StaleConnectionGuard::new(),
            is_proxy_forwarding: settings
                .route
                .proxy
                .as_ref()
                .is_some_and(|proxy| proxy.should_forward(is_secure)),
            secrets: Mutex::new((settings.credentials.seen_count(), configured_secrets(settings))),
            settings: settings.clone(),
        })
    }

    /// Sends the request, follows its redirects, and waits for the final response to begin.
    async fn exchange(&self, request: &Request, idle: Duration) -> Result<ResponseReader, TransportError> {
        let exchanged = self.authorized(request, idle).await;
        let may_close = match &exchanged {
            Ok(response) => response.status().is_server_error(),
            // The request may have been rejected before its body was read.
            Err(failure) => failure.kind == FailureKind::TokenRenewed,
        };
        if may_close {
            self.after_failure.mark(Instant::now());
        }
        if !self.is_proxy_forwarding {
            return exchanged;
        }
        match exchanged {
            Ok(response) if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(error::proxy_unauthenticated())
            }
            Ok(response) => Ok(response),
            Err(failure) => Err(error::attribute_to_proxy(failure)),
        }
    }

    /// Sends the request with the token of now. If the backend rejects that, asks the source once more: another token
    /// is for the next attempt.
    async fn authorized(&self, request: &Request, idle: Duration) -> Result<ResponseReader, TransportError> {
        let credentials = &self.settings.credentials;
        if credentials.is_none() || request.headers().contains_key(header::AUTHORIZATION) {
            return self.follow_redirects(request, None, idle).await;
        }
        let refuse =
            |details: String| TransportError::new(FailureKind::NoCredentials, SendProgress::NotSent, details);
        let token = credentials.token().await.map_err(|error| refuse(error.to_string()))?;
        let value = |token: &str| bearer(token).map_err(|error| refuse(error.message));
        let header = token.as_deref().map(value).transpose()?;
        let response = self.follow_redirects(request, header.as_ref(), idle).await?;
        let (StatusCode::UNAUTHORIZED, Some(token)) = (response.status(), token) else { return Ok(response) };
        let is_renewed = credentials.refresh(&token).await.is_some_and(|token| bearer(&token).is_ok());
        // The 401 may belong to the read that a write led to. It then says nothing about the write.
        let is_of_a_read =
            response.is_redirected() && request.follows_redirected_writes() && !request.is_repeatable();
        if !is_renewed || is_of_a_read {
            return Ok(response);
        }
        let head = ResponseHead { status: response.status(), headers: response.headers().clone() };
        let details = "the backend rejected the token, and there is another one by now";
        Err(TransportError::in_body(FailureKind::TokenRenewed, head, details))
    }

    async fn follow_redirects(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
        idle: Duration,
    ) -> Result<ResponseReader, TransportError> {
        let mut outbound = self.first_request(request, authorization)?;
        for redirects in 0..=REDIRECTS_MAX {
            let response = self
                .begin(request, &outbound, redirects, idle)
                .await
                .map_err(|failure| after(redirects, failure))?;
            let (status, headers) = (response.status(), response.headers());
            let is_final = redirects == REDIRECTS_MAX || !status.is_redirection();
            let next = (!is_final)
                .then(|| {
                    let follows_writes = request.follows_redirected_writes();
                    redirect::next_request(&outbound.method, &outbound.url, status, headers, follows_writes)
                })
                .flatten();
            let Some(next) = next else { return response.with_redirects(redirects).checked(request) };
            let keeps_body = outbound.keeps_body && next.keeps_body;
            if keeps_body && is_spent(request) {
                return response.with_redirects(redirects).checked(request);
            }
            let authorization = authorization.cloned();
            outbound = OutboundRequest { keeps_body, authorization, ..next };
        }
        // The last round above always returns.
        Err(TransportError::new(FailureKind::BadResponse, SendProgress::MaybeSent, "too many redirects"))
    }

    fn first_request(
        &self,
        request: &Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<OutboundRequest, TransportError> {
        let unreadable =
            || TransportError::new(FailureKind::BadRequest, SendProgress::NotSent, "the path is not plain");
        let url = self.base.join(request.path()).ok_or_else(unreadable)?;
        let (method, authorization) = (request.method().clone(), authorization.cloned());
        Ok(OutboundRequest { method, url, keeps_body: true, authorization })
    }

    /// Sends the request once and waits for the response to begin.
    async fn begin(
        &self,
        request: &Request,
        outbound: &OutboundRequest,
        redirects: usize,
        idle: Duration,
    ) -> Result<ResponseReader, TransportError> {
        if self.needs_fresh_connection(request, outbound, redirects, Instant::now()) {
            // Boxed, so that every other attempt need not make room for it.
            return Box::pin(send(&self.unpooled_client, request, outbound, idle)).await;
        }
        match send(&self.pooled_client, request, outbound, idle).await {
            Ok(response) => Ok(response.leaving(self.pool_use.clone())),
            Err(failure) => Err(self.blame_connection(failure)),
        }
    }

    /// Returns whether the request needs a new connection.
    ///
    /// After one kept connection broke, others of that time may be closed as well, and a repeat must not meet them
    /// one by one. After a server's failure or a 401, a request without a second chance (an unsafe method, no retries)
    /// avoids them. So does a request after a redirect if it must not be repeated.
    fn needs_fresh_connection(
        &self,
        request: &Request,
        outbound: &OutboundRequest,
        redirects: usize,
        now: Instant,
    ) -> bool {
        let has_one_chance = !outbound.method.is_safe() || request.retries() == Some(0);
        self.after_break.is_active(now)
            || (has_one_chance && self.after_failure.is_active(now))
            || (redirects > 0 && !request.is_repeatable())
    }

    /// Marks a failure that may be due to a kept connection which the server had closed.
    ///
    /// Each response that left a connection behind explains one failure, so a backend that breaks every connection is
    /// not excused.
    fn blame_connection(&self, failure: TransportError) -> TransportError {
        let is_on_kept_connection = failure.kind == FailureKind::Reset && self.pool_use.take_one();
        if is_on_kept_connection {
            self.after_break.mark(Instant::now());
        }
        TransportError { is_on_kept_connection, ..failure }
    }
}

impl Transport for HttpTransport {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        Box::pin(async move { Ok(self.exchange(request, timeout).await?.into_streaming()) })
    }

    fn secrets(&self) -> Secrets {
        let mut known = self.secrets.lock();
        let tokens = self.settings.credentials.seen_count();
        if known.0 != tokens {
            *known = (tokens, configured_secrets(&self.settings));
        }
        known.1.clone()
    }
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport").field("base", &self.base).finish_non_exhaustive()
    }
}

/// Returns whether the request has a spent body, so that it cannot be sent again.
fn is_spent(request: &Request) -> bool {
    request.body().is_some_and(Body::is_spent)
}

/// Marks a failure after `redirects` redirects: the server received the request by then.
fn after(redirects: usize, mut failure: TransportError) -> TransportError {
    if redirects > 0 {
        failure.progress = failure.progress.max(SendProgress::MaybeSent);
    }
    failure
}

/// Checks the newest token that is known, if one is.
fn check_known_token(credentials: &Credentials) -> Result<(), Error> {
    credentials.seen().last().map_or(Ok(()), |token| bearer(token).map(drop))
}

fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        Error::new(Reason::InvalidConfig)
            .with_message("The backend's token must be of visible ASCII characters, on one line.")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
