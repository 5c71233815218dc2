//! `tracer`, `tracer top`: the live dashboard.

use std::{fs::File, io::IsTerminal as _, path::PathBuf, time::Duration};

use clap::Args;
use tokio::sync::mpsc;

use super::{Color, Failure, Tracing, record::may_write, story::Story, target::Target};
use crate::{
    human,
    pipeline::{Plan, Session, SessionError, launch::Output},
    tui::{self, Feed},
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// End after this time
    #[arg(short, long, value_name = "TIME", value_parser = super::duration)]
    duration: Option<Duration>,
    /// Record too
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
    #[command(flatten)]
    tracing: Tracing,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    if !arguments.target.is_given() {
        return Err(Failure::Usage("no target: give -p PID, -n NAME or -- CMD").into());
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::NoTerminal.into());
    }
    if arguments.tracing.verbose > 0 && arguments.tracing.log_file.is_none() {
        return Err(Failure::Usage("the screen is taken: -v needs --log-file FILE here").into());
    }
    if let Some(path) = &arguments.record {
        may_write(path)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run_inside(arguments))
}

async fn run_inside(arguments: Arguments) -> anyhow::Result<()> {
    super::log(&arguments.tracing)?;
    let mut story = Story::new(arguments.tracing.quiet);
    // The screen is ours, so what a started program writes goes into a file.
    let printed = std::env::temp_dir().join(format!("tracer-{}.out", std::process::id()));
    let mut found = arguments
        .target
        .find(|| File::create(&printed).map(Output::File))?;
    let session = Session::start(Plan {
        targets: found.pids.clone(),
        live: arguments.tracing.live_options(),
        record_to: arguments.record.clone(),
        duration: arguments.duration,
    })
    .await?;
    if let Some(launched) = &mut found.launched {
        launched.let_go().map_err(|_gone| SessionError::Gone)?;
    }
    let (commands, _ignored) = mpsc::unbounded_channel();
    let feed = Feed {
        snapshots: session.snapshots(),
        transport: None,
        commands,
    };
    let options = tui::Options {
        color: arguments.color.on(),
        follow: !arguments.tracing.no_children,
        title: "live".to_owned(),
    };
    let shown = tui::run(feed, options).await;
    session.stop();
    let ended = session.ended().await?;
    if let (Some(path), Some(size)) = (&arguments.record, ended.recorded_bytes) {
        story.say(&format!(
            "recorded {} in {} ({}); next: tracer report {1}",
            human::duration(ended.snapshot.duration()),
            path.display(),
            human::bytes(size)
        ));
    }
    if let Some(launched) = &mut found.launched {
        let running = if launched.is_running() {
            "keeps running"
        } else {
            "has ended"
        };
        story.say(&format!(
            "{} {running}; what it printed is in {}",
            found.label,
            printed.display()
        ));
    }
    shown
        .map(|_exit| ())
        .map_err(|error| Failure::Terminal(error).into())
}
