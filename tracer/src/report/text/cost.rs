//! What watching cost, and what was given up for it.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{WIDTH, packed};
use crate::{human, model::Snapshot, record::ProbeStatus};

pub(super) fn cost(out: &mut String, snapshot: &Snapshot) {
    let quality = &snapshot.quality;
    line!(out);
    line!(out, "COST");
    let share = quality
        .target_cpu_ratio
        .map_or_else(|| human::NONE.to_owned(), human::ratio);
    match quality.probe_time.zip(quality.probe_runs) {
        Some((time, runs)) => line!(
            out,
            "  probes    {share} of the targets' CPU time, {} of a CPU; {} in {} runs for any process",
            human::ratio(human::share(
                quality.target_probe_time[0],
                snapshot.duration()
            )),
            human::duration(time),
            human::count(runs)
        ),
        None => line!(out, "  probes    not measured"),
    }
    let rss = quality
        .agent_rss_bytes
        .map_or_else(|| human::NONE.to_owned(), human::bytes);
    line!(
        out,
        "  tracer    {} of one CPU, {rss} memory",
        human::ratio(human::share(quality.agent_cpu, snapshot.duration()))
    );
    degraded(out, snapshot);
    if quality.lost.is_empty() {
        line!(out, "  lost      nothing");
    }
    for (row, (reason, count)) in quality.lost.iter().enumerate() {
        let title = if row == 0 { "lost" } else { "" };
        line!(
            out,
            "  {title:<9} {} of {}",
            human::count(*count),
            reason.name()
        );
    }
}

/// Probes that count less than they could, together where they have one reason: a limit on the cost switches whole
/// groups.
fn degraded(out: &mut String, snapshot: &Snapshot) {
    let probes = snapshot.quality.probes.iter();
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for probe in probes.filter(|probe| probe.status == ProbeStatus::Degraded) {
        by_reason.entry(&probe.why).or_default().push(&probe.name);
    }
    for (row, (why, names)) in by_reason.into_iter().enumerate() {
        let mut title = if row == 0 { "degraded" } else { "" };
        for names in packed(&names, ", ", WIDTH - 12) {
            line!(out, "  {title:<9} {names}");
            title = "";
        }
        let why = human::sanitise(why);
        let words: Vec<&str> = why.split_whitespace().collect();
        for words in packed(&words, " ", WIDTH - 14) {
            line!(out, "              {words}");
        }
    }
}
