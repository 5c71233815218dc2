//! The project's commands, one file each: `cargo xtask COMMAND`.
//!
//! What is happening goes to stderr; stdout carries results, such as the report of `demo`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for a terminal"
)]
#![forbid(unsafe_code)]

use std::{env, fmt::Display, process::ExitCode};

use anyhow::Result;

mod bench;
mod build;
mod demo;
mod picture;
mod privilege;
mod quiet;
mod setup;
mod story;
mod tally;
mod test;
mod workload;
mod workspace;

struct Command {
    usage: &'static str,
    does: &'static str,
    run: fn(&[String]) -> Result<ExitCode>,
}

const COMMANDS: [Command; 6] = [
    Command {
        usage: "setup [--all]",
        does: "install what building and testing need; --all: and what only benchmarks attach to",
        run: setup::command,
    },
    Command {
        usage: "build",
        does: "set up, then build target/release/tracer",
        run: build::command,
    },
    Command {
        usage: "demo [node|tokio]",
        does: "set up, build, start a workload and watch it (default: node)",
        run: demo::command,
    },
    Command {
        usage: "test [--ci] [ARGS]",
        does: "set up, then check and test everything; ARGS go to cargo test",
        run: test::command,
    },
    Command {
        usage: "bench [OPTIONS]",
        does: "set up, build and measure what attaching costs; --help lists the options",
        run: bench::command,
    },
    Command {
        usage: "picture",
        does: "build and run the example that draws the screens",
        run: picture::command,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print!("{}", help());
        return ExitCode::SUCCESS;
    };
    if ["help", "--help", "-h"].contains(&name.as_str()) {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS
        .iter()
        .find(|command| command.usage.split(' ').next() == Some(name))
    else {
        return usage_error(format_args!("there is no command `{name}`"));
    };
    (command.run)(rest).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Says what is wrong with the arguments, and which there are.
fn usage_error(what: impl Display) -> ExitCode {
    eprint!("error: {what}\n\n{}", help());
    ExitCode::from(2)
}

fn help() -> String {
    let lines = COMMANDS
        .iter()
        .map(|command| format!("  {:20}{}\n", command.usage, command.does));
    format!("cargo xtask COMMAND\n\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_has_one_line_per_command() {
        let help = help();
        for command in &COMMANDS {
            let lines = help
                .lines()
                .filter(|line| line.contains(command.usage) && line.contains(command.does));
            assert_eq!(lines.count(), 1, "{}", command.usage);
        }
    }
}
