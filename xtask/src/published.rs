//! Published tokio programs that nobody here wrote, installed as their users get them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::project::{self, Builder, Built, Recipe, Step};

/// A program of a published crate.
struct Program {
    name: &'static str,
    package: &'static str,
    version: &'static str,
    /// With the lock file it was published with, instead of what is newest.
    locked: bool,
    /// A test attaches to it.
    tested: bool,
}

// One line a program, so that it reads as the table it is. The lock file of mini-redis has tokio 1.8, which nobody gets who
// installs it today. miniserve takes five minutes of CPU time to build, too much for every test run.
#[rustfmt::skip]
const PROGRAMS: [Program; 4] = [
    Program { name: "mini-redis-server", package: "mini-redis", version: "0.4.1", locked: false, tested: true },
    Program { name: "bore", package: "bore-cli", version: "0.6.0", locked: true, tested: true },
    Program { name: "mini-redis-cli", package: "mini-redis", version: "0.4.1", locked: false, tested: false },
    Program { name: "miniserve", package: "miniserve", version: "0.35.0", locked: true, tested: false },
];

/// The programs, for a repository.
#[derive(Debug)]
pub struct Published {
    builder: Builder,
}

impl Published {
    /// For the repository at `root`, in `published` below `target`.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn new(root: &Path, target: &Path) -> Result<Self> {
        Ok(Self {
            builder: Builder::new(root, &target.join("published"))?,
        })
    }

    /// For the repository that a running test belongs to.
    ///
    /// # Errors
    /// When there is no compiler, or the test was not started from where cargo put it.
    pub fn of_this_test() -> Result<Self> {
        let (root, target) = project::of_this_test()?;
        Self::new(&root, &target)
    }

    /// One of them, installed when it is not there.
    ///
    /// # Errors
    /// When it cannot be built, or there is none of this name.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let program = PROGRAMS.iter().find(|program| program.name == name);
        let program = program.with_context(|| format!("no published program is called {name}"))?;
        Ok(self.builder.ensure(&recipe(program))?.path)
    }

    /// Installs all of them, or only those that tests attach to. `tell` hears of each when it is finished.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn install(&self, all: bool, tell: &(dyn Fn(&Built) + Sync)) -> Result<Vec<Built>> {
        let chosen = PROGRAMS.iter().filter(|program| all || program.tested);
        let recipes: Vec<Recipe> = chosen.map(recipe).collect();
        self.builder.ensure_all(&recipes, tell)
    }
}

fn recipe(program: &Program) -> Recipe {
    Recipe {
        name: program.name.to_owned(),
        group: format!("{}-{}", program.package, program.version),
        sources: Vec::new(),
        step: Step::Install {
            package: program.package,
            version: program.version,
            program: program.name,
            locked: program.locked,
        },
    }
}
