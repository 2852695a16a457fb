//! Tests that each send is an attempt: the server's deliveries equal the journal's attempts.
//!
//! A server on the loopback follows a random plan: it answers, rejects the token, resets or ends the connection, or
//! crashes, at any point of the exchange. A stopped server refuses connections until a drawn number of probes has
//! failed. If the number is 0, the queue learns of the exit, and the server is back before any probe. A failure prints the
//! smallest plan that fails, and its seed.
//!
//! The server counts the heads of requests. A hop of a redirect is no attempt: the server asked for it, once for each
//! redirect that it sent.

use http::Method;
use mainstay_runtime::journal::{Cursor, Delivery, JournalSubscription, Record};
use proptest::prelude::*;

use super::{single_outcome::END_EVENTS, *};
use crate::transport::crashing_server::{ArrivalLog, CrashingServer, ServerAct, numbered_tokens};

const QUICK_CASES: u32 = 40;
const CASES: u32 = 300;

#[derive(Debug, Clone)]
struct SendPlan {
    method: Method,
    has_key: bool,
    retries: u32,
    /// Whether the server is stopped at the start.
    starts_stopped: bool,
    acts: Vec<ServerAct>,
    /// The number of probes that find the server stopped; 0 if it is restarted at its exit.
    probes: u64,
}

fn send_plan() -> impl Strategy<Value = SendPlan> {
    let methods =
        vec![(Method::GET, false), (Method::PUT, false), (Method::POST, false), (Method::POST, true)];
    let acts = prop::collection::vec(ServerAct::any(), 0..6);
    let probes = prop_oneof![Just(0), 1..4_u64];
    let drawn = (prop::sample::select(methods), 0..5_u32, prop::bool::weighted(0.2), acts, probes);
    drawn.prop_map(|((method, has_key), retries, starts_stopped, acts, probes)| SendPlan {
        method,
        has_key,
        retries,
        starts_stopped,
        acts,
        probes,
    })
}

async fn start(
    server: &CrashingServer,
    renews_token: bool,
    quarantine_after: u32,
    ends: &watch::Sender<BackendEnds>,
) -> (Runtime, QueueHandle) {
    let credentials = numbered_tokens(renews_token);
    let settings = HttpSettings { credentials, ..HttpSettings::new(server.url()) };
    let ms = Duration::from_millis;
    let delay = Delay::Exponential { min: ms(1), max: ms(2), factor: 2.0, jitter: false };
    let retry = RetryPolicy { delay, ..RetryPolicy::default() };
    let policy = QueuePolicy { retry, quarantine_after, ..policy() };
    let (runtime, queue, _) = start_over_http_with(&settings, policy, ends.subscribe()).await;
    (runtime, queue)
}

async fn next(subscription: &mut JournalSubscription) -> Record {
    match subscription.next().await {
        Delivery::Event(record) => *record,
        other => panic!("events are missing: {other:?}"),
    }
}

