//! Records from running processes: the kernel's edges as they come, its counters at each tick, names from `/proc`.
//!
//! The target is only read. A thread met in the middle is accounted from what `/proc` shows it blocked in, and
//! that is proof, not a guess: the kernel side is counting already when `/proc` is read, so if the thread had
//! moved meanwhile there would be a row, and the one made here would not be taken.

mod bursts;
mod cost;
mod governor;
mod holdings;
mod javascript;
mod node;
mod observer;
mod points;
mod resources;
mod stacks;
mod tasks;
mod watch;
mod watches;

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, StackId, StackTail, State, SyscallKey, SyscallNr,
    Target, ThreadRow, Tid,
    event::{Exec, ThreadExit, ThreadStart},
    stack::{JsFrame, JsTop},
};
use zerocopy::FromBytes;

use self::{
    cost::{Activity, Cost},
    governor::{Governor, Switch},
    holdings::Holdings,
    javascript::JavaScript,
    stacks::Stacks,
    tasks::Tasks,
};
pub use self::{
    governor::ORDER as SHED_ORDER,
    javascript::JsEvent,
    node::points as points_of_node,
    observer::{Answer, Observer, Question},
    points::points,
    stacks::Unnamed,
};
use crate::{
    bpf::{self, Detached, Kernel, LoadError, Read, Ready, probes::Group},
    record::{
        AgentSample, Loss, Meta, ProbeMeta, ProbeStatus, ProcessMeta, ProcessSample, Record,
        Sample, SessionMeta, SyscallNameMeta, SyscallSample, ThreadNameMeta, ThreadSample,
    },
    runtime::node::v8::Named,
    target::{Description, process, sys, syscall},
};

/// What to trace, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Passed on to the kernel side.
    pub bpf: bpf::Options,
    /// Follow children of the targets, those that exist and those to come.
    pub follow_children: bool,
    /// Time between ticks.
    pub interval: Nanos,
    /// Name of the probe profile, for the record.
    pub profile: String,
    /// The share of the targets' CPU time that probes may cost; `None` for no limit.
    pub max_overhead: Option<f64>,
}

/// Ticks after which every thread's name is read again: programs rename their threads, mostly early.
const NAMES_EVERY: u64 = 10;
/// Ticks during which a new thread's name is read each time.
const NAMES_EARLY: u64 = 3;

/// Threads that ended before their system calls are taken out of the kernel's table without waiting for the tick: a
/// thousand short processes a second fill it otherwise.
const HARVEST: usize = 128;

/// The share of the limit that watching polls and wakes may take.
const FOR_TASKS: f64 = 0.5;

/// An attached session.
pub struct Live {
    kernel: Kernel,
    options: Options,
    /// CPU time this process had used when the accounting began.
    cpu_before: Nanos,
    ticks: u64,
    processes: BTreeMap<Pid, Process>,
    threads: BTreeMap<(Tid, Nanos), Thread>,
    /// Threads that ended since the last tick: their counters are final.
    ended: BTreeSet<(Tid, Nanos)>,
    /// Returns counted when a row was last sent, so that only rows that changed are sent.
    counted: BTreeMap<SyscallKey, u64>,
    named: BTreeSet<SyscallNr>,
    losses: BTreeMap<LossReason, u64>,
    stacks: Stacks,
    javascript: JavaScript,
    holdings: Holdings,
    tasks: Tasks,
    cost: Cost,
    governor: Option<Governor>,
    activity: Activity,
    /// What each thread had done when it was last looked at.
    done: BTreeMap<(Tid, Nanos), (u64, u64, Nanos)>,
    last_tick: Nanos,
}

struct Process {
    since: Nanos,
    parent: Pid,
    /// The tick after which it was seen to exit.
    exited_at_tick: Option<u64>,
    usage: Option<process::Usage>,
}

#[derive(Default)]
struct Thread {
    pid: Pid,
    name: String,
    ticks: u64,
}

