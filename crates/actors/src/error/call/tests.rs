use std::{collections::BTreeSet, time::Duration};

use expect_test::expect;
use futures_util::poll;
use mainstay_runtime::{
    Address, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
    policy::{ChildPolicy, Delay},
};

use super::*;
use crate::error::{
    reference::{Part, assert_all, assert_row},
    words::assert_helps,
};

#[test]
fn each_unanswered_call_has_a_code_a_reason_and_says_whether_a_repeat_is_safe() {
    use CallError::{Crashed, Expired, Full, Stopped, TimedOut, Unanswered};
    let row = |call| {
        let error = of_call(call);
        assert_helps(&error.message);
        let repeat = if error.retryable { "retryable" } else { "final" };
        format!("{call:?}: {} {} {repeat}\n", error.code, error.reason)
    };
    let table: String = [Crashed, Stopped, Expired, Full, TimedOut, Unanswered].map(row).concat();
    expect![[r#"
        Crashed: SERVER_ERROR crashed final
        Stopped: SERVER_ERROR stopped final
        Expired: TIMEOUT expired retryable
        Full: SERVER_ERROR queue_full retryable
        TimedOut: TIMEOUT no_answer final
        Unanswered: SERVER_ERROR internal final
    "#]]
    .assert_eq(&table);
}

/// Every way not to answer.
enum Ask {
    Answer(Reply<()>),
    Panic(Reply<()>),
    Fail(Reply<()>),
    Forget(Reply<()>),
    /// Keeps the caller waiting.
    Keep(Reply<()>),
    /// Is at work for so long.
    Work(Duration, Reply<()>),
}

impl Message for Ask {}

struct Mule;

impl Worker for Mule {
    type Message = Ask;
    type State = Vec<Reply<()>>;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Ask>, _: Option<()>) -> Result<Vec<Reply<()>>, Failure> {
        Ok(Vec::new())
    }

    async fn handle(&self, _: &mut Context<Ask>, ask: Ask, kept: &mut Vec<Reply<()>>) -> Result<(), Failure> {
        match ask {
            Ask::Answer(reply) => reply.send(()),
            Ask::Panic(_reply) => panic!("on purpose"),
            Ask::Fail(_reply) => return Err("on purpose".into()),
            Ask::Forget(reply) => drop(reply),
            Ask::Keep(reply) => kept.push(reply),
            Ask::Work(time, reply) => {
                tokio::time::sleep(time).await;
                reply.send(());
            }
        }
        Ok(())
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Restarted after an hour, so that an answer that comes before owes nothing to a restart.
async fn mule() -> (Runtime, Address<Ask>) {
    let mut root = SupervisorSpec::new("root");
    let policy =
        ChildPolicy { delay: Delay::Fixed { delay: Duration::from_secs(3600) }, ..ChildPolicy::default() };
    let mule = root.child(Child::new("mule", Mule).policy(policy).mailbox_capacity(1)).unwrap();
    (Runtime::builder().start(root).await.unwrap(), mule)
}

#[tokio::test(start_paused = true)]
async fn each_way_not_to_answer_gives_the_error_of_its_row() {
    let mut seen = BTreeSet::new();
    let mut check = |what: &'static str, answer: Result<(), CallError>| {
        assert_row(Part::Call, what, &of_call(answer.unwrap_err()));
        seen.insert(what);
    };
    let crashed = "its handler panicked or failed on the message, or before it answered";
    let (runtime, mule) = mule().await;
    let began = runtime.now();
    check(crashed, mule.call(Ask::Panic).await);
    runtime.root().restart("mule").await.unwrap();
    check(crashed, mule.call(Ask::Fail).await);
    runtime.root().restart("mule").await.unwrap();
    // One that waits for an answer when the handler panics on another message.
    let mut kept = Box::pin(mule.call(Ask::Keep));
    assert!(poll!(&mut kept).is_pending());
    let (panicked, kept) = tokio::join!(mule.call(Ask::Panic), kept);
    check(crashed, panicked);
    check(crashed, kept);
    assert_eq!(runtime.now(), began, "they were told at once");
    runtime.root().restart("mule").await.unwrap();

    check("its handler let the caller go without an answer", mule.call(Ask::Forget).await);
    let late = mule.call_within(SECOND, |reply| Ask::Work(2 * SECOND, reply)).await;
    check("it gave no answer within the caller's patience", late);
    assert_eq!(mule.call(Ask::Answer).await, Ok(()));

    // Nobody looks at the answer of the one that expires until it has.
    let mut work = Box::pin(mule.call(|reply| Ask::Work(2 * SECOND, reply)));
    assert!(poll!(&mut work).is_pending());
    tokio::time::sleep(SECOND / 2).await;
    let mut hasty = Box::pin(mule.call_within(SECOND, Ask::Answer));
    assert!(poll!(&mut hasty).is_pending());
    // There is room for one that waits, and this is one more.
    let (reply, answer) = Reply::channel();
    let mut casting = Box::pin(mule.cast(Ask::Answer(reply)));
    assert!(poll!(&mut casting).is_pending());
    drop(casting);
    check("its mailbox has no room", answer.await);
    assert_eq!(work.await, Ok(()));
    assert_eq!(mule.call(Ask::Answer).await, Ok(()));
    check("the message waited in the mailbox for longer than it may", hasty.await);

    let mut kept = Box::pin(mule.call(Ask::Keep));
    assert!(poll!(&mut kept).is_pending());
    let stopped = "it is stopped, or was given up";
    let (stopping, kept) = tokio::join!(runtime.root().stop("mule"), kept);
    stopping.unwrap();
    check(stopped, kept);
    check(stopped, mule.call(Ask::Answer).await);
    assert_all(Part::Call, &seen);
}
