//! Tests what a worker can promise to callers that wait across incarnations.

use mainstay_runtime::FinalizeContext;
use mainstay_runtime::journal::Event;
use parking_lot::Mutex;
use serde::Serialize;

use crate::*;

#[derive(Debug)]
enum ReplyHolderMessage {
    Hold(Reply<&'static str>),
    AnswerAll,
    Panic,
}

impl Message for ReplyHolderMessage {}

#[derive(Serialize)]
struct ReplyDropped {}

impl Event for ReplyDropped {
    const KIND: &'static str = "promise_broken";

    fn describe(&self) -> String {
        Self::KIND.to_owned()
    }
}

/// Keeps its replies in the recipe, so that they outlive an incarnation.
#[derive(Default)]
struct ReplyHolder(Mutex<Vec<Reply<&'static str>>>);

impl Worker for ReplyHolder {
    type Message = ReplyHolderMessage;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<ReplyHolderMessage>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(
        &self,
        _: &mut Context<ReplyHolderMessage>,
        ask: ReplyHolderMessage,
        (): &mut (),
    ) -> Result<(), Failure> {
        let mut promises = self.0.lock();
        match ask {
            ReplyHolderMessage::Hold(reply) => promises.push(reply),
            ReplyHolderMessage::AnswerAll => promises.drain(..).for_each(|reply| reply.send("kept")),
            ReplyHolderMessage::Panic => {
                drop(promises);
                panic!("on purpose")
            }
        }
        Ok(())
    }

    fn finalize(&self, ctx: &FinalizeContext<'_>) {
        for _broken in self.0.lock().drain(..) {
            ctx.record(&ReplyDropped {});
        }
    }
}

async fn start_reply_holder(policy: ChildPolicy) -> (Runtime, Address<ReplyHolderMessage>) {
    start_child(Child::new("worker", ReplyHolder::default()).policy(policy)).await
}

#[tokio::test(start_paused = true)]
async fn held_replies_survive_crash_and_restart() {
    let (runtime, worker) = start_reply_holder(immediate_policy()).await;
    let (promised, ()) = tokio::join!(worker.call(ReplyHolderMessage::Hold), async {
        worker.cast(ReplyHolderMessage::Panic).await.unwrap();
        runtime.root().restart("worker").await.unwrap();
        worker.cast(ReplyHolderMessage::AnswerAll).await.unwrap();
    });
    assert_eq!(promised, Ok("kept"));
}

#[tokio::test(start_paused = true)]
async fn finalize_on_stop_answers_held_replies_and_records() {
    let (runtime, worker) = start_reply_holder(immediate_policy()).await;
    let mut events = JournalFollower::from_now(&runtime);
    let (promised, stopped) =
        tokio::join!(worker.call(ReplyHolderMessage::Hold), runtime.root().stop("worker"));
    assert_eq!((promised, stopped), (Err(CallError::Stopped), Ok(())));
    let broken = events.next("promise_broken").await;
    assert_eq!((broken.actor.as_str(), broken.generation), ("root/worker", 1));
}

#[tokio::test(start_paused = true)]
async fn finalize_on_failure_answers_held_replies() {
    let (_runtime, worker) = start_reply_holder(delayed_policy()).await;
    let (promised, ()) = tokio::join!(worker.call(ReplyHolderMessage::Hold), async {
        for _ in 0..3 {
            worker.cast(ReplyHolderMessage::Panic).await.unwrap();
        }
    });
    assert_eq!(promised, Err(CallError::Stopped));
}
