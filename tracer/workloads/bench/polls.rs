//! Tasks that do nothing but give way: a poll of one of them is a few dozen nanoseconds, so whatever is done per poll
//! shows.

use std::io;

use tokio::{runtime::Builder, task};

use crate::{Started, count};

const TASKS: u32 = 64;

pub(crate) fn start(_: u16) -> io::Result<Started> {
    // One worker: with two they steal from each other, and a poll's cost varies by a third.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    for _ in 0..TASKS {
        runtime.spawn(give_way());
    }
    Ok(Started {
        port: None,
        runtime: Some(runtime),
    })
}

async fn give_way() {
    loop {
        count();
        task::yield_now().await;
    }
}
