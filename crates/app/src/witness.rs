//! A transport that notifies the connection and the queue when the backend answers.
//!
//! The WebSocket may have spent all its attempts while the backend was away, and requests may be held. Both go on when
//! a request or a check is answered again, without a command and without waiting for the next probe.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use mainstay_actors::connection::status::ConnectionState;
use mainstay_actors::connection::{ConnectionMessage, ConnectionView};
use mainstay_actors::error::Secrets;
use mainstay_actors::queue::{QueueMessage, QueueView};
use mainstay_actors::request::Request;
use mainstay_actors::transport::{FullResponse, StreamingResponse, Transport, TransportError};
use mainstay_runtime::Address;

/// See the module.
pub(crate) struct ReachabilityLayer {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) connection: Address<ConnectionMessage>,
    pub(crate) view: ConnectionView,
    /// `None` for the queue's own transport: the queue notices answers by itself.
    pub(crate) queue: Option<(Address<QueueMessage>, QueueView)>,
}

impl ReachabilityLayer {
    fn notify(&self) {
        // A full mailbox is not waited for: the next answer notifies again.
        if self.view.status.borrow().state == ConnectionState::Failed {
            let _ = self.connection.try_cast(ConnectionMessage::BackendSeen);
        }
        if let Some((queue, view)) = &self.queue
            && view.stats().outage.is_some()
        {
            let _ = queue.try_cast(QueueMessage::BackendSeen);
        }
    }
}

impl Transport for ReachabilityLayer {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<FullResponse, TransportError>> {
        self.transport.send(request, timeout).inspect_ok(|_| self.notify()).boxed()
    }

    fn send_streaming<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        self.transport.send_streaming(request, timeout).inspect_ok(|_| self.notify()).boxed()
    }

    fn secrets(&self) -> Secrets {
        self.transport.secrets()
    }
}
