//! Reading `task_struct` and `pt_regs` at the offsets the agent found in the kernel's BTF.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs};
use tracer_common::{
    Layout, Pid, State, SyscallNr, Tid, config::SyscallClasses, syscall::SYSCALL_CLASS_COUNT,
};

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout {
    task_pid: 0,
    task_tgid: 0,
    task_signal: 0,
    task_exit_code: 0,
    signal_live: 0,
    regs_syscall: 0,
};

#[unsafe(no_mangle)]
static SYSCALL_CLASSES: SyscallClasses = [State::OTHER; SYSCALL_CLASS_COUNT];

/// One member of [`LAYOUT`]: set by the agent before loading, a constant to the verifier.
macro_rules! offset {
    ($member:ident) => {
        // SAFETY: a read of an initialised static; volatile because the value in the object file is not the
        // one the program runs with.
        unsafe { core::ptr::read_volatile(&raw const LAYOUT.$member) }
    };
}

/// A pointer to a kernel's `task_struct`, as raw tracepoints hand it over.
#[derive(Clone, Copy)]
pub(crate) struct Task(pub(crate) *const u8);

impl Task {
    /// The process it belongs to.
    #[inline(always)]
    pub(crate) fn pid(self) -> Option<Pid> {
        read(self.0, offset!(task_tgid)).map(Pid)
    }

    /// The thread it is.
    #[inline(always)]
    pub(crate) fn tid(self) -> Option<Tid> {
        read(self.0, offset!(task_pid)).map(Tid)
    }

    /// Its exit code, as `wait` reports it.
    #[inline(always)]
    pub(crate) fn exit_code(self) -> Option<u32> {
        read(self.0, offset!(task_exit_code))
    }

    /// Threads of its process that have not begun to exit. `do_exit()` takes a thread off this count before
    /// it reports `sched_process_exit`.
    /// <https://github.com/torvalds/linux/blob/v6.12/kernel/exit.c#L900>
    #[inline(always)]
    pub(crate) fn live_threads(self) -> Option<u32> {
        let signal: *const u8 = read(self.0, offset!(task_signal))?;
        read(signal, offset!(signal_live))
    }
}

/// The system call the current thread is in, read from its saved user registers: known without having seen
/// it enter. `None` when it came into the kernel otherwise (interrupt, page fault).
#[inline(always)]
pub(crate) fn current_syscall() -> Option<SyscallNr> {
    // SAFETY: the helper takes no arguments; the current task always exists.
    let task = unsafe { bpf_get_current_task_btf() };
    // SAFETY: the argument is the pointer the verifier knows as the current task.
    let registers = unsafe { bpf_task_pt_regs(task) } as *const u8;
    syscall_of(registers)
}

/// The system call number in saved user registers (`struct pt_regs`).
#[inline(always)]
pub(crate) fn syscall_of(registers: *const u8) -> Option<SyscallNr> {
    let number: i64 = read(registers, offset!(regs_syscall))?;
    u32::try_from(number).ok().map(SyscallNr)
}

/// The state of a thread that blocks in `syscall`.
#[inline(always)]
pub(crate) fn class_of(syscall: SyscallNr) -> State {
    let index = syscall.0 as usize;
    if index >= SYSCALL_CLASS_COUNT {
        return State::OTHER;
    }
    // SAFETY: the index was checked; volatile for the same reason as above.
    unsafe { core::ptr::read_volatile((&raw const SYSCALL_CLASSES).cast::<State>().add(index)) }
}

/// Reads a `T` at `base + offset` in kernel memory; `None` when the address is not readable.
#[inline(always)]
fn read<T>(base: *const u8, offset: u32) -> Option<T> {
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset as usize).cast::<T>()) }.ok()
}
