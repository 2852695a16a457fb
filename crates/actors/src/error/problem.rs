//! Problem details (RFC 9457): what a backend says about its own failure.

use serde_json::{Map, Value};

use super::safe_text::{excerpt, is_safe_prose};

/// The most of a problem's own text that is kept for the log, in characters.
const DETAILS_CHARS_MAX: usize = 1000;

/// What was taken from a problem document.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProblemDetails {
    /// For a person, if the backend said it in a way that can be shown.
    pub(crate) message: Option<String>,
    /// Everything it said, for the log.
    pub(crate) details: String,
}

impl ProblemDetails {
    /// Reads `body` as a problem document; `None` if it is none, by its content type or by its content.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/problem+json") {
            return None;
        }
        let document: Map<String, Value> = serde_json::from_slice(body).ok()?;
        // A member of the wrong type is to be ignored (RFC 9457, 3.1).
        let [title, detail, kind] = ["title", "detail", "type"].map(|name| document.get(name)?.as_str());
        let message =
            [detail, title].into_iter().flatten().find(|text| is_safe_prose(text)).map(str::to_owned);
        let said: Vec<&str> = [title, detail, kind].into_iter().flatten().collect();
        Some(Self { message, details: excerpt(&said.join(": "), DETAILS_CHARS_MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str = "application/problem+json; charset=utf-8";

    fn read(body: &str) -> Option<ProblemDetails> {
        ProblemDetails::parse(PROBLEM, body.as_bytes())
    }

    #[test]
    fn detail_is_shown_and_all_is_kept_for_the_log() {
        let problem =
            read(r#"{"type":"about:blank","title":"Busy","detail":"The agent is busy.","status":503}"#);
        let Some(ProblemDetails { message, details }) = problem else { panic!("not read") };
        assert_eq!(message.as_deref(), Some("The agent is busy."));
        assert_eq!(details, "Busy: The agent is busy.: about:blank");
    }

    #[test]
    fn unsafe_detail_falls_back_to_the_title() {
        let problem = read(r#"{"title":"Not found","detail":"no such file /srv/secret"}"#).unwrap();
        assert_eq!(problem.message.as_deref(), Some("Not found"));
        assert!(problem.details.contains("/srv/secret"));
    }

    #[test]
    fn member_of_wrong_type_is_ignored() {
        let problem = read(r#"{"title":"Busy","detail":["x"],"type":7}"#).unwrap();
        assert_eq!(problem, ProblemDetails { message: Some("Busy".to_owned()), details: "Busy".to_owned() });
    }

    #[test]
    fn empty_document_is_a_problem() {
        assert_eq!(read("{}"), Some(ProblemDetails { message: None, details: String::new() }));
    }

    #[test]
    fn other_content_is_no_problem_document() {
        assert_eq!(ProblemDetails::parse("application/json", b"{\"detail\":\"no\"}"), None);
        assert_eq!(read("[]"), None);
        assert_eq!(read("<html>"), None);
    }
}
