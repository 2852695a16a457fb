//! Draws the configuration of one run: short times, different from run to run.

use crate::generator::Generator;
use crate::schedule::AGENTS;

/// The drawn settings of a configuration; the others have their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScheduleSettings {
    pub(crate) max_concurrent: usize,
    queue_max: usize,
    overflow: &'static str,
    timeout_ms: u64,
    wait_timeout_ms: u64,
    pub(crate) retries: u32,
    retry_delay_ms: (u64, u64),
    retry_budget: u32,
    delay_ms: (u64, u64),
    max_retries: u32,
    after_failed: &'static str,
    pub(crate) connect_timeout_ms: u64,
    ping_interval_ms: u64,
    ping_timeout_ms: u64,
    stable_after_ms: u64,
    outbound_max: usize,
    health_interval_ms: u64,
    health_timeout_ms: u64,
    fail_after: u32,
    startup_grace_ms: u64,
    restart_delay_ms: u64,
}

impl ScheduleSettings {
    pub(crate) fn random(generator: &mut Generator) -> Self {
        Self {
            max_concurrent: generator.pick(&[1, 2, 3, 5, 5, 8]),
            queue_max: generator.pick(&[1000, 1000, 1000, 6]),
            overflow: generator.pick(&["reject", "drop-oldest", "drop-lowest"]),
            timeout_ms: generator.ms(150, 300),
            wait_timeout_ms: generator.ms(1_000, 4_000),
            retries: generator.number(0, 3),
            retry_delay_ms: (generator.ms(1, 5), generator.ms(5, 30)),
            retry_budget: generator.pick(&[100, 100, 20]),
            delay_ms: (generator.ms(1, 5), generator.ms(5, 40)),
            max_retries: generator.pick(&[100_000, 100_000, 5, 2]),
            after_failed: generator.pick(&["wait", "probe"]),
            connect_timeout_ms: generator.ms(150, 300),
            ping_interval_ms: generator.ms(50, 150),
            ping_timeout_ms: generator.ms(120, 250),
            stable_after_ms: generator.pick(&[0, 20, 200]),
            outbound_max: generator.pick(&[64, 64, 2]),
            health_interval_ms: generator.ms(40, 100),
            health_timeout_ms: generator.ms(120, 250),
            fail_after: generator.number(2, 3),
            startup_grace_ms: generator.ms(0, 400),
            restart_delay_ms: generator.ms(1, 10),
        }
    }

    /// Renders a configuration file for a backend at `url`.
    pub(crate) fn to_toml(&self, url: &str) -> String {
        let agents: String = AGENTS.iter().map(|id| format!("[[agent]]\nid = \"{id}\"\n")).collect();
        format!(
            "[backend]\nurl = \"{url}\"\n\
             [connection]\nmax_retries = {}\nafter_failed = \"{}\"\nprobe_interval = \"1s\"\n\
             delay_min = \"{}ms\"\ndelay_max = \"{}ms\"\nconnect_timeout = \"{}ms\"\n\
             ping_interval = \"{}ms\"\nping_timeout = \"{}ms\"\nstable_after = \"{}ms\"\noutbound_max = {}\n\
             [requests]\nmax_concurrent = {}\nqueue_max = {}\noverflow = \"{}\"\ntimeout = \"{}ms\"\n\
             wait_timeout = \"{}ms\"\nretries = {}\nretry_delay_min = \"{}ms\"\nretry_delay_max = \"{}ms\"\n\
             retry_budget = {}\n\
             [agents]\nhealth_interval = \"{}ms\"\nhealth_timeout = \"{}ms\"\nfail_after = {}\n\
             startup_grace = \"{}ms\"\nmax_restarts = 1000\nrestart_delay = \"{}ms\"\nrestart_delay_max = \"20ms\"\n{agents}",
            self.max_retries,
            self.after_failed,
            self.delay_ms.0,
            self.delay_ms.1,
            self.connect_timeout_ms,
            self.ping_interval_ms,
            self.ping_timeout_ms,
            self.stable_after_ms,
            self.outbound_max,
            self.max_concurrent,
            self.queue_max,
            self.overflow,
            self.timeout_ms,
            self.wait_timeout_ms,
            self.retries,
            self.retry_delay_ms.0,
            self.retry_delay_ms.1,
            self.retry_budget,
            self.health_interval_ms,
            self.health_timeout_ms,
            self.fail_after,
            self.startup_grace_ms,
            self.restart_delay_ms,
        )
    }
}
