//! The messages of a supervisor.

use std::sync::Arc;

use super::admin_error::AdminError;
use super::machine::ChildId;
use crate::actor::slot::any_slot::AnySlot;
use crate::messaging::message::Message;
use crate::messaging::reply::Reply;

/// The result of a command.
pub(crate) type AdminResult = Result<(), AdminError>;

/// A command about one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AdminCommand {
    Add,
    Stop,
    Start,
    Restart,
    Delete,
    Remove,
    Reset,
}

/// A supervisor's messages.
pub(crate) enum SupervisorMessage {
    /// Add a child and start it; the reply comes when it has settled.
    Add { slot: Arc<dyn AnySlot>, reply: Reply<AdminResult> },
    /// Carry out a command about a child; the reply comes when it has settled.
    Admin { name: String, command: AdminCommand, reply: Reply<AdminResult> },
    /// A child that is itself a supervisor is ready.
    ChildReady { id: ChildId, generation: u64 },
    /// The tasks of an ended incarnation have ended, or were abandoned because they never yield. Its exit record lies
    /// in the slot.
    TasksEnded { id: ChildId, generation: u64, abandoned: bool },
    /// A deadline may have passed.
    Tick,
}

impl Message for SupervisorMessage {
    fn label(&self) -> &'static str {
        match self {
            Self::Add { .. } => "Add",
            Self::Admin { command, .. } => match command {
                AdminCommand::Add => "Add",
                AdminCommand::Stop => "Stop",
                AdminCommand::Start => "Start",
                AdminCommand::Restart => "Restart",
                AdminCommand::Delete => "Delete",
                AdminCommand::Remove => "Remove",
                AdminCommand::Reset => "Reset",
            },
            Self::ChildReady { .. } => "ChildReady",
            Self::TasksEnded { .. } => "TornDown",
            Self::Tick => "Tick",
        }
    }
}
