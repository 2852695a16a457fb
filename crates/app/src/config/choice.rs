//! Settings with a fixed set of names.

use mainstay_actors::connection::policy::AfterFailed;
use mainstay_actors::network::urls::BaseUrl;
use mainstay_actors::queue::Overflow;

/// A setting with a fixed set of names.
pub(crate) trait NamedChoice: Copy + 'static {
    /// Every name with its meaning.
    const NAMES: &'static [(&'static str, Self)];
}

impl NamedChoice for AfterFailed {
    const NAMES: &'static [(&'static str, Self)] = &[("wait", Self::Wait), ("probe", Self::Probe)];
}

impl NamedChoice for Overflow {
    const NAMES: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("drop-oldest", Self::DropOldest), ("drop-lowest", Self::DropLowest)];
}

/// The way to reach an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriverKind {
    /// Through the backend's health and restart endpoints.
    #[default]
    Http,
    /// As a child process that the runtime starts and stops.
    Process,
    /// As a child process that speaks the Agent Client Protocol on stdin and stdout.
    Acp,
}

impl NamedChoice for DriverKind {
    const NAMES: &'static [(&'static str, Self)] =
        &[("http", Self::Http), ("process", Self::Process), ("acp", Self::Acp)];
}

/// The sign of life that a check asks a running program for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HealthSource {
    /// The process itself.
    #[default]
    None,
    /// An answer to a ping over its conversation.
    Ping,
    /// The backend answers 2xx on this path, which starts with `/`.
    Http(String),
    /// A server on this computer answers 2xx at this `http` URL.
    HttpAt(BaseUrl),
}

/// The sign that a started process is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReadyWhen {
    /// The start itself.
    #[default]
    None,
    /// The backend accepts connections at its address.
    Listening,
    /// A line that contains this text, which is never empty.
    Stdout(String),
    /// The backend answers 2xx on this path, which starts with `/`.
    Http(String),
    /// A server on this computer answers 2xx at this `http` URL.
    HttpAt(BaseUrl),
}

impl ReadyWhen {
    /// Returns the sign as the rest of "it is ready when".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "it runs".to_owned(),
            Self::Listening => "it accepts connections".to_owned(),
            Self::Stdout(text) => format!("it prints {text:?}"),
            Self::Http(path) => format!("it answers 2xx at {path}"),
            Self::HttpAt(url) => format!("{url} answers 2xx"),
        }
    }
}
