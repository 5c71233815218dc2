//! Programs that come with the system, and the kernel itself.

use std::path::Path;

use anyhow::{Error, Result, anyhow, bail};
use xtask::tool::{self, Version};

use super::Apt;
use crate::story::say;

struct Program {
    name: &'static str,
    called: &'static str,
    /// The oldest version that will do.
    since: Version,
    /// Packages that have it, the first that exists is taken.
    packages: &'static [&'static str],
    why: &'static str,
}

const REQUIRED: [Program; 2] = [
    Program {
        name: "cc",
        called: "a C compiler",
        since: Version::new(0, 0, 0),
        packages: &["g++"],
        why: "some crates have parts in C",
    },
    Program {
        name: "node",
        called: "Node.js",
        since: Version::new(18, 0, 0),
        packages: &["nodejs"],
        why: "the Node workloads of the demo and the tests",
    },
];

const WANTED: [Program; 4] = [
    Program {
        name: "npm",
        called: "npm",
        since: Version::new(0, 0, 0),
        packages: &["npm"],
        why: "it fetches the builds of Node.js that tests look at",
    },
    Program {
        name: "bpftool",
        called: "bpftool",
        since: Version::new(0, 0, 0),
        packages: &["bpftool", "linux-tools-common"],
        why: "tests compare with it",
    },
    Program {
        name: "setpriv",
        called: "setpriv",
        since: Version::new(0, 0, 0),
        packages: &["util-linux"],
        why: "tests drop privileges with it",
    },
    Program {
        name: "kill",
        called: "kill",
        since: Version::new(0, 0, 0),
        packages: &["procps"],
        why: "tests send signals with it",
    },
];

/// Finds or installs what nothing works without, and returns what is still missing.
pub(super) fn ensure_required(apt: &mut Apt) -> Vec<Error> {
    REQUIRED
        .iter()
        .filter_map(|program| ensure(program, apt).err())
        .collect()
}

/// Finds or installs what only some tests need; those tests say so when it is missing.
pub(super) fn ensure_wanted(apt: &mut Apt) {
    for program in &WANTED {
        if let Err(error) = ensure(program, apt) {
            say(format_args!("going on without: {error:#}"));
        }
    }
}

/// Says whether this kernel describes its types, which the probes rely on.
pub(super) fn check_kernel() {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        say("have kernel type information (BTF)");
    } else {
        say(
            "warning: this kernel has no type information (/sys/kernel/btf/vmlinux); tracer builds, but cannot attach",
        );
    }
}

fn ensure(program: &Program, apt: &mut Apt) -> Result<()> {
    if let Some(version) = installed(program) {
        say(format_args!("have {} {version}", program.name));
        return Ok(());
    }
    install(program, apt).map_err(|error| {
        let since = if program.since.major > 0 {
            format!(" {} or newer", program.since.major)
        } else {
            String::new()
        };
        error.context(format!(
            "{}{since} is missing ({})",
            program.called, program.why
        ))
    })
}

fn install(program: &Program, apt: &mut Apt) -> Result<()> {
    let package = program
        .packages
        .iter()
        .find(|package| {
            apt.candidate(package)
                .is_some_and(|version| version >= program.since)
        })
        .ok_or_else(|| {
            anyhow!(
                "no package here has it; install it by hand, so that `{}` is in PATH",
                program.name
            )
        })?;
    apt.install(program.called, &[package])?;
    if installed(program).is_none() {
        bail!(
            "package {package} is installed, but `{} --version` does not work",
            program.name
        );
    }
    Ok(())
}

fn installed(program: &Program) -> Option<Version> {
    tool::version_of(&tool::find(program.name)?).filter(|version| *version >= program.since)
}
