//! Every probe there is: one row each. `tracer doctor` lists them, the load test covers them.

/// A group that `--with` and `--without` switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Threads and processes come and go. Always on.
    Process,
    /// A thread's time by state. Always on.
    Sched,
    /// Futex waits by address, wakers, long waits as events.
    Lock,
    /// Call stacks of long waits.
    Stack,
    /// Samples of running threads with their stacks.
    Sample,
    /// System calls: counts and errors.
    Syscall,
    /// Durations of system calls.
    Timing,
    /// Bytes and calls by descriptor, epoll.
    Io,
    /// Memory asked for and given back.
    Memory,
    /// Polls of a runtime's tasks.
    Task,
    /// Wakes of a runtime's tasks.
    Wake,
    /// Garbage collections of V8.
    Gc,
    /// Work for libuv's thread pool.
    Pool,
    /// Callbacks of Node.
    Callback,
    /// Promises of JavaScript.
    Promise,
    /// Each system call as an event.
    Calls,
}

impl Group {
    /// Every group.
    pub const ALL: &'static [Self] = &[
        Self::Process,
        Self::Sched,
        Self::Lock,
        Self::Stack,
        Self::Sample,
        Self::Syscall,
        Self::Timing,
        Self::Io,
        Self::Memory,
        Self::Task,
        Self::Wake,
        Self::Gc,
        Self::Pool,
        Self::Callback,
        Self::Promise,
        Self::Calls,
    ];

    /// Those that hook no system call.
    pub const LIGHT: &'static [Self] = &[
        Self::Process,
        Self::Sched,
        Self::Lock,
        Self::Stack,
        Self::Sample,
    ];

    /// Those at functions of a target that are governed: they are on for a part of the time where they cost too much.
    /// The groups of a row go on and off together; what a row leaves of the limit is for the next.
    pub const GOVERNED: [&[Self]; 3] = [
        &[Self::Task, Self::Wake, Self::Pool],
        &[Self::Callback],
        &[Self::Promise],
    ];

    /// Those at functions of a target that are on all the time.
    pub const UNGOVERNED: &[Self] = &[Self::Gc];

    /// True for those at functions of a target.
    #[must_use]
    pub fn is_at_functions(self) -> bool {
        let governed = Self::GOVERNED.into_iter().flatten();
        governed.chain(Self::UNGOVERNED).any(|&group| group == self)
    }

    /// True for those at functions of Node.
    #[must_use]
    pub fn is_of_node(self) -> bool {
        matches!(self, Self::Gc | Self::Pool | Self::Callback | Self::Promise)
    }

    /// What people get who ask for nothing else: all but promises and the stream of single calls.
    pub const DEFAULT: &'static [Self] = &[
        Self::Process,
        Self::Sched,
        Self::Lock,
        Self::Stack,
        Self::Sample,
        Self::Syscall,
        Self::Timing,
        Self::Io,
        Self::Memory,
        Self::Task,
        Self::Wake,
        Self::Gc,
        Self::Pool,
        Self::Callback,
    ];

    /// All but what has a risk that nobody can rule out: V8 maps the functions for promises once more for each isolate, but
    /// where it cannot (its file is gone, after an update) it copies them, and a copy of a probe ends the process.
    #[must_use]
    pub fn full() -> Vec<Self> {
        let all = Self::ALL.iter().copied();
        all.filter(|&group| group != Self::Promise).collect()
    }

    /// The word people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Sched => "sched",
            Self::Lock => "lock",
            Self::Stack => "stack",
            Self::Sample => "sample",
            Self::Syscall => "syscall",
            Self::Timing => "timing",
            Self::Io => "io",
            Self::Memory => "memory",
            Self::Task => "task",
            Self::Wake => "wake",
            Self::Gc => "gc",
            Self::Pool => "pool",
            Self::Callback => "callback",
            Self::Promise => "promise",
            Self::Calls => "calls",
        }
    }

    /// The group it cannot work without.
    #[must_use]
    pub fn needs(self) -> Option<Self> {
        match self {
            Self::Timing | Self::Io | Self::Memory | Self::Calls => Some(Self::Syscall),
            Self::Stack => Some(Self::Lock),
            Self::Wake => Some(Self::Task),
            Self::Process
            | Self::Sched
            | Self::Lock
            | Self::Sample
            | Self::Syscall
            | Self::Task
            | Self::Gc
            | Self::Pool
            | Self::Callback
            | Self::Promise => None,
        }
    }

    /// The group people mean by a word.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|group| group.name() == name)
    }

    /// True when nothing works without it.
    #[must_use]
    pub fn is_required(self) -> bool {
        match self {
            Self::Process | Self::Sched => true,
            Self::Lock
            | Self::Stack
            | Self::Sample
            | Self::Syscall
            | Self::Timing
            | Self::Io
            | Self::Memory
            | Self::Task
            | Self::Wake
            | Self::Gc
            | Self::Pool
            | Self::Callback
            | Self::Promise
            | Self::Calls => false,
        }
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To the raw tracepoint of this name.
    RawTracepoint(&'static str),
    /// To the clock of every CPU, so often per second of CPU time.
    CpuClock,
    /// To functions of the target's runtime, or to their returns.
    Functions {
        /// Which of them.
        which: Functions,
        /// To the return.
        is_return: bool,
    },
    /// Not a program: a part of these, which waits for a runtime to be found in a target.
    PartOfRuntime(&'static [&'static str]),
    /// Not a program: a part of these, which is left out when it is off.
    Part(&'static [&'static str]),
}

