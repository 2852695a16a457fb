//! Measures messages and calls without failures.

use std::path::Path;
use std::time::Instant;

use crate::contender::kameo::Kameo;
use crate::contender::mainstay::Mainstay;
use crate::contender::ractor::Ractor;
use crate::contender::{BenchError, CastResult, Contender, MAILBOX_CAPACITY, call_until_answered};
use crate::scoreboard::{ScoreLine, ScoreTarget};
use crate::settings::BenchSettings;

/// The messages of one round of casts. A mailbox can be made that holds them all.
const CASTS: u64 = 100_000;
/// The messages of one burst: fewer than any mailbox holds, so that no sender waits for room.
const BURST: u64 = 256;
/// The calls of one round.
const CALLS: u64 = 20_000;

/// The nanoseconds of a message.
struct CastTimes {
    sent: f64,
    handled: f64,
}

/// Sends a round of messages. They are handled in order, so the answer to a call shows that all are.
async fn casts<C: Contender>(counter: &mut C, messages: u64) -> Result<CastTimes, BenchError> {
    let begun = Instant::now();
    for amount in 0..messages {
        if counter.cast(amount).await == CastResult::Refused {
            return Err("a message was refused".into());
        }
    }
    let sent = begun.elapsed();
    call_until_answered(counter).await;
    let handled = begun.elapsed();
    let each = |time: std::time::Duration| time.as_nanos() as f64 / messages as f64;
    Ok(CastTimes { sent: each(sent), handled: each(handled) })
}

async fn bursts<C: Contender>(counter: &mut C) -> Result<f64, BenchError> {
    let rounds = CASTS / BURST;
    let mut sum = 0.0;
    for _ in 0..rounds {
        sum += casts(counter, BURST).await?.handled;
    }
    Ok(sum / rounds as f64)
}

async fn calls<C: Contender>(counter: &mut C) -> f64 {
    let begun = Instant::now();
    for _ in 0..CALLS {
        call_until_answered(counter).await;
    }
    begun.elapsed().as_nanos() as f64 / CALLS as f64
}

struct AllContenders {
    mainstay: Mainstay,
    ractor: Ractor,
    kameo: Kameo,
}

impl AllContenders {
    async fn start(capacity: usize, dir: &Path) -> Result<Self, BenchError> {
        Ok(Self {
            mainstay: Mainstay::start(capacity, dir).await?,
            ractor: Ractor::start(capacity, dir).await?,
            kameo: Kameo::start(capacity, dir).await?,
        })
    }

    async fn stop(self) {
        self.mainstay.stop().await;
        self.ractor.stop().await;
        self.kameo.stop().await;
    }
}

/// Measures the contenders in turns, so that other load meets all alike. The first round warms up.
pub(crate) async fn measure_casts(
    settings: &BenchSettings,
    dir: &Path,
) -> Result<Vec<ScoreLine>, BenchError> {
    let mut handled = ScoreLine::new("cast, sent and handled", "ns").target(ScoreTarget::OfFirst(0.3));
    let mut bursty = ScoreLine::new(format!("cast, in bursts of {BURST}"), "ns");
    let mut contenders = AllContenders::start(MAILBOX_CAPACITY, &dir.join("casts")).await?;
    for round in 0..=settings.rounds {
        let AllContenders { mainstay, ractor, kameo } = &mut contenders;
        let all = [
            casts(mainstay, CASTS).await?.handled,
            casts(ractor, CASTS).await?.handled,
            casts(kameo, CASTS).await?.handled,
        ];
        let burst = [bursts(mainstay).await?, bursts(ractor).await?, bursts(kameo).await?];
        if round > 0 {
            handled.record(all);
            bursty.record(burst);
        }
    }
    contenders.stop().await;

    let mut sent = ScoreLine::new("cast, sent alone, room for all", "ns");
    let mut roomy = ScoreLine::new("cast, sent and handled, room for all", "ns");
    let mut contenders = AllContenders::start(CASTS as usize + 1, &dir.join("roomy")).await?;
    for round in 0..=settings.rounds {
        let AllContenders { mainstay, ractor, kameo } = &mut contenders;
        let (a, b, c) =
            (casts(mainstay, CASTS).await?, casts(ractor, CASTS).await?, casts(kameo, CASTS).await?);
        if round > 0 {
            sent.record([a.sent, b.sent, c.sent]);
            roomy.record([a.handled, b.handled, c.handled]);
        }
    }
    contenders.stop().await;
    Ok(vec![handled, roomy, sent, bursty])
}

pub(crate) async fn measure_calls(
    settings: &BenchSettings,
    dir: &Path,
) -> Result<Vec<ScoreLine>, BenchError> {
    let mut line = ScoreLine::new("call, there and back", "ns").target(ScoreTarget::OfFirst(1.2));
    let mut contenders = AllContenders::start(MAILBOX_CAPACITY, &dir.join("calls")).await?;
    for round in 0..=settings.rounds {
        let AllContenders { mainstay, ractor, kameo } = &mut contenders;
        let all = [calls(mainstay).await, calls(ractor).await, calls(kameo).await];
        if round > 0 {
            line.record(all);
        }
    }
    contenders.stop().await;
    Ok(vec![line])
}
