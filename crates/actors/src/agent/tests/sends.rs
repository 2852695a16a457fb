//! Tests that each send to an agent behind the backend is counted: the server's deliveries equal the attempts of a
//! message in the journal, and the calls that the driver made.
//!
//! A server on the loopback follows a random plan, as in the queue's test of the same name. A failure prints the
//! smallest plan that fails, and its seed.

use std::sync::atomic::{AtomicBool, AtomicU32};

use mainstay_runtime::{
    Reply,
    clock::SystemClock,
    journal::{Cursor, Journal, JournalOptions},
};
use proptest::prelude::*;

use super::*;
use crate::{
    agent::agent_message::MessageLimits,
    json::Json,
    queue::{QueueActor, QueueHandle, QueuePolicy, QueueView, RetryPolicy},
    request::Request,
    tests::block_on,
    transport::{
        HttpSettings, HttpTransport, SendProgress, StreamingResponse, Transport, TransportError,
        crashing_server::{ArrivalLog, BreakPoint, CrashingServer, ServerAct, numbered_tokens},
    },
};

const QUICK_CASES: u32 = 60;
const CASES: u32 = 300;

const HEALTH: &str = "/api/agents/planner/health";
const MESSAGE: &str = "/api/agents/planner/message";
const STATE: &str = "/api/agents/planner/state";

/// An agent behind the server, with a queue for its messages.
struct HttpAgent {
    runtime: Runtime,
    planner: Address<AgentCommand>,
    pending_recovery: Arc<PendingRecovery>,
    reports: AgentReports,
    events: JournalSubscription,
}

impl HttpAgent {
    async fn start(
        transport: Arc<dyn Transport>,
        health: HealthPolicy,
        is_backend_unavailable: watch::Receiver<bool>,
        backend_ends: watch::Receiver<BackendEnds>,
    ) -> Self {
        let ms = Duration::from_millis;
        let delay = Delay::Exponential { min: ms(1), max: ms(2), factor: 2.0, jitter: false };
        let retry = RetryPolicy { delay, ..RetryPolicy::default() };
        let policy = QueuePolicy { retry, ..QueuePolicy::default() };
        let queue = QueueActor::new(Arc::clone(&transport), policy, QueueView::default());
        let mut root = SupervisorSpec::new("root");
        let queue = QueueHandle::new(root.child(Child::new("queue", queue)).unwrap());
        let driver = HttpDriver::new(transport, "planner", health.timeout).with_queue(queue);
        let pending_recovery = Arc::<PendingRecovery>::default();
        let reports = AgentReports::default();
        let actor = AgentActor {
            id: "planner".to_owned(),
            driver: Arc::new(driver),
            health: Arc::new(health),
            first_check_within: Duration::ZERO,
            pending_replies: Arc::default(),
            updates: UpdateBroadcast::default(),
            pending_recovery: Arc::clone(&pending_recovery),
            is_backend_unavailable,
            backend_ends,
            reports: reports.clone(),
        };
        let restarts =
            ChildPolicy { delay, budget: None, checkpoint_crashes_max: u32::MAX, ..ChildPolicy::default() };
        let planner = root.child(Child::new("planner", actor).policy(restarts)).unwrap();
        let options =
            JournalOptions { verbose: true, memory_lines_max: 100_000, ..JournalOptions::default() };
        let journal = Journal::in_memory("boot", Arc::new(SystemClock), options);
        let runtime = Runtime::builder().journal(journal).start(root).await.unwrap();
        let events = runtime.journal().subscribe_after(Cursor::START);
        Self { runtime, planner, pending_recovery, reports, events }
    }

    async fn next(&mut self) -> Record {
        match self.events.next().await {
            Delivery::Event(record) => *record,
            other => panic!("events are missing: {other:?}"),
        }
    }
}

/// Returns a policy under which an agent never fails for missed checks.
fn never_failing_policy(interval: Duration, quarantine_after: u32) -> HealthPolicy {
    HealthPolicy { interval, timeout: s(60), fail_after: u32::MAX, quarantine_after, ..policy() }
}

fn transport_to(server: &CrashingServer, renews_token: bool) -> HttpTransport {
    let credentials = numbered_tokens(renews_token);
    HttpTransport::new(&HttpSettings { credentials, ..HttpSettings::new(server.url()) }).unwrap()
}

fn status_of(record: &Record) -> Option<AgentStatus> {
    (record.kind == AgentHealth::KIND).then(|| record.decode::<AgentHealth>().unwrap().to)
}

