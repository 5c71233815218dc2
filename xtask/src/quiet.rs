//! Long commands of which a person wants to see one line, and the end of the log when they fail.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::story::Step;

/// How much of a log is shown when a command failed.
const TAIL: usize = 20;

/// Runs `command` under a line that says `what`, with its output in `log`.
pub(crate) fn run(what: &str, mut command: Command, log: &Path) -> Result<()> {
    if let Some(directory) = log.parent() {
        fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let second = file
        .try_clone()
        .with_context(|| format!("open {} twice", log.display()))?;
    // A backtrace of somebody else's program would fill the part of the log that is shown.
    command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(second)
        .env_remove("RUST_BACKTRACE");

    let step = Step::start(what);
    let status = command.status();
    if status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        step.done();
        return Ok(());
    }
    step.failed();
    let how = match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    let text = fs::read(log).unwrap_or_default();
    bail!(
        "{how}\n{}\n  run by hand: {}",
        tail(&String::from_utf8_lossy(&text)),
        by_hand(&command)
    )
}

/// `command` as one would type it, with the variables it sets; those for cargo only say where its files go.
pub(crate) fn by_hand(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let name = name.to_str().filter(|name| !name.starts_with("CARGO"))?;
        Some(format!("{name}={}", quoted(value?)))
    });
    // Cargo tells us its path, but everybody has it under its name.
    let program = Path::new(command.get_program());
    let program = if program.ends_with("cargo") {
        "cargo".as_ref()
    } else {
        program.as_os_str()
    };
    variables
        .chain([quoted(program)])
        .chain(command.get_args().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "-_=+/.,:@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The last lines of `log`, set apart.
pub(crate) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL)..];
    shown
        .iter()
        .map(|line| format!("  | {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_one_types_them() {
        let mut install = Command::new("/some/where/cargo");
        install
            .args(["install", "bpf-linker", "--features", "a b"])
            .env("LLVM_PREFIX", "/usr/lib/llvm-22");
        assert_eq!(
            by_hand(&install),
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --features 'a b'"
        );
    }

    #[test]
    fn only_the_end_of_a_log_is_shown() {
        let log: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let shown = tail(&log);
        assert_eq!(shown.lines().count(), TAIL);
        assert!(shown.ends_with("| line 99"), "{shown}");
        assert_eq!(tail(""), "");
    }
}
