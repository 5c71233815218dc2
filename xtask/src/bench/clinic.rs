//! `clinic doctor`: what it puts into a program of Node while it collects, without what it makes of that afterwards.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use xtask::tool;

use crate::{quiet, workspace::Workspace};

/// The part of `clinic` that is the doctor: 100 MB, half of it for the analysis.
pub(crate) const PACKAGE: &str = "@clinic/doctor@11.0.0";

/// Whether it is installed.
pub(crate) fn is_here(workspace: &Workspace) -> bool {
    sampler(workspace).exists()
}

/// Installs it with npm, without any scripts.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    let directory = directory(workspace);
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let npm = tool::find("npm").context("npm is missing")?;
    let mut install = Command::new(npm);
    install
        .args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-save",
        ])
        .arg("--prefix")
        .arg(&directory)
        .arg(PACKAGE);
    quiet::run(
        &format!("installing {PACKAGE}"),
        install,
        &workspace.target.join("setup/clinic.log"),
    )
}

/// Lets it into a call of Node, as `ClinicDoctor.collect` does in its `index.js`.
pub(crate) fn let_in(node: &mut Command, workspace: &Workspace, logs: &Path) {
    let sampler = sampler(workspace);
    node.arg("--require")
        .arg(sampler.with_file_name("no-cluster.js"))
        .arg("--require")
        .arg(&sampler)
        .args(["--trace-events-enabled", "--trace-event-categories", "v8"])
        .arg("--trace-event-file-pattern")
        .arg(logs.join("clinic-trace.log"))
        .env("NODE_CLINIC_DOCTOR_SAMPLE_INTERVAL", "10")
        .env("NODE_CLINIC_DOCTOR_TIMEOUT_DELAY", "0")
        .env("NODE_CLINIC_DOCTOR_COLLECT_LOOP_UTILIZATION", "true")
        .env("NODE_CLINIC_DOCTOR_NAME", "bench")
        .env("NODE_CLINIC_DOCTOR_DATA_PATH", logs);
}

fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target.join("setup/clinic")
}

fn sampler(workspace: &Workspace) -> PathBuf {
    directory(workspace).join("node_modules/@clinic/doctor/injects/sampler.js")
}
