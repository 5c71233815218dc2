//! The loaded kernel side: programs attached as long as it lives, maps read through it.
//!
//! Dropping it detaches everything; so does the end of this process, `kill -9` included, because the kernel
//! closes what nobody holds.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use thiserror::Error;
use tracer_common::{
    LossReason, Nanos, Pid, SyscallKey, SyscallRow, Target, ThreadRow, Tid,
    config::{CallKinds, Control, Settings, SyscallClasses},
    for_each_table, name,
    stack::JsLayout,
    table::{self, Image},
    task::{IdKey, Running, TaskKey, TaskRow, seen},
};

use super::{
    attach::{Programs, Runs},
    functions::Detached,
    kernel::{self, Requirement},
    probes::{Functions, Group, RUNNING_TASK},
    ready::Ready,
    rows::{Rows, Table},
    uprobe::{MapFds, Points},
    wire::Wire,
};
use crate::{
    record::{ProbeMeta, ProbeStatus},
    target::{sys, syscall},
};

/// The kernel object, built from `tracer-ebpf`.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.bpf.o"));

/// What to load, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Groups to attach; required ones are attached all the same.
    pub groups: Vec<Group>,
    /// Size of the ring buffer in bytes: a power of two, at least a page. `None` for the built-in 4 MiB.
    pub ring_bytes: Option<u32>,
    /// Where the kernel's type information is.
    pub btf: PathBuf,
    /// Send the kernel side's debug lines.
    pub debug: bool,
    /// A wait this long is an event with stacks.
    pub long_wait: Nanos,
    /// A poll, or an iteration of an event loop, this long is an event.
    pub long_poll: Nanos,
    /// A target's cgroup has a CPU quota.
    pub quotas: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            groups: Group::DEFAULT.to_vec(),
            ring_bytes: None,
            btf: super::btf::KERNEL.into(),
            debug: false,
            long_wait: LONG_WAIT,
            long_poll: LONG_POLL,
            quotas: false,
        }
    }
}

/// A wait this long is an event. People notice pauses from here on, and a thread cannot have more than a hundred of
/// them a second.
pub const LONG_WAIT: Nanos = Nanos(10_000_000);

/// A poll this long is an event. Whoever waits for that worker notices, and a sample every 10 ms has a chance to meet
/// what the poll does; tokio advises to stay below a hundredth of it.
pub const LONG_POLL: Nanos = Nanos(10_000_000);

impl Options {
    fn has(&self, group: Group) -> bool {
        group.is_required() || self.groups.contains(&group)
    }

    fn settings(&self) -> Settings {
        let on = |group| u32::from(self.has(group));
        Settings {
            long_wait: if self.has(Group::Lock) {
                self.long_wait.0
            } else {
                0
            },
            // 100 stacks a second of about 1 µs: a ten-thousandth of a thread's time.
            stack_every: if self.has(Group::Stack) {
                10_000_000
            } else {
                0
            },
            stacks_per_s: 1_000,
            bytes_per_stack: 1 << 20,
            long_poll: self.long_poll.0,
            sample_period: 1_000_000_000 / super::probes::SAMPLES_PER_S,
            locks: on(Group::Lock),
            files: on(Group::Io),
            memory: on(Group::Memory),
            calls: on(Group::Calls),
            quotas: u32::from(self.quotas),
            loops: on(Group::Syscall),
        }
    }
}

