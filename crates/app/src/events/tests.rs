//! docs/events.md: each kind with its fields, when it is recorded and an example, from the types and their docs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use mainstay_actors::error::Reason;
use serde_json::{Map, Value, json};
use syn::{Attribute, Expr, Field, Fields, ImplItem, Item, Lit, Meta, Type};

use super::*;

/// The type of a [`Reason`]: a macro defines it, and its page is generated from that.
const A_REASON: &str = "a reason of [errors.md](errors.md#every-reason)";

/// Returns the fields of one example of each kind.
fn examples() -> BTreeMap<String, Value> {
    let parse = |line| {
        let mut fields: Map<String, Value> = serde_json::from_str(line).unwrap();
        let kind = fields.remove("kind").unwrap();
        (kind.as_str().unwrap().to_owned(), fields.into())
    };
    include_str!("examples.jsonl").lines().map(parse).collect()
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
        let mut word = json_type(&field.ty, &self.types);
        if serde_value(&field.attrs, "skip_serializing_if").is_some() {
            word = format!("{}, or absent", word.trim_end_matches(" or null"));
        }
        vec![(name, word, doc_of(&field.attrs))]
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
        ("i32" | "u16" | "u32" | "u64" | "usize" | "f64" | "MessageId" | "RequestId", _) => {
            "number".to_owned()
        }
        ("bool", _) => "boolean".to_owned(),
        ("String" | "ActorPath" | "Cursor", _) => "string".to_owned(),
        ("Reason", _) => A_REASON.to_owned(),
        (name, _) => match words_of(name, types) {
            Some(words) => format!("one of {}", code_list(&words)),
            None => "object".to_owned(),
        },
    }
}

fn code_list(words: &[String]) -> String {
    let quoted = |word: &String| if word == A_REASON { format!("or {word}") } else { format!("`{word}`") };
    words.iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Returns the strings that an enum without data may be in JSON; `None` for any other type.
fn words_of(name: &str, types: &BTreeMap<String, Item>) -> Option<Vec<String>> {
    let Some(Item::Enum(found)) = types.get(name) else { return None };
    let mut words = Vec::new();
    for variant in &found.variants {
        match variant.fields.iter().next() {
            None => words.push(word_of(found, variant)),
            Some(inner) if has_serde_word(&variant.attrs, "untagged") => match name_of(&inner.ty).as_str() {
                "Reason" => words.push(A_REASON.to_owned()),
                name => words.extend(words_of(name, types)?),
            },
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
    let examples = examples();
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
            let is_reason = ty.contains(A_REASON) && Reason::from(word.to_owned()) != Reason::Other;
            let is_listed = is_reason || ty.contains(&format!("`{word}`"));
            assert!(is_listed, "{kind}: {name} may not be {word}: {ty}");
        }
    }
}

#[test]
fn every_kind_has_a_sentence_that_shows_no_raw_field() {
    for (kind, fields) in examples() {
        let sentence = summary(&record(&kind, &fields));
        let names_field = |name: &String| sentence.contains(&format!("{name}="));
        assert!(!sentence.starts_with("event "), "{sentence}");
        assert!(!fields.as_object().unwrap().keys().any(names_field), "{kind}: {sentence}");
    }
}

#[test]
fn sentence_escapes_others_text_and_names_unknown_fields() {
    let exited = json!({"cause": "error", "message": "bad\u{1b}[31m\nline", "location": null});
    for (kind, fields, sentence) in [
        ("moon_phase", json!({"phase": "full\u{1b}[2J"}), "event moon_phase phase=full\\u{1b}[2J"),
        ("actor_ready", json!({"started_within": 7}), "event actor_ready cannot be read: started_within=7"),
        ("actor_exited", exited, "ended with an error: bad\\u{1b}[31m\\nline"),
    ] {
        assert_eq!(summary(&record(kind, &fields)), sentence);
    }
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
        message 7 is quarantined after 2 attempts, because the agent or the backend ended over it
        message 7 was not sent: expired
        message 7 has failed: bad_response"#]]
    .assert_eq(&sentences.join("\n"));
}
