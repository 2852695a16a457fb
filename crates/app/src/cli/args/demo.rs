//! The options of `demo`, and the faults of a running demo.

use std::time::Duration;

use clap::Subcommand;

use super::number::whole_number;
use crate::config::parse_duration;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct DemoArgs {
    #[command(subcommand)]
    pub(in crate::cli) fault: Option<DemoFault>,
    /// The number of agents of the backend
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole_number(1..=10_000_u16))]
    pub(in crate::cli) agents: u16,
    /// The port of the dashboard (0: any free one)
    #[arg(long, value_name = "PORT", default_value_t = 0, value_parser = whole_number(0..=u16::MAX))]
    pub(in crate::cli) port: u16,
    /// Stop after this long, such as 10s
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    pub(in crate::cli) run_for: Option<Duration>,
}

/// A fault of the running demo, or its end.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DemoFault {
    /// Crash an agent: it fails, and loses its memory
    Crash {
        /// The agent
        agent: String,
    },
    /// Hang an agent: it answers nothing but a restart
    Hang {
        /// The agent
        agent: String,
    },
    /// Crash an agent each time it is healthy, until it is given up
    Die {
        /// The agent
        agent: String,
    },
    /// Heal an agent
    Heal {
        /// The agent
        agent: String,
    },
    /// Cut every open WebSocket
    Drop,
    /// Refuse WebSockets for a while
    Refuse {
        /// For this long, up to an hour; 0s ends it
        #[arg(value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
        during: Duration,
    },
    /// Keep WebSockets open, but read, answer and send nothing
    HalfOpen {
        /// For this long, up to an hour; 0s ends it
        #[arg(value_name = "DURATION", value_parser = parse_duration, default_value = "30s")]
        during: Duration,
    },
    /// Answer requests with an error
    Fail {
        #[command(flatten)]
        requests: FaultRequests,
        /// The HTTP status of the answer, 400 to 599
        #[arg(long, value_name = "STATUS", default_value_t = 503, value_parser = whole_number(400..=599_u16))]
        status: u16,
        /// The `Retry-After` of the answer
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        retry_after: Option<Duration>,
    },
    /// Delay requests
    Slow {
        #[command(flatten)]
        requests: FaultRequests,
        /// The delay, up to an hour
        #[arg(long, value_name = "DUR", value_parser = parse_duration, default_value = "2s")]
        delay: Duration,
    },
    /// Reset the connections of requests
    Reset {
        #[command(flatten)]
        requests: FaultRequests,
    },
}

/// The requests that a fault hits.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FaultRequests {
    /// The beginning of their path
    #[arg(value_name = "PATH", default_value = "/api")]
    pub(in crate::cli) path: String,
    /// The number of requests
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole_number(1..=1_000_000_u32))]
    pub(in crate::cli) times: u32,
}
