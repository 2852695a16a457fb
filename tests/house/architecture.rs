//! Checks docs/architecture.md: its length, the files that it names, and the files of its two trips.

use std::collections::BTreeSet;

use crate::imports::Crate;
use crate::source::{files, root};

/// The longest that the page may be, in lines.
const LINES_MAX: usize = 199;

/// The crates, whose sources short paths begin in.
const CRATES: [&str; 3] = ["runtime", "actors", "app"];

fn page() -> String {
    files(&["docs/architecture.md"], "md").remove(0).text
}

/// Returns the paths in backticks, with `a/{b,c}.rs` as two.
fn paths_in(text: &str) -> BTreeSet<String> {
    let code = text.split('`').skip(1).step_by(2).filter(|code| code.ends_with(".rs") || code.ends_with('/'));
    code.flat_map(|code| match code.split_once('{').and_then(|(a, rest)| Some((a, rest.split_once('}')?))) {
        Some((before, (names, after))) => {
            names.split(',').map(|name| [before, name, after].concat()).collect::<Vec<_>>()
        }
        None => vec![code.to_owned()],
    })
    .collect()
}

/// Returns the places that a path may mean: from the repository's root, or from the sources of a crate.
fn places(path: &str) -> Vec<String> {
    let short = CRATES.map(|name| format!("crates/{name}/src/{path}"));
    let places = std::iter::once(path.to_owned()).chain(short);
    places.filter(|place| root().join(place).exists()).collect()
}

/// Returns the title, the number of files and the files of each trip.
fn trips() -> Vec<(String, usize, BTreeSet<String>)> {
    let page = page();
    let (_, trips) = page.split_once("## Two trips").expect("the page has trips");
    let (trips, _) = trips.split_once("\n## ").expect("a heading follows");
    let trips = trips.split("\n**").skip(1).map(|trip| {
        let (head, rest) = trip.split_once("\n\n").expect("a list follows");
        let (title, _) = head.split_once("**").expect("the title is bold");
        let number = head.split(" files").next().and_then(|before| before.rsplit(' ').next());
        let number = number.and_then(|number| number.parse().ok()).expect("the head has the number of files");
        let list = rest.split("\n\n").next().unwrap_or_default();
        let files = paths_in(list).into_iter().map(|path| {
            let places = places(&path);
            assert_eq!(places.len(), 1, "{title}: {path} may be any of {places:?}");
            places[0].clone()
        });
        (title.to_owned(), number, files.collect())
    });
    trips.collect()
}

#[test]
fn architecture_page_is_short() {
    let lines = page().lines().count();
    assert!(lines <= LINES_MAX, "docs/architecture.md has {lines} lines, at most {LINES_MAX} are allowed");
}

#[test]
fn architecture_page_names_files_that_exist() {
    let paths = paths_in(&page());
    assert!(paths.len() > 60, "{paths:?}");
    let missing: Vec<_> = paths.iter().filter(|path| places(path).is_empty()).collect();
    assert!(missing.is_empty(), "no such file: {missing:?}");
}

/// A file that is no longer a part of its trip has lost its imports from and to the others.
#[test]
fn trips_have_counted_files_that_import_each_other() {
    let trips = trips();
    assert_eq!(trips.iter().map(|trip| trip.0.as_str()).collect::<Vec<_>>(), ["A request", "A crash"]);
    for (title, number, files) in trips {
        assert_eq!(files.len(), number, "{title}: {files:#?}");
        for name in CRATES {
            let folder = format!("crates/{name}/");
            let of_crate: Vec<&str> =
                files.iter().map(String::as_str).filter(|file| file.starts_with(&folder)).collect();
            let sources = Crate::read(name);
            let imports = sources.imported_files();
            let are_linked = |a: &str, b: &str| imports.get(a).is_some_and(|targets| targets.contains(b));
            let has_neighbour = |file: &&&str| {
                of_crate.iter().any(|other| are_linked(file, other) || are_linked(other, file))
            };
            let alone: Vec<_> = of_crate.iter().filter(|file| !has_neighbour(file)).collect();
            assert!(of_crate.len() < 2 || alone.is_empty(), "{title}: linked to no other file: {alone:?}");
        }
    }
}
