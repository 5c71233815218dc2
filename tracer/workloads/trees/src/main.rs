//! Tasks that wait in every way there is. Each says which functions it stands in and at which lines; when all of them
//! wait, that is printed, then `ready`. Ends when its standard input does. With `stuck`, some wait for each other too.

#![forbid(unsafe_code)]

mod branches;
mod channels;
mod locks;
mod others;
mod stuck;
mod truth;

use std::io::{Read as _, Write as _};

use tokio::runtime::Builder;

fn main() -> std::io::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _running = runtime.enter();
    locks::start();
    channels::start();
    others::start();
    branches::start();
    if std::env::args().any(|argument| argument == "stuck") {
        stuck::start();
    }
    others::start_local();
    let yielding = others::start_yielding();
    truth::wait_until_all_are_parked();
    let mut out = std::io::stdout().lock();
    out.write_all(truth::lines().as_bytes())?;
    out.write_all(b"ready\n")?;
    out.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(yielding);
    runtime.shutdown_background();
    Ok(())
}
