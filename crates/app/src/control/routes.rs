//! The routes, and the WebSocket behind `/bridge`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{StatusCode, header};
use mainstay_actors::error::{Error, Reason};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::auth::AccessCheck;
use super::metrics;
use super::ui_files;
use crate::bridge;
use crate::http_server::{self, HttpConnection, ServerSocket};
use crate::mainstay::Mainstay;

/// A command has at most this many bytes; a larger one ends the session, with the close code 1009.
const COMMAND_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Texts on their way between the socket and the session.
const TEXTS_MAX: usize = 16;
/// At most this many sessions are open at once; a further one gets the close code 1013.
const SESSIONS_MAX: usize = 64;
/// A client that takes a text this slowly is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns all routes. Every request is checked for its origin, and all but that for the dashboard for the token.
pub(super) fn router(mainstay: Mainstay, access: AccessCheck, has_dashboard: bool) -> Router {
    let access = Arc::new(access);
    let mut router = Router::new()
        .route("/bridge", get(open_bridge).fallback(method_not_allowed))
        .route("/metrics", get(read_metrics).fallback(method_not_allowed))
        .fallback(not_found)
        .layer(Extension(SessionLimit(Arc::new(Semaphore::new(SESSIONS_MAX)))))
        .layer(middleware::from_fn_with_state(access.clone(), require_token));
    if has_dashboard {
        router = router
            .route(
                "/",
                get(|| read_ui_file(Path(ui_files::DASHBOARD.to_owned()))).fallback(method_not_allowed),
            )
            .route("/ui/{*path}", get(read_ui_file).fallback(method_not_allowed));
    }
    router.layer(middleware::from_fn_with_state(access, require_local)).with_state(mainstay)
}

/// Limits the sessions that are open at once.
#[derive(Clone)]
struct SessionLimit(Arc<Semaphore>);

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

async fn read_ui_file(Path(path): Path<String>) -> Response {
    match ui_files::response(&path) {
        Some(response) => response,
        None => not_found().await,
    }
}

async fn read_metrics(State(mainstay): State<Mainstay>) -> impl IntoResponse {
    let headers = [(header::CONTENT_TYPE, metrics::CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, metrics::encode(&mainstay.status().await))
}

async fn open_bridge(
    State(mainstay): State<Mainstay>,
    Extension(connection): Extension<HttpConnection>,
    Extension(limit): Extension<SessionLimit>,
    request: Request,
) -> Response {
    let config = WebSocketConfig::default()
        .max_message_size(Some(COMMAND_BYTES_MAX))
        .max_frame_size(Some(COMMAND_BYTES_MAX));
    let serve = async move |socket| match limit.0.try_acquire() {
        Ok(_session) => serve_bridge(socket, mainstay).await,
        Err(_) => refuse_session(socket).await,
    };
    connection.upgrade(request, config, serve).unwrap_or_else(|error| {
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
    // Each command catches its own panic. This is for the rest of the session.
    let session = AssertUnwindSafe(bridge::serve(mainstay, incoming, outgoing)).catch_unwind();
    let close = tokio::select! {
        ended = session => ended.err().map(|_panic| failed_close()),
        close = receive => close,
        () = send => None,
    };
    match source.reunite(sink) {
        Ok(socket) => close_socket(socket, close).await,
        Err(error) => tracing::debug!(%error, "a session had no socket to close"),
    }
}

/// Refuses a session with the reason.
async fn refuse_session(socket: ServerSocket) {
    let reason = format!("{SESSIONS_MAX} sessions are open already; close one, or try again later");
    close_socket(socket, Some(CloseFrame { code: CloseCode::Again, reason: reason.into() })).await;
}

async fn close_socket(mut socket: ServerSocket, close: Option<CloseFrame>) {
    let is_refused = close.is_some();
    // A client that has gone needs no close frame.
    let _ = timeout(SEND_TIMEOUT, socket.send(Message::Close(close))).await;
    if is_refused {
        http_server::drain(socket.into_inner()).await;
    }
}

/// Makes the close frame for a session that panicked.
fn failed_close() -> CloseFrame {
    CloseFrame {
        code: CloseCode::Error,
        reason: "the session failed inside the runtime; connect again".into(),
    }
}

/// Makes the close frame for a client that sends a binary frame, which has no id and so gets no reply.
fn binary_close() -> CloseFrame {
    CloseFrame { code: CloseCode::Unsupported, reason: "a command is a text frame".into() }
}
