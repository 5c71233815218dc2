//! What people type, and what becomes of it: one file per subcommand, wiring only.

mod completions;
mod doctor;
mod explain;
pub mod failure;
mod man;
mod record;
mod replay;
mod report;
mod story;
mod target;
mod tasks;
mod top;

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

pub use failure::Failure;

use crate::{bpf::probes::Group, pipeline::launch};

/// Attach to a running Node or tokio process and see where its time and memory go.
#[derive(Debug, Parser)]
#[command(
    name = "tracer",
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_usage = "tracer -p PID[,PID…] | -n NAME | -- CMD [ARGS…]\n       tracer COMMAND [OPTIONS]",
    after_help = "\
Examples:
  tracer -p 4182                          the live dashboard on process 4182 and its children
  tracer -n server.js                     the same, by the name of the program or script
  tracer -- node server.js                start a program and watch it from its first instruction
  tracer report -p 4182 -d 10s            ten seconds, then a report
  tracer record -p 4182 -o slow.mcap      record until Ctrl-C
  tracer report slow.mcap --json          the report of a recording, for scripts
  tracer tasks 4182 --tree                one look at every live tokio task, and where it waits
  tracer doctor -p 4182                   what this kernel, these rights and this target allow

The target is only read: it is never stopped, signalled, written to or injected into.

Exit status:
  0  good
  2  usage, or an output that cannot be written
  3  a privilege is missing
  4  the kernel lacks something
  5  target not found, or gone before attaching
  6  recording damaged or unsupported
  7  more was lost than --max-loss allows"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    top: top::Arguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The live dashboard (the same as `tracer` without a command)
    Top(top::Arguments),
    /// Record without a screen, to look at later
    Record(record::Arguments),
    /// The dashboard over a recording, with pause, seek and speed
    Replay(replay::Arguments),
    /// The report of a recording, or of a process after some time
    Report(report::Arguments),
    /// One look at every live tokio task: what it is doing, and where it waits
    Tasks(tasks::Arguments),
    /// What findings mean, how they are made, and what to do
    Explain(explain::Arguments),
    /// What this kernel, these rights and a target allow, probe by probe
    Doctor(doctor::Arguments),
    /// Print completions for a shell
    Completions(completions::Arguments),
    /// Print the manual page
    Man,
}

/// Which probes, how often, what is said.
#[derive(Debug, Args)]
struct Tracing {
    /// Time between two readings of the counters
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Which probes: `light` hooks no system call and no function of the target, `default` does, as long as it stays
    /// within the limit, `full` sends each system call too (about 0.2 µs more per call, and tens of bytes in a recording)
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    profile: Profile,
    /// Switch a group of probes on (process, sched, lock, stack, sample, syscall, timing, io, memory, task, wake, gc,
    /// pool, callback, promise, calls). `promise` counts what JavaScript awaits, and is in no profile: if Node's program
    /// file is deleted or replaced while it is watched, a new worker thread may end the process
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = group)]
    with: Vec<Group>,
    /// Switch a group of probes off (lock, stack, sample, syscall, timing, io, memory, task, wake, gc, pool, callback,
    /// calls)
    #[arg(long, value_name = "GROUP", value_delimiter = ',', value_parser = optional_group)]
    without: Vec<Group>,
    /// The share of the target's CPU time (or of half a CPU, where it uses less) that probes may cost; above it, groups
    /// are switched off and on: first timing, then syscall, then lock, then sample. `none` for no limit
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = overhead)]
    max_overhead: Overhead,
    /// Do not trace child processes
    #[arg(long)]
    no_children: bool,
    /// Size of the kernel's event buffer in KiB, a power of two
    #[arg(long, value_name = "KIB", value_parser = ring_bytes, hide_short_help = true)]
    ring_kib: Option<u32>,
    /// The kernel's type information, for kernels that do not publish it
    #[arg(long, value_name = "FILE", default_value = crate::bpf::btf::KERNEL, hide_short_help = true)]
    btf: PathBuf,
    /// Say more; twice: the kernel side's debug lines too
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Say nothing but the result and errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Write what -v says into a file
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Profile {
    Light,
    Default,
    Full,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Default => "default",
            Self::Full => "full",
        }
    }

    fn groups(self) -> Vec<Group> {
        match self {
            Self::Light => Group::LIGHT.to_vec(),
            Self::Default => Group::DEFAULT.to_vec(),
            Self::Full => Group::full(),
        }
    }
}

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether to colour what goes to a terminal.
    fn on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }
}

impl Tracing {
    fn live_options(&self) -> crate::source::live::Options {
        let mut groups = self.profile.groups();
        groups.extend(
            self.with
                .iter()
                .copied()
                .filter(|group| !self.profile.groups().contains(group)),
        );
        groups.retain(|group| !self.without.contains(group));
        crate::source::live::Options {
            bpf: crate::bpf::Options {
                groups,
                ring_bytes: self.ring_kib,
                btf: self.btf.clone(),
                debug: self.verbose >= 2,
                ..crate::bpf::Options::default()
            },
            follow_children: !self.no_children,
            interval: tracer_common::Nanos(
                u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX),
            ),
            profile: self.profile.name().to_owned(),
            max_overhead: self.max_overhead.0,
        }
    }
}

