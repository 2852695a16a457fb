//! A transport that tells the connection when the backend answers.
//!
//! The WebSocket may have spent all its attempts while the backend was away. When requests or checks are answered again,
//! nobody should have to press a button.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::error::Secrets;
use mainstay_actors::request::Request;
use mainstay_actors::transport::{Answer, Transport, TransportError};
use mainstay_runtime::Address;

/// See the module.
pub(crate) struct Witness {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) connection: Address<ConnectionMessage>,
    pub(crate) view: ConnectionView,
}

impl Transport for Witness {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        let attempt = self.transport.attempt(request, timeout);
        attempt
            .inspect(|outcome| {
                if outcome.is_ok() && self.view.status.borrow().state == ConnectionState::Failed {
                    // With a full mailbox the news is not worth waiting for: the next answer brings it again.
                    let _ = self.connection.try_cast(ConnectionMessage::BackendSeen);
                }
            })
            .boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}
