//! Measures the time from a crash to the first answer, and counts lost messages.

use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::contender::kameo::Kameo;
use crate::contender::mainstay::Mainstay;
use crate::contender::ractor::Ractor;
use crate::contender::{BenchError, CastResult, Contender, MAILBOX_CAPACITY, call_until_answered};
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The crashes of one round.
const CRASHES: u64 = 500;
/// The messages that follow the one that crashes, when losses are counted.
const MESSAGES_BEHIND: u64 = 3;
/// A call that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// Keeps contenders from printing their panics. Mainstay's own hook, which records where a panic happened, runs for
/// Mainstay's panics alone: it is part of Mainstay's cost.
pub(crate) fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

struct MainstayHook(Option<Hook>);

impl MainstayHook {
    /// Removes Mainstay's hook, which stands in front of the silent one.
    fn take() -> Self {
        let hook = panic::take_hook();
        silence_panics();
        Self(Some(hook))
    }

    fn restore(&mut self) {
        if let Some(hook) = self.0.take() {
            panic::set_hook(hook);
        }
    }
}

/// Returns the mean microseconds of a round, from the send of the message that crashes to the answer of the next call.
async fn recovery<C: Contender>(counter: &mut C) -> Result<f64, BenchError> {
    let mut total = Duration::ZERO;
    for _ in 0..CRASHES {
        let begun = Instant::now();
        if counter.crash().await == CastResult::Refused {
            return Err("the message that crashes was refused".into());
        }
        call_until_answered(counter).await;
        total += begun.elapsed();
    }
    Ok(total.as_nanos() as f64 / 1e3 / CRASHES as f64)
}

pub(crate) async fn measure_recovery(
    settings: &BenchSettings,
    dir: &Path,
) -> Result<Vec<ScoreLine>, BenchError> {
    let mut line = ScoreLine::new("crash to first answer", "us").target(ScoreTarget::OfEach(1.0));
    let mut mainstay = Mainstay::start(MAILBOX_CAPACITY, &dir.join("crashes")).await?;
    let mut hook = MainstayHook::take();
    let mut ractor = Ractor::start(MAILBOX_CAPACITY, dir).await?;
    let mut kameo = Kameo::start(MAILBOX_CAPACITY, dir).await?;
    for round in 0..=settings.rounds {
        hook.restore();
        let of_mainstay = recovery(&mut mainstay).await?;
        hook = MainstayHook::take();
        let all = [of_mainstay, recovery(&mut ractor).await?, recovery(&mut kameo).await?];
        if round > 0 {
            line.record(all);
        }
    }
    hook.restore();
    mainstay.stop().await;
    ractor.stop().await;
    kameo.stop().await;
    Ok(vec![line])
}

/// Counts the outcomes of messages and calls over many restarts.
#[derive(Debug, Default)]
struct LossCount {
    accepted: u64,
    refused: u64,
    handled: u64,
    calls: u64,
    failed: u64,
    hung: u64,
    micros: f64,
}

impl LossCount {
    /// Returns the number of messages that were accepted and never handled.
    fn lost(&self) -> u64 {
        self.accepted.saturating_sub(self.handled) + self.hung
    }

    fn to_line(&self, name: &str) -> String {
        format!(
            "  {name:<9} {:>7} accepted  {:>7} handled  {:>6} lost  {:>6} refused; of {} calls {} failed and were \
             repeated, {} hung; {:.1} us a restart",
            self.accepted,
            self.handled,
            self.lost(),
            self.refused,
            self.calls,
            self.failed,
            self.hung,
            self.micros,
        )
    }
}

/// Crashes the counter repeatedly. Behind each message that crashes come others that must be handled, then a call that
/// is repeated until it has an answer.
async fn count_losses_of<C: Contender>(counter: &mut C, restarts: u64) -> LossCount {
    let seen = Arc::new(AtomicU64::new(0));
    let mut loss = LossCount::default();
    let begun = Instant::now();
    for _ in 0..restarts {
        counter.crash().await;
        for _ in 0..MESSAGES_BEHIND {
            match counter.mark(&seen).await {
                CastResult::Accepted => loss.accepted += 1,
                CastResult::Refused => loss.refused += 1,
            }
        }
        loop {
            loss.calls += 1;
            match timeout(LOST_AFTER, counter.call()).await {
                Ok(Some(_)) => break,
                Ok(None) => loss.failed += 1,
                Err(_) => loss.hung += 1,
            }
            counter.prepare_retry().await;
        }
    }
    loss.micros = begun.elapsed().as_nanos() as f64 / 1e3 / restarts as f64;
    loss.handled = seen.load(Ordering::Relaxed);
    loss
}

pub(crate) async fn count_losses(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let restarts = settings.restarts;
    let mut mainstay = Mainstay::start(MAILBOX_CAPACITY, &dir.join("losses")).await?;
    let of_mainstay = count_losses_of(&mut mainstay, restarts).await;
    mainstay.stop().await;
    let mut hook = MainstayHook::take();
    let mut ractor = Ractor::start(MAILBOX_CAPACITY, dir).await?;
    let of_ractor = count_losses_of(&mut ractor, restarts).await;
    ractor.stop().await;
    let mut kameo = Kameo::start(MAILBOX_CAPACITY, dir).await?;
    let of_kameo = count_losses_of(&mut kameo, restarts).await;
    kameo.stop().await;
    hook.restore();

    println!("outcomes of {MESSAGES_BEHIND} messages and a call behind each of {restarts} crashes:");
    for (name, loss) in [("mainstay", &of_mainstay), ("ractor", &of_ractor), ("kameo", &of_kameo)] {
        println!("{}", loss.to_line(name));
    }
    println!();
    let mut line =
        ScoreLine::new(format!("messages lost in {restarts} restarts"), "").target(ScoreTarget::AtMost(0.0));
    line.record([of_mainstay.lost() as f64, of_ractor.lost() as f64, of_kameo.lost() as f64]);
    Ok(vec![line])
}