/// Parses the command line and runs what was asked for. A command line that cannot be parsed, and `--help`, end the
/// process here.
///
/// # Errors
/// A [`Failure`] somewhere in the chain says which exit status it is.
pub fn run() -> anyhow::Result<()> {
    // Not a subcommand: it is nobody's but ours, and must not appear in completions.
    if let Some(waiting) = launch::waiting_child(std::env::args_os()) {
        let command = waiting.command.clone();
        return waiting
            .become_it()
            .map_err(|source| Failure::CannotRun { command, source }.into());
    }
    crate::target::sys::one_arena();
    let cli = Cli::parse();
    match cli.command {
        None => top::run(cli.top),
        Some(Command::Top(arguments)) => top::run(arguments),
        Some(Command::Record(arguments)) => record::run(&arguments),
        Some(Command::Replay(arguments)) => replay::run(arguments),
        Some(Command::Report(arguments)) => report::run(arguments),
        Some(Command::Tasks(arguments)) => tasks::run(&arguments),
        Some(Command::Explain(arguments)) => explain::run(&arguments),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments),
        Some(Command::Completions(arguments)) => completions::run(&arguments),
        Some(Command::Man) => man::run(),
    }
}

/// The whole command line, for completions and the manual page.
fn command() -> clap::Command {
    Cli::command()
}

fn duration(word: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
    let parsed = humantime::parse_duration(word)
        .map_err(|error| format!("{error}; write it as `500ms`, `10s` or `2m`"))?;
    if parsed.is_zero() {
        return Err("must be longer than nothing".into());
    }
    if parsed > LONGEST {
        return Err("must not be longer than a year".into());
    }
    Ok(parsed)
}

/// A share of CPU time, or none.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Overhead(Option<f64>);

fn overhead(word: &str) -> Result<Overhead, String> {
    if word == "none" {
        return Ok(Overhead(None));
    }
    let share = match word.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => word.parse(),
    };
    match share {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(Overhead(Some(share))),
        Ok(_) | Err(_) => Err("must be a share such as `2%` or `0.02`, or `none`".into()),
    }
}

fn interval(word: &str) -> Result<Duration, String> {
    let parsed = duration(word)?;
    if parsed < Duration::from_millis(20) {
        return Err("must be at least 20ms: reading all counters takes time too".into());
    }
    Ok(parsed)
}

fn group(word: &str) -> Result<Group, String> {
    Group::by_name(word).ok_or_else(|| {
        let names: Vec<&str> = Group::ALL.iter().map(|group| group.name()).collect();
        format!("no such group; there are {}", names.join(", "))
    })
}

fn optional_group(word: &str) -> Result<Group, String> {
    let group = group(word)?;
    if group.is_required() {
        Err("nothing works without this group".into())
    } else {
        Ok(group)
    }
}

fn ring_bytes(word: &str) -> Result<u32, String> {
    let kib: u32 = word.parse().map_err(|_error| "must be a number of KiB")?;
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    kib.checked_mul(1024)
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= page && *bytes <= 1 << 30)
        .ok_or_else(|| format!("must be a power of two from {} to 1048576", page / 1024))
}

/// Writes a result to a file or to stdout. A reader that went away early (`| head`) is no failure.
fn print(text: &str, output: Option<&std::path::Path>) -> anyhow::Result<()> {
    if let Some(path) = output {
        let what = path.display().to_string();
        return std::fs::write(path, text)
            .map_err(|source| Failure::Output { what, source }.into());
    }
    print_with(|stdout| stdout.write_all(text.as_bytes()))
}

/// The same for what is made while it is written.
fn print_with(
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match write(&mut stdout).and_then(|()| std::io::Write::flush(&mut stdout)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Output {
            what: "stdout".into(),
            source: error,
        }
        .into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Sends log lines to a file, or to stderr, as loud as `-v` says. Silent otherwise.
fn log(tracing: &Tracing) -> anyhow::Result<()> {
    let level = match tracing.verbose {
        0 if tracing.log_file.is_none() => return Ok(()),
        0 | 1 => log::LevelFilter::Info,
        _ => log::LevelFilter::Debug,
    };
    let target = match &tracing.log_file {
        Some(path) => {
            let what = path.display().to_string();
            let file =
                std::fs::File::create(path).map_err(|source| Failure::Output { what, source })?;
            env_logger::Target::Pipe(Box::new(file))
        }
        None => env_logger::Target::Stderr,
    };
    // A second call in one process changes nothing; there is none.
    let _ = env_logger::Builder::new()
        .filter_module("tracer", level)
        .target(target)
        .try_init();
    Ok(())
}
