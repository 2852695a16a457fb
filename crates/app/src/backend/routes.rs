//! The HTTP routes: each reads its input within limits, asks the state, and answers with JSON or a problem. The armed
//! faults stand in front of them.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, Uri, header, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::http_server::HttpConnection;

use super::{
    agents::{AgentError, HealthBody},
    documents,
    faults::{Fault, FaultError, FaultHit, InjectedFailure},
    problem::ProblemResponse,
    sockets,
    state::BackendState,
};

/// The body of a request has at most this many bytes.
pub(super) const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Of a body that is too large this much is read and thrown away, so that a client that still writes can read the
/// answer. Beyond it the connection is closed.
const BODY_BYTES_DRAINED_MAX: usize = 16 * BODY_BYTES_MAX;
/// A body has to arrive within this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The path on which faults are injected; no fault hits it.
const FAULT_PATH: &str = "/_fault";

/// Returns all routes.
pub(super) fn router(state: Arc<BackendState>, token: Option<String>) -> Router {
    let authorization = token.map(|token| Arc::<str>::from(format!("Bearer {token}")));
    Router::new()
        .route("/api/agents/{id}/health", get(health))
        .route("/api/agents/{id}/restart", post(restart))
        .route("/api/agents/{id}/state", get(read_state).put(write_state))
        .route("/api/agents/{id}/message", post(message))
        .route("/api/files/{*path}", get(file))
        .route("/api/search", get(search))
        .route("/api/echo", post(echo))
        .route("/ws", get(sockets::handshake))
        .route(FAULT_PATH, post(fault))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), apply_faults))
        .layer(middleware::from_fn_with_state(authorization, check_token))
        .with_state(state)
}

