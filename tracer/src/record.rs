//! The one type everything flows as: from the kernel, from a file or from a test's script, into the model and
//! into a recording.
//!
//! A record is an input, never a conclusion: what a thread's counters read, that a process exited, that a name
//! was found, that something was lost, that time passed. Counters are cumulative since the thread was first
//! accounted, so a missing record costs detail and never correctness of the totals.

use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, StackId, State, SyscallKey, SyscallNr, TableNr,
    ThreadTimes, Tid,
    callback::CallbackKind,
    table::{KEY_BYTES, Plain},
};

/// One input of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// An edge from the kernel.
    Event(EventHeader, Event),
    /// Counters read at a tick.
    Sample(Sample),
    /// Names, descriptions, probe states.
    Meta(Meta),
    /// What is known to be missing, cumulative by reason.
    Loss(Loss),
    /// Time passes; closes a window.
    Tick(Nanos),
}

/// Counters of something, read at a moment.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// A thread's time.
    Thread(ThreadSample),
    /// One system call of one thread.
    Syscall(SyscallSample),
    /// A process as `/proc` describes it.
    Process(ProcessSample),
    /// What the agent itself uses.
    Agent(AgentSample),
    /// One row of a table that several threads share.
    Counter(CounterSample),
    /// What a process holds, as far as that has to be looked up and cannot be counted.
    Holding(HoldingSample),
    /// What the machine and the targets' cgroup are short of.
    Pressure(PressureSample),
    /// What the kernel side costs.
    Probes(ProbesSample),
    /// Tasks of a type that are there.
    Alive(AliveSample),
    /// One task that is there.
    Task(TaskSample),
}

/// A thread's times up to `at`, the open interval included: they sum to `at - first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadSample {
    /// When the counters were read.
    pub at: Nanos,
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// When it was first accounted.
    pub first: Nanos,
    /// What it was doing at `at`.
    pub state: State,
    /// Its times.
    pub times: ThreadTimes,
    /// The longest it was ready and did not get a CPU.
    pub ready_max: Nanos,
    /// What it waits on while it is blocked: the address of a futex, a descriptor; 0 when not known.
    pub waiting_on: u64,
}

/// One row of a table that several threads share, cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CounterSample {
    /// Which table.
    pub table: TableNr,
    /// Which row.
    pub key: CounterKey,
    /// The words of the row that are not 0, ascending, with their places.
    pub words: Vec<(u32, u64)>,
    /// True when the row was forgotten: should its key come back, it begins at 0.
    pub last: bool,
}

impl CounterSample {
    /// The row.
    #[must_use]
    pub fn row<R: Plain>(&self) -> R {
        let mut row = R::new_zeroed();
        let bytes = row.as_mut_bytes();
        for &(place, word) in &self.words {
            let at = place as usize * 8;
            if let Some(to) = at.checked_add(8).and_then(|end| bytes.get_mut(at..end)) {
                to.copy_from_slice(&word.to_le_bytes());
            }
        }
        row
    }
}

/// The key of a row, padded with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey(pub [u8; KEY_BYTES]);