impl Live {
    /// Loads the kernel side and begins to trace `targets`. The records of what was found go to `out`.
    ///
    /// # Errors
    /// When the kernel side cannot be loaded.
    pub fn attach(
        targets: &[Pid],
        options: Options,
        out: &mut Vec<Record>,
    ) -> Result<Self, LoadError> {
        let mut bpf_options = options.bpf.clone();
        bpf_options.quotas |= targets.iter().any(|&pid| {
            crate::target::cpu::Cgroup::of(pid)
                .quota_millicpus()
                .is_some()
        });
        let kernel = Kernel::load(&bpf_options)?;
        let started = sys::monotonic();
        let (release, arch) = sys::uname();
        out.push(Record::Meta(Meta::Session(SessionMeta {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: options.profile.clone(),
            kernel: release,
            arch,
            cpus: sys::online_cpus(),
            started,
            started_unix_ns: sys::unix_ns_at(started),
            interval: options.interval,
        })));
        out.extend(
            kernel
                .probes()
                .iter()
                .cloned()
                .map(|probe| Record::Meta(Meta::Probe(probe))),
        );
        let mut live = Self {
            kernel,
            options,
            cpu_before: sys::own_cpu(),
            ticks: 0,
            processes: BTreeMap::new(),
            threads: BTreeMap::new(),
            ended: BTreeSet::new(),
            counted: BTreeMap::new(),
            named: BTreeSet::new(),
            losses: BTreeMap::new(),
            stacks: Stacks::default(),
            javascript: JavaScript::default(),
            holdings: Holdings::default(),
            tasks: Tasks::new(None, Nanos(0)),
            cost: Cost::default(),
            governor: None,
            activity: Activity::default(),
            done: BTreeMap::new(),
            last_tick: started,
        };
        live.governor = live.options.max_overhead.map(Governor::new);
        live.tasks = Tasks::new(
            live.options.max_overhead.map(|limit| limit * FOR_TASKS),
            live.options.interval,
        );
        for &target in targets {
            live.begin(target, out)?;
            // A process not yet traced may have had a child since it was looked for: look until nothing is new.
            // Children of traced ones the kernel side follows by itself.
            let mut found_more = live.options.follow_children;
            while found_more {
                found_more = false;
                for pid in process::with_descendants(target) {
                    found_more |= live.begin(pid, out)?;
                }
            }
        }
        if let Some(&first) = targets.first() {
            live.holdings.pressure(first, out);
        }
        live.tasks.ask();
        live.cost.begin(&live.kernel, sys::monotonic());
        Ok(live)
    }

    /// Traces one process that runs already: first the kernel counts, then its threads are looked at. False when
    /// it is traced already, or gone.
    fn begin(&mut self, pid: Pid, out: &mut Vec<Record>) -> Result<bool, LoadError> {
        // Its own clock reading, not the session's: what `/proc` says below holds from here on and no longer back.
        let since = sys::monotonic();
        let target = Target {
            since,
            follow_children: u32::from(self.options.follow_children),
            has_loops: 1,
        };
        if !self.kernel.add_target(pid, target)? {
            return Ok(false);
        }
        let threads = process::threads(pid);
        if threads.is_empty() {
            // It ended before the kernel side knew it, so its exit will never be reported.
            self.kernel
                .remove_target(pid, self.processes.keys().copied());
            return Ok(false);
        }
        for thread in threads {
            let row = ThreadRow::new(pid, since, thread.state, SyscallNr::UNSEEN);
            if self.kernel.seed_thread(thread.tid, row)
                && !process::thread_is_alive(pid, thread.tid)
            {
                // It ended between the look and the row, and nothing will ever close that row.
                self.kernel.forget_thread(thread.tid);
            }
            // Named under the identity its row has: one born meanwhile has a row of its own.
            if let Read::Row(row) = self.kernel.thread(thread.tid) {
                self.name_thread((thread.tid, row.first), pid, out);
            }
        }
        if let Some(end) = process::heap_end(pid) {
            self.kernel.seed_break(pid, end);
        }
        self.describe(pid, Pid(0), since, out);
        if let Some(process) = self.processes.get_mut(&pid) {
            process.sample(pid, out);
        }
        Ok(true)
    }

    /// Says what a process is; again after it began to run another program. One that is gone before it can be
    /// looked at is known by its parent only.
    fn describe(&mut self, pid: Pid, parent: Pid, seen: Nanos, out: &mut Vec<Record>) {
        let new = Process {
            since: seen,
            parent,
            exited_at_tick: None,
            usage: None,
        };
        let known = self.processes.entry(pid).or_insert(new);
        let gone = Description {
            pid,
            parent: known.parent,
            ..Description::default()
        };
        let found = process::describe(pid).unwrap_or(gone);
        known.parent = found.parent;
        if !found.exe.is_empty() {
            self.kernel.place_js(pid, None);
            self.tasks.begin(&mut self.kernel, pid);
        }
        out.push(Record::Meta(Meta::Process(ProcessMeta {
            pid,
            parent: found.parent,
            since: known.since,
            comm: found.comm,
            exe: found.exe,
            cmdline: found.cmdline,
        })));
    }

