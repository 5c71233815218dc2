//! Threads that are born and end at once: each is two events and one more name to remember, which is what fills a
//! tracer's memory.

use std::{hint::black_box, io, thread};

use crate::{Started, count};

const STARTERS: u32 = 2;

pub(crate) fn start(_: u16) -> io::Result<Started> {
    for number in 0..STARTERS {
        let starter = thread::Builder::new().name(format!("starter-{number}"));
        starter.spawn(|| {
            loop {
                let born = thread::Builder::new().name("mayfly".to_owned());
                let thread = born.spawn(|| black_box(rustix::process::getppid()));
                // Where the limit on threads is reached, the next attempt finds room.
                if thread.is_ok_and(|thread| thread.join().is_ok()) {
                    count();
                }
            }
        })?;
    }
    Ok(Started::default())
}
