//! Samples of running threads, by the clock of each CPU.

use aya_ebpf::{macros::perf_event, programs::PerfEventContext};
use tracer_common::{Nanos, event::CpuSample, stack::StackId};

use super::{callback, now, tokio};
use crate::{emit, filter::target, javascript, setting::setting, stack};

/// A tick of the CPU's sampling clock, in an interrupt of the running thread.
#[perf_event]
pub(crate) fn cpu_sample(ctx: PerfEventContext) -> i32 {
    let _ = sampled(&ctx);
    0
}

#[inline(always)]
fn sampled(ctx: &PerfEventContext) -> Option<()> {
    let (pid, tid) = emit::current();
    let _ = target(pid)?;
    let mut sample = CpuSample {
        stack: StackId::NONE,
        kernel_stack: StackId::NONE,
        period: setting!(sample_period),
        vtable: 0,
        task: 0,
        poll: Nanos(0),
        callback: 0,
        reserved: 0,
    };
    tokio::tell(pid, tid, &mut sample);
    if let Some(layout) = javascript::layout(pid) {
        callback::tell(tid, &mut sample);
        emit::emit_js(emit::Slot::SAMPLE, now(), sample, |tail, top, frames| {
            // SAFETY: the slot of this CPU.
            unsafe {
                stack::second_kernel(ctx, tail);
                javascript::walk(layout, &raw mut (*tail).first, top, frames)
            }
        });
        return Some(());
    }
    emit::emit_with_stacks(now(), sample, |tail| {
        // SAFETY: the tail of a reserved entry.
        unsafe {
            stack::first_user(ctx, tail);
            stack::second_kernel(ctx, tail);
        }
    });
    Some(())
}
