//! Reading clocks, letting time pass, and one thread between two readings.

use std::hint::black_box;

use rustix::thread::NanosleepRelativeResult;
use rustix::time::{ClockId, Timespec, clock_gettime};
use serde_json::{Value, json};

use crate::threads::own_tid;

/// The clock of every event the kernel reports.
pub(crate) fn now_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

pub(crate) fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither the monotonic nor a CPU clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

pub(crate) fn timespec(ms: u32) -> Timespec {
    Timespec {
        tv_sec: i64::from(ms / 1000),
        tv_nsec: i64::from(ms % 1000) * 1_000_000,
    }
}

pub(crate) fn nanosleep(ms: u32) {
    match rustix::thread::nanosleep(&timespec(ms)) {
        // No handler is installed, so an interruption ends the process or restarts the call in the kernel; and the
        // caller says how long it really was.
        NanosleepRelativeResult::Ok
        | NanosleepRelativeResult::Interrupted(_)
        | NanosleepRelativeResult::Err(_) => {}
    }
}

pub(crate) fn use_cpu(ms: u32) {
    let until = clock_ns(ClockId::ThreadCPUTime) + u64::from(ms) * 1_000_000;
    while clock_ns(ClockId::ThreadCPUTime) < until {
        // Tens of microseconds of arithmetic: reading the clock is a syscall and must stay the smaller part.
        let mut state = 1_u64;
        for _ in 0..10_000 {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
        }
    }
}

/// Spins until the monotonic clock says so: no system call is made.
pub(crate) fn spin_until(ns: u64) {
    while now_ns() < ns {
        std::hint::spin_loop();
    }
}

/// The moments before and after.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (u64, T, u64) {
    let before = now_ns();
    let value = work();
    (before, value, now_ns())
}

/// One thread between two readings of its own clocks.
pub(crate) struct Span {
    pub(crate) tid: i32,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) cpu_ns: u64,
}

impl Span {
    pub(crate) fn wall_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }

    pub(crate) fn answer(&self, did: &str) -> Value {
        json!({
            "did": did,
            "tid": self.tid,
            "cpu_ns": self.cpu_ns,
            "wall_ns": self.wall_ns(),
            "start_ns": self.start_ns,
            "end_ns": self.end_ns,
        })
    }
}

pub(crate) fn observe(work: impl FnOnce()) -> Span {
    let tid = own_tid();
    // The CPU readings are the inner ones, so that no thread uses more than there was.
    let start_ns = now_ns();
    let cpu_before = clock_ns(ClockId::ThreadCPUTime);
    work();
    let cpu_ns = clock_ns(ClockId::ThreadCPUTime) - cpu_before;
    let end_ns = now_ns();
    Span {
        tid,
        start_ns,
        end_ns,
        cpu_ns,
    }
}
