//! The commands about one agent.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use super::output_form::{JsonFlag, WatchedArgs};
use crate::config::parse_duration;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AgentSubcommand {
    /// Show the agent, and its last events
    Show {
        /// The agent
        id: String,
        #[command(flatten)]
        watched: WatchedArgs,
    },
    /// Restart the agent now; this uses no budget
    Restart {
        /// The agent
        id: String,
    },
    /// Restart an ACP agent that needs a login, and log in
    Login {
        /// The agent
        id: String,
        /// The login's id, as the agent's last error names it [default: the only one that the agent offers]
        method: Option<String>,
    },
    /// Stop the agent and its health checks until it is started again; end its process if it has one
    Stop {
        /// The agent
        id: String,
    },
    /// Start the agent after a stop
    Start {
        /// The agent
        id: String,
    },
    /// Restore the agent's restart budget, and start the agent if it was given up
    Reset {
        /// The agent
        id: String,
    },
    /// Send the agent a message and print the answer; Ctrl-C cancels the message
    Send {
        /// The agent
        id: String,
        /// The message: JSON, @FILE with JSON in it, or - for standard input
        #[arg(value_name = "JSON, @FILE or -")]
        message: String,
        /// Permit up to two more deliveries if the agent or the runtime ends before the answer
        #[arg(long)]
        repeat: bool,
        /// The longest wait for the delivery [default: 60s]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        wait_timeout: Option<Duration>,
        /// The longest silence of the agent, 0s for no limit; a person's answer is waited for without limit [default: 10m]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        timeout: Option<Duration>,
        /// The longest time in all, 0s for no limit [default: 0s]
        #[arg(long, value_name = "DUR", value_parser = parse_duration)]
        deadline: Option<Duration>,
        #[command(flatten)]
        output: JsonFlag,
    },
    /// Follow the agent's updates, until Ctrl-C
    Listen {
        /// The agent
        id: String,
        /// Print one JSON value a line
        #[arg(long)]
        json: bool,
    },
    /// Answer a question of the agent
    Answer {
        /// The agent
        id: String,
        /// The question's name, as `show` and `listen` show it
        #[arg(value_name = "QUESTION")]
        ask: String,
        /// The answer: JSON, a plain word, or @FILE with JSON in it
        #[arg(value_name = "VALUE")]
        answer: String,
    },
    /// Add an agent, until the runtime ends
    Add {
        /// A file with one [[agent]] block, or - for standard input
        file: PathBuf,
    },
    /// Stop the agent, and delete it with its state
    Remove {
        /// The agent
        id: String,
    },
}
