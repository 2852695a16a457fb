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
pub struct Write<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query.
    pub path: &'a str,
}

impl<'a> Write<'a> {
    /// What of `request` counts as a write; `None` where it changes nothing.
    #[must_use]
    pub fn of(request: &'a Request) -> Option<Self> {
        let write = Self { method: request.method(), path: request.path_without_query() };
        (!write.method.is_safe()).then_some(write)
    }
}

/// A rule of the embedder's: what a write makes invalid beside what it is sent to.
#[derive(Clone)]
pub struct WriteRule(Rule);

#[derive(Clone)]
enum Rule {
    Paths { paths: Selection, drops: Arc<[Selection]> },
    Computed(Arc<dyn Fn(Write<'_>) -> Vec<Selection> + Send + Sync>),
}

impl WriteRule {
    /// After a write to a path that matches `paths`, all of `drops` go. In `paths`, `*` and `?` stand for what has no `/` in
    /// it, `**` for anything, as in `/api/tasks/**`; the query is no part of it.
    ///
    /// # Errors
    /// When `paths` is no pattern.
    pub fn after(paths: &str, drops: impl IntoIterator<Item = Selection>) -> Result<Self, PatternError> {
        Ok(Self(Rule::Paths { paths: Selection::glob(paths)?, drops: drops.into_iter().collect() }))
    }

    /// After each write, what `drops` says goes. It is called before the request is sent; where it panics, everything
    /// goes.
    #[must_use]
    pub fn computed(drops: impl Fn(Write<'_>) -> Vec<Selection> + Send + Sync + 'static) -> Self {
        Self(Rule::Computed(Arc::new(drops)))
    }

    fn drops(&self, write: Write<'_>) -> Vec<Selection> {
        match &self.0 {
            Rule::Paths { paths, drops } if paths.matches_text(write.path) => drops.to_vec(),
            Rule::Paths { .. } => Vec::new(),
            Rule::Computed(drops) => {
                catch_unwind(AssertUnwindSafe(|| drops(write))).unwrap_or_else(|_| vec![Selection::all()])
            }
        }
    }
}

impl fmt::Debug for WriteRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Rule::Paths { paths, drops } => write!(f, "after {paths:?} {drops:?}"),
            Rule::Computed(_) => f.write_str("computed"),
        }
    }
}

/// What a write makes invalid: the responses of its path, whatever their query, and what the rules say.
#[must_use]
pub fn invalidated_by(write: Write<'_>, rules: &[WriteRule]) -> Vec<Selection> {
    let target = format!("{}{}", key::RESPONSES, write.path);
    let own = [Selection::key(&target), Selection::prefix(&format!("{target}?"))];
    own.into_iter().chain(rules.iter().flat_map(|rule| rule.drops(write))).collect()
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

    fn gone(method: &Method, path: &str, rules: &[WriteRule]) -> Vec<&'static str> {
        let selections = invalidated_by(Write { method, path }, rules);
        let is_gone = |key: &&str| {
            selections.iter().any(|selection| selection.matches(Candidate { key, is_of_the_link: false }))
        };
        KEYS.into_iter().filter(is_gone).collect()
    }

    #[test]
    fn what_a_write_is_sent_to_goes_with_all_of_its_queries_and_nothing_else() {
        assert_eq!(gone(&Method::POST, "/api/tasks", &[]), ["http:/api/tasks", "http:/api/tasks?open=1"]);
        assert_eq!(gone(&Method::DELETE, "/api/tasks/7", &[]), ["http:/api/tasks/7"]);
    }

    #[test]
    fn a_rule_adds_what_it_names_where_the_path_matches() {
        let rule =
            WriteRule::after("/api/tasks/*", [Selection::prefix("http:/api/tasks?"), Selection::key("n:x")]);
        let rules = [rule.unwrap()];
        assert_eq!(
            gone(&Method::PUT, "/api/tasks/7", &rules),
            ["http:/api/tasks?open=1", "http:/api/tasks/7", "n:x"]
        );
        assert_eq!(gone(&Method::PUT, "/api/tasks/7/notes", &rules), [""; 0]);
    }

    #[test]
    fn a_computed_rule_sees_the_method_and_the_path() {
        let rule = WriteRule::computed(|write| match (write.method, write.path.rsplit_once('/')) {
            (&Method::DELETE, Some((folder, _))) => vec![Selection::key(&format!("http:{folder}"))],
            _ => Vec::new(),
        });
        let rules = [rule];
        assert_eq!(gone(&Method::DELETE, "/api/tasks/7", &rules), ["http:/api/tasks", "http:/api/tasks/7"]);
        assert_eq!(gone(&Method::PATCH, "/api/tasks/7", &rules), ["http:/api/tasks/7"]);
    }

    #[test]
    fn where_a_rule_panics_everything_goes() {
        let rule = WriteRule::computed(|_| panic!("a rule that cannot"));
        assert_eq!(gone(&Method::POST, "/elsewhere", &[rule]), KEYS);
    }

    #[test]
    fn a_pattern_of_paths_that_is_none_is_refused() {
        let error = WriteRule::after("/api/[tasks", []).unwrap_err().to_string();
        assert!(error.contains("/api/[tasks"), "{error}");
    }

    #[test]
    fn reading_is_no_write_and_the_query_is_no_part_of_the_path() {
        let request = |method: Method| Request::builder(method, "/api/tasks?token=x").build().unwrap();
        for safe in [Method::GET, Method::HEAD, Method::OPTIONS] {
            assert_eq!(Write::of(&request(safe)), None);
        }
        for unsafe_one in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            assert_eq!(Write::of(&request(unsafe_one)).unwrap().path, "/api/tasks");
        }
    }
}
