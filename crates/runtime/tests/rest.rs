//! What a worker that keeps its callers waiting across incarnations can promise them.

use std::sync::Mutex;

use mainstay_runtime::journal::Event;
use mainstay_runtime::policy::ChildPolicy;
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Reply, RestContext, Runtime, SupervisorSpec, Worker,
};
use serde::Serialize;

use crate::probe::{Story, patient, quick};

enum Ask {
    Promise(Reply<&'static str>),
    Keep,
    Panic,
}

impl Message for Ask {}

#[derive(Serialize)]
struct PromiseBroken {}

impl Event for PromiseBroken {
    const KIND: &'static str = "promise_broken";
}

/// Keeps its promises in the recipe, so that they outlive an incarnation.
#[derive(Default)]
struct Promiser(Mutex<Vec<Reply<&'static str>>>);

impl Worker for Promiser {
    type Message = Ask;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Ask>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &mut Context<Ask>, ask: Ask, (): &mut ()) -> Result<(), Failure> {
        let mut promises = self.0.lock().unwrap();
        match ask {
            Ask::Promise(reply) => promises.push(reply),
            Ask::Keep => promises.drain(..).for_each(|reply| reply.send("kept")),
            Ask::Panic => {
                drop(promises);
                panic!("on purpose")
            }
        }
        Ok(())
    }

    fn rest(&self, ctx: &RestContext<'_>) {
        for _broken in self.0.lock().unwrap().drain(..) {
            ctx.record(&PromiseBroken {});
        }
    }
}

async fn promiser(policy: ChildPolicy) -> (Runtime, Address<Ask>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("promiser", Promiser::default()).policy(policy)).unwrap();
    (Runtime::builder().start(root).await.unwrap(), address)
}

#[tokio::test(start_paused = true)]
async fn a_crash_or_a_restart_by_hand_breaks_no_promise() {
    let (runtime, promiser) = promiser(quick()).await;
    let (promised, ()) = tokio::join!(promiser.call(Ask::Promise), async {
        promiser.cast(Ask::Panic).await.unwrap();
        runtime.root().restart("promiser").await.unwrap();
        promiser.cast(Ask::Keep).await.unwrap();
    });
    assert_eq!(promised, Ok("kept"));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_stopped_tells_those_that_it_kept_waiting_and_may_still_record_it() {
    let (runtime, promiser) = promiser(quick()).await;
    let mut story = Story::of(&runtime);
    let (promised, stopped) = tokio::join!(promiser.call(Ask::Promise), runtime.root().stop("promiser"));
    assert_eq!((promised, stopped), (Err(CallError::Stopped), Ok(())));
    let broken = story.until("promise_broken").await.pop().unwrap();
    assert_eq!((broken.actor.as_str(), broken.generation), ("root/promiser", 1));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_given_up_tells_those_that_it_kept_waiting() {
    let (_runtime, promiser) = promiser(patient()).await;
    let (promised, ()) = tokio::join!(promiser.call(Ask::Promise), async {
        for _ in 0..3 {
            promiser.cast(Ask::Panic).await.unwrap();
        }
    });
    assert_eq!(promised, Err(CallError::Stopped));
}
