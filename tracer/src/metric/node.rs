//! What the JSON report has about Node.

use super::{Metric, row};

/// All of them, in the order of the report.
pub(super) const METRICS: &[&[Metric]] = &[
    times!(
        "gc[].pause",
        "garbage collections that were seen from beginning to end",
        "time its thread stood still for them"
    ),
    &[
        row(
            "heap.isolates[].used_bytes",
            "bytes",
            "objects in a heap of V8 at the last read; with what is left of the areas V8 allocates from, at most 256 KiB a space",
        ),
        row(
            "heap.isolates[].committed_bytes",
            "bytes",
            "what the heap has taken from the system",
        ),
        row(
            "heap.isolates[].external_bytes",
            "bytes",
            "outside of the heap, held by its objects: external of process.memoryUsage()",
        ),
        row(
            "heap.isolates[].array_buffer_bytes",
            "bytes",
            "in array buffers, part of those: arrayBuffers of process.memoryUsage()",
        ),
        row(
            "heap.isolates[].limit_bytes",
            "bytes",
            "what the heap may have: heap_size_limit of v8.getHeapStatistics()",
        ),
        row(
            "heap.isolates[].spaces[].used_bytes",
            "bytes",
            "objects in a space of the heap",
        ),
        row(
            "heap.isolates[].spaces[].committed_bytes",
            "bytes",
            "what the space has taken from the system",
        ),
        row(
            "heap.isolates[].full_collections",
            "count",
            "mark-compacts since the thread began",
        ),
        row(
            "heap.isolates[].after_full_gc[].at_ns",
            "ns",
            "when the heap was first read after a mark-compact, since the accounting began",
        ),
        row(
            "heap.isolates[].after_full_gc[].used_bytes",
            "bytes",
            "objects outside the young generation that the mark-compact left",
        ),
    ],
];
