//! The builds of Node that the tests of the kernel side run on: a version of each line, and the distribution's.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use xtask::node::{Builds, Shared, VERSIONS};

use crate::common::Workload;

/// What the distribution's is called here.
pub(super) const SHARED: &str = "distribution's";

/// A build.
pub(super) struct Build {
    /// Its version, or [`SHARED`].
    pub(super) name: &'static str,
    how: How,
}

enum How {
    Program(PathBuf),
    Shared(Shared),
}

impl Build {
    /// To run it.
    pub(super) fn command(&self) -> Command {
        match &self.how {
            How::Program(program) => Command::new(program),
            How::Shared(shared) => shared.command(),
        }
    }

    /// A script of the workloads, running.
    pub(super) fn start(&self, script: &str, arguments: &[&str]) -> Workload {
        Workload::start(self.command().arg(workload(script)).args(arguments))
    }

    /// The major version; 18 for the distribution's, which is that of Debian 12.
    pub(super) fn major(&self) -> u32 {
        let major = self.name.split('.').next();
        major.and_then(|major| major.parse().ok()).unwrap_or(18)
    }
}

/// A script of the workloads.
pub(super) fn workload(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("workloads/node")
        .join(script)
}

/// One version of each line.
pub(super) fn versions() -> Vec<Build> {
    let builds = Builds::of_this_test().unwrap();
    let build = |name: &&'static str| Build {
        name,
        how: How::Program(builds.program(name).unwrap()),
    };
    VERSIONS.iter().map(build).collect()
}

/// These and the distribution's, where it can be had.
pub(super) fn all() -> Vec<Build> {
    let mut all = versions();
    match Builds::of_this_test().unwrap().shared() {
        Ok(shared) => all.push(Build {
            name: SHARED,
            how: How::Shared(shared),
        }),
        Err(error) => println!("without the distribution's Node: {error:#}"),
    }
    all
}
