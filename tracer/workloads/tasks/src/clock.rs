//! Reading clocks, and letting time pass on the thread that asks for it.

#![allow(
    unsafe_code,
    reason = "libc is here anyway, as tokio's own dependency, and its calls are unsafe"
)]

use std::{hint, thread, time::Duration};

/// The clock of kernel events.
pub(crate) fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time of the whole process.
pub(crate) fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that lives across the call; the two clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    // Neither clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn own_tid() -> u64 {
    // SAFETY: gettid takes nothing and cannot fail.
    let tid = unsafe { libc::gettid() };
    tid as u64
}

/// Uses the CPU until `ns` have passed by the clock, without a system call.
pub(crate) fn spin(ns: u64) {
    let until = now_ns() + ns;
    while now_ns() < until {
        hint::spin_loop();
    }
}

/// Puts the whole thread to sleep, which no task should do.
#[expect(
    clippy::disallowed_methods,
    reason = "a program that is measured sleeps; nothing waits for anything this way"
)]
pub(crate) fn doze(ns: u64) {
    thread::sleep(Duration::from_nanos(ns));
}
