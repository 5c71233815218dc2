//! Findings as a snapshot shows them: what was concluded, from which numbers. Who concludes is not here.

use tracer_common::{Nanos, Pid};

/// What was concluded so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FindingsView {
    /// The worst first, those that are over last; at most [`super::LISTED`].
    pub list: Vec<Finding>,
    /// Detectors that could judge at the last tick; `None` until one could.
    pub checked: Option<u32>,
    /// Detectors that could not, and why.
    pub blind: Vec<(FindingId, &'static str)>,
}

/// A finding by the name it has for ever: scripts rely on these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingId {
    /// A poll or a callback held its worker or the event loop too long.
    LongPoll,
    /// Work queues for the blocking pool.
    PoolSaturation,
    /// Threads sleep on one lock.
    LockContention,
    /// The JavaScript heap is collected too often or too long.
    GcPressure,
    /// More runnable threads than CPUs.
    CpuOversubscription,
}

impl FindingId {
    /// The word people and scripts use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LongPoll => "long-poll",
            Self::PoolSaturation => "pool-saturation",
            Self::LockContention => "lock-contention",
            Self::GcPressure => "gc-pressure",
            Self::CpuOversubscription => "cpu-oversubscription",
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// It costs time or memory that could be had back.
    Warning,
    /// People notice.
    Critical,
}

impl Severity {
    /// The word used on screens and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What kind of thing a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectKind {
    /// A type of tasks.
    Task,
    /// A function of JavaScript, or what the loop's thread ran.
    Function,
    /// A thread.
    Thread,
    /// A pool of threads.
    Pool,
    /// A lock.
    Lock,
    /// All of a process, or of all targets.
    Process,
}

impl SubjectKind {
    /// The word used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Function => "function",
            Self::Thread => "thread",
            Self::Pool => "pool",
            Self::Lock => "lock",
            Self::Process => "process",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// The process; 0 for all targets together.
    pub pid: Pid,
    /// What tells it from others of its kind in the process.
    pub key: String,
    /// As people write it.
    pub name: String,
}

/// The unit of a number that a conclusion rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// How many.
    Count,
    /// How many in a second.
    PerSecond,
    /// A share, 0 to 1.
    Ratio,
}

impl Unit {
    /// As the JSON report writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Time => "ns",
            Self::Count => "count",
            Self::PerSecond => "count/s",
            Self::Ratio => "ratio",
        }
    }
}

/// A number that a conclusion rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// Its name; what it means is explained with the finding.
    pub metric: &'static str,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

/// A conclusion.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub id: FindingId,
    /// How much it matters, by the last numbers.
    pub severity: Severity,
    /// How sure it is, 0 to 1: less where events were lost or not all was seen.
    pub confidence: f64,
    /// How much it costs beside others as severe: the time lost to it in a second, in seconds, over all who lose it.
    pub weight: f64,
    /// What it is about.
    pub subject: Subject,
    /// The last numbers it rests on.
    pub evidence: Vec<Evidence>,
    /// The time these numbers are about, up to `last`.
    pub span: Nanos,
    /// The tick at which it was first concluded.
    pub first: Nanos,
    /// The last tick at which it was.
    pub last: Nanos,
    /// It has not been for a while.
    pub is_over: bool,
}

impl Finding {
    /// A number it rests on; 0 when it has none of that name.
    #[must_use]
    pub fn value(&self, metric: &str) -> f64 {
        let mut evidence = self.evidence.iter();
        let found = evidence.find(|evidence| evidence.metric == metric);
        found.map_or(0.0, |evidence| evidence.value)
    }

    /// The same of a time.
    #[must_use]
    pub fn time(&self, metric: &str) -> Nanos {
        Nanos(self.value(metric).max(0.0) as u64)
    }
}
