//! Where a thread is right now, without stopping it: of one that waits `/proc` tells, of one that runs the kernel takes a
//! sample of its registers and its stack at the next tick of a timer.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, Timespec};
use tracer_common::{Pid, Tid};

/// Bytes of a stack that a sample has at most: a multiple of 8 below 64 KiB.
///
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/events/core.c> (`perf_copy_attr`)
const STACK: u32 = 65_528;
/// Pages of the ring the kernel writes samples to: a power of two, larger than one sample.
const PAGES: usize = 32;
const PAGE: usize = 4_096;
/// Time between samples.
const PERIOD: Duration = Duration::from_millis(1);

/// A thread that waits, or is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The number of the system call it is in; `None` when it is in none.
    pub call: Option<u64>,
    /// Its stack pointer.
    pub stack: u64,
    /// Where it goes on.
    pub instruction: u64,
}

/// A thread that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Where it was.
    pub instruction: u64,
    /// Its frame pointer.
    pub frame: u64,
    /// Its stack pointer.
    pub stack: u64,
    /// Registers of x86-64 by those names.
    pub r9: u64,
    /// The same.
    pub r12: u64,
    /// What was on its stack, from the stack pointer on.
    pub content: Vec<u8>,
}

/// Where a thread is that does not run; `None` when it runs, or when that may not be read.
///
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c> (`proc_pid_syscall`)
#[must_use]
pub fn waiting(pid: Pid, tid: Tid) -> Option<Waiting> {
    let line = fs::read_to_string(format!("/proc/{}/task/{}/syscall", pid.0, tid.0)).ok()?;
    parse(&line)
}

fn parse(line: &str) -> Option<Waiting> {
    let mut words = line.split_ascii_whitespace();
    let call: i64 = words.next()?.parse().ok()?;
    let mut last = words.rev().map(|word| {
        let digits = word.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    });
    let (instruction, stack) = (last.next()??, last.next()??);
    Some(Waiting {
        call: u64::try_from(call).ok(),
        stack,
        instruction,
    })
}

