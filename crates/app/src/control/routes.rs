//! The routes, and the WebSocket behind `/bridge`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt, StreamExt};
use http::{StatusCode, header};
use mainstay_actors::error::{Error, Reason};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::auth::AccessCheck;
use super::metrics;
use crate::bridge;
use crate::http_server::{self, HttpConnection, ServerSocket};
use crate::mainstay::Mainstay;

/// The dashboard: one page, which asks the bridge for everything else.
const DASHBOARD: &str = include_str!("dashboard.html");
const DASHBOARD_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// A command has at most this many bytes; a larger one ends the session, with the close code 1009.
const COMMAND_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Texts on their way between the socket and the session.
const TEXTS_MAX: usize = 16;
/// A client that takes a text this slowly is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns all routes. Every request is checked for its origin, and all but that for the dashboard for the token.
pub(super) fn router(mainstay: Mainstay, access: AccessCheck, has_dashboard: bool) -> Router {
    let access = Arc::new(access);
    let mut router = Router::new()
        .route("/bridge", get(open_bridge).fallback(method_not_allowed))
        .route("/metrics", get(read_metrics).fallback(method_not_allowed))
        .fallback(not_found)
        .layer(middleware::from_fn_with_state(access.clone(), require_token));
    if has_dashboard {
        router = router.route("/", get(dashboard).fallback(method_not_allowed));
    }
    router.layer(middleware::from_fn_with_state(access, require_local)).with_state(mainstay)
}

async fn require_local(State(access): State<Arc<AccessCheck>>, request: Request, next: Next) -> Response {
    if access.is_local(request.headers()) {
        return next.run(request).await;
    }
    let words = "The runtime answers its own pages and local programs alone. Ask it from one of those.";
    problem_response(StatusCode::FORBIDDEN, Reason::Forbidden, words)
}

async fn require_token(State(access): State<Arc<AccessCheck>>, request: Request, next: Next) -> Response {
    if access.has_token(request.headers(), request.uri()) {
        return next.run(request).await;
    }
    let words = "The token is missing or wrong. Send the one in the control file of the data folder.";
    problem_response(StatusCode::FORBIDDEN, Reason::Unauthenticated, words)
}

async fn dashboard() -> impl IntoResponse {
    let headers = [
        (header::CONTENT_SECURITY_POLICY, DASHBOARD_POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(DASHBOARD))
}

async fn read_metrics(State(mainstay): State<Mainstay>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, metrics::encode(&mainstay.status().await))
}

async fn open_bridge(
    State(mainstay): State<Mainstay>,
    Extension(connection): Extension<HttpConnection>,
    request: Request,
) -> Response {
    let config = WebSocketConfig::default()
        .max_message_size(Some(COMMAND_BYTES_MAX))
        .max_frame_size(Some(COMMAND_BYTES_MAX));
    connection.upgrade(request, config, |socket| serve_bridge(socket, mainstay)).unwrap_or_else(|error| {
        tracing::debug!(%error, "no handshake");
        let words = "The bridge is a WebSocket. Use a client that opens one.";
        problem_response(StatusCode::BAD_REQUEST, Reason::BadRequest, words)
    })
}

async fn not_found() -> Response {
    let words = "There is nothing here but the dashboard, the bridge and the metrics. Check the address.";
    problem_response(StatusCode::NOT_FOUND, Reason::NotFound, words)
}

async fn method_not_allowed() -> Response {
    let words = "This address can only be read. Use GET.";
    problem_response(StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed, words)
}

/// Returns an error as problem details (RFC 9457), with the members that every error has beside them.
fn problem_response(status: StatusCode, reason: Reason, words: &str) -> Response {
    #[derive(Serialize)]
    struct ProblemBody<'a> {
        r#type: &'static str,
        title: &'static str,
        detail: &'a str,
        #[serde(flatten)]
        error: &'a Error,
    }
    let error = Error::new(reason).with_message(words).with_status(status.as_u16());
    let title = status.canonical_reason().unwrap_or("Error");
    let problem = ProblemBody { r#type: "about:blank", title, detail: &error.message, error: &error };
    let body = serde_json::to_string(&problem).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// Carries texts between the socket and the session until either ends.
async fn serve_bridge(socket: ServerSocket, mainstay: Mainstay) {
    let (mut sink, mut source) = socket.split();
    let (commands, incoming) = mpsc::channel(TEXTS_MAX);
    let (outgoing, mut texts) = mpsc::channel(TEXTS_MAX);
    let receive = async {
        loop {
            match source.next().await {
                Some(Ok(Message::Text(text))) => {
                    if commands.send(text.as_str().to_owned()).await.is_err() {
                        return None;
                    }
                }
                Some(Ok(Message::Binary(_))) => return Some(binary_close()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return http_server::close_frame(&error, COMMAND_BYTES_MAX),
                None => return None,
            }
        }
    };
    let send = async {
        while let Some(text) = texts.recv().await {
            let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(text))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    };
    let close = tokio::select! {
        () = bridge::serve(mainstay, incoming, outgoing) => None,
        close = receive => close,
        () = send => None,
    };
    let is_refused = close.is_some();
    // A client that has gone needs no close frame.
    let _ = timeout(SEND_TIMEOUT, sink.send(Message::Close(close))).await;
    if is_refused && let Ok(socket) = source.reunite(sink) {
        http_server::drain(socket.into_inner()).await;
    }
}

/// Makes the close frame for a client that sends a binary frame, which has no id and so gets no reply.
fn binary_close() -> CloseFrame {
    CloseFrame { code: CloseCode::Unsupported, reason: "a command is a text frame".into() }
}
