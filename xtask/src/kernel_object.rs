//! Builds the kernel object: the file with the probes that the agent carries inside itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    route::{Route, TARGET},
    tool::{self, Version},
};

/// Names a kernel object that was built elsewhere, to be used as it is.
pub const PREBUILT: &str = "TRACER_BPF_OBJECT";

/// The version of bpf-linker that the project is built with.
pub const BPF_LINKER: Version = Version::new(0, 13, 0);

/// The paths, relative to the repository, from which the kernel object is made.
pub const SOURCES: [&str; 6] = [
    "tracer-ebpf/src",
    "tracer-ebpf/Cargo.toml",
    "tracer-ebpf/Cargo.lock",
    "tracer-ebpf/.cargo",
    "tracer-common/src",
    "tracer-common/Cargo.toml",
];

/// A kernel object and how it came to be.
#[derive(Debug)]
pub struct KernelObject {
    /// The ELF file.
    pub path: PathBuf,
    /// The compiler and linker in words, for the agent to show.
    pub route: String,
    /// One line for each warning of the compiler about the project's own code.
    pub warnings: Vec<String>,
}

/// Where a build script whose `OUT_DIR` is `out_dir` builds the kernel object: one directory for all profiles of a
/// target directory, which cargo marks as a cache. Building it anew for each would cost a minute every time.
#[must_use]
pub fn target_dir(out_dir: &Path) -> PathBuf {
    let is_cache = |directory: &&Path| directory.join("CACHEDIR.TAG").exists();
    out_dir
        .ancestors()
        .find(is_cache)
        .unwrap_or(out_dir)
        .join("bpf")
}

/// Builds the kernel object of the repository at `root` below `target_dir`, or takes the one that `TRACER_BPF_OBJECT`
/// names.
///
/// # Errors
/// When a piece of the toolchain is missing, or when no compiler here builds the object. The message says what to run.
pub fn build(root: &Path, target_dir: &Path) -> Result<KernelObject> {
    if let Some(path) = env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        return prebuilt(PathBuf::from(path));
    }
    let package = root.join("tracer-ebpf");
    ensure!(
        package.join("src/main.rs").exists(),
        "the sources of the kernel object (tracer-ebpf/src) are missing"
    );
    let Some(linker) = tool::bpf_linker() else {
        bail!(
            "cannot build the kernel object: bpf-linker is not installed\n  try: cargo xtask setup"
        );
    };
    let routes = Route::available();
    if routes.is_empty() {
        bail!(
            "cannot build the kernel object: no Rust compiler here can target the kernel\n  try: cargo xtask setup"
        );
    }
    let mut refusals = String::new();
    for route in &routes {
        match try_route(route, &linker, root, &package, target_dir)? {
            Attempt::Built(object) => return Ok(object),
            Attempt::Refused { log } => refusals += &format!("\n  {}:\n{log}", route.describe()),
        }
    }
    bail!("cannot build the kernel object{refusals}\n  try: cargo xtask setup")
}

enum Attempt {
    Built(KernelObject),
    Refused { log: String },
}

fn prebuilt(path: PathBuf) -> Result<KernelObject> {
    let start = fs::read(&path).with_context(|| format!("read {PREBUILT}={}", path.display()))?;
    ensure!(
        start.starts_with(b"\x7fELF"),
        "{PREBUILT}={} is not an ELF file",
        path.display()
    );
    Ok(KernelObject {
        path,
        route: "built elsewhere".to_owned(),
        warnings: Vec::new(),
    })
}

/// An error in the sources ends the search, because another compiler would only say it again.
fn try_route(
    route: &Route,
    linker: &Path,
    root: &Path,
    package: &Path,
    target_dir: &Path,
) -> Result<Attempt> {
    let output = route
        .cargo("build", linker, package, target_dir)
        .arg("--config")
        .arg(route.path_remapping(root))
        .output()
        .with_context(|| format!("start cargo of {}", route.describe()))?;
    let log = without_progress(&String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        let path = target_dir.join(TARGET).join("release/tracer-ebpf");
        ensure!(path.exists(), "the kernel build left no object");
        let linker = tool::version_of(linker)
            .map_or_else(|| "unknown".to_owned(), |version| version.to_string());
        let words = format!("{}, bpf-linker {linker}", route.describe());
        return Ok(Attempt::Built(KernelObject {
            path,
            route: words,
            warnings: warnings(&log),
        }));
    }
    if is_source_error(&log) {
        bail!("the kernel object does not compile\n{log}");
    }
    Ok(Attempt::Refused { log })
}

/// Whether the project's own kernel code is at fault. A linker whose LLVM is older than the compiler's fails in the
/// last step instead, with `Invalid record (Producer: …)`.
fn is_source_error(log: &str) -> bool {
    let ours = log.contains("could not compile `tracer-");
    ours && !log.contains("error: linking with")
}

/// What cargo said, without the lines that only tell that it is working.
fn without_progress(log: &str) -> String {
    const PROGRESS: [&str; 8] = [
        "Compiling",
        "Downloading",
        "Downloaded",
        "Finished",
        "Locking",
        "Updating",
        "Adding",
        "Fresh",
    ];
    let is_progress =
        |line: &str| PROGRESS.contains(&line.split_whitespace().next().unwrap_or_default());
    log.lines()
        .filter(|line| !is_progress(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// `message (file:line:column)` for each warning in cargo's output that has a place.
fn warnings(log: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut message = None;
    for line in log.lines() {
        if let Some(text) = line.strip_prefix("warning: ") {
            message = Some(text);
        } else if let Some(place) = line.trim_start().strip_prefix("--> ")
            && let Some(text) = message.take()
        {
            found.push(format!("{text} ({place})"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linker_that_is_too_old_is_no_error_in_the_sources() {
        let log = "error: linking with `bpf-linker` failed: exit status: 1\n  = note: Invalid record (Producer: 'LLVM22.1.8' Reader: 'LLVM 22.1.2')\nerror: could not compile `tracer-ebpf` (bin \"tracer-ebpf\") due to 1 previous error";
        assert!(!is_source_error(log));
        assert!(!is_source_error("error: could not compile `core` (lib)"));
        assert!(is_source_error(
            "error[E0425]: cannot find value\nerror: could not compile `tracer-common` (lib)"
        ));
    }

    #[test]
    fn warnings_carry_their_place() {
        let log = "warning: unused variable: `x`\n --> src/main.rs:3:9\n  |\nwarning: `tracer-ebpf` (bin) generated 1 warning\n";
        assert_eq!(warnings(log), ["unused variable: `x` (src/main.rs:3:9)"]);
    }

    #[test]
    fn progress_is_dropped_and_the_story_kept() {
        let log =
            "   Compiling core v0.0.0\nerror: no space left\n    Finished `release` profile\n";
        assert_eq!(without_progress(log), "error: no space left");
    }

    #[test]
    fn all_profiles_share_one_kernel_build() -> Result<()> {
        let target = env::temp_dir().join(format!("xtask-target-{}", std::process::id()));
        let out_dir = target.join("debug/build/tracer-0123/out");
        fs::create_dir_all(&out_dir)?;
        assert_eq!(target_dir(&out_dir), out_dir.join("bpf"));
        fs::write(target.join("CACHEDIR.TAG"), "")?;
        assert_eq!(target_dir(&out_dir), target.join("bpf"));
        fs::remove_dir_all(target)?;
        Ok(())
    }
}
