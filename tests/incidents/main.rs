//! Tells incidents that real faults cause, and keeps each story as a golden text in `golden/`.
//!
//! A new text is read before it is kept: does it say what failed first, what was decided and why, what was lost, and whether
//! it is over? `UPDATE_EXPECT=1` writes the texts.
#![cfg(unix)]

#[path = "../support.rs"]
mod support;
#[path = "../tier.rs"]
mod tier;

mod actors;
mod agents;
mod backend;
mod fixture;
mod network;
mod runtime;
mod stable_text;
mod storage;

/// The stories on the page are those of the tests.
#[test]
fn page_has_the_golden_stories() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(tests.join("../docs/incidents.md")).unwrap();
    let stories: Vec<_> = page.split("<!-- ").skip(1).collect();
    assert_eq!(stories.len(), 3);
    for story in stories {
        let (name, rest) = story.split_once(" -->\n```text\n").unwrap();
        let golden = std::fs::read_to_string(tests.join(format!("incidents/golden/{name}.txt"))).unwrap();
        assert_eq!(rest.split_once("```").unwrap().0, golden, "{name}");
    }
}
