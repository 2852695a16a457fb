//! Plain English: no word of the ban list, doc comments that begin with a sentence, short pages where promised.

use crate::source::{Comment, files, lex, script_comments, without_tests};

/// Words and phrases that stay out of docs, comments and messages, in lower case. They are metaphors, inversions or riddles; the
/// vocabulary stands in docs/glossary.md.
const BANNED: &str = include_str!("banned_phrases.txt");

/// Words with which a doc comment must not begin: the sentence behind them has no subject of its own.
const POOR_OPENERS: &[&str] = &[
    "what", "how", "whether", "which", "who", "whom", "whose", "where", "when", "why", "it", "one", "nobody",
    "those", "that", "this", "they", "some", "none", "all", "another", "its", "their",
];

/// The functions whose documentation may begin otherwise, such as those of a trait that state a reason. This number only
/// goes down.
const DOCS_WITHOUT_VERB_MAX: usize = 8;

/// The pages, and the folders with pages.
const PAGES: &[&str] =
    &["docs", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benches/README.md", "ui/README.md"];

/// The longest line of prose in a page that people write, or of a comment in a script, in characters. Tables are wider, and tests write docs/events.md.
const PAGE_WIDTH: usize = 140;

/// The longest sentence in a comment or a page that people write, in words. A colon and a semicolon end one too.
const SENTENCE_WORDS_MAX: usize = 25;

/// The most words of docs/glossary.md.
const GLOSSARY_WORDS_MAX: usize = 20;

fn banned_in(text: &str) -> Option<&'static str> {
    let words: Vec<String> = text
        .to_lowercase()
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let joined = format!(" {} ", words.join(" "));
    BANNED.lines().find(|phrase| joined.contains(&format!(" {phrase} ")))
}

/// Groups comments on consecutive lines.
fn blocks_of_lines(comments: Vec<Comment>) -> Vec<Vec<Comment>> {
    let mut blocks: Vec<Vec<Comment>> = Vec::new();
    for comment in comments {
        let follows = |last: &Comment| last.line + 1 == comment.line && last.is_doc == comment.is_doc;
        match blocks.last_mut().filter(|block| block.last().is_some_and(follows)) {
            Some(block) => block.push(comment),
            None => blocks.push(vec![comment]),
        }
    }
    blocks
}

/// Joins comments on consecutive lines into one block each, and keeps its first line's number.
fn blocks(comments: Vec<Comment>) -> Vec<Comment> {
    let join = |block: Vec<Comment>| {
        let text = block.iter().map(|comment| comment.text.as_str()).collect::<Vec<_>>().join(" ");
        Comment { line: block[0].line, is_doc: block[0].is_doc, text }
    };
    blocks_of_lines(comments).into_iter().map(join).collect()
}

#[test]
fn banned_words_are_absent_from_docs_and_comments() {
    let mut found = Vec::new();
    for file in files(&["crates", "tests", "benches/src"], "rs") {
        for block in blocks(lex(&file.text).1) {
            if let Some(word) = banned_in(&block.text) {
                found.push(format!("{}:{}: {word:?}", file.path, block.line));
            }
        }
    }
    for file in files(PAGES, "md") {
        for (index, paragraph) in paragraphs(&file.text) {
            if let Some(word) = banned_in(&paragraph) {
                found.push(format!("{}:{index}: {word:?}", file.path));
            }
        }
    }
    assert!(found.is_empty(), "words of the ban list:\n{}", found.join("\n"));
}

/// Error messages, events, the help of commands and metrics, and what a log says: all of it stands in strings outside
/// tests.
#[test]
fn banned_words_are_absent_from_strings() {
    let mut found = Vec::new();
    for file in files(&["crates", "benches/src"], "rs").into_iter().filter(|file| !file.is_test()) {
        for string in without_tests(&lex(&file.text).0).iter().filter(|token| token.starts_with('"')) {
            if let Some(word) = banned_in(string) {
                found.push(format!("{}: {word:?} in {string}\"", file.path));
            }
        }
    }
    assert!(found.is_empty(), "words of the ban list:\n{}", found.join("\n"));
}

