//! Panics in places where nobody expects them: each ends in an exit that is told, and hurts nobody else.

use std::fmt;
use std::time::Duration;

use mainstay_runtime::journal::Record;
use mainstay_runtime::policy::{ChildPolicy, ExitCause};
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Reply, Runtime, SupervisorSpec, Worker,
};

use crate::probe::{Story, quick};

/// Panics when it is dropped.
struct Fragile;

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("broken");
    }
}

/// An error that cannot say what it is.
#[derive(Debug)]
struct Speechless;

impl fmt::Display for Speechless {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Speechless {}

enum Act {
    Ping(Reply<()>),
    /// Panics when it is asked for its label.
    Nameless(Reply<()>),
    /// Panics when it is asked for a copy.
    Unique(Reply<()>),
    /// Lets the next snapshot panic.
    Smudge(Reply<()>),
    /// Keeps what panics when the state is dropped.
    Keep,
    /// Answers with what panics when nobody takes it.
    Answer(Reply<Fragile>),
    Raise,
    Fail,
    Block,
    /// Starts a task that panics, or panics when it is ended.
    Task(Mishap),
    End,
    /// Panics when it is dropped, handled or not.
    Crumble(Fragile, Reply<()>),
}

#[derive(Clone, Copy)]
enum Mishap {
    Panic,
    WhenEnded,
}

impl Message for Act {
    fn label(&self) -> &'static str {
        assert!(!matches!(self, Self::Nameless(_)), "no name");
        "Act"
    }

    fn retained(&mut self) -> Option<Self> {
        assert!(!matches!(self, Self::Unique(_)), "no copy");
        None
    }
}

/// What a worker is made from may be fragile too.
#[derive(Default)]
struct Victim {
    #[allow(dead_code, reason = "held")]
    recipe: Option<Fragile>,
    stops_badly: bool,
}

#[derive(Default)]
struct State {
    kept: Vec<Fragile>,
    smudged: bool,
}

impl Worker for Victim {
    type Message = Act;
    type State = State;
    type Snapshot = ();

    async fn start(&self, _: &mut Context<Act>, _: Option<()>) -> Result<State, Failure> {
        Ok(State::default())
    }

    async fn handle(&self, ctx: &mut Context<Act>, act: Act, state: &mut State) -> Result<(), Failure> {
        match act {
            Act::Ping(reply) | Act::Nameless(reply) | Act::Unique(reply) => reply.send(()),
            Act::Smudge(_reply) => state.smudged = true,
            Act::Keep => state.kept.push(Fragile),
            Act::Answer(reply) => reply.send(Fragile),
            Act::Raise => panic!("on purpose"),
            Act::Fail => return Err(Speechless.into()),
            Act::Block => std::future::pending().await,
            Act::Task(mishap) => drop(ctx.spawn_maybe(async move {
                let _held = matches!(mishap, Mishap::WhenEnded).then(|| Fragile);
                if matches!(mishap, Mishap::Panic) {
                    panic!("on purpose, later");
                }
                std::future::pending().await
            })),
            Act::End => ctx.stop(),
            Act::Crumble(fragile, reply) => {
                reply.send(());
                drop(fragile);
            }
        }
        Ok(())
    }

    fn snapshot(&self, state: &State) -> Option<()> {
        assert!(!state.smudged, "smudged");
        None
    }

    async fn stop(&self, _: &mut Context<Act>, _: &mut State) {
        assert!(!self.stops_badly, "stopped badly");
    }
}

async fn tree_of(victim: Victim) -> (Runtime, Address<Act>) {
    let mut root = SupervisorSpec::new("root");
    let policy = ChildPolicy { budget: None, ..quick() };
    let address = root.child(Child::new("victim", victim).policy(policy)).unwrap();
    (Runtime::builder().seed(1).start(root).await.unwrap(), address)
}

/// The next exit, once what waited behind has been handled by the successor.
async fn exit_after(act: Act) -> Record {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    victim.cast(act).await.unwrap();
    assert_eq!(victim.call(Act::Ping).await, Ok(()), "the mailbox was lost");
    let exited = story.until("actor_exited").await.pop().unwrap();
    assert_eq!(exited.actor, "root/victim");
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
    exited
}

fn said(exited: &Record) -> (&str, &str) {
    let text = |field: &str| exited.fields[field].as_str().unwrap();
    let location = exited.fields["location"].as_str();
    assert!(location.is_none_or(|place| place.contains("mishaps.rs:")), "{location:?}");
    (text("cause"), text("message"))
}

#[tokio::test(start_paused = true)]
async fn a_message_that_panics_when_it_is_asked_for_its_label_or_a_copy_crashes_the_actor_and_is_a_dead_letter()
 {
    for (make, message, label) in [
        (Act::Nameless as fn(Reply<()>) -> Act, "no name", "Act"),
        (Act::Unique as fn(Reply<()>) -> Act, "no copy", "Act"),
    ] {
        let (runtime, victim) = tree_of(Victim::default()).await;
        let mut story = Story::of(&runtime);
        let answers = tokio::join!(victim.call(make), victim.call(Act::Ping));
        assert_eq!(answers, (Err(CallError::Crashed), Ok(())));
        let told = story.until("dead_letter").await;
        assert_eq!(said(&told[0]), ("panic", message));
        assert_eq!((&told[1].fields["reason"], &told[1].fields["label"]), (&"crashed".into(), &label.into()));
    }
}

