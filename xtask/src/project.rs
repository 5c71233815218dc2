//! Builds programs outside the workspace, each with a lock file of its own, and builds them again only when something they
//! are made from has changed.
//!
//! A program is a recipe. Recipes of one group share a directory in which cargo builds, so that what they have in common
//! is compiled once; groups are built beside each other. Each finished program has a stamp next to it, a hash of its
//! recipe, its sources and the compiler: where that is the same, nothing is started at all.

use std::{
    env,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{route::without_outer_cargo, tool};

/// A program to be built.
#[derive(Clone, Debug, Hash)]
pub struct Recipe {
    /// How the finished program is called.
    pub name: String,
    /// Programs with the same group are built in the same directory, one after another.
    pub group: String,
    /// What it is made from: files and directories, relative to the repository.
    pub sources: Vec<String>,
    /// What is done.
    pub step: Step,
}

/// How a program comes to be.
#[derive(Clone, Debug, Hash)]
pub enum Step {
    /// Built by cargo.
    Cargo(Cargo),
    /// Another program without its symbols.
    Strip(Box<Recipe>),
    /// Installed as its authors published it.
    Install {
        /// The crate.
        package: &'static str,
        /// Its version.
        version: &'static str,
        /// The program, where the crate has several.
        program: &'static str,
        /// With the lock file it was published with.
        locked: bool,
    },
}

/// A call of cargo.
#[derive(Clone, Debug, Hash)]
pub struct Cargo {
    /// The directory of the project, relative to the repository.
    pub project: String,
    /// The program, as the project calls it.
    pub program: &'static str,
    /// Optimised, with stock settings.
    pub release: bool,
    /// Features to switch on.
    pub features: &'static [&'static str],
    /// Flags of the compiler for everything.
    pub flags: &'static str,
    /// Further flags, for the program alone and not for what it depends on.
    pub own_flags: &'static [&'static str],
}

/// A finished program.
#[derive(Debug)]
pub struct Built {
    /// How it is called.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// How long it took; none when nothing had changed.
    pub took: Option<Duration>,
}

/// Where programs are made from and where they go.
#[derive(Debug)]
pub struct Builder {
    root: PathBuf,
    directory: PathBuf,
    sysroot: PathBuf,
    /// What the compiler says about itself.
    compiler: String,
}

impl Builder {
    /// For the repository at `root`. Programs go to `directory`, cargo's files to `build` below it.
    ///
    /// # Errors
    /// When there is no compiler.
    pub fn new(root: &Path, directory: &Path) -> Result<Self> {
        let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut print = Command::new(rustc);
        print.args(["--print", "sysroot"]).current_dir(root);
        let sysroot = tool::printed_by(&mut print).context("rustc is missing or does not work")?;
        let sysroot = PathBuf::from(sysroot);
        let compiler = tool::printed_by(Command::new(sysroot.join("bin/rustc")).arg("-vV"));
        Ok(Self {
            root: root.to_path_buf(),
            directory: directory.to_path_buf(),
            compiler: compiler.context("the compiler does not say its version")?,
            sysroot,
        })
    }

    /// The program of one recipe, built when it is not there or something has changed.
    ///
    /// # Errors
    /// When it cannot be built; the message has what cargo said.
    pub fn ensure(&self, recipe: &Recipe) -> Result<Built> {
        let path = self.directory.join(&recipe.name);
        let stamp = self.stamp(recipe)?;
        let is_done = || path.exists() && is_stamped(&stamp_file(&path), stamp);
        let built = |took| Built {
            name: recipe.name.clone(),
            path: path.clone(),
            took,
        };
        if is_done() {
            return Ok(built(None));
        }
        // What this one is made from has the same group, and so the same lock.
        let other = match &recipe.step {
            Step::Strip(other) => Some(self.ensure(other)?),
            Step::Cargo(_) | Step::Install { .. } => None,
        };
        let build = self.directory.join("build").join(&recipe.group);
        fs::create_dir_all(&build).with_context(|| format!("create {}", build.display()))?;
        let _held = lock(&build.join("xtask.lock"))?;
        if is_done() {
            return Ok(built(None));
        }
        let started = now();
        let made = match (&recipe.step, other) {
            (Step::Cargo(cargo), _) => self.cargo(cargo, &build)?,
            (Step::Install { .. }, _) => self.install(&recipe.step, &build)?,
            (Step::Strip(_), Some(other)) => strip(&other.path, &build)?,
            (Step::Strip(_), None) => bail!("nothing to strip"),
        };
        // Under its own name at once and whole: the old one may be running.
        let new = build.join("finished");
        fs::copy(&made, &new).with_context(|| format!("copy {}", made.display()))?;
        fs::rename(&new, &path).with_context(|| format!("create {}", path.display()))?;
        let file = stamp_file(&path);
        fs::write(&file, stamp.to_string()).with_context(|| format!("write {}", file.display()))?;
        Ok(built(Some(now() - started)))
    }

