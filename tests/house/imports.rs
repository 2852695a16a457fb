//! Follows imports from file to file: no circles, and folders in one order.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{SourceFile, files, lex, without_tests};

/// The folders of crates/actors, lowest first. Each may import from those before it.
const ACTORS_ORDER: &[&str] = &[
    "suggestion",
    "request_id",
    "json_text",
    "json",
    "error",
    "logs",
    "standstill",
    "network",
    "credentials",
    "process",
    "request",
    "transport",
    "broadcast",
    "connection",
    "cache",
    "quarantine",
    "queue",
    "response_cache",
    "agent",
    "events",
];

/// A crate's modules and what each imports.
pub struct Crate {
    name: String,
    /// Module path, such as `queue::retry`, to file path. The crate's root is the empty path.
    modules: BTreeMap<String, String>,
    /// For each module: its own names that are re-exported from elsewhere, with the full path of their source.
    re_exports: BTreeMap<String, Vec<(String, String)>>,
    /// For each module: the paths it uses, absolute within the crate.
    uses: BTreeMap<String, BTreeSet<String>>,
}

impl Crate {
    pub fn read(name: &str) -> Self {
        let folder = format!("crates/{name}/src");
        let sources: Vec<SourceFile> =
            files(&[&folder], "rs").into_iter().filter(|file| !file.is_test()).collect();
        let modules: BTreeMap<_, _> = sources
            .iter()
            .filter(|file| !file.path.ends_with("/main.rs"))
            .map(|file| (module_path(&file.path[folder.len() + 1..]), file.path.clone()))
            .collect();
        let mut read =
            Self { name: name.to_owned(), modules, re_exports: BTreeMap::new(), uses: BTreeMap::new() };
        for file in &sources {
            let module = module_path(&file.path[folder.len() + 1..]);
            let tokens = without_tests(&lex(&file.text).0);
            let children = read.children(&module);
            let mut paths = Paths::new(&module, &children);
            paths.read(&tokens);
            let (re_exports, uses) = (paths.re_exports, paths.uses);
            read.re_exports.insert(module.clone(), re_exports);
            read.uses.insert(module, uses);
        }
        read
    }

    fn children(&self, module: &str) -> BTreeSet<String> {
        let prefix = if module.is_empty() { String::new() } else { format!("{module}::") };
        self.modules
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix))
            .filter(|rest| !rest.is_empty() && !rest.contains("::"))
            .map(str::to_owned)
            .collect()
    }

    /// Resolves a path to the module that defines it, through re-exports.
    fn resolve(&self, path: &str, depth: usize) -> Option<&str> {
        let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
        let known =
            (0..=parts.len()).rev().find(|&length| self.modules.contains_key(&parts[..length].join("::")))?;
        let module = parts[..known].join("::");
        if let (Some(name), true) = (parts.get(known), depth < 8) {
            for (exported, source) in self.re_exports.get(&module).into_iter().flatten() {
                let target = match exported.as_str() {
                    "*" => [source.as_str(), name].join("::"),
                    it if it == *name => source.clone(),
                    _ => continue,
                };
                match self.resolve(&target, depth + 1) {
                    Some(found) if found != module || exported != "*" => return Some(found),
                    _ => {}
                }
            }
        }
        self.modules.get_key_value(&module).map(|(path, _)| path.as_str())
    }

    /// Returns what each file imports, its own submodules among it.
    pub fn imported_files(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let file_of = |module: &str| self.modules.get(module).map(String::as_str);
        let imports = self.uses.iter().filter_map(|(module, paths)| {
            let targets = paths.iter().filter_map(|path| file_of(self.resolve(path, 0)?));
            Some((file_of(module)?, targets.collect()))
        });
        imports.collect()
    }

    /// Returns the number of circles of imports.
    pub fn circles(&self) -> usize {
        circles(&self.imports()).len()
    }

    /// Returns what each module imports. That a module names its own descendants does not count.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (module, paths) in &self.uses {
            let Some((module, _)) = self.modules.get_key_value(module) else { continue };
            let inside = format!("{module}::");
            for target in paths.iter().filter_map(|path| self.resolve(path, 0)) {
                let is_below = module.is_empty() || target.starts_with(&inside);
                if target != module && !is_below && !target.is_empty() {
                    edges.entry(module).or_default().insert(target);
                }
            }
        }
        edges
    }
}

