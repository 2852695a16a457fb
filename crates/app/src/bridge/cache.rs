//! Commands about the cache, and their replies.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mainstay_actors::cache::{Pattern, Selection};
use mainstay_actors::error::{Error, Reason};
use mainstay_actors::json::Json;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;

use super::file_search::find_files;
use super::protocol::{decode_base64, invalid_command, to_json};
use super::replies::InvalidateReply;
use crate::cache::Cache;

/// The largest file that a client gets.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// The start of the query by which the cache keeps a search of the bridge.
const QUERY_PREFIX: &str = "glob:";

/// An action on the cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS), ts(optional_fields = nullable))]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum CacheAction {
    /// Show the statistics.
    Show {},
    /// Drop the entries that match. The reply is `{"entries":N}`, their number.
    Invalidate {
        /// The scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<InvalidateBy>,
        /// The key, the prefix or the glob.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pattern: Option<String>,
    },
    /// Return what is kept under a key: see [`CachedEntryReply`].
    Get {
        /// The key.
        key: String,
    },
    /// Keep a value, or bytes, under a key. The reply is `null`.
    Put {
        /// The key, which begins with a namespace of the client's own, as in `notes:today`.
        key: String,
        /// The value, kept as it is written.
        #[serde(default, deserialize_with = "present_value", skip_serializing_if = "Option::is_none")]
        value: Option<Json>,
        /// The bytes, in place of a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base64: Option<String>,
        /// The time in milliseconds for which it is fresh; that of the configuration if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_ms: Option<u64>,
        /// The time in milliseconds after that for which it may still be served while it is loaded again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stale_ms: Option<u64>,
    },
    /// Return the contents of a file in a watched folder, of at most 16 MiB: see [`FileContents`].
    File {
        /// The absolute path.
        path: PathBuf,
    },
    /// Search a watched folder, or one within it, for files: see [`FoundFiles`](super::FoundFiles). The result is kept
    /// until anything in the folder changes.
    Search {
        /// The absolute path of the folder.
        folder: PathBuf,
        /// The pattern for the paths of files from the folder on, as in `notes/*.md`.
        query: String,
    },
}

/// The scope of an invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum InvalidateBy {
    /// The entry with that key.
    Key,
    /// Every entry whose key begins so.
    Prefix,
    /// Every entry whose key it matches.
    Glob,
    /// Every entry.
    All,
}

/// The reply to `get`: `{"hit":true,"value":…}`, or with `base64` for bytes that are not JSON; or `{"hit":false}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
pub struct CachedEntryReply {
    /// True if something is kept under the key, and is fresh.
    pub hit: bool,
    /// The value, as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub value: Option<Json>,
    /// The bytes, if they are not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "typescript", ts(optional))]
    pub base64: Option<String>,
}

/// The reply to `file`: `{"text":…}`, or `{"base64":…}` if the file is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum FileContents {
    /// The text.
    Text(String),
    /// The bytes.
    Base64(String),
}

/// Reads a value that is there, also if it is `null`.
fn present_value<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Ok(Some(Value::deserialize(deserializer)?.into()))
}

impl CacheAction {
    /// Returns the place of the action's value, if it has one.
    pub(super) fn value_mut(&mut self) -> Option<&mut Json> {
        match self {
            Self::Put { value, .. } => value.as_mut(),
            _ => None,
        }
    }
}

/// Executes a command; see [`execute`](super::execute).
pub(super) async fn execute(cache: &Cache, action: CacheAction) -> Result<Json, Error> {
    match action {
        CacheAction::Show {} => to_json(&cache.report()),
        CacheAction::Invalidate { by, pattern } => {
            to_json(&InvalidateReply { entries: cache.invalidate(&to_pattern(by, pattern)?).await? })
        }
        CacheAction::Get { key } => to_json(&CachedEntryReply::of(cache.get(&key))),
        CacheAction::Put { key, value, base64, ttl_ms, stale_ms } => {
            let bytes = match (value, base64) {
                (Some(value), None) => Bytes::from(value.as_str().to_owned()),
                (None, Some(base64)) => decode_base64(&base64)?,
                _ => return Err(invalid_command("put takes either \"value\" or \"base64\"")),
            };
            let mut options = cache.default_options();
            options.ttl = ttl_ms.map_or(options.ttl, Duration::from_millis);
            options.stale_for = stale_ms.map_or(options.stale_for, Duration::from_millis);
            cache.put(&key, bytes, options).map(|()| Json::default())
        }
        CacheAction::File { path } => to_json(&read_file(cache, path).await?),
        CacheAction::Search { folder, query } => search(cache, folder, &query).await,
    }
}

