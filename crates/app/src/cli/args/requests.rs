//! The command that sends a request, and those about requests that have not ended.

use std::convert::Infallible;
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use mainstay_actors::suggestion::nearest;
use mainstay_runtime::journal::millis;

use super::json::read_json;
use super::number::{request_number, whole_number};
use super::output_form::WatchedArgs;
use crate::Priority;
use crate::bridge::RequestCommand;
use crate::cli::error::CliError;
use crate::config::parse_duration;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum PriorityArg {
    High,
    Normal,
    Low,
}

impl From<PriorityArg> for Priority {
    fn from(priority: PriorityArg) -> Self {
        match priority {
            PriorityArg::High => Self::High,
            PriorityArg::Normal => Self::Normal,
            PriorityArg::Low => Self::Low,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RequestsArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<RequestsSubcommand>,
    #[command(flatten)]
    pub(in crate::cli) watched: WatchedArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RequestsSubcommand {
    /// Cancel a request; one that is under way may have reached the backend
    Cancel {
        /// The request's number, as the list shows it
        #[arg(value_parser = request_number)]
        id: u64,
    },
    /// Change the priority of a waiting request
    Prioritize {
        /// The request's number, as the list shows it
        #[arg(value_parser = request_number)]
        id: u64,
        /// The new priority
        #[arg(value_enum)]
        priority: PriorityArg,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct RequestArgs {
    /// The HTTP method, also one of the backend's own
    #[arg(value_parser = |method: &str| Ok::<_, Infallible>(method.to_uppercase()))]
    pub(super) method: String,
    /// The path on the backend, with its query
    path: String,
    /// The body: JSON, @FILE with JSON in it, or - for standard input
    #[arg(long, value_name = "JSON, @FILE or -")]
    body: Option<String>,
    /// The priority in the queue
    #[arg(long, value_enum, default_value_t = PriorityArg::Normal)]
    priority: PriorityArg,
    /// The longest time that one attempt may make no progress
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// The longest wait in the queue and for the backend
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    wait_timeout: Option<Duration>,
    /// The longest time in all, waits and retries included; 0s for no limit
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    deadline: Option<Duration>,
    /// The number of retries
    #[arg(long, value_name = "N", value_parser = whole_number(0..=u32::MAX))]
    retries: Option<u32>,
    /// Accept a cached response that is at most this old, and cache the response
    #[arg(long, value_name = "DUR", value_parser = parse_duration)]
    cache: Option<Duration>,
    /// Follow 301, 302 and 303 after a write, mostly with a GET
    #[arg(long)]
    follow_redirected_writes: bool,
    /// The key that every attempt carries, so that the backend acts once
    #[arg(long, value_name = "K")]
    idempotency_key: Option<String>,
    /// Print one JSON value and nothing else
    #[arg(long)]
    pub(in crate::cli) json: bool,
}

impl RequestArgs {
    /// Returns a hint if the method, which is sent as it is, may be a slip for a common one.
    pub(in crate::cli) fn method_hint(&self) -> Option<String> {
        const COMMON: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
        let near = nearest(&self.method, &COMMON).filter(|near| *near != self.method)?;
        Some(format!("the method {} was sent as it is; did you mean {near}?", self.method.escape_debug()))
    }

    pub(in crate::cli) fn into_command(self) -> Result<RequestCommand, CliError> {
        Ok(RequestCommand {
            body: self.body.as_deref().map(|body| read_json(body, "--body")).transpose()?,
            priority: self.priority.into(),
            timeout_ms: self.timeout.map(millis),
            wait_timeout_ms: self.wait_timeout.map(millis),
            deadline_ms: self.deadline.map(millis),
            retries: self.retries,
            follow_redirected_writes: self.follow_redirected_writes,
            cache_ms: self.cache.map(millis),
            idempotency_key: self.idempotency_key,
            ..RequestCommand::new(self.method, self.path)
        })
    }
}
