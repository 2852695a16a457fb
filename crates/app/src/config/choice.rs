//! Settings that are one of a few names.

/// A setting that is one of a few names.
pub(crate) trait NamedChoice: Copy + 'static {
    /// Every name with what it means.
    const NAMES: &'static [(&'static str, Self)];
}

/// What a connection does once it has `failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterFailed {
    /// It waits for somebody to reconnect it.
    #[default]
    Wait,
    /// It tries on, once every `probe_interval`.
    Probe,
}

impl NamedChoice for AfterFailed {
    const NAMES: &'static [(&'static str, Self)] = &[("wait", Self::Wait), ("probe", Self::Probe)];
}

/// What a full queue does with one more request. Whoever is turned away gets a typed error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The new request is turned away.
    #[default]
    Reject,
    /// The request that has waited longest gives way.
    DropOldest,
    /// The request of the lowest priority gives way.
    DropLowest,
}

impl NamedChoice for Overflow {
    const NAMES: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("drop-oldest", Self::DropOldest), ("drop-lowest", Self::DropLowest)];
}

/// How an agent is reached.
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

/// How one sees that a started agent process is ready.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReadyWhen {
    /// It is ready once it runs.
    #[default]
    None,
    /// It prints a line that contains this text, which is never empty.
    Stdout(String),
    /// The backend answers 2xx on this path, which starts with `/`.
    Http(String),
    /// Something on this machine answers 2xx at this `http` URL, which has a path and no query.
    HttpAt(String),
}
