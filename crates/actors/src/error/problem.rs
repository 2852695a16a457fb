//! Problem details (RFC 9457): what a backend says about its own failure.

use serde_json::{Map, Value};

use super::plain::{excerpt, is_plain};

/// The most of a problem's own text that is kept for the log, in characters.
const DETAILS_CHARS_MAX: usize = 1000;

/// What was taken from a problem document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// For a person, if the backend said it in a way that can be shown.
    pub(crate) message: Option<String>,
    /// Everything it said, for the log.
    pub(crate) details: String,
}

impl Problem {
    /// Reads `body` as a problem document; `None` if it is none, by its content type or by its content.
    pub(crate) fn read(content_type: &str, body: &[u8]) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/problem+json") {
            return None;
        }
        let document: Map<String, Value> = serde_json::from_slice(body).ok()?;
        // A member of the wrong type is to be ignored (RFC 9457, 3.1).
        let [title, detail, kind] = ["title", "detail", "type"].map(|name| document.get(name)?.as_str());
        let message = [detail, title].into_iter().flatten().find(|text| is_plain(text)).map(str::to_owned);
        let said: Vec<&str> = [title, detail, kind].into_iter().flatten().collect();
        Some(Self { message, details: excerpt(&said.join(": "), DETAILS_CHARS_MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str = "application/problem+json; charset=utf-8";

    fn read(body: &str) -> Option<Problem> {
        Problem::read(PROBLEM, body.as_bytes())
    }

    #[test]
    fn its_detail_is_shown_and_everything_is_kept_for_the_log() {
        let problem =
            read(r#"{"type":"about:blank","title":"Busy","detail":"The agent is busy.","status":503}"#);
        let Some(Problem { message, details }) = problem else { panic!("not read") };
        assert_eq!(message.as_deref(), Some("The agent is busy."));
        assert_eq!(details, "Busy: The agent is busy.: about:blank");
    }

    #[test]
    fn a_detail_that_cannot_be_shown_gives_way_to_the_title() {
        let problem = read(r#"{"title":"Not found","detail":"no such file /srv/secret"}"#).unwrap();
        assert_eq!(problem.message.as_deref(), Some("Not found"));
        assert!(problem.details.contains("/srv/secret"));
    }

    #[test]
    fn a_member_of_the_wrong_type_is_ignored() {
        let problem = read(r#"{"title":"Busy","detail":["x"],"type":7}"#).unwrap();
        assert_eq!(problem, Problem { message: Some("Busy".to_owned()), details: "Busy".to_owned() });
    }

    #[test]
    fn a_document_without_words_still_is_one() {
        assert_eq!(read("{}"), Some(Problem { message: None, details: String::new() }));
    }

    #[test]
    fn what_is_not_a_problem_document_is_not_read_as_one() {
        assert_eq!(Problem::read("application/json", b"{\"detail\":\"no\"}"), None);
        assert_eq!(read("[]"), None);
        assert_eq!(read("<html>"), None);
    }
}
