//! What is wrong, concluded from the model: one detector per file, pure, over the last seconds.
//!
//! A detector sees two snapshots, that of now and one from [`SPAN`] before, and so judges what happened between them,
//! wherever ticks fall. It names a subject and gives the numbers it rests on; the words are made from these numbers in one
//! place, so that the dashboard, the report and JSON agree. One that lacks a probe says so and does not guess.

mod change;
mod cpu_oversubscription;
mod gc_pressure;
mod judge;
mod lock_contention;
mod long_poll;
mod pool_saturation;
#[cfg(test)]
mod tests;

use tracer_common::Nanos;

pub use judge::Judge;

use crate::model::{Evidence, Finding, FindingId, Severity, Snapshot, Subject, Unit};

/// How far back a detector looks. Long enough for something that happens every other second, short enough to have a
/// verdict within the ten seconds of a report.
pub const SPAN: Nanos = Nanos(10_000_000_000);
/// Before so much was seen nothing is concluded: a program that was just attached to, or has just begun, is busy with that.
pub const QUIET: Nanos = Nanos(3_000_000_000);

/// Every detector, in the order of the catalogue.
pub const DETECTORS: &[Detector] = &[
    long_poll::DETECTOR,
    pool_saturation::DETECTOR,
    lock_contention::DETECTOR,
    gc_pressure::DETECTOR,
    cpu_oversubscription::DETECTOR,
];

/// Finds one kind of trouble.
#[derive(Clone, Copy)]
pub struct Detector {
    /// What it finds.
    pub id: FindingId,
    /// What `tracer explain` says of it.
    pub entry: Entry,
    judge: fn(&Seen<'_>) -> Verdict,
    says: fn(&Finding) -> String,
}

/// What is said about a kind of finding, whatever it is found in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The kind of trouble, in two or three words.
    pub class: &'static str,
    /// What it says.
    pub title: &'static str,
    /// Why it matters.
    pub matters: &'static str,
    /// How it is detected, thresholds included.
    pub how: &'static str,
    /// The numbers it rests on, and what they mean.
    pub evidence: &'static [(&'static str, &'static str)],
    /// What to do, in one line.
    pub remedy: &'static str,
    /// How that looks in Node.
    pub node: &'static str,
    /// How that looks in Rust.
    pub rust: &'static str,
    /// What it cannot see.
    pub blind: &'static str,
}

/// What a detector concluded, or why it could not.
type Verdict = Result<Vec<Raised>, &'static str>;

/// A conclusion about one subject.
#[derive(Clone, Debug)]
struct Raised {
    severity: Severity,
    /// Before losses are taken into account.
    confidence: f64,
    /// See [`Finding::weight`].
    weight: f64,
    subject: Subject,
    evidence: Vec<Evidence>,
}

/// What a detector looks at.
struct Seen<'a> {
    now: &'a Snapshot,
    then: &'a Snapshot,
}

impl Seen<'_> {
    /// The time between.
    fn span(&self) -> Nanos {
        self.now.now.since(self.then.now).unwrap_or_default()
    }

    /// A time as a share of that.
    fn share(&self, time: Nanos) -> f64 {
        time.0 as f64 / self.span().0.max(1) as f64
    }

    /// How often in a second.
    fn rate(&self, count: u64) -> f64 {
        count as f64 * 1e9 / self.span().0.max(1) as f64
    }
}

fn time(metric: &'static str, value: Nanos) -> Evidence {
    Evidence {
        metric,
        value: value.0 as f64,
        unit: Unit::Time,
    }
}

fn number(metric: &'static str, value: f64, unit: Unit) -> Evidence {
    Evidence {
        metric,
        value,
        unit,
    }
}

/// The detector of a finding.
#[must_use]
pub fn detector(id: FindingId) -> Option<&'static Detector> {
    DETECTORS.iter().find(|detector| detector.id == id)
}

/// The finding people mean by a word.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Detector> {
    DETECTORS.iter().find(|detector| detector.id.name() == name)
}

/// A finding in one sentence, without what to do.
#[must_use]
pub fn says(finding: &Finding) -> String {
    detector(finding.id).map_or_else(String::new, |detector| (detector.says)(finding))
}
