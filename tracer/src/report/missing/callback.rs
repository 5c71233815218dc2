//! What is missing about Node's callbacks and promises, and why.

use super::NotMeasured;
use crate::{human, model::Snapshot};

/// What takes callbacks that are watched.
const OF_CALLBACKS: &[&str] = &[
    "callbacks",
    "long_callbacks",
    "microtasks",
    "quality.callbacks.watched_ratio",
];

/// What takes promises that are watched.
const OF_PROMISES: &[&str] = &["promises", "quality.callbacks.promises_watched_ratio"];

/// What is missing in `snapshot`, with reasons.
pub(super) fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    let view = &snapshot.callbacks;
    let mut missing = Vec::new();
    let mut all = |fields: &[&'static str], probe: &str, what: &str| {
        let why = why(snapshot, probe, what);
        let fields = fields.iter();
        missing.extend(fields.map(|&field| NotMeasured::new(field, why.clone())));
    };
    if view.watched.is_none() {
        all(OF_CALLBACKS, "callback", "callbacks");
    }
    if view.promises_watched.is_none() {
        all(OF_PROMISES, "promise", "promises");
    }
    missing
}

fn why(snapshot: &Snapshot, probe: &str, what: &str) -> String {
    let tasks = &snapshot.tasks;
    if tasks.runtimes.is_empty() {
        "no process was looked at for a runtime".to_owned()
    } else if tasks.is_node() {
        human::not_watched(&snapshot.quality.probes, probe, what)
    } else {
        "no process runs Node".to_owned()
    }
}