/// A sample of a thread; `None` when it did not run within `patience`.
///
/// # Errors
/// When the kernel does not allow it: it takes `CAP_PERFMON`, or `kernel.perf_event_paranoid` of 2 and the right to
/// trace the process.
pub fn sample(tid: Tid, patience: Duration) -> io::Result<Option<Sample>> {
    let event = open(tid)?;
    let ring = Ring::of(&event)?;
    let mut wanted = [PollFd::new(&event, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    match rustix::event::poll(&mut wanted, Some(&timeout)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    stop(&event)?;
    Ok(decode(&ring.records()))
}

/// `struct perf_event_attr` up to the members that are used.
///
/// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/perf_event.h>
#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    user_registers: u64,
    user_stack: u32,
    clock: i32,
}

/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_CPU_CLOCK`: a timer that runs while the thread does; every machine has it.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
/// `PERF_SAMPLE_REGS_USER`, `PERF_SAMPLE_STACK_USER`
const SAMPLE_REGISTERS: u64 = 1 << 12;
const SAMPLE_STACK: u64 = 1 << 13;
/// Registers of x86-64 in the order in which they are written: bp, sp, ip, r9, r12.
///
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/uapi/asm/perf_regs.h>
const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8 | 1 << 17 | 1 << 20;
/// Not while it runs in the kernel: nobody but root may ask for that.
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
/// `PERF_RECORD_SAMPLE`
const RECORD_SAMPLE: u32 = 9;

#[expect(
    unsafe_code,
    reason = "a system call no library here makes; the proof stands below"
)]
fn open(tid: Tid) -> io::Result<OwnedFd> {
    /// `PERF_FLAG_FD_CLOEXEC`
    const CLOSE: libc::c_ulong = 8;
    let attributes = Attributes {
        kind: SOFTWARE,
        size: u32::try_from(size_of::<Attributes>()).unwrap_or(0),
        config: CPU_CLOCK,
        period: u64::try_from(PERIOD.as_nanos()).unwrap_or(0),
        sample_type: SAMPLE_REGISTERS | SAMPLE_STACK,
        read_format: 0,
        flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
        wakeup_events: 1,
        breakpoint_type: 0,
        config1: 0,
        config2: 0,
        branch_sample_type: 0,
        user_registers: REGISTERS,
        user_stack: STACK,
        clock: 0,
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&attributes);
    let thread = libc::pid_t::try_from(tid.0).map_err(io::Error::other)?;
    let (any_cpu, no_group): (libc::c_int, libc::c_int) = (-1, -1);
    // SAFETY: the kernel reads as many bytes as the value says it has, and the value has them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            bytes.as_ptr(),
            thread,
            any_cpu,
            no_group,
            CLOSE,
        )
    };
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returns a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// No more samples: a mapping keeps the event alive when its descriptor is closed.
#[expect(
    unsafe_code,
    reason = "a system call no library here makes; the proof stands below"
)]
fn stop(event: &OwnedFd) -> io::Result<()> {
    /// `PERF_EVENT_IOC_DISABLE`
    const DISABLE: libc::c_ulong = 0x2401;
    // SAFETY: the call takes a number and touches no memory of this process.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), DISABLE, 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The memory the kernel writes samples to.
struct Ring {
    start: *mut libc::c_void,
}

/// A page of numbers, then the samples.
const RING: usize = (1 + PAGES) * PAGE;

impl Ring {
    #[expect(
        unsafe_code,
        reason = "memory that the kernel writes; the proof stands below"
    )]
    fn of(event: &OwnedFd) -> io::Result<Self> {
        // Writable, as then nothing is written over that was not marked as read.
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: the kernel chooses an address that nothing else has.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                RING,
                access,
                shared,
                event.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start })
    }

    /// All records. Behind the last one is 0.
    #[expect(
        unsafe_code,
        reason = "memory that the kernel writes; the proof stands below"
    )]
    fn records(&self) -> Vec<u8> {
        let mut content = vec![0; PAGES * PAGE];
        // SAFETY: both are that long, the mapping lives as long as `self`, the copy is of bytes, which have no wrong
        // value, and the event was stopped before, so that nobody writes any more.
        unsafe {
            let from = self.start.cast::<u8>().add(PAGE);
            std::ptr::copy_nonoverlapping(from, content.as_mut_ptr(), content.len());
        }
        content
    }
}

impl Drop for Ring {
    #[expect(unsafe_code, reason = "the end of a mapping; the proof stands below")]
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, that long, and nothing refers to it any more.
        unsafe {
            libc::munmap(self.start, RING);
        }
    }
}

/// The first sample among records.
fn decode(records: &[u8]) -> Option<Sample> {
    /// Of the registers: 64 bits.
    const ABI: u64 = 2;
    let mut rest = records;
    loop {
        let header: [u8; 8] = *rest.first_chunk()?;
        let kind = u32::from_le_bytes(*header.first_chunk()?);
        let size = usize::from(u16::from_le_bytes([header[6], header[7]]));
        let record = rest.get(8..size)?;
        if kind != RECORD_SAMPLE {
            rest = rest.get(size..)?;
            continue;
        }
        let (words, _) = record.as_chunks::<8>();
        let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
        let abi = words.next()?;
        if abi != ABI {
            return None;
        }
        let [frame, stack, instruction, r9, r12, size] = std::array::from_fn(|_| words.next());
        let content = record.get(7 * 8..)?;
        let given = usize::try_from(size?).ok()?;
        let (content, filled) = content.split_at_checked(given)?;
        let filled = u64::from_le_bytes(*filled.first_chunk()?);
        let filled = usize::try_from(filled).ok()?.min(content.len());
        return Some(Sample {
            instruction: instruction?,
            frame: frame?,
            stack: stack?,
            r9: r9?,
            r12: r12?,
            content: content.get(..filled)?.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_proc_says_of_a_thread_is_read() {
        let waits = parse("232 0x5 0x7ffd 0x400 0xffffffff 0x0 0x8 0x7ffd0010 0x7f0020\n");
        let expected = |call| Waiting {
            call,
            stack: 0x7ffd_0010,
            instruction: 0x7f_0020,
        };
        assert_eq!(waits, Some(expected(Some(232))));
        assert_eq!(parse("-1 0x7ffd0010 0x7f0020\n"), Some(expected(None)));
        assert_eq!(parse("running\n"), None);
    }

    #[test]
    fn a_thread_that_runs_is_where_its_sample_says() {
        static END: AtomicBool = AtomicBool::new(false);
        let (tell, told) = std::sync::mpsc::channel();
        let busy = std::thread::spawn(move || {
            let mark = [0x1122_3344_5566_7788_u64; 4];
            let own = rustix::thread::gettid();
            let address = std::hint::black_box(&mark).as_ptr().addr() as u64;
            tell.send((own, address)).unwrap();
            while !END.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            std::hint::black_box(mark)
        });
        let (own, address) = told.recv().unwrap();
        let tid = Tid(own.as_raw_nonzero().get().unsigned_abs());
        let found = sample(tid, Duration::from_secs(10));
        END.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        let found = match found {
            Ok(found) => found.expect("a thread that runs"),
            // Where the kernel allows it to nobody but root.
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        };
        let at = usize::try_from(address - found.stack).unwrap();
        assert_eq!(
            found.content[at..at + 8],
            0x1122_3344_5566_7788_u64.to_le_bytes()
        );
        assert!(found.instruction != 0);
    }
}
