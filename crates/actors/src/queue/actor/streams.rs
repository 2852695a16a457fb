//! Answers that are read as they come: the beginning goes to the caller, the rest comes after it, by a task with the
//! attempt's permit.

use mainstay_runtime::Reply;

use super::{Ctx, QueueActor};
use crate::{
    error::{Error, Reason},
    queue::{
        caller::Caller,
        desk::Desk,
        download::Download,
        message::QueueMessage,
        page::Opened,
        pump::{Ending, Pump, Pumped},
        retry::broken_off,
    },
    request::RequestId,
    transport::OpenAnswer,
};

impl QueueActor {
    /// Hands the beginning of an answer to its caller, and has the rest brought after it.
    pub(super) fn hand_over(&self, ctx: &mut Ctx, desk: &mut Desk, id: RequestId, answer: OpenAnswer) {
        let (Some(opened), Some(called_off)) = (self.book.open(id), desk.go_on(id)) else {
            // It was called off meanwhile; else nobody is left who could be answered.
            drop(answer);
            desk.end_attempt(id);
            return self.fail(ctx, desk.now, id, Error::new(Reason::Internal));
        };
        let (reader, end) = Reply::channel();
        let Opened { request, caller, verdict, attempts } = opened;
        let (status, length) = (answer.status, answer.length);
        let (download, body, parts) =
            Download::new(id, attempts, request.is_repeatable(), answer, end, verdict);
        let pump = Pump { body, parts, length, request, called_off };
        ctx.spawn(async move {
            let ending = pump.run().await;
            QueueMessage::TakeEnd { id, pumped: Box::new(Pumped { status, ending, reader }) }
        });
        // If nobody waits any more, this drops the download, and the task ends with that.
        caller.send(Ok(download));
    }

    /// Ends a request whose answer has ended.
    pub(super) fn close(&self, ctx: &Ctx, desk: &mut Desk, id: RequestId, pumped: Pumped) {
        desk.end_attempt(id);
        let Pumped { status, ending, reader } = pumped;
        // Where its fate has been written down meanwhile the reader finds it, unanswered, in its verdict.
        if self.book.await_end(id, reader).is_err() {
            return;
        }
        match ending {
            Ending::Whole { bytes } => {
                let finished = self.finish(ctx, desk.now, id, status, bytes);
                for waiter in finished.into_iter().flat_map(|page| page.waiters) {
                    if let Caller::Reader(reader) = waiter.caller {
                        reader.send(Ok(()));
                    }
                }
            }
            Ending::Broke(failure) => {
                let error = self.book.facts(id).map(|(facts, _)| broken_off(&facts, &failure));
                self.fail(ctx, desk.now, id, error.unwrap_or_else(|| Error::from(&failure)));
            }
            Ending::Unwanted => self.fail(ctx, desk.now, id, Error::new(Reason::Cancelled)),
            Ending::Panicked => self.fail_lost(ctx, desk.now, id, Reason::Crashed),
        }
    }
}
