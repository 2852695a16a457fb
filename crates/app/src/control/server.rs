//! The routes, and the WebSocket behind `/bridge`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::guard::Guard;
use crate::bridge;
use crate::mainstay::Mainstay;
use crate::serving;

/// The dashboard: one page, which asks the bridge for everything else.
const DASHBOARD: &str = include_str!("dashboard.html");
/// A command has at most this many bytes; a larger one ends the session.
const COMMAND_BYTES_MAX: usize = 20 * 1024 * 1024;
/// Texts on their way between the socket and the session.
const TEXTS_MAX: usize = 16;
/// A client that takes a text this slowly is cut.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn serve(
    listener: TcpListener,
    stop: oneshot::Receiver<()>,
    mainstay: Mainstay,
    guard: Guard,
    has_dashboard: bool,
) {
    let serve = |stream| serve_one(stream, mainstay.clone(), guard.clone(), has_dashboard);
    serving::accept(listener, stop, serve).await;
}

/// Serves one connection: as HTTP and, after an upgrade, as a session of the bridge.
async fn serve_one(stream: TcpStream, mainstay: Mainstay, guard: Guard, has_dashboard: bool) {
    // A std mutex: it is never held over an await.
    let is_upgraded: Arc<Mutex<bool>> = Arc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &guard, has_dashboard);
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            *is_upgraded.lock().unwrap_or_else(PoisonError::into_inner) = true;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut connection = serving::http().serve_connection(TokioIo::new(stream), service);
    let served = (&mut connection).await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let is_upgraded = *is_upgraded.lock().unwrap_or_else(PoisonError::into_inner);
    if served.is_ok() && is_upgraded {
        attend(io.into_inner(), &read_buf, mainstay).await;
    }
}

fn answer(request: &Request<Incoming>, guard: &Guard, has_dashboard: bool) -> Response<String> {
    let forbidden = |why: &str| plain(StatusCode::FORBIDDEN, why);
    if !guard.is_local(request.headers()) {
        return forbidden("this server answers its own pages and local programs only");
    }
    let (method, path) = (request.method(), request.uri().path());
    if has_dashboard && method == Method::GET && path == "/" {
        return page();
    }
    if !guard.knows_token(request.headers(), request.uri()) {
        return forbidden("the token is missing or wrong; control.json in the data folder has it");
    }
    match (method, path) {
        (&Method::GET, "/bridge") => upgrade(request),
        _ => plain(StatusCode::NOT_FOUND, "there is nothing here but / and /bridge"),
    }
}

fn upgrade(request: &Request<Incoming>) -> Response<String> {
    match create_response_with_body(request, String::new) {
        Ok(response) => response,
        Err(error) => plain(StatusCode::BAD_REQUEST, &format!("this is a WebSocket: {error}")),
    }
}

fn page() -> Response<String> {
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

fn plain(status: StatusCode, text: &str) -> Response<String> {
    let mut response = Response::new(format!("{text}\n"));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Carries texts between the socket and the session until either ends.
async fn attend(stream: TcpStream, read: &[u8], mainstay: Mainstay) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(COMMAND_BYTES_MAX))
        .max_frame_size(Some(COMMAND_BYTES_MAX));
    let socket = WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Server, Some(config));
    let (mut sink, mut source) = socket.await.split();
    let (commands, incoming) = mpsc::channel(TEXTS_MAX);
    let (outgoing, mut texts) = mpsc::channel(TEXTS_MAX);
    let hear = async move {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Text(text) = message
                && commands.send(text.as_str().to_owned()).await.is_err()
            {
                return;
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
    tokio::select! {
        () = bridge::serve(mainstay, incoming, outgoing) => {}
        () = hear => {}
        () = speak => {}
    }
    // A client that has gone needs no farewell.
    let _ = timeout(SEND_TIMEOUT, sink.close()).await;
}
