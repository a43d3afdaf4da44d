//! The library's public interface, written out: a change of it shows in `crates/coffre/API.txt`, which review sees.
//!
//! `COFFRE_WRITE_API=1` writes it anew.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use quote::ToTokens;
use syn::ImplItem;
use syn::Item;
use syn::UseTree;
use syn::Visibility;

/// Everything that is defined under a name, anywhere in the sources of a crate.
#[derive(Default)]
struct Sources {
    types: BTreeMap<String, Item>,
    impls: BTreeMap<String, Vec<syn::ItemImpl>>,
    /// `Metadata` for `Attributes`.
    aliases: BTreeMap<String, String>,
}

#[test]
fn the_public_interface_is_as_written() {
    let (sources, names) = sources();
    let mut written = String::new();
    for name in names {
        let described = sources.iter().find_map(|sources| sources.describe(&name));
        written.push_str(&described.unwrap_or_else(|| panic!("{name} is defined nowhere")));
        written.push('\n');
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/coffre/API.txt");
    if std::env::var_os("COFFRE_WRITE_API").is_some() {
        std::fs::write(&file, &written).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        known == written,
        "the public interface changed; look at the change, then COFFRE_WRITE_API=1 writes {}",
        file.display()
    );
}

#[test]
fn every_method_has_an_example() {
    let (sources, names) = sources();
    let mut without = Vec::new();
    for (sources, name) in sources
        .iter()
        .flat_map(|sources| names.iter().map(move |name| (sources, name)))
    {
        let own = sources.aliases.get(name).unwrap_or(name);
        for found in sources.impls.get(own).into_iter().flatten() {
            for item in &found.items {
                let documented = attributes(item).to_vec();
                let text: String = documented
                    .iter()
                    .map(|line| line.to_token_stream().to_string())
                    .collect();
                let shown = found.trait_.is_none()
                    && !is_hidden(&documented)
                    && matches!(item, ImplItem::Fn(_));
                if let Some(method) = method(name, item).filter(|_| shown && !text.contains("```"))
                {
                    without.push(method);
                }
            }
        }
    }
    assert!(
        without.is_empty(),
        "without an example:\n{}",
        without.join("\n")
    );
}

/// What the sources define, and which of it the root of the library shows.
fn sources() -> ([Sources; 2], Vec<String>) {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .join("crates");
    let sources = ["coffre", "coffre-format"].map(|name| {
        let mut sources = Sources::default();
        for file in rust_files(&crates.join(name).join("src")) {
            let parsed = syn::parse_file(&std::fs::read_to_string(&file).unwrap()).unwrap();
            sources.take(parsed.items);
        }
        sources
    });
    let lib = std::fs::read_to_string(crates.join("coffre/src/lib.rs")).unwrap();
    (sources, exported(&syn::parse_file(&lib).unwrap()))
}

/// Names that the root re-exports.
fn exported(root: &syn::File) -> Vec<String> {
    let mut names: Vec<String> = root
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Use(found) if matches!(found.vis, Visibility::Public(_)) => last(&found.tree),
            _ => None,
        })
        .collect();
    names.sort();
    names
}

fn last(tree: &UseTree) -> Option<String> {
    match tree {
        UseTree::Path(path) => last(&path.tree),
        UseTree::Name(name) => Some(name.ident.to_string()),
        UseTree::Rename(rename) => Some(rename.rename.to_string()),
        UseTree::Glob(_) | UseTree::Group(_) => None,
    }
}

impl Sources {
    fn take(&mut self, items: Vec<Item>) {
        for item in items {
            let name = match &item {
                Item::Struct(found) => found.ident.to_string(),
                Item::Enum(found) => found.ident.to_string(),
                Item::Type(found) => found.ident.to_string(),
                Item::Fn(found) => found.sig.ident.to_string(),
                Item::Use(found) => {
                    self.take_alias(&found.tree);
                    continue;
                }
                Item::Impl(found) if is_hidden(&found.attrs) => continue,
                Item::Impl(found) => {
                    let name = found.self_ty.to_token_stream().to_string();
                    self.impls.entry(name).or_default().push(found.clone());
                    continue;
                }
                _ => continue,
            };
            // Names are told apart by being public: a private helper may share one.
            if is_public(&item) {
                self.types.entry(name).or_insert(item);
            }
        }
    }

