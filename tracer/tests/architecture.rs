//! Who may import whom: the table of ARCHITECTURE.md as data, held against the sources.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

use std::{collections::BTreeSet, fs, path::Path};

use syn::visit::{self, Visit};

/// A module of the agent, the other modules it may name, and the foreign crates that only it (and others that
/// list them) may name.
struct Row {
    module: &'static str,
    may_use: &'static [&'static str],
    owns: &'static [&'static str],
}

const EVERYTHING: &[&str] = &[
    "bpf",
    "cli",
    "dump",
    "findings",
    "human",
    "metric",
    "model",
    "pipeline",
    "record",
    "recording",
    "report",
    "runtime",
    "source",
    "symbol",
    "target",
    "tui",
];

const TABLE: &[Row] = &[
    Row {
        module: "record",
        may_use: &[],
        owns: &[],
    },
    Row {
        module: "human",
        may_use: &["record", "symbol"],
        owns: &[],
    },
    Row {
        module: "metric",
        may_use: &[],
        owns: &[],
    },
    Row {
        module: "target",
        may_use: &[],
        owns: &["memmap2", "procfs", "rustix"],
    },
    Row {
        module: "symbol",
        may_use: &["target"],
        owns: &["blazesym", "procfs", "rustix"],
    },
    Row {
        module: "runtime",
        may_use: &["symbol", "target"],
        owns: &[
            "crc32fast",
            "gimli",
            "iced_x86",
            "log",
            "object",
            "rustc_demangle",
            "rustix",
            "serde",
            "serde_json",
        ],
    },
    Row {
        module: "bpf",
        may_use: &["record", "runtime", "target"],
        owns: &["aya", "aya_obj", "aya_log", "log", "tokio"],
    },
    Row {
        module: "recording",
        may_use: &["record"],
        owns: &["prost", "zstd", "crc32fast"],
    },
    Row {
        module: "source",
        may_use: &["bpf", "dump", "record", "recording", "runtime", "target"],
        owns: &["humantime", "log"],
    },
    Row {
        module: "model",
        may_use: &["record"],
        owns: &[],
    },
    Row {
        module: "findings",
        may_use: &["human", "model", "record"],
        owns: &[],
    },
    Row {
        module: "dump",
        may_use: &["human", "record", "runtime", "target"],
        owns: &[],
    },
    Row {
        module: "report",
        may_use: &[
            "dump", "findings", "human", "metric", "model", "record", "runtime",
        ],
        owns: &["serde", "serde_json"],
    },
    Row {
        module: "tui",
        may_use: &["findings", "human", "metric", "model", "record"],
        owns: &["ratatui", "crossterm", "rustix", "tokio"],
    },
    Row {
        module: "pipeline",
        may_use: &[
            "bpf",
            "findings",
            "model",
            "record",
            "recording",
            "runtime",
            "source",
            "symbol",
            "target",
            "tui",
        ],
        owns: &["log", "tokio", "rustix"],
    },
    Row {
        module: "cli",
        may_use: EVERYTHING,
        owns: &[
            "clap",
            "clap_complete",
            "clap_mangen",
            "anyhow",
            "env_logger",
            "log",
            "humantime",
            "tokio",
            "serde",
            "serde_json",
            "crossterm",
            "rustix",
        ],
    },
];

/// What the middle must never touch, whatever it is called.
const IMPURE: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "std::fs",
            "std::time",
            "std::thread",
            "std::net",
            "std::process",
            "std::io",
            "std::env",
            "anyhow",
        ],
    ),
    (
        "findings",
        &[
            "std::fs",
            "std::time",
            "std::thread",
            "std::net",
            "std::process",
            "std::io",
            "std::env",
            "anyhow",
        ],
    ),
    (
        "report",
        &[
            "std::fs",
            "std::time",
            "std::thread",
            "std::net",
            "std::process",
            "std::env",
        ],
    ),
    (
        "record",
        &["std::fs", "std::time", "std::thread", "std::io"],
    ),
];

