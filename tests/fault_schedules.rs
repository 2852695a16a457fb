//! The link and the requests, over random schedules of faults.
//!
//! A schedule is drawn from a seed: what breaks on the way to the backend and in the backend, and when; what is asked for
//! meanwhile; and with which settings. `drive` lives it with the whole tree, an embedded backend and a proxy between them,
//! lets all faults end, waits until the tree is well again, shuts it down (at times with a last fault and requests under
//! way), and takes notes. `account` checks that the notes agree with what is promised. No promise depends on how fast the
//! machine is: a timeout that fires because it is slow is one more way in which a request can end.
//!
//! A failure prints its seed. `MAINSTAY_FAULT_SEED` runs that schedule alone, `MAINSTAY_FAULT_SCHEDULES` says how many are
//! run. The schedule follows from the seed; which bytes and tasks come first is the system's choice, so a rare failure may
//! need `MAINSTAY_FAULT_SCHEDULES` runs of its seed.

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

use parking_lot::Mutex;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use coverage::Coverage;
use schedule::Schedule;

/// How many schedules are run if nobody says otherwise.
const SCHEDULES: u64 = 30;
/// How many are lived at once for each processor: most of the time a schedule waits, but not all of the time.
const AT_ONCE: usize = 5;

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, and is {text:?}")))
}

/// Lives the schedule of `seed`, checks it, and counts what happened in it; or says what is wrong.
fn run_seed(seed: u64, tally: &Mutex<Coverage>) -> Result<(), String> {
    let schedule = Schedule::random(seed);
    let lived = driver::run(&schedule);
    let faults = run_checks::violations(&schedule, &lived);
    if faults.is_empty() {
        tally.lock().count(&schedule, &lived);
        return Ok(());
    }
    let (story, faults) = (failure_report::failure_report(&schedule, &lived), faults.join("\n"));
    Err(format!("{schedule:#?}\n\n{story}\n\nMAINSTAY_FAULT_SEED={seed} fails:\n{faults}"))
}

#[test]
fn any_fault_schedule_recovers_and_accounts_for_requests() {
    let only = variable("MAINSTAY_FAULT_SEED");
    let schedules =
        variable("MAINSTAY_FAULT_SCHEDULES").unwrap_or(if only.is_some() { 1 } else { SCHEDULES });
    let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let (tally, failures) = (Mutex::<Coverage>::default(), Mutex::new(Vec::new()));
    let live_those_left = || {
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= schedules || has_failed.load(Ordering::Relaxed) {
                return;
            }
            if let Err(failure) = run_seed(only.unwrap_or(round), &tally) {
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
    let tally = tally.into_inner();
    println!("{tally}");
    if only.is_none() && schedules >= 1000 {
        tally.check();
    }
}
