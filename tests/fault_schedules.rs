//! Tests the connection and the requests over random schedules of faults.
//!
//! A seed determines a schedule: the faults on the network and in the backend, their times, the requests, and the
//! settings. `driver` runs it with the whole tree, an embedded backend and a proxy between them. It ends all faults,
//! waits for full recovery, and shuts the tree down, at times with a last fault and requests in flight. `run_checks`
//! compares the result with the promises. No promise depends on the machine's speed: a timeout on a slow machine is one
//! more way in which a request can end.
//!
//! A failure prints its seed, and `MAINSTAY_TEST_SEED` runs that schedule alone. The schedule follows from the seed,
//! but the system orders bytes and tasks. A rare failure may need many runs: with `MAINSTAY_TEST_THOROUGH=1` the one
//! seed runs as often as there would be schedules.

#[path = "fault_schedules/backend_fixture.rs"]
mod backend_fixture;
#[path = "fault_schedules/calls.rs"]
mod calls;
#[path = "fault_schedules/counting_transport.rs"]
mod counting_transport;
#[path = "fault_schedules/coverage.rs"]
mod coverage;
#[path = "fault_schedules/driver.rs"]
mod driver;
#[path = "fault_schedules/event_checks.rs"]
mod event_checks;
#[path = "fault_schedules/failure_report.rs"]
mod failure_report;
mod fault_proxy;
#[path = "fault_proxy/tests.rs"]
mod fault_proxy_tests;
#[path = "fault_schedules/generator.rs"]
mod generator;
#[path = "fault_schedules/request_checks.rs"]
mod request_checks;
#[path = "fault_schedules/run_checks.rs"]
mod run_checks;
#[path = "fault_schedules/run_result.rs"]
mod run_result;
#[path = "fault_schedules/schedule.rs"]
mod schedule;
#[path = "fault_schedules/settings.rs"]
mod settings;
#[path = "fault_schedules/text_checks.rs"]
mod text_checks;
mod tier;

use parking_lot::Mutex;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use coverage::Coverage;
use schedule::Schedule;

const QUICK_SCHEDULES: u32 = 30;
const SCHEDULES: u32 = 1_000;
/// The number of schedules that run at once for each processor: a schedule mostly waits.
const AT_ONCE: usize = 5;

/// Runs the schedule of `seed`, checks it, and counts its events; fails with what is wrong.
fn run_seed(seed: u64, coverage: &Mutex<Coverage>) -> Result<(), String> {
    let schedule = Schedule::random(seed);
    let result = driver::run(&schedule);
    let violations = run_checks::violations(&schedule, &result);
    if violations.is_empty() {
        coverage.lock().count(&schedule, &result);
        return Ok(());
    }
    let (report, violations) = (failure_report::failure_report(&schedule, &result), violations.join("\n"));
    Err(format!("{schedule:#?}\n\n{report}\n\nMAINSTAY_TEST_SEED={seed} fails:\n{violations}"))
}

#[test]
fn any_fault_schedule_recovers_and_accounts_for_requests() {
    let only = tier::seed();
    let schedules = u64::from(tier::cases(if only.is_some() { 1 } else { QUICK_SCHEDULES }, SCHEDULES));
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let (coverage, failures) = (Mutex::<Coverage>::default(), Mutex::new(Vec::new()));
    let live_those_left = || {
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= schedules || has_failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(failure) = run_seed(only.unwrap_or(round), &coverage) {
                has_failed.store(true, Ordering::Relaxed);
                failures.lock().push(failure);
            }
        }
    };
    thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        for _ in 0..AT_ONCE * processors {
            scope.spawn(live_those_left);
        }
    });
    let failures = failures.into_inner();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let coverage = coverage.into_inner();
    println!("{coverage}");
    if only.is_none() && schedules >= 1000 {
        coverage.check();
    }
}
