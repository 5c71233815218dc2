//! `tracer explain`: what each finding means, how it is made, and what to do.

use std::fmt::Write as _;

use clap::Args;

use super::Failure;
use crate::{
    findings::{self, DETECTORS, Detector},
    human,
};

/// Columns a line takes at most.
const WIDTH: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tracer explain
  tracer explain long-poll")]
pub(super) struct Arguments {
    /// A finding, as reports name it; all of them in short without one
    #[arg(value_name = "FINDING", value_parser = names())]
    finding: Option<String>,
}

fn names() -> clap::builder::PossibleValuesParser {
    DETECTORS
        .iter()
        .map(|detector| detector.id.name())
        .collect::<Vec<_>>()
        .into()
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = match &arguments.finding {
        None => all(),
        Some(name) => {
            let unknown = Failure::Usage("no such finding; `tracer explain` lists them");
            one(findings::by_name(name).ok_or(unknown)?)
        }
    };
    super::print(&text, None)
}

/// Each in a line or two.
fn all() -> String {
    let mut text = String::new();
    for detector in DETECTORS {
        let entry = &detector.entry;
        let _ = writeln!(text, "{} ({})", detector.id.name(), entry.class);
        for line in human::wrapped(entry.title, WIDTH - 2) {
            let _ = writeln!(text, "  {line}");
        }
        for line in human::wrapped(&format!("→ {}", entry.remedy), WIDTH - 2) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let _ = writeln!(text, "\nAll about one: tracer explain FINDING");
    text
}

fn one(detector: &Detector) -> String {
    let entry = &detector.entry;
    let mut text = format!("{}: {}\n", detector.id.name(), entry.title);
    let mut part = |title: &str, said: &str| {
        let _ = writeln!(text, "\n{title}");
        for line in human::wrapped(said, WIDTH - 2) {
            let _ = writeln!(text, "  {line}");
        }
    };
    part("Why it matters", entry.matters);
    part("How it is detected", entry.how);
    part("What it cannot see", entry.blind);
    let _ = writeln!(text, "\nEvidence");
    for (metric, meaning) in entry.evidence {
        let _ = writeln!(text, "  {metric:<10} {meaning}");
    }
    let _ = writeln!(text, "\nWhat to do: {}", entry.remedy);
    for (title, sketch) in [("Node", entry.node), ("Rust", entry.rust)] {
        let _ = writeln!(text, "\n{title}");
        for line in sketch.lines() {
            let _ = writeln!(text, "  {}", line.trim_end());
        }
    }
    text
}
