//! `mainstay cache`: shows the cache, and invalidates entries of it.

use mainstay_actors::json::Json;
use mainstay_runtime::journal::millis_text;
use serde_json::Value;

use super::args::{CacheArgs, CacheScope, CacheSubcommand};
use super::client::BridgeClient;
use super::error::CliError;
use super::output::{self, Output};
use super::report;
use super::units::bytes_text;
use super::watch;
use crate::bridge::{BridgeCommand, CacheAction, InvalidateBy};
use crate::status::CacheReport;

pub(super) async fn run(
    out: &mut Output,
    client: &mut BridgeClient,
    args: CacheArgs,
) -> Result<(), CliError> {
    let watched = match args.command {
        Some(CacheSubcommand::Invalidate(scope)) => return invalidate(out, client, scope).await,
        Some(CacheSubcommand::Show(watched)) => watched,
        None => args.watched,
    };
    let command = BridgeCommand::Cache(CacheAction::Show {});
    let render = |out: &mut Output, client: &BridgeClient, cache: &Json| show(out, &client.parse(cache)?);
    watch::show(out, client, watched, command, render).await
}

async fn invalidate(out: &mut Output, client: &mut BridgeClient, scope: CacheScope) -> Result<(), CliError> {
    let CacheScope { key, prefix, glob, all: _ } = scope;
    let (by, pattern) = match (key, prefix, glob) {
        (Some(key), ..) => (InvalidateBy::Key, Some(key)),
        (_, Some(prefix), _) => (InvalidateBy::Prefix, Some(prefix)),
        (.., Some(glob)) => (InvalidateBy::Glob, Some(glob)),
        // One of them is required.
        (None, None, None) => (InvalidateBy::All, None),
    };
    let command = BridgeCommand::Cache(CacheAction::Invalidate { by: Some(by), pattern });
    let reply = client.request(command).await?;
    let dropped = client.parse::<Value>(&reply)?["entries"].as_u64().unwrap_or_default();
    out.line(&match dropped {
        1 => "1 entry was dropped".to_owned(),
        dropped => format!("{dropped} entries were dropped"),
    })
}

/// Prints the figures of the cache and the watched folders.
fn show(out: &mut Output, cache: &CacheReport) -> Result<(), CliError> {
    let stats = &cache.stats;
    out.fact(
        "entries",
        &match stats.oldest_ms {
            Some(age) => format!("{}, the oldest for {}", stats.entries, millis_text(age)),
            None => stats.entries.to_string(),
        },
    )?;
    out.fact("size", &format!("{} of {}", bytes_text(stats.bytes), bytes_text(stats.bytes_max)))?;
    out.fact("lookups", &report::lookups(stats))?;
    out.fact(
        "loads",
        &format!(
            "{}, {} failed, {} came too late to be kept",
            stats.loads, stats.load_failures, stats.loads_superseded
        ),
    )?;
    out.fact("dropped", &format!("{} invalidated, {} for lack of room", stats.invalidated, stats.evictions))?;
    if cache.folders.is_empty() {
        return out.fact("folders", &out.paint("none are watched", output::DIM));
    }
    report::watched_folders(out, &cache.folders, "folders")
}
