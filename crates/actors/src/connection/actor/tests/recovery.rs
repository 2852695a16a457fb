//! How soon a connection is there once its server accepts again.

use std::time::Duration;

use tokio::task::JoinSet;

use super::network::Arrivals;
use super::*;
use crate::connection::policy::AfterFailed;

/// To the server and back, which is what an upgrade takes. TCP takes one more before it, TLS another.
const ROUND_TRIP: Duration = Duration::from_millis(80);

/// Random numbers of one seed.
struct Luck(u64);

impl Luck {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn millis_below(&mut self, limit: Duration) -> Duration {
        Duration::from_millis(self.next() % u64::try_from(limit.as_millis()).unwrap())
    }

    fn coin(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// Accepts whoever comes, and answers whatever is asked, until dropped.
fn serve(mut arrivals: Arrivals) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut peers = JoinSet::new();
        loop {
            let peer = arrivals.accept().await;
            peers.spawn(async move { drop(peer.rest().await) });
        }
    });
    tasks
}

/// What one outage showed.
#[derive(Debug)]
struct Outage {
    down: Weather,
    /// From when the server accepted again to when the connection was there.
    took: Duration,
    /// How long an attempt that began before still took to fail.
    attempt_rest: Duration,
    /// The wait that was under way when the server accepted again, or that followed that attempt.
    delay: Duration,
    /// Dials that began after the server accepted again.
    dials: u32,
}

async fn outage(seed: u64, policy: ConnectionPolicy) -> Outage {
    let mut luck = Luck(seed);
    let (network, arrivals) = Network::new(Line { latency: ROUND_TRIP / 2 }, Weather::Up);
    let _server = serve(arrivals);
    let down = if luck.coin() { Weather::Refusing } else { Weather::Swallowing };
    let is_down_at_first = luck.coin();
    if is_down_at_first {
        network.turn(down);
    }
    let mut scene = Scene::start_seeded(network.target(), policy, Duration::ZERO, seed).await;
    if !is_down_at_first {
        scene.change_to(Connected).await;
        // It may have proved stable by then, or not.
        tokio::time::sleep(luck.millis_below(s(40))).await;
        network.turn(down);
        network.break_all();
    }
    tokio::time::sleep(luck.millis_below(s(300))).await;

    network.turn(Weather::Up);
    let (back_at, dials_before) = (scene.runtime.now(), network.dials());
    let mut wait = None;
    let connected_at = loop {
        let (change, at) = scene.timed_change().await;
        if let Some(ms) = change.next_attempt_in_ms {
            wait = Some((at, Duration::from_millis(ms)));
        }
        if change.to == Connected && at > back_at {
            break at;
        }
    };
    let (decided_at, delay) = wait.expect("it waited");
    let dials = network.dials() - dials_before;
    scene.runtime.shutdown().await;
    let attempt_rest = decided_at.saturating_sub(back_at);
    Outage { down, took: connected_at - back_at, attempt_rest, delay, dials }
}

async fn measure(policy: ConnectionPolicy, delay_max: Duration) {
    let mut waits_cut_short = 0;
    for seed in 0..150 {
        let shown = outage(seed, policy.clone()).await;
        let limit = shown.attempt_rest + shown.delay + ROUND_TRIP + ROUNDING;
        assert!(shown.took <= limit, "seed {seed}: {shown:?}");
        assert!(shown.delay <= delay_max, "seed {seed}: {shown:?}");
        assert_eq!(shown.dials, 1, "seed {seed}: the first dial after it does it: {shown:?}");
        let attempt_max = match shown.down {
            Weather::Swallowing => policy.connect_timeout,
            Weather::Refusing | Weather::Up => ROUNDING,
        };
        assert!(shown.attempt_rest <= attempt_max, "seed {seed}: {shown:?}");
        waits_cut_short += u32::from(shown.attempt_rest.is_zero() && shown.took < shown.delay);
    }
    assert!(waits_cut_short > 50, "the moments are spread over the waits: {waits_cut_short}");
}

#[tokio::test(start_paused = true)]
async fn once_the_server_accepts_again_it_is_connected_within_the_delay_in_force_and_one_round_trip() {
    measure(ConnectionPolicy { max_retries: u32::MAX, ..ConnectionPolicy::default() }, s(30)).await;
}

#[tokio::test(start_paused = true)]
async fn given_up_and_probing_it_is_connected_within_the_probe_interval_and_one_round_trip() {
    let after_failed = AfterFailed::Probe;
    measure(ConnectionPolicy { after_failed, ..ConnectionPolicy::default() }, s(60)).await;
}
