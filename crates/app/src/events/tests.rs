//! docs/events.md: each kind with its fields, when it is recorded and an example, from the types and their docs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use syn::{Attribute, Expr, Field, Fields, ImplItem, Item, Lit, Meta, Type};

use super::*;

/// The fields of one example of each kind.
fn examples() -> Vec<(&'static str, Value)> {
    let request = |fields: Value| {
        let mut all = json!({"request_id": 17, "method": "POST", "path": "/items"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        all
    };
    vec![
        ("runtime_started", json!({"pid": 4711, "version": "0.1.0", "boot": "3f1c9a52d07be846"})),
        ("run_interrupted", json!({"last_event": "3.17"})),
        ("runtime_stopping", json!({})),
        ("runtime_stopped", json!({"cause": "normal", "message": null})),
        (
            "journal_degraded",
            json!({"reason": "the disk refuses lines, they wait in memory: no space left",
            "lost_from": null, "lost_to": null}),
        ),
        ("actor_started", json!({})),
        ("actor_ready", json!({"start_ms": 12})),
        (
            "actor_exited",
            json!({"cause": "panic", "message": "index out of bounds", "location": "src/pool.rs:31:9"}),
        ),
        ("abandoned_ended", json!({})),
        ("decision", decision()),
        ("actor_restarted", json!({"downtime_ms": 5003, "state": "restored", "backlog": 2})),
        ("budget_reset", json!({})),
        ("start_ordered", json!({"order": "restart"})),
        ("gave_up", json!({"restarts": 5, "last_error": "exit code 1", "next_step": "reset the agent"})),
        ("escalated", json!({"reason": "5 restarts within 600 s are too many"})),
        ("auto_shutdown", json!({"by": "root/pool/main"})),
        ("checkpoint_discarded", json!({"crashes": 3})),
        ("dead_letter", json!({"reason": "poison", "label": "Import", "crashes": 2})),
        ("redelivered", json!({"label": "Import", "crashes": 1, "crashes_max": 2})),
        ("state_loaded", json!({"version": 2, "bytes": 418})),
        ("state_migrated", json!({"from": 1, "to": 2})),
        (
            "state_refused",
            json!({"version": 3, "expected": 2,
            "reason": "version 3 is newer than 2, the newest one known"}),
        ),
        ("state_degraded", json!({"reason": "the disk takes states again"})),
        ("backend_started", json!({"pid": 4712, "ready_ms": 840})),
        (
            "connection_state",
            json!({"from": "connected", "to": "reconnecting", "attempt": 1, "max": 10,
            "next_attempt_at": "2026-03-01T12:00:01.250Z", "next_attempt_in_ms": 500, "reason": "closed",
            "error": null}),
        ),
        ("connection_gap", json!({"after": 41, "next": 57})),
        (
            "connection_unsent",
            json!({"reason": "no_room", "messages": 3, "bytes": 912, "largest_bytes": 400,
            "abandoned": 0, "messages_max": 256, "bytes_max": 1_048_576}),
        ),
        ("connection_ignored", json!({"reason": "binary", "frames": 1, "bytes": 64})),
        ("request_started", request(json!({"attempt": 1, "waited_ms": 3}))),
        ("request_joined", request(json!({"with": 16}))),
        ("request_retry", request(json!({"attempt": 2, "delay_ms": 250, "reason": "disconnected"}))),
        (
            "request_done",
            request(json!({"status": 200, "ms": 41, "cached": false, "attempts": 1, "bytes": 1024})),
        ),
        (
            "request_failed",
            request(json!({"code": "SERVER_ERROR", "reason": "bad_response", "status": 200, "ms": 41,
            "attempts": 1})),
        ),
        (
            "request_timed_out",
            request(json!({"code": "TIMEOUT", "reason": "expired", "status": null, "ms": 30_000,
            "attempts": 0})),
        ),
        (
            "queue_held",
            json!({"reason": "disconnected", "failures": 0, "next_probe_in_ms": 1000, "waiting": 3}),
        ),
        ("queue_released", json!({"reason": "disconnected", "failures": 2, "held_ms": 7200, "waiting": 3})),
        (
            "queue_overflow",
            request(json!({"reason": "queue_full", "priority": "normal", "overflow": "reject",
            "queue_max": 1000})),
        ),
        ("cache_invalidated", json!({"by": "prefix", "pattern": "items/", "entries": 4})),
        ("cache_aged", json!({"suspended_ms": 3_600_000})),
        ("watch_started", json!({"root": "/projects/demo"})),
        (
            "watch_lost",
            json!({"root": "/projects/demo", "reason": "missing", "details": null,
            "next_step": "create the folder", "next_attempt_ms": 1000}),
        ),
        ("watch_regained", json!({"root": "/projects/demo", "lost_ms": 5000, "attempts": 3})),
        (
            "agent_health",
            json!({"from": "healthy", "to": "degraded", "misses": 1, "reason": "a check was missed"}),
        ),
        ("agent_stuck", json!({"quiet_ms": 100_000, "progress_timeout_ms": 90_000, "in_flight": 1})),
        ("agent_state_quarantined", json!({"read_at": "2026-03-01T11:00:00Z", "bytes": 1234})),
        ("agent_checks_quarantined", json!({"deaths": 2})),
        ("agent_session_lost", json!({"id": "s1", "why": "it was about another folder"})),
        ("agent_reset", json!({"from": "failed"})),
        ("message_sent", json!({"message_id": 7, "attempt": 1})),
        ("message_answered", json!({"message_id": 7})),
        (
            "message_failed",
            json!({"message_id": 7, "attempts": 1, "code": "SERVER_ERROR",
            "reason": "outcome_unknown"}),
        ),
        ("message_redelivered", json!({"message_id": 7, "attempts": 1, "attempts_max": 3})),
        ("process_orphan", json!({"name": "backend", "pid": 4712, "processes": 2, "survivors": []})),
        ("pid_file_damaged", json!({"damaged_lines": 1})),
        (
            "process_warning",
            serde_json::to_value(ProcessWarning {
                warning: ManagerWarning::PidFileFailed { reason: "no space left".to_owned() },
            })
            .unwrap(),
        ),
    ]
}

/// Returns the fields of a decision to restart, as a supervisor records it.
fn decision() -> Value {
    use mainstay_runtime::policy::{ChildPolicy, Exit, ExitCause, StateSource, SupervisorPolicy};
    let inputs = DecisionInputs {
        now_ms: 10_000,
        jitter: 0.0,
        significant_others: 0,
        exit: Exit::of(ExitCause::Panic),
        history: Default::default(),
        siblings: Default::default(),
        child: ChildPolicy::default().into(),
        supervisor: SupervisorPolicy::default(),
    };
    let decided = Decided {
        decision: DecisionKind::Restart,
        delay_ms: Some(5000),
        attempt: Some(1),
        state: Some(StateSource::Checkpoint),
        budget: Some(BudgetUse { used: 1, max: 5, window_ms: 600_000 }),
        scope: Vec::new(),
        inputs,
    };
    serde_json::to_value(decided).unwrap()
}

fn record(kind: &str, fields: &Value) -> Record {
    let mut line = json!({"run": 1, "seq": 1, "at": "2026-03-01T12:00:00.000Z", "mono_ms": 1, "actor": "root/a",
        "generation": 1, "kind": kind});
    line.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    serde_json::from_value(line).unwrap()
}

/// A kind of event, as its source text describes it.
struct Documented {
    kind: String,
    type_name: String,
    level: String,
    is_verbose: bool,
}

/// The types of the sources, and those of them that are events.
#[derive(Default)]
struct Sources {
    types: BTreeMap<String, Item>,
    events: Vec<Documented>,
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut sources = Self::default();
        for name in ["runtime", "actors", "app"] {
            for path in rust_files(&root.join("crates").join(name).join("src")) {
                let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
                file.items.into_iter().for_each(|item| sources.add(item));
            }
        }
        sources
    }

    fn add(&mut self, item: Item) {
        match &item {
            Item::Struct(found) => {
                // Private types of one name are no events.
                if matches!(found.vis, syn::Visibility::Public(_)) {
                    self.types.insert(found.ident.to_string(), item);
                }
            }
            Item::Enum(found) => {
                self.types.entry(found.ident.to_string()).or_insert(item);
            }
            Item::Impl(found) => {
                let implemented = found.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
                if implemented.is_some_and(|name| name.ident == "Event") {
                    self.events.push(documented(found));
                }
            }
            _ => {}
        }
    }

    /// Returns the name, the type and the doc of each field of a type, with those of flattened ones in their place.
    fn fields_of(&self, type_name: &str) -> Vec<(String, String, String)> {
        match &self.types[type_name] {
            Item::Struct(found) => match &found.fields {
                Fields::Named(named) => named.named.iter().flat_map(|field| self.field(field)).collect(),
                Fields::Unnamed(inner) => self.fields_of(&name_of(&inner.unnamed[0].ty)),
                Fields::Unit => Vec::new(),
            },
            Item::Enum(found) => {
                let tag = serde_value(&found.attrs, "tag").unwrap();
                let variants = found
                    .variants
                    .iter()
                    .map(|variant| format!("`{}`: {}", word_of(found, variant), doc_of(&variant.attrs)));
                let variants = variants.collect::<Vec<_>>().join(" ");
                let words: Vec<_> = found.variants.iter().map(|variant| word_of(found, variant)).collect();
                let mut fields = vec![(tag, format!("one of {}", code_list(&words)), variants)];
                for field in found.variants.iter().flat_map(|variant| &variant.fields) {
                    let field = self.field(field);
                    let is_new = !fields.iter().any(|(name, ..)| *name == field[0].0);
                    fields.extend(field.into_iter().filter(|_| is_new));
                }
                fields
            }
            _ => Vec::new(),
        }
    }

    fn field(&self, field: &Field) -> Vec<(String, String, String)> {
        let name = field.ident.as_ref().unwrap().to_string();
        if has_serde_word(&field.attrs, "flatten") {
            return self.fields_of(&name_of(&field.ty));
        }
        vec![(name, json_type(&field.ty, &self.types), doc_of(&field.attrs))]
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let files = entries.into_iter().filter(|path| path.file_stem().is_none_or(|stem| stem != "tests"));
    files
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn documented(found: &syn::ItemImpl) -> Documented {
    let mut event = Documented {
        kind: String::new(),
        type_name: name_of(&found.self_ty),
        level: "info".to_owned(),
        is_verbose: false,
    };
    for item in &found.items {
        let ImplItem::Const(constant) = item else { continue };
        match (constant.ident.to_string().as_str(), &constant.expr) {
            ("KIND", Expr::Lit(text)) => {
                if let Lit::Str(text) = &text.lit {
                    event.kind = text.value();
                }
            }
            // The one kind that has a constant of its own.
            ("KIND", _) => event.kind = RuntimeStopped::KIND.to_owned(),
            ("LEVEL", Expr::Path(level)) => {
                event.level = level.path.segments.last().unwrap().ident.to_string().to_lowercase();
            }
            ("VERBOSE", _) => event.is_verbose = true,
            _ => {}
        }
    }
    event
}

fn name_of(ty: &Type) -> String {
    let Type::Path(path) = ty else { return String::new() };
    path.path.segments.last().unwrap().ident.to_string()
}

/// Returns the word for a type in the table; for an enum, the values that it may have.
fn json_type(ty: &Type, types: &BTreeMap<String, Item>) -> String {
    let Type::Path(path) = ty else { return "value".to_owned() };
    let last = path.path.segments.last().unwrap();
    let inner = match &last.arguments {
        syn::PathArguments::AngleBracketed(arguments) => {
            arguments.args.iter().find_map(|argument| match argument {
                syn::GenericArgument::Type(inner) => Some(inner),
                _ => None,
            })
        }
        _ => None,
    };
    match (last.ident.to_string().as_str(), inner) {
        ("Option", Some(inner)) => format!("{} or null", json_type(inner, types)),
        ("Arc" | "Box", Some(inner)) => json_type(inner, types),
        ("Vec", Some(inner)) => format!("list of {}s", json_type(inner, types)),
        ("u16" | "u32" | "u64" | "usize" | "f64" | "MessageId" | "RequestId", _) => "number".to_owned(),
        ("bool", _) => "boolean".to_owned(),
        ("String" | "ActorPath" | "Cursor", _) => "string".to_owned(),
        // A macro defines it, and its page is generated from that.
        ("Reason", _) => "a reason of [errors.md](errors.md#every-reason)".to_owned(),
        (name, _) => match words_of(name, types) {
            Some(words) => format!("one of {}", code_list(&words)),
            None => "object".to_owned(),
        },
    }
}

fn code_list(words: &[String]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// Returns the strings that an enum without data may be in JSON; `None` for any other type.
fn words_of(name: &str, types: &BTreeMap<String, Item>) -> Option<Vec<String>> {
    let Some(Item::Enum(found)) = types.get(name) else { return None };
    let mut words = Vec::new();
    for variant in &found.variants {
        match variant.fields.iter().next() {
            None => words.push(word_of(found, variant)),
            Some(inner) if has_serde_word(&variant.attrs, "untagged") => {
                words.extend(words_of(&name_of(&inner.ty), types)?);
            }
            Some(_) => return None,
        }
    }
    Some(words)
}

/// Returns a variant's name in JSON, as serde derives it.
fn word_of(of: &syn::ItemEnum, variant: &syn::Variant) -> String {
    let name = variant.ident.to_string();
    let snake = snake_case(&name);
    match (serde_value(&variant.attrs, "rename"), serde_value(&of.attrs, "rename_all").as_deref()) {
        (Some(renamed), _) => renamed,
        (None, None) => name,
        (None, Some("snake_case")) => snake,
        (None, Some("kebab-case")) => snake.replace('_', "-"),
        (None, Some("lowercase")) => name.to_lowercase(),
        (None, Some("SCREAMING_SNAKE_CASE")) => snake.to_uppercase(),
        (None, Some(other)) => panic!("{}: rename_all = {other:?} is not known here", of.ident),
    }
}

/// Returns a doc comment's first paragraph as Markdown, with links as plain code.
fn doc_of(attrs: &[Attribute]) -> String {
    let lines = attrs.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

fn serde_attributes(attrs: &[Attribute]) -> impl Iterator<Item = String> {
    attrs.iter().filter(|attr| attr.path().is_ident("serde")).filter_map(|attr| match &attr.meta {
        Meta::List(list) => Some(list.tokens.to_string()),
        _ => None,
    })
}

fn has_serde_word(attrs: &[Attribute], word: &str) -> bool {
    serde_attributes(attrs).any(|tokens| tokens.split([',', ' ']).any(|found| found == word))
}

fn serde_value(attrs: &[Attribute], name: &str) -> Option<String> {
    serde_attributes(attrs).find_map(|tokens| {
        let (_, rest) = tokens.split_once(&format!("{name} = \""))?;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (index, c) in name.char_indices() {
        if c.is_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

const HEAD: &str = "# Events

Generated from the event types: after a change, run `UPDATE_EXPECT=1 cargo test -p mainstay --lib events`.

Each event is one line of JSON in the journal ([journal.md](journal.md)). Every line has `run`, `seq`, `at`, `mono_ms`,
`actor`, `generation`, `kind` and `crc`; the tables below list the fields that each kind adds. Rust programs read a
`Record` as its type with `record.event::<ActorReady>()`, and get its sentence with `events::summary(&record)`.

The level is that of the kind's `tracing` event; a few kinds choose another level by their content. A *verbose* kind is
recorded only with `--log debug`, or with `MainstayBuilder::verbose`.
";

#[test]
fn events_page_lists_every_kind_with_fields_and_example() {
    let sources = Sources::read();
    let examples: BTreeMap<_, _> = examples().into_iter().collect();
    let mut page = HEAD.to_owned();
    let mut listed = BTreeSet::new();
    for event_type in types() {
        let kind = event_type.kind();
        let event = sources.events.iter().find(|event| event.kind == kind).unwrap();
        let fields = &examples[kind];
        let (_, sentence) =
            event_type.read(&record(kind, fields)).unwrap_or_else(|| panic!("{kind}: {fields}"));
        let Documented { type_name, level, is_verbose, .. } = event;
        let when = match &sources.types[type_name] {
            Item::Struct(found) => doc_of(&found.attrs),
            _ => String::new(),
        };
        assert_eq!(*is_verbose, event_type.is_verbose(), "{kind}");
        assert!(listed.insert(kind), "{kind} is listed twice");
        let verbose = if *is_verbose { ", verbose" } else { "" };
        writeln!(page, "\n## `{kind}`\n\n{when} (`{type_name}`, {level}{verbose})\n").unwrap();
        writeln!(page, "> {sentence}").unwrap();
        let fields_of = sources.fields_of(type_name);
        assert_example_fits(kind, fields.as_object().unwrap(), &fields_of);
        if !fields_of.is_empty() {
            writeln!(page, "\n| Field | Type | Meaning |\n|---|---|---|").unwrap();
        }
        for (name, ty, doc) in fields_of {
            writeln!(page, "| `{name}` | {ty} | {doc} |").unwrap();
        }
    }
    let known: BTreeSet<_> = sources.events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(known, listed, "each type of event is in its crate's list");
    expect_test::expect_file!["../../../../docs/events.md"].assert_eq(&page);
}

/// Checks that the table has each field of an example, and its value where it lists the values.
fn assert_example_fits(kind: &str, example: &Map<String, Value>, fields: &[(String, String, String)]) {
    for (name, value) in example {
        let field = fields.iter().find(|(field, ..)| field == name);
        let (_, ty, _) = field.unwrap_or_else(|| panic!("{kind} has no field {name}: {fields:?}"));
        if let (true, Some(word)) = (ty.starts_with("one of"), value.as_str()) {
            assert!(ty.contains(&format!("`{word}`")), "{kind}: {name} may not be {word}: {ty}");
        }
    }
}

#[test]
fn unknown_kind_and_unknown_fields_get_a_generic_sentence() {
    let unknown = record("moon_phase", &json!({"phase": "full\u{1b}[2J"}));
    assert_eq!(summary(&unknown), "event moon_phase phase=full\\u{1b}[2J");
    let newer = record("actor_ready", &json!({"started_within": 7}));
    assert_eq!(summary(&newer), "event actor_ready started_within=7");
}

#[test]
fn control_characters_of_others_are_escaped() {
    let exited = json!({"cause": "error", "message": "bad\u{1b}[31m\nline", "location": null});
    assert_eq!(summary(&record("actor_exited", &exited)), "ended with an error: bad\\u{1b}[31m\\nline");
}

#[test]
fn message_failures_have_their_own_sentences() {
    let failed = |reason: &str, code: &str, attempts: u32| {
        summary(&record(
            "message_failed",
            &json!({"message_id": 7, "attempts": attempts, "code": code, "reason": reason}),
        ))
    };
    let sentences = [
        failed("outcome_unknown", "SERVER_ERROR", 1),
        failed("cancelled", "TIMEOUT", 1),
        failed("quarantined", "SERVER_ERROR", 2),
        failed("expired", "TIMEOUT", 0),
        failed("bad_response", "SERVER_ERROR", 1),
    ];
    expect_test::expect![[r#"
        message 7 was interrupted: the agent may have acted on it, so it is not sent again (outcome_unknown)
        message 7 was cancelled
        message 7 is quarantined: the agent or the backend ended each time it was sent, 2 times
        message 7 was not sent: TIMEOUT, expired
        message 7 has failed: SERVER_ERROR, bad_response"#]]
    .assert_eq(&sentences.join("\n"));
}
