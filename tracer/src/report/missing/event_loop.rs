//! What is missing about event loops, and why.

use super::{NotMeasured, was_probed};
use crate::model::Snapshot;

/// What takes iterations that are counted.
const OF_COUNTS: &[&str] = &[
    "loop.iterations",
    "loop.waits",
    "loop.events",
    "loop.delay",
    "loop.long",
    "loop.off_cpu",
    "loop.long_iterations",
    "loop.loops[].iterations",
    "loop.loops[].waits",
    "loop.loops[].events",
    "loop.loops[].delay",
    "loop.loops[].long",
    "loop.loops[].off_cpu",
];

/// What is missing in `snapshot`, with reasons.
pub(super) fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let view = &snapshot.loops;
    let Some(main) = view.main() else {
        return vec![NotMeasured::new("loop", no_loop(snapshot))];
    };
    let mut missing = Vec::new();
    if !view.counted {
        let why = not_counted(snapshot);
        missing.extend(OF_COUNTS.iter().map(|&field| NotMeasured::new(field, why)));
    }
    let no_time = "no tick has passed since the loop was seen";
    if main.utilization().is_none() {
        missing.push(NotMeasured::new("loop.utilization_ratio", no_time));
    }
    if view.loops.iter().any(|view| view.utilization().is_none()) {
        let field = "loop.loops[].utilization_ratio";
        missing.push(NotMeasured::new(field, no_time));
    }
    missing
}

fn no_loop(snapshot: &Snapshot) -> &'static str {
    if snapshot.loops.recognised {
        "no thread of the Node process has waited for events"
    } else if snapshot.tasks.runtimes.is_empty() {
        "no process was looked at for a runtime"
    } else {
        "no process runs Node, whose threads have event loops"
    }
}

/// Why iterations are not counted.
fn not_counted(snapshot: &Snapshot) -> &'static str {
    if was_probed(snapshot, "sys_exit") {
        "the version that recorded did not follow event loops"
    } else {
        "the probe group `syscall` is off or was refused: iterations that do not sleep are not seen without it; the \
         utilisation is by the thread's states"
    }
}
