//! Draws the configuration of one run: short times, different from run to run.

use crate::generator::Generator;
use crate::schedule::AGENTS;

/// The drawn settings of a configuration; the others have their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScheduleSettings {
    pub(crate) max_concurrent: usize,
    pub(crate) retries: u32,
    /// All settings but the backend's address, as the file has them.
    toml: String,
}

impl ScheduleSettings {
    pub(crate) fn random(generator: &mut Generator) -> Self {
        let (max_concurrent, retries) = (generator.pick(&[1, 2, 3, 5, 5, 8]), generator.number(0, 3));
        let agents: String = AGENTS.iter().map(|id| format!("[[agent]]\nid = \"{id}\"\n")).collect();
        let toml = format!(
            "[connection]\nmax_retries = {}\nafter_failed = \"{}\"\nprobe_interval = \"1s\"\n\
             delay_min = \"{}ms\"\ndelay_max = \"{}ms\"\nconnect_timeout = \"{}ms\"\n\
             ping_interval = \"{}ms\"\nping_timeout = \"{}ms\"\nstable_after = \"{}ms\"\noutbound_max = {}\n\
             [requests]\nmax_concurrent = {max_concurrent}\nqueue_max = {}\noverflow = \"{}\"\ntimeout = \"{}ms\"\n\
             wait_timeout = \"{}ms\"\nretries = {retries}\nretry_delay_min = \"{}ms\"\nretry_delay_max = \"{}ms\"\n\
             retry_budget = {}\n\
             [agents]\nhealth_interval = \"{}ms\"\nhealth_timeout = \"{}ms\"\nfail_after = {}\n\
             startup_grace = \"{}ms\"\nmax_restarts = 1000\nrestart_delay = \"{}ms\"\nrestart_delay_max = \"20ms\"\n{agents}",
            generator.pick(&[100_000, 100_000, 5, 2]),
            generator.pick(&["wait", "probe"]),
            generator.ms(1, 5),
            generator.ms(5, 40),
            generator.ms(150, 300),
            generator.ms(50, 150),
            generator.ms(120, 250),
            generator.pick(&[0, 20, 200]),
            generator.pick(&[64, 64, 2]),
            generator.pick(&[1000, 1000, 1000, 6]),
            generator.pick(&["reject", "drop-oldest", "drop-lowest"]),
            generator.ms(150, 300),
            generator.ms(1_000, 4_000),
            generator.ms(1, 5),
            generator.ms(5, 30),
            generator.pick(&[100, 100, 20]),
            generator.ms(40, 100),
            generator.ms(120, 250),
            generator.number(2, 3),
            generator.ms(0, 400),
            generator.ms(1, 10),
        );
        Self { max_concurrent, retries, toml }
    }

    /// Renders a configuration file for a backend at `url`.
    pub(crate) fn to_toml(&self, url: &str) -> String {
        format!("[backend]\nurl = \"{url}\"\n{}", self.toml)
    }
}
