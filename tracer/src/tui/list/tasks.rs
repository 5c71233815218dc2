//! The list of types of tasks.

use tracer_common::{Nanos, Pid, task::OFF_PARTS};

use super::{List, Period, Row, Sort};
use crate::model::{Snapshot, TaskTypeView, TasksView};

/// What types of tasks are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskSort {
    /// Time in polls, longest first.
    #[default]
    Busy,
    /// Polls, most first.
    Polls,
    /// Tasks that are there, most first.
    Live,
    /// 99th percentile of polls, longest first.
    P99,
    /// 99th percentile of the time queued, longest first.
    Scheduled,
    /// Long polls, most first.
    Long,
    /// Name.
    Name,
}

impl Sort for TaskSort {
    const ALL: &'static [Self] = &[
        Self::Busy,
        Self::Polls,
        Self::Live,
        Self::P99,
        Self::Scheduled,
        Self::Long,
        Self::Name,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Busy => "time in polls",
            Self::Polls => "polls",
            Self::Live => "live tasks",
            Self::P99 => "p99",
            Self::Scheduled => "scheduled p99",
            Self::Long => "long polls",
            Self::Name => "name",
        }
    }
}

impl Row for TaskTypeView {
    type Id = (Pid, u64);

    fn id(&self) -> Self::Id {
        (self.pid, self.vtable)
    }
}

impl Period {
    /// Polls of a type in it, and the time in them.
    #[must_use]
    pub fn polls(self, view: &TaskTypeView) -> (u64, Nanos) {
        match self {
            Self::Window => (view.recent_polls, view.recent_busy),
            Self::Session => (view.polls, view.busy.sum),
        }
    }

    /// Time inside polls of a type in a second of it, on a CPU or not; `None` when nothing tells.
    #[must_use]
    pub fn in_polls(self, snapshot: &Snapshot, view: &TaskTypeView) -> Option<f64> {
        match self {
            Self::Window => snapshot.recently_in_polls(view),
            Self::Session => snapshot.in_polls(view),
        }
    }

    /// CPU time by samples and waits inside polls of a type in it.
    #[must_use]
    pub fn found(self, view: &TaskTypeView) -> (Nanos, &[Nanos; OFF_PARTS]) {
        match self {
            Self::Window => (view.recent_cpu, &view.recent_off),
            Self::Session => (view.sampled_cpu, &view.off),
        }
    }

    /// The time these are about: where polls are watched only at times, less than the period.
    #[must_use]
    pub fn watched(self, tasks: &TasksView) -> Nanos {
        match self {
            Self::Window => tasks.recent_on,
            Self::Session => tasks.watch_span,
        }
    }
}

/// The list of types of tasks.
pub type TaskList = List<TaskSort, <TaskTypeView as Row>::Id>;

impl TaskList {
    /// The types to show, in order. A filter is for the name or the source position.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a TaskTypeView> {
        let shown = |view: &&TaskTypeView| self.matches(&view.name) || self.matches(&view.source());
        let mut rows: Vec<_> = snapshot.tasks.types_of_tasks().filter(shown).collect();
        let live = |view: &TaskTypeView| view.alive.map_or(0, |alive| alive.unfinished());
        rows.sort_by(|a, b| {
            let by = |view: &TaskTypeView| match self.sort {
                TaskSort::Busy => {
                    let busy = period.in_polls(snapshot, view).unwrap_or(0.0);
                    (busy * 1e9) as u64
                }
                TaskSort::Polls => period.polls(view).0,
                TaskSort::Live => live(view),
                TaskSort::P99 => view.busy.p99.0,
                TaskSort::Scheduled => view.scheduled.p99.0,
                TaskSort::Long => view.long_polls,
                TaskSort::Name => 0,
            };
            let ordering = by(b).cmp(&by(a));
            let ordering = if self.sort == TaskSort::Name {
                a.name.to_lowercase().cmp(&b.name.to_lowercase())
            } else {
                // What is equal in the last window, often nothing, goes by the whole session.
                let all = |view: &TaskTypeView| (view.in_polls(&snapshot.tasks), live(view));
                ordering.then_with(|| all(b).cmp(&all(a)))
            };
            self.order(ordering.then_with(|| a.id().cmp(&b.id())))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Distribution, record::TaskKind};

    fn view(vtable: u64, name: &str, recent: u64, all: u64) -> TaskTypeView {
        TaskTypeView {
            vtable,
            name: name.to_owned(),
            file: format!("src/{name}.rs"),
            recent_busy: Nanos(recent),
            recent_polls: 9 - recent,
            busy: Distribution {
                sum: Nanos(all),
                ..Distribution::default()
            },
            ..TaskTypeView::default()
        }
    }

    fn said(list: &TaskList, snapshot: &Snapshot) -> String {
        let rows = list.rows(snapshot, Period::Window);
        let names: Vec<_> = rows.iter().map(|view| view.name.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn types_go_by_the_window_and_then_by_the_session() {
        let mut snapshot = Snapshot::default();
        (snapshot.tasks.watched, snapshot.tasks.recent_on) = (Some(1.0), Nanos(10));
        snapshot.tasks.watch_span = Nanos(100);
        snapshot.tasks.types = vec![
            view(1, "accept", 0, 5),
            view(2, "Render", 0, 9),
            view(3, "fetch", 7, 7),
        ];
        let mut list = TaskList::default();
        assert_eq!(said(&list, &snapshot), "fetch Render accept");
        list.sort = TaskSort::Polls;
        assert_eq!(said(&list, &snapshot), "Render accept fetch");
        list.sort = TaskSort::Name;
        assert_eq!(said(&list, &snapshot), "accept fetch Render");
        list.filter = "SRC/F".to_owned();
        assert_eq!(said(&list, &snapshot), "fetch", "by where it was written");
    }

    #[test]
    fn types_go_by_samples_while_polls_are_not_watched_and_loops_of_workers_are_none() {
        let mut snapshot = Snapshot {
            window: Nanos(100),
            ..Snapshot::default()
        };
        snapshot.tasks.followed = true;
        let found = |vtable, name, cpu, futex| TaskTypeView {
            recent_cpu: Nanos(cpu),
            recent_off: [0, futex, 0, 0, 0].map(Nanos),
            ..view(vtable, name, 0, 0)
        };
        let worker = TaskTypeView {
            kind: TaskKind::Blocking,
            ..found(4, TaskKind::WORKER, 90, 900)
        };
        snapshot.tasks.types = vec![
            worker,
            found(1, "accept", 1, 0),
            found(2, "render", 20, 9),
            found(3, "fetch", 1, 90),
        ];
        let list = TaskList::default();
        assert_eq!(said(&list, &snapshot), "fetch render accept");
    }
}