// === messages ===

#[derive(Debug, Clone)]
struct MessagePlan {
    may_repeat: bool,
    renews_token: bool,
    /// Whether the server is stopped at the start.
    starts_stopped: bool,
    /// Whether the connection that is kept from the check has ended.
    ends_check: bool,
    acts: Vec<ServerAct>,
    /// The number of the queue's probes that find the server stopped; 0 if it is restarted once a delivery broke.
    probes: u64,
}

fn message_plan() -> impl Strategy<Value = MessagePlan> {
    let acts = prop::collection::vec(ServerAct::any(), 1..7);
    let often = || prop::bool::weighted(0.8);
    let drawn = (often(), often(), prop::bool::weighted(0.2), any::<bool>(), acts, 0..4_u64);
    drawn.prop_map(|(may_repeat, renews_token, starts_stopped, ends_check, acts, probes)| MessagePlan {
        may_repeat,
        renews_token,
        starts_stopped,
        ends_check,
        acts,
        probes,
    })
}

/// Sends one message. The server restarts once it was found stopped, by a check or by enough of the queue's probes.
async fn send_one(plan: MessagePlan, quarantine_after: u32) {
    let server = CrashingServer::start();
    // The first state that is read causes a check, beside the message.
    server.plan(STATE, &[ServerAct::Fail; 32]);
    if plan.ends_check {
        server.plan(HEALTH, &[ServerAct::AnswerAndEnd]);
    }
    let transport = Arc::new(transport_to(&server, plan.renews_token));
    let (is_unavailable, ends) = (watch::Sender::new(false), watch::Sender::default());
    // Checks have causes, and no time.
    let health = never_failing_policy(s(3600), quarantine_after);
    let mut agent = HttpAgent::start(transport, health, is_unavailable.subscribe(), ends.subscribe()).await;
    while status_of(&agent.next().await) != Some(Healthy) {}
    server.plan(MESSAGE, &plan.acts);
    if plan.starts_stopped {
        server.crash().await;
    }
    let (reply, answer) = Reply::channel();
    let (may_repeat, body, limits) = (plan.may_repeat, json!("hello").into(), MessageLimits::default());
    let request = |accepted| {
        AgentCommand::Send(Box::new(SendRequest {
            body,
            may_repeat,
            deadline: None,
            limits,
            accepted,
            reply,
        }))
    };
    let id = agent.planner.call(request).await.unwrap().unwrap();
    let (mut recorded, mut is_found_stopped) = (Vec::new(), false);
    let reports = agent.reports.clone();
    let restart = async {
        loop {
            wait_for_break(&server, &reports).await;
            // The check that the break causes may find it stopped, or the next one.
            server.restart_at_exit(&ends).await;
        }
    };
    tokio::pin!(restart);
    loop {
        let record = tokio::select! {
            record = agent.next() => record,
            () = &mut restart, if plan.probes == 0 => unreachable!("it has no end"),
        };
        if record.kind == "queue_held" && server.is_stopped() {
            let failures = record.fields["failures"].as_u64().unwrap();
            // The first record of each outage; earlier ones belong to the previous outage.
            is_found_stopped |= failures == 1;
            if is_found_stopped && failures >= plan.probes {
                is_found_stopped = false;
                server.restart();
            }
        }
        if status_of(&record) == Some(Unknown) {
            if server.is_stopped() {
                server.restart();
            }
            is_unavailable.send_replace(false);
        }
        if record.fields.get("message_id") == Some(&json!(id)) {
            let is_end = [MessageAnswered::KIND, MessageFailed::KIND].contains(&&*record.kind);
            recorded.push(record);
            if is_end {
                break;
            }
        }
    }
    check_message(&plan, &recorded, answer.await.unwrap(), &server.log(), quarantine_after);
    agent.runtime.shutdown().await;
}

/// Waits until the agent has noticed that its server stopped during a delivery.
async fn wait_for_break(server: &CrashingServer, reports: &AgentReports) {
    let is_delivering = || reports.get("planner").is_some_and(|report| report.messages_in_flight > 0);
    server.wait_until(true).await;
    while server.log().arrived(MESSAGE) == 0 || is_delivering() {
        tokio::task::yield_now().await;
    }
}

