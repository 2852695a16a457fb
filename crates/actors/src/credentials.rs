//! Supplies the bearer token for each dial and each attempt. It may change at any time.
//!
//! A token is read from its source whenever it is needed. Only that of a command is kept for a while, since a process
//! for each request would cost too much. When the backend answers 401, the source is asked once more
//! (`Credentials::refresh`). If the source fails, the last token goes on being used.
//!
//! Each token is given to the observer before it is used, so that it is redacted from then on.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

/// The time for which the token of a command is used, unless the backend rejects it.
const COMMAND_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The longest time that a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest token in bytes.
const TOKEN_BYTES_MAX: u64 = 64 * 1024;
/// The number of tokens that are remembered, to be redacted.
const SEEN_MAX: usize = 256;

/// Keeps a console program from opening a window (Windows' process creation flags).
#[cfg(windows)]
const CREATE_NO_WINDOW: u32 = 0x0800_0000;

/// The reason why a token is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialRequest {
    /// A dial or an attempt needs it.
    Use,
    /// The backend rejected the last one, or a person asked for a new one. A kept token must not be returned.
    Renew,
}

/// The cause of a new token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum TokenCause {
    /// A dial or an attempt needed a token.
    Used,
    /// The backend rejected the one before.
    Rejected,
    /// A person or a program asked for it.
    Reloaded,
}

/// The reason why there is no token. It holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CredentialError(pub String);

/// A callback that supplies tokens; `None` means that none is sent.
type Callback =
    dyn Fn(CredentialRequest) -> BoxFuture<'static, Result<Option<String>, CredentialError>> + Send + Sync;

/// Gets each token before it is used, and why it was read; `None` for one that was known before.
type Observer = dyn Fn(&str, Option<TokenCause>) + Send + Sync;

enum Source {
    None,
    Fixed(String),
    File(PathBuf),
    Command(Vec<String>),
    Callback(Box<Callback>),
}

/// The source of the bearer token, and what is known of its tokens. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Credentials(Arc<Inner>);

struct Inner {
    source: Source,
    known: Mutex<KnownTokens>,
    /// Lets one caller read at a time, so that many requests start one command.
    reading: tokio::sync::Mutex<()>,
    observer: OnceLock<Box<Observer>>,
}

#[derive(Default)]
struct KnownTokens {
    /// The newest token, and when it was read.
    current: Option<(Option<String>, Instant)>,
    /// The tokens so far, the newest last.
    seen: VecDeque<String>,
    seen_count: u64,
}

