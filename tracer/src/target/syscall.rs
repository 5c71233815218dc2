//! System calls by name: what they are called, and what a thread that blocks in one is waiting for.

use syscalls::Sysno;
use tracer_common::{
    State, SyscallNr,
    config::{CallKind, CallKinds, SyscallClasses},
    syscall::SYSCALL_CLASS_COUNT,
};

/// What a blocked thread waits for, by the call it blocks in. A call that is not listed is [`State::OTHER`]; what a `read`
/// waits for depends on the file.
const CLASSES: &[(State, &[Sysno])] = &[
    (
        State::FUTEX,
        &[
            Sysno::futex,
            Sysno::futex_wait,
            Sysno::futex_waitv,
            Sysno::futex_requeue,
        ],
    ),
    (
        State::EPOLL,
        &[
            Sysno::epoll_wait,
            Sysno::epoll_pwait,
            Sysno::epoll_pwait2,
            Sysno::poll,
            Sysno::ppoll,
            Sysno::select,
            Sysno::pselect6,
        ],
    ),
    (
        State::BY_FILE,
        &[
            Sysno::read,
            Sysno::readv,
            Sysno::write,
            Sysno::writev,
            Sysno::sendfile,
            Sysno::splice,
        ],
    ),
    (State::SLEEP, &[Sysno::nanosleep, Sysno::clock_nanosleep]),
    (
        State::NETWORK,
        &[
            Sysno::connect,
            Sysno::accept,
            Sysno::accept4,
            Sysno::recvfrom,
            Sysno::recvmsg,
            Sysno::recvmmsg,
            Sysno::sendto,
            Sysno::sendmsg,
            Sysno::sendmmsg,
            Sysno::shutdown,
        ],
    ),
    (
        State::DISK,
        &[
            Sysno::fsync,
            Sysno::fdatasync,
            Sysno::sync_file_range,
            Sysno::syncfs,
            Sysno::sync,
            Sysno::msync,
            Sysno::pread64,
            Sysno::pwrite64,
            Sysno::preadv,
            Sysno::pwritev,
            Sysno::readahead,
            Sysno::fallocate,
            Sysno::ftruncate,
            Sysno::statx,
            Sysno::newfstatat,
            Sysno::getdents64,
            Sysno::unlink,
            Sysno::unlinkat,
            Sysno::rename,
            Sysno::renameat,
            Sysno::renameat2,
        ],
    ),
];

/// What is accounted at the return of a call, besides the call itself.
const KINDS: &[(CallKind, &[Sysno])] = &[
    (
        CallKind::READ,
        &[
            Sysno::read,
            Sysno::readv,
            Sysno::pread64,
            Sysno::preadv,
            Sysno::preadv2,
            Sysno::recvfrom,
            Sysno::recvmsg,
        ],
    ),
    (
        CallKind::WRITE,
        &[
            Sysno::write,
            Sysno::writev,
            Sysno::pwrite64,
            Sysno::pwritev,
            Sysno::pwritev2,
            Sysno::sendto,
            Sysno::sendmsg,
        ],
    ),
    (
        CallKind::CONNECT,
        &[Sysno::connect, Sysno::accept, Sysno::accept4],
    ),
    (CallKind::CLOSE, &[Sysno::close]),
    (
        CallKind::POLL,
        &[Sysno::epoll_wait, Sysno::epoll_pwait, Sysno::epoll_pwait2],
    ),
    (
        CallKind::FUTEX,
        &[
            Sysno::futex,
            Sysno::futex_wait,
            Sysno::futex_waitv,
            Sysno::futex_wake,
            Sysno::futex_requeue,
        ],
    ),
    (CallKind::MAP, &[Sysno::mmap]),
    (CallKind::UNMAP, &[Sysno::munmap]),
    (CallKind::REMAP, &[Sysno::mremap]),
    (CallKind::BRK, &[Sysno::brk]),
    (CallKind::ADVISE, &[Sysno::madvise]),
];

/// The table the kernel side looks returning calls up in.
#[must_use]
pub fn kinds() -> CallKinds {
    let mut table = [CallKind::NONE; SYSCALL_CLASS_COUNT];
    for (kind, calls) in KINDS {
        for call in *calls {
            if let Some(entry) = usize::try_from(call.id())
                .ok()
                .and_then(|number| table.get_mut(number))
            {
                *entry = *kind;
            }
        }
    }
    table
}

/// The table the kernel side looks blocked threads up in.
#[must_use]
pub fn classes() -> SyscallClasses {
    let mut table = [State::OTHER; SYSCALL_CLASS_COUNT];
    for (state, calls) in CLASSES {
        for call in *calls {
            if let Some(entry) = usize::try_from(call.id())
                .ok()
                .and_then(|nr| table.get_mut(nr))
            {
                *entry = *state;
            }
        }
    }
    table
}

/// The state of a thread that blocks in `nr`.
#[must_use]
pub fn class_of(nr: u64) -> State {
    let is_it = |call: &Sysno| u64::try_from(call.id()).is_ok_and(|id| id == nr);
    CLASSES
        .iter()
        .find(|(_, calls)| calls.iter().any(is_it))
        .map_or(State::OTHER, |(state, _)| *state)
}

/// The name of a call on this machine's architecture, or `syscall_NNN`.
#[must_use]
pub fn name(nr: SyscallNr) -> String {
    Sysno::new(nr.0 as usize).map_or_else(
        || format!("syscall_{}", nr.0),
        |call| call.name().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_class() {
        let all: Vec<_> = CLASSES.iter().flat_map(|(_, calls)| calls.iter()).collect();
        for (index, call) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(call), "{call:?} is listed twice");
        }
    }

    #[test]
    fn names_and_classes_are_those_of_this_machine() {
        assert_eq!(name(SyscallNr(Sysno::futex.id() as u32)), "futex");
        assert_eq!(name(SyscallNr(511)), "syscall_511");
        assert_eq!(class_of(Sysno::epoll_wait.id() as u64), State::EPOLL);
        assert_eq!(class_of(Sysno::read.id() as u64), State::BY_FILE);
        assert_eq!(class_of(1 << 40), State::OTHER);
    }
}
