//! Streams responses: the caller gets the head first, then a task with the attempt's permit forwards the body.

use mainstay_runtime::Reply;

use super::{QueueActor, QueueContext};
use crate::{
    error::{Error, Reason},
    queue::{
        body_pump::{BodyPump, BodyTransfer, TransferEnd},
        download::Download,
        message::QueueMessage,
        request_table::StreamStart,
        responder::Responder,
        retry::interrupted_response_error,
        state::State,
    },
    request::RequestId,
    transport::StreamingResponse,
};

impl QueueActor {
    /// Answers the caller with the head of a response and starts the task that forwards the body.
    pub(super) fn start_stream(
        &self,
        ctx: &mut QueueContext,
        state: &mut State,
        id: RequestId,
        response: StreamingResponse,
    ) {
        let (Some(opened), Some(cancelled)) = (self.requests.begin_response(id), state.continue_attempt(id))
        else {
            // It was cancelled meanwhile, or no caller is left to answer.
            drop(response);
            state.end_attempt(id);
            return self.fail(ctx, state.now, id, Error::new(Reason::Internal));
        };
        let (reader, end) = Reply::channel();
        let StreamStart { request, reply: responder, failure, attempts, queued_at } = opened;
        self.view.record_end(state.now, state.now.saturating_sub(queued_at), request.priority(), false);
        let (status, length) = (response.status, response.length);
        let (download, body, parts) =
            Download::new(id, attempts, request.is_repeatable(), response, end, failure);
        let pump = BodyPump { body, parts, length, request, cancelled };
        ctx.spawn(async move {
            let end = pump.run().await;
            QueueMessage::BodyFinished { id, transfer: Box::new(BodyTransfer { status, end, reply: reader }) }
        });
        // Without a waiting caller this drops the download, which ends the task.
        responder.send(Ok(download));
    }

    /// Ends a request whose body has ended.
    pub(super) fn finish_stream(
        &self,
        ctx: &QueueContext,
        state: &mut State,
        id: RequestId,
        transfer: BodyTransfer,
    ) {
        state.end_attempt(id);
        let BodyTransfer { status, end, reply: reader } = transfer;
        // If the request has ended meanwhile, its reader finds the error in the download's `failure`.
        if self.requests.set_stream_end_reply(id, reader).is_err() {
            return;
        }
        match end {
            TransferEnd::Complete { bytes } => {
                let finished = self.finish_request(ctx, state.now, id, status, bytes);
                for waiter in finished.into_iter().flat_map(|entry| entry.waiters) {
                    if let Responder::StreamEnd(reader) = waiter.responder {
                        reader.send(Ok(()));
                    }
                }
            }
            TransferEnd::Failed(failure) => {
                let error =
                    self.requests.facts(id).map(|(facts, _)| interrupted_response_error(&facts, &failure));
                self.fail(ctx, state.now, id, error.unwrap_or_else(|| Error::from(&failure)));
            }
            TransferEnd::Cancelled => self.fail(ctx, state.now, id, Error::new(Reason::Cancelled)),
            TransferEnd::Panicked => self.fail_aborted(ctx, state.now, id, Reason::Crashed),
        }
    }
}
