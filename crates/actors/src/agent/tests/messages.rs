//! Messages: delivered in order, answered once, and never delivered twice without permission.

use mainstay_runtime::{ActorStatus, Promise, Reply};

use super::*;
use crate::{agent::pending_replies::outcome_unknown_error, error::tests::words::assert_message_helps};

type AnswerPromise = Promise<Result<Json, Error>>;

impl AgentActorFixture {
    pub(super) async fn send(&self, body: &str, may_repeat: bool) -> (MessageId, AnswerPromise) {
        self.send_within(body, may_repeat, None).await
    }

    async fn send_within(
        &self,
        body: &str,
        may_repeat: bool,
        limit: Option<Duration>,
    ) -> (MessageId, AnswerPromise) {
        let (reply, answer) = Reply::channel();
        let body = json!(body).into();
        let (deadline, limits) = (limit.map(|limit| Instant::now() + limit), MessageLimits::default());
        let request = |accepted| {
            AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, limits, accepted, reply }))
        };
        (self.planner.call(request).await.unwrap().unwrap(), answer)
    }

    /// Returns while the actor waits for its restart. It never idles, so that the clock stands still. The journal is
    /// no help: it reports the wait too late.
    async fn wait_until_restarting(&self) {
        while self.planner.info(self.runtime.now()).status != ActorStatus::Restarting {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until this many messages were delivered in all.
    async fn wait_for_sent(&mut self, messages: usize) {
        for _ in 0..messages {
            self.next_event_of("message_sent").await;
        }
    }
}

fn reason(answer: Result<Json, Error>) -> Reason {
    answer.unwrap_err().reason
}

#[tokio::test(start_paused = true)]
async fn messages_are_answered_in_order_one_at_a_time() {
    let (driver, fixture) = agent([healthy()]).await;
    let (first, one) = fixture.send("one", false).await;
    let (second, two) = fixture.send("two", false).await;
    assert!(first < second);
    assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(json!("one").into()), Ok(json!("two").into())));
    assert_eq!(*driver.delivered.lock(), ["one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn actor_crash_makes_in_flight_message_unknown() {
    let (driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (_, broken) = fixture.send("broken", false).await;
    let (_, behind) = fixture.send("behind", false).await;
    fixture.wait_for_sent(1).await;
    drop(fixture.planner.inject_panic().unwrap());
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(behind.await.unwrap(), Ok(json!("behind").into()));
    assert_eq!(*driver.delivered.lock(), ["broken", "behind"]);
}

/// Returns the next update about a message.
async fn next_about(updates: &mut UpdateSubscription) -> (u64, UpdateKind, Option<MessageId>, Json) {
    match updates.next().await {
        Some(UpdateEvent::Update(update)) => {
            (update.seq, update.kind, update.message_id, update.body.clone())
        }
        other => panic!("{other:?}"),
    }
}

/// The numbers go on after a crash of the actor, and those who come later get the same.
#[tokio::test(start_paused = true)]
async fn updates_tell_deliveries_and_ends_across_actor_crash() {
    let (_, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let mut live = fixture.updates.subscribe_after(0);
    let (first, broken) = fixture.send("broken", false).await;
    fixture.wait_for_sent(1).await;
    drop(fixture.planner.inject_panic().unwrap());
    let error = broken.await.unwrap().unwrap_err();
    let (second, answer) = fixture.send("next", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("next").into()));
    let expected = [
        (1, UpdateKind::Sent, Some(first), json!("broken")),
        (2, UpdateKind::Ended, Some(first), json!({ "error": error })),
        (3, UpdateKind::Sent, Some(second), json!("next")),
        (4, UpdateKind::Ended, Some(second), json!({ "answer": "next" })),
    ];
    for updates in [&mut live, &mut fixture.updates.subscribe_after(0)] {
        for (seq, kind, id, body) in expected.clone() {
            assert_eq!(next_about(updates).await, (seq, kind, id, body.into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn agent_failure_makes_in_flight_message_unknown_at_once() {
    let driver = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    driver.deliveries.lock().extend([DeliveryScript::Never, DeliveryScript::Never]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    let (id, broken) = fixture.send("broken", false).await;
    let (_, behind) = fixture.send("behind", true).await;
    assert_eq!(reason(broken.await.unwrap()), Reason::OutcomeUnknown);
    assert_eq!(fixture.planner.info(fixture.runtime.now()).generation, 1);
    let reported = fixture.next_event_of("message_failed").await;
    assert_eq!(reported.fields["message_id"], id.0);
    let exited = fixture.next_event_of("actor_exited").await;
    assert_eq!((reported.mono_ms, reported.generation), (exited.mono_ms, 1));
    driver.deliveries.lock().clear();
    assert_eq!(behind.await.unwrap(), Ok(json!("behind").into()));
    assert_eq!(*driver.delivered.lock(), ["broken", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn end_of_agent_gives_one_error_in_either_order() {
    let exit = "its process ended: it exited with code 3";
    let why = Error::new(Reason::AgentFailed).with_details(exit);
    let by_check = vec![healthy(), healthy(), Observation::Exited { why: why.clone() }];
    let by_delivery = DeliveryScript::Error(outcome_unknown_error(&why));
    let mut errors = Vec::new();
    for (answers, delivery) in [(by_check, DeliveryScript::Never), (vec![healthy()], by_delivery)] {
        let driver = ScriptedDriver::answering(answers);
        driver.deliveries.lock().push_back(delivery);
        let fixture = AgentActorFixture::new(&driver).await;
        errors.push(fixture.send("hello", false).await.1.await.unwrap().unwrap_err());
    }
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[0].details, Some(format!("agent_failed: {exit}")));
    assert_message_helps(&errors[0].message);
}

#[tokio::test(start_paused = true)]
async fn repeatable_message_is_redelivered_before_later_ones() {
    let (driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (_, again) = fixture.send("again", true).await;
    let (_, behind) = fixture.send("behind", false).await;
    fixture.wait_for_sent(1).await;
    drop(fixture.planner.inject_panic().unwrap());
    assert_eq!(
        (again.await.unwrap(), behind.await.unwrap()),
        (Ok(json!("again").into()), Ok(json!("behind").into()))
    );
    assert_eq!(*driver.delivered.lock(), ["again", "again", "behind"]);
}

#[tokio::test(start_paused = true)]
async fn undelivered_message_waits_for_agent_without_attempt() {
    let driver = ScriptedDriver::answering([healthy(), healthy(), failed()]);
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    driver.deliveries.lock().push_back(DeliveryScript::Error(not_there));
    let fixture = AgentActorFixture::new(&driver).await;
    let (_, answer) = fixture.send("hello", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("hello").into()));
    assert_eq!(*driver.delivered.lock(), ["hello", "hello"]);
}

#[tokio::test(start_paused = true)]
async fn cancelled_message_ends_waiting_or_in_flight() {
    let (_driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (in_flight, first) = fixture.send("first", false).await;
    let (waiting, second) = fixture.send("second", false).await;
    fixture.wait_for_sent(1).await;
    for id in [waiting, in_flight] {
        assert_eq!(fixture.planner.call(|reply| AgentCommand::Cancel { id, reply }).await, Ok(true));
        assert_eq!(fixture.planner.call(|reply| AgentCommand::Cancel { id, reply }).await, Ok(false));
    }
    assert_eq!(reason(first.await.unwrap()), Reason::Cancelled);
    assert_eq!(reason(second.await.unwrap()), Reason::Cancelled);
    let (_, third) = fixture.send("third", false).await;
    assert_eq!(third.await.unwrap(), Ok(json!("third").into()));
}

#[tokio::test(start_paused = true)]
async fn message_of_gone_sender_is_not_delivered() {
    let (driver, fixture) = agent([healthy()]).await;
    let (accepted, _) = Reply::channel();
    let (reply, _) = Reply::channel();
    let (body, may_repeat, deadline) = (json!("given up").into(), false, None);
    let limits = MessageLimits::default();
    let request =
        AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, limits, accepted, reply }));
    fixture.planner.cast(request).await.unwrap();
    assert_eq!(fixture.send("one", false).await.1.await.unwrap(), Ok(json!("one").into()));
    assert_eq!(*driver.delivered.lock(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn waiting_message_expires_exactly_at_its_deadline() {
    let (driver, fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (_, _busy) = fixture.send("busy", false).await;
    let before = fixture.runtime.now();
    let (_, late) = fixture.send_within("late", false, Some(s(7))).await;
    assert_eq!(reason(late.await.unwrap()), Reason::Expired);
    assert_eq!(fixture.runtime.now(), before + s(7));
    assert_eq!(*driver.delivered.lock(), ["busy"]);
}

#[tokio::test(start_paused = true)]
async fn outage_delivers_nothing_and_messages_expire_on_time() {
    let (driver, mut fixture) = agent([unreachable()]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Unknown));
    let before = fixture.runtime.now();
    let (id, late) = fixture.send_within("late", false, Some(s(7))).await;
    let (_, patient) = fixture.send_within("patient", false, Some(s(600))).await;
    let late = late.await.unwrap().unwrap_err();
    assert_eq!((late.reason, late.retryable, late.attempts), (Reason::Expired, true, 0));
    assert!(late.message.contains("was not sent to the agent"), "{}", late.message);
    assert_eq!(fixture.runtime.now(), before + s(7));
    let failed: MessageFailed = next_event(&mut fixture.events).await;
    assert_eq!((failed.message_id, failed.attempts, failed.reason), (id, 0, Reason::Expired));
    assert_eq!(*driver.delivered.lock(), Vec::<Value>::new());

    // The backend is back, and no check has noticed: a message causes one.
    driver.set_answers([healthy()]);
    let before = fixture.runtime.now();
    let (_, next) = fixture.send_within("next", false, Some(s(1))).await;
    assert_eq!(
        (patient.await.unwrap(), next.await.unwrap()),
        (Ok(json!("patient").into()), Ok(json!("next").into()))
    );
    assert_eq!(fixture.runtime.now(), before);
}

#[tokio::test(start_paused = true)]
async fn driver_expiry_counts_as_not_delivered() {
    let not_sent = Error::new(Reason::Expired).with_details("the backend is away");
    let (_driver, mut fixture) = agent_delivering([DeliveryScript::Error(not_sent)]).await;
    let (_, answer) = fixture.send("late", false).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Expired, true, 0));
    assert!(error.message.contains("was not sent to the agent"), "{}", error.message);
    let failed: MessageFailed = next_event(&mut fixture.events).await;
    assert_eq!((failed.attempts, failed.reason), (0, Reason::Expired));
}

#[tokio::test(start_paused = true)]
async fn message_expires_once_while_agent_awaits_restart() {
    let not_there = Error::new(Reason::AgentFailed).with_details("it is not there");
    let (driver, mut fixture) = agent_delivering([DeliveryScript::Error(not_there)]).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    driver.set_answers([failed()]);
    let (id, first) = fixture.send_within("first", false, Some(s(40))).await;
    fixture.wait_until_restarting().await;
    let reported = fixture.pending_replies.expire(id).unwrap();
    assert_eq!((reported.reason, reported.retryable, reported.attempts), (Reason::Expired, true, 0));
    assert_eq!(fixture.pending_replies.expire(id), None, "a message ends once");
    assert_eq!(reason(first.await.unwrap()), Reason::Expired);

    let (next, answer) = fixture.send("next", false).await;
    assert_eq!(answer.await.unwrap(), Ok(json!("next").into()));
    assert_eq!(fixture.pending_replies.expire(next), None, "it was answered");
    assert_eq!(*driver.delivered.lock(), ["first", "next"]);
    assert_eq!(fixture.reports.get("planner").unwrap().messages_waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn expire_ignores_delivered_message() {
    let (_driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (in_flight, answer) = fixture.send("under way", true).await;
    fixture.wait_for_sent(1).await;
    assert_eq!(fixture.pending_replies.expire(in_flight), None);
    // Its delivery broke and it waits for another: the agent may have acted on it.
    drop(fixture.planner.inject_panic().unwrap());
    fixture.wait_until_restarting().await;
    assert_eq!(fixture.pending_replies.expire(in_flight), None);
    assert_eq!(answer.await.unwrap(), Ok(json!("under way").into()));
}

#[tokio::test(start_paused = true)]
async fn expired_redelivery_is_unknown() {
    let (driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let (_, answer) = fixture.send_within("again", true, Some(s(3))).await;
    fixture.wait_for_sent(1).await;
    // The restart takes longer than the message may wait.
    drop(fixture.planner.inject_panic().unwrap());
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1));
    assert_eq!(*driver.delivered.lock(), ["again"]);
}

/// A check and the watch for the exit both see how the agent ends.
#[tokio::test(start_paused = true)]
async fn end_of_an_agent_that_is_seen_twice_is_one_death() {
    let driver = Arc::new(ScriptedDriver {
        answers: Mutex::new([healthy()].into()),
        deliveries: Mutex::new([DeliveryScript::Never].into()),
        owns_agent: true,
        ..ScriptedDriver::default()
    });
    let mut fixture = AgentActorFixture::with(&driver, policy(), None).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    let (_, answer) = fixture.send("in flight", false).await;
    fixture.wait_for_sent(1).await;
    let ended = || {
        let why = Error::new(Reason::AgentFailed);
        fixture.planner.cast(AgentCommand::FailureObserved(Box::new(Observation::Exited { why })))
    };
    // Both are in the mailbox before the first is handled.
    let (first, second) = tokio::join!(ended(), ended());
    assert!(first.is_ok() && second.is_ok());
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, 1));
}

/// A broken connection, after which the agent may have acted.
fn broken() -> DeliveryScript {
    DeliveryScript::Error(Error::outcome_unknown(Error::new(Reason::ConnectionReset)))
}

#[tokio::test(start_paused = true)]
async fn backend_dying_too_often_quarantines_the_message() {
    for (deaths, breaks_check) in [(1, false), (2, false), (1, true), (2, true)] {
        // Reading a state would cause further checks.
        let answers = Mutex::new([healthy()].into());
        let driver = Arc::new(ScriptedDriver { is_stateless: true, answers, ..ScriptedDriver::default() });
        driver.deliveries.lock().extend((0..deaths).map(|_| broken()));
        let policy = HealthPolicy { quarantine_after: deaths, ..policy() };
        let mut fixture = AgentActorFixture::with(&driver, policy, None).await;
        assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
        // A check that breaks with the message shows no life.
        driver.set_answers(
            (0..deaths)
                .flat_map(|_| breaks_check.then(broken_check).into_iter().chain([unreachable(), healthy()])),
        );
        let (id, poison) = fixture.send("poison", true).await;
        let (_, behind) = fixture.send("behind", false).await;
        let error = poison.await.unwrap().unwrap_err();
        assert_eq!((error.reason, error.retryable, error.attempts), (Reason::Quarantined, false, deaths));
        assert!(error.message.starts_with("The backend died repeatedly"), "{error:?}");
        let failed: MessageFailed = next_event(&mut fixture.events).await;
        assert_eq!((failed.message_id, failed.attempts, failed.reason), (id, deaths, Reason::Quarantined));
        assert_eq!(behind.await.unwrap(), Ok(json!("behind").into()));
        let deliveries = [vec!["poison"; deaths as usize], vec!["behind"]].concat();
        assert_eq!(*driver.delivered.lock(), deliveries);
    }
}

fn broken_later() -> DeliveryScript {
    DeliveryScript::ErrorAfter(s(1), Error::outcome_unknown(Error::new(Reason::ConnectionReset)))
}

#[tokio::test(start_paused = true)]
async fn exit_after_a_message_broke_is_a_death_without_any_check() {
    let answers = Mutex::new([healthy()].into());
    let driver = Arc::new(ScriptedDriver { is_stateless: true, answers, ..ScriptedDriver::default() });
    driver.deliveries.lock().extend([broken_later(), broken_later(), broken_later()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    let (_, answer) = fixture.send("poison", true).await;
    for _ in 0..2 {
        // The check after the break breaks too, and the next one finds another process.
        driver.set_answers([broken_check(), healthy()]);
        assert_eq!(fixture.next_status_change().await, (Healthy, Degraded));
        fixture.backend_ends.send_modify(|ends| ends.exits += 1);
        fixture.backend_unavailable.send_replace(true);
        assert_eq!(fixture.next_status_change().await, (Degraded, Unknown));
        fixture.backend_unavailable.send_replace(false);
        assert_eq!(fixture.next_status_change().await, (Unknown, Healthy));
    }
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::Quarantined, 2));
}

#[tokio::test(start_paused = true)]
async fn stop_by_the_runtime_is_no_death_over_a_message() {
    let answers = Mutex::new([healthy()].into());
    let driver = Arc::new(ScriptedDriver { is_stateless: true, answers, ..ScriptedDriver::default() });
    driver.deliveries.lock().extend([broken_later(), broken_later()]);
    let mut fixture = AgentActorFixture::new(&driver).await;
    assert_eq!(fixture.next_status_change().await, (Starting, Healthy));
    let (_, answer) = fixture.send("again", true).await;
    for _ in 0..2 {
        driver.set_answers([unreachable(), healthy()]);
        tokio::time::sleep(Duration::from_millis(500)).await;
        fixture.backend_ends.send_modify(|ends| ends.stops += 1);
        assert_eq!(fixture.next_status_change().await, (Healthy, Unknown));
        fixture.backend_ends.send_modify(|ends| ends.stops += 1);
        assert_eq!(fixture.next_status_change().await, (Unknown, Healthy));
    }
    assert_eq!(answer.await.unwrap(), Ok(json!("again").into()));
}

#[tokio::test(start_paused = true)]
async fn three_breaks_at_a_live_backend_are_outcome_unknown() {
    let (driver, fixture) = agent_delivering([broken(), broken(), broken()]).await;
    let (_, answer) = fixture.send("again", true).await;
    let error = answer.await.unwrap().unwrap_err();
    assert_eq!((error.reason, error.attempts), (Reason::OutcomeUnknown, DELIVERY_ATTEMPTS_MAX));
    assert_eq!(*driver.delivered.lock(), ["again", "again", "again"]);
}

#[tokio::test(start_paused = true)]
async fn message_with_a_rejected_token_is_delivered_once_more() {
    let reject = || DeliveryScript::Error(rejected());
    let expire = || DeliveryScript::Error(Error::new(Reason::Expired));
    for (ends, expected) in [
        (vec![reject()], Ok(json!("hello").into())),
        (vec![reject(), reject()], Err((Reason::Unauthenticated, 2))),
        (vec![reject(), broken()], Err((Reason::OutcomeUnknown, 2))),
        // The first delivery had no effect, and the second did not take place.
        (vec![reject(), expire()], Err((Reason::Expired, 1))),
    ] {
        let (driver, mut fixture) = agent_delivering(ends).await;
        let (id, answer) = fixture.send("hello", false).await;
        let answer = answer.await.unwrap();
        assert_eq!(answer.clone().map_err(|error| (error.reason, error.attempts)), expected);
        assert_eq!(*driver.delivered.lock(), ["hello", "hello"]);
        let redelivered: MessageRedelivered = next_event(&mut fixture.events).await;
        let MessageRedelivered { message_id, attempts, reason, .. } = redelivered;
        assert_eq!((message_id, attempts, reason), (id, 1, Reason::Unauthenticated));
        if let Err((Reason::Unauthenticated, _)) = expected {
            assert!(!answer.unwrap_err().retryable);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn stopped_agent_fails_its_messages() {
    let doubt = DeliveryScript::Error(Error::outcome_unknown(Error::new(Reason::ServerError)));
    let (driver, mut fixture) = agent_delivering([doubt, DeliveryScript::Never]).await;
    let (_, in_flight) = fixture.send("under way", true).await;
    let (_, waiting) = fixture.send("waiting", true).await;
    fixture.wait_for_sent(2).await;
    fixture.runtime.root().stop("planner").await.unwrap();
    let errors = [in_flight.await.unwrap().unwrap_err(), waiting.await.unwrap().unwrap_err()];
    let expected = [(Reason::OutcomeUnknown, 2), (Reason::Stopped, 0)];
    assert_eq!(errors.map(|error| (error.reason, error.attempts)), expected);
    let mut updates = fixture.updates.subscribe_after(0);
    for sent in 0..2 {
        assert_eq!(next_about(&mut updates).await.1, UpdateKind::Sent, "{sent}");
    }
    for (reason, attempts) in expected {
        let (_, kind, _, body) = next_about(&mut updates).await;
        let body: Value = body.read().unwrap();
        assert_eq!((kind, &body["error"]["reason"]), (UpdateKind::Ended, &json!(reason)));
        let failed: MessageFailed = next_event(&mut fixture.events).await;
        assert_eq!((failed.reason, failed.attempts), (reason, attempts));
    }
    // The next incarnation does not repeat what was already answered.
    fixture.runtime.root().start("planner").await.unwrap();
    let (_, next) = fixture.send("next", false).await;
    assert_eq!(next.await.unwrap(), Ok(json!("next").into()));
    assert_eq!(*driver.delivered.lock(), ["under way", "under way", "next"]);
}

#[tokio::test(start_paused = true)]
async fn runtime_restart_redelivers_only_repeatable_messages() {
    let store = Arc::new(MemoryStore::new());
    let driver = ScriptedDriver::answering([healthy()]);
    driver.deliveries.lock().push_back(DeliveryScript::Never);
    let mut fixture = AgentActorFixture::with_store(&driver, Some(&store)).await;
    let (once, _) = fixture.send("once", false).await;
    let (waiting, _) = fixture.send("waiting", false).await;
    let (often, _) = fixture.send("often", true).await;
    fixture.wait_for_sent(1).await;
    // The runtime ends without a stop, as if it had been killed.
    drop(fixture);

    let driver = ScriptedDriver::answering([healthy()]);
    let mut fixture = AgentActorFixture::with_store(&driver, Some(&store)).await;
    let mut failed = Vec::new();
    for _ in 0..2 {
        let MessageFailed { message_id: message, reason, .. } = next_event(&mut fixture.events).await;
        failed.push((message, reason));
    }
    assert_eq!(failed, [(once, Reason::OutcomeUnknown), (waiting, Reason::Stopped)]);
    fixture.wait_for_sent(1).await;
    let (next, answer) = fixture.send("next", false).await;
    assert!(next > often, "numbers go on");
    assert_eq!(answer.await.unwrap(), Ok(json!("next").into()));
    assert_eq!(*driver.delivered.lock(), ["often", "next"]);
}

#[tokio::test(start_paused = true)]
async fn send_too_many_or_too_large_errors_with_limit() {
    let (_driver, mut fixture) = agent_delivering([DeliveryScript::Never]).await;
    let _under_way = fixture.send("under way", false).await;
    fixture.wait_for_sent(1).await;
    let mut sent = Vec::new();
    for _ in 0..MESSAGES_WAITING_MAX {
        sent.push(fixture.send("x", false).await);
    }
    let refused = |body: String| {
        let (reply, _answer) = Reply::channel();
        let request = move |accepted| {
            let (body, may_repeat, deadline) = (json!(body).into(), false, None);
            let limits = MessageLimits::default();
            AgentCommand::Send(Box::new(SendRequest { body, may_repeat, deadline, limits, accepted, reply }))
        };
        let planner = fixture.planner.clone();
        async move { planner.call(request).await.unwrap().unwrap_err() }
    };
    let full = refused("x".to_owned()).await;
    assert_eq!((full.reason, full.details.unwrap().contains("64")), (Reason::QueueFull, true));
    let large = refused("x".repeat(1 << 20)).await;
    assert_eq!((large.reason, large.details.unwrap().contains("1048576")), (Reason::RequestTooLarge, true));
}
