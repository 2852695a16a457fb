//! Letters: handed out in order, answered once, and never handed out twice unasked.

use mainstay_runtime::state::MemoryStore;
use mainstay_runtime::{Promise, Reply, Status as ActorStatus};
use tokio::time::Instant;

use super::*;

type Answer = Promise<Result<Value, Error>>;

impl Scene {
    async fn post(&self, body: &str, may_repeat: bool) -> (LetterId, Answer) {
        self.post_within(body, may_repeat, None).await
    }

    async fn post_within(
        &self,
        body: &str,
        may_repeat: bool,
        patience: Option<Duration>,
    ) -> (LetterId, Answer) {
        let (reply, answer) = Reply::channel();
        let body = json!(body);
        let deadline = patience.map(|patience| Instant::now() + patience);
        let post =
            |accepted| AgentMessage::Post(Box::new(Post { body, may_repeat, deadline, accepted, reply }));
        (self.planner.call(post).await.unwrap().unwrap(), answer)
    }

    /// Returns while the actor waits for its restart. Never idle, so that the clock does not go on; and not by the journal,
    /// of which one hears while it does.
    async fn waits_for_its_restart(&self) {
        while self.planner.vitals(self.runtime.now()).status != ActorStatus::Restarting {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many letters were handed to the agent in all.
    async fn handed_out(&mut self, letters: usize) {
        for _ in 0..letters {
            self.until("letter_sent").await;
        }
    }
}

fn reason(answer: Result<Value, Error>) -> Reason {
    answer.unwrap_err().reason
}

#[tokio::test(start_paused = true)]
async fn letters_are_answered_in_the_order_in_which_they_came_one_at_a_time() {
    let script = Script::says([well()]);
    let scene = Scene::of(&script).await;
    let (first, one) = scene.post("one", false).await;
    let (second, two) = scene.post("two", false).await;
    assert!(first < second);
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(json!("one")), Ok(json!("two"))));
    assert_eq!(*script.delivered.lock().unwrap(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_under_way_when_the_actor_crashes_is_in_doubt_and_those_behind_it_go_on() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (_, broken) = scene.post("broken", false).await;
    let (_, behind) = scene.post("behind", false).await;
    scene.handed_out(1).await;
    scene.planner.cast(AgentMessage::Panic).await.unwrap();
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(behind.await.unwrap(), Ok(json!("behind")));
    assert_eq!(*script.delivered.lock().unwrap(), ["broken", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_under_way_when_its_agent_fails_is_in_doubt_at_once_and_those_behind_it_wait() {
    let script = Script::says([well(), well(), failed()]);
    script.endings.lock().unwrap().extend([Ending::Never, Ending::Never]);
    let mut scene = Scene::of(&script).await;
    let (id, broken) = scene.post("broken", false).await;
    let (_, behind) = scene.post("behind", true).await;
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(scene.planner.vitals(scene.runtime.now()).generation, 1);
    let told = scene.until("letter_failed").await;
    assert_eq!(told.fields["letter"], id.0);
    let exited = scene.until("actor_exited").await;
    assert_eq!((told.mono_ms, told.generation), (exited.mono_ms, 1));
    script.endings.lock().unwrap().clear();
    assert_eq!(behind.await.unwrap(), Ok(json!("behind")));
    assert_eq!(*script.delivered.lock().unwrap(), ["broken", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_may_be_repeated_is_handed_out_again_before_those_behind_it() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (_, again) = scene.post("again", true).await;
    let (_, behind) = scene.post("behind", false).await;
    scene.handed_out(1).await;
    scene.planner.cast(AgentMessage::Panic).await.unwrap();
    assert_eq!((again.await.unwrap(), behind.await.unwrap()), (Ok(json!("again")), Ok(json!("behind"))));
    assert_eq!(*script.delivered.lock().unwrap(), ["again", "again", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_reached_nobody_waits_until_the_agent_is_back_and_counts_as_not_handed_out() {
    let script = Script::says([well(), well(), failed()]);
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    script.endings.lock().unwrap().push_back(Ending::Error(not_there));
    let scene = Scene::of(&script).await;
    let (_, answer) = scene.post("hello", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("hello")));
    assert_eq!(*script.delivered.lock().unwrap(), ["hello", "hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_called_off_ends_as_that_whether_it_waits_or_is_under_way() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (under_way, first) = scene.post("first", false).await;
    let (waiting, second) = scene.post("second", false).await;
    scene.handed_out(1).await;
    for id in [waiting, under_way] {
        assert_eq!(scene.planner.call(|reply| AgentMessage::CallOff { id, reply }).await, Ok(true));
        assert_eq!(scene.planner.call(|reply| AgentMessage::CallOff { id, reply }).await, Ok(false));
    }
    assert_eq!(reason(first.await.unwrap()), Reason::Cancelled);
    assert_eq!(reason(second.await.unwrap()), Reason::Cancelled);
    let (_, third) = scene.post("third", false).await;
    assert_eq!(third.await.unwrap(), Ok(json!("third")));
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_sender_has_gone_before_it_was_accepted_is_not_handed_out() {
    let script = Script::says([well()]);
    let scene = Scene::of(&script).await;
    let (accepted, _) = Reply::channel();
    let (reply, _) = Reply::channel();
    let (body, may_repeat, deadline) = (json!("given up"), false, None);
    let post = AgentMessage::Post(Box::new(Post { body, may_repeat, deadline, accepted, reply }));
    scene.planner.cast(post).await.unwrap();
    assert_eq!(scene.post("one", false).await.1.await.unwrap(), Ok(json!("one")));
    assert_eq!(*script.delivered.lock().unwrap(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_waits_too_long_expires_to_the_point_and_is_not_handed_out() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let scene = Scene::of(&script).await;
    let (_, _busy) = scene.post("busy", false).await;
    let before = scene.runtime.now();
    let (_, late) = scene.post_within("late", false, Some(s(7))).await;
    assert_eq!(reason(late.await.unwrap()), Reason::Expired);
    assert_eq!(scene.runtime.now(), before + s(7));
    assert_eq!(*script.delivered.lock().unwrap(), ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_out_while_the_backend_is_away_and_a_letter_expires_to_the_point_then() {
    let script = Script::says([unreachable()]);
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Unknown));
    let before = scene.runtime.now();
    let (id, late) = scene.post_within("late", false, Some(s(7))).await;
    let (_, patient) = scene.post_within("patient", false, Some(s(600))).await;
    let late = late.await.unwrap().unwrap_err();
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    assert!(late.message.contains("It was not handed to it"), "{}", late.message);
    assert_eq!(scene.runtime.now(), before + s(7));
    let failed: LetterFailed = scene.until(LetterFailed::KIND).await.decode().unwrap();
    assert_eq!((failed.letter, failed.attempts, failed.reason), (id, 0, Reason::Expired));
    assert_eq!(*script.delivered.lock().unwrap(), Vec::<Value>::new());

    // The backend is back, and nobody has noticed yet: a letter is reason enough to look.
    script.then([well()]);
    let before = scene.runtime.now();
    let (_, next) = scene.post_within("next", false, Some(s(1))).await;
    assert_eq!((patient.await.unwrap(), next.await.unwrap()), (Ok(json!("patient")), Ok(json!("next"))));
    assert_eq!(scene.runtime.now(), before);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_the_driver_could_not_hand_over_in_time_ends_as_one_that_was_never_handed_out() {
    let script = Script::says([well()]);
    let not_sent = Error::new(Reason::Expired).with_details("the backend is away");
    script.endings.lock().unwrap().push_back(Ending::Error(not_sent));
    let mut scene = Scene::of(&script).await;
    let (_, answer) = scene.post("late", false).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Expired, true, 0));
    assert!(error.message.contains("It was not handed to it"), "{}", error.message);
    let failed: LetterFailed = scene.until(LetterFailed::KIND).await.decode().unwrap();
    assert_eq!((failed.attempts, failed.reason), (0, Reason::Expired));
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_time_is_over_while_its_agent_waits_for_its_restart_ends_as_expired_then_and_once() {
    let script = Script::says([well()]);
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    script.endings.lock().unwrap().push_back(Ending::Error(not_there));
    let mut scene = Scene::of(&script).await;
    assert_eq!(scene.change().await, (Starting, Healthy));
    script.then([failed()]);
    let (id, first) = scene.post_within("first", false, Some(s(40))).await;
    scene.waits_for_its_restart().await;
    let told = scene.callers.expire(id).unwrap();
    assert_eq!((told.reason, told.retryable, told.attempts), (Reason::Expired, true, 0));
    assert_eq!(scene.callers.expire(id), None, "a letter has one fate");
    assert_eq!(reason(first.await.unwrap()), Reason::Expired);

    let (next, answer) = scene.post("next", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("next")));
    assert_eq!(scene.callers.expire(next), None, "it was answered");
    assert_eq!(*script.delivered.lock().unwrap(), ["first", "next"]);
    assert_eq!(scene.board.get("planner").unwrap().letters_waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_is_or_was_handed_out_is_not_expired_from_outside() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (under_way, answer) = scene.post("under way", true).await;
    scene.handed_out(1).await;
    assert_eq!(scene.callers.expire(under_way), None);
    // It broke off and waits to be handed out again: it may have been acted on.
    scene.planner.cast(AgentMessage::Panic).await.unwrap();
    scene.waits_for_its_restart().await;
    assert_eq!(scene.callers.expire(under_way), None);
    assert_eq!(answer.await.unwrap(), Ok(json!("under way")));
}

#[tokio::test(start_paused = true)]
async fn one_that_broke_off_and_waits_too_long_to_be_handed_out_again_is_in_doubt() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (_, answer) = scene.post_within("again", true, Some(s(3))).await;
    scene.handed_out(1).await;
    // Its restart takes longer than the letter may wait.
    scene.planner.cast(AgentMessage::Panic).await.unwrap();
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1));
    assert_eq!(*script.delivered.lock().unwrap(), ["again"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_stopped_sends_its_letters_back() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let (_, under_way) = scene.post("under way", true).await;
    let (_, waiting) = scene.post("waiting", true).await;
    scene.handed_out(1).await;
    scene.runtime.root().stop("planner").await.unwrap();
    assert_eq!(reason(under_way.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(reason(waiting.await.unwrap()), Reason::Stopped);
    // What was told is not done after all.
    scene.runtime.root().start("planner").await.unwrap();
    let (_, next) = scene.post("next", false).await;
    assert_eq!(next.await.unwrap(), Ok(json!("next")));
    assert_eq!(*script.delivered.lock().unwrap(), ["under way", "next"]);
}

#[tokio::test(start_paused = true)]
async fn after_the_runtime_has_gone_only_what_may_be_repeated_is_handed_out_again_and_the_rest_is_told() {
    let store = Arc::new(MemoryStore::new());
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::stored(&script, Some(&store)).await;
    let (once, _) = scene.post("once", false).await;
    let (waiting, _) = scene.post("waiting", false).await;
    let (often, _) = scene.post("often", true).await;
    scene.handed_out(1).await;
    // The runtime goes without a word, as if it had been killed.
    drop(scene);

    let script = Script::says([well()]);
    let mut scene = Scene::stored(&script, Some(&store)).await;
    let mut failed = Vec::new();
    for _ in 0..2 {
        let record = scene.until(LetterFailed::KIND).await;
        let LetterFailed { letter, reason, .. } = record.decode().unwrap();
        failed.push((letter, reason));
    }
    assert_eq!(failed, [(once, Reason::OutcomeUnknown), (waiting, Reason::Stopped)]);
    scene.handed_out(1).await;
    let (next, answer) = scene.post("next", false).await;
    assert!(next > often, "numbers go on");
    assert_eq!(answer.await.unwrap(), Ok(json!("next")));
    assert_eq!(*script.delivered.lock().unwrap(), ["often", "next"]);
}

#[tokio::test(start_paused = true)]
async fn too_many_letters_and_too_large_ones_are_turned_away_with_the_limit() {
    let script = Script::says([well()]);
    script.endings.lock().unwrap().push_back(Ending::Never);
    let mut scene = Scene::of(&script).await;
    let _under_way = scene.post("under way", false).await;
    scene.handed_out(1).await;
    let mut kept = Vec::new();
    for _ in 0..LETTERS_WAITING_MAX {
        kept.push(scene.post("x", false).await);
    }
    let refused = |body: String| {
        let (reply, _answer) = Reply::channel();
        let post = move |accepted| {
            let body = json!(body);
            AgentMessage::Post(Box::new(Post { body, may_repeat: false, deadline: None, accepted, reply }))
        };
        let planner = scene.planner.clone();
        async move { planner.call(post).await.unwrap().unwrap_err() }
    };
    let full = refused("x".to_owned()).await;
    assert_eq!((full.reason, full.details.unwrap().contains("64")), (Reason::QueueFull, true));
    let large = refused("x".repeat(1 << 20)).await;
    assert_eq!((large.reason, large.details.unwrap().contains("1048576")), (Reason::RequestTooLarge, true));
}