/// Makes a request, restarts the server once enough probes have failed, and returns the request's records.
async fn make_request(
    server: &Arc<CrashingServer>,
    ends: &watch::Sender<BackendEnds>,
    queue: &QueueHandle,
    subscription: &mut JournalSubscription,
    path: &str,
    plan: &SendPlan,
) -> Vec<Record> {
    if plan.starts_stopped && !server.is_stopped() {
        server.crash().await;
    } else if !plan.starts_stopped && server.is_stopped() {
        server.restart();
    }
    server.plan(path, &plan.acts);
    let request = Request::builder(plan.method.clone(), path).retries(plan.retries);
    let request = if plan.has_key { request.idempotency_key("key") } else { request };
    let (id, answer) = queue.submit(request.build().unwrap());
    let (mut recorded, mut is_found_stopped) = (Vec::new(), false);
    loop {
        let record = tokio::select! {
            record = next(subscription) => record,
            () = server.restart_at_exit(ends), if plan.probes == 0 => continue,
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
        if record.fields.get("request_id") == Some(&id.0.into()) {
            let is_end = END_EVENTS.contains(&&*record.kind);
            recorded.push(record);
            if is_end {
                break;
            }
        }
    }
    let attempts = match answer.await {
        Ok(response) => response.attempts,
        Err(error) => error.attempts,
    };
    assert_eq!(recorded.last().unwrap().fields["attempts"], attempts);
    recorded
}

/// Checks the result of one request against its records and the server's log.
fn check(
    plan: &SendPlan,
    recorded: &[Record],
    path: &str,
    log: &ArrivalLog,
    renews_token: bool,
    quarantine_after: u32,
) {
    let (end, before) = recorded.split_last().unwrap();
    let attempts = u32::try_from(end.fields["attempts"].as_u64().unwrap()).unwrap();
    assert_eq!(attempts, log.arrived(path), "as many attempts as sends");
    assert!(attempts <= plan.retries + 1, "no more than its retries allow");
    let retries = before.iter().filter(|record| record.kind == "request_retry").count();
    let reason = end.fields.get("reason").map(|reason| reason.as_str().unwrap());
    let is_quarantined = reason == Some(Reason::Quarantined.as_str());
    let is_announced = retries == attempts as usize;
    assert!(is_announced || retries + 1 == attempts as usize, "each repeat has its event");
    // Only evidence that comes after the announcement of the next attempt ends it.
    assert!(!is_announced || is_quarantined, "each announced repeat is made");
    let dropped = end.fields.get("dropped_attempt").map(|attempt| attempt.as_u64().unwrap());
    assert_eq!(dropped, is_announced.then(|| u64::from(attempts) + 1), "or the end names it");
    let crashes = log.crashes(path);
    assert!(crashes <= quarantine_after, "it killed too often");
    let has_retries = attempts <= plan.retries;
    let is_repeatable = plan.method != Method::POST || plan.has_key;
    let expected = crashes == quarantine_after && has_retries && is_repeatable;
    assert_eq!(is_quarantined, expected, "what kills is quarantined, and nothing else");
    let (rejections, last_act) = (log.rejections(path), log.with_hops(path).last().unwrap().act);
    let renewals = u32::from(renews_token && rejections > 0 && plan.retries > 0);
    assert!(rejections <= 1 + renewals, "a second rejection is final");
    assert!(is_repeatable || attempts <= 1 + renewals, "it was sent twice");
    let is_rejected = reason == Some(Reason::Unauthenticated.as_str());
    assert_eq!(is_rejected, last_act == Some(ServerAct::Reject), "a rejection is reported as one");
    if !is_repeatable && reason.is_some() && !is_rejected {
        assert_eq!(reason, Some(Reason::OutcomeUnknown.as_str()), "it may have arrived");
    }
}

async fn make_requests(plans: Vec<SendPlan>, renews_token: bool, quarantine_after: u32) {
    let (server, ends) = (CrashingServer::start(), watch::Sender::default());
    let (runtime, queue) = start(&server, renews_token, quarantine_after, &ends).await;
    let mut subscription = runtime.journal().subscribe_after(Cursor::START);
    for (number, plan) in plans.iter().enumerate() {
        let path = format!("/{number}");
        let recorded = make_request(&server, &ends, &queue, &mut subscription, &path, plan).await;
        check(plan, &recorded, &path, &server.log(), renews_token, quarantine_after);
    }
    server.log().assert_hops_were_asked_for();
    runtime.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(QUICK_CASES, CASES)))]

    #[test]
    fn every_send_is_an_attempt_and_never_above_the_limit(
        plans in prop::collection::vec(send_plan(), 1..4),
        renews_token in prop::bool::weighted(0.8),
        quarantine_after in 1..4_u32,
    ) {
        block_on(make_requests(plans, renews_token, quarantine_after));
    }
}
