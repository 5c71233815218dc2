//! What a futex call waits for, from its number and arguments.

use crate::{syscall::SyscallNr, table::LockKind};

/// Arguments of a system call, as its saved registers hold them: `rdi`, `rsi`, `rdx`, `r10` on x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments(pub [u64; 4]);

/// The futex calls, by number on x86-64.
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/entry/syscalls/syscall_64.tbl>
pub mod nr {
    use crate::syscall::SyscallNr;

    /// `futex`
    pub const FUTEX: SyscallNr = SyscallNr(202);
    /// `futex_waitv` (Linux 5.16)
    pub const WAITV: SyscallNr = SyscallNr(449);
    /// `futex_wake` (Linux 6.7)
    pub const WAKE: SyscallNr = SyscallNr(454);
    /// `futex_wait` (Linux 6.7)
    pub const WAIT: SyscallNr = SyscallNr(455);
    /// `futex_requeue` (Linux 6.7)
    pub const REQUEUE: SyscallNr = SyscallNr(456);
}

/// What a futex call does. <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/futex.h>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Waits at this address.
    Wait(u64, LockKind),
    /// Waits at several; this is the address of the list.
    WaitList(u64),
    /// Wakes or requeues waiters of this address.
    Wake(u64, LockKind),
    /// Anything else.
    Other,
}

/// The bit of a shared futex, from the flags of a futex call or of an entry of `futex_waitv`'s list. The old and the
/// new calls have it in the same place (`FUTEX_PRIVATE_FLAG`, `FUTEX2_PRIVATE`).
#[must_use]
#[inline(always)]
pub fn shared(flags: u64) -> u32 {
    const PRIVATE: u64 = 128;
    if flags & PRIVATE != 0 {
        0
    } else {
        LockKind::SHARED
    }
}

/// What the call `nr` with these arguments does.
#[must_use]
#[inline(always)]
pub fn operation(nr: SyscallNr, arguments: Arguments) -> Operation {
    let Arguments([address, second, _, fourth]) = arguments;
    if nr == nr::WAITV {
        return Operation::WaitList(address);
    }
    if nr == nr::WAIT {
        return Operation::Wait(address, LockKind(shared(fourth)));
    }
    if nr == nr::WAKE {
        return Operation::Wake(address, LockKind(shared(fourth)));
    }
    if nr != nr::FUTEX {
        return Operation::Other;
    }
    // Without `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
    let command = second & 0x7f;
    let shared = shared(second);
    // A chain of comparisons and not a match: a jump table would be data that a program cannot reach.
    if command == 0 || command == 9 {
        Operation::Wait(address, LockKind(shared))
    } else if command == 6 || command == 13 || command == 11 {
        // Lock with priority inheritance, its second form, and the wait for a requeue onto one.
        Operation::Wait(address, LockKind(shared | LockKind::PI))
    } else if command == 1 || command == 10 || command == 3 || command == 4 || command == 5 {
        Operation::Wake(address, LockKind(shared))
    } else if command == 7 || command == 12 {
        Operation::Wake(address, LockKind(shared | LockKind::PI))
    } else {
        Operation::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn futex(op: u64) -> Operation {
        operation(nr::FUTEX, Arguments([0x1000, op, 0, 0]))
    }

    #[test]
    fn waits_are_told_from_wakes_and_private_from_shared() {
        assert_eq!(futex(128), Operation::Wait(0x1000, LockKind::PRIVATE));
        assert_eq!(
            futex(0),
            Operation::Wait(0x1000, LockKind(LockKind::SHARED))
        );
        // FUTEX_WAIT_BITSET | PRIVATE | CLOCK_REALTIME: what the standard library of Rust does.
        assert_eq!(
            futex(9 | 128 | 256),
            Operation::Wait(0x1000, LockKind::PRIVATE)
        );
        assert_eq!(
            futex(6 | 128),
            Operation::Wait(0x1000, LockKind(LockKind::PI))
        );
        assert_eq!(futex(1 | 128), Operation::Wake(0x1000, LockKind::PRIVATE));
        assert_eq!(futex(4 | 128), Operation::Wake(0x1000, LockKind::PRIVATE));
        assert_eq!(futex(2), Operation::Other);
    }

    #[test]
    fn the_newer_calls_have_their_flags_elsewhere() {
        let arguments = Arguments([0x2000, 7, 0, 128 | 2]);
        assert_eq!(
            operation(nr::WAIT, arguments),
            Operation::Wait(0x2000, LockKind::PRIVATE)
        );
        assert_eq!(
            operation(nr::WAKE, arguments),
            Operation::Wake(0x2000, LockKind::PRIVATE)
        );
        assert_eq!(operation(nr::WAITV, arguments), Operation::WaitList(0x2000));
        assert_eq!(operation(SyscallNr(0), arguments), Operation::Other);
    }
}