/// Why the kernel side could not be loaded or attached.
#[derive(Debug, Error)]
pub enum LoadError {
    /// This process may not.
    #[error("missing {}", .missing.iter().map(|capability| capability.name()).collect::<Vec<_>>().join(", "))]
    Privilege {
        /// What it would need.
        missing: Vec<sys::Capability>,
    },
    /// This kernel cannot.
    #[error("this kernel lacks {}: {}", .lacks.what, .lacks.met.as_ref().err().map_or("", String::as_str))]
    Kernel {
        /// What it lacks.
        lacks: Requirement,
    },
    /// A map or the object as a whole was refused.
    #[error("load the kernel object")]
    Object(#[source] EbpfError),
    /// The verifier, or the attach point, refused a program nothing works without.
    #[error("attach probe `{probe}`: {why}")]
    Probe {
        /// The probe.
        probe: &'static str,
        /// What the kernel said, its verifier's last lines included.
        why: String,
    },
    /// A map could not be opened or written.
    #[error("use map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// Insert only what is not there yet (`include/uapi/linux/bpf.h`).
const BPF_NOEXIST: u64 = 1;
/// Change only what is there.
const BPF_EXIST: u64 = 2;

/// The loaded kernel side.
pub struct Kernel {
    /// Programs and their links; `None` after detaching.
    programs: Option<Programs>,
    events: RingBuf<MapData>,
    losses: PerCpuArray<MapData, u64>,
    targets: HashMap<MapData, Wire<Pid>, Wire<Target>>,
    maybe: Array<MapData, u64>,
    control: Array<MapData, Wire<Control>>,
    threads: HashMap<MapData, Wire<Tid>, Wire<ThreadRow>>,
    syscalls: HashMap<MapData, Wire<SyscallKey>, Wire<SyscallRow>>,
    breaks: HashMap<MapData, Wire<Pid>, u64>,
    tasks: HashMap<MapData, Wire<TaskKey>, Wire<TaskRow>>,
    running: HashMap<MapData, Wire<Tid>, Wire<Running>>,
    seen: PerCpuArray<MapData, u64>,
    task_places: HashMap<MapData, Wire<Pid>, i64>,
    task_ids: HashMap<MapData, Wire<IdKey>, u64>,
    images: HashMap<MapData, Wire<Pid>, Wire<Image>>,
    js_layouts: HashMap<MapData, Wire<Pid>, Wire<JsLayout>>,
    tables: Vec<Box<dyn Rows>>,
    control_now: Control,
    /// The programs that are attached, or were until detaching.
    attached: Vec<&'static str>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    probes: Vec<ProbeMeta>,
}

/// What programs at functions of the targets have seen: [`seen`] says what each means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Polls.
    pub polls: u64,
    /// Wakes, and closures handed to the blocking pool.
    pub wakes: u64,
    /// Samples in which the id that a thread keeps was that of the task it polled.
    pub agreed: u64,
    /// Those in which it was not.
    pub differed: u64,
    /// Polls that ran into a trap while nobody watched: it takes a while until the last is attached, and until the
    /// last is gone.
    pub unwatched_polls: u64,
    /// The same of wakes.
    pub unwatched_wakes: u64,
    /// Work handed to pools.
    pub works: u64,
    /// The same while nobody watched.
    pub unwatched_works: u64,
    /// Work that `uv_queue_work` was given, when it began.
    pub queued_works: u64,
    /// Callbacks of Node.
    pub callbacks: u64,
    /// The same while nobody watched.
    pub unwatched_callbacks: u64,
    /// Runs of V8's microtask queue.
    pub microtasks: u64,
    /// The same while nobody watched.
    pub unwatched_microtasks: u64,
    /// Things that happened to promises.
    pub promises: u64,
    /// The same while nobody watched.
    pub unwatched_promises: u64,
}

/// How one copied row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Whole.
    Row(T),
    /// The row is gone.
    Gone,
    /// It changed during every attempt.
    Torn,
}

impl Kernel {
    /// Loads the kernel object and attaches its programs. They do nothing until a target is added.
    ///
    /// # Errors
    /// When a privilege or a kernel feature is missing, or a required probe is refused. A refused optional probe
    /// is no error: see [`Kernel::probes`].
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let missing = sys::missing_capabilities();
        if !missing.is_empty() {
            return Err(LoadError::Privilege { missing });
        }
        let facts = kernel::facts(&options.btf);
        if let Some(lacks) = kernel::unmet(&facts) {
            return Err(LoadError::Kernel { lacks });
        }
        let layout = Wire(facts.layout.unwrap_or_default());
        let classes: Wire<SyscallClasses> = Wire(syscall::classes());
        let kinds: Wire<CallKinds> = Wire(syscall::kinds());
        let settings = Wire(options.settings());
        let log_level: u8 = if options.debug {
            aya_log::Level::Debug as u8
        } else {
            0
        };

