//! Declares reasons, and the two members of an error that belong together: its code and its reason.

use std::path::PathBuf;

use ts_rs::{Config, TS, TypeVisitor, format_docs};

use super::{Code, Reason};

/// The members `code` and `reason` of an error.
struct ErrorCause;

impl TS for Reason {
    type WithoutGenerics = Self;
    type OptionInnerType = Self;

    fn docs() -> Option<String> {
        Some(format_docs(&[" The cause of a failure, finer than its code. New ones may be added."]))
    }

    fn decl(config: &Config) -> String {
        format!("type Reason = {};", Self::inline(config))
    }

    fn name(_: &Config) -> String {
        "Reason".to_owned()
    }

    fn inline(_: &Config) -> String {
        union(Self::ALL.iter().copied())
    }

    fn inline_flattened(config: &Config) -> String {
        ErrorCause::name(config)
    }

    fn visit_dependencies(visitor: &mut impl TypeVisitor) {
        visitor.visit::<ErrorCause>();
    }

    fn output_path() -> Option<PathBuf> {
        Some("Reason.ts".into())
    }
}

impl TS for ErrorCause {
    type WithoutGenerics = Self;
    type OptionInnerType = Self;

    fn docs() -> Option<String> {
        Some(format_docs(&[
            " The reason of an error, and its code. Two reasons have the code of the error that they replace.",
        ]))
    }

    fn decl(config: &Config) -> String {
        format!("type ErrorCause = {};", Self::inline(config))
    }

    fn name(_: &Config) -> String {
        "ErrorCause".to_owned()
    }

    fn inline(_: &Config) -> String {
        let mut rest: Vec<Reason> = Reason::ALL.to_vec();
        let replacing: Vec<Reason> = rest.extract_if(.., |reason| is_replacing(*reason)).collect();
        let mut pairs = Vec::new();
        while let Some(code) = rest.first().map(|reason| reason.code()) {
            let reasons = rest.extract_if(.., |reason| reason.code() == code);
            pairs.push(format!("{{ code: {:?}, reason: {} }}", code.as_str(), union(reasons)));
        }
        pairs.push(format!("{{ code: Code, reason: {} }}", union(replacing.into_iter())));
        pairs.join(" | ")
    }

    fn visit_dependencies(visitor: &mut impl TypeVisitor) {
        visitor.visit::<Code>();
    }

    fn output_path() -> Option<PathBuf> {
        Some("ErrorCause.ts".into())
    }
}

/// Returns whether an error with this reason has the code of another one.
fn is_replacing(reason: Reason) -> bool {
    matches!(reason, Reason::OutcomeUnknown | Reason::Other)
}

/// Returns the type of a text that is one of the names.
fn union(reasons: impl Iterator<Item = Reason>) -> String {
    reasons.map(|reason| format!("{:?}", reason.as_str())).collect::<Vec<_>>().join(" | ")
}
