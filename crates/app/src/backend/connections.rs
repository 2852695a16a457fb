//! TCP connections: accepted one by one, each served by one task for as long as it lasts, first as HTTP and,
//! after an upgrade, as a WebSocket. The armed faults stand in front of the routes here.

use parking_lot::Mutex;
use std::{error::Error, sync::Arc};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{Request, header};
use hyper::{
    body::Incoming,
    server::conn::http1::Parts,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::sleep,
};

use crate::listener;

use super::{
    faults::{FaultHit, InjectedFailure},
    problem::ProblemResponse,
    routes,
    sockets::{self, SocketSession},
    state::BackendState,
};

/// Accepts connections until `stop` fires or its sender is gone; then cuts all and returns when their tasks
/// have ended.
pub(super) async fn accept(listener: TcpListener, world: Arc<BackendState>, stop: oneshot::Receiver<()>) {
    let router = TowerToHyperService::new(routes::router(world.clone()));
    listener::accept(listener, stop, |stream| serve(stream, world.clone(), router.clone())).await;
}

/// Serves one connection to its end.
async fn serve(stream: TcpStream, world: Arc<BackendState>, router: TowerToHyperService<Router>) {
    // A std mutex: it is never held over an await.
    let upgraded: Arc<Mutex<Option<SocketSession>>> = Arc::default();
    let service = service_fn(|request| {
        let passage = handle_request(request, world.clone(), router.clone());
        let upgraded = upgraded.clone();
        async move {
            let mut response = passage.await?;
            if let Some(visit) = response.extensions_mut().remove::<SocketSession>() {
                *upgraded.lock() = Some(visit);
            }
            Ok::<_, ResetByFault>(response)
        }
    });
    let mut connection = listener::http_builder().serve_connection(TokioIo::new(stream), service);
    let served = (&mut connection).await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let visit = upgraded.lock().take();
    match (served, visit) {
        (Ok(()), Some(visit)) => {
            sockets::serve_socket(io.into_inner(), &read_buf, visit, world.clone()).await
        }
        (Err(error), _) if error.source().is_some_and(|cause| cause.is::<ResetByFault>()) => {
            reset(io.into_inner())
        }
        // Clients come and go, which concerns no other part.
        (served, _) => tracing::debug!(?served, "a connection ended"),
    }
}

/// A request that gets no answer: a fault resets its connection.
#[derive(Debug, thiserror::Error)]
#[error("a fault resets this connection")]
struct ResetByFault;

/// Applies the armed faults to a request, and carries it out if they permit it.
async fn handle_request(
    request: Request<Incoming>,
    world: Arc<BackendState>,
    router: TowerToHyperService<Router>,
) -> Result<Response, ResetByFault> {
    let FaultHit { delay, failure: blow } = match request.uri().path() {
        routes::FAULT_PATH => FaultHit::default(),
        path => world.take_hit(path),
    };
    if !delay.is_zero() {
        sleep(delay).await;
    }
    match blow {
        Some(InjectedFailure::Reset) => Err(ResetByFault),
        Some(InjectedFailure::Status { status, retry_after }) => {
            let problem = ProblemResponse::new(status, "a fault was injected for this request");
            Ok(match retry_after {
                Some(seconds) => problem.with_header(header::RETRY_AFTER, seconds),
                None => problem,
            }
            .into_response())
        }
        None => Ok(router.call(request.map(Body::new)).await.unwrap_or_else(|never| match never {})),
    }
}

/// Closes a connection with a TCP reset.
fn reset(stream: TcpStream) {
    // Where this fails the connection is closed in the ordinary way, still without an answer.
    let _ = stream.set_zero_linger();
}
