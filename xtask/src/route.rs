//! Compilers that can build for the kernel target, and how each is called.
//!
//! A compiler qualifies when `core` exists for it: compiled (the Debian and Ubuntu packages have that) or as source
//! (the `rust-src` component). Both need unstable flags, so both are called with `RUSTC_BOOTSTRAP=1`.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::tool::{self, Version};

/// The target of everything that runs in the kernel.
pub const TARGET: &str = "bpfel-unknown-none";

/// What the kernel side's dependencies declare (`rust-version` of aya-ebpf 0.2.1).
pub const MIN_RUSTC: Version = Version::new(1, 87, 0);

/// One compiler with a `core` for the kernel target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    sysroot: PathBuf,
    core: Core,
    /// The compiler's version.
    pub rustc: Version,
    /// The LLVM it writes bitcode with; the linker's must not be older.
    pub llvm: Version,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Core {
    Compiled,
    Source,
}

impl Route {
    /// Every compiler here that qualifies, in the order in which to try them: the project's own, the nightly one, the
    /// distribution's.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut sysroots = Vec::new();
        for sysroot in [
            active_sysroot(),
            nightly_sysroot(),
            Some(PathBuf::from("/usr")),
        ]
        .into_iter()
        .flatten()
        {
            if !sysroots.contains(&sysroot) {
                sysroots.push(sysroot);
            }
        }
        sysroots
            .into_iter()
            .filter_map(Self::at)
            .filter(|route| route.rustc >= MIN_RUSTC)
            .collect()
    }

    fn at(sysroot: PathBuf) -> Option<Self> {
        let core = if has_compiled_core(&sysroot) {
            Core::Compiled
        } else if sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
            Core::Source
        } else {
            return None;
        };
        if !sysroot.join("bin/cargo").exists() {
            return None;
        }
        let (rustc, llvm) = compiler_versions(&tool::printed_by(
            without_outer_cargo(Command::new(sysroot.join("bin/rustc"))).arg("-vV"),
        )?)?;
        Some(Self {
            sysroot,
            core,
            rustc,
            llvm,
        })
    }

    /// A call of cargo's `subcommand` for `package`, with this compiler and `linker` and nothing of the cargo that may
    /// be running us: its variables would choose other compilers, flags and directories.
    #[must_use]
    pub fn cargo(
        &self,
        subcommand: &str,
        linker: &Path,
        package: &Path,
        target_dir: &Path,
    ) -> Command {
        let mut command = without_outer_cargo(Command::new(self.program(subcommand)));
        command
            .arg(subcommand)
            .args(["--release", "--target", TARGET, "--target-dir"])
            .arg(target_dir)
            .current_dir(package)
            .env("CARGO", self.sysroot.join("bin/cargo"))
            .env("RUSTC", self.sysroot.join("bin/rustc"))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker);
        if self.core == Core::Source {
            command.arg("-Zbuild-std=core");
        }
        if package.join("Cargo.lock").exists() {
            command.arg("--locked");
        }
        command
    }

    /// A cargo setting that keeps directories of this machine out of the object's debug information, so that the same
    /// sources give the same object in every place.
    #[must_use]
    pub fn path_remapping(&self, root: &Path) -> String {
        let places = [
            (Some(root.to_path_buf()), "tracer"),
            (tool::cargo_home(), "cargo"),
            (Some(self.sysroot.clone()), "rust"),
        ];
        let flags = places
            .into_iter()
            .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?.display())));
        // Debug formatting quotes a string the way TOML reads it.
        let flags: Vec<String> = flags.map(|flag| format!("{flag:?}")).collect();
        format!("target.{TARGET}.rustflags=[{}]", flags.join(","))
    }

    /// Whether this compiler comes with clippy.
    #[must_use]
    pub fn has_clippy(&self) -> bool {
        ["cargo-clippy", "clippy-driver"]
            .iter()
            .all(|name| self.sysroot.join("bin").join(name).exists())
    }

    // `cargo clippy` would start the cargo-clippy of rustup, which picks a compiler by its own rules.
    fn program(&self, subcommand: &str) -> PathBuf {
        let name = if subcommand == "clippy" {
            "cargo-clippy"
        } else {
            "cargo"
        };
        self.sysroot.join("bin").join(name)
    }

    /// The compiler in words, without a path that belongs to one person: `rustc 1.96.0 (/usr/bin)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let place = if self.sysroot.starts_with("/usr") {
            self.sysroot.join("bin").display().to_string()
        } else {
            self.sysroot
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        format!("rustc {} ({place})", self.rustc)
    }
}

