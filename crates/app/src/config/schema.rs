//! Every section and key of the file. The comments stand in the default file as well.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_actors::connection::policy::AfterFailed;
use mainstay_actors::network::proxy::ProxyChoice;
use mainstay_actors::queue::Overflow;

use super::choice::{DriverKind, HealthSource, ReadyWhen};
use super::parser::address::{base_url, proxy};
use super::parser::collection::{command, environment, folders, headers, headers_env, subprotocols};
use super::parser::quantity::{choice, count, duration, flag, ratio, size};
use super::parser::text::{
    agent_id, backend_ready, file_or_empty, folder_or_empty, health, path_glob, query_name_or_empty, ready,
    url_path, variable_or_empty,
};
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
    /// The backend that requests, the WebSocket and the agents use.
    pub struct BackendConfig in [backend] {
        /// The base URL: `http` or `https`, a host, and optionally a port and a base path; no user, password or query. With
        /// `auto`, each start of `command` gets a free port on this computer and a new secret.
        url: String = "http://localhost:8000", base_url;
        /// Headers of every request and of the WebSocket; none that holds a secret, such as `x-api-key`.
        headers: BTreeMap<String, String> = {}, headers;
        /// Headers that hold a secret: for each, the environment variable that holds its value.
        headers_env: BTreeMap<String, String> = {}, headers_env;
        /// The environment variable that holds a bearer token; empty for none. A token may change at any time.
        token_env: String = "", variable_or_empty;
        /// The file that holds a bearer token, read for each dial and each attempt; empty for none.
        token_file: PathBuf = "", file_or_empty;
        /// The command that prints a bearer token, run at most every 5 minutes and after a 401; empty for none.
        token_command: Vec<String> = [], command;
        /// A PEM file of private authorities, trusted beside those of the system; empty for none.
        ca_file: PathBuf = "", file_or_empty;
        /// The proxy: `system` (that of the environment or the system; none for a backend on this computer), `none`, or
        /// an `http`, `https`, `socks5` or `socks5h` URL without user and password.
        proxy: ProxyChoice = "system", proxy;
        /// The environment variable that holds the URL of the proxy, with user and password; empty for none.
        proxy_env: String = "", variable_or_empty;
        /// The backend's program and its arguments, if the runtime starts, restarts and ends the backend; else empty. In
        /// `command`, `env` and `ready`, `{port}`, `{url}`, `{token}` and `{data_dir}` stand for their values. With a `url` of
        /// `auto`, the secret stands in the variable `MAINSTAY_TOKEN` as well.
        command: Vec<String> = [], command;
        /// The folder that the program starts in; empty for the runtime's own.
        cwd: PathBuf = "", folder_or_empty;
        /// Environment variables of the program, in addition to those of the runtime.
        env: BTreeMap<String, String> = {}, environment;
        /// Takes `PATH` for every program that the runtime starts from the user's login shell, on macOS and Linux: for a
        /// shell that is started from a desktop.
        login_env: bool = false, flag;
        /// The longest time that the started program may take until it is ready; then it is ended and started again.
        ready_within: Duration = "2m", duration(MILLISECOND..=DAY);
        /// The sign that the started program is ready: `listening` (`url` accepts connections), `none` (at once),
        /// `stdout:TEXT` (a line of output with this text), or `http:PATH` (a 2xx answer at this path of `url`).
        /// With a `url` of `auto`, `none` is as `listening`, and `{url}` in the text stands for the URL that the program
        /// itself has chosen.
        ready: ReadyWhen = "listening", backend_ready;
    }
}

section! {
    /// The WebSocket to the backend: its dials, its limits, and how a dead one is noticed.
    pub struct ConnectionConfig in [connection] {
        /// False for a backend without a WebSocket: nothing is dialled, and nothing waits for it.
        enabled: bool = true, flag;
        /// The WebSocket's path on the backend.
        path: String = "/ws", url_path;
        /// The subprotocols to offer, the preferred one first.
        subprotocols: Vec<String> = [], subprotocols;
        /// The query parameter that carries the token, as in `token`; empty for a header.
        token_query: String = "", query_name_or_empty;
        /// The number of failed attempts in a row after which the connection has failed.
        max_retries: u32 = 5, count(0..=1_000_000);
        /// The shortest delay before a new attempt.
        delay_min: Duration = "1s", duration(MILLISECOND..=DAY);
        /// The longest delay before a new attempt.
        delay_max: Duration = "30s", duration(MILLISECOND..=DAY);
        /// The factor by which each attempt multiplies the delay, from 1 to 100.
        factor: f64 = 2, ratio(1.0..=100.0);
        /// Spreads delays at random, so that many clients do not return at once.
        jitter: bool = true, flag;
        /// The longest duration of one attempt, the handshake included.
        connect_timeout: Duration = "10s", duration(MILLISECOND..=HOUR);
        /// The interval of pings on a quiet connection.
        ping_interval: Duration = "15s", duration(MILLISECOND..=HOUR);
        /// The longest wait for the answer to a ping; after it the connection is dead.
        ping_timeout: Duration = "10s", duration(MILLISECOND..=HOUR);
        /// A connection that lasted this long resets the attempts and the delay.
        stable_after: Duration = "10s", duration(ZERO..=DAY);
        /// The behaviour after the last attempt: go on slowly with `probe`, or `wait` for a command or a hint.
        after_failed: AfterFailed = "probe", choice;
        /// The time before the first dial of `probe`; it doubles with each, up to 10 minutes.
        probe_interval: Duration = "60s", duration(MILLISECOND..=DAY);
        /// The most messages that wait for a connection; further ones are rejected.
        outbound_max: usize = 1024, count(1..=1_000_000);
    }
    ordered delay_min <= delay_max;
}

