//! From a crash to the first answer, and what is lost on the way.

use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::contender::kameo::Kameo;
use crate::contender::mainstay::Mainstay;
use crate::contender::plain::Plain;
use crate::contender::{Contender, Fault, ROOM, Sent, answered};
use crate::scoreboard::{Line, Target};
use crate::settings::Settings;

/// Crashes of one round.
const CRASHES: u64 = 500;
/// Messages that are sent right behind the one that crashes, when losses are counted.
const BEHIND: u64 = 3;
/// A call that takes longer than this has been lost.
const LOST_AFTER: Duration = Duration::from_secs(10);

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// No contender prints its panics. Mainstay's own hook, which notes where a panic happened, runs for its panics alone:
/// it is part of its price, and of no other's.
pub(crate) fn silence() {
    panic::set_hook(Box::new(|_| {}));
}

struct Ours(Option<Hook>);

impl Ours {
    /// Takes Mainstay's hook away, which it has put in front of the silent one.
    fn put_away() -> Self {
        let hook = panic::take_hook();
        silence();
        Self(Some(hook))
    }

    fn put_in_place(&mut self) {
        if let Some(hook) = self.0.take() {
            panic::set_hook(hook);
        }
    }
}

/// Microseconds from the sending of the message that crashes to the answer to the call behind it: the mean of a round.
async fn recovery<C: Contender>(counter: &mut C) -> Result<f64, Fault> {
    let mut total = Duration::ZERO;
    for _ in 0..CRASHES {
        let begun = Instant::now();
        if counter.crash().await == Sent::Refused {
            return Err("the message that crashes was refused".into());
        }
        answered(counter).await;
        total += begun.elapsed();
    }
    Ok(total.as_nanos() as f64 / 1e3 / CRASHES as f64)
}

pub(crate) async fn measure_recovery(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let mut line = Line::new("crash to first answer", "us").target(Target::OfEach(1.0));
    let mut mainstay = Mainstay::up(ROOM, &dir.join("crashes")).await?;
    let mut ours = Ours::put_away();
    let mut plain = Plain::up(ROOM, dir).await?;
    let mut kameo = Kameo::up(ROOM, dir).await?;
    for round in 0..=settings.rounds {
        ours.put_in_place();
        let of_mainstay = recovery(&mut mainstay).await?;
        ours = Ours::put_away();
        let all = [of_mainstay, recovery(&mut plain).await?, recovery(&mut kameo).await?];
        if round > 0 {
            line.note(all);
        }
    }
    ours.put_in_place();
    mainstay.down().await;
    plain.down().await;
    kameo.down().await;
    Ok(vec![line])
}

/// What became of the messages and calls of many restarts.
#[derive(Debug, Default)]
struct Account {
    accepted: u64,
    refused: u64,
    handled: u64,
    calls: u64,
    failed: u64,
    hung: u64,
    micros: f64,
}

impl Account {
    /// Messages that were accepted and of which nobody heard again.
    fn lost(&self) -> u64 {
        self.accepted.saturating_sub(self.handled) + self.hung
    }

    fn tell(&self, name: &str) -> String {
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
async fn account<C: Contender>(counter: &mut C, restarts: u64) -> Account {
    let seen = Arc::new(AtomicU64::new(0));
    let mut account = Account::default();
    let begun = Instant::now();
    for _ in 0..restarts {
        counter.crash().await;
        for _ in 0..BEHIND {
            match counter.mark(&seen).await {
                Sent::Accepted => account.accepted += 1,
                Sent::Refused => account.refused += 1,
            }
        }
        loop {
            account.calls += 1;
            match timeout(LOST_AFTER, counter.call()).await {
                Ok(Some(_)) => break,
                Ok(None) => account.failed += 1,
                Err(_) => account.hung += 1,
            }
            counter.again().await;
        }
    }
    account.micros = begun.elapsed().as_nanos() as f64 / 1e3 / restarts as f64;
    account.handled = seen.load(Ordering::Relaxed);
    account
}

pub(crate) async fn count_losses(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let restarts = settings.restarts;
    let mut mainstay = Mainstay::up(ROOM, &dir.join("losses")).await?;
    let of_mainstay = account(&mut mainstay, restarts).await;
    mainstay.down().await;
    let mut ours = Ours::put_away();
    let mut plain = Plain::up(ROOM, dir).await?;
    let of_plain = account(&mut plain, restarts).await;
    plain.down().await;
    let mut kameo = Kameo::up(ROOM, dir).await?;
    let of_kameo = account(&mut kameo, restarts).await;
    kameo.down().await;
    ours.put_in_place();

    println!("what became of {BEHIND} messages and a call behind each of {restarts} crashes:");
    for (name, account) in [("mainstay", &of_mainstay), ("ractor", &of_plain), ("kameo", &of_kameo)] {
        println!("{}", account.tell(name));
    }
    println!();
    let mut line = Line::new(format!("messages lost in {restarts} restarts"), "").target(Target::AtMost(0.0));
    line.note([of_mainstay.lost() as f64, of_plain.lost() as f64, of_kameo.lost() as f64]);
    Ok(vec![line])
}
