//! Programs for `cargo xtask bench` that exist three times: as they are, and with each of two libraries that watch a tokio
//! runtime from inside. What differs is how a runtime is built; the rest is here.
//!
//! As in `bench`, a line on stdin is answered with the count so far, and the end of stdin ends the program.

use std::{
    io::{self, BufRead, Write},
    net::{Ipv4Addr, TcpListener},
    process::{self, ExitCode},
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{Router, routing::get};
use tokio::{
    runtime::{Builder, Runtime},
    task,
};

use crate::{
    clock::{now_ns, process_cpu_ns},
    json::Object,
};

const SERVER_WORKERS: usize = 2;

/// Tasks that do nothing but give way.
const YIELDERS: u32 = 64;

/// Tasks that a server starts for each request.
const SPAWNED: usize = 4;

/// How often it was done. One number, because a program here does one thing.
static OPERATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    OPERATIONS.fetch_add(1, Ordering::Relaxed);
}

/// Builds a runtime that is watched.
pub(crate) type Watch = fn(Builder) -> io::Result<Runtime>;

type Start = fn(Watch, u16) -> io::Result<(Runtime, Option<u16>)>;

struct Verb {
    name: &'static str,
    argument: &'static str,
    does: &'static str,
    start: Start,
}

// One line a program, so that it reads as the table it is.
#[rustfmt::skip]
const VERBS: &[Verb] = &[
    Verb { name: "axum-hello", argument: "PORT", does: "answer HTTP requests with a word (0: any port)", start: |watch, port| serve(watch, port, Router::new().route("/", get(hello))) },
    Verb { name: "axum-spawn", argument: "PORT", does: "the same, with four new tasks for each request", start: |watch, port| serve(watch, port, Router::new().route("/", get(hello_from_tasks))) },
    Verb { name: "polls", argument: "", does: "64 tasks that yield on one worker", start: polls },
];

/// The whole program. `name` is how it calls itself.
pub(crate) fn run(name: &str, watch: Watch) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((verb, port)) = parse(&arguments) else {
        let _gone = io::stderr().lock().write_all(usage(name).as_bytes());
        return ExitCode::from(2);
    };
    match (verb.start)(watch, port) {
        Ok((runtime, port)) => {
            // The only error left is a reader that has gone away, and then there is nobody to tell.
            let _gone = answer(name, verb, port);
            runtime.shutdown_background();
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

fn usage(name: &str) -> String {
    let lines = VERBS.iter().map(|verb| {
        let call = format!("{} {}", verb.name, verb.argument);
        format!("  {call:<18} {}\n", verb.does)
    });
    format!("usage: {name} PROGRAM\n{}", lines.collect::<String>())
}

fn serve(watch: Watch, port: u16, service: Router) -> io::Result<(Runtime, Option<u16>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let port = listener.local_addr()?.port();
    listener.set_nonblocking(true)?;
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(SERVER_WORKERS).enable_all();
    let runtime = watch(builder)?;
    let entered = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(entered);
    runtime.spawn(async { axum::serve(listener, service).await });
    Ok((runtime, Some(port)))
}

async fn hello() -> &'static str {
    count();
    "hello\n"
}

async fn hello_from_tasks() -> &'static str {
    let tasks = [(); SPAWNED].map(|()| tokio::spawn(task::yield_now()));
    for task in tasks {
        // They do not panic and nobody aborts them.
        let _ended = task.await;
    }
    count();
    "hello\n"
}

fn polls(watch: Watch, _: u16) -> io::Result<(Runtime, Option<u16>)> {
    let mut builder = Builder::new_multi_thread();
    // One worker: with two they steal from each other, and a poll's cost varies by a third.
    builder.worker_threads(1).enable_all();
    let runtime = watch(builder)?;
    for _ in 0..YIELDERS {
        runtime.spawn(give_way());
    }
    Ok((runtime, None))
}

async fn give_way() {
    loop {
        count();
        task::yield_now().await;
    }
}

/// Says that it is ready, answers each line, and says the last word at the end of stdin.
fn answer(name: &str, verb: &Verb, port: Option<u16>) -> io::Result<()> {
    let ready = Object::default()
        .with("event", "ready")
        .with("program", verb.name)
        .with("watched", name)
        .with("pid", u64::from(process::id()))
        .with("port", port.map(u64::from))
        .with("at_ns", now_ns());
    say(&ready)?;
    // An unreadable stdin is one that has ended.
    for _line in io::stdin().lock().lines().map_while(Result::ok) {
        tell(false)?;
    }
    tell(true)
}

fn tell(last: bool) -> io::Result<()> {
    let truth = Object::default()
        .with("event", "truth")
        .with("final", last)
        .with("operations", OPERATIONS.load(Ordering::Relaxed))
        .with("cpu_ns", process_cpu_ns())
        .with("at_ns", now_ns());
    say(&truth)
}

fn say(object: &Object) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(object.line().as_bytes())?;
    output.flush()
}
