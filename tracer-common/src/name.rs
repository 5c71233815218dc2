//! Names of maps, programs and globals, so that no string is typed twice.

/// Ring buffer of events.
pub const EVENTS: &str = "EVENTS";
/// Per-CPU array of loss counts, by `LossReason`.
pub const LOSSES: &str = "LOSSES";
/// Hash of `Pid` → `Target`: the processes that are traced.
pub const TARGETS: &str = "TARGETS";
/// Hash of `Tid` → `ThreadRow`.
pub const THREADS: &str = "THREADS";
/// Hash of `SyscallKey` → `SyscallRow`.
pub const SYSCALLS: &str = "SYSCALLS";

/// Read-only global of type `Layout`.
pub const LAYOUT: &str = "LAYOUT";
/// Read-only global of type `SyscallClasses`.
pub const SYSCALL_CLASSES: &str = "SYSCALL_CLASSES";
/// Read-only global of `aya-log`: the most verbose level that is sent.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
