//! Mainstay keeps a desktop shell tied to its backend, and keeps that backend's agents alive.
//!
//! A shell embeds it with `default-features = false`, starts it, and talks to it through one handle:
//!
//! - [`Mainstay`]: the running tree; [`MainstayBuilder`]: its settings
//! - [`Agents`], [`Connection`], [`Cache`], [`Logs`]: the handles of its parts
//! - [`StatusReport`]: everything in one view; [`Subscription`]: the events as a stream
//! - [`config`]: the configuration file
//! - [`bridge`]: the protocol for user interfaces, the same over every transport
//! - [`events`]: the journal's events as types; [`incidents`]: those that belong together, with their story
//! - [`history`]: the tree and the verdict at any moment of the journal
//! - [`journal`], [`supervision`], [`transport`]: the types of the layers below that an embedder uses
//! - [`DataDir`]: its folder on disk
//! - `control` (feature): the local control server; `backend` (feature): the embedded backend; `cli` (feature): the
//!   binary
//! - `tls-ring`, `tls-aws-lc`, `tls-native` (features): `https` and `wss`, with rustls or with the platform's TLS
//!
//! `tree_builder` alone makes a tree of the configuration.

mod admin_error;
mod agents;
#[cfg(feature = "backend")]
pub mod backend;
pub mod bridge;
mod cache;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod connection;
#[cfg(feature = "control")]
pub mod control;
mod credentials;
mod data_dir;
mod environment;
pub mod events;
#[cfg(debug_assertions)]
mod fault_injection;
pub mod history;
#[cfg(any(feature = "backend", feature = "control"))]
mod http_server;
pub mod incidents;
mod inner;
mod journal_folds;
mod logs;
mod mainstay;
mod owned_backend;
mod placeholders;
mod process_events;
mod readiness;
mod standstill;
mod start_error;
mod status;
mod subscription;
mod suggestion;
mod supervision_report;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "../../../tests/tier.rs"]
mod tier;
mod time_point;
mod tree_builder;
mod tree_place;
mod verdict;

pub use agents::Agents;
pub use agents::messages::{PendingReply, SendOptions};
pub use cache::Cache;
pub use connection::{Connection, Reconnected};
pub use data_dir::{ControlFile, DataDir, DataDirError};
pub use logs::Logs;
pub use mainstay::{Mainstay, MainstayBuilder, StartError};
pub use owned_backend::{OwnedBackend, OwnedBackendReport};
pub use placeholders::MissingPlaceholder;
pub use status::{
    AgentView, CacheReport, ConnectionReport, OutageReport, QueueReport, RuntimeReport, StatusReport,
    StorageReport, StorageState, WatchedFolder,
};
pub use subscription::Subscription;
pub use supervision_report::{ResolvedError, RestartAttempt, RestartBudget, SupervisionReport};
pub use tree_builder::error::BuildError;
pub use verdict::{Finding, Verdict, VerdictAction, VerdictLevel};

pub use mainstay_actors::agent::{
    AgentReport, AgentStatus, AgentUpdate, MessageId, OpenQuestion, ProcessUsage, QuestionOutcome,
    UpdateEvent, UpdateKind, UpdateSubscription,
};
pub use mainstay_actors::broadcast::BroadcastSubscription;
pub use mainstay_actors::cache::key::KeyError;
pub use mainstay_actors::cache::watch::{FileChange, FileChangeKind, FileEvent, FileSubscription, RootError};
pub use mainstay_actors::cache::{
    CacheStats, EntryOptions, Pattern, PatternError, Selection, WriteRequest, WriteRule,
};
pub use mainstay_actors::connection::error::{ConnectionError, ConnectionErrorKind};
pub use mainstay_actors::connection::frame::Frame;
pub use mainstay_actors::connection::inbound::{FrameSubscription, Inbound};
pub use mainstay_actors::connection::outbound::{SendFailure, SendOutcome};
pub use mainstay_actors::connection::resumption::Gap;
pub use mainstay_actors::connection::status::{ConnectionState, ConnectionStatus, StatusReason};
pub use mainstay_actors::connection::target::TargetError;
pub use mainstay_actors::credentials::{CredentialError, CredentialRequest, Credentials, TokenCause};
pub use mainstay_actors::error::{Code, Error, Reason};
pub use mainstay_actors::json::Json;
pub use mainstay_actors::logs::{LogItem, LogLine, LogRange, LogReader, LogStream, LogSubscription};
pub use mainstay_actors::network::BackendAvailability;
pub use mainstay_actors::process::OpenError;
pub use mainstay_actors::queue::gate::Outage;
pub use mainstay_actors::queue::{
    Download, GroupStats, LatencyByPriority, LatencyFigures, LatencySpan, PendingPhase, PendingRequest,
    QueueStats, RequestLatency, WaitingByPriority,
};
pub use mainstay_actors::request::{
    Body, BodyError, BodyReader, Priority, ProgressSender, Request, RequestBuilder, RequestId, Response,
    TransferProgress,
};

