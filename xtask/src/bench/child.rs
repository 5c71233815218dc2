//! A foreign program that we start and end, by its process id: an observer, or a load generator.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use xtask::tool;

use super::wait;

/// How long a program may take to write its results after it was asked to end.
const END: Duration = Duration::from_secs(10);

/// A running program. Dropping it ends it, and it ends when we do, however that comes about.
pub(crate) struct Child {
    process: std::process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` with its output in `log`.
    pub(crate) fn start(command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let both = out
            .try_clone()
            .with_context(|| format!("open {} twice", log.display()))?;
        let setpriv = tool::find("setpriv").context("setpriv is missing (package util-linux)")?;
        // In its own group, because Ctrl-C would otherwise reach it twice: from the terminal and from our end.
        let mut bound = Command::new(setpriv);
        bound
            .args(["--pdeathsig", "INT", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(both);
        let process = bound
            .spawn()
            .with_context(|| format!("start {}", crate::quiet::by_hand(&command)))?;
        Ok(Self {
            process,
            log: log.to_path_buf(),
        })
    }

    /// setpriv becomes the program, so this is the program's.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().context("wait for a program")
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn end(mut self) -> Result<()> {
        self.interrupt()
    }

    fn interrupt(&mut self) -> Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let mut kill = Command::new("kill");
        kill.args(["-INT", &self.pid().to_string()]);
        kill.status().context("start kill")?;
        if wait::until(END, || self.ended())?.is_none() {
            self.process.kill().context("kill a program")?;
            self.process.wait().context("wait for a program")?;
        }
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.interrupt().is_err() {
            // What else could be done has failed already.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_ends_when_it_is_dropped() -> Result<()> {
        let directory = std::env::temp_dir().join(format!("xtask-child-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut command = Command::new("sh");
        command.args(["-c", "echo here; exec sleep 600"]);
        let mut child = Child::start(command, &directory.join("log"))?;
        let said = wait::until(Duration::from_secs(10), || {
            Ok((child.printed() == "here\n").then_some(()))
        })?;
        assert!(said.is_some());
        assert!(child.ended()?.is_none());
        let pid = child.pid();
        drop(child);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        fs::remove_dir_all(directory)?;
        Ok(())
    }
}
