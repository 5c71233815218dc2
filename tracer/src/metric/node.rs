//! What the JSON report has about Node.

use super::{Metric, row};

/// All of them, in the order of the report.
pub(super) const METRICS: &[Metric] = &[
    row(
        "gc[].pause.count",
        "count",
        "garbage collections that were seen from beginning to end",
    ),
    row(
        "gc[].pause.sum_ns",
        "ns",
        "time its thread stood still for them",
    ),
    row(
        "gc[].pause.p50_ns",
        "ns",
        "half of them took no longer (6.25 % off at most)",
    ),
    row(
        "gc[].pause.p99_ns",
        "ns",
        "99 of 100 took no longer (6.25 % off at most)",
    ),
    row("gc[].pause.max_ns", "ns", "the longest of them"),
];
