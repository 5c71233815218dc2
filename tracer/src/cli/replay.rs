//! `tracer replay`: the dashboard over a recording.

use std::{io::IsTerminal as _, path::PathBuf};

use clap::Args;

use super::{Color, Failure};
use crate::{pipeline::replay::Replay, tui};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: Color,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<()> {
    // What is wrong with the file is worth more to know than what is wrong with the terminal.
    let replay = Replay::start(arguments.file.clone())?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::NoTerminal.into());
    }
    let title = arguments
        .file
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let options = tui::Options {
        color: arguments.color.on(),
        follow: false,
        title: format!("replay {}", title.unwrap_or_default()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (feed, player) = replay.into_parts();
    let shown = runtime.block_on(tui::run(feed, options));
    // The dashboard has dropped its side of the commands, which ends the player.
    match player.join() {
        Ok(played) => played?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    shown
        .map(|_exit| ())
        .map_err(|error| Failure::Terminal(error).into())
}
