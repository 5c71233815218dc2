//! Naming the target: by pid, by name, or a program to start.

use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use tracer_common::Pid;

use super::Failure;
use crate::{
    pipeline::{Launched, launch::Output},
    target::{Query, find},
};

/// Whom to trace.
#[derive(Debug, Args)]
#[group(id = "target", multiple = false)]
pub(super) struct Target {
    /// Trace these processes
    #[arg(short, long, value_name = "PID", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Trace the process of this name: of its program, its script, or its short name
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Start this program and trace it from its first instruction
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A target that was found, or started and waits to be let go.
pub(super) struct Found {
    /// The processes to trace.
    pub(super) pids: Vec<Pid>,
    /// How to call it in a line of text.
    pub(super) label: String,
    /// The program that was started for this.
    pub(super) launched: Option<Launched>,
}

impl Target {
    /// What a single word means: a number is a process, all else is a name.
    pub(super) fn of_word(word: &str) -> Self {
        let pid = word.parse().ok().filter(|pid| *pid > 0);
        Self {
            pid: pid.into_iter().collect(),
            name: pid.is_none().then(|| word.to_owned()),
            command: Vec::new(),
        }
    }

    /// True when one was given.
    pub(super) fn is_given(&self) -> bool {
        !self.pid.is_empty() || self.name.is_some() || !self.command.is_empty()
    }

    /// True when it is a program to start.
    pub(super) fn is_program(&self) -> bool {
        !self.command.is_empty()
    }

    /// Finds or starts it. `output` says where a started program's output goes.
    pub(super) fn find(
        &self,
        output: impl FnOnce() -> std::io::Result<Output>,
    ) -> anyhow::Result<Found> {
        if let Some(program) = self.command.first() {
            let program_name = program.to_string_lossy().into_owned();
            let Some(path) = resolve(program.as_ref()) else {
                return Err(Failure::NoProgram(program_name).into());
            };
            let cannot = |source| Failure::CannotRun {
                command: self.command.clone(),
                source,
            };
            let launched = output()
                .and_then(|output| Launched::start(&path, &self.command, output))
                .map_err(cannot)?;
            let label = format!("{program_name} (pid {})", launched.pid().0);
            return Ok(Found {
                pids: vec![launched.pid()],
                label,
                launched: Some(launched),
            });
        }
        let query = match &self.name {
            Some(name) => Query::Name(name.clone()),
            None if self.pid.is_empty() => {
                return Err(Failure::Usage("no target: give -p PID, -n NAME or -- CMD").into());
            }
            None => {
                let mut pids: Vec<Pid> = self.pid.iter().copied().map(Pid).collect();
                pids.sort_unstable();
                pids.dedup();
                Query::Pids(pids)
            }
        };
        let found = find::find(&query)?;
        let labels: Vec<String> = found
            .iter()
            .take(3)
            .map(|one| format!("{} (pid {})", crate::human::sanitise(&one.comm), one.pid.0))
            .collect();
        let more = found.len().saturating_sub(labels.len());
        let label = if more > 0 {
            format!("{} and {more} more", labels.join(", "))
        } else {
            labels.join(", ")
        };
        Ok(Found {
            pids: found.into_iter().map(|one| one.pid).collect(),
            label,
            launched: None,
        })
    }
}

/// The file `program` means, looked up as a shell does: our child must not try its way through `PATH`, because its
/// failures would be counted as the program's.
fn resolve(program: &Path) -> Option<PathBuf> {
    let runs = |path: &Path| {
        std::fs::metadata(path)
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return runs(program).then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| runs(path))
}
