//! A Rust compiler that can target the kernel.

use std::process::Command;

use anyhow::{Result, bail};
use xtask::route::{self, MIN_RUSTC, Route};

use super::Apt;
use crate::{quiet, story::say, workspace::Workspace};

/// A compiler with its kernel library, under the names that distributions give them. The first name decides the
/// version.
const PACKAGE_SETS: [&[&str]; 2] = [
    &[
        "libstd-rust-web-dev-bpf",
        "rustc-web",
        "cargo-web",
        "rust-web-clippy",
    ],
    &["libstd-rust-dev-bpf", "rustc", "cargo", "rust-clippy"],
];

/// What rustup can add, and how many seconds it may take; it can wait for a server for a long time. The sources for
/// the project's own compiler are a few megabytes, a whole nightly compiler some hundred.
const RUSTUP_STEPS: [(&str, &str, &[&str]); 2] = [
    (
        "the sources of the Rust library",
        "60",
        &["component", "add", "rust-src"],
    ),
    (
        "the nightly Rust compiler",
        "300",
        &[
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ],
    ),
];

/// Finds the compilers that qualify, or installs one: a package where there is a new enough one, because its kernel
/// library is already compiled, otherwise through rustup.
pub(super) fn ensure(workspace: &Workspace, apt: &mut Apt) -> Result<Vec<Route>> {
    let found = Route::available();
    if !found.is_empty() {
        for route in &found {
            say(format_args!(
                "have {} for the kernel target",
                route.describe()
            ));
        }
        if !found.iter().any(Route::has_clippy) {
            add_clippy(apt);
        }
        return Ok(found);
    }
    let mut refusals = Vec::new();
    for attempt in [from_packages, from_rustup] {
        if let Err(error) = attempt(workspace, apt) {
            refusals.push(format!("{error:#}"));
        }
        let found = Route::available();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    bail!(
        "no Rust compiler here can target the kernel, and none could be installed\n{}\n  one of these is needed:\n  \
         rustup component add rust-src\n  apt-get install {}",
        refusals.join("\n"),
        PACKAGE_SETS[0].join(" "),
    )
}

fn from_packages(_: &Workspace, apt: &mut Apt) -> Result<()> {
    for packages in PACKAGE_SETS {
        if apt
            .candidate(packages[0])
            .is_some_and(|version| version >= MIN_RUSTC)
        {
            return apt.install("a Rust compiler for the kernel target", packages);
        }
    }
    bail!("no package has a Rust compiler {MIN_RUSTC} or newer for the kernel target")
}

/// Clippy for a compiler of the distribution. The kernel side builds without it, but is not linted.
fn add_clippy(apt: &mut Apt) {
    let set = PACKAGE_SETS
        .iter()
        .find(|packages| apt.is_installed(packages[0]));
    if let Some([.., clippy]) = set
        && let Err(error) = apt.install("clippy for the kernel target", &[clippy])
    {
        say(format_args!("going on without: {error:#}"));
    }
}

fn from_rustup(workspace: &Workspace, _: &mut Apt) -> Result<()> {
    let Some(rustup) = route::rustup() else {
        bail!("rustup is not installed")
    };
    let mut refusals = Vec::new();
    for (what, seconds, arguments) in RUSTUP_STEPS {
        let mut command = Command::new("timeout");
        command
            .arg(seconds)
            .arg(&rustup)
            .args(arguments)
            .current_dir(&workspace.root);
        let log = workspace.target.join("setup/rustup.log");
        match quiet::run(&format!("installing {what} (rustup)"), command, &log) {
            Ok(()) => return Ok(()),
            Err(error) => refusals.push(format!("installing {what}: {error:#}")),
        }
    }
    bail!("{}", refusals.join("\n"))
}
