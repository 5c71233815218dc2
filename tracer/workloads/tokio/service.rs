//! A tokio service with faults planted in it, which counts them itself: what a tracer attached to it should find.
//!
//! This file starts the parts and prints the truth. It prints from the main thread, which is no worker, so that a reader who
//! is slow stalls nothing but the printing.

#![forbid(unsafe_code)]
#![expect(
    clippy::disallowed_methods,
    reason = "a program that is measured has clocks and sleeps of its own"
)]

mod crew;
mod load;
mod plants;
mod routes;
mod truth;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;
use tokio::runtime::Builder;

use crew::Crew;
use truth::{Line, Truth};

const USAGE: &str = "usage: tokio-service [--port N] [--load]\n";
const WORKERS: usize = 2;
const EVERY: Duration = Duration::from_secs(1);

/// What the arguments ask for.
struct Asked {
    /// Zero lets the kernel choose.
    port: u16,
    load: bool,
}

fn main() -> ExitCode {
    let Some(asked) = parse(std::env::args_os().skip(1)) else {
        return refuse(USAGE, 2);
    };
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, asked.port)) {
        Ok(listener) => listener,
        Err(why) => return refuse(&format!("listen on port {}: {why}\n", asked.port), 1),
    };
    match run(asked.load, listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => refuse(&format!("{why}\n"), 1),
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Asked> {
    let mut asked = Asked {
        port: 0,
        load: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "--port" => asked.port = arguments.next()?.to_str()?.parse().ok()?,
            "--load" => asked.load = true,
            _ => return None,
        }
    }
    Some(asked)
}

fn refuse(why: &str, code: u8) -> ExitCode {
    let _gone = io::stderr().lock().write_all(why.as_bytes());
    ExitCode::from(code)
}

/// Fails only before the ready line.
fn run(with_load: bool, listener: TcpListener) -> io::Result<()> {
    let started = Instant::now();
    let port = listener.local_addr()?.port();
    let truth = Arc::new(Truth::default());
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("tokio-worker")
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();

    let entered = runtime.enter();
    routes::serve(listener, &truth)?;
    plants::spawn(&truth);
    drop(entered);
    let writers = plants::start_ledger_threads(&truth)?;
    let load = if with_load {
        load::start(port, &truth)?
    } else {
        Crew::default()
    };
    let ended = end_of_input()?;

    let tell = |last| say(&Line::read(&truth, &handle, started, last));
    let ready = json!({
        "event": "ready",
        "program": "tokio-service",
        "pid": process::id(),
        "host": "127.0.0.1",
        "port": port,
        "workers": WORKERS,
        "load": with_load,
        "at_ns": truth::now_ns(),
    });
    let read = say(&ready).and_then(|()| tell_each_second(&ended, || tell(false)));

    // From the outside in, so that the last line counts all there ever was: the load would fail without the service, and a
    // poll under way runs to its end before the runtime is gone.
    load.stop();
    runtime.shutdown_timeout(Duration::from_secs(2));
    writers.stop();
    if read.is_ok() {
        let _gone = tell(true);
    }
    Ok(())
}

/// Returns at the end of stdin, or with the error of a reader who has gone away.
fn tell_each_second(
    ended: &mpsc::Receiver<()>,
    mut tell: impl FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut next = Instant::now() + EVERY;
    loop {
        match ended.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Err(RecvTimeoutError::Timeout) => tell()?,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        next += EVERY;
    }
}

/// A channel that speaks or closes when stdin ends. Reading is left to a thread of its own: tokio's stdin would keep one of the
/// blocking threads, which the truth is about.
fn end_of_input() -> io::Result<mpsc::Receiver<()>> {
    let (tell, ended) = mpsc::channel();
    thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // What is said on stdin means nothing, and an unreadable one has ended.
            let _read = io::copy(&mut io::stdin().lock(), &mut io::sink());
            drop(tell);
        })?;
    Ok(ended)
}

fn say(line: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}
