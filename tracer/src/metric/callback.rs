//! What the JSON report has about Node's callbacks and promises. Where they are watched only at times, counts and sums
//! are extrapolated.

use super::{Metric, row};

/// All of them, in the order of the report.
pub(super) const METRICS: &[&[Metric]] = &[
    &[
        row(
            "quality.callbacks.watched_ratio",
            "ratio",
            "share of the time in which Node's callbacks were watched; counts and sums are extrapolated from it",
        ),
        row(
            "quality.callbacks.promises_watched_ratio",
            "ratio",
            "the same of promises",
        ),
        row(
            "callbacks[].cpu_samples",
            "count",
            "samples of running threads in callbacks of the kind",
        ),
    ],
    times!(
        "callbacks[].busy",
        "callbacks of the kind",
        "time in the function that was called, without callbacks inside of it"
    ),
    times!(
        "callbacks[].ticks",
        "callbacks of the kind",
        "time in process.nextTick and microtasks afterwards, without callbacks inside"
    ),
    &[
        row(
            "long_callbacks[].start_ns",
            "ns",
            "when it began, since the accounting did",
        ),
        row(
            "long_callbacks[].busy_ns",
            "ns",
            "time in the function that was called",
        ),
        row(
            "long_callbacks[].ticks_ns",
            "ns",
            "time in process.nextTick and microtasks afterwards",
        ),
    ],
    times!(
        "microtasks[].runs",
        "runs of V8's queue of microtasks, empty or not",
        "time in them"
    ),
    &[
        row("promises[].awaits", "count", "awaits that began"),
        row(
            "promises[].resumed",
            "count",
            "awaits that went on with a value",
        ),
        row(
            "promises[].thrown",
            "count",
            "awaits that went on with an error",
        ),
        row(
            "promises[].fulfilled",
            "count",
            "promises that got their value",
        ),
        row(
            "promises[].rejected",
            "count",
            "promises that got their error",
        ),
        row(
            "promises[].thens",
            "count",
            "times that somebody began to wait for a promise, by await or then",
        ),
    ],
];
