//! What is missing about heaps of V8, and why.

use super::NotMeasured;
use crate::model::{HeapView, Snapshot};

/// What one of the heaps does not have.
type Lacks = fn(&HeapView) -> bool;

const OF_HEAPS: [(&str, Lacks, &str); 6] = [
    (
        "heap.isolates[].tid",
        |heap| heap.tid.is_none(),
        "which thread a worker's heap is of was not found: its C library is not glibc, or the worker just began",
    ),
    (
        "heap.isolates[].external_bytes",
        |heap| heap.external_bytes.is_none(),
        "the code of this build does not tell where V8 keeps it",
    ),
    (
        "heap.isolates[].array_buffer_bytes",
        |heap| heap.array_buffer_bytes.is_none(),
        "where Node keeps it in this build was not found",
    ),
    (
        "heap.isolates[].limit_bytes",
        |heap| heap.limit_bytes.is_none(),
        "the code of this build does not tell where V8 keeps it",
    ),
    (
        "heap.isolates[].full_collections",
        |heap| heap.full_collections.is_none(),
        NO_SYMBOLS,
    ),
    (
        "heap.isolates[].after_full_gc",
        |heap| heap.full_collections.is_none(),
        NO_SYMBOLS,
    ),
];

const NO_SYMBOLS: &str = "where V8 keeps it was not found: in stripped builds of Node 24 and later V8's own functions have no names";

/// What is missing in `snapshot`, with reasons.
pub(super) fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let node = &snapshot.node;
    if !snapshot.tasks.is_node() && node.heaps.is_empty() {
        return vec![NotMeasured::new("heap", "no target runs Node.js")];
    }
    let unknown = node.heaps_unknown.clone();
    let field = if node.heaps.is_empty() {
        "heap"
    } else {
        "heap.isolates[]"
    };
    let unknown = unknown.map(|why| NotMeasured::new(field, why));
    let lacks = |of: &Lacks| node.heaps.iter().any(of);
    let parts = OF_HEAPS.iter().filter(|(_, of, _)| lacks(of));
    let parts = parts.map(|&(field, _, why)| NotMeasured::new(field, why));
    unknown.into_iter().chain(parts).collect()
}
