//! The entries that a write invalidates: pure.
//!
//! The request's target and the entries that the embedder's rules name are dropped, unless the backend cannot have
//! received the request. RFC 9111 (4.4) asks for that after a successful answer. Here it happens after every answer
//! and after none. An error may come late, an unanswered request may have been carried out, and a conflict shows a
//! stale entry. A needless drop costs one more load; a missing drop serves stale data.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::Method;

use super::key;
use super::pattern::{PatternError, Selection};
use crate::request::Request;

/// A request that may change the backend's data: any method but GET, HEAD, OPTIONS and TRACE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
}

impl<'a> From<&'a Request> for WriteRequest<'a> {
    fn from(request: &'a Request) -> Self {
        Self { method: request.method(), path: request.path_without_query() }
    }
}

/// A rule of the embedder: further entries that a write invalidates.
#[derive(Clone)]
pub struct WriteRule(WriteEffect);

#[derive(Clone)]
enum WriteEffect {
    Paths { paths: Selection, selections: Arc<[Selection]> },
    Computed(Arc<dyn Fn(WriteRequest<'_>) -> Vec<Selection> + Send + Sync>),
}

impl WriteRule {
    /// Drops `drops` after a write to a path that matches `paths`. In `paths`, `*` and `?` match text without `/`,
    /// and `**` matches any text, as in `/api/tasks/**`. The query is not part of the path.
    ///
    /// # Errors
    /// Fails if `paths` is not a valid pattern.
    pub fn after(paths: &str, drops: impl IntoIterator<Item = Selection>) -> Result<Self, PatternError> {
        Ok(Self(WriteEffect::Paths {
            paths: Selection::glob(paths)?,
            selections: drops.into_iter().collect(),
        }))
    }

    /// Drops what `drops` returns for each write. It is called before the request is sent; if it panics, the whole
    /// cache is dropped.
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

/// Returns the entries that a write invalidates: the responses of its path with any query, and those of the rules.
pub(super) fn invalidated_by(write: WriteRequest<'_>, rules: &[WriteRule]) -> Vec<Selection> {
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
    fn path_of_a_write_has_no_query() {
        let request = Request::post("/api/tasks?token=x").build().unwrap();
        assert_eq!(WriteRequest::from(&request), WriteRequest { method: &Method::POST, path: "/api/tasks" });
    }
}