impl CounterKey {
    /// The bytes of `key`.
    #[must_use]
    pub fn of<K: Plain>(key: &K) -> Self {
        let mut bytes = [0; KEY_BYTES];
        for (to, from) in bytes.iter_mut().zip(key.as_bytes()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The key as what it is.
    #[must_use]
    pub fn read<K: Plain>(&self) -> K {
        let mut key = K::new_zeroed();
        for (to, from) in key.as_mut_bytes().iter_mut().zip(self.0) {
            *to = from;
        }
        key
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldingSample {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// Resident memory with shared pages divided among those who share them; `None` when it was not read this time.
    pub pss_bytes: Option<u64>,
    /// Memory swapped out; `None` when it was not read this time.
    pub swap_bytes: Option<u64>,
    /// Open descriptors; `None` when they may not be read.
    pub descriptors: Option<u64>,
    /// Those that are connected sockets; `None` when they may not be read.
    pub sockets: Option<u64>,
}

/// What the machine and the targets' cgroup are short of. Time totals since boot: `Documentation/accounting/psi.rst`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureSample {
    /// When it was read.
    pub at: Nanos,
    /// Time during which some task of the machine waited for memory; `None` when the kernel does not say.
    pub memory_some: Option<Nanos>,
    /// Time during which all tasks of the machine waited for memory.
    pub memory_full: Option<Nanos>,
    /// The same of the first target's cgroup.
    pub cgroup_memory_some: Option<Nanos>,
    /// The same of the first target's cgroup.
    pub cgroup_memory_full: Option<Nanos>,
    /// Time the first target's cgroup was throttled for having used up its CPU quota, over all CPUs.
    pub throttled: Option<Nanos>,
}

/// What the kernel side costs, since attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbesSample {
    /// When it was read.
    pub at: Nanos,
    /// Estimated time in programs, on behalf of any process.
    pub time: Nanos,
    /// Estimated runs of programs, on behalf of any process.
    pub runs: u64,
    /// The part of the time that the targets paid, with the way into the programs and back.
    pub target_time: Nanos,
    /// When polls of tasks were first watched; 0 when they never were.
    pub polls_first: Nanos,
    /// When the probes at functions were taken off for good; 0 while they are not.
    pub polls_last: Nanos,
    /// Time during which polls of tasks were watched.
    pub polls_on: Nanos,
    /// Time during which wakes of tasks were watched.
    pub wakes_on: Nanos,
    /// Time during which work for pools was watched.
    pub works_on: Nanos,
    /// When callbacks of Node were first watched; 0 when they never were.
    pub callbacks_first: Nanos,
    /// Time during which callbacks of Node were watched.
    pub callbacks_on: Nanos,
    /// When promises were first watched; 0 when they never were.
    pub promises_first: Nanos,
    /// Time during which promises were watched.
    pub promises_on: Nanos,
}

/// Tasks of a type that were found in the memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AliveSample {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// The type: address of its vtable.
    pub vtable: u64,
    /// Tasks that a thread polls.
    pub running: u64,
    /// Tasks that wait for a thread.
    pub queued: u64,
    /// Tasks that wait to be woken.
    pub idle: u64,
    /// Tasks that have ended, but whose result nobody has taken.
    pub complete: u64,
}

/// A task that was found in the memory of a process, or that a thread polls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskSample {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// Address of its header.
    pub header: u64,
    /// Its id; 0 when it has none.
    pub id: u64,
    /// Its type: address of the vtable.
    pub vtable: u64,
    /// Number of the list that owns it; 0 when none does.
    pub owner: u64,
    /// Its state word: [`tracer_common::task::state`].
    pub state: u64,
    /// When it was first seen.
    pub first: Nanos,
    /// The thread that polls it; 0 when none does or that is not known.
    pub tid: Tid,
    /// When that poll began; 0 when that was not seen.
    pub poll: Nanos,
}

/// One system call of one thread, cumulative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyscallSample {
    /// Which thread, which call.
    pub key: SyscallKey,
    /// Returns from the call.
    pub count: u64,
    /// Returns with an errno.
    pub errors: u64,
    /// Returns whose entry was seen, so that they have a duration.
    pub timed: u64,
    /// Sum of the durations.
    pub sum: Nanos,
    /// The longest duration.
    pub max: Nanos,
    /// Non-empty buckets of [`tracer_common::hist`], ascending, with their counts.
    pub buckets: Vec<(u32, u32)>,
    /// True when the thread is gone and this row will not change any more.
    pub last: bool,
}

/// A process, as `/proc/PID/stat` and `statm` describe it (Linux `Documentation/filesystems/proc.rst`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessSample {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// Page faults without I/O since the process started.
    pub minor_faults: u64,
    /// Page faults with I/O since the process started.
    pub major_faults: u64,
}

/// What the agent itself uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentSample {
    /// When it was read.
    pub at: Nanos,
    /// CPU time of the agent since it attached, all threads (`CLOCK_PROCESS_CPUTIME_ID`).
    pub cpu: Nanos,
    /// Resident set in bytes.
    pub rss_bytes: u64,
}

/// Names and descriptions, made in user space at record time, so that a recording replays anywhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Meta {
    /// What is recorded, by what, where. The first record of every session.
    Session(SessionMeta),
    /// A traced process; again when it runs another program.
    Process(ProcessMeta),
    /// A thread's name.
    ThreadName(ThreadNameMeta),
    /// A system call's name.
    SyscallName(SyscallNameMeta),
    /// What became of a probe.
    Probe(ProbeMeta),
    /// A call stack, by the number events use.
    Stack(StackMeta),
    /// What an address in a stack is.
    Symbol(SymbolMeta),
    /// What a descriptor is.
    File(FileMeta),
    /// How much CPU a process may use.
    Limits(LimitsMeta),
    /// A runtime in a process.
    Runtime(RuntimeMeta),
    /// A type of task.
    TaskType(TaskTypeMeta),
    /// Where tasks of a type wait; again when that has changed.
    Waits(WaitsMeta),
    /// What work for libuv's pool belongs to.
    WorkType(WorkTypeMeta),
    /// What a kind of Node's callbacks is called.
    CallbackKind(CallbackKindMeta),
    /// What Node has in flight in a process.
    InFlight(InFlightMeta),
    /// How large the heaps of V8 are in a process.
    Heaps(HeapsMeta),
}

