//! A JavaScript heap that is collected too often, or for too long.

use std::collections::BTreeMap;

use tracer_common::{Nanos, Pid, Tid};

use super::{Detector, Entry, Raised, Seen, Verdict, change::Added, number, time};
use crate::{
    human,
    model::{Finding, FindingId, Severity, Subject, SubjectKind, Unit},
};

/// Share of the time that a thread stood still for collections. V8 itself takes less than a tenth where a heap has the
/// size it needs.
const SHARE: f64 = 0.1;
const CRITICAL: f64 = 0.25;
/// Of fewer nothing is concluded.
const LEAST: u64 = 3;

pub(super) const DETECTOR: Detector = Detector {
    id: FindingId::GcPressure,
    entry: Entry {
        class: "memory",
        title: "the JavaScript heap is collected too often or too long",
        matters: "The thread stands still in each of them, and its event loop with it.",
        how: "Collections take more than a tenth of a thread's time (critical: a quarter).",
        evidence: &[
            ("share", "the share of the time in collections"),
            ("rate", "collections in a second"),
            ("pause", "how long one was, on average"),
            ("longest", "the longest since attach"),
            (
                "full",
                "collections of the whole heap (mark-compact) in a second",
            ),
        ],
        remedy: "make fewer short-lived objects, stream instead of collecting, or give new objects more room",
        node: "node --max-semi-space-size=64 server.js          // MiB: fewer, slightly longer scavenges\n\
               await pipeline(source, transform, response);     // node:stream/promises, instead of one large array\n\
               --max-old-space-size, where mark-compacts follow each other",
        rust: "// Of Node alone.",
        blind: "Parts of V8's marking that run between JavaScript in small steps are not counted as pauses.",
    },
    judge,
    says,
};

#[derive(Default)]
struct Pauses {
    all: Added,
    full: Added,
    longest: Nanos,
    name: String,
}

fn judge(seen: &Seen<'_>) -> Verdict {
    let mut probes = seen.now.quality.probes.iter();
    let is_on = probes.any(|probe| {
        use crate::record::ProbeStatus::Attached;
        probe.name == "collection_return" && probe.status == Attached
    });
    if !seen.now.tasks.has_node() {
        return Ok(Vec::new());
    }
    if !is_on {
        return Err("collections are not watched");
    }
    let mut threads: BTreeMap<(Pid, Tid), Pauses> = BTreeMap::new();
    for view in &seen.now.node.collections {
        let mut before = seen.then.node.collections.iter();
        let key = (view.pid, view.tid, &view.kind);
        let then = before.find(|then| (then.pid, then.tid, &then.kind) == key);
        let added = Added::between(then.map(|then| &then.pause), &view.pause);
        let pauses = threads.entry((view.pid, view.tid)).or_default();
        pauses.all = pauses.all.and(added);
        if view.kind == "mark-compact" {
            pauses.full = pauses.full.and(added);
        }
        pauses.longest = pauses.longest.max(view.pause.max);
        pauses.name.clone_from(&view.thread);
    }
    let raised = threads.into_iter().filter_map(|((pid, tid), pauses)| {
        let share = seen.share(pauses.all.sum);
        if share < SHARE || pauses.all.count < LEAST {
            return None;
        }
        let is_main = pid.0 == tid.0;
        let name = if is_main {
            "the main thread's heap".to_owned()
        } else {
            format!("the heap of thread {} ({})", pauses.name, tid.0)
        };
        Some(Raised {
            severity: if share >= CRITICAL {
                Severity::Critical
            } else {
                Severity::Warning
            },
            confidence: 0.95,
            weight: share,
            subject: Subject {
                kind: SubjectKind::Thread,
                pid,
                key: tid.0.to_string(),
                name,
            },
            evidence: vec![
                number("share", share, Unit::Ratio),
                number("rate", seen.rate(pauses.all.count), Unit::PerSecond),
                time("pause", pauses.all.mean()),
                time("longest", pauses.longest),
                number("full", seen.rate(pauses.full.count), Unit::PerSecond),
            ],
        })
    });
    Ok(raised.collect())
}

fn says(finding: &Finding) -> String {
    format!(
        "is collected {} of the time: {} collections, {} each, {} at most; {} of the whole heap",
        human::percent(finding.value("share")),
        human::per_second(finding.value("rate")),
        human::duration(finding.time("pause")),
        human::duration(finding.time("longest")),
        human::per_second(finding.value("full")),
    )
}