/// Collects the paths of one file.
struct Paths<'a> {
    module: &'a str,
    children: &'a BTreeSet<String>,
    uses: BTreeSet<String>,
    re_exports: Vec<(String, String)>,
}

impl<'a> Paths<'a> {
    fn new(module: &'a str, children: &'a BTreeSet<String>) -> Self {
        Self { module, children, uses: BTreeSet::new(), re_exports: Vec::new() }
    }

    fn read(&mut self, tokens: &[String]) {
        let mut at = 0;
        while at < tokens.len() {
            let starts_path = at == 0 || tokens[at - 1] != "::" && tokens[at - 1] != ".";
            if tokens[at] == "use" {
                let is_public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
                let end = at + tokens[at..].iter().position(|it| it == ";").unwrap_or(tokens.len() - at);
                self.read_tree(&tokens[at + 1..end], "", is_public);
                at = end;
            } else if starts_path && tokens.get(at + 1).is_some_and(|it| it == "::") {
                let mut parts = vec![tokens[at].clone()];
                while tokens.get(at + 1).is_some_and(|it| it == "::")
                    && tokens.get(at + 2).is_some_and(|it| is_name(it))
                {
                    at += 2;
                    parts.push(tokens[at].clone());
                }
                self.uses.extend(self.absolute(&parts.join("::")));
                at += 1;
            } else {
                at += 1;
            }
        }
    }

    /// Reads one tree of a `use`, such as `super::{a, b::{self, c as d}}`.
    fn read_tree(&mut self, tokens: &[String], prefix: &str, is_public: bool) {
        let mut path = prefix.to_owned();
        let mut at = 0;
        while at < tokens.len() {
            match tokens[at].as_str() {
                "{" => {
                    for branch in split_branches(&tokens[at + 1..tokens.len() - 1]) {
                        self.read_tree(branch, &path, is_public);
                    }
                    return;
                }
                "::" => {}
                "as" => {
                    self.add(&path, tokens.get(at + 1).map(String::as_str), is_public);
                    return;
                }
                "self" if !path.is_empty() => {}
                part if path.is_empty() => part.clone_into(&mut path),
                part => path = [path.as_str(), part].join("::"),
            }
            at += 1;
        }
        self.add(&path, None, is_public);
    }

    fn add(&mut self, path: &str, alias: Option<&str>, is_public: bool) {
        let Some(path) = self.absolute(path) else { return };
        if is_public {
            let (source, last) = path.rsplit_once("::").unwrap_or(("", &path));
            let source = if last == "*" { source.to_owned() } else { path.clone() };
            self.re_exports.push((alias.unwrap_or(last).to_owned(), source));
        }
        self.uses.insert(path.trim_end_matches("::*").to_owned());
    }