/// Scripts, servers of tests, settings and pages: all of their text, of which comments are the most.
#[test]
fn banned_words_are_absent_from_other_files() {
    let mut found = Vec::new();
    for extension in ["sh", "js", "mjs", "py", "html", "toml", "c", "txt", ""] {
        let all = files(
            &[
                "crates",
                "tests",
                "benches",
                "ui/dashboard",
                "ui/examples",
                "ui/src",
                "ui/tests",
                ".ci",
                "Cargo.toml",
                "clippy.toml",
                "deny.toml",
            ],
            extension,
        );
        // The lists name the words themselves.
        for file in all.into_iter().filter(|file| !file.path.starts_with("tests/house/banned_")) {
            found.extend(banned_in(&file.text).map(|word| format!("{}: {word:?}", file.path)));
        }
    }
    assert!(found.is_empty(), "words of the ban list:\n{}", found.join("\n"));
}

#[test]
fn help_of_metrics_names_what_is_counted() {
    let page = &files(&["crates/app/src/control/metrics.txt"], "txt")[0].text;
    let help: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')).collect();
    assert!(help.len() > 30, "{help:?}");
    let poor: Vec<_> =
        help.iter().filter(|(_, text)| POOR_OPENERS.contains(&opener(text).as_str())).collect();
    assert!(poor.is_empty(), "help that begins with a question word or a pronoun: {poor:#?}");
}

/// Returns the first word of a text, in lower case.
fn opener(text: &str) -> String {
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_lowercase()
}

/// Splits Markdown into paragraphs with the number of their first line. Code blocks are left out.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut is_code): (Vec<(usize, String)>, bool) = (Vec::new(), false);
    let mut is_open = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code || line.trim().is_empty() {
            is_open = false;
        } else if is_open {
            if let Some((_, paragraph)) = found.last_mut() {
                *paragraph = format!("{paragraph} {}", line.trim());
            }
        } else {
            found.push((index + 1, line.trim().to_owned()));
            is_open = true;
        }
    }
    found
}

/// Returns the number of doc comments outside tests, and those that begin with a question word or a pronoun.
pub fn doc_openers() -> (usize, Vec<String>) {
    let (mut count, mut poor) = (0, Vec::new());
    for file in files(&["crates"], "rs").into_iter().filter(|file| !file.is_test()) {
        for block in blocks(lex(&file.text).1).into_iter().filter(|block| block.is_doc) {
            count += 1;
            let opener = opener(&block.text);
            if POOR_OPENERS.contains(&opener.as_str()) {
                poor.push(format!("{}:{}: {opener}", file.path, block.line));
            }
        }
    }
    (count, poor)
}

#[test]
fn doc_comments_begin_with_a_sentence() {
    let poor = doc_openers().1;
    assert!(
        poor.is_empty(),
        "doc comments that begin with a question word or a pronoun:\n{}",
        poor.join("\n")
    );
}

/// Returns the line number and the first line of each function's documentation.
fn function_docs(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let is_doc = |index: usize| lines.get(index).is_some_and(|line| line.starts_with("///"));
    let starts = (0..lines.len()).filter(|&index| is_doc(index) && (index == 0 || !is_doc(index - 1)));
    let documents_function = |start: &usize| {
        let item = lines[*start..].iter().find(|line| !line.starts_with("///") && !line.starts_with('#'));
        let words = item.into_iter().flat_map(|line| line.split_whitespace());
        words.take_while(|word| !word.contains('=')).take(5).any(|word| word == "fn")
    };
    starts.filter(documents_function).map(|start| (start + 1, lines[start][3..].trim())).collect()
}

/// This rule is for functions alone. A type, a field and a variant are things, and the standard library documents them by
/// noun phrases ("A growable list", "The number of restarts"): a verb would have to be "Is", "Holds" or "Represents".
#[test]
fn docs_of_functions_begin_with_a_verb() {
    let mut found = Vec::new();
    for file in files(&["crates"], "rs").into_iter().filter(|file| !file.is_test()) {
        for (line, text) in function_docs(&file.text) {
            let opener = text.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            // The third person of the present tense: "Returns", "Makes".
            if !(opener.ends_with('s') && opener.starts_with(char::is_uppercase)) {
                found.push(format!("{}:{line}: {text}", file.path));
            }
        }
    }
    assert!(
        found.len() <= DOCS_WITHOUT_VERB_MAX,
        "{} functions have documentation that does not begin with a verb, at most {DOCS_WITHOUT_VERB_MAX} may:\n{}",
        found.len(),
        found.join("\n")
    );
}

