//! Programs on this machine: where they are and which version they say they are.

use std::{env, fmt, path::Path, path::PathBuf, process::Command};

/// A dotted version number; parts that are not given count as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The part that says what fits together.
    pub major: u32,
    /// The second part.
    pub minor: u32,
    /// The third part.
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// The first version number in what a program prints: 1.96.0 in `rustc 1.96.0 (…)`, 20.20.2 in `v20.20.2`, and
    /// 22.1.8 in the package version `1:22.1.8-1~deb12u1`, where `1:` is an epoch.
    #[must_use]
    pub fn find(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(Self::of_word)
    }

    fn of_word(word: &str) -> Option<Self> {
        let word = word.split_once(':').map_or(word, |(_, rest)| rest);
        let word = word.strip_prefix('v').unwrap_or(word);
        let end = word
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(word.len());
        let mut parts = word[..end].split('.').map(str::parse);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().and_then(std::result::Result::ok).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The first executable called `name` in PATH, or in the administrators' directories, which a user's PATH may lack.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
}

/// The bpf-linker to use. What `cargo install` puts into place comes first, because `cargo xtask setup` puts it there.
#[must_use]
pub fn bpf_linker() -> Option<PathBuf> {
    cargo_home()
        .map(|home| home.join("bin/bpf-linker"))
        .filter(|file| is_executable(file))
        .or_else(|| find("bpf-linker"))
}

/// Cargo's own directory: `CARGO_HOME`, else `.cargo` in the home directory.
#[must_use]
pub fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
}

/// What `command` prints on stdout, without the last newline, when it ends well.
#[must_use]
pub fn printed_by(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(
        String::from_utf8_lossy(&output.stdout)
            .trim_end()
            .to_owned(),
    )
}

/// The version that `program --version` prints.
#[must_use]
pub fn version_of(program: &Path) -> Option<Version> {
    Version::find(&printed_by(Command::new(program).arg("--version"))?)
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let cases = [
            ("rustc 1.96.0 (ac68faa20 2026-05-25)", Some((1, 96, 0))),
            (
                "rustc 1.97.0-nightly (0123456789 2026-06-01)",
                Some((1, 97, 0)),
            ),
            ("v20.20.2", Some((20, 20, 2))),
            ("1:22.1.8-1~deb12u1", Some((22, 1, 8))),
            ("1.85.0+dfsg3-1~deb12u3", Some((1, 85, 0))),
            ("bpf-linker 0.13.0", Some((0, 13, 0))),
            ("LLVM version: 22.1", Some((22, 1, 0))),
            ("(none)", None),
            ("", None),
            ("version 7", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(major, minor, patch)| Version::new(major, minor, patch));
            assert_eq!(Version::find(text), expected, "{text}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(Version::new(1, 100, 0) > Version::new(1, 87, 9));
        assert!(Version::new(22, 1, 8) > Version::new(22, 1, 2));
    }

    #[test]
    fn a_program_that_is_not_there_is_not_found() {
        assert_eq!(find("no-such-program-anywhere"), None);
        assert!(find("sh").is_some());
    }
}
