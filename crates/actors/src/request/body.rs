//! The body of a request: in memory, in a file, or a stream. It is opened anew for each attempt.

mod file;
mod open;

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream::BoxStream};

pub use self::open::{BODY_PART_BYTES_MAX, OpenBody};

/// The body of a request. Cheap to clone; clones of one that can be sent only once share it.
#[derive(Clone)]
pub struct Body(Source);

#[derive(Clone)]
enum Source {
    Bytes(Bytes),
    File(Arc<Path>),
    Fresh { length: Option<u64>, open: Arc<dyn Fn() -> Parts + Send + Sync> },
    Once { length: Option<u64>, parts: Once },
}

/// The parts of a body, as long as they are as it is.
type Parts = BoxStream<'static, Result<Bytes, BodyError>>;

/// Parts that are there once; `None` once the connection has asked for the first.
type Once = Arc<Mutex<Option<Parts>>>;

/// Why a body could not be sent whole. What it says is for a log and may name the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It cannot be opened, or reading it failed.
    #[error("{0}")]
    Unreadable(String),
    /// It is longer or shorter than it was to be, or the file was written to meanwhile.
    #[error("{0}")]
    Changed(String),
}

impl BodyError {
    fn unreadable(error: &io::Error) -> Self {
        Self::Unreadable(format!("reading it failed: {error}"))
    }
}

impl Body {
    /// The file at `path`, whose length is what it is when an attempt opens it.
    pub(super) fn file(path: &Path) -> Self {
        Self(Source::File(path.into()))
    }

    /// What `open` gives, which is asked anew at each attempt.
    pub(super) fn fresh<S>(length: Option<u64>, open: impl Fn() -> S + Send + Sync + 'static) -> Self
    where
        S: Stream<Item = io::Result<Bytes>> + Send + 'static,
    {
        Self(Source::Fresh { length, open: Arc::new(move || parts_of(open())) })
    }

    /// What `stream` gives, which is there once.
    pub(super) fn once(
        length: Option<u64>,
        stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self(Source::Once { length, parts: Arc::new(Mutex::new(Some(parts_of(stream)))) })
    }

    /// The whole of it, if it is in memory.
    #[must_use]
    pub fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Source::Bytes(bytes) => Some(bytes),
            Source::File(_) | Source::Fresh { .. } | Source::Once { .. } => None,
        }
    }

    /// Whether it can be sent only once, and was begun: nothing of it is left for another attempt.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        match &self.0 {
            Source::Once { parts, .. } => parts.lock().unwrap_or_else(PoisonError::into_inner).is_none(),
            Source::Bytes(_) | Source::File(_) | Source::Fresh { .. } => false,
        }
    }

    /// Opens it for one attempt.
    ///
    /// # Errors
    ///
    /// [`BodyError`] if there is no such file, if it is no file, or if it cannot be opened.
    pub async fn open(&self) -> Result<OpenBody, BodyError> {
        match &self.0 {
            Source::Bytes(bytes) => Ok(OpenBody::whole(bytes.clone())),
            Source::File(path) => {
                // Boxed, so that requests without a file need not make room for it.
                let (length, parts) = Box::pin(file::open(path)).await?;
                OpenBody::of(Some(length), parts).settled().await
            }
            Source::Fresh { length, open } => OpenBody::of(*length, open()).settled().await,
            Source::Once { length, parts } => OpenBody::once(*length, Arc::clone(parts)).settled().await,
        }
    }
}

fn parts_of(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Parts {
    stream.map(|part| part.map_err(|error| BodyError::unreadable(&error))).boxed()
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Source::Bytes(bytes))
    }
}

impl fmt::Debug for Body {
    /// Shows what kind of body it is, and nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Source::File(_) => f.write_str("a file"),
            Source::Fresh { length, .. } => write!(f, "a stream of {length:?} bytes"),
            Source::Once { length, .. } => write!(f, "a stream of {length:?} bytes that is there once"),
        }
    }
}

#[cfg(test)]
mod tests;