        let mut loader = EbpfLoader::new();
        loader
            // No relocation in the object needs the kernel's types; parsing them again would take as long as all else.
            .btf(None)
            .override_global(name::LAYOUT, &layout, true)
            .override_global(name::SYSCALL_CLASSES, &classes, true)
            .override_global(name::CALL_KINDS, &kinds, true)
            .override_global(name::SETTINGS, &settings, true)
            .override_global(name::LOG_LEVEL, &log_level, true);
        if let Some(bytes) = options.ring_bytes {
            loader.map_max_entries(name::EVENTS, bytes);
        }
        let mut object = loader.load(OBJECT).map_err(LoadError::Object)?;
        // Before the logger takes its own out.
        let maps = map_fds(&object);
        let logger = if options.debug {
            EbpfLogger::init(&mut object).ok()
        } else {
            None
        };
        let mut tables: Vec<Box<dyn Rows>> = Vec::new();
        macro_rules! take_all {
            ($($table:ident)*) => {
                $(tables.push(Box::new(Table::<table::$table>::new(take(
                    &mut object,
                    <table::$table as table::Table>::MAP,
                )?)));)*
            };
        }
        for_each_table!(take_all);
        let events = take(&mut object, name::EVENTS)?;
        let losses = take(&mut object, name::LOSSES)?;
        let targets = take(&mut object, name::TARGETS)?;
        let maybe = take(&mut object, name::MAYBE)?;
        let control = take(&mut object, name::CONTROL)?;
        let threads = take(&mut object, name::THREADS)?;
        let syscalls = take(&mut object, name::SYSCALLS)?;
        let breaks = take(&mut object, name::BREAKS)?;
        let tasks = take(&mut object, name::TASKS)?;
        let running = take(&mut object, name::RUNNING)?;
        let seen = take(&mut object, name::SEEN)?;
        let task_places = take(&mut object, name::TASK_PLACES)?;
        let task_ids = take(&mut object, name::TASK_IDS)?;
        let images = take(&mut object, name::IMAGES)?;
        let js_layouts = take(&mut object, name::JS_LAYOUTS)?;
        let mut programs = Programs::new(object, maps);
        let probes = programs.attach_all(|group| options.has(group))?;
        // The object with its debug information was parsed, and the kernel's type information: tens of MiB.
        sys::give_memory_back();
        Ok(Self {
            events,
            losses,
            targets,
            maybe,
            control,
            threads,
            syscalls,
            breaks,
            tasks,
            running,
            seen,
            task_places,
            task_ids,
            images,
            js_layouts,
            tables,
            control_now: Control::default(),
            attached: programs.attached(),
            programs: Some(programs),
            logger,
            probes,
        })
    }

    /// What became of every probe.
    #[must_use]
    pub fn probes(&self) -> &[ProbeMeta] {
        &self.probes
    }

    /// Detaches every program. The maps stay readable and do not change any more.
    pub fn detach(&mut self) {
        self.programs = None;
    }

    /// Begins to trace a process: from the next instruction on, its edges are accounted. False when it is traced
    /// already.
    ///
    /// # Errors
    /// When the table is full.
    pub fn add_target(&mut self, pid: Pid, target: Target) -> Result<bool, LoadError> {
        match self.targets.insert(Wire(pid), Wire(target), BPF_NOEXIST) {
            Ok(()) => {
                self.notice(pid);
                Ok(true)
            }
            Err(_) if self.targets.get(&Wire(pid), 0).is_ok() => Ok(false),
            Err(source) => Err(LoadError::Map {
                map: name::TARGETS,
                source,
            }),
        }
    }

    /// Says whether threads of a process that wait for events may be event loops, whose long iterations are events: that
    /// is so until it is known that they are the workers of a pool which take turns to wait.
    pub fn watch_loops(&mut self, pid: Pid, may_have: bool) {
        if let Ok(Wire(target)) = self.targets.get(&Wire(pid), 0) {
            let target = Target {
                has_loops: u32::from(may_have),
                ..target
            };
            // It is there: an error means that the process is gone.
            let _ = self.targets.insert(Wire(pid), Wire(target), BPF_EXIST);
        }
    }

    /// Makes the programs look closer at `pid`. The kernel side does it for the children it follows; to do it again
    /// does no harm.
    pub fn notice(&mut self, pid: Pid) {
        // The slot is always there.
        let _ = self.maybe.set(slot(pid), 1, 0);
    }

    /// Stops tracing a process. One that is not traced is no error. `others` are still traced.
    pub fn remove_target(&mut self, pid: Pid, mut others: impl Iterator<Item = Pid>) {
        let _ = self.targets.remove(&Wire(pid));
        if others.all(|other| slot(other) != slot(pid)) {
            let _ = self.maybe.set(slot(pid), 0, 0);
        }
    }

    /// Tells where the heap of a process that runs already ends, unless it has moved it meanwhile.
    pub fn seed_break(&mut self, pid: Pid, end: u64) {
        let _ = self.breaks.insert(Wire(pid), end, BPF_NOEXIST);
    }

    /// Begins the accounting of a thread that was met in the middle, unless an edge has begun it already.
    /// False when it has.
    pub fn seed_thread(&mut self, tid: Tid, row: ThreadRow) -> bool {
        self.threads
            .insert(Wire(tid), Wire(row), BPF_NOEXIST)
            .is_ok()
    }

    /// Ends the accounting of a thread. One that is not accounted is no error.
    pub fn forget_thread(&mut self, tid: Tid) {
        let _ = self.threads.remove(&Wire(tid));
    }

    /// Forgets the counts of one call of one thread. Counts that are not there are no error.
    pub fn forget_syscall(&mut self, key: SyscallKey) {
        let _ = self.syscalls.remove(&Wire(key));
    }

    /// The rows of the tables that several threads share, one table after the other.
    pub fn tables(&mut self) -> &mut [Box<dyn Rows>] {
        &mut self.tables
    }

    fn tell(&mut self) {
        // The slot is always there.
        let _ = self.control.set(0, Wire(self.control_now), 0);
    }

    /// Adds functions of a runtime that was found in a target.
    pub fn add_functions(&mut self, which: Functions, points: Points) {
        if let Some(programs) = &mut self.programs {
            programs.add_functions(which, points);
        }
    }

    /// Links at functions that were switched off, or whose process is gone: to be dropped, each on a thread of its own.
    pub fn detached(&mut self) -> Vec<Detached> {
        let programs = self.programs.as_mut();
        programs.map_or_else(Vec::new, Programs::detached)
    }

    /// True when every one of them is gone. Until then no group at functions can be switched on.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let programs = self.programs.as_ref();
        programs.is_none_or(Programs::is_settled)
    }

    /// Forgets the functions of a process that is gone, or runs another program.
    pub fn remove_functions(&mut self, pid: Pid) {
        if let Some(programs) = &mut self.programs {
            programs.remove_functions(pid);
        }
    }

    /// Attaches to the functions that were added, if the group was asked for, and says what became of the probes.
    pub fn attach_functions(&mut self, group: Group) -> Vec<ProbeMeta> {
        let was_asked_for = |group: Group| {
            let mut probes = self
                .probes
                .iter()
                .filter(|probe| probe.group == group.name());
            probes.all(|probe| probe.why != NOT_ASKED_FOR)
        };
        if !was_asked_for(group) || group.needs().is_some_and(|needed| !was_asked_for(needed)) {
            return Vec::new();
        }
        let Some(programs) = &mut self.programs else {
            return Vec::new();
        };
        let metas = programs.attach_functions(group);
        self.attached = programs.attached();
        let mut statuses = metas.iter().map(|meta| meta.status);
        // Not again: polls of other processes that began before would be left out.
        if statuses.any(|status| status == ProbeStatus::Attached)
            && self.heeds_since(group).is_none()
        {
            self.heed(group, true);
        }
        for meta in &metas {
            if let Some(probe) = self.probes.iter_mut().find(|probe| probe.name == meta.name) {
                *probe = meta.clone();
            }
        }
        metas
    }

    /// Tells of a task that was there before the probes. One that was polled meanwhile is known already.
    pub fn seed_task(&mut self, key: TaskKey, row: TaskRow) {
        let _ = self.tasks.insert(Wire(key), Wire(row), BPF_NOEXIST);
    }

    /// What the kernel side remembers of a task.
    #[must_use]
    pub fn task(&self, key: TaskKey) -> Option<TaskRow> {
        self.tasks.get(&Wire(key), 0).ok().map(|Wire(row)| row)
    }

    /// Forgets a task.
    pub fn forget_task(&mut self, key: TaskKey) {
        let _ = self.tasks.remove(&Wire(key));
    }

    /// Tasks the kernel side remembers.
    #[must_use]
    pub fn task_keys(&self) -> Vec<TaskKey> {
        const STEPS: usize = 1 << 19;
        let keys = self.tasks.keys().take(STEPS).filter_map(Result::ok);
        keys.map(|Wire(key)| key).collect()
    }

    /// Tells where V8 keeps things in a process; `None` that it has no V8.
    pub fn place_js(&mut self, pid: Pid, layout: Option<JsLayout>) {
        // An error means that there is no room, or nothing to remove: its frames have no names then.
        let changed = match layout {
            Some(layout) => self.js_layouts.insert(Wire(pid), Wire(layout), 0),
            None if self.control_now.js_layouts == 0 => return,
            None => self.js_layouts.remove(&Wire(pid)),
        };
        if changed.is_ok() {
            let known = self.js_layouts.keys().filter_map(Result::ok).count();
            self.control_now.js_layouts = known as u64;
            self.tell();
        }
    }

    /// Tells where the threads of a process keep the id of the task they run, from the thread pointer on; `None` that
    /// it is not known. Gives what became of the probe that reads it.
    pub fn place_task_id(&mut self, pid: Pid, place: Option<i64>) -> Option<ProbeMeta> {
        let refused = match place {
            Some(place) => {
                let set = self.task_places.insert(Wire(pid), place, 0);
                set.err().map(|error| error.to_string())
            }
            None => {
                // An error means that there is nothing to remove.
                let _ = self.task_places.remove(&Wire(pid));
                Some("where a thread keeps the id of its task was not found".to_owned())
            }
        };
        let known = self.task_places.keys().filter_map(Result::ok).count();
        self.control_now.task_places = known as u64;
        self.tell();
        let mut probes = self.probes.iter_mut();
        let probe = probes.find(|probe| probe.name == RUNNING_TASK)?;
        probe.status = match (&refused, known) {
            (None, _) => ProbeStatus::Attached,
            (Some(_), 0) => ProbeStatus::Refused,
            (Some(_), _) => ProbeStatus::Degraded,
        };
        probe.why = refused.unwrap_or_default();
        Some(probe.clone())
    }

    /// Tells the type of a task.
    pub fn name_task(&mut self, key: IdKey, vtable: u64) {
        let _ = self.task_ids.insert(Wire(key), vtable, 0);
    }

    /// Tells where in a target's memory its Node is.
    pub fn place_image(&mut self, pid: Pid, image: Image) {
        let _ = self.images.insert(Wire(pid), Wire(image), 0);
    }

    /// Forgets the type of a task.
    pub fn forget_task_id(&mut self, key: IdKey) {
        let _ = self.task_ids.remove(&Wire(key));
    }

    /// What programs at functions have seen since they were loaded.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let count = |place: u32| {
            let counts = self.seen.get(&place, 0);
            counts.map_or(0, |counts| counts.iter().sum())
        };
        Seen {
            polls: count(seen::POLLS),
            wakes: count(seen::WAKES),
            agreed: count(seen::AGREED),
            differed: count(seen::DIFFERED),
            unwatched_polls: count(seen::UNWATCHED_POLLS),
            unwatched_wakes: count(seen::UNWATCHED_WAKES),
            works: count(seen::WORKS),
            unwatched_works: count(seen::UNWATCHED_WORKS),
            queued_works: count(seen::QUEUED_WORKS),
            callbacks: count(seen::CALLBACKS),
            unwatched_callbacks: count(seen::UNWATCHED_CALLBACKS),
            microtasks: count(seen::MICROTASKS),
            unwatched_microtasks: count(seen::UNWATCHED_MICROTASKS),
            promises: count(seen::PROMISES),
            unwatched_promises: count(seen::UNWATCHED_PROMISES),
        }
    }

    /// The polls that threads are in now. A copy may be a moment old, or of two moments.
    #[must_use]
    pub fn running(&self) -> Vec<(Tid, Running)> {
        let since = self.control_now.polls_since;
        if since == 0 {
            // What is in the table is of the burst before.
            return Vec::new();
        }
        let rows = self.running.iter().take(1 << 16).filter_map(Result::ok);
        rows.map(|(Wire(tid), Wire(running))| (tid, running))
            .filter(|(_, running)| running.top().is_some_and(|top| top.since.0 >= since))
            .collect()
    }

    /// Switches an optional group on or off while the others go on. False when it cannot be switched, or is so
    /// already.
    pub fn switch(&mut self, group: Group, on: bool) -> bool {
        if on && group.is_at_functions() && !self.is_settled() {
            return false;
        }
        if on && matches!(group, Group::Syscall | Group::Timing) {
            // What rows say of calls entered before is stale: their exits were not seen.
            self.control_now.syscalls_since = sys::monotonic().0;
            self.tell();
        }
        if !on {
            self.heed(group, false);
        }
        let Some(programs) = &mut self.programs else {
            return false;
        };
        let switched = programs.switch(group, on);
        self.attached = programs.attached();
        // Not again: polls that began before would be left out. Nor before all are there: whoever wants them tries again.
        let is_complete = programs.is_complete(group, |name| {
            let mut probes = self.probes.iter();
            probes.any(|probe| probe.name == name && probe.status == ProbeStatus::Refused)
        });
        if on && is_complete && self.heeds_since(group).is_none() {
            self.heed(group, true);
        }
        switched
    }

    /// Makes programs at functions count, or return at once. To attach and to detach takes milliseconds, instruction by
    /// instruction; so that it is known since when and until when all of them count, they are told when all are there,
    /// and before the first is not.
    fn heed(&mut self, group: Group, on: bool) {
        let now = if on { sys::monotonic().0 } else { 0 };
        match group {
            Group::Task => self.control_now.polls_since = now,
            Group::Wake => self.control_now.wakes_since = now,
            Group::Pool => self.control_now.works_since = now,
            Group::Callback => self.control_now.callbacks_since = now,
            Group::Promise => self.control_now.promises_since = now,
            Group::Process
            | Group::Sched
            | Group::Lock
            | Group::Stack
            | Group::Sample
            | Group::Syscall
            | Group::Timing
            | Group::Io
            | Group::Memory
            | Group::Gc
            | Group::Calls => return,
        }
        self.tell();
    }

    /// Since when the programs at functions of this group count; `None` while they do not.
    #[must_use]
    pub fn heeds_since(&self, group: Group) -> Option<Nanos> {
        let since = match group {
            Group::Task => self.control_now.polls_since,
            Group::Wake => self.control_now.wakes_since,
            Group::Pool => self.control_now.works_since,
            Group::Callback => self.control_now.callbacks_since,
            Group::Promise => self.control_now.promises_since,
            Group::Process
            | Group::Sched
            | Group::Lock
            | Group::Stack
            | Group::Sample
            | Group::Syscall
            | Group::Timing
            | Group::Io
            | Group::Memory
            | Group::Gc
            | Group::Calls => 0,
        };
        (since != 0).then_some(Nanos(since))
    }

    /// The programs that are attached; after detaching, those that were.
    #[must_use]
    pub fn attached(&self) -> &[&'static str] {
        &self.attached
    }

    /// Runs of every program since statistics were switched on, by name. Empty while the kernel does not count.
    #[must_use]
    pub fn runs(&self) -> Vec<(&'static str, Runs)> {
        self.programs.as_ref().map_or_else(Vec::new, Programs::runs)
    }

    /// Makes the kernel measure the runs of all programs, on the whole machine, until what is returned is dropped.
    /// `None` where that is not allowed.
    #[must_use]
    pub fn count_runs(&self) -> Option<std::os::fd::OwnedFd> {
        aya::sys::enable_stats(aya::sys::Stats::RunTime).ok()
    }

    /// Tells when the ring buffer has events. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    pub fn ready(&self) -> std::io::Result<Ready> {
        Ready::of(self.events.as_fd())
    }

    /// The next event in the ring buffer: header and payload as raw bytes.
    pub fn next_event<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.events.next().map(|item| read(&item))
    }

    /// Prints the kernel side's debug lines that have come.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Threads that are accounted. A set: when the kernel deletes the key a walk stands on, the walk starts
    /// again from the beginning; under a storm of exits it is ended at a bound, and the next tick goes on.
    #[must_use]
    pub fn thread_ids(&self) -> BTreeSet<Tid> {
        const STEPS: usize = 1 << 17;
        self.threads
            .keys()
            .take(STEPS)
            .filter_map(Result::ok)
            .map(|Wire(tid)| tid)
            .collect()
    }

    /// A thread's row.
    #[must_use]
    pub fn thread(&self, tid: Tid) -> Read<ThreadRow> {
        whole(
            || self.threads.get(&Wire(tid), 0).map(|Wire(row)| row),
            ThreadRow::is_consistent,
        )
    }

    /// (Thread, call) pairs that are counted.
    #[must_use]
    pub fn syscall_keys(&self) -> Vec<SyscallKey> {
        self.syscalls
            .keys()
            .filter_map(Result::ok)
            .map(|Wire(key)| key)
            .collect()
    }

    /// The counts of one call of one thread.
    #[must_use]
    pub fn syscall(&self, key: SyscallKey) -> Read<SyscallRow> {
        whole(
            || self.syscalls.get(&Wire(key), 0).map(|Wire(row)| row),
            SyscallRow::is_consistent,
        )
    }

    /// Runs of a probe that the kernel skipped, for any process, since it was loaded. A program does not run on
    /// a CPU on which another run of it was preempted: seen from Linux 7.1 on, at system calls from 7.2 on.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.programs.as_ref().map_or(0, Programs::skipped)
    }

    /// What the kernel side lost since it was loaded, by reason.
    #[must_use]
    pub fn losses(&self) -> Vec<(LossReason, u64)> {
        (0..LossReason::KERNEL)
            .filter_map(|reason| {
                let counts = self.losses.get(&reason, 0).ok()?;
                Some((LossReason(reason), counts.iter().sum()))
            })
            .collect()
    }
}

