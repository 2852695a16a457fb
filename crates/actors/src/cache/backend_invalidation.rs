//! Drops what the backend invalidates over the connection.

use std::mem;

use futures_util::{FutureExt, future::BoxFuture};
use mainstay_runtime::Context;

use super::{
    actor::{CacheInvalidated, InvalidatedBy, Invalidation},
    handle::CacheHandle,
    key,
    pattern::Selection,
};
use crate::connection::{BackendInvalidation, ConnectionMessage, InvalidationSink};

impl InvalidationSink for CacheHandle {
    fn invalidate<'a>(
        &'a self,
        ctx: &'a mut Context<ConnectionMessage>,
        invalidation: BackendInvalidation,
    ) -> BoxFuture<'a, ()> {
        async move {
            let mut invalidation = Invalidation::from(invalidation);
            let entries = self.invalidate_all(mem::take(&mut invalidation.selections)).await;
            // Most backends invalidate more than a shell has cached.
            if entries > 0 {
                let Invalidation { by, pattern, .. } = invalidation;
                ctx.record(&CacheInvalidated { by, pattern, entries });
            }
        }
        .boxed()
    }
}

impl From<BackendInvalidation> for Invalidation {
    /// Selects the entries to drop. A key that begins with a slash is the path of a response; without a query, it also
    /// selects the same path with any query. An unreadable frame and a gap select all entries that depend on the
    /// connection.
    fn from(invalidation: BackendInvalidation) -> Self {
        let all = |by, pattern: &str| Self {
            by,
            pattern: pattern.to_owned(),
            selections: vec![Selection::depends_on_connection()],
        };
        match invalidation {
            BackendInvalidation::Keys(keys) => from_keys(&keys),
            BackendInvalidation::Unreadable => all(
                InvalidatedBy::Backend,
                "unreadable: \"keys\" is a list of texts; all that depends on the connection",
            ),
            BackendInvalidation::Gap => all(InvalidatedBy::Gap, "all that depends on the connection"),
        }
    }
}

fn from_keys(keys: &[String]) -> Invalidation {
    let selections = keys.iter().flat_map(|named| {
        let is_path = named.starts_with('/');
        let named = if is_path { &format!("{}{named}", key::RESPONSE_PREFIX) } else { named };
        let with_query = (is_path && !named.contains('?')).then(|| Selection::prefix(&format!("{named}?")));
        [Selection::key(named)].into_iter().chain(with_query)
    });
    let selections = selections.collect();
    let pattern = match keys {
        [one] => without_query(one).to_owned(),
        keys => format!("{} keys", keys.len()),
    };
    Invalidation { by: InvalidatedBy::Backend, pattern, selections }
}

/// Returns the key without its query, which may hold private data.
fn without_query(key: &str) -> &str {
    key.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(keys: &[&str]) -> (String, String) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        let Invalidation { by, pattern, selections } = BackendInvalidation::Keys(keys).into();
        assert_eq!(by, InvalidatedBy::Backend);
        (pattern, format!("{selections:?}"))
    }

    #[test]
    fn each_key_that_the_backend_names_is_dropped() {
        let one = selected(&["notes:today"]);
        assert_eq!(one, ("notes:today".to_owned(), r#"[key "notes:today"]"#.to_owned()));
        let (pattern, selections) = selected(&["a:1", "b:2"]);
        assert_eq!((pattern.as_str(), selections.as_str()), ("2 keys", r#"[key "a:1", key "b:2"]"#));
        assert_eq!(selected(&[]).1, "[]");
    }

    #[test]
    fn path_selects_its_response_and_query_is_not_journalled() {
        let (pattern, selections) = selected(&["/api/tasks?token=x"]);
        assert_eq!(pattern, "/api/tasks");
        assert_eq!(selections, r#"[key "http:/api/tasks?token=x"]"#);
        let (_, selections) = selected(&["/api/tasks"]);
        assert_eq!(selections, r#"[key "http:/api/tasks", prefix "http:/api/tasks?"]"#);
    }

    #[test]
    fn unreadable_frame_or_gap_selects_what_depends_on_connection() {
        let all = format!("{:?}", [Selection::depends_on_connection()]);
        for (invalidation, by) in [
            (BackendInvalidation::Unreadable, InvalidatedBy::Backend),
            (BackendInvalidation::Gap, InvalidatedBy::Gap),
        ] {
            let invalidation = Invalidation::from(invalidation);
            assert_eq!((invalidation.by, format!("{:?}", invalidation.selections)), (by, all.clone()));
        }
    }
}
