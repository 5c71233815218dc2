//! What the agent tells the kernel side. Read-only globals are set before loading: the verifier sees constants, and no
//! lookup is paid per event.

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
    /// `pt_regs.r10`: from here to `orig_ax` nine words hold arguments and number of a system call.
    pub regs_r10: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `file.f_inode`
    pub file_inode: u32,
    /// `inode.i_mode`
    pub inode_mode: u32,
    /// `task_struct.se` + `sched_entity.cfs_rq`; 0 when the kernel has no group scheduling.
    pub task_cfs_rq: u32,
    /// `cfs_rq.throttle_count`: not 0 while the quota of its cgroup, or of one above, is used up. 0 when the kernel
    /// knows no quotas.
    pub cfs_throttle_count: u32,
    /// `task_struct.thread.fsbase`: where a thread's own variables are.
    pub task_fsbase: u32,
}

/// What is accounted at the return of a system call, besides the call itself.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(transparent)]
pub struct CallKind(pub u8);

impl CallKind {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Bytes read from the descriptor that is the first argument.
    pub const READ: Self = Self(1);
    /// Bytes written to it.
    pub const WRITE: Self = Self(2);
    /// Accept or connect on it.
    pub const CONNECT: Self = Self(3);
    /// Its end.
    pub const CLOSE: Self = Self(4);
    /// Events of the epoll descriptor that is the first argument.
    pub const POLL: Self = Self(5);
    /// A futex call.
    pub const FUTEX: Self = Self(6);
    /// `mmap`
    pub const MAP: Self = Self(7);
    /// `munmap`
    pub const UNMAP: Self = Self(8);
    /// `mremap`
    pub const REMAP: Self = Self(9);
    /// `brk`
    pub const BRK: Self = Self(10);
    /// `madvise`
    pub const ADVISE: Self = Self(11);
}

/// For each system call number, its [`CallKind`].
pub type CallKinds = [CallKind; SYSCALL_CLASS_COUNT];

/// Thresholds, and which parts of the programs run: what is off costs nothing, the verifier removes it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Settings {
    /// A wait this long is an event, in nanoseconds.
    pub long_wait: u64,
    /// At most one user stack of a waiting thread is taken in this time, per thread, in nanoseconds.
    pub stack_every: u64,
    /// Long waits, and memory calls, sent at most per second and CPU.
    pub stacks_per_s: u64,
    /// A memory call's stack is sent once in this many bytes, per thread.
    pub bytes_per_stack: u64,
    /// A poll, or a turn of an event loop, this long is an event, in nanoseconds.
    pub long_poll: u64,
    /// CPU time one sample of a running thread stands for, in nanoseconds.
    pub sample_period: u64,
    /// 1: futex waits are counted by address.
    pub locks: u32,
    /// 1: reads, writes and epoll are counted by descriptor.
    pub files: u32,
    /// 1: memory calls are counted.
    pub memory: u32,
    /// 1: each return from a system call is an event too.
    pub calls: u32,
    /// 1: a target's cgroup has a CPU quota, so that it can be throttled.
    pub quotas: u32,
    /// 1: turns of event loops are counted.
    pub loops: u32,
}

/// What the agent changes while programs run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Control {
    /// System calls have been watched without a gap since then: what a row says of an earlier entry is stale.
    pub syscalls_since: u64,
    /// The same of polls; 0 while they are not watched.
    pub polls_since: u64,
    /// Since when wakes are watched; 0 while they are not.
    pub wakes_since: u64,
    /// Since when work for pools is watched; 0 while it is not.
    pub works_since: u64,
    /// Since when Node's callbacks are watched; 0 while they are not.
    pub callbacks_since: u64,
    /// Since when promises are watched; 0 while they are not.
    pub promises_since: u64,
    /// Targets of which it is known where their threads keep the id of the task they run.
    pub task_places: u64,
    /// Targets of which it is known where V8 keeps things.
    pub js_layouts: u64,
}

/// For each system call number, the [`State`] of a thread that blocks in it.
pub type SyscallClasses = [State; SYSCALL_CLASS_COUNT];
