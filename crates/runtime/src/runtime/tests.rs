//! The locks that the path of a message avoids, and the secrets that the tree hides.

use std::thread;

use super::*;
use crate::actor::context::Context;
use crate::actor::failure::Failure;
use crate::actor::worker::Worker;
use crate::messaging::message::Message;
use crate::messaging::reply::Reply;
use crate::supervisor::Child;

enum Count {
    Up,
    Get(Reply<u64>),
}

impl Message for Count {}

struct Counter;

impl Worker for Counter {
    type Message = Count;
    type State = u64;
    type Snapshot = u64;

    async fn start(&self, _: &mut Context<Count>, kept: Option<u64>) -> Result<u64, Failure> {
        Ok(kept.unwrap_or(0))
    }

    async fn handle(&self, _: &mut Context<Count>, message: Count, count: &mut u64) -> Result<(), Failure> {
        match message {
            Count::Up => *count += 1,
            Count::Get(reply) => reply.send(*count),
        }
        Ok(())
    }

    fn snapshot(&self, count: &u64) -> Option<u64> {
        Some(*count)
    }
}

/// The call would exceed its timeout if one of these locks were on its path.
#[test]
fn call_succeeds_while_journal_and_supervisor_are_locked() {
    let executor =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let mut root = SupervisorSpec::new("root");
    let counter = root.child(Child::new("counter", Counter)).unwrap();
    let runtime = executor.block_on(Runtime::builder().start(root)).unwrap();
    // The supervisor learns of the child's readiness after the child is ready.
    while runtime.tree().find("root/counter").is_none_or(|node| node.info.status != ActorStatus::Running) {
        thread::yield_now();
    }
    let slots = runtime.slot.children();
    let answer = {
        let _journal = runtime.env.journal.lock();
        let _listing = runtime.handle.child_list().hold_lock();
        let _standing = slots[0].identity().state();
        let _supervisors_standing = runtime.slot.identity.state();
        executor.block_on(async {
            for _ in 0..1000 {
                counter.cast(Count::Up).await.unwrap();
            }
            counter.call_within(Duration::from_secs(60), Count::Get).await
        })
    };
    assert_eq!(answer, Ok(1000));
    executor.block_on(runtime.shutdown());
}

/// Fails with a secret in its error, at its start or at the first message.
struct LeakingWorker {
    start_succeeds: bool,
}

impl LeakingWorker {
    fn leak_error(&self) -> Result<(), Failure> {
        Err("the token s3cret was refused".into())
    }
}

impl Worker for LeakingWorker {
    type Message = Count;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Count>, _: Option<()>) -> Result<(), Failure> {
        if self.start_succeeds { Ok(()) } else { self.leak_error() }
    }

    async fn handle(&self, _: &mut Context<Count>, _: Count, (): &mut ()) -> Result<(), Failure> {
        self.leak_error()
    }
}

#[tokio::test(start_paused = true)]
async fn last_error_is_redacted_in_tree_and_start_error() {
    const REDACTED: &str = "the token [redacted] was refused";
    let config = JournalOptions { secrets: vec!["s3cret".to_owned()], ..JournalOptions::default() };
    let journal = Journal::in_memory("boot", Arc::new(SystemClock), config);
    let runtime = Runtime::builder().journal(journal).start(SupervisorSpec::new("root")).await.unwrap();
    let refused =
        runtime.root().add(Child::new("mute", LeakingWorker { start_succeeds: false })).await.unwrap_err();
    assert!(refused.to_string().contains(REDACTED), "{refused}");

    let blabber =
        runtime.root().add(Child::new("blabber", LeakingWorker { start_succeeds: true })).await.unwrap();
    assert_eq!(blabber.call(Count::Get).await, Err(crate::CallError::Crashed));
    // The supervisor runs once no other task is ready.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let tree = runtime.tree();
    let shown = tree.find("root/blabber").and_then(|node| node.info.last_error.as_deref());
    assert_eq!(shown, Some(REDACTED));
}
