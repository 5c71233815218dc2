//! Tasks on a tokio runtime that know their own numbers: what a tracer attached to this process should find.
//!
//! One command per line on stdin, one JSON object per line on stdout. It is compiled against several versions of tokio and in
//! several ways, so it uses what the oldest has, and little else.

#![deny(unsafe_code)]

use std::{
    io::{self, BufRead, Write},
    process::{self, ExitCode},
    thread,
};

use tokio::{runtime::Runtime, sync::mpsc, task::LocalSet};

use clock::{now_ns, own_tid};
use json::Object;
use runtimes::Flavour;
use verbs::{Session, VERBS};

mod clock;
mod counted;
mod json;
mod kind;
mod parked;
mod pool;
mod runtimes;
mod script;
mod slow;
mod spread;
mod stamped;
mod steady;
mod verbs;
mod wakes;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the arguments ask for.
struct Asked {
    flavour: Flavour,
    workers: u64,
    blocking_threads: u64,
    /// A second runtime in the same process, with one worker.
    second: bool,
}

fn main() -> ExitCode {
    let Some(asked) = parse(std::env::args().skip(1)) else {
        let _gone = io::stderr().lock().write_all(usage().as_bytes());
        return ExitCode::from(2);
    };
    match run(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let _gone = writeln!(io::stderr().lock(), "{why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked {
        flavour: Flavour::MultiThread,
        workers: 2,
        blocking_threads: 512,
        second: false,
    };
    let at_least_one = |number: String| number.parse().ok().filter(|number| *number > 0);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--runtime" => asked.flavour = Flavour::of_name(&arguments.next()?)?,
            "--workers" => asked.workers = at_least_one(arguments.next()?)?,
            "--blocking-threads" => asked.blocking_threads = at_least_one(arguments.next()?)?,
            "--second" => asked.second = true,
            _ => return None,
        }
    }
    // A current_thread runtime works on the thread that runs it.
    if asked.flavour != Flavour::MultiThread {
        asked.workers = 1;
    }
    Some(asked)
}

fn usage() -> String {
    let mut text = String::from(
        "usage: tasks [--runtime multi_thread|current_thread|local] [--workers N] [--blocking-threads N] [--second]\n",
    );
    for verb in VERBS {
        let call = format!("{} {}", verb.name, verb.argument);
        text.push_str(&format!("  {call:<20} {}\n", verb.does));
    }
    text
}

fn run(asked: &Asked) -> io::Result<()> {
    let (runtime, told) = runtimes::build(asked.flavour, asked.workers, asked.blocking_threads)?;
    let mut session = Session {
        handles: vec![runtime.handle().clone()],
        runtimes: vec![told],
        is_local: asked.flavour == Flavour::Local,
        is_multi_thread: asked.flavour == Flavour::MultiThread,
        workers: asked.workers,
        blocking_threads: asked.blocking_threads,
        load: None,
        idlers: Vec::new(),
        parked: None,
    };
    let second = if asked.second {
        let (second, told) = runtimes::build(Flavour::MultiThread, 1, asked.blocking_threads)?;
        session.handles.push(second.handle().clone());
        session.runtimes.push(told);
        Some(second)
    } else {
        None
    };
    let lines = lines()?;

    let ready = Object::default()
        .with("event", "ready")
        .with("program", "tasks")
        .with("pid", u64::from(process::id()))
        .with("tid", own_tid())
        // The package of each build has the version of the tokio it is built against.
        .with("tokio", env!("CARGO_PKG_VERSION"))
        .with("runtime", asked.flavour.name())
        .with("at_ns", now_ns());
    let serving = async {
        say(&ready)?;
        serve(&mut session, lines).await?;
        say(&session.truth(true))
    };
    // The only error left is a reader that has gone away, and then there is nobody to tell.
    let _gone = if asked.flavour == Flavour::Local {
        LocalSet::new().block_on(&runtime, serving)
    } else {
        runtime.block_on(serving)
    };
    [Some(runtime), second]
        .into_iter()
        .flatten()
        .for_each(Runtime::shutdown_background);
    Ok(())
}

async fn serve(
    session: &mut Session,
    mut lines: mpsc::UnboundedReceiver<String>,
) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        let text = line.trim();
        let (name, argument) = text.split_once(' ').unwrap_or((text, ""));
        let name = if name.is_empty() { "truth" } else { name };
        let answer = match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(session, argument.trim()).await,
            None => Err("unknown command".to_owned()),
        };
        let answer =
            answer.unwrap_or_else(|why| Object::default().with("error", why).with("command", text));
        say(&answer)?;
    }
    Ok(())
}

/// The lines of stdin. A thread of its own reads them, because tokio's stdin would keep one of the blocking threads, which
/// the truth is about.
fn lines() -> io::Result<mpsc::UnboundedReceiver<String>> {
    let (tell, lines) = mpsc::unbounded_channel();
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // An unreadable stdin is one that has ended.
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(lines)
}

fn say(object: &Object) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(object.line().as_bytes())?;
    output.flush()
}
