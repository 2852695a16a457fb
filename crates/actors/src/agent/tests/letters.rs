//! Letters: handed out in order, answered once, and never handed out twice unasked.

use mainstay_runtime::state::MemoryStore;
use mainstay_runtime::{Promise, Reply};

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
        let post =
            |accepted| AgentMessage::Post(Box::new(Post { body, may_repeat, patience, accepted, reply }));
        (self.planner.call(post).await.unwrap().unwrap(), answer)
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
    let (body, may_repeat, patience) = (json!("given up"), false, None);
    let post = AgentMessage::Post(Box::new(Post { body, may_repeat, patience, accepted, reply }));
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
            AgentMessage::Post(Box::new(Post { body, may_repeat: false, patience: None, accepted, reply }))
        };
        let planner = scene.planner.clone();
        async move { planner.call(post).await.unwrap().unwrap_err() }
    };
    let full = refused("x".to_owned()).await;
    assert_eq!((full.reason, full.details.unwrap().contains("64")), (Reason::QueueFull, true));
    let large = refused("x".repeat(1 << 20)).await;
    assert_eq!((large.reason, large.details.unwrap().contains("1048576")), (Reason::RequestTooLarge, true));
}