/// Returns the sentences of a text that have too many words, each by its start.
fn long_sentences(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut sentence: Vec<&str> = Vec::new();
    let mut tokens = text.split_whitespace().peekable();
    while let Some(token) = tokens.next() {
        sentence.extend(token.contains(char::is_alphanumeric).then_some(token));
        let is_end = token.trim_end_matches([')', '"', '\'', '`', '*']).ends_with(['.', '!', '?', ':', ';']);
        if is_end || tokens.peek().is_none() {
            if sentence.len() > SENTENCE_WORDS_MAX {
                found.push(format!("{} words: {} …", sentence.len(), sentence[..8].join(" ")));
            }
            sentence.clear();
        }
    }
    found
}

/// Splits the lines of Markdown into paragraphs and items of lists. Code, headings and tables are left out.
fn prose_of<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut found, mut is_open, mut is_code) = (Vec::<String>::new(), false, false);
    for line in lines.map(str::trim) {
        is_code ^= line.starts_with("```");
        if is_code || line.is_empty() || line.starts_with("```") || line.starts_with(['#', '|']) {
            is_open = false;
            continue;
        }
        let number = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item = line.starts_with("- ") || number.len() < line.len() && number.starts_with(". ");
        match found.last_mut().filter(|_| is_open && !is_item) {
            Some(paragraph) => *paragraph = format!("{paragraph} {line}"),
            None => found.push(line.to_owned()),
        }
        is_open = true;
    }
    found
}

/// Tests write some pages, and the tables of cases are no prose.
#[test]
fn sentences_are_short() {
    const WRITTEN_BY_TESTS: [&str; 4] =
        ["docs/events.md", "docs/cli.md", "docs/configuration.md", "docs/third-party.md"];
    let mut found = Vec::new();
    let mut check = |path: &str, line: usize, texts: Vec<String>| {
        let long = texts.iter().flat_map(|text| long_sentences(text));
        found.extend(long.map(|sentence| format!("{path}:{line}: {sentence}")));
    };
    for file in files(&["crates", "tests", "benches/src"], "rs") {
        for block in blocks_of_lines(lex(&file.text).1) {
            check(&file.path, block[0].line, prose_of(block.iter().map(|comment| comment.text.as_str())));
        }
    }
    for file in files(&["ui/src"], "js") {
        for block in blocks_of_lines(script_comments(&file.text)) {
            check(&file.path, block[0].line, prose_of(block.iter().map(|comment| comment.text.as_str())));
        }
    }
    for file in files(PAGES, "md") {
        if !file.path.starts_with("docs/conformance/") && !WRITTEN_BY_TESTS.contains(&file.path.as_str()) {
            check(&file.path, 1, prose_of(file.text.lines()));
        }
    }
    assert!(found.is_empty(), "sentences of more than {SENTENCE_WORDS_MAX} words:\n{}", found.join("\n"));
}

#[test]
fn sentences_end_at_their_marks() {
    let words = |count: usize| vec!["word"; count].join(" ");
    let text = format!("{}: {}. \"{}.\" {}", words(25), words(25), words(25), words(25));
    assert!(long_sentences(&text).is_empty());
    assert_eq!(long_sentences(&words(26)).len(), 1);
    let page = format!(
        "{}\n\n- {}\n  {}\n- {}\n```\n{}\n```\n",
        words(20),
        words(10),
        words(10),
        words(20),
        words(30)
    );
    assert_eq!(prose_of(page.lines()).len(), 3);
}

#[test]
fn glossary_has_at_most_twenty_words() {
    let glossary = &files(&["docs/glossary.md"], "md")[0].text;
    let words = glossary.lines().filter(|line| line.starts_with("**")).count();
    assert!((1..=GLOSSARY_WORDS_MAX).contains(&words), "docs/glossary.md explains {words} words");
}

#[test]
fn lines_of_pages_fit_their_width() {
    let mut wide = Vec::new();
    for file in files(PAGES, "md") {
        if file.path.starts_with("docs/conformance/") || file.path == "docs/events.md" {
            continue;
        }
        let mut is_code = false;
        for (index, line) in file.text.lines().enumerate() {
            is_code ^= line.trim_start().starts_with("```");
            if !is_code && !line.starts_with('|') && line.chars().count() > PAGE_WIDTH {
                wide.push(format!("{}:{}", file.path, index + 1));
            }
        }
    }
    for file in files(&["ui/src"], "js") {
        let comments = script_comments(&file.text).into_iter();
        let too_wide = comments.filter(|comment| comment.text.chars().count() > PAGE_WIDTH);
        wide.extend(too_wide.map(|comment| format!("{}:{}", file.path, comment.line)));
    }
    assert!(wide.is_empty(), "lines of more than {PAGE_WIDTH} characters:\n{}", wide.join("\n"));
}
