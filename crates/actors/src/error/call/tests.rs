use std::{collections::BTreeSet, time::Duration};

use futures_util::poll;
use mainstay_runtime::{
    Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
    policy::{ChildPolicy, Delay},
};

use super::*;
use crate::tests::error_table::{CauseGroup, assert_all_seen, assert_row};

/// The ways in which a worker gives no reply.
#[derive(Debug)]
enum ReplyMode {
    Answer(Reply<()>),
    Panic(Reply<()>),
    Fail(Reply<()>),
    DropReply(Reply<()>),
    /// Keeps the caller waiting.
    KeepReply(Reply<()>),
    /// Works for this long.
    ReplyAfter(Duration, Reply<()>),
}

impl Message for ReplyMode {}

struct ReplyWorker;

impl Worker for ReplyWorker {
    type Message = ReplyMode;
    type State = Vec<Reply<()>>;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<ReplyMode>, _: Option<()>) -> Result<Vec<Reply<()>>, Failure> {
        Ok(Vec::new())
    }

    async fn handle(
        &self,
        _: &mut Context<ReplyMode>,
        call: ReplyMode,
        replies: &mut Vec<Reply<()>>,
    ) -> Result<(), Failure> {
        match call {
            ReplyMode::Answer(reply) => reply.send(()),
            ReplyMode::Panic(_reply) => panic!("on purpose"),
            ReplyMode::Fail(_reply) => return Err("on purpose".into()),
            ReplyMode::DropReply(reply) => drop(reply),
            ReplyMode::KeepReply(reply) => replies.push(reply),
            ReplyMode::ReplyAfter(time, reply) => {
                tokio::time::sleep(time).await;
                reply.send(());
            }
        }
        Ok(())
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Restarts after an hour, so no reply in the test can come from a restarted worker.
async fn start_worker() -> (Runtime, Address<ReplyMode>) {
    let mut root = SupervisorSpec::new("root");
    let policy =
        ChildPolicy { delay: Delay::Fixed { delay: Duration::from_secs(3600) }, ..ChildPolicy::default() };
    let worker = root.child(Child::new("worker", ReplyWorker).policy(policy).mailbox_capacity(1)).unwrap();
    (Runtime::builder().start(root).await.unwrap(), worker)
}

#[tokio::test(start_paused = true)]
async fn every_missing_reply_gives_the_error_of_its_row() {
    let mut seen = BTreeSet::new();
    let mut check = |what: &'static str, answer: Result<(), CallError>| {
        assert_row(CauseGroup::Call, what, &Error::from(answer.unwrap_err()));
        seen.insert(what);
    };
    let crashed = "its handler panicked or failed before it replied";
    let (runtime, worker) = start_worker().await;
    let began = runtime.now();
    check(crashed, worker.call(ReplyMode::Panic).await);
    runtime.root().restart("worker").await.unwrap();
    check(crashed, worker.call(ReplyMode::Fail).await);
    runtime.root().restart("worker").await.unwrap();
    // This call waits for its reply when the handler panics on another message.
    let mut replies = Box::pin(worker.call(ReplyMode::KeepReply));
    assert!(poll!(&mut replies).is_pending());
    let (panicked, replies) = tokio::join!(worker.call(ReplyMode::Panic), replies);
    check(crashed, panicked);
    check(crashed, replies);
    assert_eq!(runtime.now(), began, "they were answered at once");
    runtime.root().restart("worker").await.unwrap();

    check("its handler dropped the reply", worker.call(ReplyMode::DropReply).await);
    let late = worker.call_within(SECOND, |reply| ReplyMode::ReplyAfter(2 * SECOND, reply)).await;
    check("it did not reply within the caller's timeout", late);
    assert_eq!(worker.call(ReplyMode::Answer).await, Ok(()));

    // The expired call is polled only after its expiry.
    let mut work = Box::pin(worker.call(|reply| ReplyMode::ReplyAfter(2 * SECOND, reply)));
    assert!(poll!(&mut work).is_pending());
    tokio::time::sleep(SECOND / 2).await;
    let mut hasty = Box::pin(worker.call_within(SECOND, ReplyMode::Answer));
    assert!(poll!(&mut hasty).is_pending());
    // The mailbox has room for one message; this is the second.
    let (reply, answer) = Reply::channel();
    let mut casting = Box::pin(worker.cast(ReplyMode::Answer(reply)));
    assert!(poll!(&mut casting).is_pending());
    drop(casting);
    check("its mailbox has no room", answer.await);
    assert_eq!(work.await, Ok(()));
    assert_eq!(worker.call(ReplyMode::Answer).await, Ok(()));
    check("the message waited in the mailbox for longer than it may", hasty.await);

    let mut replies = Box::pin(worker.call(ReplyMode::KeepReply));
    assert!(poll!(&mut replies).is_pending());
    let stopped = "it is stopped, or was given up";
    let (stopping, replies) = tokio::join!(runtime.root().stop("worker"), replies);
    stopping.unwrap();
    check(stopped, replies);
    check(stopped, worker.call(ReplyMode::Answer).await);
    assert_all_seen(CauseGroup::Call, &seen);
}