/// A runtime in a process, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeMeta {
    /// The process.
    pub pid: Pid,
    /// Which: `node` or `tokio`; `native` when none was recognised.
    pub kind: String,
    /// Its version; empty when not known.
    pub version: String,
    /// The file it is in; empty when there is none.
    pub module: String,
    /// Files that were looked at.
    pub files: u32,
    /// What cannot be had and why, one line each.
    pub notes: Vec<String>,
}

impl RuntimeMeta {
    /// True when a thread of the process that waits for events is an event loop, and not one of several workers that
    /// take turns to wait.
    #[must_use]
    pub fn has_loops(&self) -> bool {
        self.kind == "node"
    }
}

/// A type of task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTypeMeta {
    /// The process.
    pub pid: Pid,
    /// Address of its vtable there.
    pub vtable: u64,
    /// As people write it.
    pub name: String,
    /// As the compiler does; empty when not known.
    pub raw_name: String,
    /// Source file; empty when not known.
    pub file: String,
    /// Line in it; 0 when not known.
    pub line: u32,
    /// What runs it.
    pub kind: TaskKind,
}

/// Where tasks of a type wait, as the runtime's memory and the program's debug information tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitsMeta {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// The type: address of its vtable.
    pub vtable: u64,
    /// Tasks that were looked at.
    pub tasks: u64,
    /// Different ways to wait, most tasks first.
    pub groups: Vec<WaitGroup>,
    /// Why there is nothing to tell; empty otherwise.
    pub why: String,
}

/// A class of Node whose objects hand work to libuv's pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkTypeMeta {
    /// The process.
    pub pid: Pid,
    /// What its objects point to: an address in the class's vtable.
    pub vtable: u64,
    /// As people call what it does: `crypto.pbkdf2`, `zlib`.
    pub name: String,
}

/// A kind of Node's callbacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallbackKindMeta {
    /// The process.
    pub pid: Pid,
    /// The number that its Node has for it.
    pub kind: CallbackKind,
    /// As `async_hooks` calls it: `TCPWRAP`.
    pub name: String,
}

/// What Node has started and not finished in a process, as its memory tells. By the names that Node has for the types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlightMeta {
    /// When it was read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// Threads that run JavaScript, whose requests and handles these are.
    pub threads: u32,
    /// Requests whose callbacks have not run: of each type how many.
    pub requests: Vec<(String, u64)>,
    /// Handles that are not closed: of each type how many.
    pub handles: Vec<(String, u64)>,
    /// Timers that keep the process alive; `None` when their number was not found.
    pub timers: Option<u64>,
    /// Immediates; `None` when their number was not found.
    pub immediates: Option<u64>,
    /// Async functions that are at an `await`; `None` when they were not read this time.
    pub awaits: Option<u64>,
    /// Those of them at each place, most first: `loadUser (users.js:20)`. Not always all places.
    pub await_places: Vec<(String, u64)>,
    /// Why there is nothing to tell; empty otherwise.
    pub why: String,
}

/// How large the heaps of V8 in a process are, as its memory tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapsMeta {
    /// When they were read.
    pub at: Nanos,
    /// The process.
    pub pid: Pid,
    /// One for each thread that runs JavaScript.
    pub heaps: Vec<HeapMeta>,
    /// Why there is nothing to tell; empty otherwise.
    pub why: String,
}

/// A heap of V8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapMeta {
    /// Tells the heaps of a process apart: the address of its isolate.
    pub isolate: u64,
    /// The thread it belongs to; `None` where that is not known.
    pub tid: Option<Tid>,
    /// Its spaces, as V8 names them.
    pub spaces: Vec<HeapSpaceMeta>,
    /// Bytes outside of it that its objects hold; `None` where that was not found.
    pub external_bytes: Option<u64>,
    /// Bytes in array buffers, which are part of those; `None` where that was not found.
    pub array_buffer_bytes: Option<u64>,
    /// Bytes it may have; `None` where that was not found.
    pub limit_bytes: Option<u64>,
    /// Mark-compacts so far; `None` where their number was not found.
    pub full_collections: Option<u64>,
    /// Bytes that the last of them left outside the young generation; `None` where that is not known, or while one runs.
    pub after_full_bytes: Option<u64>,
}

/// A space of a heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapSpaceMeta {
    /// As V8 names it: `old_space`.
    pub name: String,
    /// Bytes of objects.
    pub used_bytes: u64,
    /// Bytes that are taken from the system.
    pub committed_bytes: u64,
}

/// Tasks that wait in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitGroup {
    /// How many.
    pub tasks: u64,
    /// The ids of the first ones.
    pub ids: Vec<u64>,
    /// Their await tree: a line for each level, indented by two for each.
    pub lines: Vec<String>,
}

