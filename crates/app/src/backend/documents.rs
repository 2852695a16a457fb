//! The documents behind the files and search endpoints: a few texts that are part of the program. A path is
//! looked up as a whole and nothing is read from a disk, so there is nothing to climb out of.

use serde::Serialize;

/// A search gives at most this many hits.
pub(super) const HITS_MAX: usize = 50;
/// A search text has at most this many bytes.
pub(super) const QUERY_BYTES_MAX: usize = 256;

/// A built-in text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) path: &'static str,
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

/// A line that holds the search text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SearchHit {
    pub(super) path: &'static str,
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) text: &'static str,
}

const MARKDOWN: &str = "text/markdown; charset=utf-8";

/// Returns all documents, sorted by path.
pub(super) const DOCUMENTS: [Document; 5] = [
    Document {
        path: "README.md",
        media_type: MARKDOWN,
        text: "# Harbour\n\nA small project for agents to work on: it plans the berths of a harbour.\n\n\
               - `docs/berths.md` says how berths are given out\n\
               - `docs/tides.md` says when ships may move\n\
               - `notes/todo.txt` is what remains to be done\n",
    },
    Document {
        path: "config/harbour.json",
        media_type: "application/json",
        text: "{\n  \"berths\": 12,\n  \"pilots\": 3,\n  \"tide_table\": \"docs/tides.md\"\n}\n",
    },
    Document {
        path: "docs/berths.md",
        media_type: MARKDOWN,
        text: "# Berths\n\nA ship gets the shortest free berth that it fits into.\n\
               If none is free it anchors outside and keeps its place in the queue.\n\
               A berth is free again one tide after its ship has left.\n",
    },
    Document {
        path: "docs/tides.md",
        media_type: MARKDOWN,
        text: "# Tides\n\nShips of more than six metres draught move at high tide only.\n\
               Two high tides are twelve hours and twenty-five minutes apart.\n",
    },
    Document {
        path: "notes/todo.txt",
        media_type: "text/plain; charset=utf-8",
        text: "ask the pilots about night shifts\ndraw the map of the berths\ncheck the tide table against last year\n",
    },
];

/// Returns the document with exactly this path.
pub(super) fn find(path: &str) -> Option<&'static Document> {
    DOCUMENTS.iter().find(|document| document.path == path)
}

/// Finds the lines that hold `query`, in either case, ordered by path and line: at most [`HITS_MAX`], and whether
/// there were more.
pub(super) fn search(query: &str) -> (Vec<SearchHit>, bool) {
    let query = query.to_lowercase();
    let mut hits: Vec<SearchHit> = DOCUMENTS
        .iter()
        .flat_map(numbered_lines)
        .filter(|hit| contains_ignoring_case(hit.text, &query))
        .collect();
    let truncated = hits.len() > HITS_MAX;
    hits.truncate(HITS_MAX);
    (hits, truncated)
}

fn numbered_lines(document: &'static Document) -> impl Iterator<Item = SearchHit> {
    let numbered = document.text.lines().enumerate();
    numbered.map(|(index, text)| SearchHit { path: document.path, line: index + 1, text })
}

fn contains_ignoring_case(text: &str, lower_case_query: &str) -> bool {
    text.to_lowercase().contains(lower_case_query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_path_finds_a_document() {
        assert_eq!(find("docs/tides.md").unwrap().path, "docs/tides.md");
        for path in ["", "docs", "docs/", "/docs/tides.md", "docs/../README.md", "./README.md", "readme.md"] {
            assert_eq!(find(path), None, "{path:?}");
        }
    }

    #[test]
    fn search_orders_hits_by_path_and_line() {
        let (hits, _) = search("berth");
        let places: Vec<_> = hits.iter().map(|hit| (hit.path, hit.line)).collect();
        assert!(places.is_sorted() && places.len() > 3, "{places:?}");
    }

    #[test]
    fn search_without_match_has_no_hits() {
        assert_eq!(search("submarine"), (Vec::new(), false));
    }

    #[test]
    fn documents_are_sorted_and_the_json_among_them_is_valid() {
        assert!(DOCUMENTS.iter().is_sorted_by_key(|document| document.path));
        let json = find("config/harbour.json").unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(json.text).is_ok());
    }
}
