//! Writes the TypeScript declarations of the protocol, `ui/protocol.d.ts`, from the Rust types.

use expect_test::expect_file;
use mainstay_actors::queue::PendingRequest;
use mainstay_runtime::TreeNode;
use mainstay_runtime::journal::Record;
use mainstay_runtime::typescript::Declarations;

use super::agent::{AgentAction, AgentDetails, BridgeAgentCommand};
use super::bodies::BodyCommand;
use super::cache::{CacheAction, CachedEntryReply, FileContents};
use super::command::{
    self, BackendAction, BridgeCommand, ConnectionAction, CredentialsAction, ListenAction, RequestsCommand,
};
use super::file_search::FoundFiles;
use super::hello::Hello;
use super::history::HistoryCommand;
use super::logs::LogsCommand;
use super::protocol::ServerMessage;
use super::replies::{
    AgentListenReply, AnswerReply, CancelReply, IncidentsReply, InvalidateReply, LogIdsReply, LogReply,
    PrioritizeReply, ReadyReply, ReconnectReply, ReloadReply, ResponseReply, ResponseStart, SendReply,
};
use crate::events;
use crate::history::{HistoryLanes, HistoryMoment};
use crate::owned_backend::OwnedBackendReport;
use crate::status::{AgentView, CacheReport, ConnectionReport, StatusReport};

const HEADER: &str = "\
// The texts of the bridge, as docs/bridge.md explains them. Generated from the Rust types: after a change, run
// `UPDATE_EXPECT=1 cargo test -p mainstay --lib --features typescript typescript`.

";

