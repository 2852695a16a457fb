//! Tests that each send is an attempt: the server's deliveries equal the journal's attempts.
//!
//! A server on the loopback follows a random plan: it answers, resets or ends the connection, or dies, at any point of
//! the exchange. A dead server refuses connections until a drawn number of probes has failed. A failure prints the
//! smallest plan that fails, and its seed.
//!
//! The server counts the heads of requests. A hop of a redirect is no attempt: the server asked for it, once for each
//! redirect that it sent.

use http::Method;
use mainstay_runtime::journal::{Cursor, Delivery, JournalSubscription, Record};
use proptest::prelude::*;

use super::{single_outcome::END_EVENTS, *};
use crate::transport::mortal_server::{ArrivalLog, MortalServer, ServerAct};

const QUICK_CASES: u32 = 40;
const CASES: u32 = 300;

#[derive(Debug, Clone)]
struct SendPlan {
    method: Method,
    has_key: bool,
    retries: u32,
    /// Whether the server is down at the start.
    starts_down: bool,
    acts: Vec<ServerAct>,
    /// The number of probes that find the server dead.
    probes: u64,
}

fn asked() -> impl Strategy<Value = SendPlan> {
    let methods =
        vec![(Method::GET, false), (Method::PUT, false), (Method::POST, false), (Method::POST, true)];
    let acts = prop::collection::vec(ServerAct::any(), 0..6);
    let drawn = (prop::sample::select(methods), 0..5_u32, prop::bool::weighted(0.2), acts, 1..4_u64);
    drawn.prop_map(|((method, has_key), retries, starts_down, acts, probes)| SendPlan {
        method,
        has_key,
        retries,
        starts_down,
        acts,
        probes,
    })
}

async fn start(server: &MortalServer, quarantine_after: u32) -> (Runtime, QueueHandle) {
    let settings = HttpSettings::new(server.url());
    let ms = Duration::from_millis;
    let delay = Delay::Exponential { min: ms(1), max: ms(2), factor: 2.0, jitter: false };
    let retry = RetryPolicy { delay, ..RetryPolicy::default() };
    let policy = QueuePolicy { retry, quarantine_after, ..policy() };
    let (runtime, queue, _) = start_over_http_with(&settings, policy).await;
    (runtime, queue)
}

async fn next(subscription: &mut JournalSubscription) -> Record {
    match subscription.next().await {
        Delivery::Event(record) => *record,
        other => panic!("events are missing: {other:?}"),
    }
}

/// Makes a request, restarts the server once enough probes have failed, and returns the request's records.
async fn ask(
    server: &Arc<MortalServer>,
    queue: &QueueHandle,
    subscription: &mut JournalSubscription,
    path: &str,
    asked: &SendPlan,
) -> Vec<Record> {
    if asked.starts_down && !server.is_down() {
        server.die().await;
    } else if !asked.starts_down && server.is_down() {
        server.rise();
    }
    server.plan(path, &asked.acts);
    let request = Request::builder(asked.method.clone(), path).retries(asked.retries);
    let request = if asked.has_key { request.idempotency_key("key") } else { request };
    let (id, answer) = queue.submit(request.build().unwrap());
    let (mut recorded, mut is_found_dead) = (Vec::new(), false);
    loop {
        let record = next(subscription).await;
        if record.kind == "queue_held" && server.is_down() {
            let failures = record.fields["failures"].as_u64().unwrap();
            // The first record of each outage; earlier ones belong to the previous outage.
            is_found_dead |= failures == 1;
            if is_found_dead && failures >= asked.probes {
                is_found_dead = false;
                server.rise();
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

/// Checks the result of one request against its records and the server's count.
fn check(asked: &SendPlan, recorded: &[Record], path: &str, log: &ArrivalLog, quarantine_after: u32) {
    let (end, before) = recorded.split_last().unwrap();
    let attempts = u32::try_from(end.fields["attempts"].as_u64().unwrap()).unwrap();
    assert_eq!(attempts, log.arrived(path), "as many attempts as sends");
    assert!(attempts <= asked.retries + 1, "no more than its retries allow");
    let retries = before.iter().filter(|record| record.kind == "request_retry").count();
    let is_quarantined = end.fields.get("reason") == Some(&Reason::Quarantined.as_str().into());
    // A quarantined request had its next attempt announced.
    assert_eq!(retries, (attempts - u32::from(!is_quarantined)) as usize, "each repeat has its event");
    let deaths = log.deaths(path);
    assert!(deaths <= quarantine_after, "it killed too often");
    let has_retries = attempts <= asked.retries;
    let is_repeatable = asked.method != Method::POST || asked.has_key;
    let expected = deaths == quarantine_after && has_retries && is_repeatable;
    assert_eq!(is_quarantined, expected, "what kills is quarantined, and nothing else");
    assert!(is_repeatable || attempts <= 1, "it was sent twice");
}

async fn live(plan: Vec<SendPlan>, quarantine_after: u32) {
    let server = MortalServer::start();
    let (runtime, queue) = start(&server, quarantine_after).await;
    let mut subscription = runtime.journal().subscribe_after(Cursor::START);
    for (number, asked) in plan.iter().enumerate() {
        let path = format!("/{number}");
        let recorded = ask(&server, &queue, &mut subscription, &path, asked).await;
        check(asked, &recorded, &path, &server.log(), quarantine_after);
    }
    server.log().assert_hops_were_asked_for();
    runtime.shutdown().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::tier::cases(QUICK_CASES, CASES)))]

    #[test]
    fn every_send_is_an_attempt_and_never_above_the_limit(
        plan in prop::collection::vec(asked(), 1..4),
        quarantine_after in 1..4_u32,
    ) {
        block_on(live(plan, quarantine_after));
    }
}
