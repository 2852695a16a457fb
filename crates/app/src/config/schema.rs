//! Every section and key of the file. The comments stand in the default file as well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_actors::network::proxy::ProxyChoice;

use super::choice::{AfterFailed, DriverKind, Overflow, ReadyWhen};
use super::parser::address::{base_url, proxy};
use super::parser::collection::{command, environment, folders, headers, headers_env};
use super::parser::quantity::{choice, count, duration, flag, ratio, size};
use super::parser::text::{agent_id, file_or_empty, folder_or_empty, ready, url_path, variable_or_empty};
use super::section::section;

const ZERO: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;

section! {
    /// The backend that all requests, the WebSocket and the agents belong to.
    pub struct BackendConfig in [backend] {
        /// Where it is: `http` or `https`, a host, perhaps a port and a base path; never a user, password or query.
        url: String = "http://localhost:8000", base_url;
        /// Headers that every request and the WebSocket carry; never one that holds a secret, such as `x-api-key`.
        headers: BTreeMap<String, String> = {}, headers;
        /// Headers that hold a secret: of each, the name of an environment variable that holds its value.
        headers_env: BTreeMap<String, String> = {}, headers_env;
        /// The name of an environment variable that holds a bearer token; empty for none.
        token_env: String = "", variable_or_empty;
        /// A file of PEM certificates of private authorities, trusted beside those of the system; empty for none.
        ca_file: PathBuf = "", file_or_empty;
        /// The proxy in between: `system` (what the environment and the system say; none for a backend on this
        /// machine), `none`, or the `http`, `https`, `socks5` or `socks5h` URL of one, without user and password.
        proxy: ProxyChoice = "system", proxy;
        /// The name of an environment variable that holds the URL of the proxy, with user and password; empty for none.
        proxy_env: String = "", variable_or_empty;
        /// The backend's program and its arguments, if the runtime is to start it, restart it as it does agents, and end
        /// it; empty where somebody else does.
        command: Vec<String> = [], command;
        /// The folder that the program starts in; empty for the runtime's own.
        cwd: PathBuf = "", folder_or_empty;
        /// Environment variables of the program, beside those of the runtime.
        env: BTreeMap<String, String> = {}, environment;
        /// When the started program is ready: `none` (at once), `stdout:TEXT` (it prints a line with this text), or
        /// `http:PATH` (it answers there, at its url).
        ready: ReadyWhen = "none", ready;
    }
}

section! {
    /// The WebSocket to the backend: when it is tried again, and when it counts as dead.
    pub struct ConnectionConfig in [connection] {
        /// Its path on the backend.
        path: String = "/ws", url_path;
        /// Attempts in a row after which the connection has failed.
        max_retries: u32 = 5, count(0..=1_000_000);
        /// The shortest wait before a new attempt.
        delay_min: Duration = "1s", duration(MILLISECOND..=DAY);
        /// The longest wait before a new attempt.
        delay_max: Duration = "30s", duration(MILLISECOND..=DAY);
        /// What each attempt multiplies the wait by, from 1 to 100.
        factor: f64 = 2, ratio(1.0..=100.0);
        /// Whether waits are spread at random, so that many clients do not come back at once.
        jitter: bool = true, flag;
        /// How long one attempt may take, the handshake included.
        connect_timeout: Duration = "10s", duration(MILLISECOND..=HOUR);
        /// How often a quiet connection is pinged.
        ping_interval: Duration = "15s", duration(MILLISECOND..=HOUR);
        /// How long the answer to a ping may take before the connection counts as dead.
        ping_timeout: Duration = "10s", duration(MILLISECOND..=HOUR);
        /// Only a connection that lasted this long sets the attempts and the wait back.
        stable_after: Duration = "10s", duration(ZERO..=DAY);
        /// What happens after the last attempt: `wait` for somebody to reconnect, or `probe`, which tries on.
        after_failed: AfterFailed = "wait", choice;
        /// How often `probe` tries.
        probe_interval: Duration = "60s", duration(MILLISECOND..=DAY);
        /// Messages that are kept while there is no connection; further ones are refused.
        outbound_max: usize = 1024, count(1..=1_000_000);
    }
    ordered delay_min <= delay_max;
}

section! {
    /// Requests to the backend: how many at once, in which order, how long, how often again.
    pub struct RequestsConfig in [requests] {
        /// Requests that run at the same time.
        max_concurrent: usize = 5, count(1..=10_000);
        /// Requests that may wait.
        queue_max: usize = 1000, count(1..=1_000_000);
        /// What a full queue does: `reject` the new request, `drop-oldest` or `drop-lowest` (of the lowest priority).
        overflow: Overflow = "reject", choice;
        /// A request that waited this long moves up one priority.
        age_after: Duration = "5s", duration(MILLISECOND..=DAY);
        /// How long one attempt may stand still: until the answer begins, and then between any two parts of it.
        timeout: Duration = "30s", duration(MILLISECOND..=DAY);
        /// How long a request may wait in the queue; an expired one is never sent.
        wait_timeout: Duration = "60s", duration(MILLISECOND..=DAY);
        /// Attempts after the first, for requests that may be repeated.
        retries: u32 = 3, count(0..=100);
        /// The shortest wait before a new attempt.
        retry_delay_min: Duration = "1s", duration(MILLISECOND..=DAY);
        /// The longest wait before a new attempt.
        retry_delay_max: Duration = "30s", duration(MILLISECOND..=DAY);
        /// What each attempt multiplies the wait by, from 1 to 100.
        retry_factor: f64 = 2, ratio(1.0..=100.0);
        /// How many of the recent requests may be retries, in percent; a small reserve comes on top.
        retry_budget: u8 = 20, count(0..=100);
    }
    ordered retry_delay_min <= retry_delay_max;
}

