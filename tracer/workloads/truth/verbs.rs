//! The commands, and what lives from one to the next.

use rustix::fd::OwnedFd;

use crate::clock::Span;
use crate::crowd::Crowd;
use crate::mapping::Region;
use crate::network::Connection;
use crate::threads::Thread;
use crate::{Answer, calls, convoy, cpu, crowd, files, futex, memory, network, polling};

pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) argument: &'static str,
    pub(crate) does: &'static str,
    pub(crate) run: fn(&mut Session, &str) -> Answer,
}

/// What lives from one command to the next.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) main_tid: i32,
    pub(crate) holder: Option<Thread<Span>>,
    pub(crate) crowd: Option<Crowd>,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) regions: Vec<Region>,
}

// One line a command, so that it reads as the table it is.
#[rustfmt::skip]
pub(crate) const VERBS: &[Verb] = &[
    Verb { name: "syscalls", argument: "NAME N", does: "N calls of NAME on the main thread", run: calls::syscalls },
    Verb { name: "spin", argument: "MS", does: "use MS of CPU time on the main thread", run: cpu::spin },
    Verb { name: "sleep", argument: "MS", does: "one nanosleep on the main thread", run: cpu::sleep },
    Verb { name: "spin-thread", argument: "MS", does: "spin on a new thread `spinner`", run: cpu::spin_thread },
    Verb { name: "sleep-thread", argument: "MS", does: "sleep on a new thread `sleeper`", run: cpu::sleep_thread },
    Verb { name: "threads", argument: "N", does: "N threads `storm`, one getppid each", run: crowd::threads },
    Verb { name: "fork", argument: "N", does: "N children, one after another, that exit at once", run: crowd::fork },
    Verb { name: "hold-syscall", argument: "MS", does: "one nanosleep on a thread `holder`, answered from inside it", run: calls::hold },
    Verb { name: "join", argument: "", does: "wait for `holder`", run: calls::join_holder },
    Verb { name: "futex", argument: "MS", does: "a thread `futex-wait` waits MS on a condition variable", run: futex::condition },
    Verb { name: "epoll", argument: "MS", does: "a thread `epoller` waits MS on an empty epoll set", run: polling::empty },
    Verb { name: "page-faults", argument: "N", does: "touch N fresh anonymous pages", run: memory::page_faults },
    Verb { name: "clocks", argument: "", does: "CPU clocks and context switches so far", run: cpu::clocks },
    Verb { name: "rename", argument: "NAME", does: "set the name of the main thread", run: calls::rename },

    Verb { name: "sleeps", argument: "N MS", does: "N nanosleeps of MS on the main thread", run: cpu::sleeps },
    Verb { name: "block-thread", argument: "MS", does: "std's thread::sleep on a new thread `blocked`", run: cpu::block_thread },
    Verb { name: "spin-named", argument: "MS", does: "spin MS in `truth_spins_here`, called by `truth_calls_spin`", run: cpu::spin_named },
    Verb { name: "contend", argument: "MS", does: "`rival-1` and `rival-2` spin MS each on one CPU", run: cpu::contend },

    Verb { name: "futex-waits", argument: "N MS", does: "`waiter` waits N times, `waker` wakes it MS after it fell asleep", run: futex::waits },
    Verb { name: "futex-shared", argument: "N MS", does: "the same on a futex in shared memory", run: futex::shared },
    Verb { name: "futex-waitv", argument: "N MS", does: "the same with futex_waitv on two addresses, woken in turn", run: futex::waitv },
    Verb { name: "futex-pi", argument: "N MS", does: "`waiter` takes a PI futex that `owner` gives up MS later", run: futex::pi },
    Verb { name: "futex-requeue", argument: "N MS", does: "the waiter is requeued after MS, and woken there after MS", run: futex::requeue },
    Verb { name: "futex-timeouts", argument: "N MS", does: "N waits on a thread `waiter` that time out", run: futex::timeouts },
    Verb { name: "futex-again", argument: "N", does: "N waits on a thread `waiter` that end at once with EAGAIN", run: futex::again },
    Verb { name: "addresses", argument: "N", does: "one wait of 50 us or more on each of N addresses", run: futex::addresses },
    Verb { name: "convoy", argument: "THREADS ROUNDS US", does: "all take one Mutex ROUNDS times and spin US in it", run: convoy::convoy },

    Verb { name: "mmap", argument: "N BYTES", does: "N mappings; every second one is unmapped again", run: memory::mmap },
    Verb { name: "munmap-rest", argument: "", does: "unmap what `mmap` kept", run: memory::munmap_rest },
    Verb { name: "brk", argument: "BYTES", does: "grow the heap by brk and shrink it back", run: memory::brk },
    Verb { name: "madvise", argument: "N BYTES", does: "N times: touch all pages of a mapping, MADV_DONTNEED", run: memory::madvise },
    Verb { name: "mremap", argument: "N BYTES", does: "N times: map BYTES, remap to twice that, unmap", run: memory::mremap },
    Verb { name: "touch", argument: "N", does: "one write to each of N fresh pages that are never huge", run: memory::touch },

    Verb { name: "epoll-ready", argument: "K N", does: "N epoll waits that each return K ready eventfds", run: polling::ready },
    Verb { name: "epoll-block", argument: "N MS", does: "`epoller` waits N times, `writer` ends it MS after it fell asleep", run: polling::block },
    Verb { name: "epoll-timeout", argument: "N MS", does: "N epoll waits on a thread `epoller` that time out", run: polling::timeout },

    Verb { name: "connect-closed", argument: "N", does: "N connects to a port nobody listens on", run: network::connect_closed },
    Verb { name: "connect-open", argument: "N BYTES", does: "N connections, BYTES each way on each, then closed", run: network::connect_open },
    Verb { name: "sockets-open", argument: "N", does: "open N connected pairs and keep them", run: network::sockets_open },
    Verb { name: "sockets-close", argument: "", does: "close them", run: network::sockets_close },

    Verb { name: "pipe-io", argument: "N BYTES", does: "N writes and N reads of BYTES through a pipe", run: files::pipe_io },
    Verb { name: "file-io", argument: "N BYTES PATH", does: "N pwrites and N preads of BYTES on a new file, then removed", run: files::file_io },
    Verb { name: "fds", argument: "N", does: "open N eventfds, write and read each once, keep them", run: files::fds },
    Verb { name: "fds-close", argument: "", does: "close them", run: files::fds_close },

    Verb { name: "crowd", argument: "N", does: "N threads `crowd`, each asleep on its own futex", run: crowd::gather },
    Verb { name: "crowd-end", argument: "", does: "wake and join them", run: crowd::end },
    Verb { name: "forks", argument: "N PER_SECOND", does: "N children at that rate, one after another", run: crowd::forks },
];
