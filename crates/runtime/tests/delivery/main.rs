//! The fate of every message, over random traces.
//!
//! A trace is a small random tree, what is sent to its workers, what their handlers do, and what is ordered meanwhile;
//! see `trace`. `drive` lives it on a paused clock and takes notes, `account` checks that every accepted message was
//! either handled to its end or is one dead letter, and that every caller got one answer that fits.
//!
//! A failure prints its seed. `MAINSTAY_SEED` runs that trace alone, `MAINSTAY_TRACES` says how many are run. The trace
//! follows from the seed; in which order tasks that are ready are polled is the executor's choice, so a rare failure may
//! need `MAINSTAY_TRACES` runs of its seed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected should say so at once"
)]

mod driver;
mod invariants;
mod trace;
mod worker;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{panic, thread};

use driver::TraceResult;
use parking_lot::Mutex;
use trace::RandomTrace;

const TRACES: u64 = 10_000;

fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, and is {text:?}")))
}

/// Panics that belong to a trace are not printed, and get no backtrace: there are tens of thousands.
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

/// Lives the trace of `seed` and checks it.
fn check_seed(seed: u64) -> TraceResult {
    let trace = RandomTrace::random(seed);
    let lived = driver::run_trace(&trace);
    let faults = invariants::violations(&trace, &lived);
    if !faults.is_empty() {
        panic!("{trace:#?}\n\n{}\n\nMAINSTAY_SEED={seed} fails:\n{}", lived.report(), faults.join("\n"));
    }
    lived
}

#[test]
fn accepted_message_has_exactly_one_outcome() {
    hide_intended_panics();
    // The runtime puts its hook in place once, at its first start. Ours comes before it, too.
    driver::run_trace(&RandomTrace::random(0));
    hide_intended_panics();
    let traces = env_number("MAINSTAY_TRACES").unwrap_or(TRACES);
    let (next, seen) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(8);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run_remaining(&next, traces, &seen));
        }
    });
    let seen = seen.into_inner();
    println!("{traces} traces: {seen:?}");
    if traces >= 1000 && env_number("MAINSTAY_SEED").is_none() {
        for fate in [
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
        ] {
            assert!(
                seen.get(fate).is_some_and(|times| *times >= traces / 100),
                "{fate} is too rare: {seen:?}"
            );
        }
    }
}

/// Lives traces until all are, and counts what happened in them.
fn run_remaining(next: &AtomicU64, traces: u64, seen: &Mutex<BTreeMap<String, u64>>) {
    loop {
        let round = next.fetch_add(1, Ordering::Relaxed);
        if round >= traces {
            return;
        }
        let lived = check_seed(env_number("MAINSTAY_SEED").unwrap_or(round));
        let mut seen = seen.lock();
        for fate in lived.outcomes() {
            *seen.entry(fate).or_default() += 1;
        }
    }
}