/// Functions of a runtime in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Functions {
    /// Those that poll a task.
    Polls,
    /// Those that wake one.
    Wakes,
    /// Those that hand a closure to the blocking pool.
    Spawns,
    /// V8's garbage collection.
    Collections,
    /// What it does, by kind.
    Collectors,
    /// Those that hand work to libuv's pool.
    Submits,
    /// Those that do work on it.
    Works,
    /// Those that say whose callback is to be made.
    Resources,
    /// Those that open a scope for a callback.
    Scopes,
    /// Those that close it.
    ScopeCloses,
    /// Those that are called to call what `setImmediate` was given.
    Immediates,
    /// Those that run V8's microtasks.
    Microtasks,
    /// V8's builtins for promises.
    Promises,
}

/// The part that reads which task a thread runs.
pub const RUNNING_TASK: &str = "running_task";

/// The part that follows event loops.
pub const EVENT_LOOPS: &str = "event_loops";

/// Samples of running threads per second and CPU. Not 100: programs that do something every 10 ms would always be
/// met in the same place.
pub const SAMPLES_PER_S: u64 = 99;

/// One probe.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Its name; the program's in the kernel object where it is one.
    pub name: &'static str,
    /// What switches it.
    pub group: Group,
    /// Where it sits.
    pub attach: Attach,
    /// Since which kernel it works as it is.
    pub since: &'static str,
    /// What it costs the target, measured (see README).
    pub cost: &'static str,
    /// What it is for, and so what is missing without it.
    pub gives: &'static str,
}

impl Probe {
    /// False for one that only some versions of a runtime need.
    pub(super) fn is_needed(&self) -> bool {
        let Attach::Functions { which, .. } = self.attach else {
            return true;
        };
        which != Functions::Collectors
    }
}

