//! Tasks of the targets: which runtime they have, where to probe it, what tasks are there.
//!
//! Files and memory are read by an [`super::Observer`] on another thread, because programs are large; what is asked of it
//! and what it answers pass through here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tracer_common::{
    Nanos, Pid, Tid,
    task::{IdKey, TaskKey, TaskRow, TaskState},
};

use super::{
    node::{self, Names},
    observer::{Answer, Found, Look, Question},
    points::{points, runtime, task_type},
    resources::Resources,
    watches::Watches,
};
use crate::{
    bpf::Kernel,
    record::{AliveSample, Meta, Record, RuntimeMeta, Sample, TaskSample, WaitsMeta},
    runtime::node::v8,
};

/// Tasks of one look that are put on record one by one: those that run or wait for a thread, then the oldest.
const LISTED: usize = 400;
/// Tasks whose age is followed, per process.
const AGES: usize = 262_144;
/// Types of which it is told where their tasks wait, per process.
const TYPES: usize = 1_024;
/// Looks at a process take no more than this share of a CPU: after one, none for so many times as long.
const PATIENCE: u64 = 50;
/// The kernel side's table is swept of tasks that ended unseen when it holds this many.
const MANY: usize = 100_000;

/// What is known about the targets' tasks.
pub(super) struct Tasks {
    processes: BTreeMap<Pid, Process>,
    /// Processes nobody was asked about yet.
    unasked: BTreeSet<Pid>,
    questions: Vec<Question>,
    pub(super) watch: Watches,
    pub(super) node_names: Names,
    resources: Resources,
    /// Samples that agreed and did not when a place was last given up.
    checked: [u64; 2],
    /// Tasks that changed with each reading.
    pub(super) torn: u64,
}

#[derive(Default)]
struct Process {
    /// Addresses of the vtables in the process.
    types: BTreeSet<u64>,
    /// Types that had tasks at the last look.
    alive: BTreeSet<u64>,
    /// When each task was first seen, by header and id.
    first: BTreeMap<(u64, u64), Nanos>,
    /// Ids whose types the kernel side knows.
    named: BTreeSet<u64>,
    /// Where its threads may keep the id of the task they run: the first is in use.
    places: Vec<i64>,
    /// A look was asked for and not answered.
    is_asked: bool,
    next_look: Nanos,
    /// What its runtime is; taken when it was said that a look does not see all.
    runtime: Option<RuntimeMeta>,
    has_tasks: bool,
    looks: u64,
    /// Where tasks wait, as it was last told, by type.
    waits: BTreeMap<u64, WaitsMeta>,
}

impl Process {
    /// Tells the kernel side the types of tasks by their ids, for what happens while polls are not watched.
    fn name_ids(&mut self, kernel: &mut Kernel, pid: Pid, look: &Look) {
        let key = |id: u64| IdKey {
            id,
            pid,
            reserved: 0,
        };
        let mut there = BTreeSet::new();
        for task in look.tasks.iter().chain(&look.ended) {
            if task.id != 0 && there.len() < AGES {
                there.insert(task.id);
                if !self.named.contains(&task.id) {
                    kernel.name_task(key(task.id), task.vtable);
                }
            }
        }
        for &id in self.named.difference(&there) {
            kernel.forget_task_id(key(id));
        }
        self.named = there;
    }
}

impl Tasks {
    pub(super) fn new(limit: Option<f64>, interval: Nanos) -> Self {
        Self {
            processes: BTreeMap::new(),
            unasked: BTreeSet::new(),
            questions: Vec::new(),
            watch: Watches::new(limit, interval),
            node_names: Names::default(),
            resources: Resources::default(),
            checked: [0; 2],
            torn: 0,
        }
    }

    /// A process came, or runs another program now.
    pub(super) fn begin(&mut self, kernel: &mut Kernel, pid: Pid) {
        kernel.remove_functions(pid);
        self.node_names.forget(pid);
        self.resources.forget(pid);
        kernel.watch_loops(pid, true);
        self.processes.insert(pid, Process::default());
        self.unasked.insert(pid);
    }

    /// Asks about processes that came. Not about each at once: programs that start a thousand short ones a second would
    /// keep the observer busy with the dead.
    pub(super) fn ask(&mut self) {
        const AT_ONCE: usize = 16;
        for _ in 0..AT_ONCE {
            let Some(pid) = self.unasked.pop_first() else {
                return;
            };
            // Takes a hundredth of the time of the other.
            self.questions.push(Question::FindJs(pid));
            self.questions.push(Question::Find(pid));
        }
    }

    /// Whether a process has V8 in it.
    pub(super) fn found_js(&mut self, pid: Pid, v8: Option<Arc<v8::Found>>) {
        self.resources.found_js(pid, v8);
    }

    /// A process is gone.
    pub(super) fn forget(&mut self, kernel: &mut Kernel, pid: Pid) {
        self.unasked.remove(&pid);
        if self.processes.remove(&pid).is_some() {
            kernel.remove_functions(pid);
            self.node_names.forget(pid);
            self.resources.forget(pid);
            self.questions.push(Question::Forget(pid));
        }
    }

