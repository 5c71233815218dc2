//! Packages of Debian and Ubuntu.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};
use xtask::tool::{self, Version};

use crate::{privilege, quiet, story::say, workspace::Workspace};

/// How long the lists of packages are good for.
const LISTS_LAST: Duration = Duration::from_secs(24 * 60 * 60);

/// The package manager, if this machine has it.
pub(crate) struct Apt {
    program: Option<PathBuf>,
    log: PathBuf,
    /// Its age is that of the lists of packages.
    stamp: PathBuf,
    refreshed: bool,
}

impl Apt {
    /// Looks for apt.
    pub(crate) fn new(workspace: &Workspace) -> Self {
        Self {
            program: tool::find("apt-get"),
            log: workspace.target.join("setup/apt.log"),
            stamp: workspace.target.join("setup/apt-lists.stamp"),
            refreshed: false,
        }
    }

    /// The version of `package` that could be installed, from lists that are at most a day old.
    pub(crate) fn candidate(&mut self, package: &str) -> Option<Version> {
        if !self.has_recent_lists() {
            self.refresh();
        }
        self.program.as_ref()?;
        let policy = tool::printed_by(
            Command::new("apt-cache")
                .args(["policy", package])
                .env("LC_ALL", "C"),
        )?;
        candidate_in(&policy)
    }

    /// Whether `package` is on this machine.
    pub(crate) fn is_installed(&self, package: &str) -> bool {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat=${db:Status-Status}", package]);
        tool::printed_by(&mut query).is_some_and(|status| status == "installed")
    }

    /// Installs `packages`, which `what` describes. It removes nothing: a package that would push another one out is
    /// refused.
    pub(crate) fn install(&mut self, what: &str, packages: &[&str]) -> Result<()> {
        if !self.has_recent_lists() {
            self.refresh();
        }
        let first = self.try_install(what, packages);
        // The lists may name files that the server has replaced since.
        if first.is_err() && self.refresh() {
            self.try_install(what, packages)
        } else {
            first
        }
    }

    fn try_install(&self, what: &str, packages: &[&str]) -> Result<()> {
        let program = self
            .program
            .as_ref()
            .with_context(|| format!("{what} is missing, and there is no apt here"))?;
        let mut command = Command::new(program);
        command
            .args([
                "install",
                "-y",
                "--no-install-recommends",
                "--no-remove",
                "-o",
                "DPkg::Lock::Timeout=120",
            ])
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive");
        let what = format!("installing {what} (apt: {})", packages.join(" "));
        let command = privilege::as_root(command).with_context(|| what.clone())?;
        quiet::run(&what, command, &self.log).with_context(|| what.clone())
    }

    fn has_recent_lists(&self) -> bool {
        let modified = self.stamp.metadata().and_then(|facts| facts.modified());
        self.refreshed
            || modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age < LISTS_LAST))
    }

    /// Reads the lists of packages again, once, and says whether it did. A machine without network may still have
    /// packages in its cache, so a failure is no end.
    fn refresh(&mut self) -> bool {
        let Some(program) = self.program.as_ref().filter(|_| !self.refreshed) else {
            return false;
        };
        self.refreshed = true;
        let mut command = Command::new(program);
        command.args(["update", "-o", "DPkg::Lock::Timeout=120"]);
        let Ok(command) = privilege::as_root(command) else {
            return false;
        };
        let read = quiet::run("reading the lists of packages", command, &self.log);
        match read
            .and_then(|()| fs::write(&self.stamp, "").context("remember the age of the lists"))
        {
            Ok(()) => true,
            Err(error) => {
                say(format_args!("the lists of packages may be old: {error:#}"));
                false
            }
        }
    }
}

fn candidate_in(policy: &str) -> Option<Version> {
    Version::find(
        policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate:"))?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_the_policy() {
        let policy = "llvm-22-dev:\n  Installed: (none)\n  Candidate: 1:22.1.8-1~deb12u1\n  Version table:\n     1:22.1.8-1~deb12u1 500\n";
        assert_eq!(candidate_in(policy), Some(Version::new(22, 1, 8)));
        assert_eq!(
            candidate_in("rustc:\n  Installed: (none)\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate_in(""), None);
    }
}
