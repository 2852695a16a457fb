//! A transport that tells the connection when the backend answers.
//!
//! The WebSocket may have spent all its attempts while the backend was away. When requests or checks are answered again,
//! nobody should have to press a button.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{Answer, OpenAnswer, Transport, TransportError};
use mainstay_runtime::Address;

/// See the module.
pub(crate) struct Witness {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) connection: Address<ConnectionMessage>,
    pub(crate) view: ConnectionView,
}

impl Witness {
    /// Tells the connection that the backend answers, if that is news to it.
    fn tell(&self) {
        if self.view.status.borrow().state == ConnectionState::Failed {
            // With a full mailbox the news is not worth waiting for: the next answer brings it again.
            let _ = self.connection.try_cast(ConnectionMessage::BackendSeen);
        }
    }
}

impl Transport for Witness {
    fn attempt<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Answer, TransportError>> {
        self.transport.attempt(request, timeout).inspect_ok(|_| self.tell()).boxed()
    }

    fn open<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<OpenAnswer, TransportError>> {
        self.transport.open(request, timeout).inspect_ok(|_| self.tell()).boxed()
    }
}
