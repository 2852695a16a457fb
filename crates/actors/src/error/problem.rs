//! Reads problem details (RFC 9457), a backend's description of its failure.

use http::StatusCode;
use serde_json::{Map, Value};

use super::safe_text::is_safe_prose;
use crate::json::parse_json;

/// The parts of a problem document that an error shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ProblemDetails {
    /// The text for a person, if the document has one that is safe to show.
    pub(crate) message: Option<String>,
    /// The document's texts, for the log.
    pub(crate) details: String,
}

impl ProblemDetails {
    /// Parses the `body` of a response; `None` if its content type or its content is another.
    ///
    /// The type `about:blank` and a title that is the status in words are left out: they say nothing more than the
    /// status (RFC 9457, 4.2.1).
    pub(crate) fn parse(status: StatusCode, content_type: &str, body: &[u8]) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/problem+json") {
            return None;
        }
        let document: Map<String, Value> = parse_json(body).ok()?;
        // RFC 9457, 3.1: a member of the wrong type is ignored.
        let [title, detail, kind] = ["title", "detail", "type"].map(|name| document.get(name)?.as_str());
        let title = title.filter(|title| {
            !status.canonical_reason().is_some_and(|reason| reason.eq_ignore_ascii_case(title.trim()))
        });
        let kind = kind.filter(|kind| *kind != "about:blank");
        let message =
            [detail, title].into_iter().flatten().find(|text| is_safe_prose(text)).map(str::to_owned);
        let texts: Vec<&str> = [title, detail, kind].into_iter().flatten().collect();
        Some(Self { message, details: texts.join(": ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBLEM: &str = "application/problem+json; charset=utf-8";

    fn read(body: &str) -> Option<ProblemDetails> {
        ProblemDetails::parse(StatusCode::SERVICE_UNAVAILABLE, PROBLEM, body.as_bytes())
    }

    #[test]
    fn detail_is_shown_and_all_is_kept_for_the_log() {
        let problem =
            read(r#"{"type":"about:blank","title":"Busy","detail":"The agent is busy.","status":503}"#);
        let Some(ProblemDetails { message, details }) = problem else { panic!("not read") };
        assert_eq!(message.as_deref(), Some("The agent is busy."));
        assert_eq!(details, "Busy: The agent is busy.");
    }

    #[test]
    fn title_that_repeats_the_status_is_left_out() {
        let problem =
            read(r#"{"title":"Service Unavailable","detail":"nothing at /x","type":"https://e/p"}"#);
        assert_eq!(
            problem,
            Some(ProblemDetails { message: None, details: "nothing at /x: https://e/p".to_owned() })
        );
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
        assert_eq!(ProblemDetails::parse(StatusCode::OK, "application/json", b"{\"detail\":\"no\"}"), None);
        assert_eq!(read("[]"), None);
        assert_eq!(read("<html>"), None);
    }
}
