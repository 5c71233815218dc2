//! The programs that tests and benchmarks attach to and that are no part of the workspace.

use anyhow::{Context, Result};
use xtask::{
    cost,
    matrix::Matrix,
    node::{Builds, VERSIONS},
    packages::Packages,
    project::Built,
    published::Published,
};

use crate::{story::say, workspace::Workspace};

/// Builds what is not there or has changed.
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let matrix = Matrix::new(&workspace.root, &workspace.target)?;
    let built = matrix
        .build_all(&tell)
        .context("the tokio programs that tests attach to cannot be built")?;
    let published = published(workspace, false)?;
    say(format_args!(
        "have {} tokio programs to attach to",
        built.len() + published.len()
    ));
    node(workspace);
    Ok(())
}

/// Tests say which they looked at, so those that cannot be had are no failure.
fn node(workspace: &Workspace) {
    let builds = Builds::new(&workspace.target);
    let there = builds.fetch_all(&|built| match built {
        Ok(built) => tell(built),
        Err(error) => say(format_args!("going on without: {error:#}")),
    });
    let shared = match builds.shared() {
        Ok(_) => "and one in libraries".to_owned(),
        Err(error) => format!("none in libraries: {error:#}"),
    };
    say(format_args!(
        "have {there} of {} builds of Node.js, {shared}",
        VERSIONS.len()
    ));
    match Packages::new(&workspace.root, &workspace.target).ensure() {
        Ok(built) => tell(&built),
        Err(error) => say(format_args!("going on without packages: {error:#}")),
    }
}

fn published(workspace: &Workspace, all: bool) -> Result<Vec<Built>> {
    let programs = Published::new(&workspace.root, &workspace.target)?;
    programs
        .install(all, &tell)
        .context("the published programs cannot be installed")
}

/// The same for programs that cost minutes and that no test needs.
pub(super) fn ensure_rest(workspace: &Workspace) -> Result<()> {
    let (root, target) = (&workspace.root, &workspace.target);
    let watched = cost::build_all(root, target, &tell)
        .context("the programs that are watched from inside cannot be built")?;
    let published = published(workspace, true)?;
    say(format_args!(
        "have {} programs watched from inside or not, {} published ones",
        watched.len(),
        published.len()
    ));
    Ok(())
}

/// Says that a program was built.
pub(crate) fn tell(built: &Built) {
    if let Some(took) = built.took {
        let seconds = took.as_secs_f64();
        say(format_args!("built {} … {seconds:.1} s", built.name));
    }
}
