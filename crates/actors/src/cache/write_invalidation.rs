//! What a request that changes something makes of the cache: pure.
//!
//! The target of the request and what the embedder's rules name go, unless the backend cannot have received it: RFC 9111,
//! section 4.4, which asks for that after an answer that is no error. Here it is done after every answer, and after none:
//! an error may come late, a request without an answer may have been carried out, and a conflict shows that what is kept is
//! old. What goes needlessly is loaded once more; what stays wrongly is stale.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::Method;

use super::key;
use super::pattern::{PatternError, Selection};
use crate::request::Request;

/// A request that may change what the backend has: any but GET, HEAD, OPTIONS and TRACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteRequest<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
}

impl<'a> WriteRequest<'a> {
    /// What of `request` counts as a write; `None` where it changes nothing.
    #[must_use]
    pub fn from_request(request: &'a Request) -> Option<Self> {
        let write = Self { method: request.method(), path: request.path_without_query() };
        (!write.method.is_safe()).then_some(write)
    }
}

/// A rule of the embedder's: what a write makes invalid beside what it is sent to.
#[derive(Clone)]
pub struct WriteRule(WriteEffect);

#[derive(Clone)]
enum WriteEffect {
    Paths { paths: Selection, selections: Arc<[Selection]> },
    Computed(Arc<dyn Fn(WriteRequest<'_>) -> Vec<Selection> + Send + Sync>),
}

impl WriteRule {
    /// After a write to a path that matches `paths`, all of `drops` go. In `paths`, `*` and `?` stand for what has no `/` in
    /// it, `**` for anything, as in `/api/tasks/**`; the query is no part of it.
    ///
    /// # Errors
    /// When `paths` is no pattern.
    pub fn after(paths: &str, drops: impl IntoIterator<Item = Selection>) -> Result<Self, PatternError> {
        Ok(Self(WriteEffect::Paths {
            paths: Selection::glob(paths)?,
            selections: drops.into_iter().collect(),
        }))
    }

    /// After each write, what `drops` says goes. It is called before the request is sent; where it panics, everything
    /// goes.
    #[must_use]
    pub fn computed(drops: impl Fn(WriteRequest<'_>) -> Vec<Selection> + Send + Sync + 'static) -> Self {
        Self(WriteEffect::Computed(Arc::new(drops)))
    }

    fn selections_for(&self, write: WriteRequest<'_>) -> Vec<Selection> {
        match &self.0 {
            WriteEffect::Paths { paths, selections: drops } if paths.matches_str(write.path) => {
                drops.to_vec()
            }
            WriteEffect::Paths { .. } => Vec::new(),
            WriteEffect::Computed(drops) => {
                catch_unwind(AssertUnwindSafe(|| drops(write))).unwrap_or_else(|_| vec![Selection::all()])
            }
        }
    }
}

impl fmt::Debug for WriteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            WriteEffect::Paths { paths, selections: drops } => write!(f, "after {paths:?} {drops:?}"),
            WriteEffect::Computed(_) => f.write_str("computed"),
        }
    }
}

/// What a write makes invalid: the responses of its path, whatever their query, and what the rules say.
#[must_use]
pub fn invalidated_by(write: WriteRequest<'_>, rules: &[WriteRule]) -> Vec<Selection> {
    let target = format!("{}{}", key::RESPONSE_PREFIX, write.path);
    let own = [Selection::key(&target), Selection::prefix(&format!("{target}?"))];
    own.into_iter().chain(rules.iter().flat_map(|rule| rule.selections_for(write))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Candidate;
    use super::*;

    const KEYS: [&str; 6] = [
        "http:/api/tasks",
        "http:/api/tasks?open=1",
        "http:/api/tasks/7",
        "http:/api/tasksx",
        "n:tasks",
        "n:x",
    ];

    fn invalidated_keys(method: &Method, path: &str, rules: &[WriteRule]) -> Vec<&'static str> {
        let selections = invalidated_by(WriteRequest { method, path }, rules);
        let is_gone = |key: &&str| {
            selections
                .iter()
                .any(|selection| selection.matches(Candidate { key, depends_on_connection: false }))
        };
        KEYS.into_iter().filter(is_gone).collect()
    }

    #[test]
    fn write_invalidates_its_path_with_any_query_only() {
        assert_eq!(
            invalidated_keys(&Method::POST, "/api/tasks", &[]),
            ["http:/api/tasks", "http:/api/tasks?open=1"]
        );
        assert_eq!(invalidated_keys(&Method::DELETE, "/api/tasks/7", &[]), ["http:/api/tasks/7"]);
    }

    #[test]
    fn rule_matching_path_adds_its_selections() {
        let rule =
            WriteRule::after("/api/tasks/*", [Selection::prefix("http:/api/tasks?"), Selection::key("n:x")]);
        let rules = [rule.unwrap()];
        assert_eq!(
            invalidated_keys(&Method::PUT, "/api/tasks/7", &rules),
            ["http:/api/tasks?open=1", "http:/api/tasks/7", "n:x"]
        );
        assert_eq!(invalidated_keys(&Method::PUT, "/api/tasks/7/notes", &rules), [""; 0]);
    }

    #[test]
    fn computed_rule_receives_method_and_path() {
        let rule = WriteRule::computed(|write| match (write.method, write.path.rsplit_once('/')) {
            (&Method::DELETE, Some((folder, _))) => vec![Selection::key(&format!("http:{folder}"))],
            _ => Vec::new(),
        });
        let rules = [rule];
        assert_eq!(
            invalidated_keys(&Method::DELETE, "/api/tasks/7", &rules),
            ["http:/api/tasks", "http:/api/tasks/7"]
        );
        assert_eq!(invalidated_keys(&Method::PATCH, "/api/tasks/7", &rules), ["http:/api/tasks/7"]);
    }

    #[test]
    fn rule_panic_invalidates_everything() {
        let rule = WriteRule::computed(|_| panic!("a rule that cannot"));
        assert_eq!(invalidated_keys(&Method::POST, "/elsewhere", &[rule]), KEYS);
    }

    #[test]
    fn rule_malformed_path_pattern_errors() {
        let error = WriteRule::after("/api/[tasks", []).unwrap_err().to_string();
        assert!(error.contains("/api/[tasks"), "{error}");
    }

    #[test]
    fn from_request_safe_method_is_none_and_path_has_no_query() {
        let request = |method: Method| Request::builder(method, "/api/tasks?token=x").build().unwrap();
        for safe in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(WriteRequest::from_request(&request(safe)), None);
        }
        for unsafe_one in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(WriteRequest::from_request(&request(unsafe_one)).unwrap().path, "/api/tasks");
        }
    }
}
