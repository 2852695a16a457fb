//! Draws the screen. Pure.

use anstyle::{AnsiColor, Effects};
use jiff::Timestamp;
use mainstay_actors::agent::AgentStatus;
use mainstay_actors::queue::PendingPhase;
use mainstay_runtime::journal::{escape_controls, millis_text};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState, Wrap};

use super::model::{Page, ScreenModel, Snapshot, TreeRow};
use crate::cli::time::TimeFormat;
use crate::cli::{agent_report, report};
use crate::incidents::Incident;
use crate::status::AgentView;

const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const WARNING: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// The rows of the log, and the most requests and incidents, on a screen of 24 rows and on a higher one.
const LOG_ROWS: [u16; 2] = [5, 12];
const REQUESTS_MAX: [u16; 2] = [2, 8];
const INCIDENTS_MAX: [u16; 2] = [3, 10];
/// The columns between two lists side by side.
const GAP: u16 = 2;
/// The least width of the column that says what comes next.
const NEXT_STEP_MIN: u16 = 16;
/// From this height on, a screen is high.
const HIGH: u16 = 36;

const KEYS: &str = "↑↓ select  w why  r restart  R reset  c reconnect  ? help  q quit";
const HELP: &[(&str, &str)] = &[
    ("↑ ↓  j k", "select an actor; the log is that of the selected program"),
    ("Home End  g G", "select the first or the last one"),
    ("w  Enter", "why: the story of its last incident"),
    ("r", "restart the selected agent, or the backend"),
    ("R", "reset its restart budget, and start it if it was given up"),
    ("c", "reconnect now"),
    ("q  Esc  Ctrl-C", "quit"),
];

/// Draws everything.
pub(super) fn draw(frame: &mut Frame, model: &ScreenModel, times: &TimeFormat) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Min(0), Constraint::Length(1)])
            .areas(frame.area());
    match &model.snapshot {
        Some(snapshot) => {
            draw_head(frame, head, model, snapshot, times);
            draw_body(frame, body, model, snapshot, times);
        }
        None => draw_empty(frame, head.union(body), model),
    }
    let foot_line = match &model.notice {
        Some(notice) => {
            Line::from(vec![Span::from(escape_controls(notice)), Span::styled(format!("  {KEYS}"), DIM)])
        }
        None => Line::styled(KEYS, DIM),
    };
    frame.render_widget(foot_line, foot);
    if let Some(page) = &model.page {
        draw_page(frame, page, model, times);
    }
}

