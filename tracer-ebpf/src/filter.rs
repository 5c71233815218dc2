//! Which processes are traced: the first question of every program.

use aya_ebpf::{macros::map, maps::HashMap};
use tracer_common::{LossReason, Nanos, Pid, Target};

use crate::count;

/// Not a flag in a global: processes come (fork) and go while the programs run.
#[map]
static TARGETS: HashMap<Pid, Target> = HashMap::with_max_entries(8192, 0);

/// The traced process `pid`, or `None` when it is not traced.
#[inline(always)]
pub(crate) fn target(pid: Pid) -> Option<Target> {
    // SAFETY: a target is written once, when it is inserted, and removed by the agent only after the process
    // is gone; 16 bytes of plain data are copied out.
    unsafe { TARGETS.get(pid) }.copied()
}

/// Traces the new process `pid` from `since` on.
#[inline(always)]
pub(crate) fn follow(pid: Pid, since: Nanos) -> bool {
    let target = Target {
        since,
        follow_children: 1,
        reserved: 0,
    };
    let inserted = TARGETS.insert(pid, target, 0).is_ok();
    if !inserted {
        count::lost(LossReason::TARGET_TABLE_FULL);
    }
    inserted
}
