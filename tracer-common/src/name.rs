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

/// Array of `u64` by `pid % MAYBE_SLOTS`: not 0 where there may be a target. The first question of every program.
pub const MAYBE: &str = "MAYBE";
/// Slots of `MAYBE`: a power of two. 512 KiB.
pub const MAYBE_SLOTS: u32 = 65_536;
/// Hash of `Tid` → `WaitStack`: where threads that wait have called from.
pub const STACKS: &str = "STACKS";
/// Hash of `Pid` → end of its heap.
pub const BREAKS: &str = "BREAKS";
/// Array of one `Control`: what the agent changes while programs run.
pub const CONTROL: &str = "CONTROL";

/// Hash of `TaskKey` → `TaskRow`.
pub const TASKS: &str = "TASKS";
/// Hash of `Tid` → `Running`: the polls a thread is in.
pub const RUNNING: &str = "RUNNING";
/// Hash of `Pid` → where its threads keep the id of the task they run, in bytes from the thread pointer on.
pub const TASK_PLACES: &str = "TASK_PLACES";
/// Hash of `Pid` → `JsLayout`: the processes with V8 in them.
pub const JS_LAYOUTS: &str = "JS_LAYOUTS";
/// Hash of `IdKey` → the task's type.
pub const TASK_IDS: &str = "TASK_IDS";
/// Hash of `Tid` → `Scopes`: the callbacks of Node each thread is in.
pub const SCOPES: &str = "SCOPES";
/// Hash of pid → `Image`: where in memory the target's Node is.
pub const IMAGES: &str = "IMAGES";
/// Per-CPU array of what programs at functions have seen: `task::seen` says what is where.
pub const SEEN: &str = "SEEN";

/// Read-only global of type `Layout`.
pub const LAYOUT: &str = "LAYOUT";
/// Read-only global of type `SyscallClasses`.
pub const SYSCALL_CLASSES: &str = "SYSCALL_CLASSES";
/// Read-only global of type `CallKinds`.
pub const CALL_KINDS: &str = "CALL_KINDS";
/// Read-only global of type `Settings`.
pub const SETTINGS: &str = "SETTINGS";
/// Read-only global of `aya-log`: the most verbose level that is sent.
pub const LOG_LEVEL: &str = "AYA_LOG_LEVEL";
