//! What programs at functions of the targets have in common: what the place says, registers, what is counted of all.

use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_probe_read_kernel, generated::bpf_get_attach_cookie},
    macros::map,
    maps::PerCpuArray,
    programs::ProbeContext,
};
use tracer_common::task::seen;

/// What was seen, so that its rate can be asked for often.
#[map]
static SEEN: PerCpuArray<u64> = PerCpuArray::with_max_entries(seen::COUNT, 0);

#[inline(always)]
pub(crate) fn see(what: u32) {
    if let Some(count) = SEEN.get_ptr_mut(what) {
        // SAFETY: the verifier has checked the pointer; the slot belongs to this CPU. Where a poll's program is
        // interrupted by a wake's, they count in two slots.
        unsafe { *count += 1 }
    }
}

/// What the agent said of the place when it attached.
#[inline(always)]
pub(crate) fn cookie<C: EbpfContext>(ctx: &C) -> u64 {
    // SAFETY: the context of a probe is valid while the program runs.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

/// A register, by DWARF's number of it (System V ABI for x86-64, figure 3.36).
#[inline(always)]
pub(crate) fn register(ctx: &ProbeContext, number: u64) -> Option<u64> {
    // Places in `struct pt_regs`. Read through the helper: the verifier allows no access at a place that varies.
    // https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/ptrace.h#L103
    let place = match number {
        0 => 10,
        1 => 12,
        2 => 11,
        3 => 5,
        4 => 13,
        5 => 14,
        6 => 4,
        8 => 9,
        9 => 8,
        10 => 7,
        11 => 6,
        12 => 3,
        13 => 2,
        14 => 1,
        15 => 0,
        _ => return None,
    };
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_kernel(ctx.regs.cast::<u64>().wrapping_add(place)) }.ok()
}
