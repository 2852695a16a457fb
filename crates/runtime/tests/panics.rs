//! Tests panic hooks and backtraces. Both are global to a process, so each test runs this program again with itself
//! alone.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

#[allow(dead_code, reason = "shared with other tests, which use other parts of it")]
mod probe;

use std::panic;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_runtime::journal::Record;
use mainstay_runtime::{Address, Child, Context, Failure, Message, Runtime, Worker};
use probe::{JournalFollower, immediate_policy, start_child};

/// Marks the process that a test starts.
const INSIDE: &str = "MAINSTAY_TEST_INSIDE";

/// Runs the test `name` in a process of its own, with this `RUST_BACKTRACE`.
fn run_in_process(name: &str, backtrace: &str, work: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        return runtime.unwrap().block_on(work);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

#[derive(Debug)]
struct PanicNow;

impl Message for PanicNow {}

struct PanickingWorker;

#[inline(never)]
fn raise_panic() {
    panic!("out of luck");
}

impl Worker for PanickingWorker {
    type Message = PanicNow;
    type State = ();
    type Snapshot = ();

    async fn start(&self, _: &mut Context<PanicNow>, _: Option<()>) -> Result<(), Failure> {
        Ok(())
    }

    async fn handle(&self, _: &mut Context<PanicNow>, _: PanicNow, (): &mut ()) -> Result<(), Failure> {
        raise_panic();
        Ok(())
    }
}

type Tree = (Runtime, Address<PanicNow>);

async fn start_tree() -> Tree {
    start_child(Child::new("worker", PanickingWorker).policy(immediate_policy())).await
}

/// Makes the worker panic once, and returns its exit.
async fn next_exit((runtime, worker): &Tree) -> Record {
    let mut events = JournalFollower::from_now(runtime);
    worker.cast(PanicNow).await.unwrap();
    events.next("actor_exited").await
}

#[test]
fn embedder_hook_set_before_runs_once_per_panic() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    run_in_process("embedder_hook_set_before_runs_once_per_panic", "0", async {
        panic::set_hook(Box::new(|info| {
            assert_eq!(info.payload().downcast_ref::<&str>(), Some(&"out of luck"));
            SEEN.fetch_add(1, Ordering::SeqCst);
        }));
        let (one, another) = (start_tree().await, start_tree().await);
        for (tree, seen) in [(&one, 1), (&another, 2), (&one, 3)] {
            let exited = next_exit(tree).await;
            assert!(exited.fields["location"].as_str().unwrap().contains("panics.rs:"));
            assert_eq!(SEEN.load(Ordering::SeqCst), seen);
        }
        assert!(panic::catch_unwind(raise_panic).is_err());
        assert_eq!(SEEN.load(Ordering::SeqCst), 4);
    });
}

#[test]
fn embedder_hook_set_later_runs_and_exit_has_message() {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    run_in_process("embedder_hook_set_later_runs_and_exit_has_message", "1", async {
        let tree = start_tree().await;
        panic::set_hook(Box::new(|_| {
            SEEN.fetch_add(1, Ordering::SeqCst);
        }));
        for seen in [1, 2] {
            let exited = next_exit(&tree).await;
            assert_eq!(exited.fields["cause"], "panic");
            assert_eq!(exited.fields["message"], "out of luck");
            assert!(exited.fields["location"].is_null() && !exited.fields.contains_key("backtrace"));
            assert_eq!(SEEN.load(Ordering::SeqCst), seen);
        }
    });
}

#[test]
fn embedder_hook_around_ours_keeps_the_location() {
    run_in_process("embedder_hook_around_ours_keeps_the_location", "0", async {
        let tree = start_tree().await;
        let ours = panic::take_hook();
        panic::set_hook(Box::new(move |info| ours(info)));
        assert!(next_exit(&tree).await.fields["location"].as_str().unwrap().contains("panics.rs:"));
    });
}

#[test]
fn exit_has_backtrace_where_enabled() {
    run_in_process("exit_has_backtrace_where_enabled", "1", async {
        let exited = next_exit(&start_tree().await).await;
        let output = exited.fields["backtrace"].as_str().unwrap();
        assert!(output.lines().next().unwrap().contains("raise_panic"), "{output}");
        assert!(output.contains("handle"), "{output}");
        for machinery in ["rust_begin_unwind", "std::backtrace", "panic_fmt", "tokio::runtime", "incarnation"]
        {
            assert!(!output.contains(machinery), "{machinery}: {output}");
        }
    });
}

#[test]
fn exit_has_no_backtrace_where_disabled() {
    run_in_process("exit_has_no_backtrace_where_disabled", "0", async {
        assert!(!next_exit(&start_tree().await).await.fields.contains_key("backtrace"));
    });
}
