//! One file per probed area. Each program is a thin shell over a function whose early returns read as its filter.

mod process;
mod sched;
mod syscall;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use tracer_common::Nanos;

/// The monotonic clock.
#[inline(always)]
fn now() -> Nanos {
    // SAFETY: the helper takes no arguments and has no precondition.
    Nanos(unsafe { bpf_ktime_get_ns() })
}