const REPLY_OF: &str = "C extends { type: infer T extends string, action: infer A extends string }
  ? Replies[`${T} ${A}` & keyof Replies]
  : Replies[C[\"type\"] & keyof Replies]";

/// Lists the commands: a pattern for each, an example of it, and the type of its reply. A command without a row does not
/// compile.
macro_rules! replies {
    ($($pattern:pat => $example:literal $reply:ty;)+) => {
        /// Returns the name of each command, with the type of its reply.
        fn replies(declarations: &mut Declarations) -> Vec<(String, String)> {
            let mut replies = Vec::new();
            $(
                let (_, command) = command::parse(&format!("{{\"id\":1,{}}}", $example));
                assert!(matches!(command, Ok($pattern)), "{}: {command:?}", $example);
                replies.push((command_name($example), declarations.add::<$reply>()));
            )+
            replies
        }

        #[allow(dead_code, reason = "the compiler checks that each command has a row")]
        fn has_row(command: &BridgeCommand) {
            match command {
                $($pattern => (),)+
                #[cfg(debug_assertions)]
                BridgeCommand::Panic { .. } => (),
            }
        }
    };
}

macro_rules! agent {
    ($action:ident) => {
        BridgeCommand::Agent(BridgeAgentCommand { action: AgentAction::$action { .. }, .. })
    };
}

replies! {
    BridgeCommand::Hello {} => r#""type":"hello""# Hello;
    BridgeCommand::Status {} => r#""type":"status""# StatusReport;
    BridgeCommand::Tree {} => r#""type":"tree""# TreeNode;
    BridgeCommand::Ready {} => r#""type":"ready""# ReadyReply;
    BridgeCommand::Agents {} => r#""type":"agents""# Vec<AgentView>;
    agent!(Show) => r#""type":"agent","action":"show","agent":"a""# AgentDetails;
    agent!(Restart) => r#""type":"agent","action":"restart","agent":"a""# AgentDetails;
    agent!(Login) => r#""type":"agent","action":"login","agent":"a""# AgentDetails;
    agent!(Stop) => r#""type":"agent","action":"stop","agent":"a""# AgentDetails;
    agent!(Start) => r#""type":"agent","action":"start","agent":"a""# AgentDetails;
    agent!(Reset) => r#""type":"agent","action":"reset","agent":"a""# AgentDetails;
    agent!(Send) => r#""type":"agent","action":"send","agent":"a","body":1"# AnswerReply<'static>;
    agent!(Cancel) => r#""type":"agent","action":"cancel","agent":"a","message_id":1"# CancelReply;
    agent!(Answer) => r#""type":"agent","action":"answer","agent":"a","ask":"a1","body":1"# ();
    agent!(Listen) => r#""type":"agent","action":"listen","agent":"a""# AgentListenReply;
    agent!(Unlisten) => r#""type":"agent","action":"unlisten","agent":"a""# ();
    agent!(Add) => r#""type":"agent","action":"add","agent":"a","config":{}"# AgentDetails;
    agent!(Remove) => r#""type":"agent","action":"remove","agent":"a""# ();
    BridgeCommand::Backend { action: BackendAction::Show } => r#""type":"backend","action":"show""# OwnedBackendReport;
    BridgeCommand::Backend { action: BackendAction::Start } => r#""type":"backend","action":"start""# OwnedBackendReport;
    BridgeCommand::Backend { action: BackendAction::Stop } => r#""type":"backend","action":"stop""# OwnedBackendReport;
    BridgeCommand::Backend { action: BackendAction::Restart } => r#""type":"backend","action":"restart""# OwnedBackendReport;
    BridgeCommand::Backend { action: BackendAction::Reset } => r#""type":"backend","action":"reset""# OwnedBackendReport;
    BridgeCommand::Connection(ConnectionAction::Show {}) => r#""type":"connection","action":"show""# ConnectionReport;
    BridgeCommand::Connection(ConnectionAction::Reconnect {}) => r#""type":"connection","action":"reconnect""# ReconnectReply;
    BridgeCommand::Connection(ConnectionAction::Disconnect {}) => r#""type":"connection","action":"disconnect""# ConnectionReport;
    BridgeCommand::Connection(ConnectionAction::Send { .. }) => r#""type":"connection","action":"send","text":"""# SendReply;
    BridgeCommand::Connection(ConnectionAction::Listen { .. }) => r#""type":"connection","action":"listen""# ();
    BridgeCommand::Connection(ConnectionAction::Unlisten {}) => r#""type":"connection","action":"unlisten""# ();
    BridgeCommand::Credentials { action: CredentialsAction::Reload } => r#""type":"credentials","action":"reload""# ReloadReply;
    BridgeCommand::Cache(CacheAction::Show {}) => r#""type":"cache","action":"show""# CacheReport;
    BridgeCommand::Cache(CacheAction::Invalidate { .. }) => r#""type":"cache","action":"invalidate","by":"all""# InvalidateReply;
    BridgeCommand::Cache(CacheAction::Get { .. }) => r#""type":"cache","action":"get","key":"a:b""# CachedEntryReply;
    BridgeCommand::Cache(CacheAction::Put { .. }) => r#""type":"cache","action":"put","key":"a:b","value":1"# ();
    BridgeCommand::Cache(CacheAction::File { .. }) => r#""type":"cache","action":"file","path":"/a""# FileContents;
    BridgeCommand::Cache(CacheAction::Search { .. }) => r#""type":"cache","action":"search","folder":"/a","query":"*""# FoundFiles;
    BridgeCommand::Body(BodyCommand::Ack { .. }) => r#""type":"body","action":"ack","request":1,"chunks":1"# ();
    BridgeCommand::Body(BodyCommand::Write { .. }) => r#""type":"body","action":"write","request":1,"base64":"""# ();
    BridgeCommand::Body(BodyCommand::End { .. }) => r#""type":"body","action":"end","request":1"# ();
    BridgeCommand::Body(BodyCommand::Abort { .. }) => r#""type":"body","action":"abort","request":1"# ();
    BridgeCommand::Files { action: ListenAction::Listen } => r#""type":"files","action":"listen""# ();
    BridgeCommand::Files { action: ListenAction::Unlisten } => r#""type":"files","action":"unlisten""# ();
    BridgeCommand::Logs(LogsCommand::Ids {}) => r#""type":"logs","action":"ids""# LogIdsReply;
    BridgeCommand::Logs(LogsCommand::Read { .. }) => r#""type":"logs","action":"read","log":"a""# LogReply;
    BridgeCommand::Logs(LogsCommand::Listen { .. }) => r#""type":"logs","action":"listen","log":"a""# ();
    BridgeCommand::Logs(LogsCommand::Unlisten { .. }) => r#""type":"logs","action":"unlisten","log":"a""# ();
    BridgeCommand::Request(_) => r#""type":"request","method":"GET","path":"/""# ResponseReply;
    BridgeCommand::Requests(RequestsCommand::Show {}) => r#""type":"requests","action":"show""# Vec<PendingRequest>;
    BridgeCommand::Requests(RequestsCommand::Cancel { .. }) => r#""type":"requests","action":"cancel","request_id":1"# CancelReply;
    BridgeCommand::Requests(RequestsCommand::Prioritize { .. }) => r#""type":"requests","action":"prioritize","request_id":1,"priority":"low""# PrioritizeReply;
    BridgeCommand::Cancel { .. } => r#""type":"cancel","request":1"# CancelReply;
    BridgeCommand::Incidents { .. } => r#""type":"incidents""# IncidentsReply;
    BridgeCommand::History(HistoryCommand::At { .. }) => r#""type":"history","action":"at","at":"2026-03-01T12:00:00Z""# HistoryMoment;
    BridgeCommand::History(HistoryCommand::Lanes { .. }) => r#""type":"history","action":"lanes""# HistoryLanes;
    BridgeCommand::Subscribe { .. } => r#""type":"subscribe""# ();
}

/// Returns the type of an example, and its action if it has one: `connection show`.
fn command_name(example: &str) -> String {
    let members: serde_json::Value = serde_json::from_str(&format!("{{{example}}}")).unwrap();
    ["type", "action"].iter().filter_map(|name| members[name].as_str()).collect::<Vec<_>>().join(" ")
}

fn declarations() -> Declarations {
    let mut declarations = Declarations::default();
    declarations.add::<BridgeCommand>();
    declarations.add::<ServerMessage>();
    declarations.add::<Record>();
    declarations.add::<ResponseStart>();
    let replies = replies(&mut declarations);
    let replies = replies.iter().map(|(name, reply)| format!("{name:?}: {reply}"));
    let replies = format!("{{ {} }}", replies.collect::<Vec<_>>().join(", "));
    let events =
        events::types().map(|event| format!("{}: {}", event.kind(), event.declare(&mut declarations)));
    let events = format!("{{ {} }}", events.collect::<Vec<_>>().join(", "));
    for (docs, name, definition) in [
        ("A span of time, as some events have it.", "Duration", "{ secs: number, nanos: number }"),
        (
            "The text of a command. Its reply has the same id.",
            "CommandText",
            "{ id: number } & BridgeCommand",
        ),
        ("The reply to each command, by the command's type and action.", "Replies", &replies),
        ("The reply to a command.", "ReplyOf<C extends BridgeCommand>", REPLY_OF),
        ("The reply to some command.", "BridgeReply", "Replies[keyof Replies]"),
        ("The fields of each kind of event.", "EventFields", &events),
        ("The kind of an event.", "EventKind", "keyof EventFields"),
        ("An event of one kind.", "EventOf<K extends EventKind>", "EventHead & { kind: K } & EventFields[K]"),
        (
            "An event: its kind says which fields it has.",
            "EventRecord",
            "{ [K in EventKind]: EventOf<K> }[EventKind]",
        ),
    ] {
        declarations.define(docs, name, definition);
    }
    declarations
}

#[test]
fn typescript_declarations_are_those_of_the_types() {
    let text = format!("{HEADER}{}", declarations().to_text());
    expect_file!["../../../../ui/protocol.d.ts"].assert_eq(&text);
}

#[test]
fn typescript_declarations_leave_no_type_open() {
    let text = declarations().to_text();
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with(['*', '/'])).collect();
    let is_word_part = |char: char| char.is_alphanumeric() || char == '_';
    assert!(!code.join("\n").split(|char| !is_word_part(char)).any(|word| word == "any"));
}
