//! Tests that the facade is complete: an embedder names `mainstay` alone, and no lower crate.
//!
//! The sources are read, because rustdoc writes the compiler's view as JSON on nightly only. The names of public types are
//! unique in this repository, so a name is enough to know a type.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, Token, Type, UseTree, Visibility};

/// The public items of the three crates.
#[derive(Default)]
struct PublicItems {
    /// The types and traits.
    types: BTreeSet<String>,
    /// For each type, trait and function: the names in its public interface.
    mentioned: BTreeMap<String, BTreeSet<String>>,
    /// For each type: the traits that it derives or implements.
    traits: BTreeMap<String, BTreeSet<String>>,
}

impl PublicItems {
    fn read() -> Self {
        let mut items = Self::default();
        for name in ["runtime", "actors", "app"] {
            for path in rust_files(&source(name)) {
                parse(&path).iter().for_each(|item| items.add(item));
            }
        }
        items
    }

    fn add(&mut self, item: &Item) {
        let mut names = Names::default();
        if let Item::Struct(syn::ItemStruct { ident, attrs, .. })
        | Item::Enum(syn::ItemEnum { ident, attrs, .. }) = item
        {
            self.traits.entry(ident.to_string()).or_default().extend(derived(attrs));
        }
        let (name, visibility, is_type) = match item {
            Item::Struct(it) => {
                names.visit_item_struct(it);
                (&it.ident, &it.vis, true)
            }
            Item::Enum(it) => {
                names.visit_item_enum(it);
                (&it.ident, &it.vis, true)
            }
            Item::Trait(it) => {
                names.visit_item_trait(it);
                (&it.ident, &it.vis, true)
            }
            Item::Type(it) => {
                names.visit_item_type(it);
                (&it.ident, &it.vis, true)
            }
            Item::Fn(it) => {
                names.visit_signature(&it.sig);
                (&it.sig.ident, &it.vis, false)
            }
            Item::Impl(it) => return self.add_impl(it),
            _ => return,
        };
        if is_public(visibility) {
            if is_type {
                self.types.insert(name.to_string());
            }
            self.mentioned.entry(name.to_string()).or_default().extend(names.0);
        }
    }

    /// Adds the public functions of a type, and the types that an implementation of a trait associates with it.
    fn add_impl(&mut self, found: &syn::ItemImpl) {
        let Type::Path(owner) = &*found.self_ty else { return };
        let Some(owner) = owner.path.segments.last() else { return };
        if let Some(implemented) = found.trait_.as_ref().and_then(|(_, path, _)| path.segments.last()) {
            let name = implemented.ident.to_string();
            self.traits.entry(owner.ident.to_string()).or_default().insert(name);
        }
        let mut names = Names::default();
        for item in &found.items {
            match item {
                ImplItem::Fn(it) if is_public(&it.vis) && !is_for_tests(&it.attrs) => {
                    names.visit_signature(&it.sig);
                }
                ImplItem::Type(it) => names.visit_type(&it.ty),
                _ => {}
            }
        }
        self.mentioned.entry(owner.ident.to_string()).or_default().extend(names.0);
    }
}

/// Collects the names in an interface: no bodies, no private fields, nothing of the standard library.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl<'ast> Visit<'ast> for Names {
    fn visit_attribute(&mut self, _: &'ast Attribute) {}

    fn visit_block(&mut self, _: &'ast syn::Block) {}

    fn visit_expr(&mut self, _: &'ast syn::Expr) {}

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if is_public(&field.vis) {
            self.visit_type(&field.ty);
        }
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        variant.fields.iter().for_each(|field| self.visit_type(&field.ty));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // `Self::State` is a type of the implementation.
        if path.segments.first().is_some_and(|first| first.ident != "std" && first.ident != "Self") {
            self.0.extend(path.segments.last().map(|last| last.ident.to_string()));
        }
        visit::visit_path(self, path);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_for_tests(attrs: &[Attribute]) -> bool {
    let is_test = |path: syn::Path| path.is_ident("test");
    attrs.iter().any(|attr| attr.path().is_ident("cfg") && attr.parse_args().is_ok_and(is_test))
}

/// Returns the names of the traits that these attributes derive.
fn derived(attrs: &[Attribute]) -> Vec<String> {
    let derives = attrs.iter().filter(|attr| attr.path().is_ident("derive"));
    let paths = derives
        .flat_map(|attr| attr.parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated).unwrap());
    paths.filter_map(|path| path.segments.last().map(|last| last.ident.to_string())).collect()
}

/// Returns the source folder of a crate.
fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src")
}

fn parse(path: &Path) -> Vec<Item> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let items = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items;
    items.into_iter().filter(|item| !matches!(item, Item::Impl(it) if is_for_tests(&it.attrs))).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.file_stem().is_none_or(|stem| stem != "tests"));
    files
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// Collects the names that a module exports, and those of its public modules.
fn exports(krate: &str, module: &[String], found: &mut BTreeSet<String>) {
    let path = source(krate).join(module.join("/"));
    let file = if module.is_empty() { path.join("lib.rs") } else { path.with_extension("rs") };
    export_items(krate, module, &parse(&file), found);
}