/// `command` without the variables that cargo sets for the programs it starts, and without those by which a caller
/// directs the build of the agent. How to reach the registry stays.
pub(crate) fn without_outer_cargo(mut command: Command) -> Command {
    for (name, _) in env::vars_os() {
        if steers_outer_cargo(&name) {
            command.env_remove(name);
        }
    }
    command
}

fn steers_outer_cargo(name: &OsStr) -> bool {
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_SOURCE_",
    ];
    const PREFIXES: [&str; 5] = ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "DEP_"];
    const EXACT: [&str; 10] = [
        "DEBUG",
        "HOST",
        "LD_LIBRARY_PATH",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTFLAGS",
        "RUST_RECURSION_COUNT",
        "TARGET",
    ];
    let Some(name) = name.to_str() else {
        return false;
    };
    let starts_with_any =
        |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    !starts_with_any(&KEPT) && (starts_with_any(&PREFIXES) || EXACT.contains(&name))
}

fn active_sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    tool::printed_by(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

fn nightly_sysroot() -> Option<PathBuf> {
    let rustup = rustup()?;
    tool::printed_by(Command::new(rustup).args(["run", "nightly", "rustc", "--print", "sysroot"]))
        .map(PathBuf::from)
}

/// The toolchain installer, when this machine has it.
#[must_use]
pub fn rustup() -> Option<PathBuf> {
    tool::find("rustup").or_else(|| {
        tool::cargo_home()
            .map(|home| home.join("bin/rustup"))
            .filter(|file| file.exists())
    })
}

fn has_compiled_core(sysroot: &Path) -> bool {
    let Ok(entries) = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_str()
            .is_some_and(|name| name.starts_with("libcore") && name.ends_with(".rlib"))
    })
}

/// The compiler's and its LLVM's version from `rustc -vV`.
fn compiler_versions(verbose: &str) -> Option<(Version, Version)> {
    let field = |name: &str| {
        verbose
            .lines()
            .find_map(|line| Version::find(line.strip_prefix(name)?))
    };
    Some((field("release: ")?, field("LLVM version: ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_says_which_llvm_it_writes_for() {
        let verbose = "rustc 1.97.0-nightly (0a1b2c3d4 2026-06-01)\nbinary: rustc\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        assert_eq!(
            compiler_versions(verbose),
            Some((Version::new(1, 97, 0), Version::new(22, 1, 4)))
        );
        assert_eq!(compiler_versions("release: 1.97.0\n"), None);
    }

    #[test]
    fn what_cargo_sets_for_build_scripts_is_cleared() {
        let cleared = [
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_CFG_TARGET_ARCH",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOCFLAGS",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
            "TARGET",
        ];
        for name in cleared {
            assert!(steers_outer_cargo(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn what_a_person_needs_to_reach_the_registry_stays() {
        for name in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "RUSTUP_HOME",
            "PATH",
            "https_proxy",
            "TARGETS",
        ] {
            assert!(!steers_outer_cargo(OsStr::new(name)), "{name}");
        }
    }

    fn route(sysroot: &str) -> Route {
        Route {
            sysroot: PathBuf::from(sysroot),
            core: Core::Compiled,
            rustc: Version::new(1, 96, 0),
            llvm: Version::new(22, 1, 8),
        }
    }

    #[test]
    fn the_repository_and_the_compiler_are_not_named_in_the_object() {
        let setting = route("/c/nightly").path_remapping(Path::new("/a/b"));
        assert!(
            setting.starts_with("target.bpfel-unknown-none.rustflags=["),
            "{setting}"
        );
        for flag in [
            r#""--remap-path-prefix=/a/b=tracer""#,
            r#""--remap-path-prefix=/c/nightly=rust""#,
        ] {
            assert!(setting.contains(flag), "{setting}");
        }
    }

    #[test]
    fn a_route_is_described_without_a_home_directory() {
        assert_eq!(route("/usr").describe(), "rustc 1.96.0 (/usr/bin)");
        assert_eq!(
            route("/somewhere/toolchains/nightly").describe(),
            "rustc 1.96.0 (nightly)"
        );
    }
}
