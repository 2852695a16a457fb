//! What becomes of a message that its handler did not bring to its end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_runtime::journal::Record;
use mainstay_runtime::policy::{ChildPolicy, Delay, RestartType, Shutdown};
use mainstay_runtime::{
    Address, CallError, Child, Context, Failure, Message, Refusal, Reply, Runtime, SupervisorSpec, Worker,
};
use tokio::sync::Semaphore;

use crate::probe::{Story, pass, patient, quick};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What happens to a handler.
#[derive(Clone, Copy)]
enum Mishap {
    None,
    Panic,
    Error,
    /// It never ends.
    Hang,
    /// It answers, and then panics.
    Late,
}

use Mishap::{Error, Hang, Late, Panic};

enum Task {
    /// Is handled again after a crash.
    Do(u64, Reply<u64>),
    /// Is handled again, and is poison only after three crashes.
    Insist(u64, Reply<u64>),
    /// Is never handled again.
    Once(u64, Reply<u64>),
    Ignore(#[allow(dead_code, reason = "held, never answered")] Reply<u64>),
    /// Answers from an owned task, which takes its time.
    Later(Reply<u64>),
    EndLater,
    Done(Reply<Vec<u64>>),
}

impl Message for Task {
    fn label(&self) -> &'static str {
        match self {
            Self::Do(..) => "Do",
            Self::Insist(..) => "Insist",
            Self::Once(..) => "Once",
            _ => "Other",
        }
    }

    fn retained(&mut self) -> Option<Self> {
        match self {
            Self::Do(id, reply) => Some(Self::Do(*id, reply.share())),
            Self::Insist(id, reply) => Some(Self::Insist(*id, reply.share())),
            _ => None,
        }
    }

    fn crashes_max(&self) -> u32 {
        if matches!(self, Self::Insist(..)) { 3 } else { 2 }
    }
}

/// Handles tasks, and meets with the mishaps that were laid out for it, one a task.
#[derive(Clone)]
struct Clerk {
    mishaps: Arc<Mutex<VecDeque<Mishap>>>,
    entered: Arc<Semaphore>,
}

