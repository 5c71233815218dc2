//! Threads of ours: starting, joining to the very end, and seeing where one sleeps.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::{self, JoinHandle};

use syscalls::Sysno;

/// A thread of ours, and the tid it had.
pub(crate) type Thread<T> = JoinHandle<(i32, T)>;

pub(crate) fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_pid()
}

pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, String> {
    start_with(thread::Builder::new(), name, work)
}

/// As `start`, with a stack that fits a few thousand times.
pub(crate) fn start_small<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, String> {
    start_with(thread::Builder::new().stack_size(64 << 10), name, work)
}

fn start_with<T: Send + 'static>(
    builder: thread::Builder,
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Thread<T>, String> {
    builder
        .name(name.to_owned())
        .spawn(move || (own_tid(), work()))
        .map_err(|why| format!("start thread {name}: {why}"))
}

/// Joins, and waits until the kernel has let go of the thread as well: a join returns when the thread gives up the address
/// space, which is some way before the end of its exit, where its last scheduler events are.
pub(crate) fn finish<T>(thread: Thread<T>) -> Result<T, String> {
    let (tid, value) = thread
        .join()
        .map_err(|_panic| "the thread panicked".to_owned())?;
    // Bare looking, without a sleep or a yield: those are calls that the tests count.
    let entry = PathBuf::from(format!("/proc/self/task/{tid}"));
    while entry.exists() {}
    Ok(value)
}

/// The letter the kernel gives for a thread of this process; `None` when there is no such thread.
pub(crate) fn state_of(tid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
    stat_fields(&stat)?.next()?.chars().next()
}

/// The fields of a `stat` line from the third on. The second is the name, which may hold blanks and brackets itself.
pub(crate) fn stat_fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    Some(stat.rsplit_once(')')?.1.split_ascii_whitespace())
}

/// A place where a thread leaves its tid for another that is already waiting for it.
#[derive(Default)]
pub(crate) struct Mailbox(AtomicI32);

impl Mailbox {
    pub(crate) fn put(&self, tid: i32) {
        self.0.store(tid, Ordering::Release);
    }

    pub(crate) fn take(&self) -> i32 {
        wait_while(|| self.0.load(Ordering::Acquire) == 0);
        self.0.load(Ordering::Acquire)
    }
}

/// Waits for another thread without a futex. It gives up the CPU now and then: the other may need it to get on.
pub(crate) fn wait_while(condition: impl Fn() -> bool) {
    const PATIENCE: u32 = 1000;
    let mut spins = 0;
    while condition() {
        spins += 1;
        if spins % PATIENCE == 0 {
            rustix::thread::sched_yield();
        }
        std::hint::spin_loop();
    }
}

/// Where a thread is expected to sleep. Without an argument any will do.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) call: Sysno,
    pub(crate) argument: Option<usize>,
}

/// One thread's `/proc` entry, kept open: each look is two system calls or a few more.
pub(crate) struct Watch {
    tid: i32,
    syscall: File,
}

impl Watch {
    pub(crate) fn of(tid: i32) -> Result<Self, String> {
        let path = format!("/proc/self/task/{tid}/syscall");
        let syscall = File::open(&path).map_err(|why| format!("open {path}: {why}"))?;
        Ok(Self { tid, syscall })
    }

    /// Waits until the thread is asleep in that call, and returns the call's first argument.
    ///
    /// The order matters: the kernel shows a call only of a thread that is off its CPU, and one that sleeps after it was
    /// seen there sleeps in that very call, because only the caller can end it.
    pub(crate) fn until_asleep(&self, place: Place) -> Result<usize, String> {
        loop {
            if let Some((call, argument)) = self.inside()?
                && call == place.call as usize
                && place.argument.is_none_or(|wanted| wanted == argument)
                && state_of(self.tid) == Some('S')
            {
                return Ok(argument);
            }
        }
    }

    /// The call the thread is blocked in, and its first argument; `None` while it runs.
    fn inside(&self) -> Result<Option<(usize, usize)>, String> {
        let mut buffer = [0; 256];
        let length = rustix::io::pread(&self.syscall, &mut buffer, 0)
            .map_err(|_gone| format!("thread {} ended early", self.tid))?;
        // `running`, or the number in decimal, the arguments in hex, and two registers.
        let text = String::from_utf8_lossy(&buffer[..length]);
        let mut words = text.split_ascii_whitespace();
        let call = words.next().and_then(|word| word.parse().ok());
        let argument = words
            .next()
            .and_then(|word| usize::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        Ok(call.zip(argument))
    }
}