/// Checks the end of a message against its records and the server's log.
fn check_message(
    plan: &MessagePlan,
    recorded: &[Record],
    answer: Result<Json, Error>,
    log: &ArrivalLog,
    quarantine_after: u32,
) {
    let (end, before) = recorded.split_last().unwrap();
    let arrived = log.arrived(MESSAGE);
    let of_kind = |kind: &str| before.iter().filter(|record| record.kind == kind).collect::<Vec<_>>();
    let attempts: Vec<_> =
        of_kind(MessageSent::KIND).iter().map(|record| record.fields["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, (1..=u64::from(arrived)).collect::<Vec<_>>(), "each send has its event");
    let rejections = log.rejections(MESSAGE);
    let renewals = u32::from(plan.renews_token && rejections > 0);
    assert!(rejections <= 1 + renewals, "a second rejection is final");
    let deliveries_max = if plan.may_repeat { DELIVERY_ATTEMPTS_MAX } else { 1 + renewals };
    assert!(arrived <= deliveries_max, "it was sent too often");
    let last_act = log.with_hops(MESSAGE).last().unwrap().act;
    let is_answered = last_act.is_some_and(ServerAct::is_answer);
    assert_eq!(end.kind == MessageAnswered::KIND, is_answered, "an answer is not lost");
    let reason = answer.as_ref().err().map(|error| error.reason);
    if let Err(error) = answer {
        assert_eq!(end.fields["attempts"], arrived, "as many attempts as sends");
        assert_eq!(error.attempts, arrived);
        if last_act == Some(ServerAct::Reject) {
            assert_eq!((error.reason, error.retryable), (Reason::Unauthenticated, false));
        } else {
            assert!(
                matches!(error.reason, Reason::Quarantined | Reason::OutcomeUnknown),
                "it may have arrived"
            );
        }
    }
    let is_quarantined = reason == Some(Reason::Quarantined);
    let repeated: Vec<_> = of_kind(MessageRedelivered::KIND)
        .iter()
        .map(|record| record.fields["attempts"].as_u64().unwrap())
        .collect();
    assert_eq!(repeated, attempts[..attempts.len() - 1], "each repeat has its event, and nothing else");
    let crashes = log.crashes(MESSAGE);
    assert!(crashes <= quarantine_after, "it killed too often");
    let has_repeats = plan.may_repeat && arrived < DELIVERY_ATTEMPTS_MAX;
    assert_eq!(is_quarantined, has_repeats && crashes == quarantine_after, "what kills is quarantined");
    log.assert_hops_were_asked_for();
}

// === checks ===

/// The behaviour of the WebSocket, on which no evidence of death depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SocketBehaviour {
    /// The WebSocket shows nothing.
    Silent,
    /// The WebSocket is connected while the server is up.
    FollowsServer,
    /// The WebSocket reconnects all the time, since the server has none.
    Missing,
    /// The WebSocket flaps.
    Flaps,
}

#[derive(Debug, Clone)]
struct CheckPlan {
    acts: Vec<ServerAct>,
    renews_token: bool,
    socket: SocketBehaviour,
    /// The number of checks that find the server stopped; 0 if it is restarted at its exit.
    refusals: u32,
}

fn check_plan() -> impl Strategy<Value = CheckPlan> {
    let sockets = vec![
        SocketBehaviour::Silent,
        SocketBehaviour::FollowsServer,
        SocketBehaviour::Missing,
        SocketBehaviour::Flaps,
    ];
    let acts = prop::collection::vec(ServerAct::any(), 0..6);
    let drawn = (acts, prop::bool::weighted(0.8), prop::sample::select(sockets), 0..3_u32);
    drawn.prop_map(|(acts, renews_token, socket, refusals)| CheckPlan {
        acts,
        renews_token,
        socket,
        refusals,
    })
}

/// A transport that counts the checks that may have arrived. It restarts the stopped server after enough refused
/// checks, and holds the first check after those of the plan.
///
/// It holds the reads of the state. An answer to one that is handled just after a check broke would count as a sign of
/// life.
struct CheckCounter {
    transport: HttpTransport,
    server: Arc<CrashingServer>,
    plan: CheckPlan,
    sent: AtomicU32,
    refused: AtomicU32,
    is_unavailable: watch::Sender<bool>,
    is_over: watch::Sender<bool>,
    next_flap: AtomicBool,
}

impl CheckCounter {
    async fn count(&self, request: &Request, timeout: Duration) -> Result<StreamingResponse, TransportError> {
        if request.path() == STATE {
            return std::future::pending().await;
        }
        let log = self.server.log();
        if log.with_hops(HEALTH).filter(|arrival| arrival.act.is_some()).count() > self.plan.acts.len() {
            self.is_over.send_replace(true);
            return std::future::pending().await;
        }
        if self.plan.socket == SocketBehaviour::Flaps {
            self.is_unavailable.send_replace(self.next_flap.fetch_xor(true, Ordering::SeqCst));
        }
        let sent = self.transport.send(request, timeout).await;
        let is_sent = !matches!(&sent, Err(failure) if failure.progress == SendProgress::NotSent);
        self.sent.fetch_add(u32::from(is_sent), Ordering::SeqCst);
        if !is_sent
            && self.plan.refusals > 0
            && (self.refused.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(self.plan.refusals)
        {
            self.server.restart();
        }
        sent
    }
}

impl Transport for CheckCounter {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        self.count(request, timeout).boxed()
    }
}

async fn check_often(plan: CheckPlan, quarantine_after: u32) {
    let server = CrashingServer::start();
    server.plan(HEALTH, &plan.acts);
    let is_unavailable = watch::Sender::new(plan.socket == SocketBehaviour::Missing);
    let ends = watch::Sender::default();
    let counter = Arc::new(CheckCounter {
        transport: transport_to(&server, plan.renews_token),
        server: Arc::clone(&server),
        plan: plan.clone(),
        sent: AtomicU32::new(0),
        refused: AtomicU32::new(0),
        is_unavailable: is_unavailable.clone(),
        is_over: watch::Sender::new(false),
        next_flap: AtomicBool::new(true),
    });
    let policy = never_failing_policy(Duration::from_millis(1), quarantine_after);
    let transport = Arc::clone(&counter) as Arc<dyn Transport>;
    let mut agent = HttpAgent::start(transport, policy, is_unavailable.subscribe(), ends.subscribe()).await;
    let restart = async {
        loop {
            server.restart_at_exit(&ends).await;
        }
    };
    let follow = async {
        if plan.socket != SocketBehaviour::FollowsServer {
            return std::future::pending().await;
        }
        loop {
            server.wait_until(true).await;
            is_unavailable.send_replace(true);
            server.wait_until(false).await;
            is_unavailable.send_replace(false);
        }
    };
    let mut is_over = counter.is_over.subscribe();
    tokio::select! {
        () = follow => (),
        () = restart, if plan.refusals == 0 => (),
        over = is_over.wait_for(|is_over| *is_over) => drop(over.unwrap()),
    }
    let mut paused = Vec::new();
    while let Some(Delivery::Event(record)) = agent.events.try_next_in_memory() {
        if record.kind == AgentCallPaused::KIND {
            paused.push(record.decode::<AgentCallPaused>().unwrap());
        }
    }
    let log = server.log();
    assert_eq!(counter.sent.load(Ordering::SeqCst), log.arrived(HEALTH), "each check is sent once");
    log.assert_hops_were_asked_for();
    check_pauses(&log, &paused, &policy);
    agent.runtime.shutdown().await;
}

/// Checks that exactly the deaths are in the journal, and that a pause followed each.
fn check_pauses(log: &ArrivalLog, paused: &[AgentCallPaused], policy: &HealthPolicy) {
    let checks: Vec<_> = log.with_hops(HEALTH).collect();
    let (mut deaths, mut recorded) = (0, paused.iter());
    for (number, arrival) in checks.iter().enumerate() {
        match arrival.act {
            Some(act) if act.is_answer() => deaths = 0,
            Some(ServerAct::Crash(_)) => deaths += 1,
            _ => continue,
        }
        if deaths == 0 {
            continue;
        }
        let pause = expected_pause(deaths, policy);
        let event = recorded.next().expect("each death is recorded");
        assert_eq!(*event, paused_event(AgentCall::HealthCheck, deaths, policy));
        let pause_was = checks[number + 1].at - arrival.at;
        assert!(pause_was >= pause, "{pause_was:?} after {deaths} deaths");
    }
    assert_eq!(recorded.next(), None, "nothing else is recorded");
}

fn expected_pause(deaths: u32, policy: &HealthPolicy) -> Duration {
    let is_quarantined = deaths >= policy.quarantine_after;
    if is_quarantined { policy.interval * (8 << (deaths - policy.quarantine_after)) } else { policy.interval }
}

fn paused_event(call: AgentCall, deaths: u32, policy: &HealthPolicy) -> AgentCallPaused {
    let pause_ms = expected_pause(deaths, policy).as_millis().try_into().unwrap();
    AgentCallPaused { call, deaths, quarantined: deaths >= policy.quarantine_after, pause_ms }
}

// === calls ===

const RESTART: &str = "/api/agents/planner/restart";

/// The calls that the runtime makes for an agent, as they reach the server.
const CALLS: [(AgentCall, &str, &str); 4] = [
    (AgentCall::HealthCheck, "GET", HEALTH),
    (AgentCall::StateRead, "GET", STATE),
    (AgentCall::StateWrite, "PUT", STATE),
    (AgentCall::Restart, "POST", RESTART),
];

#[derive(Debug, Clone)]
struct CallPlan {
    /// The behaviours for each of `CALLS`.
    acts: Vec<Vec<ServerAct>>,
}

fn call_plan() -> impl Strategy<Value = CallPlan> {
    let points = vec![BreakPoint::AfterHead, BreakPoint::BeforeAnswer, BreakPoint::WithinBody];
    let crash = || prop::sample::select(points.clone()).prop_map(ServerAct::Crash);
    let asked = prop_oneof![
        2 => Just(ServerAct::Answer),
        1 => Just(ServerAct::Fail),
        1 => Just(ServerAct::Reset(BreakPoint::BeforeAnswer)),
        4 => crash(),
    ];
    // Only a crash breaks these: each other break is waited for.
    let ordered = prop_oneof![1 => Just(ServerAct::Answer), 1 => Just(ServerAct::Fail), 4 => crash()];
    let asked = || prop::collection::vec(asked.clone(), 0..4);
    let ordered = || prop::collection::vec(ordered.clone(), 0..5);
    let acts = (asked(), asked(), ordered(), ordered());
    acts.prop_map(|(checks, reads, writes, restarts)| CallPlan {
        acts: vec![checks, reads, writes, restarts],
    })
}

/// A transport that counts the calls that may have arrived, and lets one pass at a time: an answer that is handled just
/// after another call broke would count as a sign of life. The plan begins with the first restart. A check is held once
/// nothing else is in flight: before the plan, when the agent has a saved state, and after it, when the last check and
/// the last read were answered.
struct CallCounter {
    transport: HttpTransport,
    server: Arc<CrashingServer>,
    plan: CallPlan,
    has_begun: AtomicBool,
    has_recovered: AtomicBool,
    sent: [AtomicU32; CALLS.len()],
    in_flight: AtomicUsize,
    turn: tokio::sync::Mutex<()>,
    /// The number of checks that are held or were.
    held: watch::Sender<u32>,
}

impl CallCounter {
    fn begin(&self) {
        for ((_, method, path), acts) in CALLS.iter().zip(&self.plan.acts) {
            self.server.plan(&format!("{method} {path}"), acts);
        }
    }

    fn should_hold(&self) -> bool {
        let log = self.server.log();
        if !self.has_begun.load(Ordering::SeqCst) {
            // The check between two reads confirms the state.
            return log.with_method("GET", STATE).len() >= 3;
        }
        let is_answered = |&(_, method, path): &(_, &str, &str)| {
            let last = log.with_method(method, path).last().and_then(|arrival| arrival.act);
            self.server.is_plan_used(&format!("{method} {path}")) && last.is_some_and(ServerAct::is_answer)
        };
        self.has_recovered.load(Ordering::SeqCst) && CALLS[..2].iter().all(is_answered)
    }

    async fn count(&self, request: &Request, timeout: Duration) -> Result<StreamingResponse, TransportError> {
        if request.path() == RESTART && !self.has_begun.swap(true, Ordering::SeqCst) {
            self.begin();
        }
        let is_same =
            |&(_, method, path): &(_, &str, &str)| request.method() == method && request.path() == path;
        let kind = CALLS.iter().position(is_same).unwrap();
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let in_flight = InFlightCheck(&self.in_flight);
        let turn = self.turn.lock().await;
        if request.path() == HEALTH && self.in_flight.load(Ordering::SeqCst) == 1 && self.should_hold() {
            drop((in_flight, turn));
            self.held.send_modify(|held| *held += 1);
            return std::future::pending().await;
        }
        self.sent[kind].fetch_add(1, Ordering::SeqCst);
        let sent = self.transport.send(request, timeout).await;
        if matches!(&sent, Err(failure) if failure.progress == SendProgress::NotSent) {
            self.sent[kind].fetch_sub(1, Ordering::SeqCst);
        }
        sent
    }
}

impl Transport for CallCounter {
    fn send<'a>(
        &'a self,
        request: &'a Request,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<StreamingResponse, TransportError>> {
        self.count(request, timeout).boxed()
    }
}

