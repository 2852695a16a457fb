//! One word, one meaning: no type name stands for two things.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{SourceFile, files, lex, without_tests};

/// Names that may stand once a folder of sources, for its own error, state and so on.
const ALLOWED_TWICE: &[&str] = &["Error", "State", "Inner", "Context", "Outcome", "Machine"];

/// The names among them that a crate exports: the error of all callers, and what a handler is given.
const EXPORTED: [&str; 2] = ["Error", "Context"];

/// The files of which one is compiled, by platform or feature. A name may stand in both.
const ALTERNATIVES: [[&str; 2]; 3] = [
    ["crates/actors/src/process/unix", "crates/actors/src/process/windows"],
    ["crates/actors/src/network/tls/trust", "crates/actors/src/network/tls/disabled"],
    ["crates/actors/src/network/tls/rustls", "crates/actors/src/network/tls/native"],
];

/// Words that no name in code has, because they are metaphors with a plain term of the field.
const BANNED_WORDS: &str = include_str!("banned_names.txt");

/// The longest name of a function, in characters. What a test needs to say beyond it stands in a comment.
const NAME_CHARS_MAX: usize = 60;

fn is_one_per_alternative(files: &[String]) -> bool {
    let is_in = |place: &str| files.iter().filter(|file| file.starts_with(place)).count() == 1;
    files.len() == 2 && ALTERNATIVES.iter().any(|places| places.iter().all(|place| is_in(place)))
}

/// Returns the names that stand for several types, with their files.
pub fn types_defined_twice() -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // Each example is a program of its own, and shows the same small types as the others.
    let is_example = |file: &SourceFile| file.path.contains("/examples/");
    for file in files(&["crates", "tests"], "rs").into_iter().filter(|file| !is_example(file)) {
        for name in types(&lex(&file.text).0) {
            if !ALLOWED_TWICE.contains(&name.as_str()) {
                places.entry(name).or_default().push(file.path.clone());
            }
        }
    }
    places
        .into_iter()
        .filter(|(_, files)| files.len() > 1 && !is_one_per_alternative(files))
        .map(|(name, files)| format!("{name}: {}", files.join(", ")))
        .collect()
}

/// Returns the names of the types that a file defines. An alias counts once a file, since a platform may have its own, and
/// at file level: within an `impl` it is the type of a trait.
fn types(tokens: &[String]) -> Vec<String> {
    let (mut found, mut aliases, mut depth) = (Vec::new(), BTreeSet::new(), 0_usize);
    for pair in tokens.windows(2) {
        let is_name = pair[1].starts_with(char::is_uppercase);
        match pair[0].as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "struct" | "enum" | "trait" | "union" if is_name => found.push(pair[1].clone()),
            "type" if is_name && depth == 0 => drop(aliases.insert(pair[1].clone())),
            _ => {}
        }
    }
    found.extend(aliases);
    found
}

#[test]
fn type_names_are_defined_once() {
    let twice = types_defined_twice();
    assert!(twice.is_empty(), "names that stand for several types:\n{}", twice.join("\n"));
}

/// Returns the names that a file exports by `pub use`, and its public types if it is a public module itself.
fn exports(tokens: &[String], is_public_module: bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for at in 0..tokens.len().saturating_sub(2) {
        match [tokens[at].as_str(), tokens[at + 1].as_str()] {
            ["pub", "use"] => found.extend(tokens[at..].iter().take_while(|token| *token != ";").cloned()),
            ["pub", "struct" | "enum" | "trait" | "type"] if is_public_module => {
                found.insert(tokens[at + 2].clone());
            }
            _ => {}
        }
    }
    found
}

/// Returns whether the module of a file is public, by its declaration in the file above.
fn is_public_module(path: &str, sources: &BTreeMap<&str, Vec<String>>) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else { return false };
    let above = [format!("{folder}.rs"), format!("{folder}/lib.rs")];
    let module = file.trim_end_matches(".rs");
    let declaration = ["pub", "mod", module];
    let declares = |tokens: &Vec<String>| tokens.windows(3).any(|three| three == declaration);
    above.iter().filter_map(|file| sources.get(file.as_str())).any(declares)
}

