//! From an error to an exit status and the next step. Both come from variants, never from message text.

use std::{error::Error, ffi::OsString, fmt::Write as _, io, path::PathBuf};

use thiserror::Error;

use crate::{
    bpf::{LoadError, kernel::OLDEST},
    dump::DumpError,
    human,
    model::Severity,
    pipeline::SessionError,
    recording::RecordingError,
    target::{FindError, sys::Capability},
};

/// What a command can fail with, beyond what the modules below it report.
#[derive(Debug, Error)]
pub enum Failure {
    /// The program of `-- CMD` cannot be run.
    #[error("cannot run `{}`", .command.first().map_or(std::borrow::Cow::Borrowed(""), |word| word.to_string_lossy()))]
    CannotRun {
        /// What was to be run.
        command: Vec<OsString>,
        /// Why not.
        source: io::Error,
    },
    /// There is no program of that name.
    #[error("no program `{0}` in PATH")]
    NoProgram(String),
    /// The output would overwrite something else.
    #[error("{} exists and is not a recording", .0.display())]
    WouldOverwrite(PathBuf),
    /// An output cannot be written.
    #[error("cannot write {what}")]
    Output {
        /// The file, or `stdout`.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The dashboard was asked for without a terminal.
    #[error("the dashboard needs a terminal")]
    NoTerminal,
    /// The terminal broke.
    #[error("use the terminal")]
    Terminal(#[source] io::Error),
    /// Neither a recording nor a target was given, or both.
    #[error("{0}")]
    Usage(&'static str),
    /// A recording was reported on, but not all of it could be read.
    #[error("{} is damaged: {read} of {total} bytes could be used, {parts} damaged parts were skipped", .path.display())]
    Damaged {
        /// The recording.
        path: PathBuf,
        /// Bytes that could be used.
        read: u64,
        /// Bytes there are.
        total: u64,
        /// Parts that were skipped.
        parts: u64,
    },
    /// There is a finding at or above what was asked for.
    #[error("{count} findings of severity {} or worse", .severity.name())]
    Found {
        /// How many.
        count: usize,
        /// What was asked for.
        severity: Severity,
    },
    /// More was lost than allowed.
    #[error("{lost} losses, more than --max-loss {allowed}")]
    TooMuchLost {
        /// What was lost.
        lost: u64,
        /// What was allowed.
        allowed: u64,
    },
    /// `doctor` found that tracing would fail, and has said why.
    #[error("{0}")]
    Doctor(&'static str, u8),
}

/// 1: there are findings as bad as `--fail-on` says.
pub const FOUND: u8 = 1;
/// 2: the command line, or an output that cannot be written.
pub const USAGE: u8 = 2;
/// 3: a privilege is missing.
pub const PRIVILEGE: u8 = 3;
/// 4: the kernel lacks something.
pub const KERNEL: u8 = 4;
/// 5: the target is not there.
pub const TARGET: u8 = 5;
/// 6: the recording is damaged or unsupported.
pub const RECORDING: u8 = 6;
/// 7: too much was lost.
pub const LOSS: u8 = 7;

/// The exit status of an error: the first link of its chain that has one decides.
#[must_use]
pub fn exit_status(error: &anyhow::Error) -> u8 {
    error.chain().find_map(status_of).unwrap_or(USAGE)
}

fn status_of(error: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(match failure {
            Failure::CannotRun { .. } | Failure::NoProgram(_) => TARGET,
            Failure::WouldOverwrite(_)
            | Failure::Output { .. }
            | Failure::NoTerminal
            | Failure::Terminal(_)
            | Failure::Usage(_) => USAGE,
            Failure::Damaged { .. } => RECORDING,
            Failure::Found { .. } => FOUND,
            Failure::TooMuchLost { .. } => LOSS,
            Failure::Doctor(_, status) => *status,
        });
    }
    if let Some(session) = error.downcast_ref::<SessionError>() {
        return match session {
            SessionError::Load(error) => status_of(error),
            SessionError::Recording(error) => status_of(error),
            SessionError::Gone => Some(TARGET),
            SessionError::System(_) => Some(KERNEL),
        };
    }
    if let Some(load) = error.downcast_ref::<LoadError>() {
        return Some(match load {
            LoadError::Privilege { .. } => PRIVILEGE,
            LoadError::Kernel { .. }
            | LoadError::Object(_)
            | LoadError::Probe { .. }
            | LoadError::Map { .. } => KERNEL,
        });
    }
    if let Some(recording) = error.downcast_ref::<RecordingError>() {
        return Some(match recording {
            RecordingError::Create { .. }
            | RecordingError::Write { .. }
            | RecordingError::RecordTooLarge { .. } => USAGE,
            RecordingError::NotFound { .. }
            | RecordingError::Read { .. }
            | RecordingError::Empty { .. }
            | RecordingError::NotARecording { .. }
            | RecordingError::OtherTool { .. }
            | RecordingError::UnsupportedFormat { .. }
            | RecordingError::DamagedHeader { .. }
            | RecordingError::Cut { .. } => RECORDING,
        });
    }
    if let Some(dump) = error.downcast_ref::<DumpError>() {
        return Some(match dump {
            DumpError::Denied { .. } => PRIVILEGE,
            DumpError::Gone(_) => TARGET,
        });
    }
    error.downcast_ref::<FindError>().map(|_| TARGET)
}

/// The message for people: what failed, on what, why, and what to do next.
#[must_use]
pub fn message(error: &anyhow::Error) -> String {
    let mut text = format!("error: {}\n", chain(error));
    if let Some(advice) = error.chain().find_map(advice) {
        for line in advice.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    text
}

/// Each link once: a transparent error repeats what it wraps.
fn chain(error: &anyhow::Error) -> String {
    let mut links: Vec<String> = Vec::new();
    for link in error.chain() {
        let text = link.to_string();
        if links.last().is_none_or(|last| *last != text) {
            links.push(text);
        }
    }
    links.join(": ")
}

fn advice(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(FindError::Several { found, .. }) = error.downcast_ref::<FindError>() {
        let mut text = String::new();
        for one in found.iter().take(20) {
            let shown: String = human::sanitise(&one.cmdline).chars().take(90).collect();
            let _ = writeln!(
                text,
                "{:>8}  {}  {shown}",
                one.pid.0,
                human::sanitise(&one.comm)
            );
        }
        let _ = write!(
            text,
            "try: tracer -p {}",
            found.first().map_or(0, |one| one.pid.0)
        );
        return Some(text);
    }
    if let Some(find) = error.downcast_ref::<FindError>() {
        return Some(match find {
            FindError::NoSuchPid(_) | FindError::Ended(_) => {
                "try: tracer -n NAME, or `ps -ef` for the processes there are".to_owned()
            }
            FindError::NoSuchName(name) => {
                format!(
                    "a name is a program's or script's file name, or its short name\ntry: pgrep -af {name}"
                )
            }
            FindError::Several { .. } => String::new(),
        });
    }
    if let Some(LoadError::Privilege { missing }) = error.downcast_ref::<LoadError>() {
        return Some(privilege_advice(missing));
    }
    if let Some(SessionError::Load(load)) = error.downcast_ref::<SessionError>() {
        return advice(load);
    }
    if let Some(LoadError::Kernel { lacks }) = error.downcast_ref::<LoadError>() {
        return Some(format!(
            "needed: {}; tracer is meant for Linux {OLDEST} and later\ntry: tracer doctor, for everything that is needed",
            lacks.since
        ));
    }
    if let Some(DumpError::Denied { .. }) = error.downcast_ref::<DumpError>() {
        return Some(memory_advice());
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure_advice(failure);
    }
    None
}

/// The `setcap` line and the plain way.
#[must_use]
pub fn privilege_advice(missing: &[Capability]) -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "tracer".to_owned(), |path| path.display().to_string());
    let names: Vec<&str> = missing.iter().map(|capability| capability.name()).collect();
    format!(
        "loading and attaching probes needs {}; reading other users' processes also cap_sys_ptrace\n\
         try: run it with sudo, or once:\n\
         \x20 sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep {program}",
        names.join(" and ")
    )
}

fn memory_advice() -> String {
    let program = std::env::current_exe()
        .map_or_else(|_| "tracer".to_owned(), |path| path.display().to_string());
    format!(
        "reading it needs cap_sys_ptrace, or to be its user where kernel.yama.ptrace_scope is 0\n\
         try: run it with sudo, or once:\n\
         \x20 sudo setcap cap_sys_ptrace,cap_dac_read_search+ep {program}"
    )
}

fn failure_advice(failure: &Failure) -> Option<String> {
    match failure {
        Failure::NoTerminal => Some(
            "try: tracer report TARGET -d 10s, or tracer record TARGET -o FILE, which need none"
                .to_owned(),
        ),
        Failure::WouldOverwrite(_) => {
            Some("try: another name after -o, or remove the file first".to_owned())
        }
        Failure::Usage(_) => Some("try: tracer --help".to_owned()),
        Failure::CannotRun { .. }
        | Failure::NoProgram(_)
        | Failure::Output { .. }
        | Failure::Terminal(_)
        | Failure::Damaged { .. }
        | Failure::Found { .. }
        | Failure::TooMuchLost { .. }
        | Failure::Doctor(..) => None,
    }
}