/// Restarts an agent that has a state, and has the server follow the plan meanwhile and afterwards.
async fn call_often(plan: CallPlan, quarantine_after: u32) {
    let server = CrashingServer::start();
    let ends = watch::Sender::default();
    let counter = Arc::new(CallCounter {
        transport: transport_to(&server, false),
        server: Arc::clone(&server),
        plan,
        has_begun: AtomicBool::new(false),
        has_recovered: AtomicBool::new(false),
        sent: Default::default(),
        in_flight: AtomicUsize::new(0),
        turn: tokio::sync::Mutex::default(),
        held: watch::Sender::new(0),
    });
    let policy = never_failing_policy(Duration::from_millis(1), quarantine_after);
    let transport = Arc::clone(&counter) as Arc<dyn Transport>;
    let is_unavailable = watch::Sender::new(false);
    let mut agent = HttpAgent::start(transport, policy, is_unavailable.subscribe(), ends.subscribe()).await;
    let mut held = counter.held.subscribe();
    held.wait_for(|held| *held == 1).await.unwrap();
    agent.pending_recovery.request_restart();
    agent.runtime.root().restart("planner").await.unwrap();
    let run = async {
        while agent.planner.call(AgentCommand::AwaitRecovery).await != Ok(Ok(())) {}
        counter.has_recovered.store(true, Ordering::SeqCst);
        held.wait_for(|held| *held == 2).await.unwrap();
    };
    let restart = async {
        loop {
            server.restart_at_exit(&ends).await;
        }
    };
    tokio::select! {
        () = run => (),
        () = restart => (),
    }
    let mut paused = Vec::new();
    while let Some(Delivery::Event(record)) = agent.events.try_next_in_memory() {
        if record.kind == AgentCallPaused::KIND {
            paused.push(record.decode::<AgentCallPaused>().unwrap());
        }
    }
    check_calls(&server.log(), &counter.sent, &paused, &policy);
    agent.runtime.shutdown().await;
}

