//! Measures how soon a connection is open once its server accepts again.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{network::NetworkListener, *};
use crate::tier;

/// The round trip that an upgrade takes. TCP takes another one before it, and TLS another.
const ROUND_TRIP: Duration = Duration::from_millis(80);

/// Random numbers of one seed.
struct SplitMix64(u64);

impl SplitMix64 {
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

    fn next_bool(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }
}

/// Accepts every connection and answers every frame until dropped.
fn serve(mut arrivals: NetworkListener) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut peers = JoinSet::new();
        loop {
            let peer = arrivals.accept().await;
            peers.spawn(async move { drop(peer.read_to_end().await) });
        }
    });
    tasks
}

/// The measurements of one outage.
#[derive(Debug)]
struct OutageMeasurement {
    network: NetworkState,
    /// The time from the server's return to the open connection.
    recovery_time: Duration,
    /// The time that an earlier attempt still took to fail.
    attempt_remaining: Duration,
    /// The delay in progress at the server's return, or after that attempt.
    delay: Duration,
    /// The number of dials after the server's return.
    dials: u32,
}

async fn measure_outage(seed: u64, policy: ConnectionPolicy) -> OutageMeasurement {
    let mut rng = SplitMix64(seed);
    let (network, arrivals) = Network::new(LinkProfile { latency: ROUND_TRIP / 2 }, NetworkState::Up);
    let _server = serve(arrivals);
    let down = if rng.next_bool() { NetworkState::Refusing } else { NetworkState::Blackholing };
    let is_down_at_first = rng.next_bool();
    if is_down_at_first {
        network.set_state(down);
    }
    let mut fixture = ConnectionFixture::start_seeded(network.target(), policy, Duration::ZERO, seed).await;
    if !is_down_at_first {
        fixture.wait_for_change(Connected).await;
        // The connection may have proved stable by then, or not.
        tokio::time::sleep(rng.millis_below(s(40))).await;
        network.set_state(down);
        network.break_all();
    }
    tokio::time::sleep(rng.millis_below(s(300))).await;

    network.set_state(NetworkState::Up);
    let (back_at, dials_before) = (fixture.runtime.now(), network.dials());
    let mut wait = None;
    let connected_at = loop {
        let (change, at) = fixture.next_timed_change().await;
        if let Some(ms) = change.next_attempt_in_ms {
            wait = Some((at, Duration::from_millis(ms)));
        }
        if change.to == Connected && at > back_at {
            break at;
        }
    };
    let (decided_at, delay) = wait.expect("it waited");
    let dials = network.dials() - dials_before;
    fixture.runtime.shutdown().await;
    let attempt_rest = decided_at.saturating_sub(back_at);
    OutageMeasurement {
        network: down,
        recovery_time: connected_at - back_at,
        attempt_remaining: attempt_rest,
        delay,
        dials,
    }
}

async fn assert_recovery_within(policy: ConnectionPolicy, delay_max: Duration) {
    let mut waits_cut_short = 0;
    let seeds = tier::seeds(40, 150);
    let outages = seeds.end - seeds.start;
    for seed in seeds {
        let shown = measure_outage(seed, policy.clone()).await;
        let limit = shown.attempt_remaining + shown.delay + ROUND_TRIP + ROUNDING;
        assert!(shown.recovery_time <= limit, "seed {seed}: {shown:?}");
        assert!(shown.delay <= delay_max, "seed {seed}: {shown:?}");
        assert_eq!(shown.dials, 1, "seed {seed}: the first dial after it does it: {shown:?}");
        let attempt_max = match shown.network {
            NetworkState::Blackholing => policy.connect_timeout,
            NetworkState::Refusing | NetworkState::Up => ROUNDING,
        };
        assert!(shown.attempt_remaining <= attempt_max, "seed {seed}: {shown:?}");
        waits_cut_short += u32::from(shown.attempt_remaining.is_zero() && shown.recovery_time < shown.delay);
    }
    // Of one outage alone, the moment may lie anywhere.
    if tier::seed().is_none() {
        assert!(
            u64::from(waits_cut_short) * 3 > outages,
            "the moments are spread over the waits: {waits_cut_short}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn recovery_takes_at_most_the_delay_and_one_round_trip() {
    assert_recovery_within(ConnectionPolicy { max_retries: u32::MAX, ..ConnectionPolicy::default() }, s(30))
        .await;
}

#[tokio::test(start_paused = true)]
async fn recovery_by_probe_takes_at_most_its_interval() {
    // The outages last five minutes at most, so the probes have reached four.
    assert_recovery_within(ConnectionPolicy::default(), s(240)).await;
}