/// Refuses a request without the token, if there is one.
async fn check_token(State(expected): State<Option<Arc<str>>>, request: Request, next: Next) -> Response {
    let sent = request.headers().get(header::AUTHORIZATION).map(http::HeaderValue::as_bytes);
    match expected {
        Some(expected) if sent != Some(expected.as_bytes()) => {
            ProblemResponse::new(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong")
                .into_response()
        }
        _ => next.run(request).await,
    }
}

/// Applies the armed faults to a request, and carries it out if they permit it.
async fn apply_faults(
    State(state): State<Arc<BackendState>>,
    Extension(connection): Extension<HttpConnection>,
    request: Request,
    next: Next,
) -> Response {
    let FaultHit { delay, failure } = match request.uri().path() {
        FAULT_PATH => FaultHit::default(),
        path => state.take_hit(path),
    };
    if !delay.is_zero() {
        sleep(delay).await;
    }
    match failure {
        Some(InjectedFailure::Reset) => match connection.reset().await {},
        Some(InjectedFailure::Status { status, retry_after }) => {
            let problem = ProblemResponse::new(status, "a fault was injected for this request");
            match retry_after {
                Some(seconds) => problem.with_header(header::RETRY_AFTER, seconds),
                None => problem,
            }
            .into_response()
        }
        None => next.run(request).await,
    }
}

async fn health(
    State(state): State<Arc<BackendState>>,
    PathParam(id): PathParam,
) -> Result<Json<HealthBody>, ProblemResponse> {
    Ok(Json(state.health(&id).await?))
}

async fn restart(
    State(state): State<Arc<BackendState>>,
    PathParam(id): PathParam,
) -> Result<Json<HealthBody>, ProblemResponse> {
    Ok(Json(state.restart(&id)?))
}

async fn read_state(
    State(state): State<Arc<BackendState>>,
    PathParam(id): PathParam,
) -> Result<Json<Value>, ProblemResponse> {
    Ok(Json(state.state(&id).await?))
}

async fn write_state(
    State(state): State<Arc<BackendState>>,
    PathParam(id): PathParam,
    BodyBytes(body): BodyBytes,
) -> Result<StatusCode, ProblemResponse> {
    state.write_state(&id, parse_json(&body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn message(
    State(state): State<Arc<BackendState>>,
    PathParam(id): PathParam,
    BodyBytes(body): BodyBytes,
) -> Result<Json<Value>, ProblemResponse> {
    let count = state.message(&id, &parse_json(&body)?).await?;
    let reply = format!("{id} has received {count} message{}", if count == 1 { "" } else { "s" });
    Ok(Json(json!({ "id": id, "count": count, "reply": reply })))
}

async fn file(PathParam(path): PathParam) -> Result<Response, ProblemResponse> {
    let document = documents::find(&path).ok_or_else(|| {
        let known: Vec<_> = documents::DOCUMENTS.iter().map(|document| document.path).collect();
        ProblemResponse::new(
            StatusCode::NOT_FOUND,
            format!("there is no such file; there is {}", known.join(", ")),
        )
    })?;
    Ok(([(header::CONTENT_TYPE, document.media_type)], document.text).into_response())
}

/// The query of a search.
#[derive(Deserialize)]
struct SearchQuery {
    q: String,
}

async fn search(query: Result<Query<SearchQuery>, QueryRejection>) -> Result<Json<Value>, ProblemResponse> {
    let q = query.map_or_else(|_| String::new(), |Query(search)| search.q);
    if q.is_empty() || q.len() > documents::QUERY_BYTES_MAX {
        let max = documents::QUERY_BYTES_MAX;
        let detail = format!("name what to look for, in 1 to {max} bytes, as in /api/search?q=tides");
        return Err(ProblemResponse::new(StatusCode::BAD_REQUEST, detail));
    }
    let (hits, truncated) = documents::search(&q);
    Ok(Json(json!({ "query": q, "hits": hits, "truncated": truncated })))
}

/// Gives a body back as it came, with its content type and the idempotency key, if there is one.
async fn echo(headers: HeaderMap, BodyBytes(body): BodyBytes) -> (HeaderMap, Bytes) {
    let returned = [header::CONTENT_TYPE, http::HeaderName::from_static("idempotency-key")];
    let pairs = returned.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    (pairs.collect(), body)
}

async fn fault(
    State(state): State<Arc<BackendState>>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<Value>, ProblemResponse> {
    let fault = Fault::from_json(&body)?;
    let injected = json!({ "injected": fault });
    state.inject(fault, Instant::now())?;
    Ok(Json(injected))
}

async fn not_found(uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(200).collect();
    ProblemResponse::new(StatusCode::NOT_FOUND, format!("nothing answers at {path}"))
}

async fn method_not_allowed(method: Method) -> ProblemResponse {
    let detail = format!("{method} is not possible here; the Allow header says what is");
    ProblemResponse::new(StatusCode::METHOD_NOT_ALLOWED, detail)
}

impl From<AgentError> for ProblemResponse {
    fn from(refusal: AgentError) -> Self {
        let status = match refusal {
            AgentError::Unknown { .. } => StatusCode::NOT_FOUND,
            AgentError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            AgentError::Failed { .. } | AgentError::Hung { .. } | AgentError::Lost { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<FaultError> for ProblemResponse {
    fn from(error: FaultError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// The one variable part of a route's path, decoded.
struct PathParam(String);

impl<S: Send + Sync> FromRequestParts<S> for PathParam {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let rest = Path::<String>::from_request_parts(parts, state).await;
        let Path(rest) = rest.map_err(|rejection: PathRejection| {
            ProblemResponse::new(
                StatusCode::BAD_REQUEST,
                format!("the path cannot be read: {}", rejection.body_text()),
            )
        })?;
        Ok(Self(rest))
    }
}

/// A body within the limits of size and time.
struct BodyBytes(Bytes);

impl<S: Send + Sync> FromRequest<S> for BodyBytes {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ProblemResponse> {
        let late = |_| {
            let detail = format!("the body did not arrive within {} seconds", BODY_TIMEOUT.as_secs());
            ProblemResponse::new(StatusCode::REQUEST_TIMEOUT, detail)
        };
        timeout(BODY_TIMEOUT, read_body(request.into_body())).await.map_err(late)?.map(Self)
    }
}

async fn read_body(body: Body) -> Result<Bytes, ProblemResponse> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut read = 0;
    while let Some(chunk) = chunks.next().await {
        let broken = |_| ProblemResponse::new(StatusCode::BAD_REQUEST, "the body broke off");
        let chunk = chunk.map_err(broken)?;
        read += chunk.len();
        if read <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
        } else if read > BODY_BYTES_DRAINED_MAX {
            break;
        }
    }
    if read > BODY_BYTES_MAX {
        let detail = format!("the body is too large: at most {BODY_BYTES_MAX} bytes");
        return Err(ProblemResponse::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bytes.freeze())
}

fn parse_json(body: &[u8]) -> Result<Value, ProblemResponse> {
    serde_json::from_slice(body).map_err(|error| {
        ProblemResponse::new(StatusCode::BAD_REQUEST, format!("the body must be JSON: {error}"))
    })
}