fn export_items(krate: &str, module: &[String], items: &[Item], found: &mut BTreeSet<String>) {
    for item in items {
        let (name, visibility) = match item {
            Item::Use(it) if is_public(&it.vis) => {
                export_tree(&it.tree, &mut Vec::new(), found);
                continue;
            }
            Item::Mod(it) if is_public(&it.vis) => {
                let inner = [module, &[it.ident.to_string()]].concat();
                match &it.content {
                    Some((_, items)) => export_items(krate, &inner, items, found),
                    None => exports(krate, &inner, found),
                }
                continue;
            }
            Item::Struct(it) => (&it.ident, &it.vis),
            Item::Enum(it) => (&it.ident, &it.vis),
            Item::Trait(it) => (&it.ident, &it.vis),
            Item::Type(it) => (&it.ident, &it.vis),
            Item::Fn(it) => (&it.sig.ident, &it.vis),
            _ => continue,
        };
        if is_public(visibility) {
            found.insert(name.to_string());
        }
    }
}

/// Exports what a `pub use` names; all of a module of a lower crate, if it names one.
fn export_tree(tree: &UseTree, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    match tree {
        UseTree::Path(it) => {
            path.push(it.ident.to_string());
            export_tree(&it.tree, path, found);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| export_tree(tree, path, found)),
        UseTree::Name(it) => {
            let krate = path.first().and_then(|first| first.strip_prefix("mainstay_"));
            let module = [&path[1..], &[it.ident.to_string()]].concat();
            match krate {
                Some(krate) if source(krate).join(module.join("/")).with_extension("rs").is_file() => {
                    exports(krate, &module, found);
                }
                _ => drop(found.insert(it.ident.to_string())),
            }
        }
        UseTree::Rename(_) | UseTree::Glob(_) => panic!("the facade names each item that it exports"),
    }
}

#[test]
fn facade_exports_each_type_of_its_interface() {
    let items = PublicItems::read();
    let mut exported = BTreeSet::new();
    exports("app", &[], &mut exported);
    assert!(exported.len() > 200 && items.types.len() > 400, "{} {}", exported.len(), items.types.len());
    let is_missing = |name: &&String| items.types.contains(*name) && !exported.contains(*name);
    let mut missing = Vec::new();
    for owner in &exported {
        let mentioned = items.mentioned.get(owner).into_iter().flatten();
        missing.extend(mentioned.filter(is_missing).map(|name| format!("{owner} mentions {name}")));
    }
    assert!(missing.is_empty(), "types that an embedder cannot name:\n{}", missing.join("\n"));
}

/// Reports and policies have their words in their names, and events implement a trait.
#[test]
fn reports_policies_and_events_derive_what_embedders_need() {
    let items = PublicItems::read();
    let mut exported = BTreeSet::new();
    exports("app", &[], &mut exported);
    let concerned = items.traits.iter().filter(|(name, traits)| {
        let is_plain = name.ends_with("Report") || name.ends_with("Policy") || traits.contains("Event");
        is_plain && items.types.contains(*name) && exported.contains(*name)
    });
    let concerned: Vec<_> = concerned.collect();
    assert!(concerned.len() > 80, "{}", concerned.len());
    let mut missing = Vec::new();
    for (name, traits) in concerned {
        let needed = ["Debug", "Clone", "PartialEq", "Serialize"].into_iter();
        missing.extend(
            needed.filter(|wanted| !traits.contains(*wanted)).map(|wanted| format!("{name}: {wanted}")),
        );
    }
    assert!(missing.is_empty(), "types without a trait that embedders need:\n{}", missing.join("\n"));
}
