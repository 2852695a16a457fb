//! Serves HTTP with as little work as possible, in a process of its own, so that clients keep their processor time.
//!
//! It responds to every request with the same kibibyte, once it has read the request's body. On [`COUNT_PATH`] it
//! returns the number of accepted connections. It ends when its parent closes stdin, or exits.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::contender::BenchError;

/// The first argument of a process that serves.
pub(crate) const SUBCOMMAND: &str = "serve";
/// The size of each response.
pub(crate) const BODY_BYTES: usize = 1024;
/// The path that returns the number of accepted connections.
pub(crate) const COUNT_PATH: &str = "/connections";

static BODY: [u8; BODY_BYTES] = [b'x'; BODY_BYTES];

// === in the process that serves ===

/// Prints the server's port, then serves until stdin ends.
pub(crate) fn serve() -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // No byte is ever written to stdin, so the read returns when the other end is closed.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    });
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        tokio::select! {
            outcome = accept(listener) => outcome,
            _ = end => Ok(()),
        }
    })
}

async fn accept(listener: TcpListener) -> Result<(), BenchError> {
    let mut connections = JoinSet::new();
    let mut taken = 0_u64;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        taken += 1;
        while connections.try_join_next().is_some() {}
        let count = taken;
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, count));
            let serving = hyper::server::conn::http1::Builder::new();
            // A client that disconnects is no failure of the server.
            let _ = serving.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Responds to one request. `taken` is the connection's number: the newest connection's number is the count.
async fn answer(request: Request<Incoming>, taken: u64) -> Result<Response<Full<Bytes>>, hyper::Error> {
    if request.uri().path() == COUNT_PATH {
        return Ok(Response::new(Full::from(taken.to_string())));
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(Response::new(Full::new(Bytes::from_static(&BODY))))
}

// === in the process that measures ===

/// The process that serves. It ends when this is dropped.
pub(crate) struct HttpServer {
    process: Child,
    port: u16,
}

impl HttpServer {
    pub(crate) fn start() -> Result<Self, BenchError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(SUBCOMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(port) => Ok(Self { process, port }),
            Err(_) => {
                let _ = process.kill();
                Err(format!("the server ended with {} and named no port", process.wait()?).into())
            }
        }
    }

    /// Returns the server's address as a URL without a path.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
