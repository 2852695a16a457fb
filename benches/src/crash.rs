//! From a crash to the first answer, and what is lost on the way.

use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::contender::kameo::Kameo;
use crate::contender::mainstay::Mainstay;
use crate::contender::ractor::Ractor;
use crate::contender::{Contender, BenchError, MAILBOX_CAPACITY, CastResult, call_until_answered};
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// Crashes of one round.
const CRASHES: u64 = 500;
/// Messages that are sent right behind the one that crashes, when losses are counted.
const MESSAGES_BEHIND: u64 = 3;
/// A call that takes longer than this has been lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// No contender prints its panics. Mainstay's own hook, which notes where a panic happened, runs for its panics alone:
/// it is part of its price, and of no other's.
pub(crate) fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

struct MainstayHook(Option<Hook>);

impl MainstayHook {
    /// Takes Mainstay's hook away, which it has put in front of the silent one.
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

/// Microseconds from the sending of the message that crashes to the answer to the call behind it: the mean of a round.
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

pub(crate) async fn measure_recovery(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let mut line = ScoreLine::new("crash to first answer", "us").target(ScoreTarget::OfEach(1.0));
    let mut mainstay = Mainstay::start(MAILBOX_CAPACITY, &dir.join("crashes")).await?;
    let mut ours = MainstayHook::take();
    let mut plain = Ractor::start(MAILBOX_CAPACITY, dir).await?;
    let mut kameo = Kameo::start(MAILBOX_CAPACITY, dir).await?;
    for round in 0..=settings.rounds {
        ours.restore();
        let of_mainstay = recovery(&mut mainstay).await?;
        ours = MainstayHook::take();
        let all = [of_mainstay, recovery(&mut plain).await?, recovery(&mut kameo).await?];
        if round > 0 {
            line.record(all);
        }
    }
    ours.restore();
    mainstay.stop().await;
    plain.stop().await;
    kameo.stop().await;
    Ok(vec![line])
}

/// What became of the messages and calls of many restarts.
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
    /// Messages that were accepted and of which nobody heard again.
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

/// Crashes the counter again and again. Behind each message that crashes come some that must be handled, then a call
/// that is repeated until it is answered.
async fn count_losses_of<C: Contender>(counter: &mut C, restarts: u64) -> LossCount {
    let seen = Arc::new(AtomicU64::new(0));
    let mut account = LossCount::default();
    let begun = Instant::now();
    for _ in 0..restarts {
        counter.crash().await;
        for _ in 0..MESSAGES_BEHIND {
            match counter.mark(&seen).await {
                CastResult::Accepted => account.accepted += 1,
                CastResult::Refused => account.refused += 1,
            }
        }
        loop {
            account.calls += 1;
            match timeout(LOST_AFTER, counter.call()).await {
                Ok(Some(_)) => break,
                Ok(None) => account.failed += 1,
                Err(_) => account.hung += 1,
            }
            counter.prepare_retry().await;
        }
    }
    account.micros = begun.elapsed().as_nanos() as f64 / 1e3 / restarts as f64;
    account.handled = seen.load(Ordering::Relaxed);
    account
}

pub(crate) async fn count_losses(settings: &BenchSettings, dir: &Path) -> Result<Vec<ScoreLine>, BenchError> {
    let restarts = settings.restarts;
    let mut mainstay = Mainstay::start(MAILBOX_CAPACITY, &dir.join("losses")).await?;
    let of_mainstay = count_losses_of(&mut mainstay, restarts).await;
    mainstay.stop().await;
    let mut ours = MainstayHook::take();
    let mut plain = Ractor::start(MAILBOX_CAPACITY, dir).await?;
    let of_plain = count_losses_of(&mut plain, restarts).await;
    plain.stop().await;
    let mut kameo = Kameo::start(MAILBOX_CAPACITY, dir).await?;
    let of_kameo = count_losses_of(&mut kameo, restarts).await;
    kameo.stop().await;
    ours.restore();

    println!("what became of {MESSAGES_BEHIND} messages and a call behind each of {restarts} crashes:");
    for (name, account) in [("mainstay", &of_mainstay), ("ractor", &of_plain), ("kameo", &of_kameo)] {
        println!("{}", account.to_line(name));
    }
    println!();
    let mut line = ScoreLine::new(format!("messages lost in {restarts} restarts"), "").target(ScoreTarget::AtMost(0.0));
    line.record([of_mainstay.lost() as f64, of_plain.lost() as f64, of_kameo.lost() as f64]);
    Ok(vec![line])
}
