//! Which processes are traced: the first question of every program.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap},
};
use tracer_common::{LossReason, Nanos, Pid, Target, name::MAYBE_SLOTS};

use crate::count;

/// Not a flag in a global: processes come (fork) and go while the programs run.
#[map]
static TARGETS: HashMap<Pid, Target> = HashMap::with_max_entries(8192, 0);

/// Not 0 where there may be a target. An array lookup is a few instructions, a hash lookup a call of 40 ns: every
/// system call and switch of every other process pays this question.
#[map]
static MAYBE: Array<u64> = Array::with_max_entries(MAYBE_SLOTS, 0);

/// False when `pid` is certainly not traced.
#[inline(always)]
pub(crate) fn maybe(pid: Pid) -> bool {
    MAYBE
        .get(pid.0 & (MAYBE_SLOTS - 1))
        .is_some_and(|&targets| targets != 0)
}

/// The traced process `pid`, or `None` when it is not traced.
#[inline(always)]
pub(crate) fn target(pid: Pid) -> Option<Target> {
    if !maybe(pid) {
        return None;
    }
    // SAFETY: a target is removed by the agent only after the process is gone; 16 bytes of plain data, of which one
    // word may change, are copied out.
    unsafe { TARGETS.get(pid) }.copied()
}

/// Traces the new process `pid` from `since` on.
#[inline(always)]
pub(crate) fn follow(pid: Pid, since: Nanos) -> bool {
    let target = Target {
        since,
        follow_children: 1,
        has_loops: 1,
    };
    let inserted = TARGETS.insert(pid, target, 0).is_ok();
    if inserted {
        // Cannot fail: the slot is always there.
        let _ = MAYBE.set(pid.0 & (MAYBE_SLOTS - 1), 1, 0);
    } else {
        count::lost(LossReason::TARGET_TABLE_FULL);
    }
    inserted
}
