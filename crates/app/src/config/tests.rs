use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::Write as _;
use std::time::Duration;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

/// The lines of everything that is wrong with a text.
fn check(text: &str, expected: &Expect) {
    expected.assert_eq(&Config::from_toml(text).unwrap_err().to_string());
}

/// The default file with its commented-out examples put into force.
fn default_with_examples() -> String {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    DEFAULT_TOML.lines().map(uncommented).collect()
}

fn config_with_examples() -> Config {
    Config { agent: vec![AgentConfig::default()], limit: vec![LimitConfig::default()], ..Config::default() }
}

#[test]
fn limit_needs_a_pattern_of_paths() {
    let text = "[[limit]]\npath = \"/a/**\"\nmax_concurrent = 1\n[[limit]]\nmax_concurrent = 3\n";
    check(text, &expect![[r#"4:1: "limit[1]" needs a path of its own, as in path = "/api/model/**""#]]);
    let text = "[[limit]]\npath = \"/a\"\n[[limit]]\npath = \"/a\"\n";
    check(text, &expect![[r#"4:8: "limit[1].path" repeats that of an earlier limit; keep one of the two"#]]);
    let text = "[[limit]]\npath = \"a\"\n[[limit]]\npath = \"/[\"\nmax_concurrent = 0\n";
    check(
        text,
        &expect![[r#"
            2:8: "limit[0].path" must start with "/"
            4:8: "limit[1].path" must be a pattern of paths: "/[" is no pattern for keys: unclosed character class; missing ']'
            5:18: "limit[1].max_concurrent" must be from 1 to 10000"#]],
    );
}

// === The default ===

#[test]
fn default_file_reads_as_the_default() {
    assert_eq!(Config::from_toml(&DEFAULT_TOML), Ok(Config::default()));
    assert_eq!(Config::from_toml(""), Ok(Config::default()));
}

#[test]
fn default_file_with_its_examples_has_their_defaults() {
    assert_eq!(Config::from_toml(&default_with_examples()), Ok(config_with_examples()));
}

#[test]
fn every_key_stands_in_the_default_file_below_a_comment() {
    let config = config_with_examples();
    let debug = format!("{config:#?}");
    let fields: BTreeSet<&str> =
        debug.lines().filter_map(|line| line.trim().split_once(": ")).map(|(field, _)| field).collect();
    assert!(fields.contains("delay_min") && fields.contains("cwd"), "{fields:?}");
    let file = default_with_examples();
    let lines: Vec<&str> = file.lines().collect();
    // `supervision` is the keys of [agents], which every agent may set.
    for field in fields.into_iter().filter(|field| *field != "supervision") {
        let begins = [format!("{field} = "), format!("[{field}]"), format!("[[{field}]]")];
        let line = lines.iter().position(|line| begins.iter().any(|begin| line.starts_with(begin.as_str())));
        let line = line.unwrap_or_else(|| panic!("{field} is missing"));
        assert!(lines[line - 1].starts_with("# "), "{field} has no comment");
    }
}

#[test]
fn default_file_is_plain_text_of_a_readable_width() {
    for line in DEFAULT_TOML.lines() {
        assert!(line.chars().count() <= 120 && !line.contains('`') && !line.ends_with(' '), "{line}");
    }
}

// === Reading ===

#[test]
fn keys_that_are_set_replace_the_default_and_no_other() {
    let config = Config::from_toml(
        r#"
        cache.ttl = "2m"
        [connection]
        factor = 1.5
        after_failed = "probe"
        [requests]
        overflow = "drop-lowest"
        [backend]
        url = "https://example.com/base"
        headers = { X-Client = "desktop" }
        headers_env = { X-Api-Key = "BACKEND_KEY" }
        token_env = "BACKEND_TOKEN"
        ca_file = "ca.pem"
        proxy = "socks5h://127.0.0.1:9050"
        [journal]
        segment_bytes = 65536
        "#,
    )
    .unwrap();
    let mut expected = Config::default();
    expected.cache.ttl = Duration::from_secs(120);
    expected.connection.factor = 1.5;
    expected.connection.after_failed = AfterFailed::Probe;
    expected.requests.overflow = Overflow::DropLowest;
    expected.backend.url = "https://example.com/base".to_owned();
    expected.backend.headers.insert("x-client".to_owned(), "desktop".to_owned());
    expected.backend.headers_env.insert("x-api-key".to_owned(), "BACKEND_KEY".to_owned());
    expected.backend.token_env = "BACKEND_TOKEN".to_owned();
    expected.backend.ca_file = "ca.pem".into();
    expected.backend.proxy = ProxyChoice::Explicit(Proxy::parse("socks5h://127.0.0.1:9050").unwrap());
    expected.journal.segment_bytes = 65_536;
    assert_eq!(config, expected);
}

#[test]
fn agent_inherits_what_it_does_not_set_itself() {
    let config = Config::from_toml(
        r#"
        [[agent]]
        id = "plain"

        [[agent]]
        id = "own"
        driver = "process"
        command = ["own", "--stdio"]
        ready = "stdout:ready"
        health_interval = "1s"
        max_restarts = 0
        [agent.env]
        LEVEL = "debug"

        [agents]
        health_interval = "10s"
        fail_after = 7
        "#,
    )
    .unwrap();
    let [plain, own] = config.agent.as_slice() else { panic!("not two agents") };
    assert_eq!(plain.supervision, AgentOverrides::default());
    assert_eq!(plain.supervision.over(&config.agents), config.agents);
    assert_eq!(config.agents.health_interval, Duration::from_secs(10));
    assert_eq!((plain.driver, &plain.ready), (DriverKind::Http, &ReadyWhen::None));

    let expected = AgentsConfig {
        health_interval: Duration::from_secs(1),
        max_restarts: 0,
        fail_after: 7,
        ..AgentsConfig::default()
    };
    assert_eq!(own.supervision.over(&config.agents), expected);
    assert_eq!((own.driver, &own.ready), (DriverKind::Process, &ReadyWhen::Stdout("ready".to_owned())));
    assert_eq!(own.command, ["own", "--stdio"]);
    assert_eq!(own.env["LEVEL"], "debug");
}

// === Errors ===

#[test]
fn all_problems_of_a_file_are_reported_in_its_order() {
    check(
        r#"
[connection]
max_retires = 5
delay_min = "soon"
factor = 0.5
jitter = "yes"

[requests]
overflow = "drop"
retries = -1
timeout = "0s"

[cache]
max_bytes = "64MB"

[backend]
url = "localhost:8000"

[agents]
health_intervall = "1s"
"#,
        &expect![[r#"
            3:1: unknown key "connection.max_retires"; did you mean "max_retries"?
            4:13: "connection.delay_min" cannot be read: a duration is a whole number and a unit (ms, s, m or h), as in "250ms", "30s", "5m" or "2h"
            5:10: "connection.factor" must be from 1 to 100
            6:10: "connection.jitter" must be true or false, not a string
            9:12: "requests.overflow" must be "reject", "drop-oldest" or "drop-lowest"
            10:11: "requests.retries" must be from 0 to 100
            11:11: "requests.timeout" must be from "1ms" to "24h"
            14:13: "cache.max_bytes" cannot be read: a size is a whole number of bytes, or a whole number and KiB, MiB or GiB, as in "512KiB" or "64MiB"
            17:7: "backend.url" must start with "http://" or "https://"
            20:1: unknown key "agents.health_intervall"; did you mean "health_interval"?"#]],
    );
}

#[test]
fn unknown_key_suggests_nearest_or_lists_valid_keys() {
    check(
        r#"
conection.path = "/ws"
[journal]
segment-bytes = 1
folder = "x"
[agents]
id = "planner"
[[agent]]
id = "planner"
max_restart = 5
[agent.environment]
"#,
        &expect![[r#"
            2:1: unknown key "conection"; did you mean "connection"?
            4:1: unknown key "journal.segment-bytes"; did you mean "segment_bytes"?
            5:1: unknown key "journal.folder"; valid keys are "segment_bytes" and "segments"
            7:1: unknown key "agents.id"; valid keys are "health_interval", "health_timeout", "fail_after", "recover_after", "min_uptime", "startup_grace", "progress_timeout", "quarantine_after", "max_restarts", "restart_delay", "restart_delay_max", "window" and "stable_after"
            10:1: unknown key "agent[0].max_restart"; did you mean "max_restarts"?
            11:8: unknown key "agent[0].environment"; valid keys are "id", "driver", "command", "cwd", "env", "ready", "health", "memory_max", "stray_lines_max", "health_interval", "health_timeout", "fail_after", "recover_after", "min_uptime", "startup_grace", "progress_timeout", "quarantine_after", "max_restarts", "restart_delay", "restart_delay_max", "window" and "stable_after""#]],
    );
}

#[test]
fn two_durations_must_not_cross() {
    check(
        r#"
connection.delay_min = "1m"
requests.retry_delay_max = "500ms"
agents = { restart_delay = "20s", restart_delay_max = "10s" }
agent = [{ id = "a", restart_delay_max = "1s" }]
"#,
        &expect![[r#"
            2:24: "connection.delay_min" must not be longer than "delay_max", which is "30s"
            3:28: "requests.retry_delay_max" must not be shorter than "retry_delay_min", which is "1s"
            4:28: "agents.restart_delay" must not be longer than "restart_delay_max", which is "10s"
            5:42: "agent[0].restart_delay_max" must not be shorter than "restart_delay", which is "20s""#]],
    );
    // A wrong duration is not compared.
    check(
        "connection = { delay_min = \"1m\", delay_max = \"x\" }",
        &expect![[
            r#"1:46: "connection.delay_max" cannot be read: a duration is a whole number and a unit (ms, s, m or h), as in "250ms", "30s", "5m" or "2h""#
        ]],
    );
}

#[test]
fn agent_needs_an_id_of_its_own_and_what_its_driver_needs() {
    check(
        r#"
agent = [
    { id = "planner" },
    { id = "coder" },
    { driver = "http", id = "planner" },
    {},
    { id = "" },
    { id = "" },
    { id = "a", command = ["sh"] },
    { id = "b", driver = "http", command = [] },
    { id = "c", driver = "process" },
    { id = "d", driver = "acp", command = [] },
    { id = "e", driver = "process", command = "c --stdio" },
    { id = "f", driver = "acp", command = ["a"], ready = "stdout:up" },
    { id = "g", driver = "acp", command = ["b"], ready = "none" },
    { id = "h", health = "ping" },
    { id = "i", driver = "acp", command = ["b"], health = "ping" },
    { id = "j", driver = "acp", command = ["b"], health = "http:/health" },
    { id = "k", driver = "process", command = ["b"], health = "ping" },
    { id = "l", health = "none" },
]
"#,
        &expect![[r#"
            5:29: "agent[2].id" on line 5 repeats that of line 3; every agent needs an id of its own
            6:5: "agent[3]" needs an id of its own, as in id = "planner"
            7:12: "agent[4].id" must be 1 to 64 letters (a-z, A-Z), digits, "-" or "_"
            8:12: "agent[5].id" must be 1 to 64 letters (a-z, A-Z), digits, "-" or "_"
            9:27: "agent[6].command" is for an agent that is a program of its own: say so by driver = "process" or driver = "acp", or take it out
            11:26: "agent[8].command" must name the program that this driver starts, as in ["planner", "--stdio"]
            12:43: "agent[9].command" must name the program that this driver starts, as in ["planner", "--stdio"]
            13:47: "agent[10].command" must be a list with a program and its arguments, as in ["planner", "--stdio"], not a string
            14:58: "agent[11].ready" must not wait for a line where the driver is "acp", which sees by itself when the agent is ready
            16:26: "agent[13].health" is for an agent that is a program of its own; an agent behind the backend has its health there
            17:59: "agent[14].health" must not be "ping" where the driver is "acp", which has no ping"#]],
    );
}

#[test]
fn conflicting_backend_keys_are_refused() {
    check(
        r#"
[backend]
headers = { x-client = "desktop" }
token_env = "TOKEN"
proxy = "none"
proxy_env = "PROXY"
[backend.headers_env]
X-Client = "CLIENT"
Authorization = "LOGIN"
x-api-key = "KEY"
"#,
        &expect![[r#"
            6:13: "backend.proxy_env" names a proxy, and "proxy" is set as well: keep one of the two
            8:1: "backend.headers_env.X-Client" stands in "headers" as well: keep one of the two
            9:1: "backend.headers_env.Authorization" is what "token_env" sets as well: keep one of the two"#]],
    );
    let apart = "backend = { proxy = \"system\", proxy_env = \"PROXY\", headers_env = { authorization = \"LOGIN\" } }";
    Config::from_toml(apart).unwrap();
}

#[test]
fn section_of_the_wrong_shape_names_its_header() {
    check(
        "cache = 5\ncontrol = [1]\nagent = { id = \"a\" }",
        &expect![[r#"
        1:9: "cache" must be a table, begun by a line [cache], not an integer
        2:11: "control" must be a table, begun by a line [control], not a list
        3:9: "agent" must be a list of tables, each begun by a line [[agent]], not a table"#]],
    );
    check(
        "agent = [1, { id = \"a\" }]",
        &expect![[r#"1:10: "agent[0]" must be a table, begun by a line [[agent]], not an integer"#]],
    );
    check(
        "[agent]\nid = \"a\"\n[[agents]]\n",
        &expect![[r#"
        1:1: "agent" must be a list of tables, each begun by a line [[agent]], not a table
        3:1: "agents" must be a table, begun by a line [agents], not a list"#]],
    );
}

#[test]
fn more_agents_than_the_limit_are_refused() {
    let agents: String = (0..=AGENTS_MAX).map(|index| format!("[[agent]]\nid = \"a{index}\"\n")).collect();
    check(&agents, &expect![[r#"20001:1: "agent" must not have more than 10000 entries"#]]);
}

#[test]
fn max_agents_are_read_and_repeated_id_names_both_lines() {
    let last = AGENTS_MAX - 1;
    let agents = |repeated: usize| -> String {
        let id = |index| if index == last { repeated } else { index };
        (0..=last).map(|index| format!("[[agent]]\nid = \"a{}\"\n", id(index))).collect()
    };
    assert_eq!(Config::from_toml(&agents(last)).unwrap().agent.len(), AGENTS_MAX);
    check(
        &agents(1),
        &expect![[
            r#"20000:6: "agent[9999].id" on line 20000 repeats that of line 4; every agent needs an id of its own"#
        ]],
    );
}

// === One agent by itself ===

fn agent_of(json: serde_json::Value) -> Result<AgentConfig, String> {
    let usual = AgentsConfig {
        max_restarts: 9,
        restart_delay_max: Duration::from_secs(600),
        ..AgentsConfig::default()
    };
    AgentConfig::from_json(&json, &usual).map_err(|error| error.to_string())
}

#[test]
fn agent_by_itself_is_read_by_the_rules_of_the_file() {
    let block = json!({
        "id": "helper", "driver": "process", "command": ["helper", "--stdio"], "env": { "A": "1", "B": "two\nlines" },
        "ready": "stdout:ready", "restart_delay": "2m", "fail_after": 7,
    });
    let agent = agent_of(block.clone()).unwrap();
    let toml = format!(
        "[agents]\nmax_restarts = 9\nrestart_delay_max = \"10m\"\n{}",
        toml::to_string(&json!({"agent": [block]})).unwrap()
    );
    assert_eq!(agent, Config::from_toml(&toml).unwrap().agent[0]);
    assert_eq!((agent.supervision.max_restarts, agent.supervision.fail_after), (None, Some(7)));
}

#[test]
fn agent_json_errors_name_the_key_and_no_value() {
    let errors = [
        json!("planner"),
        json!({}),
        json!({ "id": null }),
        json!({ "id": "a", "fail_after": "secret" }),
        json!({ "id": "a", "max_restart": 3 }),
        json!({ "id": "a", "driver": "acp", "restart_delay": "20m" }),
        json!({ "id": "a", "env": { "SECRET": null } }),
        json!({ "id": "a", "fail_after": u64::MAX }),
        json!({ "id": "a", "env": { "A": ["secret"] } }),
    ]
    .map(|block| agent_of(block).unwrap_err());
    expect![[r#"
        an agent must be an object with the keys of an [[agent]] block
        "agent" needs an id of its own, as in id = "planner"
        "id" must not be null; leave it out for its default
        "fail_after" must be a whole number from 1 to 1000, not a string
        unknown key "max_restart"; did you mean "max_restarts"?
        "command" must name the program that this driver starts, as in ["planner", "--stdio"]
        "restart_delay" must not be longer than "restart_delay_max", which is "10m"
        "env.SECRET" must not be null; leave it out for its default
        "fail_after" must be from 1 to 1000
        "env.A" must be a string, not a list"#]]
    .assert_eq(&errors.join("\n"));
}

#[test]
fn agent_file_holds_exactly_one_agent() {
    let block =
        parse_agent_block("[[agent]]\nid = \"a\"\nhealth_interval = \"5s\"\n[agent.env]\nA = \"1\"\n")
            .unwrap();
    assert_eq!(block, json!({ "id": "a", "health_interval": "5s", "env": { "A": "1" } }));
    let wrong = "must hold one agent and nothing else: a line [[agent]] and its keys below it";
    for text in
        ["", "agent = 1", "[[agent]]\n[[agent]]\n", "[[agent]]\n[backend]\n", "agent = [1]", "[agent]\n"]
    {
        assert_eq!(parse_agent_block(text).unwrap_err().to_string(), wrong, "{text:?}");
    }
    assert_eq!(parse_agent_block("[[agent]]\nid = a\n").unwrap_err().problems[0].line, 2);
}

#[test]
fn toml_syntax_error_names_line_and_column() {
    check("[connection]\npath = \"/ws\"\npath = \"/ws\"", &expect!["3:1: this is not TOML: duplicate key"]);
    check("[connection\n", &expect!["1:12: this is not TOML: unclosed table, expected `]`"]);
    check(
        "cache.ttl = 60s",
        &expect!["1:13: this is not TOML: string values must be quoted, expected literal string"],
    );
    check("\n\nttl", &expect!["3:4: this is not TOML: key with no value, expected `=`"]);
}

#[test]
fn no_message_repeats_a_secret() {
    let text = r#"
        [backend]
        url = "https://user:hush@example.com/?token=hush"
        token_env = "hush-hush"
        headers = { Authorization = "Bearer hush", x-api-key = "hush", cookie = "hush", x-a = "hush\n" }
        headers_env = { x-b = "hush-hush" }
        proxy = "http://user:hush@proxy.example"
        proxy_env = "http://user:hush@proxy.example"
        [connection]
        path = "/ws?token=hush"
        delay_min = "hush"
        after_failed = "hush"
        [cache]
        max_bytes = "hush"
        [[agent]]
        id = "hush hush"
        command = "run --token hush"
        env = { "A B" = "hush" }
        ready = "hush"
    "#;
    let error = Config::from_toml(text).unwrap_err();
    assert_eq!(error.problems.len(), 18, "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");

    for broken in ["token_env = hush", "token_env = \"hush", "token_env = \"\" hush", "a = 'hush\n'"] {
        let error = Config::from_toml(&format!("[backend]\n{broken}\n")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
    }
}

#[test]
fn truncated_file_is_read_or_error_has_a_line() {
    let whole = default_with_examples();
    let step = 63 / crate::tier::cases(1, 9).min(9) as usize;
    let ends = whole.char_indices().map(|(at, _)| at).step_by(step);
    for cut in ends.map(|end| &whole[..end]) {
        if let Err(error) = Config::from_toml(cut) {
            assert!(
                error.problems.iter().all(|p| (1..=cut.lines().count() + 1).contains(&p.line)),
                "{error}"
            );
            assert_eq!(error.to_string().lines().count(), error.problems.len());
        }
    }
}

#[test]
fn ten_thousand_problems_are_all_reported() {
    let mut text = String::from("cache = {");
    for index in 0..10_000 {
        write!(text, "unknown{index} = 1,").unwrap();
    }
    text.push('}');
    assert_eq!(Config::from_toml(&text).unwrap_err().problems.len(), 10_000);
}

#[test]
fn too_large_a_text_is_refused() {
    let text = "#".repeat(FILE_BYTES_MAX + 1);
    check(&text, &expect!["is too large: a config has at most 4MiB"]);
    assert_eq!(Config::from_toml(&text[1..]), Ok(Config::default()));
}

// === In code ===

/// Every key with a value other than its default. Only one source of the token may be set at a time.
const EVERY_KEY: &str = r#"
backend.url = "https://example.com/base"
logs.file_bytes = "1MiB"
logs.files = 2
logs.lines_per_second = 7
logs.bytes_per_second = "1KiB"
backend.headers = { x-client = "desktop" }
backend.headers_env = { x-api-key = "BACKEND_KEY" }
backend.token_env = "TOKEN"
backend.token_file = "token.txt"
backend.token_command = ["print-token", ""]
backend.ca_file = "ca.pem"
backend.proxy = "socks5h://[::1]:9050"
backend.proxy_env = "PROXY"
backend.command = ["api", "--port={port}"]
backend.cwd = "/srv/api"
backend.env = { "LEVEL" = "say \"debug\"\n" }
backend.login_env = true
backend.ready_within = "90s"
backend.ready = "http:/health"
connection.enabled = false
connection.path = "/live"
connection.subprotocols = ["chat.v1", "chat.v2"]
connection.token_query = "token"
connection.max_retries = 7
connection.delay_min = "1500ms"
connection.delay_max = "1h"
connection.factor = 1.5
connection.jitter = false
connection.connect_timeout = "9s"
connection.ping_interval = "1m"
connection.ping_timeout = "11s"
connection.stable_after = "0s"
connection.after_failed = "wait"
connection.probe_interval = "2m"
connection.outbound_max = 7
requests.max_concurrent = 2
requests.queue_max = 10
requests.overflow = "drop-lowest"
requests.age_after = "1s"
requests.timeout = "2m"
requests.wait_timeout = "5m"
requests.deadline = "10m"
requests.retries = 0
requests.retry_delay_min = "2s"
requests.retry_delay_max = "1m"
requests.retry_factor = 3.25
requests.retry_budget = 50
requests.quarantine_after = 3
cache.ttl = "1h"
cache.max_bytes = 1537
cache.stale_for = "5s"
cache.negative_ttl = "0s"
cache.watch = ["~/notes", "/srv"]
cache.debounce = "1s"
agents.health_interval = "1s"
agents.health_timeout = "1m"
agents.fail_after = 5
agents.recover_after = 2
agents.min_uptime = "0s"
agents.startup_grace = "1m"
agents.progress_timeout = "5m"
agents.quarantine_after = 1
agents.max_restarts = 0
agents.restart_delay = "0s"
agents.restart_delay_max = "2m"
agents.window = "1h"
agents.stable_after = "90s"
journal.segment_bytes = "1GiB"
journal.segments = 3
control.port = 8080
control.dashboard = false

[[limit]]
path = "/api/slow/*"
max_concurrent = 1

[[agent]]
id = "coder"
driver = "process"
command = ["coder", "--stdio"]
cwd = "/tmp"
env = { "KEY" = "" }
ready = "stdout:is ready: {url}"
health = "http://127.0.0.1:9000/health"
memory_max = "512MiB"
stray_lines_max = 0
restart_delay = "1s"
restart_delay_max = "70s"
fail_after = 3
"#;

/// Returns the configuration with these values of a section, and what they need beside them.
fn config_of(section: &str, values: toml::Table) -> Config {
    let mut values = values;
    let table = match section {
        "limit" | "agent" => {
            if section == "agent" {
                let beside: toml::Table =
                    toml::from_str("id = \"a\"\ndriver = \"process\"\ncommand = [\"a\"]").unwrap();
                values = beside.into_iter().chain(values).collect();
            }
            toml::Value::Array(vec![values.into()])
        }
        _ => values.into(),
    };
    let text = toml::to_string(&toml::Table::from_iter([(section.to_owned(), table)])).unwrap();
    Config::from_toml(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Checks that a configuration reads back from each form in which it can be written.
fn assert_reads_back(config: &Config) {
    let text = config.to_toml().unwrap();
    assert_eq!(&Config::from_toml(&text).unwrap(), config, "{text}");
    let json = toml::to_string(&serde_json::to_value(config).unwrap()).unwrap();
    assert_eq!(&Config::from_toml(&json).unwrap(), config, "{json}");
}

#[test]
fn every_key_that_is_written_reads_back() {
    let every: toml::Table = toml::from_str(EVERY_KEY).unwrap();
    let mut defaults = toml::Table::try_from(config_with_examples()).unwrap();
    for (section, values) in &every {
        let items = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
        let [toml::Value::Table(values)] = &items[..] else { panic!("{section}") };
        let default = defaults.remove(section).unwrap();
        let default = default.as_array().map_or(&default, |items| &items[0]).as_table().unwrap();
        for key in default.keys() {
            assert!(values.contains_key(key), "{section}.{key} is missing");
        }
        for (key, value) in values {
            if default.get(key).is_some_and(|default| default == value) {
                panic!("{section}.{key} has its default");
            }
            let alone: Vec<&str> = match key.as_str() {
                "retry_delay_min" | "delay_min" => vec![key, "delay_max", "retry_delay_max"],
                "max_concurrent" => vec![key, "path"],
                _ => vec![key],
            };
            let alone = values.clone().into_iter().filter(|(key, _)| alone.contains(&key.as_str()));
            let config = config_of(section, alone.collect());
            assert_ne!(config, Config::default());
            assert_reads_back(&config);
        }
    }
    assert!(defaults.is_empty(), "{defaults:?}");

    let conflicting = ["token_file", "token_command", "proxy_env"];
    let lines = EVERY_KEY.lines().filter(|line| !conflicting.iter().any(|key| line.contains(key)));
    let config = Config::from_toml(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    assert_reads_back(&config);
    assert_eq!(Config::default().to_toml(), Ok(String::new()));
    assert_reads_back(&config_with_examples());
}

#[test]
fn written_config_has_what_differs_and_no_password_of_a_proxy() {
    let mut config = Config::builder()
        .requests(|requests| requests.timeout = Duration::from_secs(120))
        .agent(AgentConfig::http("planner"))
        .agent(AgentConfig::process("coder", ["coder", "--stdio"]))
        .build()
        .unwrap();
    config.agent[1].supervision.max_restarts = Some(5);
    config.backend.proxy = ProxyChoice::Explicit(Proxy::parse("http://user:hush@proxy.example").unwrap());
    expect![[r#"
        [[agent]]
        id = "planner"

        [[agent]]
        command = ["coder", "--stdio"]
        driver = "process"
        id = "coder"
        max_restarts = 5

        [backend]
        proxy = "http://proxy.example:80"

        [requests]
        timeout = "2m"
    "#]]
    .assert_eq(&config.to_toml().unwrap());
    assert!(!serde_json::to_string(&config).unwrap().contains("hush"));
}

#[test]
fn config_made_in_code_is_checked_by_the_rules_of_the_file() {
    let config = Config::builder()
        .backend(|backend| backend.url = "localhost:8000".to_owned())
        .requests(|requests| requests.max_concurrent = 0)
        .agents(|agents| agents.restart_delay = Duration::from_secs(90))
        .agent(AgentConfig::http("planner"))
        .agent(AgentConfig::acp("planner", [""; 0]))
        .limit("api", 1);
    expect![[r#"
        "agent[1].command" must name the program that this driver starts, as in ["planner", "--stdio"]
        "agent[1].id" repeats that of agent[0]; every agent needs an id of its own
        "agents.restart_delay" must not be longer than "restart_delay_max", which is "1m"
        "backend.url" must start with "http://" or "https://"
        "limit[0].path" must start with "/"
        "requests.max_concurrent" must be from 1 to 10000"#]]
    .assert_eq(&config.build().unwrap_err().to_string());
}

// === Files ===

fn load(bytes: &[u8]) -> Result<Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Config::load(file.path()).map_err(|error| {
        assert_eq!(error.file.as_deref(), Some(file.path()));
        error.to_string().replace(&file.path().display().to_string(), "mainstay.toml")
    })
}

#[test]
fn file_is_read_as_its_text_is() {
    assert_eq!(load(DEFAULT_TOML.as_bytes()), Ok(Config::default()));
    assert_eq!(load("\u{feff}cache.ttl = \"60s\"\r\n".as_bytes()), Ok(Config::default()));
}

#[test]
fn every_line_of_an_error_names_the_file() {
    let text = "[connection]\nmax_retires = 5\ndelay_max = 30\n";
    expect![[r#"
        mainstay.toml:2:1: unknown key "connection.max_retires"; did you mean "max_retries"?
        mainstay.toml:3:13: "connection.delay_max" must be a string with a duration, as in "250ms" or "30s", not an integer"#]].assert_eq(&load(text.as_bytes()).unwrap_err());
}

#[test]
fn file_that_cannot_be_read_is_named_with_the_reason() {
    expect!["mainstay.toml:2:8: this is not UTF-8; save the file as UTF-8"]
        .assert_eq(&load(b"[cache]\nttl = \"\xff\"").unwrap_err());
    expect!["mainstay.toml: is too large: a config has at most 4MiB"]
        .assert_eq(&load(&[b'#'; FILE_BYTES_MAX + 1]).unwrap_err());

    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent.toml");
    let error = Config::load(&absent).unwrap_err();
    assert_eq!(error.file, Some(absent.clone()));
    assert!(error.to_string().starts_with(&format!("{}: cannot be read: ", absent.display())), "{error}");
    let expected = if cfg!(windows) { "cannot be read: " } else { "is a folder; name a file instead" };
    assert!(Config::load(folder.path()).unwrap_err().to_string().contains(expected));
}
