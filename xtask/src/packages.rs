//! Published packages of Node.js that nobody here wrote, as npm installs them from a list of exact versions and hashes.
//!
//! The list names no registry: packages come from wherever npm is set up to get them, and have to have the hashes.

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    project::{self, Built},
    tool,
};

/// Where the list is, and programs that use the packages, relative to the repository.
pub const SOURCES: &str = "tracer/workloads/packages";

/// What npm needs.
const LIST: [&str; 2] = ["package.json", "package-lock.json"];

/// The hash of the list they were installed from.
const STAMP: &str = "installed.stamp";

/// The packages of a repository.
#[derive(Debug)]
pub struct Packages {
    sources: PathBuf,
    directory: PathBuf,
}

impl Packages {
    /// Of the repository at `root`, in `packages` below `target`.
    #[must_use]
    pub fn new(root: &Path, target: &Path) -> Self {
        Self {
            sources: root.join(SOURCES),
            directory: target.join("packages"),
        }
    }

    /// For the repository that a running test belongs to.
    ///
    /// # Errors
    /// When the test was not started from where cargo put it.
    pub fn of_this_test() -> Result<Self> {
        let (root, target) = project::of_this_test()?;
        Ok(Self::new(&root, &target))
    }

    /// A program that uses them. It looks for them from the directory it is started in, which is [`Self::ensure`]'s.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.sources.join(name)
    }

    /// The directory with `node_modules`; they are installed when they are not there or the list has changed.
    ///
    /// # Errors
    /// When npm is missing or cannot get them.
    pub fn ensure(&self) -> Result<Built> {
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("create {}", self.directory.display()))?;
        let _held = project::lock(&self.directory.join("xtask.lock"))?;
        let stamp = self.stamp()?.to_string();
        let file = self.directory.join(STAMP);
        let mut took = None;
        if !fs::read_to_string(&file).is_ok_and(|text| text == stamp) {
            let started = now();
            self.install()?;
            fs::write(&file, stamp).with_context(|| format!("write {}", file.display()))?;
            took = Some(now() - started);
        }
        Ok(Built {
            name: "packages".to_owned(),
            path: self.directory.clone(),
            took,
        })
    }

    fn install(&self) -> Result<()> {
        for name in LIST {
            let from = self.sources.join(name);
            fs::copy(&from, self.directory.join(name))
                .with_context(|| format!("copy {}", from.display()))?;
        }
        let npm = tool::find("npm").context("npm is missing")?;
        let mut install = Command::new(npm);
        // Nothing here needs a script of its own to work; one that came with a package would run as root in the tests.
        install
            .args([
                "ci",
                "--silent",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
            ])
            .current_dir(&self.directory);
        project::run(install).context("install the packages with npm")
    }

    fn stamp(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        for name in LIST {
            let file = self.sources.join(name);
            fs::read(&file)
                .with_context(|| format!("read {}", file.display()))?
                .hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "times how long a person waits; no record carries that"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_no_registry_and_has_a_hash_for_each() -> Result<()> {
        let (root, target) = project::of_this_test()?;
        let packages = Packages::new(&root, &target);
        let lock = fs::read_to_string(packages.sources.join("package-lock.json"))?;
        assert!(!lock.contains("\"resolved\""));
        let count = |what: &str| lock.matches(what).count();
        let packages = count("    \"node_modules/");
        assert!(packages > 0);
        assert_eq!(count("\"integrity\": \"sha512-"), packages);
        Ok(())
    }
}