    fn take_alias(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.take_alias(&path.tree),
            UseTree::Rename(rename) => {
                let (new, old) = (rename.rename.to_string(), rename.ident.to_string());
                self.aliases.insert(new, old);
            }
            _ => {}
        }
    }

    fn describe(&self, name: &str) -> Option<String> {
        let known = self
            .aliases
            .get(name)
            .filter(|_| !self.types.contains_key(name));
        let own = known.map_or(name, String::as_str);
        let mut text = pretty(bare(self.types.get(own)?.clone()));
        let mut lines = Vec::new();
        for found in self.impls.get(own).into_iter().flatten() {
            match &found.trait_ {
                Some((_, path, _)) => {
                    lines.push(format!("impl {} for {name}", path.to_token_stream()));
                }
                None => {
                    let shown = found
                        .items
                        .iter()
                        .filter(|item| !is_hidden(attributes(item)));
                    lines.extend(shown.filter_map(|item| method(name, item)));
                }
            }
        }
        lines.sort();
        lines.dedup();
        for line in lines {
            text.push_str(
                &line
                    .replace(" :: ", "::")
                    .replace(" < ", "<")
                    .replace(" >", ">"),
            );
            text.push('\n');
        }
        Some(text)
    }
}

fn attributes(item: &ImplItem) -> &[syn::Attribute] {
    match item {
        ImplItem::Fn(found) => &found.attrs,
        ImplItem::Const(found) => &found.attrs,
        _ => &[],
    }
}

/// Whether the documentation leaves it out.
fn is_hidden(attributes: &[syn::Attribute]) -> bool {
    let text = |attribute: &syn::Attribute| attribute.meta.to_token_stream().to_string();
    attributes
        .iter()
        .any(|attribute| text(attribute) == "doc (hidden)")
}

fn is_public(item: &Item) -> bool {
    let visibility = match item {
        Item::Struct(found) => &found.vis,
        Item::Enum(found) => &found.vis,
        Item::Type(found) => &found.vis,
        Item::Fn(found) => &found.vis,
        _ => return false,
    };
    matches!(visibility, Visibility::Public(_))
}

/// Without docs, attributes and private fields.
fn bare(item: Item) -> Item {
    match item {
        Item::Struct(mut found) => {
            found.attrs.clear();
            if let syn::Fields::Named(fields) = &mut found.fields {
                let open = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
                fields.named = fields
                    .named
                    .iter()
                    .filter(|field| open(field))
                    .cloned()
                    .collect();
            } else if let syn::Fields::Unnamed(fields) = &mut found.fields {
                let open = |field: &syn::Field| matches!(field.vis, Visibility::Public(_));
                fields.unnamed = fields
                    .unnamed
                    .iter()
                    .filter(|field| open(field))
                    .cloned()
                    .collect();
            }
            found
                .fields
                .iter_mut()
                .for_each(|field| field.attrs.clear());
            Item::Struct(found)
        }
        Item::Enum(mut found) => {
            found.attrs.clear();
            for variant in &mut found.variants {
                variant.attrs.clear();
                variant
                    .fields
                    .iter_mut()
                    .for_each(|field| field.attrs.clear());
            }
            Item::Enum(found)
        }
        Item::Fn(mut found) => {
            found.attrs.clear();
            found.block.stmts.clear();
            Item::Fn(found)
        }
        other => other,
    }
}

fn pretty(item: Item) -> String {
    prettyplease::unparse(&syn::File {
        shebang: None,
        attrs: Vec::new(),
        items: vec![item],
    })
}

fn method(owner: &str, item: &ImplItem) -> Option<String> {
    match item {
        ImplItem::Fn(found) if matches!(found.vis, Visibility::Public(_)) => {
            Some(format!("{owner}::{}", found.sig.to_token_stream()))
        }
        ImplItem::Const(found) if matches!(found.vis, Visibility::Public(_)) => {
            let kind = found.ty.to_token_stream();
            Some(format!("{owner}::const {}: {kind}", found.ident))
        }
        _ => None,
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("tests") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
