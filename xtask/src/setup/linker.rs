//! bpf-linker, which turns the compiler's bitcode into a kernel object.
//!
//! Its LLVM must be at least as new as the compiler's. Neither program says which LLVM they have in common, so the
//! answer is a small object, linked for real.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use xtask::{
    kernel_object::BPF_LINKER,
    route::{Route, TARGET},
    tool::{self, Version},
};

use super::Apt;
use crate::{
    quiet,
    story::{Step, say},
    workspace::Workspace,
};

/// The LLVM versions that bpf-linker 0.13.0 can be built for, as its features are called.
const LLVM_FEATURES: [u32; 3] = [21, 22, 23];

const TEST_MANIFEST: &str = "[package]\nname = \"link-test\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
    [profile.release]\npanic = \"abort\"\nlto = true\ncodegen-units = 1\n";

// The index may be out of bounds, so that bitcode of the compiler's own library goes through the linker too.
const TEST_PROGRAM: &str = r#"#![no_std]
#![no_main]

#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp/sys_enter")]
fn probe(context: *const u64) -> i32 {
    [1, 2, 3, 5, 8][context as usize]
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
"#;

/// Finds a bpf-linker that works with one of `routes`, or builds one.
pub(super) fn ensure(workspace: &Workspace, apt: &mut Apt, routes: &[Route]) -> Result<()> {
    if let Some(linker) = tool::bpf_linker() {
        match links(workspace, routes, &linker)? {
            Verdict::Links => {
                say(format_args!("have {}", described(&linker)));
                return Ok(());
            }
            Verdict::Unfit(why) => say(format_args!(
                "{} is not usable here: {why}",
                described(&linker)
            )),
        }
    }
    install(workspace, apt, routes)?;
    let linker = tool::bpf_linker()
        .context("bpf-linker was installed, but is not in PATH or cargo's bin directory")?;
    match links(workspace, routes, &linker)? {
        Verdict::Links => Ok(()),
        Verdict::Unfit(why) => bail!(
            "{} was installed, but is not usable: {why}",
            described(&linker)
        ),
    }
}

fn described(linker: &Path) -> String {
    tool::version_of(linker).map_or_else(
        || "bpf-linker".to_owned(),
        |version| format!("bpf-linker {version}"),
    )
}

fn install(workspace: &Workspace, apt: &mut Apt, routes: &[Route]) -> Result<()> {
    let mut command = workspace.cargo("install");
    command.args([
        "bpf-linker",
        "--version",
        &BPF_LINKER.to_string(),
        "--locked",
        "--force",
    ]);
    // Without an LLVM to name, bpf-linker looks for one by itself and says what it misses.
    if let Some(llvm) = llvm_from_packages(apt, routes)?.or_else(|| installed_llvm(routes)) {
        command
            .args([
                "--no-default-features",
                "--features",
                &format!("llvm-{}", llvm.major),
            ])
            .env("LLVM_PREFIX", &llvm.prefix);
    }
    // Its intermediate files are of no use to anything else.
    let scratch = workspace.target.join("setup/bpf-linker");
    command.env("CARGO_TARGET_DIR", &scratch);
    let log = workspace.target.join("setup/bpf-linker.log");
    quiet::run(
        &format!("installing bpf-linker {BPF_LINKER} (a few minutes)"),
        command,
        &log,
    )
    .with_context(|| {
        let llvm = routes.first().map_or(0, |route| route.llvm.major);
        format!(
            "bpf-linker {BPF_LINKER} could not be installed; it needs the development files of LLVM {llvm}"
        )
    })?;
    fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
}

struct Llvm {
    major: u32,
    prefix: PathBuf,
}

/// An LLVM of the distribution that is new enough for one of `routes`.
fn llvm_from_packages(apt: &mut Apt, routes: &[Route]) -> Result<Option<Llvm>> {
    for wanted in suitable(routes) {
        let major = wanted.major;
        let package = format!("llvm-{major}-dev");
        if apt
            .candidate(&package)
            .is_some_and(|version| version >= wanted)
        {
            let polly = format!("libpolly-{major}-dev");
            apt.install(
                "LLVM for bpf-linker",
                &[&package, &polly, "zlib1g-dev", "libzstd-dev", "g++"],
            )?;
            return Ok(Some(Llvm {
                major,
                prefix: PathBuf::from(format!("/usr/lib/llvm-{major}")),
            }));
        }
    }
    Ok(None)
}

/// An LLVM that is on this machine by other means.
fn installed_llvm(routes: &[Route]) -> Option<Llvm> {
    suitable(routes).find_map(|wanted| {
        [
            format!("llvm-config-{}", wanted.major),
            "llvm-config".to_owned(),
        ]
        .iter()
        .find_map(|name| {
            let config = tool::find(name)?;
            let found = tool::version_of(&config)?;
            if found < wanted || !LLVM_FEATURES.contains(&found.major) {
                return None;
            }
            let prefix = tool::printed_by(Command::new(config).arg("--prefix"))?;
            Some(Llvm {
                major: found.major,
                prefix: PathBuf::from(prefix),
            })
        })
    })
}

fn suitable(routes: &[Route]) -> impl Iterator<Item = Version> {
    routes
        .iter()
        .map(|route| route.llvm)
        .filter(|llvm| LLVM_FEATURES.contains(&llvm.major))
}

enum Verdict {
    Links,
    /// Another build of bpf-linker would help.
    Unfit(String),
}

/// Whether `linker` works with one of `routes`. A yes is remembered until a compiler or the linker changes. A failure
/// that is not the linker's is an error.
fn links(workspace: &Workspace, routes: &[Route], linker: &Path) -> Result<Verdict> {
    let stamp = workspace.target.join("setup/link-test.stamp");
    let key = key(routes, linker)?;
    if fs::read_to_string(&stamp).is_ok_and(|known| known == key) {
        return Ok(Verdict::Links);
    }
    let package = workspace.target.join("setup/link-test");
    write_test_package(workspace, &package)?;
    let mut refusals = Vec::new();
    for route in routes {
        let step = Step::start(format_args!(
            "linking a test object with {}",
            route.describe()
        ));
        match link(route, linker, &package) {
            Ok(Verdict::Links) => {
                step.done();
                fs::write(&stamp, &key).with_context(|| format!("write {}", stamp.display()))?;
                return Ok(Verdict::Links);
            }
            Ok(Verdict::Unfit(why)) => {
                step.failed();
                refusals.push(why);
            }
            Err(error) => {
                step.failed();
                return Err(error);
            }
        }
    }
    Ok(Verdict::Unfit(refusals.join("; ")))
}

fn key(routes: &[Route], linker: &Path) -> Result<String> {
    let facts = linker
        .metadata()
        .with_context(|| format!("look at {}", linker.display()))?;
    let routes: String = routes
        .iter()
        .map(|route| format!("{}, LLVM {}\n", route.describe(), route.llvm))
        .collect();
    Ok(format!(
        "{routes}bpf-linker {} {} {}\n",
        facts.ino(),
        facts.len(),
        facts.mtime()
    ))
}

fn write_test_package(workspace: &Workspace, package: &Path) -> Result<()> {
    let settings = workspace.root.join("tracer-ebpf/.cargo/config.toml");
    let write = || {
        fs::create_dir_all(package.join("src"))?;
        fs::create_dir_all(package.join(".cargo"))?;
        fs::write(package.join("Cargo.toml"), TEST_MANIFEST)?;
        fs::write(package.join("src/main.rs"), TEST_PROGRAM)?;
        fs::copy(settings, package.join(".cargo/config.toml"))
    };
    write()
        .map(drop)
        .with_context(|| format!("write {}", package.display()))
}

fn link(route: &Route, linker: &Path, package: &Path) -> Result<Verdict> {
    let target = package.join("target");
    let output = route
        .cargo("build", linker, package, &target)
        .output()
        .with_context(|| format!("start cargo of {}", route.describe()))?;
    if !output.status.success() {
        let log = String::from_utf8_lossy(&output.stderr);
        return match fault_of_linker(&log) {
            Some(why) => Ok(Verdict::Unfit(why.to_owned())),
            None => bail!(
                "{} cannot build a test object\n{}",
                route.describe(),
                quiet::tail(&log)
            ),
        };
    }
    let object = target.join(TARGET).join("release/link-test");
    let bytes = fs::read(&object).with_context(|| format!("read {}", object.display()))?;
    let has_types = bytes.windows(5).any(|window| window == b".BTF\0");
    Ok(if has_types {
        Verdict::Links
    } else {
        Verdict::Unfit("it writes no type information (BTF)".to_owned())
    })
}

/// The line of a failed build that says that this bpf-linker is too old for the compiler, or does not start.
fn fault_of_linker(log: &str) -> Option<&str> {
    const SIGNS: [&str; 4] = [
        "Producer: ",
        "could not exec the linker",
        "error while loading shared libraries",
        "unexpected argument",
    ];
    log.lines()
        .find(|line| SIGNS.iter().any(|sign| line.contains(sign)))
        .map(|line| line.trim().trim_start_matches("= note: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_linker_is_told_from_other_failures() {
        let old = "error: linking with `bpf-linker` failed: exit status: 1\n  = note: Error: Invalid record (Producer: 'LLVM22.1.8' Reader: 'LLVM 22.1.2')\n";
        assert!(fault_of_linker(old).is_some_and(|why| why.contains("Reader: 'LLVM 22.1.2'")));
        let unstartable = "  = note: bpf-linker: error while loading shared libraries: libLLVM.so.22.1: cannot open\n";
        assert!(fault_of_linker(unstartable).is_some());
        assert_eq!(fault_of_linker("error: no space left on device"), None);
    }
}