section! {
    /// Requests to the backend: limits, order, timeouts and retries.
    pub struct RequestsConfig in [requests] {
        /// The most requests that run at the same time. From 2 on, slow requests to one path (a second or longer) leave
        /// their places to other paths. So a path that hangs does not hold the others.
        max_concurrent: usize = 5, count(1..=10_000);
        /// The most requests that wait.
        queue_max: usize = 1000, count(1..=1_000_000);
        /// The behaviour of a full queue: `reject` the new request, `drop-oldest` or `drop-lowest` (of the lowest
        /// priority).
        overflow: Overflow = "reject", choice;
        /// A request that waited this long moves up one priority.
        age_after: Duration = "5s", duration(MILLISECOND..=DAY);
        /// The longest time without progress in one attempt: until the response begins, and then between two parts of
        /// it.
        timeout: Duration = "30s", duration(MILLISECOND..=DAY);
        /// The longest wait in the queue; an expired request is never sent.
        wait_timeout: Duration = "60s", duration(MILLISECOND..=DAY);
        /// The longest time in all, from the acceptance to the end of the response; `0s` for no limit.
        deadline: Duration = "0s", duration(ZERO..=DAY);
        /// The number of retries, for requests that may be repeated.
        retries: u32 = 3, count(0..=100);
        /// The shortest delay before a retry.
        retry_delay_min: Duration = "1s", duration(MILLISECOND..=DAY);
        /// The longest delay before a retry.
        retry_delay_max: Duration = "30s", duration(MILLISECOND..=DAY);
        /// The factor by which each retry multiplies the delay, from 1 to 100.
        retry_factor: f64 = 2, ratio(1.0..=100.0);
        /// The largest share of retries among recent requests, in percent; a small reserve comes on top.
        retry_budget: u8 = 20, count(0..=100);
        /// The deaths of the backend over one request after which that is quarantined, whatever retries are left.
        quarantine_after: u32 = 2, count(1..=10);
    }
    ordered retry_delay_min <= retry_delay_max;
}

section! {
    /// A limit for a group of requests, beside `max_concurrent`; the block is repeated for each group.
    pub struct LimitConfig in [[limit]] {
        /// The paths of the group, without the query: `*` and `?` match text without `/`, and `**` matches any text.
        path: String = "/api/model/**", path_glob;
        /// The most of these requests that run at the same time; the others wait, and hold no other request.
        max_concurrent: usize = 2, count(1..=10_000);
    }
}

section! {
    /// The cache of values and responses.
    pub struct CacheConfig in [cache] {
        /// The time for which a value is fresh.
        ttl: Duration = "60s", duration(ZERO..=MONTH);
        /// The most bytes that it keeps, as a number or as `64MiB`.
        max_bytes: u64 = "64MiB", size(KIB..=64 * GIB);
        /// The time after that in which a stale value is served while it is refreshed.
        stale_for: Duration = "0s", duration(ZERO..=MONTH);
        /// The time for which a failure is kept.
        negative_ttl: Duration = "1s", duration(ZERO..=DAY);
        /// Folders whose files and searches are cached until they change: absolute, or from the home folder, as in
        /// `~/notes`.
        watch: Vec<PathBuf> = [], folders;
        /// The time in which changes are collected before entries are dropped.
        debounce: Duration = "100ms", duration(MILLISECOND..=MINUTE);
    }
}

