//! `tracer tasks`: one look at every live task of a process, or at its async functions, without probes.

use std::io::BufWriter;

use clap::Args;

use super::{Failure, target::Target};
use crate::{
    dump::{self, Detail},
    report::dump as shown,
    runtime::cache::Cache,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tracer tasks 4182                    the live tasks by type, with what they are doing
  tracer tasks -n api-server --tree    where each idle task waits, down to the lock, socket or timer
  tracer tasks -n server.js            the async functions of Node.js that wait, and the JavaScript stack
  tracer tasks 4182 --tree --json | jq '.tasks[] | select(.type == \"pay\")'

Reads the memory of the process and loads no probe, so it needs the right to trace the process (the same user, or
cap_sys_ptrace) and nothing else. Works on a process that hangs or is stopped. Where a thread of Node.js runs is taken
from one sample, which takes cap_perfmon, or kernel.perf_event_paranoid of 2 at most. --tree takes a program of tokio's
with debug information: `debug = \"full\"` in its Cargo profile.")]
pub(super) struct Arguments {
    /// A process, by its number or name
    #[arg(value_name = "TARGET", conflicts_with = "target")]
    process: Option<String>,
    #[command(flatten)]
    target: Target,
    /// Show where each idle task waits
    #[arg(long)]
    tree: bool,
    /// Single tasks of a type, or different trees of one, to list
    #[arg(long, value_name = "N", default_value_t = 5)]
    limit: usize,
    /// Types as the compiler names them, and addresses
    #[arg(long)]
    raw: bool,
    /// Addresses too, and every future on the way
    #[arg(short, long)]
    verbose: bool,
    /// For scripts: every task
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let target = match &arguments.process {
        Some(word) => &Target::of_word(word),
        None => &arguments.target,
    };
    if target.is_program() {
        return Err(Failure::Usage("tasks looks at running targets: give a pid or a name").into());
    }
    if !target.is_given() {
        return Err(Failure::Usage("no target: give a pid or a name, -p PID or -n NAME").into());
    }
    let found = target.find(|| Ok(crate::pipeline::launch::Output::Inherit))?;
    let cache = Cache::of_environment();
    let dumps = found
        .pids
        .iter()
        .map(|&pid| dump::look(pid, arguments.tree, &cache))
        .collect::<Result<Vec<_>, _>>()?;
    if arguments.json {
        return super::print_with(|out| {
            let mut out = BufWriter::new(out);
            shown::json(&dumps, &mut out)?;
            std::io::Write::flush(&mut out)
        });
    }
    let detail = Detail {
        limit: arguments.limit,
        raw: arguments.raw,
        verbose: arguments.verbose,
    };
    let texts: Vec<String> = dumps.iter().map(|dump| shown::text(dump, detail)).collect();
    super::print(&texts.join("\n"), None)
}