    /// The programs of all recipes, groups beside each other. `tell` hears of each when it is finished.
    ///
    /// # Errors
    /// When one cannot be built.
    pub fn ensure_all(
        &self,
        recipes: &[Recipe],
        tell: &(dyn Fn(&Built) + Sync),
    ) -> Result<Vec<Built>> {
        let mut groups: Vec<Vec<&Recipe>> = Vec::new();
        for recipe in recipes {
            match groups
                .iter_mut()
                .find(|group| group[0].group == recipe.group)
            {
                Some(group) => group.push(recipe),
                None => groups.push(vec![recipe]),
            }
        }
        let next = AtomicUsize::new(0);
        let results = Mutex::new(Vec::new());
        let work = || {
            while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                for recipe in group {
                    let result = self.ensure(recipe);
                    if let Ok(built) = &result {
                        tell(built);
                    }
                    let failed = result.is_err();
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push(result);
                    if failed {
                        // The others of the group would most likely say the same.
                        break;
                    }
                }
            }
        };
        let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        thread::scope(|scope| {
            for _ in 0..workers.min(groups.len()) {
                scope.spawn(work);
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().collect()
    }

    fn cargo(&self, cargo: &Cargo, build: &Path) -> Result<PathBuf> {
        let mut command = self.call("rustc");
        let project = self.root.join(&cargo.project);
        command
            .args([
                "--locked",
                "--quiet",
                "--bin",
                cargo.program,
                "--target-dir",
            ])
            .arg(build)
            .current_dir(&project)
            .env("RUSTFLAGS", cargo.flags);
        if cargo.release {
            command.arg("--release");
        }
        if !cargo.features.is_empty() {
            command.args(["--features", &cargo.features.join(",")]);
        }
        command.arg("--").args(cargo.own_flags);
        run(command).with_context(|| format!("build {}", project.display()))?;
        let profile = if cargo.release { "release" } else { "debug" };
        Ok(build.join(profile).join(cargo.program))
    }

    fn install(&self, step: &Step, build: &Path) -> Result<PathBuf> {
        let Step::Install {
            package,
            version,
            program,
            locked,
        } = step
        else {
            bail!("nothing to install")
        };
        let mut command = self.call("install");
        command
            .args([package, "--version", version, "--bin", program])
            .args(["--quiet", "--no-track", "--force", "--root"])
            .arg(build)
            .arg("--target-dir")
            .arg(build.join("target"));
        if *locked {
            command.arg("--locked");
        }
        run(command).with_context(|| format!("install {package} {version}"))?;
        Ok(build.join("bin").join(program))
    }

    /// A call of the compiler's own cargo, and nothing of a cargo that may be running us.
    fn call(&self, subcommand: &str) -> Command {
        let own = self.sysroot.join("bin/cargo");
        let cargo = if own.exists() {
            own.into()
        } else {
            env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
        };
        let mut command = without_outer_cargo(Command::new(cargo));
        command
            .arg(subcommand)
            .current_dir(&self.root)
            .env("RUSTC", self.sysroot.join("bin/rustc"));
        command
    }

    /// The hash of everything that a program is made from.
    fn stamp(&self, recipe: &Recipe) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        self.compiler.hash(&mut hasher);
        recipe.hash(&mut hasher);
        for source in &recipe.sources {
            hash_files(&self.root, Path::new(source), &mut hasher)?;
        }
        Ok(hasher.finish())
    }
}

/// The repository that a running test belongs to, and where cargo puts what it builds.
///
/// # Errors
/// When the test was not started from where cargo put it.
pub fn of_this_test() -> Result<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let test = env::current_exe().context("find this program")?;
    // TARGET/PROFILE/deps/TEST
    let target = test.ancestors().nth(3);
    let target = target.context("this program is not where cargo puts tests")?;
    let root = root.context("the repository is missing")?;
    Ok((root.to_path_buf(), target.to_path_buf()))
}

