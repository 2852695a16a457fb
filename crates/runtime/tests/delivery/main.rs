//! Checks the outcome of every message over random traces.
//!
//! A trace holds a small random tree, the messages to its workers, the actions of their handlers, and commands; see
//! `trace`. `driver` runs it on a paused clock and records what happens. `invariants` checks that every accepted
//! message was handled or is one dead letter, and that every caller got one answer that fits.
//!
//! A failure prints its seed, and `MAINSTAY_TEST_SEED` runs that trace alone. The trace follows from the seed, but the
//! executor chooses the order of tasks that are ready. So the one seed runs as often as there would be traces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[path = "../../src/replay/tests/changes.rs"]
mod changes;
mod driver;
mod invariants;
#[path = "../../../../tests/tier.rs"]
mod tier;
mod trace;
mod worker;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{panic, thread};

use driver::TraceResult;
use parking_lot::Mutex;
use trace::RandomTrace;

const QUICK_TRACES: u32 = 1_000;
const TRACES: u32 = 10_000;

/// Hides the panics of traces: there are tens of thousands.
fn hide_intended_panics() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let on_purpose =
            info.payload().downcast_ref::<&str>().is_some_and(|text| *text == worker::PANIC_TEXT);
        if !on_purpose {
            others(info);
        }
    }));
}

/// Runs the trace of `seed` and checks it.
fn check_seed(seed: u64) -> TraceResult {
    let trace = RandomTrace::random(seed);
    let result = driver::run_trace(&trace);
    let violations = invariants::violations(&trace, &result);
    if !violations.is_empty() {
        panic!(
            "{trace:#?}\n\n{}\n\nMAINSTAY_TEST_SEED={seed} fails:\n{}",
            result.report(),
            violations.join("\n")
        );
    }
    result
}

#[test]
fn accepted_message_has_exactly_one_outcome() {
    hide_intended_panics();
    // The runtime installs its hook once, at its first start. The test's hook must come before and after it.
    driver::run_trace(&RandomTrace::random(0));
    hide_intended_panics();
    let traces = tier::cases(QUICK_TRACES, TRACES).into();
    let (next, seen) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run_remaining(&next, traces, &seen));
        }
    });
    let seen = seen.into_inner();
    println!("{traces} traces: {seen:?}");
    if tier::seed().is_none() {
        for outcome in [
            "handled",
            "crashed",
            "stopped",
            "expired",
            "poison",
            "redelivered",
            "group",
            "stuck",
            "auto_shutdown",
            "never_started",
            "give_up",
            "escalate",
            "leave",
            "restart",
            "shut_down",
        ] {
            assert!(
                seen.get(outcome).is_some_and(|times| *times >= traces / 100),
                "{outcome} is too rare: {seen:?}"
            );
        }
    }
}

/// Runs traces until none is left, and counts their outcomes.
fn run_remaining(next: &AtomicU64, traces: u64, seen: &Mutex<BTreeMap<String, u64>>) {
    loop {
        let round = next.fetch_add(1, Ordering::Relaxed);
        if round >= traces {
            return;
        }
        let result = check_seed(tier::seed().unwrap_or(round));
        let mut seen = seen.lock();
        for outcome in result.outcomes() {
            *seen.entry(outcome).or_default() += 1;
        }
    }
}