    /// True when there was at least one process to trace.
    #[must_use]
    pub fn any_found(&self) -> bool {
        !self.processes.is_empty()
    }

    /// True when none of the targets is left: each has begun to exit, and each of its threads is off the CPU
    /// for good.
    #[must_use]
    pub fn all_exited(&self) -> bool {
        self.threads.is_empty()
            && self
                .processes
                .values()
                .all(|process| process.exited_at_tick.is_some())
    }

    /// Tells when events are waiting. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    pub fn ready(&self) -> std::io::Result<Ready> {
        self.kernel.ready()
    }

    /// Takes every event that is waiting. Never waits.
    pub fn drain(&mut self, out: &mut Vec<Record>) {
        while let Some(read) = self.kernel.next_event(decode) {
            match read {
                Some((header, event, tail)) if tail.has_js() => {
                    if let Event::CpuSample(_) = event {
                        self.activity.samples += 1;
                    }
                    if let Some(late) = self.javascript.hold(header, event, tail) {
                        self.named(&late, &[], out);
                    }
                }
                Some((header, event, tail)) => {
                    let event = match tail.stacks {
                        Some(tail) => {
                            self.number_stacks(header, event, tail.first(), tail.second(), out)
                        }
                        None => event,
                    };
                    // The event comes first, what was looked up because of it afterwards.
                    out.push(Record::Event(header, event));
                    self.note(header, event, out);
                }
                None => self.lose(LossReason::UNKNOWN_EVENT, 1),
            }
        }
        self.kernel.flush_log();
        if self.ended.len() >= HARVEST {
            self.sample_syscalls(out);
        }
    }

    /// Puts an event on record whose frames were looked at: `names` has what was found.
    fn named(&mut self, held: &JsEvent, names: &[Option<Named>], out: &mut Vec<Record>) {
        let frames = self.javascript.addresses(held, names, out);
        let event = self.number_stacks(held.header, held.event, &frames, &held.second, out);
        out.push(Record::Event(held.header, event));
    }

    /// Writes the numbers of an event's stacks into it.
    fn number_stacks(
        &mut self,
        header: EventHeader,
        mut event: Event,
        first: &[u64],
        second: &[u64],
        out: &mut Vec<Record>,
    ) -> Event {
        let mut number = |pid: Pid, frames: &[u64]| {
            self.stacks.number(pid, frames, out).unwrap_or_else(|| {
                *self.losses.entry(LossReason::STACKS_FOLDED).or_default() += 1;
                StackId::NONE
            })
        };
        match &mut event {
            Event::LongWait(wait) => {
                wait.stack = number(wait.pid, first);
                wait.waker_stack = number(header.pid, second);
            }
            Event::CpuSample(sample) => {
                sample.stack = number(header.pid, first);
                sample.kernel_stack = number(Pid(0), second);
            }
            Event::Mapped(mapped) => mapped.stack = number(header.pid, first),
            Event::ThreadStart(_)
            | Event::ThreadExit(_)
            | Event::ProcessExit(_)
            | Event::Exec(_)
            | Event::Unmapped(_)
            | Event::LongPoll(_)
            | Event::LongIteration(_)
            | Event::LongCallback(_)
            | Event::Call(_) => {}
        }
        event
    }

    /// True while the kernel measures what programs cost: soon after, [`Live::listen`] should be called. The next tick
    /// does it otherwise.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.cost.is_asking()
    }

    /// Ends a measurement of what programs cost.
    pub fn listen(&mut self) {
        self.cost.listen(&self.kernel, sys::monotonic());
    }

    /// What became of every probe.
    #[must_use]
    pub fn probes(&self) -> &[ProbeMeta] {
        self.kernel.probes()
    }

    /// When [`Live::keep_to_plan`] should be called, at the latest.
    #[must_use]
    pub fn due(&self) -> Option<Nanos> {
        self.tasks.watch.due()
    }

    /// Switches what is to be on for a part of a tick only.
    pub fn keep_to_plan(&mut self) {
        self.tasks.watch.keep_to_plan(&mut self.kernel);
    }

    /// What was taken off and is to be dropped, each on a thread of its own; each is given out once.
    pub fn detached(&mut self) -> Vec<Detached> {
        self.kernel.detached()
    }

    /// Takes the probes that trap the targets off, for good: to be called before [`Live::finish`] by whoever can drop
    /// what [`Live::detached`] gives side by side.
    pub fn unwatch(&mut self) {
        self.tasks.watch.end(&mut self.kernel);
    }

    /// What an [`Observer`] is to be asked; each question is given out once.
    pub fn questions(&mut self) -> Vec<Question> {
        let mut questions = self.tasks.questions();
        questions.extend(self.javascript.questions());
        questions
    }

    /// True while events are with the [`Observer`], and are not on record without its answer.
    #[must_use]
    pub fn waits_for_names(&self) -> bool {
        self.javascript.asked > 0
    }

    /// What it answered.
    pub fn answered(&mut self, answer: Answer, out: &mut Vec<Record>) {
        let answer = match answer {
            Answer::Named(events, unknown) => {
                self.javascript.asked = self.javascript.asked.saturating_sub(events.len());
                self.lose(LossReason::JS_FRAMES_UNKNOWN, unknown);
                for (held, names) in events {
                    self.named(&held, &names, out);
                }
                return;
            }
            Answer::FoundJs(pid, v8) => {
                if self.processes.contains_key(&pid) {
                    let layout = v8.as_ref().map(|v8| v8.for_kernel());
                    self.kernel.place_js(pid, layout);
                    self.tasks.found_js(pid, v8);
                }
                return;
            }
            answer @ (Answer::Found(..) | Answer::Looked(..) | Answer::Counted(..)) => answer,
        };
        self.tasks.answered(&mut self.kernel, answer, out);
        let torn = std::mem::take(&mut self.tasks.torn);
        if torn > 0 {
            self.lose(LossReason::TORN_READ, torn);
        }
    }

    /// Addresses in stacks that wait for their names; each is given out once.
    pub fn unnamed(&mut self) -> Vec<Unnamed> {
        self.stacks.unnamed()
    }

    fn note(&mut self, header: EventHeader, event: Event, out: &mut Vec<Record>) {
        match event {
            Event::ThreadStart(ThreadStart { pid, tid }) => {
                self.kernel.notice(pid);
                if !self.processes.contains_key(&pid) {
                    self.describe(pid, header.pid, header.at, out);
                }
                self.threads.insert(
                    (tid, header.at),
                    Thread {
                        pid,
                        ..Thread::default()
                    },
                );
            }
            Event::ThreadExit(ThreadExit { first, times, .. }) => {
                self.threads.remove(&(header.tid, first));
                self.act((header.tid, first), &times, true);
                self.ended.insert((header.tid, first));
            }
            Event::ProcessExit(_) => {
                let tick = self.ticks;
                if let Some(process) = self.processes.get_mut(&header.pid) {
                    process.exited_at_tick = Some(tick);
                }
            }
            Event::Exec(Exec { old_tid, .. }) => {
                self.stacks.forget(header.pid);
                self.javascript.forget(header.pid);
                self.describe(header.pid, Pid(0), header.at, out);
                self.take_over(old_tid, header.tid);
            }
            Event::CpuSample(_) => self.activity.samples += 1,
            Event::LongWait(_)
            | Event::Mapped(_)
            | Event::Unmapped(_)
            | Event::LongPoll(_)
            | Event::LongIteration(_)
            | Event::LongCallback(_)
            | Event::Call(_) => {}
        }
    }

    /// A thread that calls exec goes on under the number of its process.
    fn take_over(&mut self, old_tid: Tid, tid: Tid) {
        let renamed: Vec<_> = self
            .threads
            .range((old_tid, Nanos(0))..=(old_tid, Nanos(u64::MAX)))
            .map(|(&key, _)| key)
            .collect();
        for (_, first) in renamed {
            if let Some(thread) = self.threads.remove(&(old_tid, first)) {
                self.threads.insert((tid, first), thread);
            }
        }
    }

    fn lose(&mut self, reason: LossReason, count: u64) {
        *self.losses.entry(reason).or_default() += count;
    }

    /// Reads every counter and closes a window.
    pub fn tick(&mut self, out: &mut Vec<Record>) {
        self.drain(out);
        self.sample_tables(out);
        let pids: Vec<Pid> = self
            .processes
            .iter()
            .filter(|(_, process)| process.exited_at_tick.is_none())
            .map(|(&pid, _)| pid)
            .collect();
        self.holdings.tick(&pids, out);
        // Last what has no gap: each thread's time is known up to here.
        self.sample_threads(out);
        self.sample_syscalls(out);
        for (&pid, process) in &mut self.processes {
            process.sample(pid, out);
        }
        self.forget_exited();
        self.sample_agent(out);
        self.take_skipped();
        for (reason, count) in self.kernel.losses() {
            if count > 0 {
                self.losses.insert(reason, count);
            }
        }
        out.extend(
            self.losses
                .iter()
                .map(|(&reason, &count)| Record::Loss(Loss { reason, count })),
        );
        let now = sys::monotonic();
        let length = now.since(self.last_tick).unwrap_or_default();
        let on_cpu = self.activity.on_cpu;
        self.tasks.tick(&mut self.kernel, now, length, on_cpu, out);
        if let Some(limit) = self.options.max_overhead
            && let Some(governor) = &mut self.governor
        {
            // What watching tasks leaves of its part is for the others.
            let for_tasks = self.tasks.watch.spent_share().min(limit * FOR_TASKS);
            governor.set_limit(limit - for_tasks);
        }
        [self.activity.polls, self.activity.wakes] = self.tasks.watch.seen();
        self.activity.at_functions = self.tasks.watch.cost();
        if let Some(mut cost) = self.cost.tick(&self.kernel, now, self.activity) {
            self.tasks.watch.tell(&mut cost);
            out.push(Record::Sample(Sample::Probes(cost)));
        }
        self.govern(now, out);
        out.push(Record::Tick(now));
        self.last_tick = now;
        self.ticks += 1;
    }

    fn govern(&mut self, now: Nanos, out: &mut Vec<Record>) {
        let length = now.since(self.last_tick).unwrap_or_default();
        let (Some(governor), Some(spent)) = (&mut self.governor, &self.cost.spent) else {
            return;
        };
        for Switch { group, on } in governor.tick(spent, length) {
            if self.kernel.switch(group, on) {
                let limit = self.options.max_overhead.unwrap_or_default();
                tell_switched(&self.kernel, governor, group, limit, out);
            }
        }
    }

    fn sample_tables(&mut self, out: &mut Vec<Record>) {
        let (holdings, names) = (&mut self.holdings, &mut self.tasks.node_names);
        for table in self.kernel.tables() {
            table.changed(&mut |sample| {
                holdings.counted(&sample);
                names.counted(&sample, out);
                out.push(Record::Sample(Sample::Counter(sample)));
            });
        }
    }

    /// Notes what a thread has done since it was last looked at.
    fn act(&mut self, thread: (Tid, Nanos), times: &tracer_common::ThreadTimes, ended: bool) {
        let now = (
            times.voluntary.saturating_add(times.involuntary),
            times.voluntary,
            times.of(State::ON_CPU),
        );
        let before = if ended {
            self.done.remove(&thread)
        } else {
            self.done.insert(thread, now)
        };
        let (switches, wakeups, on_cpu) = before.unwrap_or_default();
        self.activity.switches += now.0.saturating_sub(switches);
        self.activity.wakeups += now.1.saturating_sub(wakeups);
        let more = now.2.0.saturating_sub(on_cpu.0);
        self.activity.on_cpu = self.activity.on_cpu.plus(Nanos(more));
    }

    fn sample_threads(&mut self, out: &mut Vec<Record>) {
        let ids = self.kernel.thread_ids();
        self.threads.retain(|(tid, _), _| ids.contains(tid));
        self.done.retain(|(tid, _), _| ids.contains(tid));
        for tid in ids {
            // Before the row is copied: at this moment the thread was still in the state the copy has. With a later
            // clock it could have ended meanwhile, and its last times would be less than what is said here.
            let before = sys::monotonic();
            let row = match self.kernel.thread(tid) {
                Read::Row(row) => row,
                Read::Gone => continue,
                Read::Torn => {
                    self.lose(LossReason::TORN_READ, 1);
                    continue;
                }
            };
            let key = (tid, row.first);
            if row.state() == State::DEAD {
                self.bury(key, &row, out);
                continue;
            }
            let at = before.max(row.since());
            self.name_thread(key, row.pid, out);
            let times = row.times_at(at);
            self.act(key, &times, false);
            let blocked = row.state().is_blocked();
            out.push(Record::Sample(Sample::Thread(ThreadSample {
                at,
                pid: row.pid,
                tid,
                first: row.first,
                state: row.state(),
                times,
                ready_max: row.ready_max,
                waiting_on: if blocked { row.waiting_on } else { 0 },
            })));
        }
    }

    /// A thread whose exit event found no room in the ring buffer: the row has its final times.
    fn bury(&mut self, key: (Tid, Nanos), row: &ThreadRow, out: &mut Vec<Record>) {
        let (tid, first) = key;
        self.kernel.forget_thread(tid);
        let name = self
            .threads
            .remove(&key)
            .map(|thread| thread.name)
            .unwrap_or_default();
        let exit = Event::ThreadExit(ThreadExit {
            first,
            times: row.times,
            name: padded(&name),
            ready_max: row.ready_max,
        });
        let header = EventHeader {
            at: row.since(),
            pid: row.pid,
            tid,
            kind: exit.kind(),
            ..EventHeader::default()
        };
        out.push(Record::Event(header, exit));
        self.ended.insert(key);
    }

    fn name_thread(&mut self, key: (Tid, Nanos), pid: Pid, out: &mut Vec<Record>) {
        let (tid, first) = key;
        let thread = self.threads.entry(key).or_insert_with(|| Thread {
            pid,
            ..Thread::default()
        });
        thread.ticks += 1;
        if thread.ticks > NAMES_EARLY && !self.ticks.is_multiple_of(NAMES_EVERY) {
            return;
        }
        if let Some(name) = process::thread_name(thread.pid, tid)
            && name != thread.name
        {
            thread.name.clone_from(&name);
            out.push(Record::Meta(Meta::ThreadName(ThreadNameMeta {
                pid: thread.pid,
                tid,
                first,
                name,
            })));
        }
    }

    fn sample_syscalls(&mut self, out: &mut Vec<Record>) {
        let ended = std::mem::take(&mut self.ended);
        for key in self.kernel.syscall_keys() {
            let last = ended.contains(&(key.tid, key.first));
            let row = match self.kernel.syscall(key) {
                Read::Row(row) => row,
                Read::Gone => continue,
                Read::Torn => {
                    self.lose(LossReason::TORN_READ, 1);
                    continue;
                }
            };
            let before = if last {
                self.kernel.forget_syscall(key);
                self.counted.remove(&key)
            } else {
                self.counted.insert(key, row.count)
            };
            let more = row.count.saturating_sub(before.unwrap_or(0));
            self.activity.syscalls += more;
            if !last && more == 0 && before.is_some() {
                continue;
            }
            if self.named.insert(key.nr) {
                let name = syscall::name(key.nr);
                out.push(Record::Meta(Meta::SyscallName(SyscallNameMeta {
                    nr: key.nr,
                    name,
                })));
            }
            let buckets = (0u32..)
                .zip(row.buckets)
                .filter(|&(_, count)| count > 0)
                .collect();
            out.push(Record::Sample(Sample::Syscall(SyscallSample {
                key,
                count: row.count,
                errors: row.errors,
                timed: row.timed,
                sum: row.sum,
                max: row.max,
                buckets,
                last,
            })));
        }
    }

    /// Stops tracing processes that exited before the last tick: their last threads are off the CPU by now.
    fn forget_exited(&mut self) {
        let done: Vec<Pid> = self
            .processes
            .iter()
            .filter(|(_, process)| process.exited_at_tick.is_some_and(|tick| tick < self.ticks))
            .map(|(&pid, _)| pid)
            .collect();
        for pid in done {
            self.processes.remove(&pid);
            self.kernel.place_js(pid, None);
            self.tasks.forget(&mut self.kernel, pid);
            self.kernel
                .remove_target(pid, self.processes.keys().copied());
        }
    }

    fn sample_agent(&self, out: &mut Vec<Record>) {
        let rss_bytes = process::usage(Pid(std::process::id())).map_or(0, |usage| usage.rss_bytes);
        out.push(Record::Sample(Sample::Agent(AgentSample {
            at: sys::monotonic(),
            cpu: sys::own_cpu().since(self.cpu_before).unwrap_or_default(),
            rss_bytes,
        })));
    }

    /// Detaches, then reads what is left: nothing changes any more, so nothing is missed.
    /// Gives the addresses that still wait for their names.
    pub fn finish(mut self, out: &mut Vec<Record>) -> Vec<Unnamed> {
        self.drain(out);
        for late in self.javascript.rest() {
            self.named(&late, &[], out);
        }
        let late = self.javascript.asked as u64;
        if late > 0 {
            self.lose(LossReason::JS_SAMPLES_LATE, late);
        }
        self.name_all(out);
        // These counts go with the programs.
        self.take_skipped();
        self.listen();
        self.kernel.detach();
        self.tick(out);
        self.unnamed()
    }

    /// Names threads that have no name yet. One that ends while the programs are taken off leaves no event with it; one
    /// that is no longer in `/proc` is about to leave its event, which is waited for.
    fn name_all(&mut self, out: &mut Vec<Record>) {
        const PATIENCE: Nanos = Nanos(20_000_000);
        let end = sys::monotonic().plus(PATIENCE);
        loop {
            let unnamed = self.threads.iter();
            let unnamed = unnamed.filter(|(_, thread)| thread.name.is_empty());
            let unnamed: Vec<_> = unnamed.map(|(&key, thread)| (key, thread.pid)).collect();
            if unnamed.is_empty() || sys::monotonic() >= end {
                return;
            }
            for (key, pid) in unnamed {
                self.name_thread(key, pid, out);
            }
            std::thread::yield_now();
            self.drain(out);
        }
    }

    fn take_skipped(&mut self) {
        let count = self.kernel.skipped();
        if count > 0 {
            self.losses.insert(LossReason::PROBE_SKIPPED, count);
        }
    }
}

