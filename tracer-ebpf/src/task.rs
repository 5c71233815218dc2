//! Reading `task_struct` and `pt_regs` at the offsets the agent found in the kernel's BTF.

use aya_ebpf::helpers::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs};
use tracer_common::{
    Layout, Pid, State, SyscallNr, Tid, config::SyscallClasses, futex::Arguments,
    syscall::SYSCALL_CLASS_COUNT,
};

use crate::setting::setting;

#[unsafe(no_mangle)]
static LAYOUT: Layout = Layout {
    task_pid: 0,
    task_tgid: 0,
    task_signal: 0,
    task_exit_code: 0,
    signal_live: 0,
    regs_r10: 0,
    task_files: 0,
    files_fdt: 0,
    fdt_fd: 0,
    fdt_max_fds: 0,
    file_inode: 0,
    inode_mode: 0,
    task_cfs_rq: 0,
    cfs_throttle_count: 0,
    task_fsbase: 0,
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

    /// The task a thread runs as now.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        // SAFETY: the helper takes no arguments; the current task always exists.
        Self(unsafe { bpf_get_current_task_btf() } as *const u8)
    }

    /// What it waits for when it blocks on its descriptor `fd`. Only the thread itself may ask: its table of
    /// descriptors does not go away meanwhile.
    #[inline(always)]
    pub(crate) fn waits_for_file(self, fd: u64) -> Option<State> {
        let files: *const u8 = read(self.0, offset!(task_files))?;
        let table: *const u8 = read(files, offset!(files_fdt))?;
        let count: u32 = read(table, offset!(fdt_max_fds))?;
        if fd >= u64::from(count) {
            return None;
        }
        let slots: *const u8 = read(table, offset!(fdt_fd))?;
        let file: *const u8 = read(slots.wrapping_add(fd as usize * 8), 0)?;
        let inode: *const u8 = read(file, offset!(file_inode))?;
        let mode: u16 = read(inode, offset!(inode_mode))?;
        Some(State::of_file(u32::from(mode)))
    }

    /// True when the CPU quota of its cgroup, or of one above, is used up.
    #[inline(always)]
    pub(crate) fn is_throttled(self) -> bool {
        if setting!(quotas) == 0 || offset!(task_cfs_rq) == 0 || offset!(cfs_throttle_count) == 0 {
            return false;
        }
        let count = read::<*const u8>(self.0, offset!(task_cfs_rq))
            .and_then(|queue| read::<i32>(queue, offset!(cfs_throttle_count)));
        count.is_some_and(|count| count > 0)
    }

    /// Where its own variables are (the thread pointer).
    #[inline(always)]
    pub(crate) fn thread_pointer(self) -> Option<u64> {
        read(self.0, offset!(task_fsbase))
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

/// Saved user registers (`struct pt_regs`), from `r10` to `orig_ax`: what a system call was entered with. The kernel
/// leaves them alone during the call, but for `ax`.
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/ptrace.h#L103>
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    words: [u64; 9],
}

impl Registers {
    /// Those of the current thread.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        // SAFETY: the helper takes no arguments; the current task always exists.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the argument is the pointer the verifier knows as the current task.
        Self::at(unsafe { bpf_task_pt_regs(task) } as *const u8)
    }

    /// Those a tracepoint hands over.
    #[inline(always)]
    pub(crate) fn at(registers: *const u8) -> Option<Self> {
        Some(Self {
            words: read(registers, offset!(regs_r10))?,
        })
    }

    /// The system call; `None` when the thread came into the kernel otherwise (interrupt, page fault).
    #[inline(always)]
    pub(crate) fn syscall(&self) -> Option<SyscallNr> {
        u32::try_from(self.words[8] as i64).ok().map(SyscallNr)
    }

    /// Its arguments.
    #[inline(always)]
    pub(crate) fn arguments(&self) -> Arguments {
        Arguments([self.words[7], self.words[6], self.words[5], self.words[0]])
    }
}

/// Where the current thread is in its program.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The next instruction.
    pub(crate) instruction: u64,
    /// The frame and the stack pointer.
    pub(crate) frame: u64,
    pub(crate) stack: u64,
    /// What is in two registers.
    pub(crate) r9: u64,
    pub(crate) r12: u64,
}

impl Place {
    /// That of the current thread. The processor and `ptrace` fix the order of `pt_regs`, of which the agent looked up
    /// one place.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        const R12: u32 = 32;
        const BP: u32 = 24;
        const R9: u32 = 8;
        const IP: u32 = 72;
        const SP: u32 = 96;
        // SAFETY: the helper takes no arguments; the current task always exists.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the argument is the pointer the verifier knows as the current task.
        let registers = unsafe { bpf_task_pt_regs(task) } as *const u8;
        let r10 = offset!(regs_r10);
        Some(Self {
            instruction: read(registers, r10 + IP)?,
            frame: read(registers, r10 - BP)?,
            stack: read(registers, r10 + SP)?,
            r9: read(registers, r10 + R9)?,
            r12: read(registers, r10 - R12)?,
        })
    }
}

/// The system call the current thread is in, known without having seen it enter.
#[inline(always)]
pub(crate) fn current_syscall() -> Option<SyscallNr> {
    // SAFETY: the helper takes no arguments; the current task always exists.
    let task = unsafe { bpf_get_current_task_btf() };
    // SAFETY: the argument is the pointer the verifier knows as the current task.
    syscall_of(unsafe { bpf_task_pt_regs(task) } as *const u8)
}

/// The system call number in saved user registers.
#[inline(always)]
pub(crate) fn syscall_of(registers: *const u8) -> Option<SyscallNr> {
    let number: i64 = read(registers, offset!(regs_r10) + 64)?;
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