fn to_pattern(by: Option<InvalidateBy>, pattern: Option<String>) -> Result<Pattern, Error> {
    Ok(match (by, pattern) {
        (Some(InvalidateBy::Key), Some(key)) => Pattern::Key(key),
        (Some(InvalidateBy::Prefix), Some(prefix)) => Pattern::Prefix(prefix),
        (Some(InvalidateBy::Glob), Some(glob)) => Pattern::Glob(glob),
        (Some(InvalidateBy::All), None) => Pattern::All,
        _ => {
            return Err(invalid_command(
                "invalidate takes \"by\": \"key\", \"prefix\" or \"glob\" with a \"pattern\", or \"by\": \"all\"",
            ));
        }
    })
}

impl CachedEntryReply {
    fn of(found: Option<Bytes>) -> Self {
        let value = found.as_ref().and_then(|bytes| Json::parse(bytes).ok());
        let base64 = found.as_ref().filter(|_| value.is_none()).map(|bytes| STANDARD.encode(bytes));
        Self { hit: found.is_some(), value, base64 }
    }
}

/// Reads a file of a watched folder. A client reads no other file, and none through a link that leads out of the folder.
async fn read_file(cache: &Cache, path: PathBuf) -> Result<FileContents, Error> {
    if metadata_of(cache, &path).await?.len() > FILE_BYTES_MAX {
        return Err(too_large());
    }
    let bytes = cache.file(path).await?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(too_large());
    }
    Ok(match String::from_utf8(bytes.to_vec()) {
        Ok(text) => FileContents::Text(text),
        Err(_) => FileContents::Base64(STANDARD.encode(bytes)),
    })
}

/// Searches a watched folder, or takes the result that is kept.
async fn search(cache: &Cache, folder: PathBuf, query: &str) -> Result<Json, Error> {
    let pattern = Selection::glob(query).map_err(|error| invalid_command(&format!("\"query\": {error}")))?;
    if !metadata_of(cache, &folder).await?.is_dir() {
        return Err(invalid_command("\"folder\" must be a folder, and this is a file"));
    }
    let searched = folder.clone();
    let load = || async move {
        let found = run_blocking(move || find_files(&searched, &pattern)).await?;
        Ok(Bytes::from(to_json(&found)?.as_str().to_owned()))
    };
    // Apart from the embedder's own searches, which may have results of another form.
    let found = cache.search(folder, &format!("{QUERY_PREFIX}{query}"), load).await?;
    Json::parse(&found).map_err(|error| Error::new(Reason::Internal).with_details(&error.to_string()))
}

async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| Error::new(Reason::Internal).with_details(&error.to_string()))
}

/// Returns the metadata of a file or a folder that a client may read.
async fn metadata_of(cache: &Cache, path: &Path) -> Result<Metadata, Error> {
    let roots: Vec<_> = cache.watched().into_iter().map(|(root, _)| root).collect();
    let path = path.to_owned();
    match run_blocking(move || FilePlace::find(&path, &roots)).await? {
        FilePlace::Inside(metadata) => Ok(metadata),
        FilePlace::Missing => {
            let error = Error::new(Reason::NotFound);
            Err(error.with_message("There is no file or folder of that name. Check the name."))
        }
        FilePlace::Outside => {
            let message =
                "Only files in the watched folders can be read. Add the folder to the configuration.";
            Err(Error::new(Reason::Forbidden).with_message(message))
        }
    }
}

fn too_large() -> Error {
    Error::new(Reason::ResponseTooLarge)
        .with_message("The file is larger than 16 MiB. Read it in the application, not in a page.")
}

/// The place of a file or a folder that a client asks for.
enum FilePlace {
    /// A file or a folder in a watched folder, or such a folder.
    Inside(Metadata),
    Missing,
    Outside,
}

impl FilePlace {
    /// Looks for it, and follows its links.
    fn find(path: &Path, roots: &[PathBuf]) -> Self {
        let is_inside = |path: &Path| {
            roots.iter().any(|root| path.starts_with(root.canonicalize().as_deref().unwrap_or(root)))
        };
        match path.canonicalize() {
            Ok(real) if is_inside(&real) => real.metadata().map_or(Self::Missing, Self::Inside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
                if folder.is_some_and(|folder| is_inside(&folder)) { Self::Missing } else { Self::Outside }
            }
            _ => Self::Outside,
        }
    }
}
