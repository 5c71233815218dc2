//! The soak: whether the tracer's memory stays flat while it records a busy process for as long as one likes.

use std::{
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use xtask::tool;

use super::{
    observer::OBSERVERS,
    process,
    table::{Spread, digits},
    wait,
    workload::{self, CHURN},
};
use crate::{story::say, workload::number, workspace::Workspace};

/// How often memory is looked at in one soak.
const LOOKS: u32 = 90;

/// What memory may grow by in the last third, besides two percent: a heap does not stand still to the byte.
const SLACK: f64 = 1024.0 * 1024.0;

/// Records the workload `name`, or threads that are born and end, for `time`. Fails when memory has not been flat.
pub(crate) fn run(
    workspace: &Workspace,
    name: Option<&str>,
    profile: &str,
    time: Duration,
    logs: &Path,
) -> Result<ExitCode> {
    let workload = name.map_or(Ok(&CHURN), workload::by_name)?;
    let observer = OBSERVERS
        .iter()
        .find(|observer| observer.is_tracer() && observer.name == profile)
        .with_context(|| format!("the tracer has no profile `{profile}`"))?;
    let mut running = workload.start(workspace, logs)?;
    let mut child = observer.attach(workspace, running.observed_pid(), logs)?;
    say(format_args!(
        "recording {} with profile `{profile}` for {} s",
        workload.name,
        time.as_secs()
    ));

    let started = wait::now();
    let before = running.operations()?;
    let used_before = process::cpu_time(child.pid())?;
    let mut resident = Vec::new();
    for _ in 0..LOOKS {
        wait::pass(time / LOOKS);
        ensure!(
            child.ended()?.is_none(),
            "tracer ended by itself\n{}",
            crate::quiet::tail(&child.printed())
        );
        resident.push(process::resident(child.pid())?);
    }
    let passed = (wait::now() - started).as_secs_f64();
    let used = process::cpu_time(child.pid())?.saturating_sub(used_before);
    let operations = running.operations()?.saturating_sub(before);
    child.end()?;

    let [start, middle, end] = thirds(&resident).context("too few looks at the memory")?;
    let recording = observer.recording(logs);
    let report = tool::printed_by(
        Command::new(workspace.agent())
            .args(["report", "--json"])
            .arg(&recording),
    )
    .with_context(|| format!("report on {}", recording.display()))?;
    let (events, lost) = events(&report).context("the report has no events")?;
    println!(
        "soak: {} for {} s, profile `{profile}`",
        workload.name,
        digits(passed)
    );
    println!(
        "load: {} operations/s, {} events/s, {lost} lost",
        rate(operations, passed),
        rate(events, passed)
    );
    println!(
        "own CPU: {} % of one",
        digits(used.as_secs_f64() / passed * 100.0)
    );
    println!(
        "memory, median of each third: {}, {}, {}",
        mib(start),
        mib(middle),
        mib(end)
    );
    if grew(middle, end) {
        println!(
            "failed: the last third is {} above the middle one",
            mib(end - middle)
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("flat");
    Ok(ExitCode::SUCCESS)
}

fn rate(count: u64, seconds: f64) -> String {
    let rate = count as f64 / seconds;
    if rate >= 1000.0 {
        format!("{} k", digits(rate / 1000.0))
    } else {
        digits(rate)
    }
}

fn grew(middle: f64, end: f64) -> bool {
    end > middle * 1.02 + SLACK
}

/// The median of each third of `looks`.
fn thirds(looks: &[u64]) -> Option<[f64; 3]> {
    let third = looks.len() / 3;
    let median = |part: usize| {
        let part = looks.get(part * third..(part + 1) * third)?;
        Some(Spread::of(part.iter().map(|bytes| *bytes as f64))?.median)
    };
    Some([median(0)?, median(1)?, median(2)?])
}

/// How many events a report counts, and how many were lost.
fn events(report: &str) -> Option<(u64, u64)> {
    let report: String = report.chars().filter(|c| !c.is_whitespace()).collect();
    let (_, quality) = report.split_once(r#""quality":{"#)?;
    let (_, lost) = quality.split_once(r#""lost":["#)?;
    let (lost, _) = lost.split_once(']')?;
    let lost = lost
        .split('}')
        .filter_map(|one| number::<u64>(one, "count"));
    Some((number(quality, "events")?, lost.sum()))
}

fn mib(bytes: f64) -> String {
    format!("{} MiB", digits(bytes / SLACK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_more_than_noise() {
        let mib = |mib: f64| mib * SLACK;
        assert!(!grew(mib(30.0), mib(31.5)));
        assert!(grew(mib(30.0), mib(31.7)));
        assert!(!grew(mib(30.0), mib(20.0)));
    }

    #[test]
    fn a_report_tells_events_and_losses() {
        let report = r#"{ "schema": "tracer.report/1", "quality": { "events": 12, "lost": [
            { "what": "ring buffer full", "count": 3 }, { "what": "table full", "count": 4 } ], "inconsistent": 9 } }"#;
        assert_eq!(events(report), Some((12, 7)));
        let clean = r#"{"quality":{"events":12,"lost":[],"inconsistent":0}}"#;
        assert_eq!(events(clean), Some((12, 0)));
        assert_eq!(events("{}"), None);
    }

    #[test]
    fn a_third_is_its_median() {
        let looks = [1, 2, 90, 4, 5, 6, 7, 8, 9];
        assert_eq!(thirds(&looks), Some([2.0, 5.0, 8.0]));
        assert_eq!(thirds(&[1, 2]), None);
    }
}