impl Credentials {
    /// Returns credentials without a token.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Source::None)
    }

    /// Returns one token for ever.
    #[must_use]
    pub fn fixed(token: &str) -> Self {
        // Known from the start, so that it is redacted also before it is used.
        Self::new(Source::Fixed(token.to_owned())).with_known(token)
    }

    /// Reads the token from a file. Spaces and line ends around it do not count.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self::new(Source::File(path.into()))
    }

    /// Takes the token from the first line that a command prints, at most every five minutes. The command may take
    /// 30 s.
    #[must_use]
    pub fn from_command(command: Vec<String>) -> Self {
        Self::new(Source::Command(command))
    }

    /// Asks a callback for the token, before each dial and each attempt. It should keep a token that is valid, and
    /// return a renewed one also for [`CredentialRequest::Use`] from then on.
    #[must_use]
    pub fn from_callback<F, T>(callback: F) -> Self
    where
        F: Fn(CredentialRequest) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Option<String>, CredentialError>> + Send + 'static,
    {
        Self::new(Source::Callback(Box::new(move |request| callback(request).boxed())))
    }

    /// Uses `token` until the source gives another one, and while it gives none.
    #[must_use]
    pub fn with_known(self, token: &str) -> Self {
        self.note(Some(token), None);
        self
    }

    fn new(source: Source) -> Self {
        Self(Arc::new(Inner {
            source,
            known: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            observer: OnceLock::new(),
        }))
    }

    /// Returns whether no token is ever sent.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self.0.source, Source::None)
    }

    /// Returns whether the token may be another one later.
    #[must_use]
    pub fn may_change(&self) -> bool {
        !matches!(self.0.source, Source::None | Source::Fixed(_))
    }

    /// Gives every token to `observer` before it is used, also those known already. Only the first observer counts.
    pub fn observe(&self, observer: impl Fn(&str, Option<TokenCause>) + Send + Sync + 'static) {
        let observer = self.0.observer.get_or_init(|| Box::new(observer));
        self.seen().iter().for_each(|token| observer(token, None));
    }

    /// Returns the newest 256 tokens.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        self.0.known.lock().seen.iter().cloned().collect()
    }

    /// Returns the number of different tokens so far, which changes with each new one.
    #[must_use]
    pub(crate) fn seen_count(&self) -> u64 {
        self.0.known.lock().seen_count
    }

    /// Returns the token to send now; `None` for none.
    ///
    /// # Errors
    /// The source fails, and there is no token from before.
    pub async fn token(&self) -> Result<Option<String>, CredentialError> {
        match &self.0.source {
            Source::None => Ok(None),
            Source::Fixed(token) => Ok(Some(token.clone())),
            Source::Command(_) => {
                if let Some(kept) = self.kept_for(COMMAND_LIFETIME) {
                    return Ok(kept);
                }
                let _turn = self.0.reading.lock().await;
                // Another caller may have read it meanwhile.
                match self.kept_for(COMMAND_LIFETIME) {
                    Some(kept) => Ok(kept),
                    None => self.read(TokenCause::Used).await,
                }
            }
            _ => self.read(TokenCause::Used).await,
        }
    }

    /// Asks the source once more after the backend rejected `rejected`. Returns another token, if there is one.
    pub(crate) async fn refresh(&self, rejected: &str) -> Option<String> {
        let _turn = self.0.reading.lock().await;
        // Another caller may have asked meanwhile.
        let is_other = |token: &String| token != rejected;
        if let Some(newer) = self.current().filter(is_other) {
            return Some(newer);
        }
        self.read(TokenCause::Rejected).await.ok().flatten().filter(is_other)
    }

    /// Asks the source for a new token. Returns whether it is another one than before.
    ///
    /// # Errors
    /// The source fails.
    pub async fn reload(&self) -> Result<bool, CredentialError> {
        let _turn = self.0.reading.lock().await;
        let before = self.current();
        let token = self.read_source(CredentialRequest::Renew).await?;
        self.note(token.as_deref(), Some(TokenCause::Reloaded));
        Ok(token != before)
    }

    fn current(&self) -> Option<String> {
        self.0.known.lock().current.as_ref().and_then(|(token, _)| token.clone())
    }

    fn kept_for(&self, lifetime: Duration) -> Option<Option<String>> {
        let known = self.0.known.lock();
        known.current.as_ref().filter(|(_, at)| at.elapsed() < lifetime).map(|(token, _)| token.clone())
    }

    /// Reads the source, and falls back on the last token.
    async fn read(&self, cause: TokenCause) -> Result<Option<String>, CredentialError> {
        let request = match cause {
            TokenCause::Used => CredentialRequest::Use,
            TokenCause::Rejected | TokenCause::Reloaded => CredentialRequest::Renew,
        };
        match self.read_source(request).await {
            Ok(token) => {
                self.note(token.as_deref(), Some(cause));
                Ok(token)
            }
            Err(error) => self.current().map(Some).ok_or(error),
        }
    }

    async fn read_source(&self, request: CredentialRequest) -> Result<Option<String>, CredentialError> {
        let token = match &self.0.source {
            Source::None => return Ok(None),
            Source::Fixed(token) => return Ok(Some(token.clone())),
            Source::Callback(callback) => return callback(request).await,
            Source::File(path) => read_file(path.clone()).await?,
            Source::Command(command) => run(command).await?,
        };
        let token = token.trim();
        if token.is_empty() {
            return Err(CredentialError("the source of the token gives an empty one".to_owned()));
        }
        Ok(Some(token.to_owned()))
    }

    /// Notes a token, and tells the observer of it if it is new.
    fn note(&self, token: Option<&str>, cause: Option<TokenCause>) {
        let is_new = {
            let mut known = self.0.known.lock();
            #[allow(clippy::disallowed_methods, reason = "tokio's clock is the paused one in tests")]
            let now = Instant::now();
            known.current = Some((token.map(ToOwned::to_owned), now));
            let new = token.filter(|token| !known.seen.iter().any(|seen| seen == token));
            if let Some(token) = new {
                known.seen_count += 1;
                known.seen.push_back(token.to_owned());
                if known.seen.len() > SEEN_MAX {
                    known.seen.pop_front();
                }
            }
            new
        };
        if let (Some(token), Some(observer)) = (is_new, self.0.observer.get()) {
            observer(token, cause);
        }
    }
}

impl fmt::Debug for Credentials {
    /// Shows the kind of the source only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.source {
            Source::None => "no token",
            Source::Fixed(_) => "a fixed token",
            Source::File(_) => "a token of a file",
            Source::Command(_) => "a token of a command",
            Source::Callback(_) => "a token of a callback",
        })
    }
}