/// What runs a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKind {
    /// A worker polls it: a future.
    #[default]
    Async,
    /// A thread of the blocking pool runs it once: a closure.
    Blocking,
}

impl TaskKind {
    /// What the name of a worker's own loop begins with: it is started like a closure of the blocking pool, but is none
    /// to anybody who looks at one. What finds types gives it this name, and nobody can write such a function.
    pub const WORKER: &str = "[blocking] tokio worker";

    /// True for the loop of a worker: its waits are those of a worker with nothing to do.
    #[must_use]
    pub fn is_worker(self, name: &str) -> bool {
        self == Self::Blocking && name.starts_with(Self::WORKER)
    }
}

/// A call stack, by the number events use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackMeta {
    /// Its number.
    pub id: StackId,
    /// The process whose code it is; 0 for the kernel's.
    pub pid: Pid,
    /// Return addresses, innermost first.
    pub frames: Vec<u64>,
}

/// What an address in a stack is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolMeta {
    /// The process; 0 for the kernel.
    pub pid: Pid,
    /// The address as it stands in stacks.
    pub address: u64,
    /// The file that is mapped there, as the process sees it; empty when not known.
    pub module: String,
    /// The address within that file.
    pub offset: u64,
    /// Functions, innermost inlined one first; empty when there is no symbol.
    pub frames: Vec<FrameMeta>,
}

impl SymbolMeta {
    /// Addresses from here on are of no process: they stand for places in code that has none of its own, and are named
    /// by whoever gave them. The kernel's are its own, and of no process either.
    pub const GIVEN: u64 = 1 << 63;

    /// True for a function of JavaScript: its code may move, and interpreted functions share theirs.
    #[must_use]
    pub fn is_javascript(&self) -> bool {
        self.pid != Pid(0) && self.address >= Self::GIVEN
    }
}

/// A function in a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// Its name, demangled.
    pub function: String,
    /// Source file; empty when not known.
    pub file: String,
    /// Line; 0 when not known.
    pub line: u32,
}

/// What a descriptor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMeta {
    /// The process.
    pub pid: Pid,
    /// The descriptor.
    pub fd: u32,
    /// Which kind: `socket`, `pipe`, `eventfd`, `timerfd`, `epoll`, `io_uring`, `file` and so on.
    pub kind: String,
    /// A path, or local and peer address.
    pub name: String,
}

/// How much CPU a process may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsMeta {
    /// The process.
    pub pid: Pid,
    /// CPUs it may run on (affinity and cpuset).
    pub cpus: u32,
    /// Thousandths of a CPU its cgroup's quota allows; 0 for no quota.
    pub quota_millicpus: u32,
    /// 1 when it uses io_uring, whose operations are not seen as system calls.
    pub io_uring: u32,
}

/// The session: tool, machine, clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionMeta {
    /// Version of the tool that recorded.
    pub tool_version: String,
    /// Probe profile: `light`, `default`, `full`.
    pub profile: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture, as `uname -m` says.
    pub arch: String,
    /// Online CPUs.
    pub cpus: u32,
    /// Start of the accounting on the monotonic clock.
    pub started: Nanos,
    /// The same moment in nanoseconds since the Unix epoch.
    pub started_unix_ns: u64,
    /// Time between ticks.
    pub interval: Nanos,
}

/// A traced process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessMeta {
    /// The process.
    pub pid: Pid,
    /// Its parent; 0 when not known.
    pub parent: Pid,
    /// Since when it is traced.
    pub since: Nanos,
    /// Short name.
    pub comm: String,
    /// Path of its program; empty when it could not be read.
    pub exe: String,
    /// Command line, arguments joined by a space; empty when it could not be read.
    pub cmdline: String,
}

/// A thread's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadNameMeta {
    /// Its process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// When it was first accounted.
    pub first: Nanos,
    /// The name (`comm`).
    pub name: String,
}

/// A system call's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyscallNameMeta {
    /// The number.
    pub nr: SyscallNr,
    /// The name, or `syscall_NNN` when the number has none.
    pub name: String,
}

/// What became of a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeMeta {
    /// The probe's name, as `tracer doctor` lists it.
    pub name: String,
    /// The group `--with` and `--without` switch.
    pub group: String,
    /// What became of it.
    pub status: ProbeStatus,
    /// Why it is not plainly attached; empty otherwise.
    pub why: String,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeStatus {
    /// Counting.
    Attached,
    /// Works with less than it could give.
    Degraded,
    /// The kernel or the target refused it.
    Refused,
    /// Not asked for.
    #[default]
    Off,
}

impl ProbeStatus {
    /// The word used in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Degraded => "degraded",
            Self::Refused => "refused",
            Self::Off => "off",
        }
    }
}

/// Missing data, cumulative since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// How many, of what the reason's name says.
    pub count: u64,
}