/// Checks that each call was sent once, that each death is in the journal, and that a pause followed it.
fn check_calls(log: &ArrivalLog, sent: &[AtomicU32], paused: &[AgentCallPaused], policy: &HealthPolicy) {
    for ((call, method, path), sent) in CALLS.into_iter().zip(sent) {
        let arrivals = log.with_method(method, path);
        // A restart of the actor drops the calls in flight.
        assert!(arrivals.len() <= sent.load(Ordering::SeqCst) as usize, "{call:?} is sent once");
        let recorded = paused.iter().filter(|event| event.call == call).count();
        let (mut deaths, mut crashes) = (0, 0);
        for (number, arrival) in arrivals.iter().enumerate() {
            match arrival.act {
                Some(act) if act.is_answer() => deaths = 0,
                Some(ServerAct::Crash(_)) => (deaths, crashes) = (deaths + 1, crashes + 1),
                _ => continue,
            }
            if deaths > 0
                && let Some(next) = arrivals.get(number + 1)
            {
                let (pause, was) = (expected_pause(deaths, policy), next.at - arrival.at);
                assert!(was >= pause, "{call:?}: {was:?} after {deaths} deaths");
            }
        }
        // A call that was reset counts too if the next evidence is the end of the server, over another call.
        assert!(recorded >= crashes, "{call:?}: {recorded} of {crashes} deaths are recorded");
        if call == AgentCall::StateWrite {
            assert!(crashes <= policy.quarantine_after.min(3) as usize, "the state is quarantined");
        } else if call == AgentCall::Restart {
            assert_eq!(recorded, crashes, "it is never reset, and so dies alone");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(QUICK_CASES, CASES)))]

    #[test]
    fn every_message_sent_is_an_attempt_and_never_above_the_limit(
        plan in message_plan(),
        quarantine_after in 1..4_u32,
    ) {
        block_on(send_one(plan, quarantine_after));
    }

    #[test]
    fn every_call_is_sent_once_and_pauses_after_each_death(
        plan in call_plan(),
        quarantine_after in 1..4_u32,
    ) {
        block_on(call_often(plan, quarantine_after));
    }

    #[test]
    fn every_check_is_sent_once_and_pauses_from_the_limit(
        plan in check_plan(),
        quarantine_after in 1..4_u32,
    ) {
        block_on(check_often(plan, quarantine_after));
    }
}
