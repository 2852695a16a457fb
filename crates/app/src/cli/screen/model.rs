//! The state of the screen, and the meaning of each key. Pure.

use std::time::Duration;

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use jiff::Timestamp;
use mainstay_actors::logs::LogLine;
use mainstay_actors::queue::PendingRequest;
use mainstay_runtime::TreeNode;

use crate::bridge::{AgentAction, BackendAction, BridgeAgentCommand, BridgeCommand, ConnectionAction};
use crate::cli::report;
use crate::incidents::Incident;
use crate::status::StatusReport;
use crate::tree_place::TreePlace;

/// The state of the runtime, as it was asked for once.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) at: Timestamp,
    pub(super) status: StatusReport,
    pub(super) tree: TreeNode,
    pub(super) requests: Vec<PendingRequest>,
    /// Newest first.
    pub(super) incidents: Vec<Incident>,
    /// The log of the selected program, and its last lines.
    pub(super) log: Option<(String, Vec<LogLine>)>,
}

/// News for the screen.
#[derive(Debug)]
pub(super) enum ScreenUpdate {
    Snapshot(Box<Snapshot>),
    /// The runtime does not answer, since this time.
    Silent {
        silence: Duration,
    },
    /// No runtime is running.
    Gone,
    /// A command has ended, as this sentence says.
    Done(String),
}

/// A command for the task that asks the runtime.
#[derive(Debug, PartialEq)]
pub(super) enum ScreenCommand {
    /// Carry a command out, named for the sentence about its outcome.
    Command { name: String, command: Box<BridgeCommand> },
    /// Show the log of a program from now on.
    Log(Option<String>),
}

/// The effect of a key.
#[derive(Debug, PartialEq)]
pub(super) enum KeyEffect {
    None,
    Quit,
    Send(ScreenCommand),
}

/// An actor, as a row of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TreeRow {
    pub(super) path: String,
    /// The branches before the name, and the name.
    pub(super) label: String,
    pub(super) status: (String, anstyle::Style),
    pub(super) generation: u64,
    pub(super) budget_left: Option<u32>,
}

/// A page over the others.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Page {
    Help,
    /// The story of the last incident of this actor.
    Why {
        path: String,
        scroll: u16,
    },
    /// The question whether to carry a command out.
    Confirm {
        name: String,
        command: Box<BridgeCommand>,
    },
}

/// The state of the screen.
#[derive(Debug)]
pub(super) struct ScreenModel {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) rows: Vec<TreeRow>,
    /// The path of the selected actor.
    pub(super) selected: String,
    pub(super) page: Option<Page>,
    /// The time for which the runtime has not answered.
    pub(super) silence: Option<Duration>,
    pub(super) is_gone: bool,
    /// The outcome of the last command.
    pub(super) notice: Option<String>,
}

impl ScreenModel {
    pub(super) fn new() -> Self {
        Self {
            snapshot: None,
            rows: Vec::new(),
            selected: "root".to_owned(),
            page: None,
            silence: None,
            is_gone: false,
            notice: None,
        }
    }

    /// Takes updates.
    pub(super) fn update(&mut self, update: ScreenUpdate) {
        match update {
            ScreenUpdate::Snapshot(snapshot) => {
                self.rows.clear();
                add_rows(&mut self.rows, &snapshot.tree, "", "");
                if !self.rows.iter().any(|row| row.path == self.selected) {
                    self.selected = snapshot.tree.path.clone();
                }
                self.snapshot = Some(*snapshot);
                (self.silence, self.is_gone) = (None, false);
            }
            ScreenUpdate::Silent { silence } => self.silence = Some(silence),
            ScreenUpdate::Gone => self.is_gone = true,
            ScreenUpdate::Done(text) => self.notice = Some(text),
        }
    }

    /// Returns the place of the selected actor among the rows.
    pub(super) fn selected_row(&self) -> usize {
        self.rows.iter().position(|row| row.path == self.selected).unwrap_or(0)
    }