section! {
    /// Answers that are kept.
    pub struct CacheConfig in [cache] {
        /// How long an answer counts as fresh.
        ttl: Duration = "60s", duration(ZERO..=MONTH);
        /// How much is kept, in bytes or as `64MiB`.
        max_bytes: u64 = "64MiB", size(KIB..=64 * GIB);
        /// How long after that a stale answer is served while it is being refreshed.
        stale_for: Duration = "0s", duration(ZERO..=MONTH);
        /// How long a failure is kept.
        negative_ttl: Duration = "1s", duration(ZERO..=DAY);
        /// Folders whose files and searches are kept until something in them changes: absolute, or from the home folder
        /// as in `~/notes`.
        watch: Vec<PathBuf> = [], folders;
        /// How long changes in them are gathered before what they concern is dropped.
        debounce: Duration = "100ms", duration(MILLISECOND..=MINUTE);
    }
}

section! {
    /// How agents are watched and restarted. Each of these keys may stand in an `[[agent]]` too, for it alone.
    pub struct AgentsConfig in [agents] {
        /// How often an agent's health is checked.
        health_interval: Duration = "30s", duration(MILLISECOND..=DAY);
        /// How long a check may take.
        health_timeout: Duration = "5s", duration(MILLISECOND..=HOUR);
        /// Checks missed in a row after which the agent has failed.
        fail_after: u32 = 3, count(1..=1_000);
        /// Checks passed in a row after which the agent is healthy again.
        recover_after: u32 = 1, count(1..=1_000);
        /// How long after a start a missed check means nothing.
        startup_grace: Duration = "30s", duration(ZERO..=DAY);
        /// How long a busy agent may make no progress before it counts as stuck; `0s` for ever.
        progress_timeout: Duration = "0s", duration(ZERO..=DAY);
        /// Restarts within `window` after which the runtime gives up.
        max_restarts: u32 = 5, count(0..=1_000);
        /// The wait before the first restart.
        restart_delay: Duration = "5s", duration(ZERO..=DAY);
        /// The longest wait before a restart.
        restart_delay_max: Duration = "60s", duration(ZERO..=DAY);
        /// The span over which restarts are counted.
        window: Duration = "10m", duration(MILLISECOND..=MONTH);
        /// An agent that stayed healthy this long gets its restarts back.
        stable_after: Duration = "60s", duration(ZERO..=DAY);
    }
    ordered restart_delay <= restart_delay_max;
}

section! {
    /// One agent; the block is there once for each.
    pub struct AgentConfig in [[agent]] {
        /// Its name, its own among all agents: 1 to 64 letters, digits, `-` or `_`.
        id: String = "planner", agent_id;
        /// How it is reached: `http` (the backend's endpoints), `process` (a child process) or `acp` (a child
        /// process that speaks the Agent Client Protocol).
        driver: DriverKind = "http", choice;
        /// The program to start and its arguments, for `process` and `acp`.
        command: Vec<String> = [], command;
        /// The folder that the program starts in; empty for the runtime's own.
        cwd: PathBuf = "", folder_or_empty;
        /// Environment variables of the program, beside those of the runtime.
        env: BTreeMap<String, String> = {}, environment;
        /// When the started program is ready: `none` (at once), `stdout:TEXT` (it prints a line with this text),
        /// `http:PATH` (the backend answers there) or the URL on this machine at which it answers itself, as in
        /// `http://127.0.0.1:9000/health`.
        ready: ReadyWhen = "none", ready;
        /// How much memory the program and what it starts may hold before it is restarted, in bytes or as `512MiB`;
        /// 0 for any amount. For `process`.
        memory_max: u64 = 0, size(0..=1024 * GIB);
    }
    /// How it is watched and restarted: its own keys where it sets them, those of `[agents]` where not.
    inherits upkeep: AgentsConfig;
}

section! {
    /// The record of everything that happened and was decided.
    pub struct JournalConfig in [journal] {
        /// The size at which a new file is begun, in bytes or as `16MiB`.
        segment_bytes: u64 = "16MiB", size(4 * KIB..=4 * GIB);
        /// How many files are kept.
        segments: u32 = 8, count(1..=10_000);
    }
}

section! {
    /// The server for tools and the dashboard, on this machine alone.
    pub struct ControlConfig in [control] {
        /// Its port; 0 for any free one.
        port: u16 = 0, count(0..=65_535);
        /// Whether it serves the dashboard.
        dashboard: bool = true, flag;
    }
}
