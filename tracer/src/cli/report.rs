//! `tracer report`: of a recording, or of a process after some time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    Failure, Tracing,
    record::{Request, check_loss, may_write},
    target::Target,
};
use crate::{
    model::{Severity, Snapshot},
    pipeline::replay,
    report::{self, Report},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tracer report -p 4182 -d 10s
  tracer report slow.mcap
  tracer report slow.mcap --fail-on critical             for scripts: exit status 1
  tracer report slow.mcap --json | jq '.syscalls[0]'
  tracer report -p 4182 -d 10s --record slow.mcap     the report, and the recording it is made of")]
pub(super) struct Arguments {
    /// A recording
    #[arg(value_name = "FILE", conflicts_with = "target")]
    file: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// How long to look at a running target
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = super::duration)]
    duration: Duration,
    /// The shape of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Write the report to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Record too; the report of that recording is this report
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    record: Option<PathBuf>,
    /// Fail (exit status 1) when there is a finding of this severity or worse that is not over
    #[arg(long, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// Fail (exit status 7) when more than so many losses were counted
    #[arg(long, value_name = "N")]
    max_loss: Option<u64>,
    #[command(flatten)]
    tracing: Tracing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Info,
    Warning,
    Critical,
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Info => Severity::Info,
            Self::Warning => Severity::Warning,
            Self::Critical => Severity::Critical,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let format = if arguments.json {
        Format::Json
    } else {
        arguments.format
    };
    match &arguments.file {
        Some(file) => of_file(file, format, &arguments),
        None if arguments.target.is_given() => of_target(format, &arguments),
        None => Err(Failure::Usage(
            "nothing to report on: give a recording, or -p PID, -n NAME or -- CMD",
        )
        .into()),
    }
}

fn of_file(file: &Path, format: Format, arguments: &Arguments) -> anyhow::Result<()> {
    let (snapshot, outcome) = replay::fold(file)?;
    write(&snapshot, format, arguments.output.as_deref())?;
    if outcome.damaged > 0 {
        return Err(Failure::Damaged {
            path: file.to_owned(),
            read: outcome.bytes_read,
            total: outcome.bytes_total,
            parts: outcome.damaged,
        }
        .into());
    }
    if outcome.cut {
        super::story::Story::new(arguments.tracing.quiet).say(&format!(
            "note: {} ends without its closing part (killed, or cut): the report covers what is there",
            file.display()
        ));
    }
    check_loss(&snapshot, arguments.max_loss)?;
    check_findings(&snapshot, arguments.fail_on)
}

fn of_target(format: Format, arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(path) = &arguments.record {
        may_write(path)?;
    }
    let request = Request {
        target: &arguments.target,
        tracing: &arguments.tracing,
        duration: Some(arguments.duration),
        record_to: arguments.record.as_deref(),
        own_stdout: true,
    };
    let ended = request.run()?;
    write(&ended.snapshot, format, arguments.output.as_deref())?;
    check_loss(&ended.snapshot, arguments.max_loss)?;
    check_findings(&ended.snapshot, arguments.fail_on)
}

fn check_findings(snapshot: &Snapshot, fail_on: Option<FailOn>) -> anyhow::Result<()> {
    let Some(severity) = fail_on.map(FailOn::severity) else {
        return Ok(());
    };
    let findings = snapshot.findings.list.iter();
    let bad = findings.filter(|finding| !finding.is_over && finding.severity >= severity);
    match bad.count() {
        0 => Ok(()),
        count => Err(Failure::Found { count, severity }.into()),
    }
}

fn write(snapshot: &Snapshot, format: Format, output: Option<&Path>) -> anyhow::Result<()> {
    let text = match format {
        Format::Text => report::text(snapshot),
        Format::Json => Report::new(snapshot).json()?,
    };
    super::print(&text, output)
}