impl Clerk {
    fn with(mishaps: impl IntoIterator<Item = Mishap>) -> Self {
        let mishaps = Arc::new(Mutex::new(mishaps.into_iter().collect()));
        Self { mishaps, entered: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until a handler hangs.
    async fn hangs(&self) {
        self.entered.acquire().await.unwrap().forget();
    }
}

#[derive(Default)]
struct Desk {
    done: Vec<u64>,
    last: Option<mainstay_runtime::TaskHandle>,
}

impl Worker for Clerk {
    type Message = Task;
    type State = Desk;
    type Snapshot = Vec<u64>;

    async fn start(&self, _: &mut Context<Task>, kept: Option<Vec<u64>>) -> Result<Desk, Failure> {
        Ok(Desk { done: kept.unwrap_or_default(), last: None })
    }

    async fn handle(&self, ctx: &mut Context<Task>, task: Task, desk: &mut Desk) -> Result<(), Failure> {
        match task {
            Task::Do(id, reply) | Task::Insist(id, reply) | Task::Once(id, reply) => {
                let mishap = self.mishaps.lock().unwrap().pop_front().unwrap_or(Mishap::None);
                match mishap {
                    Mishap::None => reply.send(id),
                    Panic => panic!("on purpose"),
                    Error => return Err("on purpose".into()),
                    Hang => {
                        self.entered.add_permits(1);
                        std::future::pending().await
                    }
                    Late => {
                        reply.send(id + 100);
                        panic!("too late")
                    }
                }
                desk.done.push(id);
            }
            Task::Ignore(reply) => drop(reply),
            Task::Later(reply) => {
                desk.last = Some(ctx.spawn_maybe(async move {
                    tokio::time::sleep(s(3600)).await;
                    reply.send(0);
                    None
                }));
            }
            Task::EndLater => desk.last.take().unwrap().abort(),
            Task::Done(reply) => reply.send(desk.done.clone()),
        }
        Ok(())
    }

    fn snapshot(&self, desk: &Desk) -> Option<Vec<u64>> {
        Some(desk.done.clone())
    }
}

async fn office_of(clerk: &Clerk, policy: ChildPolicy) -> (Runtime, Address<Task>) {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("clerk", clerk.clone()).policy(policy)).unwrap();
    (Runtime::builder().seed(1).start(root).await.unwrap(), address)
}

async fn done(clerk: &Address<Task>) -> Vec<u64> {
    clerk.call(Task::Done).await.unwrap()
}

/// Reason and label, and the crashes where they are told.
fn letters(told: &[Record]) -> Vec<(String, String, Option<u64>)> {
    let letters = told.iter().filter(|record| record.kind == "dead_letter");
    let text = |record: &Record, field: &str| record.fields[field].as_str().unwrap().to_owned();
    letters
        .map(|letter| {
            let crashes = letter.fields.get("crashes").and_then(serde_json::Value::as_u64);
            (text(letter, "reason"), text(letter, "label"), crashes)
        })
        .collect()
}

fn letter(reason: &str, label: &str) -> (String, String, Option<u64>) {
    (reason.to_owned(), label.to_owned(), None)
}

/// Everything that the journal has told by the end of the runtime.
async fn all_of(runtime: &Runtime) -> Vec<Record> {
    let mut story = Story::from_the_start(runtime);
    runtime.shutdown().await;
    story.until("runtime_stopped").await
}

#[tokio::test(start_paused = true)]
async fn a_message_that_opted_in_is_handled_again_after_a_panic_or_an_error_and_its_caller_hears_nothing_of_it()
 {
    for mishap in [Panic, Error] {
        let clerk = Clerk::with([mishap]);
        let (runtime, address) = office_of(&clerk, quick()).await;
        assert_eq!(address.call(|reply| Task::Do(7, reply)).await, Ok(7));
        assert_eq!(done(&address).await, [7]);
        assert_eq!(letters(&all_of(&runtime).await), []);
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_tells_which_message_is_delivered_again_and_how_often_it_crashed() {
    let clerk = Clerk::with([Panic]);
    let (runtime, address) = office_of(&clerk, patient()).await;
    let mut story = Story::of(&runtime);
    assert_eq!(address.call(|reply| Task::Insist(7, reply)).await, Ok(7));
    let told = story.until("redelivered").await;
    let kinds: Vec<&str> = told.iter().map(|record| record.kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["actor_exited", "decision", "actor_started", "actor_ready", "actor_restarted", "redelivered"]
    );
    let redelivered = told.last().unwrap();
    assert_eq!(redelivered.generation, 2);
    assert_eq!(
        serde_json::to_value(&redelivered.fields).unwrap(),
        serde_json::json!({"label": "Insist", "crashes": 1, "crashes_max": 3})
    );
    assert_eq!(told[4].fields["backlog"], 1);
}

#[tokio::test(start_paused = true)]
async fn it_is_handled_before_those_behind_it_which_keep_their_order() {
    let clerk = Clerk::with([Panic]);
    let (_runtime, address) = office_of(&clerk, quick()).await;
    let answers = tokio::join!(
        address.call(|reply| Task::Do(1, reply)),
        address.call(|reply| Task::Once(2, reply)),
        address.call(|reply| Task::Do(3, reply)),
    );
    assert_eq!(answers, (Ok(1), Ok(2), Ok(3)));
    assert_eq!(done(&address).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn there_is_room_for_it_even_in_a_full_mailbox() {
    let clerk = Clerk::with([Hang]);
    let mut root = SupervisorSpec::new("root");
    let child = Child::new("clerk", clerk.clone()).mailbox_capacity(1).policy(quick());
    let address = root.child(child).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let filling = async {
        clerk.hangs().await;
        let (reply, second) = Reply::channel();
        address.try_cast(Task::Do(2, reply)).unwrap();
        let refused = address.try_cast(Task::Ignore(Reply::channel().0)).unwrap_err();
        assert_eq!(refused.reason, Refusal::Full);
        runtime.root().restart("clerk").await.unwrap();
        second.await
    };
    assert_eq!(tokio::join!(address.call(|reply| Task::Do(1, reply)), filling), (Ok(1), Ok(2)));
    assert_eq!(done(&address).await, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_goes_on_crashing_is_quarantined_as_poison_and_the_others_are_handled() {
    let clerk = Clerk::with([Panic, Error]);
    let (runtime, address) = office_of(&clerk, quick()).await;
    let answers =
        tokio::join!(address.call(|reply| Task::Do(1, reply)), address.call(|reply| Task::Do(2, reply)));
    assert_eq!(answers, (Err(CallError::Crashed), Ok(2)));
    assert_eq!(done(&address).await, [2]);
    let told = all_of(&runtime).await;
    assert_eq!(letters(&told), [("poison".to_owned(), "Do".to_owned(), Some(2))]);
}

#[tokio::test(start_paused = true)]
async fn a_type_says_how_many_crashes_make_it_poison() {
    for (mishaps, expected) in [(vec![Panic; 2], Ok(1)), (vec![Panic; 3], Err(CallError::Crashed))] {
        let clerk = Clerk::with(mishaps);
        let (_runtime, address) = office_of(&clerk, ChildPolicy { budget: None, ..quick() }).await;
        assert_eq!(address.call(|reply| Task::Insist(1, reply)).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_did_not_opt_in_is_never_handled_twice() {
    for mishap in [Panic, Error] {
        let clerk = Clerk::with([mishap]);
        let (runtime, address) = office_of(&clerk, quick()).await;
        assert_eq!(address.call(|reply| Task::Once(1, reply)).await, Err(CallError::Crashed));
        assert_eq!(done(&address).await, [0; 0]);
        assert_eq!(letters(&all_of(&runtime).await), [letter("crashed", "Once")]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_counts_if_a_handler_crashed_after_it_had_answered() {
    let clerk = Clerk::with([Late]);
    let (_runtime, address) = office_of(&clerk, quick()).await;
    assert_eq!(address.call(|reply| Task::Do(1, reply)).await, Ok(101));
    assert_eq!(done(&address).await, [1]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_killed_by_a_restart_is_no_crash_of_its_message() {
    let clerk = Clerk::with([Hang, Hang, Hang]);
    let (runtime, address) = office_of(&clerk, quick()).await;
    let restarting = async {
        for _ in 0..3 {
            clerk.hangs().await;
            runtime.root().restart("clerk").await.unwrap();
        }
    };
    assert_eq!(tokio::join!(address.call(|reply| Task::Do(1, reply)), restarting).0, Ok(1));
    let told = all_of(&runtime).await;
    let crashes: Vec<_> = told
        .iter()
        .filter(|record| record.kind == "redelivered")
        .map(|r| r.fields["crashes"].clone())
        .collect();
    assert_eq!((crashes, letters(&told)), (vec![0.into(); 3], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_is_killed_by_a_restart_tells_a_caller_that_did_not_opt_in_that_it_was_stopped() {
    let clerk = Clerk::with([Hang]);
    let (runtime, address) = office_of(&clerk, quick()).await;
    let restarting = async {
        clerk.hangs().await;
        runtime.root().restart("clerk").await.unwrap();
    };
    let answer = tokio::join!(address.call(|reply| Task::Once(1, reply)), restarting).0;
    assert_eq!(answer, Err(CallError::Stopped));
    assert_eq!(letters(&all_of(&runtime).await), [letter("stopped", "Once")]);
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_actor_is_stopped_or_removed_before_it_is_handled_again_is_a_dead_letter() {
    for removes in [false, true] {
        let clerk = Clerk::with([Hang]);
        let (runtime, address) = office_of(&clerk, quick()).await;
        let stopping = async {
            clerk.hangs().await;
            if removes {
                runtime.root().remove("clerk").await.unwrap();
            } else {
                runtime.root().stop("clerk").await.unwrap();
            }
        };
        let answer = tokio::join!(address.call(|reply| Task::Do(1, reply)), stopping).0;
        assert_eq!(answer, Err(CallError::Stopped));
        assert_eq!(letters(&all_of(&runtime).await), [letter("stopped", "Do")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_actor_does_not_come_back_after_the_crash_is_a_dead_letter() {
    let clerk = Clerk::with([Panic]);
    let temporary = ChildPolicy { restart: RestartType::Temporary, ..quick() };
    let (runtime, address) = office_of(&clerk, temporary).await;
    assert_eq!(address.call(|reply| Task::Do(1, reply)).await, Err(CallError::Stopped));
    assert_eq!(letters(&all_of(&runtime).await), [letter("stopped", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn a_message_keeps_its_deadline_over_a_crash() {
    let clerk = Clerk::with([Panic]);
    let (runtime, address) = office_of(&clerk, patient()).await;
    let answer = address.call_within(s(2), |reply| Task::Do(1, reply)).await;
    assert_eq!(answer, Err(CallError::TimedOut));
    assert_eq!(done(&address).await, [0; 0]);
    assert_eq!(letters(&all_of(&runtime).await), [letter("expired", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_is_not_set_aside_for_what_one_message_did() {
    let clerk = Clerk::with([Mishap::None, Panic, Panic, Panic]);
    let policy = ChildPolicy { budget: None, checkpoint_crashes_max: 2, ..quick() };
    let (runtime, address) = office_of(&clerk, policy).await;
    assert_eq!(address.call(|reply| Task::Do(1, reply)).await, Ok(1));
    assert_eq!(address.call(|reply| Task::Insist(2, reply)).await, Err(CallError::Crashed));
    assert_eq!(done(&address).await, [1]);
    assert!(all_of(&runtime).await.iter().all(|record| record.kind != "checkpoint_discarded"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_caller_gets_the_answer_to_a_message_that_crashes_once_on_many_threads() {
    let clerk = Clerk::with((0..1000).map(|task| if task % 2 == 0 { Panic } else { Mishap::None }));
    let (runtime, address) = office_of(&clerk, ChildPolicy { budget: None, ..quick() }).await;
    let calls = (0..500).map(|id| {
        let address = address.clone();
        async move { address.call(|reply| Task::Do(id, reply)).await }
    });
    let callers: tokio::task::JoinSet<_> = calls.collect();
    let mut answers = callers.join_all().await;
    answers.sort_by_key(|answer| *answer.as_ref().unwrap());
    assert_eq!(answers, (0..500).map(Ok).collect::<Vec<_>>());
    assert_eq!(done(&address).await.len(), 500);
    assert_eq!(letters(&all_of(&runtime).await), []);
}

// === those that end with their supervisor ===

/// A pool whose clerk takes longer to stop than the pool is given.
async fn pool_of(clerk: &Clerk) -> (Runtime, Address<Task>) {
    let mut root = SupervisorSpec::new("root");
    let mut pool = SupervisorSpec::new("pool").as_child(quick());
    let stubborn = ChildPolicy { shutdown: Shutdown::Graceful(s(60)), delay: Delay::NONE, ..quick() };
    let address = pool.child(Child::new("clerk", clerk.clone()).policy(stubborn)).unwrap();
    root.supervisor(pool).unwrap();
    (Runtime::builder().start(root).await.unwrap(), address)
}

fn exits(told: &[Record]) -> Vec<&str> {
    told.iter().filter(|record| record.kind == "actor_exited").map(|record| record.actor.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_was_being_handled_when_a_supervisor_was_killed_is_accounted_for() {
    for (opted_in, label) in [(false, "Once"), (true, "Do")] {
        let clerk = Clerk::with([Hang]);
        let (runtime, address) = pool_of(&clerk).await;
        let stopping = async {
            clerk.hangs().await;
            runtime.root().stop("pool").await.unwrap();
        };
        let call = address.call(|reply| if opted_in { Task::Do(1, reply) } else { Task::Once(1, reply) });
        assert_eq!(tokio::join!(call, stopping).0, Err(CallError::Stopped));
        let told = all_of(&runtime).await;
        assert_eq!(letters(&told), [letter("stopped", label)]);
        assert_eq!(exits(&told), ["root/pool", "root/pool/clerk", "root"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_being_handled_when_a_supervisor_was_killed_is_handled_again_when_it_is_back() {
    let clerk = Clerk::with([Hang]);
    let (runtime, address) = pool_of(&clerk).await;
    let restarting = async {
        clerk.hangs().await;
        runtime.root().restart("pool").await.unwrap();
    };
    assert_eq!(tokio::join!(address.call(|reply| Task::Do(1, reply)), restarting).0, Ok(1));
    let told = all_of(&runtime).await;
    assert_eq!(letters(&told), []);
    assert_eq!(exits(&told)[..2], ["root/pool", "root/pool/clerk"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_handled_when_the_root_was_killed_is_told_before_the_runtime_says_that_it_stopped() {
    let clerk = Clerk::with([Hang]);
    let mut root = SupervisorSpec::new("root").as_child(quick());
    let stubborn = ChildPolicy { shutdown: Shutdown::Graceful(s(60)), ..quick() };
    let address = root.child(Child::new("clerk", clerk.clone()).policy(stubborn)).unwrap();
    let runtime = Runtime::builder().start(root).await.unwrap();
    let shutting_down = async {
        clerk.hangs().await;
        all_of(&runtime).await
    };
    let (answer, told) = tokio::join!(address.call(|reply| Task::Once(1, reply)), shutting_down);
    assert_eq!(answer, Err(CallError::Stopped));
    assert_eq!(letters(&told), [letter("stopped", "Once")]);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_handled_when_the_runtime_was_dropped_is_accounted_for() {
    let clerk = Clerk::with([Hang]);
    let (runtime, address) = office_of(&clerk, quick()).await;
    let mut story = Story::of(&runtime);
    let dropping = async {
        clerk.hangs().await;
        drop(runtime);
    };
    let calls = (address.call(|reply| Task::Do(1, reply)), address.call(|reply| Task::Once(2, reply)));
    let answers = tokio::join!(calls.0, calls.1, dropping);
    assert_eq!((answers.0, answers.1), (Err(CallError::Stopped), Err(CallError::Stopped)));
    let mut told = story.until("dead_letter").await;
    told.extend(story.until("dead_letter").await);
    assert_eq!(letters(&told), [letter("stopped", "Once"), letter("stopped", "Do")]);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_at_an_actor_whose_tree_never_started_gets_an_answer_when_that_is_given_up() {
    let mut root = SupervisorSpec::new("root");
    let address = root.child(Child::new("clerk", Clerk::with([]))).unwrap();
    let mut call = Box::pin(address.call(|reply| Task::Do(1, reply)));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(root);
    assert_eq!(call.await, Err(CallError::Stopped));
}

// === replies that nobody answers ===

#[tokio::test(start_paused = true)]
async fn a_reply_in_an_owned_task_tells_whether_the_actor_was_stopped_or_the_task_was_only_ended() {
    let clerk = Clerk::with([]);
    let (runtime, address) = office_of(&clerk, quick()).await;
    let ending = async { address.cast(Task::EndLater).await.unwrap() };
    assert_eq!(tokio::join!(address.call(Task::Later), ending).0, Err(CallError::Unanswered));
    let stopping = async {
        // Handled once what was sent before it is.
        done(&address).await;
        runtime.root().stop("clerk").await.unwrap();
    };
    assert_eq!(tokio::join!(address.call(Task::Later), stopping).0, Err(CallError::Stopped));
}

#[tokio::test(start_paused = true)]
async fn patience_beyond_what_a_clock_can_tell_is_patience_without_end() {
    let (_runtime, address) = office_of(&Clerk::with([]), quick()).await;
    assert_eq!(address.call_within(Duration::MAX, |reply| Task::Do(1, reply)).await, Ok(1));
    assert_eq!(address.call(Task::Ignore).await, Err(CallError::Unanswered));
}

#[tokio::test(start_paused = true)]
async fn a_redelivery_after_a_pause_still_comes_first() {
    let clerk = Clerk::with([Panic]);
    let (_runtime, address) = office_of(&clerk, patient()).await;
    let late = async {
        pass(s(1)).await;
        address.call(|reply| Task::Do(2, reply)).await
    };
    assert_eq!(tokio::join!(address.call(|reply| Task::Do(1, reply)), late), (Ok(1), Ok(2)));
    assert_eq!(done(&address).await, [1, 2]);
}
