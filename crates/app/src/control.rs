//! The local control server: the bridge over WebSocket, the dashboard, and the status for Prometheus.
//!
//! It listens on 127.0.0.1 alone. Every request but that for the dashboard's page, which holds nothing secret, must
//! carry the token; a foreign `Host` or `Origin` gets 403 whatever it carries, so that no web page can reach in, not
//! even by rebinding a name. `control.json` in the data folder says where the server is.
//!
//! - `auth`: the access check, pure
//! - `metrics`: the text of `/metrics`, pure
//! - `routes`: the routes, and the WebSocket behind `/bridge`
//! - `ui_files`: the files of the package `mainstay-ui`

mod auth;
mod metrics;
mod routes;
mod ui_files;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use mainstay_actors::standstill::CLOCK_CHECK_INTERVAL;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};

use crate::data_dir::{ControlFile, DataDir, DataDirError};
use crate::http_server::HttpServer;
use crate::mainstay::Mainstay;

/// The bytes of a token.
const TOKEN_BYTES: usize = 32;

/// The reasons why the control server does not start.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Something else listens on that port.
    #[error("port {port} on 127.0.0.1 is in use: set control.port to another, or to 0 for any free one")]
    PortInUse {
        /// The port.
        port: u16,
    },
    /// The port could not be opened for another reason.
    #[error("cannot listen on port {port} on 127.0.0.1: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The system's error.
        source: io::Error,
    },
    /// No token could be drawn.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// `control.json` could not be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

/// A running control server. Dropped, it ends as soon as tokio gets to it; [`stop`](Self::stop) waits.
#[derive(Debug)]
pub struct Control {
    address: SocketAddr,
    token: String,
    boot: String,
    data: DataDir,
    server: HttpServer,
    /// Keeps `control.json` in its place.
    keeper: JoinSet<()>,
}

impl Control {
    /// Serves `mainstay` on `port` of 127.0.0.1 (0: that of the last run, or any free one), with or without the
    /// dashboard's page, and writes `control.json`. On the port of the last run the token is that
    /// of the last run too, so that open pages come back.
    ///
    /// # Errors
    /// When the port cannot be opened, or the data folder not written to.
    pub async fn start(
        mainstay: &Mainstay,
        data: DataDir,
        port: u16,
        has_dashboard: bool,
    ) -> Result<Self, ControlError> {
        let last = data.last_control();
        let listener = listen(port, last.as_ref()).await?;
        let address = listener.local_addr().map_err(|source| ControlError::Listen { port, source })?;
        let last_port = last.as_ref().map(|last| last.port);
        let token = match last.map(|last| last.token) {
            // Another program that has the last port may have been sent the last token by an open page.
            Some(token) if last_port == Some(address.port()) && token.len() == 2 * TOKEN_BYTES => token,
            _ => generate_token()?,
        };
        let boot = mainstay.journal().boot().to_owned();
        let control = ControlFile {
            pid: std::process::id(),
            port: address.port(),
            token: token.clone(),
            boot: boot.clone(),
            demo: mainstay.0.is_demo,
        };
        data.create()?;
        data.write_control(&control)?;
        let access = auth::AccessCheck::new(address.port(), token.clone());
        let server = HttpServer::start(listener, routes::router(mainstay.clone(), access, has_dashboard));
        let mut keeper = JoinSet::new();
        keeper.spawn(keep_control_file(data.clone(), control));
        Ok(Self { address, token, boot, data, server, keeper })
    }

    /// Returns the address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the dashboard's address, with the token where no server and no log sees it.
    #[must_use]
    pub fn dashboard_url(&self) -> String {
        self.page_url("")
    }

    /// Returns the address of the page that shows every element of `mainstay-ui`, with the token as in
    /// [`dashboard_url`](Self::dashboard_url).
    #[must_use]
    pub fn live_page_url(&self) -> String {
        self.page_url("ui/examples/live.html")
    }

    fn page_url(&self, path: &str) -> String {
        format!("http://{}/{path}#token={}", self.address, self.token)
    }

    /// Removes `control.json`, cuts all clients, and returns when every task has ended.
    pub async fn stop(mut self) {
        self.keeper.shutdown().await;
        self.data.clear_control(&self.boot);
        self.server.close().await;
    }
}

/// Writes `control.json` again whenever it is missing: without it, no command finds the runtime. One that is there is
/// left alone.
async fn keep_control_file(data: DataDir, control: ControlFile) {
    let mut checks = interval(CLOCK_CHECK_INTERVAL);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        checks.tick().await;
        let (data, control) = (data.clone(), control.clone());
        // A folder that cannot be written to is tried again.
        let _ = spawn_blocking(move || data.restore_control(&control)).await;
    }
}

/// Listens on `port`. If that is 0, on the port of the last run, or on any free one.
async fn listen(port: u16, last: Option<&ControlFile>) -> Result<TcpListener, ControlError> {
    if port == 0
        && let Some(last) = last
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, last.port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ControlError::PortInUse { port },
        _ => ControlError::Listen { port, source },
    })
}

/// Draws 256 random bits, in hex.
fn generate_token() -> Result<String, ControlError> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| ControlError::Random(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
