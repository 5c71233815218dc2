//! What the JSON report has about Node.

use super::{Metric, row};

/// All of them, in the order of the report.
pub(super) const METRICS: &[Metric] = times!(
    "gc[].pause",
    "garbage collections that were seen from beginning to end",
    "time its thread stood still for them"
);
