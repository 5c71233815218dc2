//! What was concluded, first of all: what is wrong, in what, by which numbers, and what to do.

use std::fmt::Write as _;

use crate::{
    findings::{self, DETECTORS},
    human,
    model::{Finding, Severity, Snapshot},
};

use super::WIDTH;

/// Findings that are told in full.
const TOLD: usize = 12;

/// Says it. Where all is well it says that too, and what could not be judged.
pub(super) fn findings(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.findings;
    let Some(checked) = view.checked else {
        return;
    };
    line!(out);
    line!(out, "FINDINGS");
    for finding in view.list.iter().take(TOLD) {
        one(out, finding);
    }
    let more = view.list.len().saturating_sub(TOLD) as u64;
    super::more(out, more);
    if view.list.is_empty() {
        line!(
            out,
            "  none in {}: {checked} of {} checks, {} blind",
            human::duration(snapshot.duration()),
            DETECTORS.len(),
            view.blind.len()
        );
    } else {
        line!(out, "  why and how: tracer explain ID");
    }
    for (id, why) in &view.blind {
        line!(out, "  not checked: {}, because {why}", id.name());
    }
}

fn one(out: &mut String, finding: &Finding) {
    let Some(detector) = findings::detector(finding.id) else {
        return;
    };
    let mark = match finding.severity {
        Severity::Critical => "▲ CRITICAL",
        Severity::Warning => "▲ warning",
        Severity::Info => "· info",
    };
    let over = if finding.is_over { " (over)" } else { "" };
    let sure = human::percent(finding.confidence);
    line!(out, "  {mark:<11} {}{over}, {sure} sure", finding.id.name());
    let name = human::sanitise(&finding.subject.name);
    let said = format!("{name} {}", findings::says(finding));
    for part in human::wrapped(&said, WIDTH - 4) {
        line!(out, "    {part}");
    }
    for part in human::wrapped(&format!("→ {}", detector.entry.remedy), WIDTH - 4) {
        line!(out, "    {part}");
    }
}
