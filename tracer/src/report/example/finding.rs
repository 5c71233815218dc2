//! Findings of the example.

use tracer_common::{Nanos, Pid};

use super::MS;
use crate::model::{
    Evidence, Finding, FindingId, FindingsView, Severity, Subject, SubjectKind, Unit,
};

/// One that goes on and one that is over; one detector was blind. `now` is the last tick.
pub(super) fn findings(now: Nanos) -> FindingsView {
    let evidence = |metric, value, unit| Evidence {
        metric,
        value,
        unit,
    };
    let long_poll = Finding {
        id: FindingId::LongPoll,
        severity: Severity::Critical,
        confidence: 0.95,
        weight: 0.18,
        subject: Subject {
            kind: SubjectKind::Function,
            pid: Pid(4182),
            key: "renderReport (report.js:41)".into(),
            name: "renderReport (report.js:41)".into(),
        },
        evidence: vec![
            evidence("longest", 92e6, Unit::Time),
            evidence("rate", 2.0, Unit::PerSecond),
            evidence("share", 0.18, Unit::Ratio),
            evidence("on_cpu", 0.97, Unit::Ratio),
            evidence("waited", 412.0, Unit::Count),
            evidence("wait", 46e6, Unit::Time),
        ],
        span: Nanos(10_000 * MS),
        first: Nanos(now.0 - 6_000 * MS),
        last: now,
        is_over: false,
    };
    let oversubscribed = Finding {
        id: FindingId::CpuOversubscription,
        severity: Severity::Warning,
        confidence: 0.9,
        weight: 9.4,
        subject: Subject {
            kind: SubjectKind::Process,
            pid: Pid(0),
            key: String::new(),
            name: "all 2 processes".into(),
        },
        evidence: vec![
            evidence("waiting", 9.4, Unit::Count),
            evidence("used", 7.9, Unit::Count),
            evidence("allowed", 8.0, Unit::Count),
        ],
        span: Nanos(3_000 * MS),
        first: Nanos(now.0 - 7_000 * MS),
        last: Nanos(now.0 - 5_000 * MS),
        is_over: true,
    };
    FindingsView {
        list: vec![long_poll, oversubscribed],
        checked: Some(4),
        blind: vec![(FindingId::GcPressure, "collections are not watched")],
    }
}