fn draw_empty(frame: &mut Frame, area: Rect, model: &ScreenModel) {
    let text = match (model.is_gone, model.silence) {
        (true, _) => "No runtime is running in this data folder. The screen waits for one.".to_owned(),
        (false, Some(silence)) => silence_text(silence),
        (false, None) => "Asking the runtime …".to_owned(),
    };
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn silence_text(silence: std::time::Duration) -> String {
    let seconds = silence.as_secs();
    format!("The runtime does not answer for {}", millis_text(seconds * 1000))
}

fn draw_head(frame: &mut Frame, area: Rect, model: &ScreenModel, snapshot: &Snapshot, times: &TimeFormat) {
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let verdict = &snapshot.status.verdict;
    let (text, style) = if model.is_gone {
        let seen = times.moment(snapshot.at, snapshot.at);
        (format!("The runtime has ended; what follows is of {seen}"), BAD)
    } else if let Some(silence) = model.silence {
        (silence_text(silence), BAD)
    } else {
        (escape_controls(&verdict.text), terminal_style(report::verdict_style(verdict.level)))
    };
    frame.render_widget(Line::styled(text, style.add_modifier(Modifier::BOLD)), first);
    let runtime = &snapshot.status.runtime;
    let facts = format!(
        "process {}, up {}, event {}",
        runtime.pid,
        millis_text(runtime.uptime_ms / 1000 * 1000),
        runtime.cursor()
    );
    let hint =
        verdict.action.as_ref().map(|action| format!("try: {}  ", action.command())).unwrap_or_default();
    frame.render_widget(
        Line::from(vec![Span::from(escape_controls(&hint)), Span::styled(facts, DIM)]),
        second,
    );
}

/// Returns a style of the other commands for this screen. They use no other colours than these.
fn terminal_style(style: anstyle::Style) -> Style {
    let colour = match style.get_fg_color() {
        Some(anstyle::Color::Ansi(AnsiColor::Green)) => Style::new().fg(Color::Green),
        Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Style::new().fg(Color::Yellow),
        Some(anstyle::Color::Ansi(AnsiColor::Red)) => Style::new().fg(Color::Red),
        _ => Style::new(),
    };
    if style.get_effects().contains(Effects::DIMMED) { colour.patch(DIM) } else { colour }
}

fn draw_body(frame: &mut Frame, area: Rect, model: &ScreenModel, snapshot: &Snapshot, times: &TimeFormat) {
    let is_high = usize::from(area.height >= HIGH);
    let log_rows = if snapshot.log.is_some() { LOG_ROWS[is_high] } else { 0 };
    let rows = |count: usize, max: [u16; 2]| {
        let max = max[is_high];
        1 + u16::try_from(count).unwrap_or(max).min(max)
    };
    let [top, requests, incidents, bottom] = Layout::vertical([
        Constraint::Min(5),
        Constraint::Length(rows(snapshot.requests.len(), REQUESTS_MAX)),
        Constraint::Length(rows(snapshot.incidents.len(), INCIDENTS_MAX)),
        Constraint::Length(log_rows),
    ])
    .areas(area);
    let [tree, agents] = Layout::horizontal([Constraint::Percentage(50); 2]).spacing(GAP).areas(top);
    draw_tree(frame, tree, model);
    draw_agents(frame, agents, &snapshot.status.agents, snapshot.at);
    draw_requests(frame, requests, snapshot);
    draw_incidents(frame, incidents, snapshot, times);
    if let Some((log, lines)) = &snapshot.log {
        let rows = usize::from(bottom.height.saturating_sub(1));
        let shown = lines.iter().rev().take(rows).rev();
        let shown: Vec<Line> = shown
            .map(|line| {
                Line::from(vec![
                    Span::styled(format!("{} ", clock(line.at.0, times)), DIM),
                    Span::from(escape_controls(&line.text)),
                ])
            })
            .collect();
        let title = if shown.is_empty() { format!("log of {log}: empty") } else { format!("log of {log}") };
        frame.render_widget(Paragraph::new(shown).block(section(title)), bottom);
    }
}

fn clock(at: Timestamp, times: &TimeFormat) -> String {
    times.clock(at).chars().take("00:00:00".len()).collect()
}

/// Returns a block with a title on its upper line.
fn section<'t>(title: impl Into<String>) -> Block<'t> {
    let title = vec![Span::styled("─ ", DIM), Span::styled(title.into(), Style::new()), Span::from(" ")];
    Block::new().borders(Borders::TOP).border_style(DIM).title(Line::from(title))
}

/// Returns the width of a column of names: that of the longest one, as far as the other columns leave room.
fn name_width<'n>(names: impl Iterator<Item = &'n str>, area: Rect, others: u16) -> u16 {
    let longest = names.map(|name| name.chars().count()).max().unwrap_or(0).max("actor".len());
    u16::try_from(longest).unwrap_or(u16::MAX).min(area.width.saturating_sub(others))
}

fn draw_tree(frame: &mut Frame, area: Rect, model: &ScreenModel) {
    let rows: Vec<Row> = model.rows.iter().map(tree_row).collect();
    let name = name_width(model.rows.iter().map(|row| row.label.as_str()), area, 10 + 6 + 4 + 3);
    let widths = [name, 10, 6, 4].map(Constraint::Length);
    let header = Row::new(["actor", "status", "starts", "left"]).style(DIM);
    let table = Table::new(rows, widths).header(header).row_highlight_style(SELECTED).block(section("tree"));
    let mut state = TableState::default().with_selected(Some(model.selected_row()));
    frame.render_stateful_widget(table, area, &mut state);
}

fn tree_row(row: &TreeRow) -> Row<'static> {
    let (status, style) = &row.status;
    let left = row.budget_left.map_or_else(String::new, |left| left.to_string());
    Row::new([
        Span::from(escape_controls(&row.label)),
        Span::styled(status.clone(), terminal_style(*style)),
        Span::from(row.generation.to_string()),
        Span::from(left),
    ])
}

fn draw_agents(frame: &mut Frame, area: Rect, agents: &[AgentView], now: Timestamp) {
    let others = 10 + 9 + 8 + 3;
    let name = name_width(agents.iter().map(|agent| agent.report.id.as_str()), area, others);
    let left = area.width.saturating_sub(name + others + 1);
    let shows_next = left >= NEXT_STEP_MIN;
    let rows = agents.iter().map(|agent| agent_row(agent, now, shows_next));
    let widths = [name, 10, 9, 8, if shows_next { left } else { 0 }].map(Constraint::Length);
    let next = if shows_next { "next" } else { "" };
    let header = Row::new(["agent", "health", "for", "messages", next]).style(DIM);
    frame.render_widget(Table::new(rows, widths).header(header).block(section("agents")), area);
}

