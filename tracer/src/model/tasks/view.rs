//! What is known about tasks, as a snapshot shows it.

use std::collections::BTreeMap;

use tracer_common::{
    Nanos,
    table::{TaskTime, TimesKey, TypeKey, TypeRow},
    task::{OFF_PARTS, UNKNOWN_TYPE},
};

use super::{Samples, Type, off_of};
use crate::{
    model::{
        Model,
        counters::{distribution, scale, scale_all},
        snapshot::{
            AliveView, LISTED, LongPollView, PollerView, TaskStackView, TaskState, TaskTypeView,
            TaskView, TasksView,
        },
    },
    record::{AliveSample, ProbeStatus, TaskSample, TaskTypeMeta},
};

/// Stacks and wakers shown of a type.
const SHOWN: usize = 8;
/// The probe that reads which task a thread runs.
const RUNNING_TASK: &str = "running_task";

pub(super) fn alive_view(sample: &AliveSample) -> AliveView {
    AliveView {
        running: sample.running,
        queued: sample.queued,
        idle: sample.idle,
        complete: sample.complete,
    }
}

impl Model {
    pub(in crate::model) fn tasks_view(&self) -> TasksView {
        let tasks = &self.tasks;
        let watched = tasks.share(tasks.on[0]);
        let (alive, alive_unlisted) = self.alive_views();
        let mut view = TasksView {
            runtimes: tasks.runtimes.values().cloned().collect(),
            types: Vec::new(),
            types_unlisted: 0,
            alive,
            alive_unlisted,
            pollers: self.poller_views(),
            long_polls: self.long_poll_views(),
            watched,
            wakes_watched: tasks.share(tasks.on[1]),
            watch_span: watched.map_or(Nanos(0), |_| tasks.span()),
            recent_on: tasks.recent_on,
            followed: self.follows_tasks(),
        };
        let mut types = self.type_views(watched, view.wakes_watched, view.followed);
        for (task, time) in view.going_on(self.now) {
            let mut of_type = types.iter_mut();
            if let Some(of) = of_type.find(|of| (of.pid, of.vtable) == (task.pid, task.vtable)) {
                of.going_on = of.going_on.plus(time);
                of.recently_going_on = of.recently_going_on.plus(time.min(self.window));
            }
        }
        // A row of those that ended unnamed says nothing while polls tell who it was.
        types.retain(|of| !of.is_unnamed() || of.polls > 0 || of.found().0 > 0);
        types.sort_by(|a, b| {
            let size = |of: &TaskTypeView| {
                let alive = of.alive.unwrap_or_default().unfinished();
                (!of.is_worker(), of.in_polls(&view), alive)
            };
            size(b)
                .cmp(&size(a))
                .then_with(|| (a.pid, a.vtable).cmp(&(b.pid, b.vtable)))
        });
        view.types_unlisted = types.len().saturating_sub(LISTED) as u64;
        types.truncate(LISTED);
        view.types = types;
        view
    }

    /// True when the task that a thread runs is known also while polls are not watched.
    fn follows_tasks(&self) -> bool {
        let mut probes = self.probes.iter();
        probes.any(|probe| {
            let works = matches!(probe.status, ProbeStatus::Attached | ProbeStatus::Degraded);
            probe.name == RUNNING_TASK && works
        })
    }

