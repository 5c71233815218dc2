//! The workload `tasks` against several versions of tokio, built in several ways: what a tracer must recognise from outside.
//!
//! The parts it depends on are compiled once for each version and profile. They carry bitcode beside their machine code,
//! which stays the same, so that the optimised ones serve every way to link them.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::project::{self, Builder, Built, Cargo, Recipe, Step};

/// The versions of tokio, oldest first, as the projects are called.
pub const VERSIONS: [&str; 5] = ["1.20", "1.32", "1.38", "1.44", NEWEST];

/// The version that is built in every way.
pub const NEWEST: &str = "1.54";

/// The project of that version, relative to the repository.
pub const NEWEST_MANIFEST: &str = "tracer/workloads/tasks/tokio-1.54/Cargo.toml";

const SOURCES: &str = "tracer/workloads/tasks";

/// How a program is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `cargo build`.
    Debug,
    /// `cargo build --release`.
    Release,
    /// The same with link-time optimisation of everything.
    Lto,
    /// The release with the newer mangling of names.
    V0,
    /// The release without symbols.
    Stripped,
    /// The release with jemalloc; the newest version only.
    Jemalloc,
    /// The release as a static program that can be placed anywhere; the newest version only.
    StaticPie,
}

impl Flavour {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Debug,
        Self::Release,
        Self::Lto,
        Self::V0,
        Self::Stripped,
        Self::Jemalloc,
        Self::StaticPie,
    ];

    /// As in the name of the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Release => "release",
            Self::Lto => "lto",
            Self::V0 => "v0",
            Self::Stripped => "stripped",
            Self::Jemalloc => "jemalloc",
            Self::StaticPie => "static-pie",
        }
    }

    fn is_of_every_version(self) -> bool {
        !matches!(self, Self::Jemalloc | Self::StaticPie)
    }

    fn features(self) -> &'static [&'static str] {
        match self {
            Self::Jemalloc => &["jemalloc"],
            Self::Debug
            | Self::Release
            | Self::Lto
            | Self::V0
            | Self::Stripped
            | Self::StaticPie => &[],
        }
    }

    fn own_flags(self) -> &'static [&'static str] {
        match self {
            Self::Lto => &["-Clto=fat"],
            Self::V0 => &["-Csymbol-mangling-version=v0"],
            Self::StaticPie => &["-Ctarget-feature=+crt-static"],
            Self::Debug | Self::Release | Self::Stripped | Self::Jemalloc => &[],
        }
    }
}

/// Every program there is: `(version, flavour)`, the newest version first because it takes longest.
pub fn all() -> impl Iterator<Item = (&'static str, Flavour)> {
    VERSIONS.into_iter().rev().flat_map(|version| {
        let flavours = Flavour::ALL.into_iter();
        let flavours =
            flavours.filter(move |flavour| version == NEWEST || flavour.is_of_every_version());
        flavours.map(move |flavour| (version, flavour))
    })
}

/// The programs of a repository.
#[derive(Debug)]
pub struct Matrix {
    builder: Builder,
}

impl Matrix {
    /// Of the repository at `root`, in `matrix` below `target`.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        Ok(Self {
            builder: Builder::new(root, &target.join("matrix"))?,
        })
    }

    /// Of the repository that a running test belongs to.
    ///
    /// # Errors
    /// When there is no compiler, or the test was not started from where cargo put it.
    pub fn of_this_test() -> Result<Self> {
        let (root, target) = project::of_this_test()?;
        Self::new(&root, &target)
    }

    /// One program, built when it is not there or something has changed.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn program(&self, version: &str, flavour: Flavour) -> Result<PathBuf> {
        Ok(self.builder.ensure(&recipe(version, flavour))?.path)
    }

    /// All of them. `tell` hears of each when it is finished.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn build_all(&self, tell: &(dyn Fn(&Built) + Sync)) -> Result<Vec<Built>> {
        let recipes: Vec<Recipe> = all()
            .map(|(version, flavour)| recipe(version, flavour))
            .collect();
        self.builder.ensure_all(&recipes, tell)
    }
}

fn recipe(version: &str, flavour: Flavour) -> Recipe {
    let project = format!("{SOURCES}/tokio-{version}");
    let is_release = flavour != Flavour::Debug;
    let step = if flavour == Flavour::Stripped {
        Step::Strip(Box::new(recipe(version, Flavour::Release)))
    } else {
        Step::Cargo(Cargo {
            project: project.clone(),
            program: "tasks",
            release: is_release,
            features: flavour.features(),
            flags: if is_release {
                "-Cembed-bitcode=yes"
            } else {
                ""
            },
            own_flags: flavour.own_flags(),
        })
    };
    let manifest = ["Cargo.toml", "Cargo.lock"].map(|file| format!("{project}/{file}"));
    Recipe {
        name: format!("{version}-{}", flavour.name()),
        group: format!("tokio-{version}"),
        sources: [format!("{SOURCES}/src")]
            .into_iter()
            .chain(manifest)
            .collect(),
        step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_comes_in_five_ways_and_the_newest_in_seven() {
        let names: Vec<String> = all()
            .map(|(version, way)| recipe(version, way).name)
            .collect();
        assert_eq!(names.len(), 27);
        assert!(names.contains(&"1.20-lto".to_owned()), "{names:?}");
        assert!(names.contains(&"1.54-static-pie".to_owned()), "{names:?}");
        assert!(!names.contains(&"1.44-jemalloc".to_owned()), "{names:?}");
    }
}