fn agent_row(agent: &AgentView, now: Timestamp, shows_next: bool) -> Row<'static> {
    let report = &agent.report;
    let (status, style) = agent_report::status(agent);
    let messages = match (report.questions.len(), report.messages_in_flight + report.messages_waiting) {
        (0, 0) => String::new(),
        (0, messages) => messages.to_string(),
        (_, _) => "asks you".to_owned(),
    };
    // What comes next of a healthy agent is the next check.
    let next = if shows_next && report.status != AgentStatus::Healthy { &*agent.next_step } else { "" };
    let since = now.duration_since(report.since.0).as_secs().max(0).unsigned_abs();
    let age = if since == 0 { "< 1 s".to_owned() } else { millis_text(since * 1000) };
    Row::new([
        Span::from(escape_controls(&report.id)),
        Span::styled(status, terminal_style(style)),
        Span::from(age),
        Span::from(messages),
        Span::styled(escape_controls(next), DIM),
    ])
}

fn draw_requests(frame: &mut Frame, area: Rect, snapshot: &Snapshot) {
    let stats = &snapshot.status.queue.stats;
    let held = if snapshot.status.queue.held.is_some() { ", held" } else { "" };
    let all = &snapshot.status.queue.latency.all;
    let durations = match (all.p50_ms, all.p95_ms) {
        (Some(p50), Some(p95)) => format!("; p50 {}, p95 {}", millis_text(p50), millis_text(p95)),
        _ => String::new(),
    };
    let title = format!("requests: {} running, {} waiting{held}{durations}", stats.running, stats.waiting);
    let rows = snapshot.requests.iter().map(|request| {
        let phase = match request.phase {
            PendingPhase::Waiting => "waiting",
            PendingPhase::BackingOff => "retries",
            PendingPhase::Running => "running",
        };
        Row::new([
            Span::from(request.request_id.to_string()),
            Span::from(phase),
            Span::from(escape_controls(&format!("{} {}", request.method, request.path))),
            Span::from(millis_text(request.age_ms / 1000 * 1000)),
        ])
    });
    let widths = [Constraint::Length(4), Constraint::Length(7), Constraint::Min(8), Constraint::Length(5)];
    frame.render_widget(Table::new(rows, widths).block(section(title)), area);
}

fn draw_incidents(frame: &mut Frame, area: Rect, snapshot: &Snapshot, times: &TimeFormat) {
    let rows = snapshot.incidents.iter().map(|incident| {
        let style = if incident.is_over() { DIM } else { WARNING };
        let at = incident.started_at.parse().map_or_else(|_| String::new(), |at| clock(at, times));
        Row::new([Span::styled(at, DIM), Span::styled(escape_controls(&incident.headline()), style)])
    });
    let title = if snapshot.incidents.is_empty() { "incidents: none" } else { "incidents" };
    let widths = [Constraint::Length(8), Constraint::Min(8)];
    frame.render_widget(Table::new(rows, widths).block(section(title)), area);
}

fn draw_page(frame: &mut Frame, page: &Page, model: &ScreenModel, times: &TimeFormat) {
    let (title, lines, scroll) = match page {
        Page::Help => {
            let lines = HELP.iter().map(|(keys, meaning)| format!("{keys:<16} {meaning}")).collect();
            ("keys".to_owned(), lines, 0)
        }
        Page::Confirm { name, .. } => {
            (format!("{name}?"), vec!["y or Enter: yes    any other key: no".to_owned()], 0)
        }
        Page::Why { path, scroll } => match model.incident_of(path) {
            Some(incident) => (format!("why {path}"), story(incident, model, times), *scroll),
            None => (format!("why {path}"), vec![format!("Nothing went wrong with {path}.")], 0),
        },
    };
    let area = frame.area();
    let width = area.width.saturating_sub(4);
    let paragraph =
        Paragraph::new(lines.iter().map(|line| Line::from(escape_controls(line))).collect::<Vec<_>>())
            .wrap(Wrap { trim: false })
            .scroll((scroll, 0))
            .block(Block::bordered().title(title));
    let rows: usize = lines.iter().map(|line| line.chars().count() / usize::from(width.max(3) - 2) + 1).sum();
    let height = u16::try_from(rows + 2).unwrap_or(u16::MAX).min(area.height.saturating_sub(2));
    let over = Rect { x: 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, over);
    frame.render_widget(paragraph, over);
}

fn story(incident: &Incident, model: &ScreenModel, times: &TimeFormat) -> Vec<String> {
    let now = model.snapshot.as_ref().map_or(Timestamp::UNIX_EPOCH, |snapshot| snapshot.at);
    incident.story_with(|at| at.parse().map_or_else(|_| at.to_owned(), |at| times.moment(at, now)))
}
