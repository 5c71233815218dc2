//! What was concluded, as JSON.

use serde::Serialize;

use crate::{
    findings,
    model::{self, FindingsView, Snapshot},
};

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    id: &'static str,
    class: &'static str,
    severity: &'static str,
    confidence: f64,
    subject: Subject,
    /// In one sentence, made of the evidence.
    says: String,
    evidence: Vec<Evidence>,
    /// The time the evidence is about, up to `last_seen_ns`.
    span_ns: u64,
    /// Since the start of the accounting.
    first_seen_ns: u64,
    last_seen_ns: u64,
    /// It was not so any more at the end.
    resolved: bool,
    remedy: Remedy,
}

#[derive(Debug, Serialize)]
struct Subject {
    kind: &'static str,
    name: String,
    /// `null` when it is about all targets together.
    pid: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Evidence {
    metric: &'static str,
    value: f64,
    unit: &'static str,
}

#[derive(Debug, Serialize)]
struct Remedy {
    summary: &'static str,
    node: &'static str,
    rust: &'static str,
}

/// Which detectors could judge.
#[derive(Debug, Serialize)]
pub(super) struct Quality {
    /// `null` until enough was seen.
    checked: Option<u32>,
    blind: Vec<Blind>,
}

#[derive(Debug, Serialize)]
struct Blind {
    id: &'static str,
    why: &'static str,
}

/// `None` until enough was seen to conclude anything.
pub(super) fn all(snapshot: &Snapshot) -> Option<Vec<Finding>> {
    let view = &snapshot.findings;
    view.checked?;
    let all = view.list.iter();
    Some(all.filter_map(|finding| one(finding, snapshot)).collect())
}

fn one(finding: &model::Finding, snapshot: &Snapshot) -> Option<Finding> {
    let entry = findings::detector(finding.id)?.entry;
    let started = snapshot.session.started;
    let since_start = |at: tracer_common::Nanos| at.since(started).unwrap_or_default().0;
    let subject = &finding.subject;
    Some(Finding {
        id: finding.id.name(),
        class: entry.class,
        severity: finding.severity.name(),
        confidence: finding.confidence,
        subject: Subject {
            kind: subject.kind.name(),
            name: subject.name.clone(),
            pid: (subject.pid.0 > 0).then_some(subject.pid.0),
        },
        says: findings::says(finding),
        evidence: finding
            .evidence
            .iter()
            .map(|evidence| Evidence {
                metric: evidence.metric,
                value: evidence.value,
                unit: evidence.unit.name(),
            })
            .collect(),
        span_ns: finding.span.0,
        first_seen_ns: since_start(finding.first),
        last_seen_ns: since_start(finding.last),
        resolved: finding.is_over,
        remedy: Remedy {
            summary: entry.remedy,
            node: entry.node,
            rust: entry.rust,
        },
    })
}

impl From<&FindingsView> for Quality {
    fn from(view: &FindingsView) -> Self {
        let blind = view.blind.iter();
        Self {
            checked: view.checked,
            blind: blind
                .map(|&(id, why)| Blind { id: id.name(), why })
                .collect(),
        }
    }
}
