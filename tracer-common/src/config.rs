//! Read-only globals the agent sets before loading: the verifier sees constants, and no lookup is paid per event.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{syscall::SYSCALL_CLASS_COUNT, thread::State};

/// Byte offsets of kernel structure members on the running kernel, found in its BTF.
///
/// Rust emits no CO-RE relocations (rust-lang/rust issue 158412), so the agent resolves them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Layout {
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `signal_struct.live`: threads of the process that have not begun to exit.
    pub signal_live: u32,
    /// `pt_regs.orig_ax`: the system call number, −1 when the kernel was entered otherwise.
    pub regs_syscall: u32,
}

/// For each system call number, the [`State`] of a thread that blocks in it.
pub type SyscallClasses = [State; SYSCALL_CLASS_COUNT];
