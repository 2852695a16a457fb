//! Answers that are read as they come: the beginning goes to the caller, the rest comes after it, by a task with the
//! attempt's permit.

use mainstay_runtime::Reply;

use super::{Ctx, QueueActor};
use crate::{
    error::{Error, Reason},
    queue::{
        body_pump::{BodyPump, BodyTransfer, TransferEnd},
        download::Download,
        message::QueueMessage,
        request_entry::StreamStart,
        responder::Responder,
        retry::interrupted_response_error,
        state::State,
    },
    request::RequestId,
    transport::StreamingResponse,
};

impl QueueActor {
    /// Hands the beginning of an answer to its caller, and has the rest brought after it.
    pub(super) fn start_stream(
        &self,
        ctx: &mut Ctx,
        desk: &mut State,
        id: RequestId,
        answer: StreamingResponse,
    ) {
        let (Some(opened), Some(called_off)) = (self.requests.begin_response(id), desk.continue_attempt(id))
        else {
            // It was called off meanwhile; else nobody is left who could be answered.
            drop(answer);
            desk.end_attempt(id);
            return self.fail(ctx, desk.now, id, Error::new(Reason::Internal));
        };
        let (reader, end) = Reply::channel();
        let StreamStart { request, reply: caller, failure: verdict, attempts } = opened;
        let (status, length) = (answer.status, answer.length);
        let (download, body, parts) =
            Download::new(id, attempts, request.is_repeatable(), answer, end, verdict);
        let pump = BodyPump { body, parts, length, request, cancelled: called_off };
        ctx.spawn(async move {
            let ending = pump.run().await;
            QueueMessage::BodyFinished {
                id,
                transfer: Box::new(BodyTransfer { status, end: ending, reply: reader }),
            }
        });
        // If nobody waits any more, this drops the download, and the task ends with that.
        caller.send(Ok(download));
    }

    /// Ends a request whose answer has ended.
    pub(super) fn finish_stream(&self, ctx: &Ctx, desk: &mut State, id: RequestId, pumped: BodyTransfer) {
        desk.end_attempt(id);
        let BodyTransfer { status, end: ending, reply: reader } = pumped;
        // Where its fate has been written down meanwhile the reader finds it, unanswered, in its verdict.
        if self.requests.set_stream_end_reply(id, reader).is_err() {
            return;
        }
        match ending {
            TransferEnd::Complete { bytes } => {
                let finished = self.finish_request(ctx, desk.now, id, status, bytes);
                for waiter in finished.into_iter().flat_map(|page| page.waiters) {
                    if let Responder::StreamEnd(reader) = waiter.responder {
                        reader.send(Ok(()));
                    }
                }
            }
            TransferEnd::Failed(failure) => {
                let error =
                    self.requests.facts(id).map(|(facts, _)| interrupted_response_error(&facts, &failure));
                self.fail(ctx, desk.now, id, error.unwrap_or_else(|| Error::from(&failure)));
            }
            TransferEnd::Cancelled => self.fail(ctx, desk.now, id, Error::new(Reason::Cancelled)),
            TransferEnd::Panicked => self.fail_aborted(ctx, desk.now, id, Reason::Crashed),
        }
    }
}
