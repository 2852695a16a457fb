use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use expect_test::{Expect, expect};
use mainstay_runtime::TreeNode;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::{Value, json};

use super::model::{KeyEffect, Page, ScreenCommand, ScreenModel, ScreenUpdate, Snapshot};
use super::view;
use crate::bridge::{AgentAction, BackendAction, BridgeAgentCommand, BridgeCommand};
use crate::cli::time::TimeFormat;
use crate::incidents::{IncidentLog, example_record};

const TIME: &str = "2026-03-01T12:00:00Z";
const PLANNER: &str = "root/agents/planner";

fn node(path: &str, status: &str, children: &[Value]) -> Value {
    json!({
        "path": path, "kind": "worker", "status": status, "since": TIME, "generation": 2, "restarts": 1,
        "restart_at": null, "budget_left": 4, "last_error": null, "mailbox": 0, "children": children,
    })
}

fn snapshot() -> Snapshot {
    let agent = json!({
        "id": "planner", "driver": "http", "status": "restarting", "since": TIME, "generation": 2, "restarts": 1,
        "budget_left": 4, "restart_at": null, "last_error": null, "misses": 0, "last_check": null, "uptime_s": null,
        "error_count": null, "state_saved_at": null, "messages_waiting": 2, "next_step": "",
    });
    let status = json!({
        "verdict": {
            "level": "warning", "text": "planner restarts in 4 s (attempt 1 of 5)", "finding": {"type": "well"},
            "requests_waiting": 0, "action": {"type": "start_agent", "id": "planner"},
        },
        "runtime": {"run": 3, "boot": "b", "pid": 4711, "uptime_ms": 61_500, "seq": 1234},
        "connection": {
            "state": "connected", "since": TIME, "attempt": 1, "max": 10, "next_attempt_at": null,
            "next_attempt_in_ms": null, "last_error": null,
        },
        "queue": {
            "waiting": 1, "backing_off": 0, "running": 1, "max_concurrent": 5,
            "by_priority": {"high": 0, "normal": 1, "low": 0}, "held": null, "groups": [],
        },
        "cache": {
            "entries": 7, "bytes": 4096, "bytes_max": 67_108_864, "hits": 100, "stale_hits": 2, "misses": 30,
            "loads": 28, "load_failures": 3, "loads_superseded": 1, "evictions": 4, "invalidated": 9,
            "oldest_ms": 12_000, "folders": [],
        },
        "agents": [agent],
        "storage": {"journal": "ok", "state": "ok", "logs": "ok"},
    });
    let agents = node("root/agents", "running", &[node(PLANNER, "restarting", &[])]);
    let tree = node("root", "running", &[node("root/backend", "running", &[]), agents]);
    let request = |id: u64, phase: &str| {
        json!({
            "request_id": id, "method": "POST", "path": "/v1/messages", "priority": "normal", "phase": phase,
            "attempts": 1, "age_ms": 3200,
        })
    };
    let mut incidents = IncidentLog::default();
    let exit = json!({ "cause": "error", "message": "no answer", "location": null });
    incidents.apply(&example_record(3, 1000, 3000, PLANNER, "actor_exited", &exit));
    incidents.apply(&example_record(3, 1001, 3001, PLANNER, "decision", &json!({ "scope": [PLANNER] })));
    let line =
        json!({ "at": "2026-03-01T12:00:02Z", "stream": "err", "text": "ValueError: no model\u{1b}[2J" });
    Snapshot {
        at: "2026-03-01T12:00:05Z".parse().unwrap(),
        status: serde_json::from_value(status).unwrap(),
        tree: serde_json::from_value::<TreeNode>(tree).unwrap(),
        requests: vec![
            serde_json::from_value(request(17, "running")).unwrap(),
            serde_json::from_value(request(18, "waiting")).unwrap(),
        ],
        incidents: incidents.incidents().cloned().collect(),
        log: Some(("planner".to_owned(), vec![serde_json::from_value(line).unwrap()])),
    }
}

fn model() -> ScreenModel {
    let mut model = ScreenModel::new();
    model.update(ScreenUpdate::Snapshot(Box::new(snapshot())));
    model
}

fn check(model: &ScreenModel, width: u16, height: u16, expected: &Expect) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, model, &TimeFormat::utc())).unwrap();
    let buffer = terminal.backend().buffer();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    let rows: Vec<String> = (0..height).map(row).collect();
    expected.assert_eq(&format!("{}\n", rows.join("\n")));
}