    pub(super) fn questions(&mut self) -> Vec<Question> {
        std::mem::take(&mut self.questions)
    }

    /// What was found in a process.
    pub(super) fn answered(&mut self, kernel: &mut Kernel, answer: Answer, out: &mut Vec<Record>) {
        match answer {
            Answer::Found(pid, found) => self.found(kernel, pid, &found, out),
            Answer::Looked(pid, look) => {
                self.looked(kernel, pid, &look, out);
                if let Some(waits) = look.waits {
                    self.wait(pid, waits, out);
                }
            }
            Answer::Counted(pid, count) => self.torn += self.resources.counted(pid, count, out),
            // Nothing about tasks.
            Answer::FoundJs(..) | Answer::Named(..) => {}
        }
    }

    fn found(&mut self, kernel: &mut Kernel, pid: Pid, found: &Found, out: &mut Vec<Record>) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let meta = runtime(pid, found);
        kernel.watch_loops(pid, meta.has_loops());
        process.runtime = Some(meta.clone());
        out.push(Record::Meta(Meta::Runtime(meta)));
        for mapped in &found.tokio {
            for of_type in &mapped.holds.types {
                let meta = task_type(pid, mapped, of_type);
                process.types.insert(meta.vtable);
                out.push(Record::Meta(Meta::TaskType(meta)));
            }
            for (which, points) in points(pid, mapped) {
                kernel.add_functions(which, points);
            }
            let types = mapped.holds.types.len().max(1) as f64;
            let stepped = mapped.holds.types.iter();
            let stepped = stepped.filter(|of_type| !of_type.poll_probe.is_emulated);
            self.watch.stepped = self.watch.stepped.max(stepped.count() as f64 / types);
            process.places = mapped.holds.current_task.clone();
            let place = kernel.place_task_id(pid, process.places.first().copied());
            out.extend(place.map(|meta| Record::Meta(Meta::Probe(meta))));
            process.has_tasks = true;
        }
        if let Some(node) = &found.node {
            if found.counts {
                self.questions.push(self.resources.begin(pid));
            }
            if let Some(image) = self.node_names.add(pid, node) {
                kernel.place_image(pid, image);
            }
            self.watch.steps_queued_work |= node::steps_queued_work(node);
            for (which, points) in node::points(pid, node) {
                kernel.add_functions(which, points);
            }
        }
        if !process.has_tasks && found.node.is_none() {
            return;
        }
        if let Some(look) = &found.look {
            self.looked(kernel, pid, look, out);
        }
        let types: usize = found
            .tokio
            .iter()
            .map(|mapped| mapped.holds.types.len())
            .sum();
        self.watch.attach(kernel, out);
        log::info!(
            "process {}: {types} types of tasks, ready to be watched",
            pid.0
        );
    }

    /// The tasks that were found in a process's memory.
    fn looked(&mut self, kernel: &mut Kernel, pid: Pid, look: &Look, out: &mut Vec<Record>) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        process.is_asked = false;
        // Of a process that went away, nothing is left out.
        if !look.is_whole
            && look.took.0 >= 1_000_000_000
            && let Some(mut meta) = process.runtime.take()
        {
            let note =
                "reading all of its tasks takes too long: there are more than are counted as live";
            meta.notes.push(note.to_owned());
            out.push(Record::Meta(Meta::Runtime(meta)));
        }
        process.next_look = Nanos(look.at.0 + look.took.0.saturating_mul(PATIENCE));
        process.looks += 1;
        self.torn += look.torn;
        let is_first = process.looks == 1;
        let mut alive: BTreeMap<u64, AliveSample> = BTreeMap::new();
        for &vtable in &process.alive {
            alive.entry(vtable).or_default();
        }
        let mut first = BTreeMap::new();
        let polled: BTreeMap<u64, (Tid, Nanos)> = kernel
            .running()
            .into_iter()
            .flat_map(|(tid, running)| {
                let depth = running.depth as usize;
                let frames = running.frames.into_iter().take(depth);
                frames.map(move |frame| (frame.header, (tid, frame.since)))
            })
            .collect();
        let mut tasks: Vec<TaskSample> = Vec::with_capacity(look.tasks.len());
        for task in &look.tasks {
            let sample = alive.entry(task.vtable).or_default();
            let count = match TaskState::of(task.state) {
                TaskState::Running => &mut sample.running,
                TaskState::Queued => &mut sample.queued,
                TaskState::Idle => &mut sample.idle,
                TaskState::Complete => &mut sample.complete,
            };
            *count += 1;
            let key = (task.header, task.id);
            let seen = process.first.get(&key).copied().unwrap_or(look.at);
            if first.len() < AGES {
                first.insert(key, seen);
            }
            let key = TaskKey {
                header: task.header,
                pid,
                reserved: 0,
            };
            if is_first {
                let row = TaskRow {
                    id: task.id,
                    vtable: task.vtable,
                    ..TaskRow::default()
                };
                kernel.seed_task(key, row);
            }
            let (tid, poll) = polled.get(&task.header).copied().unwrap_or_default();
            tasks.push(TaskSample {
                at: look.at,
                pid,
                header: task.header,
                id: task.id,
                vtable: task.vtable,
                owner: task.owner,
                state: task.state,
                first: seen,
                tid,
                poll,
            });
        }
        process.first = first;
        if !process.places.is_empty() {
            process.name_ids(kernel, pid, look);
        }
        process.alive = alive
            .iter()
            .filter(|(_, sample)| {
                sample.running + sample.queued + sample.idle + sample.complete > 0
            })
            .map(|(&vtable, _)| vtable)
            .collect();
        out.extend(alive.into_iter().map(|(vtable, sample)| {
            Record::Sample(Sample::Alive(AliveSample {
                at: look.at,
                pid,
                vtable,
                ..sample
            }))
        }));
        tasks.sort_by_key(|task| {
            let state = TaskState::of(task.state);
            let is_idle = matches!(state, TaskState::Idle | TaskState::Complete);
            (is_idle, task.first, task.id)
        });
        tasks.truncate(LISTED);
        out.extend(
            tasks
                .into_iter()
                .map(|task| Record::Sample(Sample::Task(task))),
        );
        if look.is_whole && !is_first {
            self.sweep(kernel, pid, look);
        }
    }

    /// Puts on record where tasks wait, as far as that has changed.
    fn wait(&mut self, pid: Pid, waits: Vec<WaitsMeta>, out: &mut Vec<Record>) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        // Those of which no task waits any more.
        let at = waits.first().map(|told| told.at);
        let gone = process.waits.values().filter(|told| told.tasks > 0);
        let gone = gone.filter(|told| !process.alive.contains(&told.vtable));
        let gone: Vec<WaitsMeta> = gone
            .map(|told| WaitsMeta {
                at: at.unwrap_or(told.at),
                pid,
                vtable: told.vtable,
                ..WaitsMeta::default()
            })
            .collect();
        for told in waits.into_iter().chain(gone) {
            let before = process.waits.get(&told.vtable);
            let is_same = before.is_some_and(|before| {
                WaitsMeta {
                    at: told.at,
                    ..before.clone()
                } == told
            });
            if !is_same && (process.waits.len() < TYPES || before.is_some()) {
                process.waits.insert(told.vtable, told.clone());
                out.push(Record::Meta(Meta::Waits(told)));
            }
        }
    }

    /// Takes tasks that ended while nobody watched out of the kernel side's table.
    fn sweep(&mut self, kernel: &mut Kernel, pid: Pid, look: &Look) {
        let keys = kernel.task_keys();
        if keys.len() < MANY {
            return;
        }
        let there: BTreeSet<u64> = look.tasks.iter().map(|task| task.header).collect();
        for key in keys {
            if key.pid == pid && !there.contains(&key.header) {
                // One that came since the look was polled since then.
                let is_old = kernel
                    .task(key)
                    .is_some_and(|row| row.polled.max(row.first).max(row.queued) < look.at);
                if is_old {
                    kernel.forget_task(key);
                }
            }
        }
    }

    /// Asks for looks, and decides for how long polls are watched until the next tick.
    pub(super) fn tick(
        &mut self,
        kernel: &mut Kernel,
        now: Nanos,
        length: Nanos,
        on_cpu: Nanos,
        out: &mut Vec<Record>,
    ) {
        self.ask();
        self.questions.extend(self.resources.due(now));
        for (&pid, process) in &mut self.processes {
            if process.has_tasks && !process.is_asked && process.next_look <= now {
                process.is_asked = true;
                self.questions.push(Question::Look(pid));
            }
        }
        self.check_places(kernel, out);
        self.watch.tick(kernel, now, (length, on_cpu), out);
    }

    /// Where a thread keeps the id of its task is read off the program's code. Whether that is right shows in samples
    /// of polls that are watched: a place that tells other ids is given up for the next.
    fn check_places(&mut self, kernel: &mut Kernel, out: &mut Vec<Record>) {
        const ENOUGH: u64 = 20;
        let seen = kernel.seen();
        let agreed = seen.agreed - self.checked[0];
        let differed = seen.differed - self.checked[1];
        // Between the entry of `poll` and the writing of the id a right place differs too; a wrong one never agrees.
        if differed < ENOUGH || agreed > 0 {
            return;
        }
        self.checked = [seen.agreed, seen.differed];
        for (&pid, process) in &mut self.processes {
            if !process.places.is_empty() {
                let wrong = process.places.remove(0);
                log::info!("process {}: its tasks' ids are not at {wrong}", pid.0);
                let place = kernel.place_task_id(pid, process.places.first().copied());
                out.extend(place.map(|meta| Record::Meta(Meta::Probe(meta))));
            }
        }
    }
}
