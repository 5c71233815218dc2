//! What is concluded of the service.

use tracer_common::{Nanos, Pid};

use super::SECOND;
use crate::model::{
    Evidence, Finding, FindingId, FindingsView, Severity, Subject, SubjectKind, Unit,
};

const MS: f64 = 1e6;

/// Nothing: all is well.
pub(super) fn none() -> FindingsView {
    FindingsView {
        checked: Some(5),
        ..FindingsView::default()
    }
}

/// Two that go on and one that is over; one detector was blind.
pub(super) fn some(now: Nanos) -> FindingsView {
    let evidence = |metric, value, unit| Evidence {
        metric,
        value,
        unit,
    };
    let finding = |id, severity, subject, evidence| Finding {
        id,
        severity,
        confidence: 0.95,
        weight: 0.2,
        subject,
        evidence,
        span: Nanos(10 * SECOND),
        first: Nanos(now.0 - 70 * SECOND),
        last: now,
        is_over: false,
    };
    let subject = |kind, name: &str| Subject {
        kind,
        pid: Pid(4182),
        key: name.to_owned(),
        name: name.to_owned(),
    };
    let long = finding(
        FindingId::LongPoll,
        Severity::Critical,
        subject(SubjectKind::Function, "renderReport (report.js:41)"),
        vec![
            evidence("longest", 92.0 * MS, Unit::Time),
            evidence("rate", 2.0, Unit::PerSecond),
            evidence("share", 0.18, Unit::Ratio),
            evidence("on_cpu", 0.97, Unit::Ratio),
            evidence("waited", 412.0, Unit::Count),
            evidence("wait", 46.0 * MS, Unit::Time),
        ],
    );
    let pool = finding(
        FindingId::PoolSaturation,
        Severity::Warning,
        subject(
            SubjectKind::Pool,
            "libuv's thread pool, mostly crypto.pbkdf2",
        ),
        vec![
            evidence("wait", 83.0 * MS, Unit::Time),
            evidence("queue", 8.3, Unit::Count),
            evidence("run", 21.0 * MS, Unit::Time),
            evidence("busy", 3.9, Unit::Count),
            evidence("rate", 190.0, Unit::PerSecond),
            evidence("most", 0.91, Unit::Ratio),
        ],
    );
    let over = Finding {
        last: Nanos(now.0 - 30 * SECOND),
        is_over: true,
        ..finding(
            FindingId::GcPressure,
            Severity::Warning,
            subject(SubjectKind::Thread, "the main thread's heap"),
            vec![evidence("share", 0.12, Unit::Ratio)],
        )
    };
    FindingsView {
        list: vec![long, pool, over],
        checked: Some(4),
        blind: vec![(
            FindingId::LockContention,
            "waits at futexes are not counted",
        )],
    }
}
