//! Measures the code: functions are short, and the figures of the repository can be printed.

use crate::imports::Crate;
use crate::names::types_defined_twice;
use crate::prose::doc_openers;
use crate::source::{NumberedLines, files};

/// The longest function outside tests, in lines with its signature and its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The crates of the workspace whose code is shipped.
const CRATES: [&str; 3] = ["runtime", "actors", "app"];

/// Words that may stand before `fn`.
const MODIFIERS: [&str; 4] = ["pub", "async", "const", "unsafe"];

/// The items that a crate may export.
const ITEMS: [&str; 9] = ["fn", "struct", "enum", "trait", "mod", "use", "const", "type", "static"];

/// Returns the name of the function that begins on a line, if one does.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| {
        MODIFIERS.contains(word) || word.starts_with("pub(") || word.ends_with(')') && !word.contains('(')
    });
    (words.next() == Some("fn")).then(|| words.next())??.split(['(', '<']).next()
}

/// Returns the first line, the name and the number of lines of each function of formatted code.
fn function_lengths<'a>(lines: &NumberedLines<'a>) -> Vec<(usize, &'a str, usize)> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let length = |at: usize| {
        let (first, own) = (lines[at].0, indent(lines[at].1));
        // The closing brace, or the semicolon of a declaration.
        let ends = |line: &str| indent(line) == own && line.ends_with(['}', ';']);
        let end = lines[at..].iter().find(|(_, line)| ends(line))?;
        Some(end.0 - first + 1)
    };
    let starts = (0..lines.len()).filter_map(|at| Some((at, function_name(lines[at].1)?)));
    starts.filter_map(|(at, name)| Some((lines[at].0, name, length(at)?))).collect()
}

/// Returns the number of lines outside blank lines and comments.
fn count_code(lines: &NumberedLines<'_>) -> usize {
    lines
        .iter()
        .map(|(_, line)| line.trim())
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// Returns whether a public item begins on a line.
fn is_public_item(line: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("pub")
        && words.find(|word| !MODIFIERS.contains(word)).is_some_and(|word| ITEMS.contains(&word))
        || line.trim_start().starts_with("pub const ")
}

#[test]
fn functions_outside_tests_are_short() {
    let mut long = Vec::new();
    for file in files(&["crates/runtime/src", "crates/actors/src", "crates/app/src", "benches/src"], "rs") {
        for (line, name, length) in function_lengths(&file.split_tests().0) {
            if length > FUNCTION_LINES_MAX {
                long.push(format!("{}:{line}: {name} has {length} lines", file.path));
            }
        }
    }
    assert!(long.is_empty(), "functions of more than {FUNCTION_LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn function_lengths_end_at_the_own_indentation() {
    let text = "fn a() {}\nimpl B {\n    pub(super) async fn c<T>(\n        x: T,\n    ) {\n        if x {\n        }\n    }\n    fn d();\n}\n";
    let lines: NumberedLines<'_> = text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect();
    assert_eq!(function_lengths(&lines), [(1, "a", 1), (3, "c", 6), (9, "d", 1)]);
}

#[test]
fn public_items_are_recognised() {
    let public = [
        "pub fn a() {",
        "    pub const fn b() {",
        "pub const C: u8 = 1;",
        "pub use d::E;",
        "pub async fn f() {",
    ];
    assert!(public.iter().all(|line| is_public_item(line)));
    assert!(
        !["pub(crate) fn a() {", "    pub field: u8,", "fn b() {"].iter().any(|line| is_public_item(line))
    );
}

/// Returns the number of public items of a crate, lines of modules and re-exports among them.
fn public_items(name: &str) -> usize {
    let public = |lines: &NumberedLines<'_>| lines.iter().filter(|(_, line)| is_public_item(line)).count();
    let sources = files(&[&format!("crates/{name}/src")], "rs");
    sources.iter().map(|file| public(&file.split_tests().0)).sum()
}

/// Returns the lines of code and those of tests in crates and tests, without blank lines and comments.
fn lines_of_code_and_tests() -> (usize, usize) {
    let files = files(&["crates", "tests"], "rs");
    let counts = files.iter().map(|file| {
        let (code, tests) = file.split_tests();
        (count_code(&code), count_code(&tests))
    });
    counts.fold((0, 0), |(code, tests), (more_code, more_tests)| (code + more_code, tests + more_tests))
}

/// Returns the number between two parts of docs/architecture.md.
fn number_of_the_page(before: &str, after: &str) -> usize {
    let page = files(&["docs/architecture.md"], "md").remove(0).text;
    let number = page.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    let (number, _) =
        number.unwrap_or_else(|| panic!("the page has no number between {before:?} and {after:?}"));
    number.replace(',', "").parse().unwrap_or_else(|error| panic!("{number:?}: {error}"))
}

#[test]
fn architecture_page_states_figures_that_are_so() {
    let stated_items = number_of_the_page("`crates/actors` has about ", " public items");
    let stated_lines = number_of_the_page("The tests have about ", " lines");
    for (what, stated, measured) in [
        ("public items of crates/actors", stated_items, public_items("actors")),
        ("lines of tests", stated_lines, lines_of_code_and_tests().1),
    ] {
        let difference = stated.abs_diff(measured);
        assert!(difference * 20 <= measured, "{what}: the page says {stated}, and there are {measured}");
    }
}

/// Prints the figures by which changes of the structure are judged. It fails on none.
#[test]
#[ignore = "it prints and checks nothing; CONTRIBUTING.md has the command"]
fn figures() {
    let (code, tests) = lines_of_code_and_tests();
    let mut lengths = Vec::new();
    for file in files(&["crates", "tests"], "rs") {
        let (outside, _) = file.split_tests();
        if file.path.contains("/src/") {
            lengths.extend(function_lengths(&outside).into_iter().map(|(_, _, length)| length));
        }
    }
    println!("lines without blank lines and comments, in crates and tests: {code} of code, {tests} of tests");
    let (count, poor) = doc_openers();
    println!("doc comments: {count}, of which {} begin with a question word or a pronoun", poor.len());
    println!(
        "longest function outside tests and examples: {} lines",
        lengths.into_iter().max().unwrap_or_default()
    );
    println!("type names defined twice: {}", types_defined_twice().len());
    for name in CRATES {
        let items = public_items(name);
        println!("crates/{name}: {items} public items, {} import circles", Crate::read(name).circles());
    }
}
