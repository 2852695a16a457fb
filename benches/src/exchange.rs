//! Messages and calls while nothing goes wrong.

use std::path::Path;
use std::time::Instant;

use crate::contender::kameo::Kameo;
use crate::contender::mainstay::Mainstay;
use crate::contender::plain::Plain;
use crate::contender::{Contender, Fault, ROOM, Sent, answered};
use crate::scoreboard::{Line, Target};
use crate::settings::Settings;

/// Messages of one round of casts; few enough for a mailbox to be made that holds them all.
const CASTS: u64 = 100_000;
/// Messages of one burst: fewer than any mailbox holds, so that nobody waits for room.
const BURST: u64 = 256;
/// Calls of one round.
const CALLS: u64 = 20_000;

/// Nanoseconds a message.
struct CastTimes {
    sent: f64,
    handled: f64,
}

/// Sends a round of messages; they are handled in order, so an answer to a call says that all are.
async fn casts<C: Contender>(counter: &mut C, messages: u64) -> Result<CastTimes, Fault> {
    let begun = Instant::now();
    for amount in 0..messages {
        if counter.cast(amount).await == Sent::Refused {
            return Err("a message was refused".into());
        }
    }
    let sent = begun.elapsed();
    answered(counter).await;
    let handled = begun.elapsed();
    let each = |time: std::time::Duration| time.as_nanos() as f64 / messages as f64;
    Ok(CastTimes { sent: each(sent), handled: each(handled) })
}

async fn bursts<C: Contender>(counter: &mut C) -> Result<f64, Fault> {
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
        answered(counter).await;
    }
    begun.elapsed().as_nanos() as f64 / CALLS as f64
}

struct Trio {
    mainstay: Mainstay,
    plain: Plain,
    kameo: Kameo,
}

impl Trio {
    async fn up(room: usize, dir: &Path) -> Result<Self, Fault> {
        Ok(Self {
            mainstay: Mainstay::up(room, dir).await?,
            plain: Plain::up(room, dir).await?,
            kameo: Kameo::up(room, dir).await?,
        })
    }

    async fn down(self) {
        self.mainstay.down().await;
        self.plain.down().await;
        self.kameo.down().await;
    }
}

/// Rounds go in turn, so that whatever else the machine does meets all alike. The first one warms up.
pub(crate) async fn measure_casts(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let mut handled = Line::new("cast, sent and handled", "ns").target(Target::OfFirst(0.3));
    let mut bursty = Line::new(format!("cast, in bursts of {BURST}"), "ns");
    let mut trio = Trio::up(ROOM, &dir.join("casts")).await?;
    for round in 0..=settings.rounds {
        let Trio { mainstay, plain, kameo } = &mut trio;
        let all = [
            casts(mainstay, CASTS).await?.handled,
            casts(plain, CASTS).await?.handled,
            casts(kameo, CASTS).await?.handled,
        ];
        let burst = [bursts(mainstay).await?, bursts(plain).await?, bursts(kameo).await?];
        if round > 0 {
            handled.note(all);
            bursty.note(burst);
        }
    }
    trio.down().await;

    let mut sent = Line::new("cast, sent alone, room for all", "ns");
    let mut roomy = Line::new("cast, sent and handled, room for all", "ns");
    let mut trio = Trio::up(CASTS as usize + 1, &dir.join("roomy")).await?;
    for round in 0..=settings.rounds {
        let Trio { mainstay, plain, kameo } = &mut trio;
        let (a, b, c) =
            (casts(mainstay, CASTS).await?, casts(plain, CASTS).await?, casts(kameo, CASTS).await?);
        if round > 0 {
            sent.note([a.sent, b.sent, c.sent]);
            roomy.note([a.handled, b.handled, c.handled]);
        }
    }
    trio.down().await;
    Ok(vec![handled, roomy, sent, bursty])
}

pub(crate) async fn measure_calls(settings: &Settings, dir: &Path) -> Result<Vec<Line>, Fault> {
    let mut line = Line::new("call, there and back", "ns").target(Target::OfFirst(1.2));
    let mut trio = Trio::up(ROOM, &dir.join("calls")).await?;
    for round in 0..=settings.rounds {
        let Trio { mainstay, plain, kameo } = &mut trio;
        let all = [calls(mainstay).await, calls(plain).await, calls(kameo).await];
        if round > 0 {
            line.note(all);
        }
    }
    trio.down().await;
    Ok(vec![line])
}