#[test]
fn allowed_names_stand_once_a_folder_and_are_not_exported() {
    let files = files(&["crates/runtime/src", "crates/actors/src", "crates/app/src"], "rs");
    let sources: BTreeMap<&str, Vec<String>> =
        files.iter().map(|file| (file.path.as_str(), without_tests(&lex(&file.text).0))).collect();
    let (mut places, mut exported): (BTreeMap<_, Vec<&str>>, BTreeSet<_>) = Default::default();
    for (path, tokens) in &sources {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for name in types(tokens).into_iter().filter(|name| ALLOWED_TWICE.contains(&name.as_str())) {
            places.entry((folder, name)).or_default().push(path);
        }
        let names = exports(tokens, is_public_module(path, &sources));
        exported.extend(names.into_iter().filter(|name| ALLOWED_TWICE.contains(&name.as_str())));
    }
    let twice: Vec<_> = places.iter().filter(|(_, paths)| paths.len() > 1).collect();
    assert!(twice.is_empty(), "names that stand twice in a folder: {twice:#?}");
    assert_eq!(
        exported,
        BTreeSet::from(EXPORTED.map(str::to_owned)),
        "names that stand for several types are exported"
    );
}

#[test]
fn exports_of_a_file_are_found() {
    let tokens =
        lex("pub use a::{B, C}; pub(crate) use d::E; use f::G; pub struct H; pub(super) struct I;").0;
    let has = |name: &str, is_public| exports(&tokens, is_public).contains(name);
    assert!(has("B", false) && has("C", false) && !has("E", true) && !has("G", true));
    assert!(has("H", true) && !has("H", false) && !has("I", true));
}

#[test]
fn types_of_a_file_are_found_with_aliases() {
    let text = "struct A; #[cfg(unix)] type B = u8; #[cfg(windows)] type B = u16; impl C for A { type D = u8; } mod e { enum F {} }";
    assert_eq!(types(&lex(text).0), ["A", "F", "B"]);
}

/// Splits a name in snake case or camel case into lower-case words.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if c == '_' || c.is_uppercase() && was_lower {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c != '_', words.last_mut()) {
            word.extend(c.to_lowercase());
        }
        was_lower = c.is_lowercase();
    }
    words
}

#[test]
fn names_have_no_banned_word() {
    let mut found = Vec::new();
    for file in files(&["crates", "tests", "benches/src"], "rs") {
        let tokens = lex(&file.text).0;
        let names: BTreeSet<_> = tokens.into_iter().filter(|token| !token.starts_with('"')).collect();
        let is_banned =
            |name: &&String| words(name).iter().any(|word| BANNED_WORDS.lines().any(|banned| banned == word));
        found.extend(names.iter().filter(is_banned).map(|name| format!("{}: {name}", file.path)));
    }
    assert!(found.is_empty(), "names with a banned word:\n{}", found.join("\n"));
}

#[test]
fn functions_have_short_names_without_article() {
    let mut found = Vec::new();
    for file in files(&["crates", "tests", "benches/src"], "rs") {
        let tokens = lex(&file.text).0;
        let names = tokens.windows(2).filter(|pair| pair[0] == "fn").map(|pair| &pair[1]);
        let has_article = |name: &str| ["a_", "an_", "the_"].iter().any(|article| name.starts_with(article));
        let wrong = names.filter(|name| name.chars().count() > NAME_CHARS_MAX || has_article(name));
        found.extend(wrong.map(|name| format!("{}: {name}", file.path)));
    }
    assert!(
        found.is_empty(),
        "names of more than {NAME_CHARS_MAX} characters, or with an article first:\n{}",
        found.join("\n")
    );
}

#[test]
fn names_are_split_into_words() {
    assert_eq!(words("PidFile"), ["pid", "file"]);
    assert_eq!(words("is_told_SOON"), ["is", "told", "soon"]);
    assert!(words("withheld").iter().all(|word| word != "held"));
}

#[test]
fn alternatives_may_share_a_name_once() {
    let files =
        |paths: &[&str]| paths.iter().map(|path| format!("crates/actors/src/{path}")).collect::<Vec<_>>();
    assert!(is_one_per_alternative(&files(&["process/unix/process_group.rs", "process/windows.rs"])));
    assert!(!is_one_per_alternative(&files(&["process/unix.rs", "process/unix/pid_file.rs"])));
    assert!(!is_one_per_alternative(&files(&["process/unix.rs", "process/windows.rs", "queue.rs"])));
}