    fn type_views(
        &self,
        watched: Option<f64>,
        wakes_watched: Option<f64>,
        followed: bool,
    ) -> Vec<TaskTypeView> {
        let mut views: BTreeMap<Type, TaskTypeView> = BTreeMap::new();
        let tasks = &self.tasks;
        let exact = watched.is_some_and(|share| share >= 0.999);
        let mut spawned: BTreeMap<Type, u64> = BTreeMap::new();
        let scaled = |count: u64| scale(count, watched);
        let of_wakes = |count: u64| wakes_watched.map(|_| scale(count, wakes_watched));
        for found in self.tables.task_types.largest(usize::MAX) {
            let TypeKey { vtable, pid, .. } = found.key;
            let row: TypeRow = found.row;
            let view = views.entry((pid, vtable)).or_default();
            spawned.insert((pid, vtable), row.first);
            view.completed = scaled(row.completed);
            view.cancelled = scaled(row.cancelled);
            view.polls = scaled(row.polls);
            view.recent_polls = found.recent[0];
            view.queued = scaled(row.queued);
            view.rescheduled = scaled(row.rescheduled);
            view.long_polls = scaled(row.long_polls);
            view.wakes = of_wakes(row.wakes);
            view.redundant_wakes = of_wakes(row.redundant_wakes);
            view.self_wakes = of_wakes(row.self_wakes);
            // While polls are not watched, the scheduler's edges are charged all the same, if anything tells to what.
            let share = watched.filter(|_| !followed);
            view.off = off_of(&row).map(|part| Nanos(scale(part.0, share)));
            let off = tasks.off.get(&(pid, vtable));
            view.recent_off = off.map_or_else(Default::default, |&[_, recent]| recent);
        }
        for found in self.tables.task_times.largest(usize::MAX) {
            let TimesKey { vtable, pid, what } = found.key;
            let view = views.entry((pid, vtable)).or_default();
            let by_wakes = what == TaskTime::SCHEDULED || what == TaskTime::IDLE;
            let share = if by_wakes {
                wakes_watched.or(watched)
            } else {
                watched
            };
            let times = scale_all(distribution(&found.row), share);
            match what {
                TaskTime::BUSY => {
                    view.busy = times;
                    view.recent_busy = Nanos(found.recent[1]);
                }
                TaskTime::SCHEDULED => view.scheduled = times,
                TaskTime::IDLE => view.idle = times,
                TaskTime::LIFETIME => view.lifetime = times,
                _ => {}
            }
        }
        for (&key, sample) in &tasks.alive {
            let alive = alive_view(sample);
            if alive != AliveView::default() || views.contains_key(&key) {
                views.entry(key).or_default().alive = Some(alive);
            }
        }
        for (key, waits) in &tasks.waits {
            if let Some(view) = views.get_mut(key) {
                view.waits = Some(waits.clone());
            }
        }
        for (&key, samples) in &tasks.samples {
            let view = views.entry(key).or_default();
            view.samples = samples.count;
            view.sampled_cpu = samples.cpu;
            (view.recent_samples, view.recent_cpu) = samples.recent;
            view.stacks = self.task_stacks(samples);
        }
        for (key, [count, _]) in self.tables.task_wakes.headlines() {
            if let Some(view) = views.get_mut(&(key.pid, key.woken)) {
                let name = match key.waker {
                    0 => String::new(),
                    waker => self.type_name((key.pid, waker)),
                };
                view.wakers.push((name, scale(count, wakes_watched)));
            }
        }
        let mut views: Vec<TaskTypeView> = views
            .into_iter()
            .map(|(key, view)| self.named(key, view))
            .collect();
        for view in &mut views {
            let seen = spawned.get(&(view.pid, view.vtable));
            view.spawned = exact.then(|| seen.copied().unwrap_or(0));
            if wakes_watched.is_some() {
                // One without a row was not woken, which is not the same as not watched.
                for count in [
                    &mut view.wakes,
                    &mut view.redundant_wakes,
                    &mut view.self_wakes,
                ] {
                    count.get_or_insert(0);
                }
            }
        }
        views
    }

    fn named(&self, key: Type, mut view: TaskTypeView) -> TaskTypeView {
        (view.pid, view.vtable) = key;
        view.wakers
            .sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        view.wakers.truncate(SHOWN);
        match self.tasks.types.get(&key) {
            Some(meta) => {
                view.name.clone_from(&meta.name);
                view.raw_name.clone_from(&meta.raw_name);
                view.file.clone_from(&meta.file);
                view.line = meta.line;
                view.kind = meta.kind;
            }
            None => view.name = self.type_name(key),
        }
        view
    }

    fn type_name(&self, key: Type) -> String {
        match self.tasks.types.get(&key) {
            Some(meta) => meta.name.clone(),
            None if key.1 == UNKNOWN_TYPE => "tasks that ended unnamed".to_owned(),
            None => format!("type at {:#x}", key.1),
        }
    }

