//! From what a person typed to the processes that are meant.

use thiserror::Error;
use tracer_common::Pid;

use super::process::{self, Description};

/// How a person named the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// By process number.
    Pids(Vec<Pid>),
    /// By name: the short name, or the file name of its program or script.
    Name(String),
}

/// Why no target was found.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FindError {
    /// There is no such process.
    #[error("no process with pid {0}")]
    NoSuchPid(u32),
    /// It has ended, and its parent has not yet collected it.
    #[error("process {0} has ended already (zombie)")]
    Ended(u32),
    /// Nothing has that name.
    #[error("no process is named `{0}`")]
    NoSuchName(String),
    /// Several have it, and only a person can choose.
    #[error("{} processes are named `{name}`", .found.len())]
    Several {
        /// The name.
        name: String,
        /// All that match.
        found: Vec<Description>,
    },
}

/// The processes `query` means. A name must mean exactly one process and its children; otherwise all matches
/// are listed and none is chosen.
///
/// # Errors
/// When a process does not exist, or when a name matches none or several.
pub fn find(query: &Query) -> Result<Vec<Description>, FindError> {
    match query {
        Query::Pids(pids) => pids.iter().map(|&pid| by_pid(pid)).collect(),
        Query::Name(name) => by_name(name).map(|found| vec![found]),
    }
}

fn by_pid(pid: Pid) -> Result<Description, FindError> {
    let found = process::describe(pid).ok_or(FindError::NoSuchPid(pid.0))?;
    if process::is_alive(pid) {
        Ok(found)
    } else {
        Err(FindError::Ended(pid.0))
    }
}

fn by_name(name: &str) -> Result<Description, FindError> {
    let own = std::process::id();
    let mut found: Vec<Description> = procfs::process::all_processes()
        .map(|processes| {
            processes
                .filter_map(|process| Some(Pid(u32::try_from(process.ok()?.pid).ok()?)))
                .filter(|pid| pid.0 != own && process::is_alive(*pid))
                .filter_map(process::describe)
                .filter(|description| is_named(description, name))
                .collect()
        })
        .unwrap_or_default();
    // Children that carry their parent's name come with it.
    let pids: Vec<Pid> = found.iter().map(|description| description.pid).collect();
    found.retain(|description| !pids.contains(&description.parent));
    match found.len() {
        0 => Err(FindError::NoSuchName(name.to_owned())),
        1 => Ok(found.remove(0)),
        _ => Err(FindError::Several {
            name: name.to_owned(),
            found,
        }),
    }
}

fn is_named(description: &Description, name: &str) -> bool {
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    description.comm == name
        || file_name(&description.exe) == name
        || description
            .cmdline
            .split(' ')
            .take(2)
            .any(|word| !word.is_empty() && file_name(word) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(comm: &str, exe: &str, cmdline: &str) -> Description {
        Description {
            comm: comm.into(),
            exe: exe.into(),
            cmdline: cmdline.into(),
            ..Description::default()
        }
    }

    #[test]
    fn a_name_is_the_short_name_the_program_or_the_script() {
        let node = described(
            "node-MainThread",
            "/usr/bin/node",
            "node /srv/api/server.js --port 80",
        );
        for name in ["node-MainThread", "node", "server.js"] {
            assert!(is_named(&node, name), "{name}");
        }
        for name in ["nod", "--port", "80", ""] {
            assert!(!is_named(&node, name), "{name:?}");
        }
    }

    #[test]
    fn a_pid_that_is_not_there_is_said() {
        assert_eq!(
            find(&Query::Pids(vec![Pid(i32::MAX as u32)])),
            Err(FindError::NoSuchPid(i32::MAX as u32))
        );
    }
}
