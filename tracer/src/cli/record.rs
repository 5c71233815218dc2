//! `tracer record`: a session without a screen, into a file.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Failure, Tracing, story::Story, target::Target};
use crate::{
    human,
    model::Snapshot,
    pipeline::{Interrupt, Plan, Session, SessionError, launch::Output, session::Ended},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tracer record -p 4182 -o slow.mcap -d 30s
  tracer record -n server.js -o slow.mcap          until Ctrl-C
  tracer record -o build.mcap -- cargo build       until the program ends

What was recorded is safe after a second, also when tracer is killed.")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// The file to write; an older recording there is replaced, anything else is not
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// End after this time; without it Ctrl-C, or the end of the target, ends the recording
    #[arg(short, long, value_name = "TIME", value_parser = super::duration)]
    duration: Option<Duration>,
    /// Fail (exit status 7) when more than so many losses were counted
    #[arg(long, value_name = "N")]
    max_loss: Option<u64>,
    #[command(flatten)]
    tracing: Tracing,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    may_write(&arguments.output)?;
    let request = Request {
        target: &arguments.target,
        tracing: &arguments.tracing,
        duration: arguments.duration,
        record_to: Some(&arguments.output),
        own_stdout: false,
    };
    let ended = request.run()?;
    let mut story = Story::new(arguments.tracing.quiet);
    story.say(&format!(
        "recorded {} in {}: {}, {} events, {}",
        human::duration(ended.snapshot.duration()),
        arguments.output.display(),
        human::bytes(ended.recorded_bytes.unwrap_or(0)),
        human::count(ended.snapshot.quality.events),
        lost(&ended.snapshot)
    ));
    story.say(&format!(
        "next: tracer report {0}, or tracer replay {0}",
        arguments.output.display()
    ));
    check_loss(&ended.snapshot, arguments.max_loss)
}

/// A session without a screen: what `record` and `report` have in common.
pub(super) struct Request<'a> {
    pub(super) target: &'a Target,
    pub(super) tracing: &'a Tracing,
    pub(super) duration: Option<Duration>,
    pub(super) record_to: Option<&'a Path>,
    /// Our stdout carries a result, so a started program must not write there.
    pub(super) own_stdout: bool,
}

impl Request<'_> {
    /// Runs it to its end: the duration, a signal, or the last target's exit.
    pub(super) fn run(&self) -> anyhow::Result<Ended> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.run_inside())
    }

    async fn run_inside(&self) -> anyhow::Result<Ended> {
        super::log(self.tracing)?;
        let mut story = Story::new(self.tracing.quiet);
        let mut interrupt = Interrupt::listen().map_err(SessionError::System)?;
        let output = if self.own_stdout {
            Output::Stderr
        } else {
            Output::Inherit
        };
        let mut found = self.target.find(|| Ok(output))?;
        let session = Session::start(Plan {
            targets: found.pids.clone(),
            live: self.tracing.live_options(),
            record_to: self.record_to.map(Path::to_owned),
            duration: self.duration,
        })
        .await?;
        if let Some(launched) = &mut found.launched {
            launched.let_go().map_err(|_gone| SessionError::Gone)?;
        }
        let end = self.duration.map_or_else(
            || "Ctrl-C ends it".to_owned(),
            |duration| format!("for {}", humantime::format_duration(duration)),
        );
        story.say(&format!("tracing {}, {end}", found.label));

        let mut snapshots = session.snapshots();
        loop {
            tokio::select! {
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    story.progress(&self.progress(&snapshots.borrow()));
                }
                () = interrupt.received() => {
                    session.stop();
                    break;
                }
            }
        }
        story.close();
        let ended = session.ended().await?;
        if let Some(launched) = &mut found.launched
            && launched.is_running()
        {
            story.say(&format!("{} keeps running", found.label));
        }
        Ok(ended)
    }

    fn progress(&self, snapshot: &Snapshot) -> String {
        let size = self
            .record_to
            .and_then(|path| std::fs::metadata(path).ok())
            .map(|meta| format!("   {}", human::bytes(meta.len())));
        format!(
            "{}   {} events{}   {}",
            human::elapsed(snapshot.duration()),
            human::rate(snapshot.quality.recent_events, snapshot.window),
            size.unwrap_or_default(),
            lost(snapshot)
        )
    }
}

fn lost(snapshot: &Snapshot) -> String {
    match snapshot.quality.lost_total() {
        0 => "nothing lost".to_owned(),
        count => format!("LOST {}", human::count(count)),
    }
}

/// Fails when more was lost than allowed.
pub(super) fn check_loss(snapshot: &Snapshot, allowed: Option<u64>) -> anyhow::Result<()> {
    let lost = snapshot.quality.lost_total();
    match allowed {
        Some(allowed) if lost > allowed => Err(Failure::TooMuchLost { lost, allowed }.into()),
        Some(_) | None => Ok(()),
    }
}

/// Refuses to replace a file that is not a recording: a slip of the hand must not cost anybody's work.
pub(super) fn may_write(path: &Path) -> anyhow::Result<()> {
    const MCAP: &[u8] = b"\x89MCAP0\r\n";
    let Ok(meta) = std::fs::metadata(path) else {
        return Ok(());
    };
    if !meta.is_file() || meta.len() == 0 {
        return Ok(());
    }
    let mut start = [0; MCAP.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    if read.is_ok() && start == *MCAP {
        Ok(())
    } else {
        Err(Failure::WouldOverwrite(path.to_owned()).into())
    }
}