fn press(model: &mut ScreenModel, code: KeyCode) -> KeyEffect {
    model.press(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn screen_of_80_by_24_has_every_part() {
    check(
        &model(),
        80,
        24,
        &expect![[r#"
            planner restarts in 4 s (attempt 1 of 5)
            try: mainstay agent start planner  process 4711, up 1 min 1 s, event 3.1234
            ─ tree ────────────────────────────────  ─ agents ──────────────────────────────
            actor       status     starts left       agent   health     for       messages
            root        running    2      4          planner restarting 5 s       2
            ├─backend   running    2      4
            └─agents    running    2      4
              └─planner restarting 2      4





            ─ requests: 1 running, 1 waiting ───────────────────────────────────────────────
            17   running POST /v1/messages                                             3 s
            18   waiting POST /v1/messages                                             3 s
            ─ incidents ────────────────────────────────────────────────────────────────────
            12:00:03 planner: ended with an error: no answer
            ─ log of planner ───────────────────────────────────────────────────────────────
            12:00:02 ValueError: no model\u{1b}[2J



            ↑↓ select  w why  r restart  R reset  c reconnect  ? help  q quit
        "#]],
    );
}

#[test]
fn screen_of_140_by_40_has_more_of_each() {
    check(
        &model(),
        140,
        40,
        &expect![[r#"
            planner restarts in 4 s (attempt 1 of 5)
            try: mainstay agent start planner  process 4711, up 1 min 1 s, event 3.1234
            ─ tree ──────────────────────────────────────────────────────────────  ─ agents ────────────────────────────────────────────────────────────
            actor       status     starts left                                     agent   health     for       messages next
            root        running    2      4                                        planner restarting 5 s       2
            ├─backend   running    2      4
            └─agents    running    2      4
              └─planner restarting 2      4














            ─ requests: 1 running, 1 waiting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
            17   running POST /v1/messages                                                                                                         3 s
            18   waiting POST /v1/messages                                                                                                         3 s
            ─ incidents ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
            12:00:03 planner: ended with an error: no answer
            ─ log of planner ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
            12:00:02 ValueError: no model\u{1b}[2J










            ↑↓ select  w why  r restart  R reset  c reconnect  ? help  q quit
        "#]],
    );
}

#[test]
fn story_of_the_selected_actor_opens_and_closes() {
    let mut model = model();
    assert_eq!(
        press(&mut model, KeyCode::End),
        KeyEffect::Send(ScreenCommand::Log(Some("planner".to_owned())))
    );
    press(&mut model, KeyCode::Char('w'));
    check(
        &model,
        80,
        24,
        &expect![[r#"
            planner restarts in 4 s (attempt 1 of 5)
            try: mainstay agent start planner  process 4711, up 1 min 1 s, event 3.1234
            ─ tree ────────────────────────────────  ─ agents ──────────────────────────────
            actor       status     starts left       agent   health     for       messages
            root        running    2      4          planner restarting 5 s       2
            ├─backend   running    2      4
            └─agents    running    2      4
              └─planner restarting 2      4
              ┌why root/agents/planner───────────────────────────────────────────────────┐
              │planner: ended with an error: no answer (not over)                        │
              │It began at 12:00:03Z, with event 3.1000.                                 │
              │Decision: restart in 5 s, attempt 1 (1 of 5 restarts used).               │
              │Policy: restart after each exit, the first 5 s later, then up to 1 min    │
            ─ │(factor 2), at most 5 restarts in 10 min, then give up.                   │──
            17│It is not over. Next step: it is restarted 5 s after its exit.            │
            18└──────────────────────────────────────────────────────────────────────────┘
            ─ incidents ────────────────────────────────────────────────────────────────────
            12:00:03 planner: ended with an error: no answer
            ─ log of planner ───────────────────────────────────────────────────────────────
            12:00:02 ValueError: no model\u{1b}[2J



            ↑↓ select  w why  r restart  R reset  c reconnect  ? help  q quit
        "#]],
    );
    assert_eq!(press(&mut model, KeyCode::Esc), KeyEffect::None);
    assert_eq!(model.page, None);
    assert_eq!(press(&mut model, KeyCode::Esc), KeyEffect::Quit);
}

#[test]
fn any_size_is_drawn() {
    let mut model = model();
    for page in [None, Some(Page::Help), Some(Page::Why { path: PLANNER.to_owned(), scroll: 3 })] {
        model.page = page;
        for (width, height) in [(1, 1), (3, 2), (20, 5), (79, 23), (400, 3), (10, 200)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| view::draw(frame, &model, &TimeFormat::utc())).unwrap();
        }
    }
}

#[test]
fn command_is_carried_out_once_it_is_confirmed() {
    let mut model = model();
    assert_eq!(press(&mut model, KeyCode::Char('r')), KeyEffect::None);
    assert_eq!(model.notice.as_deref(), Some("select an agent or the backend to restart it"));
    press(&mut model, KeyCode::Char('j'));
    press(&mut model, KeyCode::Char('R'));
    let reset = BridgeCommand::Backend { action: BackendAction::Reset };
    let command = ScreenCommand::Command { name: "reset the backend".to_owned(), command: Box::new(reset) };
    assert_eq!(press(&mut model, KeyCode::Char('y')), KeyEffect::Send(command));
    press(&mut model, KeyCode::End);
    press(&mut model, KeyCode::Char('r'));
    assert_eq!(press(&mut model, KeyCode::Char('n')), KeyEffect::None);
    assert_eq!(model.page, None);
    press(&mut model, KeyCode::Char('r'));
    let restart = BridgeAgentCommand { agent: "planner".to_owned(), action: AgentAction::Restart {} };
    let command = ScreenCommand::Command {
        name: "restart planner".to_owned(),
        command: Box::new(BridgeCommand::Agent(restart)),
    };
    assert_eq!(press(&mut model, KeyCode::Enter), KeyEffect::Send(command));
}

#[test]
fn silence_and_end_of_the_runtime_replace_the_verdict() {
    let mut model = model();
    let first_row = |model: &ScreenModel| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| view::draw(frame, model, &TimeFormat::utc())).unwrap();
        let buffer = terminal.backend().buffer();
        (0..80).map(|x| buffer[(x, 0)].symbol()).collect::<String>().trim_end().to_owned()
    };
    model.update(ScreenUpdate::Silent { silence: std::time::Duration::from_millis(4200) });
    assert_eq!(first_row(&model), "The runtime does not answer for 4 s");
    model.update(ScreenUpdate::Gone);
    assert_eq!(first_row(&model), "The runtime has ended; what follows is of 12:00:05Z");
    model.update(ScreenUpdate::Snapshot(Box::new(snapshot())));
    assert_eq!(first_row(&model), "planner restarts in 4 s (attempt 1 of 5)");
}