section! {
    /// The supervision of agents. An `[[agent]]` may set each of these keys for itself.
    pub struct AgentsConfig in [agents] {
        /// The interval of health checks.
        health_interval: Duration = "30s", duration(MILLISECOND..=DAY);
        /// The longest duration of a check.
        health_timeout: Duration = "5s", duration(MILLISECOND..=HOUR);
        /// Checks missed in a row after which the agent has failed.
        fail_after: u32 = 3, count(1..=1_000);
        /// Checks passed in a row after which the agent is healthy again.
        recover_after: u32 = 1, count(1..=1_000);
        /// The least uptime of a started program that counts as healthy. One that dies while it loads its modules is
        /// never shown as healthy then. For `process` and `acp`.
        min_uptime: Duration = "1s", duration(ZERO..=HOUR);
        /// The time after a start in which missed checks do not count.
        startup_grace: Duration = "30s", duration(ZERO..=DAY);
        /// The longest time without progress of a busy agent before it counts as stuck; `0s` for no limit.
        progress_timeout: Duration = "0s", duration(ZERO..=DAY);
        /// The deaths of the agent or the backend over one message after which that is quarantined. After as many deaths
        /// of the backend over checks in a row, the checks pause: for 8 intervals, and twice as long after each more.
        quarantine_after: u32 = 2, count(1..=10);
        /// The most restarts within `window`; after them the agent is given up.
        max_restarts: u32 = 5, count(0..=1_000);
        /// The delay before the first restart.
        restart_delay: Duration = "5s", duration(ZERO..=DAY);
        /// The longest delay before a restart.
        restart_delay_max: Duration = "60s", duration(ZERO..=DAY);
        /// The time for which a restart counts.
        window: Duration = "10m", duration(MILLISECOND..=MONTH);
        /// An agent that stayed healthy this long has its whole budget again.
        stable_after: Duration = "60s", duration(ZERO..=DAY);
    }
    ordered restart_delay <= restart_delay_max;
    overridden by AgentOverrides, restart_delay <= restart_delay_max;
}

section! {
    /// An agent; the block is repeated for each.
    pub struct AgentConfig in [[agent]] {
        /// The agent's name, unique among all: 1 to 64 letters, digits, `-` or `_`.
        id: String = "planner", agent_id;
        /// The way to reach it: `http` (the backend's endpoints), `process` (a child process) or `acp` (a child
        /// process that speaks the Agent Client Protocol).
        driver: DriverKind = "http", choice;
        /// The program to start and its arguments, for `process` and `acp`.
        command: Vec<String> = [], command;
        /// The folder that the program starts in; empty for the runtime's own.
        cwd: PathBuf = "", folder_or_empty;
        /// Environment variables of the program, in addition to those of the runtime.
        env: BTreeMap<String, String> = {}, environment;
        /// The sign that the started program is ready: `none` (at once), `stdout:TEXT` (a line of output with this text),
        /// `http:PATH` (a 2xx answer of the backend), or a URL of this computer (`http://127.0.0.1:9000/health`).
        ready: ReadyWhen = "none", ready;
        /// The sign of life that each check asks a running program for: `none`, `ping` (a line that it answers, for
        /// `process`), `http:PATH` (a 2xx answer of the backend), or a URL of the program on this computer.
        health: HealthSource = "none", health;
        /// The most memory that the program and its children may use before a restart, in bytes or as `512MiB`; 0 for
        /// no limit. For `process` and `acp`.
        memory_max: u64 = 0, size(0..=1024 * GIB);
        /// The lines in a row that are no messages after which an agent has failed; 0 for no limit. For `acp`.
        stray_lines_max: usize = 10_000, count(0..=1_000_000_000);
    }
    /// The agent's supervision, where it differs from `[agents]`.
    overrides supervision: AgentOverrides;
}

section! {
    /// The journal: the record of all events.
    pub struct JournalConfig in [journal] {
        /// The size at which a new file begins, in bytes or as `16MiB`.
        segment_bytes: u64 = "16MiB", size(4 * KIB..=4 * GIB);
        /// The number of files that are kept.
        segments: u32 = 8, count(1..=10_000);
    }
}

section! {
    /// The logs: what the backend and the agents print.
    pub struct LogsConfig in [logs] {
        /// The size at which a new file of a log begins, in bytes or as `8MiB`.
        file_bytes: u64 = "8MiB", size(64 * KIB..=GIB);
        /// The most files of one log, the one that is written to included.
        files: u32 = 4, count(2..=1_000);
        /// The lines in a second that a log takes of stdout for any time, and as many of stderr; ten times as many may
        /// come at once. Of more, lines are left out.
        lines_per_second: u32 = 1000, count(1..=1_000_000);
        /// The bytes in a second that a log takes of each for any time, as a number or as `256KiB`.
        bytes_per_second: u64 = "256KiB", size(KIB..=GIB);
    }
}

section! {
    /// The control server for tools and the dashboard, on this computer only.
    pub struct ControlConfig in [control] {
        /// The server's port; 0 for that of the last run, or any free one.
        port: u16 = 0, count(0..=65_535);
        /// Serves the dashboard.
        dashboard: bool = true, flag;
    }
}
