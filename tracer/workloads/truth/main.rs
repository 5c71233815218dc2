//! The program the kernel tests measure: it does exactly what it is told and says exactly what it did.
//!
//! One command per line on stdin, one JSON object per line on stdout. It never does two things at once (what a command
//! leaves behind, threads asleep or things kept open, does nothing until a later command ends it), and it enters the
//! kernel through rustix, which on this platform is the bare instruction: no libc wrapper that caches an answer or picks
//! another syscall.

#![deny(unsafe_code)]

use std::io::{self, BufRead, Write};
use std::process::{self, ExitCode};

use serde_json::{Value, json};

use clock::now_ns;
use threads::own_tid;
use verbs::{Session, VERBS};

mod calls;
mod clock;
mod convoy;
mod cpu;
mod crowd;
mod files;
mod futex;
#[allow(
    unsafe_code,
    reason = "mapping memory is unsafe in rustix; all of it is in this file"
)]
mod mapping;
mod memory;
mod network;
mod numbers;
mod polling;
mod rendezvous;
mod threads;
mod verbs;

/// What a command answers: the fields of its line, or why it could not be done.
type Answer = Result<Value, String>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [] => {
            // The only error left is a reader that has gone away, and then there is nobody to tell.
            let _gone = serve(io::stdin().lock(), io::stdout().lock());
            ExitCode::SUCCESS
        }
        // A child of `fork`: nothing but the end of the process.
        [only] if only == "exit0" => ExitCode::SUCCESS,
        [..] => {
            let _gone = io::stderr().lock().write_all(usage().as_bytes());
            ExitCode::from(2)
        }
    }
}

fn usage() -> String {
    let mut text =
        String::from("usage: truth   (takes no arguments; one command per line on stdin)\n");
    for verb in VERBS {
        let call = format!("{} {}", verb.name, verb.argument);
        text.push_str(&format!("  {call:<24} {}\n", verb.does));
    }
    let names: Vec<_> = calls::CHEAP.iter().map(|cheap| cheap.name).collect();
    text.push_str(&format!(
        "  NAME of syscalls is one of: {}\n",
        names.join(", ")
    ));
    text
}

fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut session = Session {
        main_tid: own_tid(),
        ..Session::default()
    };
    let mut answered = 0_u64;
    let mut refused = 0_u64;
    let ready = json!({
        "event": "ready",
        "program": "truth",
        "pid": process::id(),
        "tid": session.main_tid,
        "at_ns": now_ns(),
    });
    say(&mut output, &ready)?;

    let mut line = Vec::new();
    while read_line(&mut input, &mut line) {
        let text = String::from_utf8_lossy(&line);
        let (name, argument) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        if name.is_empty() {
            continue;
        }
        let answer = match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(&mut session, argument.trim()),
            None => Err("unknown command".to_owned()),
        };
        let answer = match answer {
            Ok(fields) => {
                answered += 1;
                fields
            }
            Err(why) => {
                refused += 1;
                json!({ "error": why, "command": text.trim() })
            }
        };
        say(&mut output, &answer)?;
    }

    let mut last = cpu::clock_fields(session.main_tid);
    last["event"] = "truth".into();
    last["final"] = true.into();
    last["answered"] = answered.into();
    last["refused"] = refused.into();
    say(&mut output, &last)
}

/// False at the end of input; an unreadable stdin is one that has ended.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> bool {
    line.clear();
    input.read_until(b'\n', line).is_ok_and(|bytes| bytes > 0)
}

fn say(output: &mut impl Write, fields: &Value) -> io::Result<()> {
    writeln!(output, "{fields}")?;
    output.flush()
}
