//! One file per probed area. Each program is a thin shell over a function whose early returns read as its filter.

mod callback;
mod epoll;
mod event_loop;
mod futex;
mod io;
mod memory;
mod process;
mod promise;
mod sample;
mod sched;
mod syscall;
mod tokio;
mod uv;
mod v8;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::{Nanos, Pid, ThreadRow};

use crate::task::Registers;

/// The monotonic clock.
#[inline(always)]
fn now() -> Nanos {
    // SAFETY: the helper takes no arguments and has no precondition.
    Nanos(unsafe { bpf_ktime_get_ns() })
}

/// A system call that returned, for what is accounted besides the call itself.
struct Returned<'a> {
    pid: Pid,
    row: &'a mut ThreadRow,
    registers: Registers,
    /// What it returned.
    result: i64,
    /// Time inside; `None` when its entry was not seen.
    duration: Option<Nanos>,
}
