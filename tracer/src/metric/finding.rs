//! What the JSON report has about findings. The numbers that one rests on are explained by `tracer explain`.

use super::{Metric, row};

/// All of them, in the order of the report.
pub(super) const METRICS: &[Metric] = &[
    row(
        "quality.findings.checked",
        "count",
        "detectors that could judge at the last tick",
    ),
    row(
        "findings[].confidence",
        "ratio",
        "how sure it is: less where events were lost or not all was watched",
    ),
    row(
        "findings[].evidence[].value",
        "as said",
        "a number it rests on, in the unit beside it; `tracer explain` says what it means",
    ),
    row(
        "findings[].span_ns",
        "ns",
        "the time the evidence is about, up to last_seen_ns",
    ),
    row(
        "findings[].first_seen_ns",
        "ns",
        "when it was first concluded, since the accounting began",
    ),
    row(
        "findings[].last_seen_ns",
        "ns",
        "when it was last concluded, since the accounting began",
    ),
];
