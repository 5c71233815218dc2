//! Loops around one cheap system call, made through rustix, which enters the kernel every time.

use std::{fs::File, hint::black_box, io, thread};

use crate::{Started, count};

/// Reads of one byte, which the kernel has at hand.
pub(crate) fn read_loop(_: u16) -> io::Result<Started> {
    let zero = File::open("/dev/zero")?;
    forever("reader", move || {
        let mut byte = [0_u8; 1];
        // A failed read is no operation; /dev/zero has none.
        if rustix::io::read(&zero, &mut byte).is_ok() {
            count();
        }
    })
}

/// The cheapest call there is: what a tracer adds to it is what it adds to every call.
pub(crate) fn getppid(_: u16) -> io::Result<Started> {
    forever("caller", || {
        black_box(rustix::process::getppid());
        count();
    })
}

fn forever(name: &str, mut once: impl FnMut() + Send + 'static) -> io::Result<Started> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            loop {
                once();
            }
        })?;
    Ok(Started::default())
}