#[tokio::test(start_paused = true)]
async fn messages_that_panic_when_they_are_asked_for_their_label_or_dropped_hurt_no_supervisor_that_stops_their_actor()
 {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    victim.cast(Act::Block).await.unwrap();
    let waiting = async {
        let (reply, nameless) = Reply::channel();
        victim.try_cast(Act::Nameless(reply)).unwrap();
        victim.try_cast(Act::Crumble(Fragile, Reply::channel().0)).unwrap();
        victim.try_cast(Act::Crumble(Fragile, Reply::channel().0)).unwrap();
        runtime.root().stop("victim").await.unwrap();
        nameless.await
    };
    assert_eq!(waiting.await, Err(CallError::Stopped));
    for _ in 0..4 {
        story.until("dead_letter").await;
    }
    runtime.root().start("victim").await.unwrap();
    assert_eq!(victim.call(Act::Ping).await, Ok(()));
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_expires_and_panics_when_it_is_dropped_crashes_the_actor_and_nobody_else() {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    let patience = Duration::from_secs(1);
    let (late, restarted) = tokio::join!(
        async {
            victim.cast(Act::Block).await.unwrap();
            victim.call_within(patience, |reply| Act::Crumble(Fragile, reply)).await
        },
        async {
            tokio::time::sleep(patience * 2).await;
            runtime.root().restart("victim").await
        }
    );
    assert_eq!((late, restarted), (Err(CallError::TimedOut), Ok(())));
    story.until("actor_exited").await;
    let exited = story.until("actor_exited").await;
    assert!(exited.iter().any(|record| record.fields.get("reason") == Some(&"expired".into())));
    assert_eq!(said(exited.last().unwrap()), ("panic", "broken"));
    assert_eq!(victim.call(Act::Ping).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_snapshot_is_a_crash_on_the_message_that_it_followed() {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    let answers = tokio::join!(victim.call(Act::Smudge), victim.call(Act::Ping));
    assert_eq!(answers, (Err(CallError::Crashed), Ok(())));
    let told = story.until("dead_letter").await;
    assert_eq!(said(&told[0]), ("panic", "smudged"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_destructor_of_the_state_is_told_and_does_not_hide_why_the_actor_ended() {
    for (last, expected) in [
        (Act::Raise, ("panic", "on purpose")),
        (Act::End, ("normal", "broken")),
        (Act::Block, ("killed", "broken")),
    ] {
        let (runtime, victim) = tree_of(Victim::default()).await;
        let mut story = Story::of(&runtime);
        let is_blocked = matches!(last, Act::Block);
        victim.cast(Act::Keep).await.unwrap();
        victim.cast(last).await.unwrap();
        if is_blocked {
            tokio::task::yield_now().await;
            runtime.root().restart("victim").await.unwrap();
        }
        assert_eq!(victim.call(Act::Ping).await, Ok(()));
        assert_eq!(said(story.until("actor_exited").await.last().unwrap()), expected);
        assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_destructor_of_what_a_worker_is_made_from_hurts_no_supervisor() {
    let runtime = Runtime::builder().start(SupervisorSpec::new("root")).await.unwrap();
    let fragile = || Child::new("victim", Victim { recipe: Some(Fragile), ..Victim::default() });
    runtime.root().add(fragile()).await.unwrap();
    assert!(runtime.root().add(fragile()).await.is_err());
    runtime.root().remove("victim").await.unwrap();
    assert!(runtime.root().names().is_empty());
    assert_eq!(runtime.tree().vitals.generation, 1);
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_stop_is_told_whoever_asked_for_the_stop() {
    for by_itself in [true, false] {
        let (runtime, victim) = tree_of(Victim { stops_badly: true, ..Victim::default() }).await;
        let mut story = Story::of(&runtime);
        if by_itself {
            victim.cast(Act::End).await.unwrap();
        } else {
            runtime.root().restart("victim").await.unwrap();
        }
        assert_eq!(victim.call(Act::Ping).await, Ok(()));
        assert_eq!(said(story.until("actor_exited").await.last().unwrap()), ("panic", "stopped badly"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_and_that_panics_when_it_is_dropped_is_a_crash() {
    let (reply, promise) = Reply::channel();
    drop(promise);
    assert_eq!(said(&exit_after(Act::Answer(reply)).await), ("panic", "broken"));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_cannot_say_what_it_is_is_told_as_far_as_it_goes() {
    let exited = exit_after(Act::Fail).await;
    assert_eq!(said(&exited), ("error", "an error that could not say what it is: no words"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_owned_task_is_a_crash() {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    victim.cast(Act::Task(Mishap::Panic)).await.unwrap();
    assert_eq!(said(story.until("actor_exited").await.last().unwrap()), ("panic", "on purpose, later"));
    assert_eq!(victim.call(Act::Ping).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn an_owned_task_that_panics_when_it_is_ended_holds_up_nobody() {
    let (runtime, victim) = tree_of(Victim::default()).await;
    let mut story = Story::of(&runtime);
    victim.cast(Act::Task(Mishap::WhenEnded)).await.unwrap();
    victim.call(Act::Ping).await.unwrap();
    victim.cast(Act::Raise).await.unwrap();
    assert_eq!(victim.call(Act::Ping).await, Ok(()));
    assert_eq!(said(story.until("actor_exited").await.last().unwrap()), ("panic", "on purpose"));
    assert_eq!(runtime.shutdown().await.cause, ExitCause::Normal);
}
