//! Reads the repository's files and splits Rust into tokens and comments.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One file of the repository.
pub struct SourceFile {
    /// The path from the repository's root, with forward slashes.
    pub path: String,
    pub text: String,
}

impl SourceFile {
    /// Returns whether the file holds tests only.
    pub fn is_test(&self) -> bool {
        let path = &self.path;
        path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs")
    }
}

/// The lines of a file, each with its number.
pub type NumberedLines<'a> = Vec<(usize, &'a str)>;

impl SourceFile {
    /// Splits the lines into those outside tests and those of tests, which are the items under `#[cfg(test)]` or the whole
    /// file. Formatted code is assumed: an item ends at its own indentation.
    pub fn split_tests(&self) -> (NumberedLines<'_>, NumberedLines<'_>) {
        let (mut code, mut tests): (NumberedLines<'_>, NumberedLines<'_>) = (Vec::new(), Vec::new());
        let mut open_item = None;
        for (index, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            if open_item.is_none() && is_test_marker(line) {
                open_item = Some(indent);
            }
            let is_test = self.is_test() || open_item.is_some();
            if is_test { &mut tests } else { &mut code }.push((index + 1, line));
            if open_item == Some(indent) && line.ends_with(['}', ';', ',']) {
                open_item = None;
            }
        }
        (code, tests)
    }
}

/// Returns whether a line is an attribute that compiles the next item for tests only.
fn is_test_marker(line: &str) -> bool {
    let line = line.trim_start();
    line == "#[cfg(test)]" || line.starts_with("#[cfg(all(test,")
}

/// One comment: its first line's number, whether it documents an item, and its text without the slashes.
pub struct Comment {
    pub line: usize,
    pub is_doc: bool,
    pub text: String,
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests stand in a folder of the repository")
        .to_owned()
}

/// Returns all files below `folders` with this extension, sorted by path. An empty one stands for none.
pub fn files(folders: &[&str], extension: &str) -> Vec<SourceFile> {
    let root = root();
    let mut found = Vec::new();
    for folder in folders {
        collect(&root, &root.join(folder), extension, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no .{extension} file below {folders:?}");
    found
}

fn collect(root: &Path, place: &Path, extension: &str, found: &mut Vec<SourceFile>) {
    if place.is_file() {
        if place.extension().unwrap_or_default() == extension {
            let path = place.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(place).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(SourceFile { path, text });
        }
        return;
    }
    for entry in fs::read_dir(place).unwrap_or_else(|error| panic!("{}: {error}", place.display())) {
        let entry = entry.expect("an entry of a folder");
        let name = entry.file_name();
        if !matches!(name.to_str(), Some("target" | "node_modules" | ".git")) {
            collect(root, &entry.path(), extension, found);
        }
    }
}

/// Returns the comments of JavaScript that stand on lines of their own, without their marks. A tag such as `@param` begins an
/// item of a list, and its type and name are left out.
pub fn script_comments(text: &str) -> Vec<Comment> {
    let (mut comments, mut is_open) = (Vec::new(), false);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let is_doc = is_open || line.starts_with("/*");
        if is_doc || line.starts_with("//") {
            let text = line.trim_end_matches("*/").trim_start_matches(['/', '*']).trim();
            let text = match text.strip_prefix('@') {
                Some(tag) => format!("- {}", tag.rsplit_once('}').map_or(tag, |(_, rest)| rest.trim())),
                None => text.to_owned(),
            };
            comments.push(Comment { line: index + 1, is_doc, text });
        }
        is_open = is_doc && !line.ends_with("*/");
    }
    comments
}

/// Splits Rust source into tokens (identifiers, `::`, strings, single characters) and comments. A string is one token: a
/// quotation mark and its text, with a space in place of each escape. Character literals are left out.
pub fn lex(text: &str) -> (Vec<String>, Vec<Comment>) {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut comments, mut at, mut line) = (Vec::new(), Vec::new(), 0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let next = rest.get(1).copied();
        match rest[0] {
            '/' if next == Some('/') => {
                let end = rest.iter().position(|&c| c == '\n').unwrap_or(rest.len());
                let written: String = rest[..end].iter().collect();
                let is_doc =
                    written.starts_with("//!") || written.starts_with("///") && !written.starts_with("////");
                let text = written.trim_start_matches(['/', '!']).trim().to_owned();
                comments.push(Comment { line, is_doc, text });
                at += end;
            }
            '/' if next == Some('*') => {
                let end = find(rest, "*/").map_or(rest.len(), |end| end + 2);
                line += newlines(&rest[..end]);
                at += end;
            }
            'r' | 'b' | 'c' if literal_prefix(rest).is_some() => {
                let (end, hashes) = literal_prefix(rest).expect("just seen");
                line += newlines(&rest[..end]);
                tokens.push(string_token(&rest[..end], hashes));
                at += end;
            }
            '"' => {
                let end = quoted(rest, 0);
                line += newlines(&rest[..end]);
                tokens.push(string_token(&rest[..end], 0));
                at += end;
            }
            '\'' => {
                // A lifetime has no closing quote right behind its first character.
                let is_char = next == Some('\\') || rest.get(2) == Some(&'\'');
                let end =
                    if is_char { 2 + rest[2..].iter().position(|&c| c == '\'').unwrap_or(0) + 1 } else { 1 };
                at += end.min(rest.len());
            }
            ':' if next == Some(':') => {
                tokens.push("::".to_owned());
                at += 2;
            }
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.iter().position(|c| !(c.is_alphanumeric() || *c == '_')).unwrap_or(rest.len());
                tokens.push(rest[..end].iter().collect());
                at += end;
            }
            c => {
                line += usize::from(c == '\n');
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                at += 1;
            }
        }
    }
    (tokens, comments)
}

