//! What the backend says over the link that the cache must not serve any more: pure.

use serde::Deserialize;

use crate::cache::{CacheInvalidated, InvalidatedBy, Invalidation, Selection, key};

/// The frame `{"type":"invalidate","keys":[…]}`.
#[derive(Deserialize)]
struct InvalidationFrame {
    keys: Vec<String>,
}

/// What a frame of the type `invalidate` drops. A key that begins with a slash is the path of a response; where it has no
/// query, those with one go as well.
///
/// Where it cannot be read, something is no longer true and nobody knows what: all that depends on the link goes.
pub(super) fn from_frame(text: &str) -> Invalidation {
    let by = InvalidatedBy::Backend;
    let Ok(InvalidationFrame { keys }) = serde_json::from_str(text) else {
        let pattern = "unreadable: \"keys\" is a list of texts; all that depends on the link".to_owned();
        return Invalidation { by, pattern, selections: vec![Selection::depends_on_connection()] };
    };
    let selections = keys.iter().flat_map(|named| {
        let is_path = named.starts_with('/');
        let named = if is_path { &format!("{}{named}", key::RESPONSE_PREFIX) } else { named };
        let with_query = (is_path && !named.contains('?')).then(|| Selection::prefix(&format!("{named}?")));
        [Selection::key(named)].into_iter().chain(with_query)
    });
    let selections = selections.collect();
    let pattern = match &keys[..] {
        [one] => without_query(one).to_owned(),
        keys => format!("{} keys", keys.len()),
    };
    Invalidation { by, pattern, selections }
}

/// What is dropped when something that the backend said may have been missed.
pub(super) fn from_gap() -> Invalidation {
    let pattern = "all that depends on the link".to_owned();
    Invalidation { by: InvalidatedBy::Gap, pattern, selections: vec![Selection::depends_on_connection()] }
}

/// What the journal says of it. `None` where there was nothing: most backends invalidate more than a shell has.
pub(super) fn invalidated_event(invalidation: Invalidation, entries: u64) -> Option<CacheInvalidated> {
    let Invalidation { by, pattern, .. } = invalidation;
    (entries > 0).then_some(CacheInvalidated { by, pattern, entries })
}

/// A query may hold what is nobody's business.
fn without_query(key: &str) -> &str {
    key.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String) {
        let Invalidation { by, pattern, selections } = from_frame(text);
        assert_eq!(by, InvalidatedBy::Backend);
        (pattern, format!("{selections:?}"))
    }

    #[test]
    fn each_key_that_the_backend_names_is_dropped() {
        let one = read(r#"{"type":"invalidate","keys":["notes:today"]}"#);
        assert_eq!(one, ("notes:today".to_owned(), r#"[key "notes:today"]"#.to_owned()));
        let (pattern, selections) = read(r#"{"type":"invalidate","keys":["a:1","b:2"],"more":true}"#);
        assert_eq!((pattern.as_str(), selections.as_str()), ("2 keys", r#"[key "a:1", key "b:2"]"#));
        assert_eq!(read(r#"{"type":"invalidate","keys":[]}"#).1, "[]");
    }

    #[test]
    fn path_selects_its_response_and_query_is_not_journalled() {
        let (pattern, selections) = read(r#"{"type":"invalidate","keys":["/api/tasks?token=x"]}"#);
        assert_eq!(pattern, "/api/tasks");
        assert_eq!(selections, r#"[key "http:/api/tasks?token=x"]"#);
        let (_, selections) = read(r#"{"type":"invalidate","keys":["/api/tasks"]}"#);
        assert_eq!(selections, r#"[key "http:/api/tasks", prefix "http:/api/tasks?"]"#);
    }

    #[test]
    fn unreadable_frame_invalidates_all_that_needs_the_connection() {
        for text in [r#"{"type":"invalidate"}"#, r#"{"type":"invalidate","keys":"a:1"}"#, r#"{"keys":[1]}"#] {
            let (pattern, selections) = read(text);
            assert!(pattern.starts_with("unreadable"), "{pattern}");
            assert_eq!(selections, "[of the link]");
        }
    }
}
