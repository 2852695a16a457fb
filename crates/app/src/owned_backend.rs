//! The backend that the runtime owns, as the embedder sees and controls it.
//!
//! - `report`: its state, from its process and its supervisor. Pure.

mod report;

use std::sync::Arc;
use std::time::Duration;

use mainstay_actors::error::Error;
use mainstay_actors::queue::BackendAbsence;
use mainstay_runtime::AdminError;

pub use report::OwnedBackendReport;

use crate::admin_error::AdminTarget::Backend;
use crate::inner::Inner;
use crate::tree_builder::owned_backend::OwnedBackendParts;
use crate::tree_place::BACKEND_NAME;

/// Describes the backend while it is not ready.
pub(crate) fn absence(backend: &OwnedBackendParts, now: Duration) -> Option<BackendAbsence> {
    let OwnedBackendParts { address, settings, connection, .. } = backend;
    connection.is_backend_down().then(|| report::absence(&address.info(now), settings, now))
}

/// Returns a message about the backend, mostly with that as its subject, as the rest of "waits".
pub(crate) fn awaited(message: &str) -> String {
    match message.strip_prefix("The backend ") {
        Some(rest) => format!("for the backend, which {rest}"),
        None => format!("for the backend: {message}"),
    }
}

/// The backend that the runtime starts, restarts and ends. Cheap to clone.
///
/// Its commands return when its supervisor has carried them out. Whether it becomes ready then shows in
/// [`report`](Self::report); [`Mainstay::ready`](crate::Mainstay::ready) waits for that.
#[derive(Clone)]
pub struct OwnedBackend(pub(crate) Arc<Inner>);

impl OwnedBackend {
    /// Returns its state. Asks no actor.
    #[must_use]
    pub fn report(&self) -> Option<OwnedBackendReport> {
        let report = self.bare_report()?;
        Some(match self.0.handles.logs.get(BACKEND_NAME) {
            Some(log) => report.with_log(&log),
            None => report,
        })
    }

    /// Returns its state without what its log says.
    pub(crate) fn bare_report(&self) -> Option<OwnedBackendReport> {
        let OwnedBackendParts { address, view, settings, .. } = self.0.handles.owned_backend.as_ref()?;
        let (time_point, is_stopping) = (self.0.time_point(), self.0.runtime.stopping_since().is_some());
        let info = address.info(time_point.now);
        Some(OwnedBackendReport::new(&info, view.process(), settings, is_stopping, &time_point))
    }

    /// Starts it after a stop, or after it was given up. Changes nothing for one that runs.
    ///
    /// # Errors
    /// `stopped` if the runtime is stopping, `conflict` if it is being started or stopped just now, `unavailable` if it
    /// does not start.
    pub async fn start(&self) -> Result<(), Error> {
        match self.0.runtime.root().start(BACKEND_NAME).await {
            Ok(()) | Err(AdminError::Running { .. }) => Ok(()),
            Err(error) => Err(Backend.admin_error(&error)),
        }
    }

    /// Stops it with its descendants, and returns when none is left. It stays stopped until a command starts it.
    ///
    /// # Errors
    /// `stopped` if the runtime is stopping.
    pub async fn stop(&self) -> Result<(), Error> {
        self.0.runtime.root().stop(BACKEND_NAME).await.map_err(|error| Backend.admin_error(&error))
    }

    /// Stops it and starts it again, in any state. This uses no budget.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn restart(&self) -> Result<(), Error> {
        self.0.runtime.root().restart(BACKEND_NAME).await.map_err(|error| Backend.admin_error(&error))
    }

    /// Restores its restart budget, and starts it if it was given up.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn reset(&self) -> Result<(), Error> {
        self.0.runtime.root().reset(BACKEND_NAME).await.map_err(|error| Backend.admin_error(&error))
    }
}
