//! Messages: delivered in order, answered once, and never delivered twice without permission.

use mainstay_runtime::state::MemoryStore;
use mainstay_runtime::{ActorStatus, Promise, Reply};
use tokio::time::Instant;

use super::*;

type AnswerPromise = Promise<Result<Value, Error>>;

impl AgentActorFixture {
    async fn send(&self, body: &str, may_repeat: bool) -> (MessageId, AnswerPromise) {
        self.send_within(body, may_repeat, None).await
    }

    async fn send_within(
        &self,
        body: &str,
        may_repeat: bool,
        patience: Option<Duration>,
    ) -> (MessageId, AnswerPromise) {
        let (reply, answer) = Reply::channel();
        let body = json!(body);
        let deadline = patience.map(|patience| Instant::now() + patience);
        let post = |accepted| {
            AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, accepted, reply }))
        };
        (self.planner.call(post).await.unwrap().unwrap(), answer)
    }

    /// Returns while the actor waits for its restart. It never idles, so that the clock stands still. The journal is
    /// no help: it reports the wait too late.
    async fn wait_until_restarting(&self) {
        while self.planner.info(self.runtime.now()).status != ActorStatus::Restarting {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many messages were delivered in all.
    async fn wait_for_sent(&mut self, letters: usize) {
        for _ in 0..letters {
            self.next_event_of("message_sent").await;
        }
    }
}

fn reason(answer: Result<Value, Error>) -> Reason {
    answer.unwrap_err().reason
}

#[tokio::test(start_paused = true)]
async fn messages_are_answered_in_order_one_at_a_time() {
    let script = ScriptedDriver::answering([healthy()]);
    let scene = AgentActorFixture::new(&script).await;
    let (first, one) = scene.send("one", false).await;
    let (second, two) = scene.send("two", false).await;
    assert!(first < second);
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(json!("one")), Ok(json!("two"))));
    assert_eq!(*script.delivered.lock(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn actor_crash_makes_in_flight_message_unknown() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (_, broken) = scene.send("broken", false).await;
    let (_, behind) = scene.send("behind", false).await;
    scene.wait_for_sent(1).await;
    drop(scene.planner.inject_panic().unwrap());
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(behind.await.unwrap(), Ok(json!("behind")));
    assert_eq!(*script.delivered.lock(), ["broken", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn agent_failure_makes_in_flight_message_unknown_at_once() {
    let script = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    script.deliveries.lock().extend([DeliveryScript::Never, DeliveryScript::Never]);
    let mut scene = AgentActorFixture::new(&script).await;
    let (id, broken) = scene.send("broken", false).await;
    let (_, behind) = scene.send("behind", true).await;
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(scene.planner.info(scene.runtime.now()).generation, 1);
    let told = scene.next_event_of("message_failed").await;
    assert_eq!(told.fields["letter"], id.0);
    let exited = scene.next_event_of("actor_exited").await;
    assert_eq!((told.mono_ms, told.generation), (exited.mono_ms, 1));
    script.deliveries.lock().clear();
    assert_eq!(behind.await.unwrap(), Ok(json!("behind")));
    assert_eq!(*script.delivered.lock(), ["broken", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn repeatable_message_is_redelivered_before_later_ones() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (_, again) = scene.send("again", true).await;
    let (_, behind) = scene.send("behind", false).await;
    scene.wait_for_sent(1).await;
    drop(scene.planner.inject_panic().unwrap());
    assert_eq!((again.await.unwrap(), behind.await.unwrap()), (Ok(json!("again")), Ok(json!("behind"))));
    assert_eq!(*script.delivered.lock(), ["again", "again", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn undelivered_message_waits_for_agent_without_attempt() {
    let script = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    script.deliveries.lock().push_back(DeliveryScript::Error(not_there));
    let scene = AgentActorFixture::new(&script).await;
    let (_, answer) = scene.send("hello", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("hello")));
    assert_eq!(*script.delivered.lock(), ["hello", "hello"]);
}

#[tokio::test(start_paused = true)]
async fn cancelled_message_ends_waiting_or_in_flight() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (under_way, first) = scene.send("first", false).await;
    let (waiting, second) = scene.send("second", false).await;
    scene.wait_for_sent(1).await;
    for id in [waiting, under_way] {
        assert_eq!(scene.planner.call(|reply| AgentCommand::Cancel { id, reply }).await, Ok(true));
        assert_eq!(scene.planner.call(|reply| AgentCommand::Cancel { id, reply }).await, Ok(false));
    }
    assert_eq!(reason(first.await.unwrap()), Reason::Cancelled);
    assert_eq!(reason(second.await.unwrap()), Reason::Cancelled);
    let (_, third) = scene.send("third", false).await;
    assert_eq!(third.await.unwrap(), Ok(json!("third")));
}

#[tokio::test(start_paused = true)]
async fn message_of_gone_sender_is_not_delivered() {
    let script = ScriptedDriver::answering([healthy()]);
    let scene = AgentActorFixture::new(&script).await;
    let (accepted, _) = Reply::channel();
    let (reply, _) = Reply::channel();
    let (body, may_repeat, deadline) = (json!("given up"), false, None);
    let post = AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, accepted, reply }));
    scene.planner.cast(post).await.unwrap();
    assert_eq!(scene.send("one", false).await.1.await.unwrap(), Ok(json!("one")));
    assert_eq!(*script.delivered.lock(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_message_expires_exactly_at_its_deadline() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let scene = AgentActorFixture::new(&script).await;
    let (_, _busy) = scene.send("busy", false).await;
    let before = scene.runtime.now();
    let (_, late) = scene.send_within("late", false, Some(s(7))).await;
    assert_eq!(reason(late.await.unwrap()), Reason::Expired);
    assert_eq!(scene.runtime.now(), before + s(7));
    assert_eq!(*script.delivered.lock(), ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn outage_delivers_nothing_and_messages_expire_on_time() {
    let script = ScriptedDriver::answering([unreachable()]);
    let mut scene = AgentActorFixture::new(&script).await;
    assert_eq!(scene.next_status_change().await, (Starting, Unknown));
    let before = scene.runtime.now();
    let (id, late) = scene.send_within("late", false, Some(s(7))).await;
    let (_, patient) = scene.send_within("patient", false, Some(s(600))).await;
    let late = late.await.unwrap().unwrap_err();
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    assert!(late.message.contains("It was not handed to it"), "{}", late.message);
    assert_eq!(scene.runtime.now(), before + s(7));
    let failed: MessageFailed = scene.next_event_of(MessageFailed::KIND).await.decode().unwrap();
    assert_eq!((failed.message_id, failed.attempts, failed.reason), (id, 0, Reason::Expired));
    assert_eq!(*script.delivered.lock(), Vec::<Value>::new());

    // The backend is back, and no check has noticed: a message causes one.
    script.set_answers([healthy()]);
    let before = scene.runtime.now();
    let (_, next) = scene.send_within("next", false, Some(s(1))).await;
    assert_eq!((patient.await.unwrap(), next.await.unwrap()), (Ok(json!("patient")), Ok(json!("next"))));
    assert_eq!(scene.runtime.now(), before);
}

#[tokio::test(start_paused = true)]
async fn driver_expiry_counts_as_not_delivered() {
    let script = ScriptedDriver::answering([healthy()]);
    let not_sent = Error::new(Reason::Expired).with_details("the backend is away");
    script.deliveries.lock().push_back(DeliveryScript::Error(not_sent));
    let mut scene = AgentActorFixture::new(&script).await;
    let (_, answer) = scene.send("late", false).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Expired, true, 0));
    assert!(error.message.contains("It was not handed to it"), "{}", error.message);
    let failed: MessageFailed = scene.next_event_of(MessageFailed::KIND).await.decode().unwrap();
    assert_eq!((failed.attempts, failed.reason), (0, Reason::Expired));
}

#[tokio::test(start_paused = true)]
async fn message_expires_once_while_agent_awaits_restart() {
    let script = ScriptedDriver::answering([healthy()]);
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    script.deliveries.lock().push_back(DeliveryScript::Error(not_there));
    let mut scene = AgentActorFixture::new(&script).await;
    assert_eq!(scene.next_status_change().await, (Starting, Healthy));
    script.set_answers([failed()]);
    let (id, first) = scene.send_within("first", false, Some(s(40))).await;
    scene.wait_until_restarting().await;
    let told = scene.pending_replies.expire(id).unwrap();
    assert_eq!((told.reason, told.retryable, told.attempts), (Reason::Expired, true, 0));
    assert_eq!(scene.pending_replies.expire(id), None, "a letter has one fate");
    assert_eq!(reason(first.await.unwrap()), Reason::Expired);

    let (next, answer) = scene.send("next", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("next")));
    assert_eq!(scene.pending_replies.expire(next), None, "it was answered");
    assert_eq!(*script.delivered.lock(), ["first", "next"]);
    assert_eq!(scene.reports.get("planner").unwrap().messages_waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn expire_ignores_delivered_message() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (under_way, answer) = scene.send("under way", true).await;
    scene.wait_for_sent(1).await;
    assert_eq!(scene.pending_replies.expire(under_way), None);
    // Its delivery broke and it waits for another: the agent may have acted on it.
    drop(scene.planner.inject_panic().unwrap());
    scene.wait_until_restarting().await;
    assert_eq!(scene.pending_replies.expire(under_way), None);
    assert_eq!(answer.await.unwrap(), Ok(json!("under way")));
}

#[tokio::test(start_paused = true)]
async fn expired_redelivery_is_unknown() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (_, answer) = scene.send_within("again", true, Some(s(3))).await;
    scene.wait_for_sent(1).await;
    // The restart takes longer than the message may wait.
    drop(scene.planner.inject_panic().unwrap());
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1));
    assert_eq!(*script.delivered.lock(), ["again"]);
}

/// A broken connection, after which the agent may have acted.
fn broken() -> DeliveryScript {
    DeliveryScript::Error(Error::outcome_unknown(Error::new(Reason::ConnectionReset)))
}

#[tokio::test(start_paused = true)]
async fn a_letter_over_which_the_backend_died_twice_is_quarantined_and_the_next_goes_on() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().extend([broken(), broken()]);
    let mut scene = AgentActorFixture::new(&script).await;
    assert_eq!(scene.next_status_change().await, (Starting, Healthy));
    script.set_answers([unreachable(), healthy(), unreachable(), healthy()]);
    let (id, poison) = scene.send("poison", true).await;
    let (_, behind) = scene.send("behind", false).await;
    let error = poison.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Quarantined, false, 2));
    let failed: MessageFailed = scene.next_event_of(MessageFailed::KIND).await.decode().unwrap();
    assert_eq!((failed.message_id, failed.attempts, failed.reason), (id, 2, Reason::Quarantined));
    assert_eq!(behind.await.unwrap(), Ok(json!("behind")));
    assert_eq!(*script.delivered.lock(), ["poison", "poison", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_that_breaks_off_at_a_backend_that_lives_is_in_doubt_after_three_times() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().extend([broken(), broken(), broken()]);
    let scene = AgentActorFixture::new(&script).await;
    let (_, answer) = scene.send("again", true).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, DELIVERY_ATTEMPTS_MAX));
    assert_eq!(*script.delivered.lock(), ["again", "again", "again"]);
}

