//! Folds records as the model does, and lets the detectors judge at each tick. What comes out depends on nothing but the
//! records, so a recording gives the same findings as the session it is of.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tracer_common::{Nanos, Pid};

use super::{DETECTORS, QUIET, Raised, SPAN, Seen};
use crate::{
    model::{Finding, FindingId, FindingsView, LISTED, Model, Snapshot, SubjectKind},
    record::Record,
};

/// Snapshots that are kept to look back on are so far apart: ticks may be 20 ms long.
const SPACING: Nanos = Nanos(1_000_000_000);
/// Detectors judge so often: not at each tick where these are 20 ms apart.
const OFTEN: Nanos = Nanos(200_000_000);
/// A finding that was not made again for so long is over. Its evidence stays in sight for [`SPAN`] besides.
const OVER: Nanos = Nanos(2_000_000_000);
/// Findings that are kept.
const KEPT: usize = 256;

/// A model with detectors.
#[derive(Debug, Default)]
pub struct Judge {
    model: Model,
    /// Oldest first.
    before: VecDeque<Arc<Snapshot>>,
    judged: Nanos,
    findings: BTreeMap<Key, Finding>,
    checked: Option<u32>,
    blind: Vec<(FindingId, &'static str)>,
}

type Key = (FindingId, SubjectKind, Pid, String);

impl Judge {
    /// Nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one record. A tick lets the detectors judge.
    pub fn apply(&mut self, record: &Record) {
        self.model.apply(record);
        if let Record::Tick(at) = record
            && at.since(self.judged).is_some_and(|since| since >= OFTEN)
        {
            self.judged = *at;
            self.judge();
        }
    }

    /// The state of the session with what was concluded.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.model.snapshot();
        let mut list: Vec<Finding> = self.findings.values().cloned().collect();
        list.sort_by(|a, b| {
            let rank = |finding: &Finding| (finding.is_over, Reverse(finding.severity));
            let by_weight = b.weight.total_cmp(&a.weight);
            rank(a).cmp(&rank(b)).then(by_weight)
        });
        list.truncate(LISTED);
        snapshot.findings = FindingsView {
            list,
            checked: self.checked,
            blind: self.blind.clone(),
        };
        snapshot
    }

    fn judge(&mut self) {
        let now = Arc::new(self.model.snapshot());
        if self.before.is_empty() {
            // Of the time before the first tick: nothing was counted when it began.
            let begin = Snapshot {
                now: now.session.started,
                ..Snapshot::default()
            };
            self.before.push_back(begin.into());
        }
        // Of two that are far enough back the later one is enough.
        while let Some(second) = self.before.get(1)
            && now.now.since(second.now) >= Some(SPAN)
        {
            self.before.pop_front();
        }
        if let Some(then) = self.before.front().cloned() {
            self.ask(&Seen {
                now: &now,
                then: &then,
            });
        }
        let last = self.before.back().map_or(Nanos(0), |last| last.now);
        if now.now.since(last) >= Some(SPACING) {
            self.before.push_back(now);
        }
    }

    fn ask(&mut self, seen: &Seen<'_>) {
        if seen.span() < QUIET {
            return;
        }
        self.blind.clear();
        let mut checked = 0;
        for detector in DETECTORS {
            match (detector.judge)(seen) {
                Ok(raised) => {
                    checked += 1;
                    for one in raised {
                        self.raise(detector.id, one, seen);
                    }
                }
                Err(why) => self.blind.push((detector.id, why)),
            }
        }
        self.checked = Some(checked);
        for finding in self.findings.values_mut() {
            finding.is_over = seen.now.now.since(finding.last) >= Some(OVER);
        }
    }

    fn has_named(&self, id: FindingId, kind: SubjectKind, pid: Pid) -> bool {
        let mut known = self.findings.iter();
        known.any(|(key, finding)| {
            let is_named = !key.3.is_empty() && !finding.is_over;
            is_named && (key.0, key.1, key.2) == (id, kind, pid)
        })
    }

    fn raise(&mut self, id: FindingId, raised: Raised, seen: &Seen<'_>) {
        let subject = &raised.subject;
        let key = (id, subject.kind, subject.pid, subject.key.clone());
        let first = match self.findings.get(&key) {
            Some(known) => known.first,
            None => seen.now.now,
        };
        // What had no name yet has one now.
        let (_, kind, pid, name) = &key;
        if !name.is_empty() {
            self.findings.remove(&(id, *kind, *pid, String::new()));
        } else if self.has_named(id, *kind, *pid) {
            return;
        }
        if self.findings.len() >= KEPT && !self.findings.contains_key(&key) {
            let mut known = self.findings.iter();
            let Some(over) = known
                .find(|(_, known)| known.is_over)
                .map(|(key, _)| key.clone())
            else {
                return;
            };
            self.findings.remove(&over);
        }
        let finding = Finding {
            id,
            severity: raised.severity,
            confidence: raised.confidence * share_kept(seen.now),
            weight: raised.weight,
            subject: raised.subject,
            evidence: raised.evidence,
            span: seen.span(),
            first,
            last: seen.now.now,
            is_over: false,
        };
        self.findings.insert(key, finding);
    }
}

/// The share of events that was not lost.
fn share_kept(snapshot: &Snapshot) -> f64 {
    let quality = &snapshot.quality;
    let all = quality.events.saturating_add(quality.lost_total());
    if all == 0 {
        return 1.0;
    }
    quality.events as f64 / all as f64
}
