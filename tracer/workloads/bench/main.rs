//! The programs that `cargo xtask bench` measures: each does one small thing as fast as it can, and counts how often.
//!
//! A line on stdin is answered with the count so far; the end of stdin ends the program. Counting is one addition to a
//! number in memory, so that the count costs no system call that a tracer would see.

#![forbid(unsafe_code)]

mod calls;
mod churn;
mod convoy;
mod http;

use std::{
    io::{self, BufRead, Write},
    process::{self, ExitCode},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// How often it was done. One number, because a program here does one thing.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

/// One operation was done.
fn count() {
    OPERATIONS.fetch_add(1, Ordering::Relaxed);
}

/// What was started. Its threads run until the process ends; a runtime only as long as somebody keeps it.
#[derive(Default)]
struct Started {
    port: Option<u16>,
    runtime: Option<Runtime>,
}

struct Verb {
    name: &'static str,
    /// A port, where the program takes one.
    argument: &'static str,
    does: &'static str,
    start: fn(u16) -> io::Result<Started>,
}

// One line a program, so that it reads as the table it is.
#[rustfmt::skip]
const VERBS: &[Verb] = &[
    Verb { name: "load", argument: "PORT", does: "ask an HTTP server over 64 connections without a pause", start: http::load },
    Verb { name: "futex-convoy", argument: "", does: "four threads on one CPU take turns, one wake and one wait each", start: convoy::start },
    Verb { name: "read-loop", argument: "", does: "read /dev/zero byte by byte", start: calls::read_loop },
    Verb { name: "getppid", argument: "", does: "call getppid in a loop", start: calls::getppid },
    Verb { name: "churn", argument: "", does: "start threads and wait for their end, two at a time", start: churn::start },
    Verb { name: "idle", argument: "", does: "nothing at all", start: |_| Ok(Started::default()) },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, port)) = parse(&arguments) else {
        let _gone = io::stderr().lock().write_all(usage().as_bytes());
        return ExitCode::from(2);
    };
    match (verb.start)(port) {
        Ok(started) => {
            // The only error left is a reader that has gone away, and then there is nobody to tell.
            let _gone = answer(verb, &started);
            if let Some(runtime) = started.runtime {
                runtime.shutdown_background();
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            let _gone = writeln!(io::stderr().lock(), "{}: {why}", verb.name);
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: &[String]) -> Option<(&'static Verb, u16)> {
    let (name, rest) = arguments.split_first()?;
    let verb = VERBS.iter().find(|verb| verb.name == name)?;
    match rest {
        [] if verb.argument.is_empty() => Some((verb, 0)),
        [port] if !verb.argument.is_empty() => Some((verb, port.parse().ok()?)),
        [..] => None,
    }
}

fn usage() -> String {
    let lines = VERBS.iter().map(|verb| {
        let call = format!("{} {}", verb.name, verb.argument);
        format!("  {call:<18} {}\n", verb.does)
    });
    format!("usage: bench PROGRAM\n{}", lines.collect::<String>())
}

/// Says that it is ready, answers each line, and says the last word at the end of stdin.
fn answer(verb: &Verb, started: &Started) -> io::Result<()> {
    say(&json!({
        "event": "ready",
        "program": verb.name,
        "pid": process::id(),
        "port": started.port,
        "at_ns": clock_ns(ClockId::Monotonic),
    }))?;
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    // An unreadable stdin is one that has ended.
    while input
        .read_until(b'\n', &mut line)
        .is_ok_and(|bytes| bytes > 0)
    {
        line.clear();
        tell(false)?;
    }
    tell(true)
}

fn tell(last: bool) -> io::Result<()> {
    say(&json!({
        "event": "truth",
        "final": last,
        "operations": OPERATIONS.load(Ordering::Relaxed),
        "cpu_ns": clock_ns(ClockId::ProcessCPUTime),
        "at_ns": clock_ns(ClockId::Monotonic),
    }))
}

fn say(fields: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{fields}")?;
    output.flush()
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither the monotonic nor a CPU clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
