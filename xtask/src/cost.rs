//! The programs of `tracer/workloads/cost`: as they are, and with libraries that watch a tokio runtime from inside.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::project::{Builder, Built, Cargo, Recipe, Step};

const SOURCES: &str = "tracer/workloads/cost";

/// One way to watch, and what it needs of tokio.
struct Watcher {
    name: &'static str,
    program: &'static str,
    flags: &'static str,
}

const WATCHERS: [Watcher; 3] = [
    Watcher {
        name: "plain",
        program: "cost-plain",
        flags: "",
    },
    Watcher {
        name: "console",
        program: "cost-console",
        flags: "--cfg tokio_unstable",
    },
    Watcher {
        name: "dial9",
        program: "cost-dial9",
        flags: "--cfg tokio_unstable",
    },
];

/// The one that nothing watches.
pub const PLAIN: &str = WATCHERS[0].name;

/// Builds all of them for the repository at `root`, in `cost` below `target`, each under its own name. `tell` hears of each
/// when it is finished.
///
/// # Errors
/// When there is no compiler, or one cannot be built.
pub fn build_all(root: &Path, target: &Path, tell: &(dyn Fn(&Built) + Sync)) -> Result<Vec<Built>> {
    let all = WATCHERS.map(|watcher| watcher.name);
    build(root, target, &all, tell)
}

/// The same for those with these names.
///
/// # Errors
/// When there is no compiler, or one cannot be built.
pub fn build(
    root: &Path,
    target: &Path,
    names: &[&str],
    tell: &(dyn Fn(&Built) + Sync),
) -> Result<Vec<Built>> {
    let chosen = WATCHERS
        .iter()
        .filter(|watcher| names.contains(&watcher.name));
    let recipes: Vec<Recipe> = chosen.map(recipe).collect();
    Builder::new(root, &target.join("cost"))?.ensure_all(&recipes, tell)
}

/// Where a program that was built is.
#[must_use]
pub fn program(target: &Path, name: &str) -> PathBuf {
    target.join("cost").join(name)
}

fn recipe(watcher: &Watcher) -> Recipe {
    let project = format!("{SOURCES}/{}", watcher.name);
    Recipe {
        name: watcher.name.to_owned(),
        group: watcher.name.to_owned(),
        sources: vec![
            project.clone(),
            format!("{SOURCES}/shared"),
            // Two files of the other workload are a part of this one.
            "tracer/workloads/tasks/src/clock.rs".to_owned(),
            "tracer/workloads/tasks/src/json.rs".to_owned(),
        ],
        step: Step::Cargo(Cargo {
            project,
            program: watcher.program,
            release: true,
            features: &[],
            flags: watcher.flags,
            own_flags: &[],
        }),
    }
}
