//! The routes, and the WebSocket behind `/bridge`.

use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use mainstay_actors::error::{Error, Reason};
use serde::Serialize;

use super::auth::AccessCheck;
use super::metrics;
use crate::bridge;
use crate::listener;
use crate::mainstay::Mainstay;
use crate::status::StatusReport;

/// The dashboard: one page, which asks the bridge for everything else.
const DASHBOARD: &str = include_str!("dashboard.html");
/// A command has at most this many bytes; a larger one ends the session, with the close code 1009.
const COMMAND_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Texts on their way between the socket and the session.
const TEXTS_MAX: usize = 16;
/// A client that takes a text this slowly is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    listener: TcpListener,
    stop: oneshot::Receiver<()>,
    mainstay: Mainstay,
    guard: AccessCheck,
    has_dashboard: bool,
) {
    let serve = |stream| serve_connection(stream, mainstay.clone(), guard.clone(), has_dashboard);
    listener::accept(listener, stop, serve).await;
}

/// Serves one connection: as HTTP and, after an upgrade, as a session of the bridge.
async fn serve_connection(stream: TcpStream, mainstay: Mainstay, guard: AccessCheck, has_dashboard: bool) {
    // A std mutex: it is never held over an await.
    let is_upgraded: Arc<Mutex<bool>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let answer = route(&request, &guard, has_dashboard);
        let mainstay = mainstay.clone();
        if matches!(&answer, ControlResponse::Ready(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS)
        {
            *is_upgraded.lock() = true;
        }
        async move {
            Ok::<_, Infallible>(match answer {
                ControlResponse::Ready(response) => response,
                ControlResponse::Metrics => metrics_response(&mainstay.status().await),
            })
        }
    });
    let mut connection = listener::http_builder().serve_connection(TokioIo::new(stream), service);
    let served = (&mut connection).await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let is_upgraded = *is_upgraded.lock();
    if served.is_ok() && is_upgraded {
        serve_bridge(io.into_inner(), &read_buf, mainstay).await;
    }
}

/// The answer to a request: ready at once, or made by the runtime.
enum ControlResponse {
    Ready(Response<String>),
    Metrics,
}

fn route(request: &Request<Incoming>, guard: &AccessCheck, has_dashboard: bool) -> ControlResponse {
    if !guard.is_local(request.headers()) {
        let words = "The runtime answers its own pages and local programs alone. Ask it from one of those.";
        return ControlResponse::Ready(problem_response(StatusCode::FORBIDDEN, Reason::Forbidden, words));
    }
    let (method, path) = (request.method(), request.uri().path());
    if has_dashboard && method == Method::GET && path == "/" {
        return ControlResponse::Ready(dashboard_response());
    }
    if !guard.has_token(request.headers(), request.uri()) {
        let words = "The token is missing or wrong. Send the one in the control file of the data folder.";
        return ControlResponse::Ready(problem_response(
            StatusCode::FORBIDDEN,
            Reason::Unauthenticated,
            words,
        ));
    }
    match (method, path) {
        (&Method::GET, "/bridge") => ControlResponse::Ready(upgrade_response(request)),
        (&Method::GET, "/metrics") => ControlResponse::Metrics,
        _ => {
            let words =
                "There is nothing here but the dashboard, the bridge and the metrics. Check the address.";
            ControlResponse::Ready(problem_response(StatusCode::NOT_FOUND, Reason::NotFound, words))
        }
    }
}

fn upgrade_response(request: &Request<Incoming>) -> Response<String> {
    match create_response_with_body(request, String::new) {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, "no handshake");
            let words = "The bridge is a WebSocket. Use a client that opens one.";
            problem_response(StatusCode::BAD_REQUEST, Reason::BadRequest, words)
        }
    }
}

fn dashboard_response() -> Response<String> {
    let mut response = Response::new(DASHBOARD.to_owned());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn metrics_response(status: &StatusReport) -> Response<String> {
    let mut response = Response::new(metrics::encode(status));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An error as problem details (RFC 9457), with the members that every error has beside them.
fn problem_response(status: StatusCode, reason: Reason, words: &str) -> Response<String> {
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
    let mut response = Response::new(serde_json::to_string(&problem).unwrap_or_default());
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Carries texts between the socket and the session until either ends.
async fn serve_bridge(stream: TcpStream, read: &[u8], mainstay: Mainstay) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(COMMAND_BYTES_MAX))
        .max_frame_size(Some(COMMAND_BYTES_MAX));
    let socket = WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Server, Some(config));
    let (mut sink, mut source) = socket.await.split();
    let (commands, incoming) = mpsc::channel(TEXTS_MAX);
    let (outgoing, mut texts) = mpsc::channel(TEXTS_MAX);
    let hear = async {
        loop {
            match source.next().await {
                Some(Ok(Message::Text(text))) => {
                    if commands.send(text.as_str().to_owned()).await.is_err() {
                        return None;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::Capacity(_))) => return Some(too_large_close()),
                Some(Err(_)) | None => return None,
            }
        }
    };
    let speak = async {
        while let Some(text) = texts.recv().await {
            let sent = timeout(SEND_TIMEOUT, sink.send(Message::text(text))).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
    };
    let farewell = tokio::select! {
        () = bridge::serve(mainstay, incoming, outgoing) => None,
        farewell = hear => farewell,
        () = speak => None,
    };
    // A client that has gone needs no farewell.
    let is_cut_off = farewell.is_some();
    let _ = timeout(SEND_TIMEOUT, sink.send(Message::Close(farewell))).await;
    let _ = timeout(SEND_TIMEOUT, sink.close()).await;
    if is_cut_off && let Ok(socket) = source.reunite(sink) {
        // To close while it is still sending would take the farewell away from it.
        let mut rest = socket.into_inner().take(2 * COMMAND_BYTES_MAX as u64);
        let _ = timeout(SEND_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// Makes the close frame for a client whose command is too long to be read, and so gets no reply.
fn too_large_close() -> CloseFrame {
    let reason = format!("a command has at most {COMMAND_BYTES_MAX} bytes").into();
    CloseFrame { code: CloseCode::Size, reason }
}