    fn task_stacks(&self, samples: &Samples) -> Vec<TaskStackView> {
        let mut stacks: Vec<_> = samples.stacks.iter().collect();
        stacks.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        stacks.truncate(SHOWN);
        stacks
            .into_iter()
            .map(|(&stack, &time)| TaskStackView {
                stack: self.stacks.view(stack),
                time,
            })
            .collect()
    }

    fn alive_views(&self) -> (Vec<TaskView>, u64) {
        let looks = self.tasks.looks.values();
        let mut views: Vec<TaskView> = looks
            .flat_map(|look| &look.tasks)
            .map(|sample| self.task_view(sample))
            .collect();
        views.sort_by_key(|view| (view.state, view.first, view.pid, view.id, view.header));
        let all = views.len();
        views.truncate(5 * LISTED);
        let all_alive: u64 = self
            .tasks
            .alive
            .values()
            .map(|sample| {
                alive_view(sample)
                    .unfinished()
                    .saturating_add(sample.complete)
            })
            .fold(0, u64::saturating_add);
        let unlisted = all_alive.max(all as u64).saturating_sub(views.len() as u64);
        (views, unlisted)
    }

    fn task_view(&self, sample: &TaskSample) -> TaskView {
        let key = (sample.pid, sample.vtable);
        let meta = self.tasks.types.get(&key);
        TaskView {
            pid: sample.pid,
            header: sample.header,
            id: sample.id,
            vtable: sample.vtable,
            name: self.type_name(key),
            source: meta.map_or_else(String::new, source),
            kind: meta.map(|meta| meta.kind).unwrap_or_default(),
            state: TaskState::of(sample.state),
            owner: sample.owner,
            first: sample.first,
            tid: sample.tid,
            poll: sample.poll,
            stack: match sample.poll {
                Nanos(0) => Vec::new(),
                since => {
                    let stack = self.tasks.found.within(sample.tid, since, self.now);
                    self.stacks.view(stack)
                }
            },
        }
    }

    fn poller_views(&self) -> Vec<PollerView> {
        let names = self.threads.names();
        let [watched, wakes_watched, _] = self.tasks.on.map(|on| self.tasks.share(on));
        let rows = self.tables.pollers.largest(LISTED);
        rows.into_iter()
            .map(|found| PollerView {
                pid: found.key.pid,
                tid: found.key.tid,
                name: names.get(&found.key.tid).cloned().unwrap_or_default(),
                polls: scale(found.row.polls, watched),
                busy: Nanos(scale(found.row.busy, watched)),
                blocking: scale(found.row.blocking, watched),
                blocking_busy: Nanos(scale(found.row.blocking_busy, watched)),
                parks: scale(found.row.parks, watched),
                moved: wakes_watched.map(|share| scale(found.row.moved, Some(share))),
                recent_polls: found.recent[0],
                recent_busy: Nanos(found.recent[1]),
                recent_parks: self.tasks.parks.get(&found.key).map_or(0, |parks| parks[1]),
            })
            .collect()
    }

    fn long_poll_views(&self) -> Vec<LongPollView> {
        let newest = self.tasks.long_polls.iter().rev();
        newest
            .map(|long| {
                let key = (long.header.pid, long.poll.vtable);
                LongPollView {
                    since: long.poll.since,
                    busy: long.header.at.since(long.poll.since).unwrap_or_default(),
                    tid: long.header.tid,
                    pid: long.header.pid,
                    name: self.type_name(key),
                    source: self.tasks.types.get(&key).map_or_else(String::new, source),
                    task: long.poll.task,
                    off: long.poll.off.map(Nanos),
                    stack: self.stacks.view(long.stack),
                }
            })
            .collect()
    }
}

fn source(meta: &TaskTypeMeta) -> String {
    if meta.file.is_empty() {
        String::new()
    } else {
        format!("{}:{}", meta.file, meta.line)
    }
}

const _: () = assert!(OFF_PARTS == 5);
