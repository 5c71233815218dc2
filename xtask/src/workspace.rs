//! Where the repository and what is built from it are, and how to call cargo for it.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The repository.
pub(crate) struct Workspace {
    /// The directory with the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Where cargo puts what it builds.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// The repository this program is run from.
    pub(crate) fn find() -> Result<Self> {
        let here = env::current_dir().context("find the current directory")?;
        // `cargo run` says where the package is; a program started by hand is somewhere in the repository.
        let from_cargo = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let start = from_cargo.unwrap_or_else(|| here.clone());
        let root = start
            .ancestors()
            .find(|directory| directory.join("tracer-ebpf/Cargo.toml").exists());
        let root = root
            .context("not in the repository: no directory above has tracer-ebpf/Cargo.toml")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|directory| !directory.is_empty())
        {
            Some(directory) => here.join(directory),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// A cargo command for the agent's workspace, without what the cargo that started us says about this program.
    pub(crate) fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.arg(subcommand).current_dir(&self.root);
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(describes_this_program) {
                command.env_remove(name);
            }
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The agent, built or to be built.
    pub(crate) fn agent(&self) -> PathBuf {
        self.target.join("release/tracer")
    }

    /// `path` the way a person would type it from the repository.
    pub(crate) fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Runs `command` with our own terminal and fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("start {name}"))?;
    ensure!(
        status.success(),
        "{} ended with {status}",
        crate::quiet::by_hand(command)
    );
    Ok(())
}

fn describes_this_program(name: &str) -> bool {
    const EXACT: [&str; 5] = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "LD_LIBRARY_PATH",
    ];
    name.starts_with("CARGO_PKG_") || EXACT.contains(&name)
}
