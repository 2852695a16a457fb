//! The commands about the cache.

use clap::Subcommand;

use super::output_form::WatchedArgs;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct CacheArgs {
    #[command(subcommand)]
    pub(in crate::cli) command: Option<CacheSubcommand>,
    #[command(flatten)]
    pub(in crate::cli) watched: WatchedArgs,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum CacheSubcommand {
    /// Show the cache's figures and the watched folders
    Show(WatchedArgs),
    /// Drop entries, so that the next lookup loads them again
    Invalidate(CacheScope),
}

/// The entries to drop.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(in crate::cli) struct CacheScope {
    /// The entry with this key
    #[arg(long)]
    pub(in crate::cli) key: Option<String>,
    /// Every entry whose key begins so
    #[arg(long)]
    pub(in crate::cli) prefix: Option<String>,
    /// Every entry whose key matches this pattern
    #[arg(long, value_name = "PATTERN")]
    pub(in crate::cli) glob: Option<String>,
    /// Every entry
    #[arg(long)]
    pub(in crate::cli) all: bool,
}