#[derive(Default)]
struct Paths {
    prefix: Vec<String>,
    found: BTreeSet<String>,
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|name| name == "test")
        });
        if !test {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                self.prefix.push(path.ident.to_string());
                self.visit_use_tree(&path.tree);
                self.prefix.pop();
            }
            syn::UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.visit_use_tree(tree)),
            syn::UseTree::Name(name) => self.add(&name.ident.to_string()),
            syn::UseTree::Rename(name) => self.add(&name.ident.to_string()),
            syn::UseTree::Glob(_) => self.add("*"),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            self.found.insert(segments.join("::"));
        }
        visit::visit_path(self, path);
    }
}

impl Paths {
    fn add(&mut self, last: &str) {
        let mut path = self.prefix.clone();
        path.push(last.to_owned());
        self.found.insert(path.join("::"));
    }
}

fn sources(of: &Path, into: &mut Vec<std::path::PathBuf>) {
    if of.is_dir() {
        fs::read_dir(of)
            .unwrap()
            .for_each(|entry| sources(&entry.unwrap().path(), into));
    } else if of.is_file() && of.extension().is_some_and(|extension| extension == "rs") {
        into.push(of.to_owned());
    }
}

/// Every path a module's sources name, outside its tests.
fn paths(module: &str) -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src.join(module), &mut files);
    sources(&src.join(format!("{module}.rs")), &mut files);
    assert!(!files.is_empty(), "{module} has no sources");
    let mut paths = Paths::default();
    for file in files
        .iter()
        .filter(|file| file.file_name().is_some_and(|name| name != "tests.rs"))
    {
        let source = fs::read_to_string(file).unwrap();
        paths.visit_file(&syn::parse_file(&source).unwrap());
    }
    paths.found
}

#[test]
fn every_module_is_in_the_table() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for item in syn::parse_file(&lib).unwrap().items {
        if let syn::Item::Mod(module) = item {
            let name = module.ident.to_string();
            assert!(
                TABLE.iter().any(|row| row.module == name),
                "{name} is in no row"
            );
        }
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    for row in TABLE {
        for path in paths(row.module) {
            let mut words = path.split("::");
            let Some("crate") = words.next() else {
                continue;
            };
            let Some(other) = words.next() else { continue };
            if other != row.module && EVERYTHING.contains(&other) {
                assert!(
                    row.may_use.contains(&other),
                    "{} must not use {path}",
                    row.module
                );
            }
        }
    }
}

#[test]
fn a_foreign_crate_is_used_where_it_belongs() {
    let owned: BTreeSet<&str> = TABLE.iter().flat_map(|row| row.owns).copied().collect();
    for row in TABLE {
        for path in paths(row.module) {
            let Some(first) = path.split("::").next() else {
                continue;
            };
            assert!(
                !owned.contains(first) || row.owns.contains(&first),
                "{} must not use {path}",
                row.module
            );
        }
    }
}

#[test]
fn the_middle_is_pure() {
    for (module, forbidden) in IMPURE {
        for path in paths(module) {
            assert!(
                !forbidden.iter().any(|word| path.starts_with(word)),
                "{module} must not use {path}"
            );
        }
    }
}

/// `spawn`, `spawn_blocking`, and not what is about those of others.
fn is_spawning(name: &str) -> bool {
    name == "spawn" || name.starts_with("spawn_")
}

#[test]
fn only_the_pipeline_makes_threads_and_tasks() {
    for row in TABLE.iter().filter(|row| row.module != "pipeline") {
        for path in paths(row.module) {
            assert!(
                !path.split("::").any(is_spawning) && !path.starts_with("std::thread::Builder"),
                "{} must not use {path}",
                row.module
            );
        }
    }
}

#[test]
fn the_shared_crate_stays_small_and_safe() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tracer-common/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let mut paths = Paths::default();
        paths.visit_file(&syn::parse_file(&source).unwrap());
        for path in paths.found {
            let first = path.split("::").next().unwrap_or_default();
            assert!(
                first != "std" && first != "aya",
                "{} must not use {path}",
                file.display()
            );
        }
        assert!(!source.contains("unsafe {"), "{}", file.display());
    }
}

/// The table in ARCHITECTURE.md is for people; this keeps it from drifting.
#[test]
fn the_document_names_every_module() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md"))
        .unwrap();
    for row in TABLE {
        assert!(
            page.contains(&format!("`{}`", row.module)),
            "ARCHITECTURE.md does not name `{}`",
            row.module
        );
    }
}