    /// Returns the last incident about an actor.
    pub(super) fn incident_of(&self, path: &str) -> Option<&Incident> {
        let incidents = self.snapshot.as_ref().map_or(&[][..], |snapshot| &snapshot.incidents);
        incidents
            .iter()
            .find(|incident| !incident.is_stop() && incident.actors.iter().any(|actor| actor == path))
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> KeyEffect {
        if key.kind == KeyEventKind::Release {
            return KeyEffect::None;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return KeyEffect::Quit;
        }
        match self.page.take() {
            None => self.press_on_main(key.code),
            Some(page) => self.press_on_page(page, key.code),
        }
    }

    fn press_on_page(&mut self, page: Page, key: KeyCode) -> KeyEffect {
        match (page, key) {
            (_, KeyCode::Char('q')) => return KeyEffect::Quit,
            (Page::Confirm { name, command }, KeyCode::Char('y') | KeyCode::Enter) => {
                return KeyEffect::Send(ScreenCommand::Command { name, command });
            }
            (Page::Why { path, scroll }, KeyCode::Down | KeyCode::Char('j')) => {
                self.page = Some(Page::Why { path, scroll: scroll.saturating_add(1) });
            }
            (Page::Why { path, scroll }, KeyCode::Up | KeyCode::Char('k')) => {
                self.page = Some(Page::Why { path, scroll: scroll.saturating_sub(1) });
            }
            // Any other key closes the page.
            _ => {}
        }
        KeyEffect::None
    }

    fn press_on_main(&mut self, key: KeyCode) -> KeyEffect {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => KeyEffect::Quit,
            KeyCode::Down | KeyCode::Char('j') => self.select(1),
            KeyCode::Up | KeyCode::Char('k') => self.select(-1),
            KeyCode::Home | KeyCode::Char('g') => self.select(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.select(isize::MAX),
            KeyCode::Enter | KeyCode::Char('w') => {
                self.page = Some(Page::Why { path: self.selected.clone(), scroll: 0 });
                KeyEffect::None
            }
            KeyCode::Char('?') => {
                self.page = Some(Page::Help);
                KeyEffect::None
            }
            KeyCode::Char('c') => KeyEffect::Send(ScreenCommand::Command {
                name: "reconnect".to_owned(),
                command: Box::new(BridgeCommand::Connection(ConnectionAction::Reconnect {})),
            }),
            KeyCode::Char('r') => self.confirm(AgentAction::Restart {}, BackendAction::Restart, "restart"),
            KeyCode::Char('R') => self.confirm(AgentAction::Reset {}, BackendAction::Reset, "reset"),
            _ => KeyEffect::None,
        }
    }

    /// Selects the row that is `by` rows further, as far as there are rows. The log follows.
    fn select(&mut self, by: isize) -> KeyEffect {
        let last = self.rows.len().saturating_sub(1);
        let row = self.selected_row().saturating_add_signed(by).min(last);
        let Some(row) = self.rows.get(row) else { return KeyEffect::None };
        self.selected.clone_from(&row.path);
        let log = match TreePlace::of_path(&self.selected) {
            Some(TreePlace::Agent(id)) => Some(id.to_owned()),
            Some(TreePlace::Backend) => Some(crate::tree_place::BACKEND_NAME.to_owned()),
            None => None,
        };
        KeyEffect::Send(ScreenCommand::Log(log))
    }

    /// Asks whether to carry a command about the selected actor out.
    fn confirm(&mut self, agent: AgentAction, backend: BackendAction, verb: &str) -> KeyEffect {
        let (name, command) = match TreePlace::of_path(&self.selected) {
            Some(TreePlace::Agent(id)) => {
                let command = BridgeAgentCommand { agent: id.to_owned(), action: agent };
                (format!("{verb} {id}"), BridgeCommand::Agent(command))
            }
            Some(TreePlace::Backend) => {
                (format!("{verb} the backend"), BridgeCommand::Backend { action: backend })
            }
            None => {
                self.notice = Some(format!("select an agent or the backend to {verb} it"));
                return KeyEffect::None;
            }
        };
        self.page = Some(Page::Confirm { name, command: Box::new(command) });
        KeyEffect::None
    }
}

fn add_rows(rows: &mut Vec<TreeRow>, node: &TreeNode, here: &str, below: &str) {
    let name = node.path.rsplit('/').next().unwrap_or(&node.path);
    rows.push(TreeRow {
        path: node.path.clone(),
        label: format!("{here}{name}"),
        status: report::tree_status(node),
        generation: node.info.generation,
        budget_left: node.info.budget_left,
    });
    for (at, child) in node.children.iter().enumerate() {
        let is_last = at + 1 == node.children.len();
        let (branch, stem) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
        add_rows(rows, child, &format!("{below}{branch}"), &format!("{below}{stem}"));
    }
}