#[tokio::test(start_paused = true)]
async fn stopped_agent_fails_its_messages() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let (_, under_way) = scene.send("under way", true).await;
    let (_, waiting) = scene.send("waiting", true).await;
    scene.wait_for_sent(1).await;
    scene.runtime.root().stop("planner").await.unwrap();
    assert_eq!(reason(under_way.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(reason(waiting.await.unwrap()), Reason::Stopped);
    // The next incarnation does not repeat what was already answered.
    scene.runtime.root().start("planner").await.unwrap();
    let (_, next) = scene.send("next", false).await;
    assert_eq!(next.await.unwrap(), Ok(json!("next")));
    assert_eq!(*script.delivered.lock(), ["under way", "next"]);
}

#[tokio::test(start_paused = true)]
async fn runtime_restart_redelivers_only_repeatable_messages() {
    let store = Arc::new(MemoryStore::new());
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::with_store(&script, Some(&store)).await;
    let (once, _) = scene.send("once", false).await;
    let (waiting, _) = scene.send("waiting", false).await;
    let (often, _) = scene.send("often", true).await;
    scene.wait_for_sent(1).await;
    // The runtime ends without a stop, as if it had been killed.
    drop(scene);

    let script = ScriptedDriver::answering([healthy()]);
    let mut scene = AgentActorFixture::with_store(&script, Some(&store)).await;
    let mut failed = Vec::new();
    for _ in 0..2 {
        let record = scene.next_event_of(MessageFailed::KIND).await;
        let MessageFailed { message_id: letter, reason, .. } = record.decode().unwrap();
        failed.push((letter, reason));
    }
    assert_eq!(failed, [(once, Reason::OutcomeUnknown), (waiting, Reason::Stopped)]);
    scene.wait_for_sent(1).await;
    let (next, answer) = scene.send("next", false).await;
    assert!(next > often, "numbers go on");
    assert_eq!(answer.await.unwrap(), Ok(json!("next")));
    assert_eq!(*script.delivered.lock(), ["often", "next"]);
}

#[tokio::test(start_paused = true)]
async fn send_too_many_or_too_large_errors_with_limit() {
    let script = ScriptedDriver::answering([healthy()]);
    script.deliveries.lock().push_back(DeliveryScript::Never);
    let mut scene = AgentActorFixture::new(&script).await;
    let _under_way = scene.send("under way", false).await;
    scene.wait_for_sent(1).await;
    let mut kept = Vec::new();
    for _ in 0..MESSAGES_WAITING_MAX {
        kept.push(scene.send("x", false).await);
    }
    let refused = |body: String| {
        let (reply, _answer) = Reply::channel();
        let post = move |accepted| {
            let body = json!(body);
            AgentCommand::Send(Box::new(SendRequest {
                body,
                may_repeat: false,
                deadline: None,
                accepted,
                reply,
            }))
        };
        let planner = scene.planner.clone();
        async move { planner.call(post).await.unwrap().unwrap_err() }
    };
    let full = refused("x".to_owned()).await;
    assert_eq!((full.reason, full.details.unwrap().contains("64")), (Reason::QueueFull, true));
    let large = refused("x".repeat(1 << 20)).await;
    assert_eq!((large.reason, large.details.unwrap().contains("1048576")), (Reason::RequestTooLarge, true));
}
