//! The layer rule, checked: a module uses only modules that stand below it, and each file says what it is for.
//!
//! Rust forbids cycles between crates but not between modules, so this test reads the sources and names every
//! `crate::…` path that points up.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// Each crate's modules, bottom first. A new module is added here, in plain sight.
const CRATES: &[(&str, &[&str])] = &[
    (
        "coffre-format",
        &[
            "FORMAT",
            "error",
            "random",
            "id",
            "codec",
            "crypto",
            "header",
            "keyslot",
            "frame",
            "pack",
            "name",
            "record",
            "value",
            "node",
            "commit",
            "transaction",
            "anchor",
            "checkpoint",
            "lib",
        ],
    ),
    (
        "coffre",
        &[
            "error", "Error", "Result", "strength", "clock", "fault", "store", "tree", "vault",
            "fs", "files", "lib",
        ],
    ),
];

#[test]
fn modules_use_only_lower_modules() {
    let mut upward = Vec::new();
    for (name, layers) in CRATES {
        let source = crates().join(name).join("src");
        for file in rust_files(&source) {
            let module = top_module(file.strip_prefix(&source).unwrap());
            for used in used_modules(&fs::read_to_string(&file).unwrap()) {
                if rank(layers, &used) > rank(layers, &module) {
                    upward.push(format!("{name}: {module} -> {used} ({})", file.display()));
                }
            }
        }
    }
    assert!(upward.is_empty(), "upward uses:\n{}", upward.join("\n"));
}

#[test]
fn each_file_says_what_it_is_for_and_leaves_nothing_undone() {
    let undone = ["TO", "DO"].concat();
    let root = crates().join("..");
    for folder in ["crates", "bindings", "tests", "benches"] {
        for file in rust_files(&root.join(folder)) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                text.starts_with("//! "),
                "{} does not begin with what it is for",
                file.display()
            );
            assert!(
                !text.contains(&undone),
                "{} leaves something undone",
                file.display()
            );
        }
    }
}

#[test]
fn the_store_and_the_clock_are_reached_in_one_place() {
    for file in rust_files(&crates()) {
        let text = fs::read_to_string(&file).unwrap();
        let is = |end: &str| file.ends_with(end);
        assert!(
            file.parent().unwrap().ends_with("store") || !text.contains("opendal::Operator"),
            "{}",
            file.display()
        );
        assert!(
            is("clock.rs") || !text.contains("SystemTime::now"),
            "{}",
            file.display()
        );
    }
}

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates")
}

/// `store/pack.rs` and `store.rs` both belong to `store`.
fn top_module(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn rank(layers: &[&str], module: &str) -> usize {
    let position = layers.iter().position(|layer| *layer == module);
    position.unwrap_or_else(|| panic!("`{module}` is not among {layers:?}"))
}

/// The first segment of every `crate::` path outside comments and tests.
fn used_modules(text: &str) -> Vec<String> {
    let production = text.split("#[cfg(test)]").next().unwrap();
    assert!(
        !production.contains("use crate::{"),
        "a grouped `use` hides its layers; write one `use crate::layer::…` each"
    );
    production
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(first_word)
        .collect()
}

fn first_word(text: &str) -> String {
    let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
    text.chars().take_while(is_word).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