/// The probes, in the order in which they are attached: a thread's creation is watched before its time is.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "sched_wakeup_new",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_wakeup_new"),
        since: "6.1",
        cost: "once per new thread or process",
        gives: "new threads and child processes",
    },
    Probe {
        name: "sched_process_exec",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_process_exec"),
        since: "6.1",
        cost: "once per exec",
        gives: "programs that replace each other",
    },
    Probe {
        name: "sched_process_exit",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_process_exit"),
        since: "6.1",
        cost: "once per exit",
        gives: "exit codes",
    },
    Probe {
        name: "sched_switch",
        group: Group::Sched,
        attach: Attach::RawTracepoint("sched_switch"),
        since: "6.1",
        cost: "per context switch",
        gives: "time by state, context switches",
    },
    Probe {
        name: "sched_wakeup",
        group: Group::Sched,
        attach: Attach::RawTracepoint("sched_wakeup"),
        since: "6.1",
        cost: "per wake-up",
        gives: "run queue latency",
    },
    Probe {
        name: "sched_waking",
        group: Group::Lock,
        attach: Attach::RawTracepoint("sched_waking"),
        since: "6.1",
        cost: "per wake-up",
        gives: "who wakes whom, waits longer than 10 ms one by one",
    },
    Probe {
        name: "futex_waits",
        group: Group::Lock,
        attach: Attach::Part(&["sched_switch", "sched_wakeup"]),
        since: "6.1",
        cost: "per futex wait that sleeps",
        gives: "futex waits by address, waiter and waker",
    },
    Probe {
        name: "wait_stacks",
        group: Group::Stack,
        attach: Attach::Part(&["sched_switch", "sched_waking"]),
        since: "6.1",
        cost: "about 1 µs, at most 100 times a second per thread",
        gives: "where waiters and wakers have called from",
    },
    Probe {
        name: "cpu_sample",
        group: Group::Sample,
        attach: Attach::CpuClock,
        since: "6.1",
        cost: "about 8 µs, 99 times a second per busy CPU",
        gives: "where CPU time goes, by stack",
    },
    Probe {
        name: "sys_enter",
        group: Group::Timing,
        attach: Attach::RawTracepoint("sys_enter"),
        since: "6.1",
        cost: "per system call",
        gives: "durations of system calls",
    },
    Probe {
        name: "sys_exit",
        group: Group::Syscall,
        attach: Attach::RawTracepoint("sys_exit"),
        since: "6.1",
        cost: "per system call",
        gives: "system calls by name: count and errors",
    },
    Probe {
        name: "call_errors",
        group: Group::Syscall,
        attach: Attach::Part(&["sys_exit"]),
        since: "6.1",
        cost: "per system call that fails, but for EAGAIN",
        gives: "errors by number; EAGAIN is what is left",
    },
    Probe {
        name: EVENT_LOOPS,
        group: Group::Syscall,
        attach: Attach::Part(&["sys_exit", "sched_switch"]),
        since: "6.1",
        cost: "about 50 ns per epoll wait; nothing for threads that never wait so",
        gives: "iterations of Node's event loops, how long each takes",
    },
    Probe {
        name: "file_calls",
        group: Group::Io,
        attach: Attach::Part(&["sys_exit"]),
        since: "6.1",
        cost: "per read, write, send, receive, epoll wait",
        gives: "bytes and calls by descriptor, events per epoll wait",
    },
    Probe {
        name: "memory_calls",
        group: Group::Memory,
        attach: Attach::Part(&["sys_exit"]),
        since: "6.1",
        cost: "per mmap, munmap, mremap, brk, madvise; a stack every MiB",
        gives: "memory asked for and given back, by stack",
    },
    Probe {
        name: RUNNING_TASK,
        group: Group::Sched,
        attach: Attach::PartOfRuntime(&["sched_switch", "cpu_sample"]),
        since: "6.1",
        cost: "about 0.1 µs per switch of a tokio program's thread; nothing in the target",
        gives: "CPU time and waits by task while polls are not watched",
    },
    Probe {
        name: "task_poll_return",
        group: Group::Task,
        attach: Attach::Functions {
            which: Functions::Polls,
            is_return: true,
        },
        since: "6.1",
        cost: "about 1.2 µs per poll",
        gives: "how long polls take, which tasks end",
    },
    Probe {
        name: "task_poll",
        group: Group::Task,
        attach: Attach::Functions {
            which: Functions::Polls,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.4 µs per poll",
        gives: "polls of tokio tasks by type, what a sampled thread polls",
    },
    Probe {
        name: "task_wake",
        group: Group::Wake,
        attach: Attach::Functions {
            which: Functions::Wakes,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per wake",
        gives: "how long woken tasks wait for a worker, who wakes whom",
    },
    Probe {
        name: "task_spawn",
        group: Group::Wake,
        attach: Attach::Functions {
            which: Functions::Spawns,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per closure for the blocking pool",
        gives: "how long closures wait for a thread of the blocking pool",
    },
    Probe {
        name: "collection_return",
        group: Group::Gc,
        attach: Attach::Functions {
            which: Functions::Collections,
            is_return: true,
        },
        since: "6.1",
        cost: "about 1.2 µs per collection",
        gives: "how long garbage collections take",
    },
    Probe {
        name: "collection",
        group: Group::Gc,
        attach: Attach::Functions {
            which: Functions::Collections,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per collection",
        gives: "garbage collections by kind",
    },
    Probe {
        name: "collection_kind",
        group: Group::Gc,
        attach: Attach::Functions {
            which: Functions::Collectors,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per collection, on versions that need it",
        gives: "the kind, where the function of the collection does not tell",
    },
    Probe {
        name: "work_return",
        group: Group::Pool,
        attach: Attach::Functions {
            which: Functions::Works,
            is_return: true,
        },
        since: "6.1",
        cost: "about 1.2 µs per work for libuv's pool",
        gives: "how long work on the pool takes",
    },
    Probe {
        name: "work",
        group: Group::Pool,
        attach: Attach::Functions {
            which: Functions::Works,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per work for libuv's pool",
        gives: "work on the pool by kind",
    },
    Probe {
        name: "work_submit",
        group: Group::Pool,
        attach: Attach::Functions {
            which: Functions::Submits,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per work for libuv's pool",
        gives: "how long work waits for a thread of the pool",
    },
    Probe {
        name: "callback_return",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::ScopeCloses,
            is_return: true,
        },
        since: "6.1",
        cost: "about 1.2 µs per callback",
        gives: "what runs because of a callback: ticks and microtasks",
    },
    Probe {
        name: "callback_close",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::ScopeCloses,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.4 µs per callback",
        gives: "how long callbacks take",
    },
    Probe {
        name: "callback",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::Scopes,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per callback",
        gives: "callbacks of Node",
    },
    Probe {
        name: "callback_resource",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::Resources,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per callback",
        gives: "the kind of a callback",
    },
    Probe {
        name: "immediates",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::Immediates,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per run of immediates",
        gives: "callbacks of setImmediate",
    },
    Probe {
        name: "microtasks_return",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::Microtasks,
            is_return: true,
        },
        since: "6.1",
        cost: "about 1.2 µs per run of the queue",
        gives: "how long runs of the microtask queue take",
    },
    Probe {
        name: "microtasks",
        group: Group::Callback,
        attach: Attach::Functions {
            which: Functions::Microtasks,
            is_return: false,
        },
        since: "6.1",
        cost: "about 1.2 µs per run of the queue",
        gives: "runs of the microtask queue",
    },
    Probe {
        name: "promise",
        group: Group::Promise,
        attach: Attach::Functions {
            which: Functions::Promises,
            is_return: false,
        },
        since: "6.1",
        cost: "only on request: about 1.1 µs per await, per resumption, per settled promise",
        gives: "awaits and promises: begun, resumed, settled",
    },
    Probe {
        name: "single_calls",
        group: Group::Calls,
        attach: Attach::Part(&["sys_exit"]),
        since: "6.1",
        cost: "an event per system call: about 0.2 µs more, and a busy agent",
        gives: "each system call with its time, in the recording",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_one_row_and_says_what_it_gives() {
        for (index, probe) in PROBES.iter().enumerate() {
            assert!(
                PROBES[index + 1..]
                    .iter()
                    .all(|other| other.name != probe.name),
                "{}",
                probe.name
            );
            assert!(!probe.gives.is_empty() && !probe.cost.is_empty());
        }
    }
}