pub use mainstay_runtime::clock::WallTime;
#[cfg(feature = "typescript")]
pub use mainstay_runtime::typescript;

/// The journal: its events, cursors and readers.
pub mod journal {
    pub use mainstay_runtime::journal::{
        Cursor, Delivery, Entry, Event, Journal, JournalError, JournalLoss, JournalOptions,
        JournalSubscription, KnownSecrets, Level, LineError, ParseCursorError, Reader, Record, Redaction,
        RunInterrupted, Timeline,
    };
    pub use mainstay_runtime::replay;
}

/// The supervision tree, to which an embedder adds actors of its own.
pub mod supervision {
    pub use mainstay_runtime::clock::{Clock, SystemClock};
    pub use mainstay_runtime::policy::{
        AbandonedPolicy, AutoShutdown, Budget, ChildPolicy, Delay, ExitCause, OnBudgetExhausted, PolicyError,
        RestartType, Shutdown, StopOrder, Strategy, SupervisorPolicy,
    };
    pub use mainstay_runtime::state::{
        DamagedState, Durable, FlushError, FlushFuture, MemoryStore, PendingSnapshot, QuarantinedState,
        RedbConfig, RedbStore, StateStore, StoreError, StoredState,
    };
    pub use mainstay_runtime::{
        ActorInfo, ActorKind, ActorPath, ActorStatus, Address, AdminError, CallError, Child, ChildCounts,
        Context, Declined, Failure, FinalizeContext, InvalidName, Message, Promise, Reply, RuntimeExit,
        RuntimeStartError, SendError, SendErrorKind, SpecError, SupervisorHandle, SupervisorSpec, TaskHandle,
        Timer, TreeNode, UnrecoverableFailure, Worker,
    };
}

/// The transport below the queue, which an embedder can replace.
pub mod transport {
    pub use mainstay_actors::error::Secrets;
    pub use mainstay_actors::network::Route;
    pub use mainstay_actors::network::proxy::{
        Proxy, ProxyChoice, ProxyScheme, ProxyUrlError, ProxyVariables, SystemProxies, UnsupportedProxy,
    };
    #[cfg(not(feature = "_tls"))]
    pub use mainstay_actors::network::tls::NoTls;
    #[cfg(feature = "_tls")]
    pub use mainstay_actors::network::tls::{CaErrorKind, TlsError, TlsSettings};
    pub use mainstay_actors::network::tls::{CaFileError, TlsTrust};
    pub use mainstay_actors::network::urls::{BaseUrl, BaseUrlError};
    pub use mainstay_actors::transport::{
        FailureKind, FullResponse, HttpSettings, HttpTransport, ResponseBody, ResponseHead, SendProgress,
        StreamingResponse, Transport, TransportError,
    };
}

/// Compiles the Rust snippets of the README and of docs/ with the documentation's tests.
#[cfg(doctest)]
mod snippets {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/embedding.md")]
    struct Embedding;
    #[doc = include_str!("../../../docs/connection.md")]
    struct ConnectionPage;
    #[doc = include_str!("../../../docs/cache.md")]
    struct CachePage;
}