/// Names and contents of what is at `path`, directories in the order of their names.
fn hash_files(root: &Path, path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let file = root.join(path);
    let shown = || format!("read {}", file.display());
    path.hash(hasher);
    if !file.is_dir() {
        fs::read(&file).with_context(shown)?.hash(hasher);
        return Ok(());
    }
    let entries = fs::read_dir(&file).with_context(shown)?;
    let names = entries.map(|entry| Ok(entry?.file_name()));
    let mut names = names
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(shown)?;
    names.sort();
    for name in names {
        hash_files(root, &path.join(name), hasher)?;
    }
    Ok(())
}

fn stamp_file(program: &Path) -> PathBuf {
    program.with_added_extension("stamp")
}

fn is_stamped(file: &Path, stamp: u64) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text == stamp.to_string())
}

/// Waits until nobody else builds here.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    file.lock()
        .with_context(|| format!("lock {}", path.display()))?;
    Ok(file)
}

fn strip(program: &Path, build: &Path) -> Result<PathBuf> {
    let strip = tool::find("strip").context("strip is missing (package binutils)")?;
    let stripped = build.join("stripped");
    let mut command = Command::new(strip);
    command.arg("-o").arg(&stripped).arg(program);
    run(command).with_context(|| format!("strip {}", program.display()))?;
    Ok(stripped)
}

pub(crate) fn run(mut command: Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
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

    fn recipe(flags: &'static str) -> Recipe {
        Recipe {
            name: "program".to_owned(),
            group: "group".to_owned(),
            sources: vec!["src".to_owned()],
            step: Step::Cargo(Cargo {
                project: "project".to_owned(),
                program: "program",
                release: true,
                features: &[],
                flags,
                own_flags: &[],
            }),
        }
    }

    #[test]
    fn a_stamp_changes_with_flags_contents_names_and_compiler() -> Result<()> {
        let root = env::temp_dir().join(format!("xtask-project-{}", std::process::id()));
        fs::create_dir_all(root.join("src/inner"))?;
        fs::write(root.join("src/main.rs"), "fn main() {}")?;
        fs::write(root.join("src/inner/mod.rs"), "")?;
        let builder = |compiler: &str| Builder {
            root: root.clone(),
            directory: root.join("out"),
            sysroot: PathBuf::new(),
            compiler: compiler.to_owned(),
        };
        let stamp = |flags| builder("rustc 1").stamp(&recipe(flags));
        let first = stamp("")?;
        assert_eq!(stamp("")?, first);
        assert_ne!(stamp("-C debuginfo=2")?, first);
        assert_ne!(builder("rustc 2").stamp(&recipe(""))?, first);

        fs::write(root.join("src/inner/mod.rs"), "//")?;
        let changed = stamp("")?;
        assert_ne!(changed, first);
        fs::rename(
            root.join("src/inner/mod.rs"),
            root.join("src/inner/other.rs"),
        )?;
        assert_ne!(stamp("")?, changed);
        fs::remove_dir_all(root.join("src"))?;
        assert!(stamp("").is_err());
        fs::remove_dir_all(root)?;
        Ok(())
    }

    #[test]
    fn what_is_stamped_is_not_built_again() -> Result<()> {
        let root = env::temp_dir().join(format!("xtask-stamped-{}", std::process::id()));
        fs::create_dir_all(root.join("src"))?;
        fs::create_dir_all(root.join("out"))?;
        let builder = Builder {
            root: root.clone(),
            directory: root.join("out"),
            // No cargo is here, and none is needed.
            sysroot: PathBuf::from("/nowhere"),
            compiler: String::new(),
        };
        let recipe = recipe("");
        let path = root.join("out/program");
        fs::write(&path, "")?;
        fs::write(stamp_file(&path), builder.stamp(&recipe)?.to_string())?;
        assert!(builder.ensure(&recipe)?.took.is_none());
        fs::remove_dir_all(root)?;
        Ok(())
    }
}