impl Process {
    /// Sends memory and faults when they changed.
    fn sample(&mut self, pid: Pid, out: &mut Vec<Record>) {
        if self.exited_at_tick.is_some() {
            return;
        }
        let usage = process::usage(pid);
        if usage.is_none() || usage == self.usage {
            return;
        }
        self.usage = usage;
        let process::Usage {
            rss_bytes,
            minor_faults,
            major_faults,
        } = usage.unwrap_or_default();
        let at = sys::monotonic();
        out.push(Record::Sample(Sample::Process(ProcessSample {
            at,
            pid,
            rss_bytes,
            minor_faults,
            major_faults,
        })));
    }
}

/// Puts on record that the probes of a group, and those that depend on it, do not count all the time.
fn tell_switched(
    kernel: &Kernel,
    governor: &Governor,
    group: Group,
    limit: f64,
    out: &mut Vec<Record>,
) {
    for probe in kernel.probes() {
        let Some(own) = Group::by_name(&probe.group) else {
            continue;
        };
        let depends = own == group || own.needs() == Some(group);
        if !depends || probe.status != ProbeStatus::Attached {
            continue;
        }
        // Off with its own group, or with the one it needs.
        let of = |group| governor.off_share(group).unwrap_or(0.0);
        let off = of(own).max(own.needs().map_or(0.0, of));
        let mut probe = probe.clone();
        probe.status = ProbeStatus::Degraded;
        probe.why = format!(
            "off {:.0} % of the time since it was first switched off, to keep --max-overhead {}%; what it says is of \
             the rest",
            off * 100.0,
            limit * 100.0
        );
        out.push(Record::Meta(Meta::Probe(probe)));
    }
}