/// Copies a row until the copy is whole. The kernel writes while it copies, so a copy can be torn; its own
/// books tell.
fn whole<T>(copy: impl Fn() -> Result<T, MapError>, is_whole: impl Fn(&T) -> bool) -> Read<T> {
    const ATTEMPTS: usize = 16;
    for _ in 0..ATTEMPTS {
        match copy() {
            Ok(row) if is_whole(&row) => return Read::Row(row),
            Ok(_) => {}
            Err(_) => return Read::Gone,
        }
    }
    Read::Torn
}

/// Why a probe is off that was not asked for.
pub(super) const NOT_ASKED_FOR: &str = "not asked for";

/// The maps of an object by name. They are the session's, and live as long as its programs.
fn map_fds(object: &Ebpf) -> MapFds {
    use aya::maps::Map;
    object
        .maps()
        .filter_map(|(name, map)| {
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "a foreign enum; the object has no others"
            )]
            let data = match map {
                Map::Array(data)
                | Map::HashMap(data)
                | Map::LruHashMap(data)
                | Map::PerCpuArray(data)
                | Map::PerCpuHashMap(data)
                | Map::RingBuf(data) => data,
                _ => return None,
            };
            Some((name.to_owned(), data.fd().as_fd().as_raw_fd()))
        })
        .collect()
}

fn slot(pid: Pid) -> u32 {
    pid.0 & (name::MAYBE_SLOTS - 1)
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    programs: &mut Ebpf,
    map: &'static str,
) -> Result<M, LoadError> {
    let missing = || MapError::InvalidName {
        name: map.to_owned(),
    };
    programs
        .take_map(map)
        .ok_or_else(missing)
        .and_then(M::try_from)
        .map_err(|source| LoadError::Map { map, source })
}
