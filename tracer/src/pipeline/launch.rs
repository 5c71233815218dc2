//! Starting a program so that it is traced from its first instruction: the child waits, as this very program, on a
//! pipe until the probes are attached, and then becomes the program. Nobody is stopped or signalled.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::pipe::{PipeFlags, pipe_with};
use tracer_common::Pid;

/// The first argument of the waiting child.
const WAITING: &str = "__launch";

/// Where the program's output goes.
#[derive(Debug)]
pub enum Output {
    /// Where ours goes.
    Inherit,
    /// To our stderr: our stdout carries a result.
    Stderr,
    /// Into a file: the screen is ours. Its input is empty then.
    File(File),
}

/// A program that waits to be let go.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    gate: Gate,
}

impl Launched {
    /// Starts `command`, whose program is the file `path`, up to the point where it waits.
    ///
    /// # Errors
    /// When the child cannot be made.
    pub fn start(path: &Path, command: &[OsString], output: Output) -> io::Result<Self> {
        // The child opens the pipe through /proc, so the program inherits nothing of it.
        let (wait, gate) = pipe_with(PipeFlags::CLOEXEC)?;
        let wait_path = format!("/proc/{}/fd/{}", std::process::id(), wait.as_raw_fd());
        let mut child = Command::new(std::env::current_exe()?);
        child.arg(WAITING).arg(wait_path).arg(path).args(command);
        match output {
            Output::Inherit => {}
            Output::Stderr => {
                child.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
            }
            Output::File(file) => {
                child
                    .stdin(Stdio::null())
                    .stdout(file.try_clone()?)
                    .stderr(file);
            }
        }
        let child = child.spawn()?;
        Ok(Self {
            child,
            gate: Gate {
                wait,
                gate: File::from(gate),
            },
        })
    }

    /// The process it is and will stay.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    /// Lets it run.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn let_go(&mut self) -> io::Result<()> {
        self.gate.gate.write_all(b"g")
    }

    /// True while it runs; collects it when it has ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

/// Both ends: the child opens the reading one whenever it gets to it, so it stays open here.
#[derive(Debug)]
struct Gate {
    #[expect(dead_code, reason = "held open, the child opens it through /proc")]
    wait: OwnedFd,
    gate: File,
}

/// The child's side.
#[derive(Debug)]
pub struct WaitingChild {
    gate: OsString,
    path: OsString,
    /// What it will become.
    pub command: Vec<OsString>,
}

/// Tells whether this process was started as a waiting child.
#[must_use]
pub fn waiting_child(mut arguments: impl Iterator<Item = OsString>) -> Option<WaitingChild> {
    let _own_name = arguments.next()?;
    if arguments.next()? != WAITING {
        return None;
    }
    Some(WaitingChild {
        gate: arguments.next()?,
        path: arguments.next()?,
        command: arguments.collect(),
    })
}

impl WaitingChild {
    /// Waits for the byte, then becomes the program. Returns only when that fails, or with `Ok` when the tracer
    /// went away first and the program must not start.
    ///
    /// # Errors
    /// When the pipe cannot be read or the program cannot be run.
    pub fn become_it(self) -> io::Result<()> {
        let Some((name, arguments)) = self.command.split_first() else {
            return Ok(());
        };
        let mut byte = [0];
        if File::open(self.gate)?.read(&mut byte)? == 0 {
            return Ok(());
        }
        Err(Command::new(self.path).arg0(name).args(arguments).exec())
    }
}