/// What follows an event: its stacks, and what was read of the frames of the first one.
struct Tail {
    stacks: Option<StackTail>,
    top: JsTop,
    frames: Vec<JsFrame>,
}

impl Tail {
    fn has_js(&self) -> bool {
        self.frames.iter().any(JsFrame::is_js)
    }
}

fn decode(bytes: &[u8]) -> Option<(EventHeader, Event, Tail)> {
    let (header, rest) = EventHeader::read_from_prefix(bytes).ok()?;
    let rest = rest.get(..usize::from(header.len))?;
    let event = Event::decode(header.kind, rest)?;
    let tail = rest.get(event.payload().len()..).unwrap_or_default();
    let (stacks, frames) = match StackTail::read_from_prefix(tail) {
        Ok((stacks, frames)) => (Some(stacks), frames),
        Err(_) => (None, &[][..]),
    };
    let (top, frames) = JsTop::read_from_prefix(frames).unwrap_or_default();
    let frames = frames.chunks_exact(size_of::<JsFrame>());
    let frames = frames.filter_map(|frame| JsFrame::read_from_bytes(frame).ok());
    let frames = frames.collect();
    let tail = Tail {
        stacks,
        top,
        frames,
    };
    Some((header, event, tail))
}

fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes()).take(15) {
        *to = from;
    }
    bytes
}