async fn read_file(path: PathBuf) -> Result<String, CredentialError> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error| CredentialError(format!("the token's file {shown}: {error}"));
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let mut text = String::new();
    file.take(TOKEN_BYTES_MAX).read_to_string(&mut text).await.map_err(failed)?;
    Ok(text)
}

/// Returns the first line that a command prints. What it prints on stderr is not shown, since it may hold a secret.
async fn run(command: &[String]) -> Result<String, CredentialError> {
    let failed = |what: &str| CredentialError(format!("the token's command {what}"));
    let [program, arguments @ ..] = command else { return Err(failed("is empty")) };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    #[cfg(windows)]
    command.creation_flags(CREATE_NO_WINDOW);
    let mut child =
        command.kill_on_drop(true).spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
    let stdout = child.stdout.take().ok_or_else(|| failed("has no output"))?;
    let output = async {
        let mut text = String::new();
        let read = stdout.take(TOKEN_BYTES_MAX).read_to_string(&mut text).await;
        (read.map(|_| text), child.wait().await)
    };
    match timeout(COMMAND_TIMEOUT, output).await {
        Err(_) => Err(failed("took longer than 30 s")),
        Ok((Ok(text), Ok(status))) if status.success() => {
            Ok(text.lines().next().unwrap_or_default().to_owned())
        }
        Ok((Ok(_), Ok(status))) => Err(failed(&format!("ended with {status}"))),
        Ok((Err(error), _) | (_, Err(error))) => Err(failed(&format!("failed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn counting() -> (Credentials, Arc<Mutex<Vec<CredentialRequest>>>) {
        let requests = Arc::<Mutex<Vec<CredentialRequest>>>::default();
        let (asked, number) = (Arc::clone(&requests), AtomicU32::new(0));
        let credentials = Credentials::from_callback(move |request| {
            asked.lock().push(request);
            let renewed = u32::from(request == CredentialRequest::Renew);
            let number = number.fetch_add(renewed, Ordering::Relaxed) + renewed;
            async move { Ok(Some(format!("token-{number}"))) }
        });
        (credentials, requests)
    }

    #[tokio::test]
    async fn rejected_token_is_renewed_once_for_all_who_sent_it() {
        let (credentials, requests) = counting();
        let old = credentials.token().await.unwrap().unwrap();
        let (first, second) = tokio::join!(credentials.refresh(&old), credentials.refresh(&old));
        assert_eq!((first.as_deref(), second.as_deref()), (Some("token-1"), Some("token-1")));
        assert_eq!(*requests.lock(), [CredentialRequest::Use, CredentialRequest::Renew]);
        assert_eq!(Credentials::fixed("same").refresh("same").await, None);
    }

    #[tokio::test]
    async fn file_is_read_each_time_and_its_last_token_outlives_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let credentials = Credentials::from_file(&path);
        let error = credentials.token().await.unwrap_err().to_string();
        assert!(error.contains("token's file"), "{error}");
        for token in ["one", "two"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(credentials.token().await.unwrap().as_deref(), Some(token));
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(credentials.token().await.unwrap().as_deref(), Some("two"));
        assert!(credentials.reload().await.is_err());
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn command_runs_again_only_when_its_token_was_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs");
        let script = format!("echo x >> {0}; wc -l < {0}; echo noise", path.display());
        let command = ["sh", "-c", &script].map(ToOwned::to_owned).to_vec();
        let credentials = Credentials::from_command(command);
        let first = credentials.token().await.unwrap().unwrap();
        assert_eq!((first.as_str(), credentials.token().await.unwrap().as_deref()), ("1", Some("1")));
        assert_eq!(credentials.refresh(&first).await.as_deref(), Some("2"));
        let failing = Credentials::from_command(vec!["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()]);
        let error = failing.token().await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn observer_gets_every_token_before_it_is_used() {
        let (credentials, _) = counting();
        let seen = Arc::<Mutex<Vec<(String, Option<TokenCause>)>>>::default();
        let observed = Arc::clone(&seen);
        credentials.token().await.unwrap();
        credentials.observe(move |token, cause| observed.lock().push((token.to_owned(), cause)));
        credentials.token().await.unwrap();
        credentials.reload().await.unwrap();
        credentials.refresh("token-1").await.unwrap();
        let noted = |number: u32, cause| (format!("token-{number}"), cause);
        let expected =
            [noted(0, None), noted(1, Some(TokenCause::Reloaded)), noted(2, Some(TokenCause::Rejected))];
        assert_eq!(*seen.lock(), expected);
        assert_eq!(credentials.seen(), ["token-0", "token-1", "token-2"]);
    }
}