    /// Makes a path absolute within the crate; `None` if it leads to another one.
    fn absolute(&self, path: &str) -> Option<String> {
        let mut base: Vec<&str> = self.module.split("::").filter(|part| !part.is_empty()).collect();
        let mut parts = path.split("::").peekable();
        match parts.peek().copied()? {
            "crate" => {
                base.clear();
                parts.next();
            }
            "self" => {
                parts.next();
            }
            "super" => {
                while parts.peek() == Some(&"super") {
                    base.pop();
                    parts.next();
                }
            }
            first if self.children.contains(first) => {}
            _ => return None,
        }
        base.extend(parts);
        Some(base.join("::"))
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn split_branches(tokens: &[String]) -> Vec<&[String]> {
    let (mut branches, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," if depth == 0 => {
                branches.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&tokens[start..]);
    branches.into_iter().filter(|branch| !branch.is_empty()).collect()
}

/// Turns `queue/retry.rs` into `queue::retry`; `lib.rs` and `mod.rs` stand for their folder.
fn module_path(file: &str) -> String {
    let path = file.trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") { String::new() } else { path.replace('/', "::") }
}

/// Returns the groups of nodes that reach each other, after Tarjan (SIAM J. Comput. 1, 1972) in its simple form: the
/// graph is small, so reachability is computed for each node.
fn circles<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<Vec<&'a str>> {
    let reachable = |from: &'a str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(node) = open.pop() {
            for &next in edges.get(node).into_iter().flatten() {
                if seen.insert(next) {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|&node| (node, reachable(node))).collect();
    reach
        .iter()
        .filter(|(node, targets)| targets.contains(*node))
        .map(|(node, targets)| {
            targets
                .iter()
                .copied()
                .filter(|it| reach.get(it).is_some_and(|back| back.contains(node)))
                .collect()
        })
        .collect()
}

#[test]
fn imports_between_files_form_no_circle() {
    let mut found = Vec::new();
    for name in ["runtime", "actors", "app"] {
        let read = Crate::read(name);
        let edges = read.imports();
        for circle in circles(&edges) {
            found.push(format!("crates/{}:", read.name));
            for from in &circle {
                let to: Vec<_> = circle.iter().filter(|to| edges[from].contains(*to)).collect();
                found.push(format!("  {from} -> {to:?}"));
            }
        }
    }
    assert!(found.is_empty(), "files import each other in circles:\n{}", found.join("\n"));
}

#[test]
fn imports_between_folders_of_actors_point_down() {
    let read = Crate::read("actors");
    let rank = |module: &str| {
        let top = module.split("::").next().unwrap_or_default();
        ACTORS_ORDER
            .iter()
            .position(|folder| *folder == top)
            .unwrap_or_else(|| panic!("{top} has no place in ACTORS_ORDER"))
    };
    let upward: Vec<_> = read
        .imports()
        .into_iter()
        .flat_map(|(from, targets)| targets.into_iter().map(move |to| (from, to)))
        .filter(|(from, to)| rank(from) < rank(to))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    assert!(upward.is_empty(), "{} imports point up:\n{}", upward.len(), upward.join("\n"));
}

#[test]
fn circles_are_found() {
    let edges = BTreeMap::from([
        ("a", BTreeSet::from(["b"])),
        ("b", BTreeSet::from(["c"])),
        ("c", BTreeSet::from(["b"])),
    ]);
    assert_eq!(circles(&edges), BTreeSet::from([vec!["b", "c"]]));
}

/// A re-export is an import as well: what it names must lie below.
#[test]
fn re_exports_of_a_file_are_imports() {
    let children = BTreeSet::new();
    let mut paths = Paths::new("connection", &children);
    paths.read(&lex("pub use crate::queue::Gate; pub(crate) use super::cache::*;").0);
    assert_eq!(paths.uses.iter().map(String::as_str).collect::<Vec<_>>(), ["cache", "queue::Gate"]);
    assert_eq!(paths.re_exports.len(), 2);
}

#[test]
fn paths_of_a_file_are_read() {
    let children = BTreeSet::from(["child".to_owned()]);
    let mut paths = Paths::new("queue::actor", &children);
    paths.read(&lex("use super::{retry::{self, Policy as P}, gate}; use std::fmt; fn a() { crate::error::b(); child::c() }").0);
    let read: Vec<_> = paths.uses.iter().map(String::as_str).collect();
    assert_eq!(
        read,
        ["error::b", "queue::actor::child::c", "queue::gate", "queue::retry", "queue::retry::Policy"]
    );
}
