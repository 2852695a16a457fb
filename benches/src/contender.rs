//! Compares the same counter, written for each of three frameworks.
//!
//! Each contender runs a counter under a supervisor that restarts it at once and without a limit.

pub(crate) mod kameo;
pub(crate) mod mainstay;
pub(crate) mod ractor;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A failure of the measurement itself.
pub(crate) type BenchError = Box<dyn std::error::Error + Send + Sync>;

/// The capacity of a mailbox where no other is given: Mainstay's default.
pub(crate) const MAILBOX_CAPACITY: usize = 1024;

/// The state of a counter. It is small, and copied where the framework takes snapshots.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CounterState {
    messages: u64,
    sum: u64,
    largest: u64,
    newest: u64,
}

impl CounterState {
    pub(crate) fn add(&mut self, amount: u64) {
        self.messages += 1;
        self.sum = self.sum.wrapping_add(amount);
        self.largest = self.largest.max(amount);
        self.newest = amount;
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }
}

/// Counts live counters: each state holds one guard.
pub(crate) struct LiveGuard(());

static LIVE: AtomicU64 = AtomicU64::new(0);

impl LiveGuard {
    pub(crate) fn new() -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    pub(crate) fn count() -> u64 {
        LIVE.load(Ordering::Relaxed)
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The result of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CastResult {
    Accepted,
    Refused,
}

impl CastResult {
    pub(crate) fn from_result<T, E>(outcome: Result<T, E>) -> Self {
        if outcome.is_ok() { Self::Accepted } else { Self::Refused }
    }
}

/// A supervised counter and its caller.
pub(crate) trait Contender: Send + Sized + 'static {
    /// Starts the tree. `capacity` bounds the mailbox where the framework has a bound; `dir` takes its files.
    fn start(capacity: usize, dir: &Path) -> impl Future<Output = Result<Self, BenchError>> + Send;

    /// Sends a number to be added.
    fn cast(&self, amount: u64) -> impl Future<Output = CastResult> + Send;

    /// Sends a message that raises `seen` when it is handled.
    fn mark(&self, seen: &Arc<AtomicU64>) -> impl Future<Output = CastResult> + Send;

    /// Sends a message whose handler panics.
    fn crash(&self) -> impl Future<Output = CastResult> + Send;

    /// Asks for the sum, once.
    fn call(&self) -> impl Future<Output = Option<u64>> + Send;

    /// Waits until asking once more makes sense, after a call without an answer.
    fn prepare_retry(&mut self) -> impl Future<Output = ()> + Send;

    fn stop(self) -> impl Future<Output = ()> + Send;
}

/// Asks for the sum until there is an answer. Returns the sum and the number of attempts.
pub(crate) async fn call_until_answered<C: Contender>(counter: &mut C) -> (u64, u32) {
    let mut attempts = 1;
    loop {
        if let Some(sum) = counter.call().await {
            return (sum, attempts);
        }
        counter.prepare_retry().await;
        attempts += 1;
    }
}

/// A supervisor that takes any number of counters while it runs.
pub(crate) trait ChildSpawner: Clone + Send + Sync + Sized + 'static {
    fn start(dir: &Path) -> impl Future<Output = Result<Self, BenchError>> + Send;

    /// Starts one more counter and returns when it is ready. With `greeted`, the counter has then handled a call.
    fn add(&self, number: u64, greeted: bool) -> impl Future<Output = Result<(), BenchError>> + Send;

    /// Stops all counters, then the supervisor.
    fn stop(self) -> impl Future<Output = ()> + Send;
}