fn string_token(literal: &[char], hashes: usize) -> String {
    let start = literal.iter().position(|&c| c == '"').map_or(0, |quote| quote + 1);
    let end = literal.len().saturating_sub(1 + hashes).max(start);
    let text: String = literal[start..end].iter().collect();
    let mut parts = text.split('\\');
    let mut token = ["\"", parts.next().unwrap_or_default()].concat();
    for part in parts {
        token.push(' ');
        token.extend(part.chars().skip(1));
    }
    token
}

/// Removes the items under `#[cfg(test)]` from the tokens of a file.
pub fn without_tests(tokens: &[String]) -> Vec<String> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at..].iter().map(String::as_str).take(marker.len()).eq(marker) {
            at = end_of_item(tokens, at + marker.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Returns the index behind the item at `at`: behind its `;` or its closing brace.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && tokens[at] == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Recognises `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"` and returns where the literal ends.
fn literal_prefix(rest: &[char]) -> Option<(usize, usize)> {
    let letters = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let hashes = rest[letters..].iter().take_while(|&&c| c == '#').count();
    let is_raw = rest[..letters].contains(&'r');
    if letters > 2 || rest.get(letters + hashes) != Some(&'"') || hashes > 0 && !is_raw {
        return None;
    }
    if !is_raw {
        return Some((quoted(rest, letters), 0));
    }
    let close: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let start = letters + hashes + 1;
    Some((start + find(&rest[start..], &close).map_or(0, |end| end + close.len()), hashes))
}

/// Returns where the quoted literal that opens at `open` ends.
fn quoted(rest: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn find(rest: &[char], pattern: &str) -> Option<usize> {
    let pattern: Vec<char> = pattern.chars().collect();
    rest.windows(pattern.len()).position(|window| window == pattern)
}

fn newlines(chars: &[char]) -> usize {
    chars.iter().filter(|&&c| c == '\n').count()
}

#[test]
fn script_comments_are_read_without_marks() {
    let text =
        "/**\n * It says\n * so.\n * @param {{ a: string }} b Its name.\n */\nf(); // no\n  // A line.\n";
    let read: Vec<_> = script_comments(text)
        .into_iter()
        .map(|it| (it.line, it.is_doc, it.text))
        .filter(|it| !it.2.is_empty())
        .collect();
    let expected =
        [(2, true, "It says"), (3, true, "so."), (4, true, "- b Its name."), (7, false, "A line.")];
    assert_eq!(read, expected.map(|(line, is_doc, text)| (line, is_doc, text.to_owned())));
}

#[test]
fn lexer_literals_and_comments_are_set_apart() {
    let (tokens, comments) =
        lex("use a::b; // said \"so\"\nlet x = br#\"use c::d\"#; 'l: 'x' /// doc\n\"// \\\"a\\nb\"");
    assert_eq!(tokens.join(" "), "use a :: b ; let x = \"use c::d ; l : \"//  a b");
    let read: Vec<_> = comments.iter().map(|it| (it.line, it.is_doc, it.text.as_str())).collect();
    assert_eq!(read, [(1, false, "said \"so\""), (2, true, "doc")]);
}

#[test]
fn split_tests_keeps_items_apart() {
    let text = "fn a() {}\n#[cfg(test)]\nuse b;\nfn c() {}\n#[cfg(all(test, unix))]\nmod tests {\n    fn d() {\n    }\n}\nfn e() {}\n";
    let file = SourceFile { path: "crates/a/src/lib.rs".to_owned(), text: text.to_owned() };
    let numbers = |lines: &NumberedLines<'_>| lines.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let (code, tests) = file.split_tests();
    assert_eq!((numbers(&code), numbers(&tests)), (vec![1, 4, 10], vec![2, 3, 5, 6, 7, 8, 9]));
}

#[test]
fn without_tests_removes_test_items_only() {
    let (tokens, _) =
        lex("fn a() {} #[cfg(test)] mod tests { fn b() { c(); } } #[cfg(test)] use d; fn e() {}");
    assert_eq!(without_tests(&tokens).join(" "), "fn a ( ) { } fn e ( ) { }");
}
