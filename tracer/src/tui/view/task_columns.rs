//! The columns of the table of task types: as many as there is something to say.
//!
//! Polls that are watched tell how many there are and how long each takes. Without them, samples and waits that are
//! charged to the task which a thread runs tell where the time goes. Without those, the process's memory tells what
//! tasks are there.

use tracer_common::Nanos;

use super::table::Column;
use crate::{
    human::{self, NONE, sanitise, share},
    model::{AliveView, Snapshot, TaskTypeView, TasksView},
    tui::{
        app::App,
        list::{Period, TaskSort},
    },
};

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 18] = [
    (
        "type",
        "a spawned future, and where it was written; [blocking]: a closure of the blocking pool; unnamed: tasks that came \
         and ended between two looks at memory",
    ),
    ("live", "tasks that are there and have not ended"),
    ("polls/s", "per second in which polls were watched"),
    (
        "busy",
        "time in polls, on a CPU or not, over all threads: share of the time; by samples and waits when polls are not \
         watched all the time, or one goes on",
    ),
    ("p50", "half of the polls were shorter, give or take 6 %"),
    ("p99", "99 of 100 polls were shorter, likewise"),
    (
        "waited",
        "scheduled time: from being woken to the poll; 99 of 100 waited less (p99). Not known of closures: nothing sees \
         yet when they are handed in",
    ),
    (
        "long",
        "polls over the threshold: meanwhile the worker ran nothing else",
    ),
    (
        "cpu",
        "the part of busy on a CPU, by 99 samples in a second: shown while polls are not watched, like those up to other",
    ),
    ("runq", "the part ready to run, waiting for a CPU"),
    ("futex", "the part waiting for another thread: a lock"),
    ("i/o", "the part waiting for storage, sockets or epoll"),
    ("fault", "the part waiting for a page of memory"),
    ("other", "the part asleep or waiting for something else"),
    ("run", "live tasks that a thread polls"),
    ("queue", "those that wait for a worker"),
    ("idle", "those that wait to be woken"),
    ("done", "tasks that ended, but whose result nobody took"),
];

/// A column, and what stands in it.
type Cell = fn(&Snapshot, Period, &TaskTypeView) -> String;

/// The columns without the name, for what is known.
fn all(tasks: &TasksView) -> Vec<(Column, Cell)> {
    let mut all: Vec<(Column, Cell)> = vec![(Column::number("live", 6, 2), |_, _, view| {
        alive(view, AliveView::unfinished)
    })];
    if tasks.watched.is_some() {
        all.extend(OF_POLLS);
    } else if tasks.followed {
        all.extend(BY_SAMPLES);
    }
    all.extend(STATES);
    all
}

const OF_POLLS: [(Column, Cell); 6] = [
    (Column::number("polls/s", 8, 3), polls),
    (Column::number("busy", 7, 0), busy),
    (Column::number("p50", 7, 4), |_, _, view| {
        human::duration_of(view.busy.count, view.busy.p50)
    }),
    (Column::number("p99", 7, 1), |_, _, view| {
        human::duration_of(view.busy.count, view.busy.p99)
    }),
    (Column::number("waited", 7, 5), |_, _, view| {
        human::duration_of(view.scheduled.count, view.scheduled.p99)
    }),
    (Column::number("long", 6, 7), |_, _, view| {
        human::count(view.long_polls)
    }),
];

const BY_SAMPLES: [(Column, Cell); 7] = [
    (Column::number("busy", 7, 0), busy),
    (Column::number("cpu", 6, 1), |all, period, view| {
        of_time(all, period, period.found(view).0)
    }),
    (Column::number("runq", 6, 4), |all, period, view| {
        off(all, period, view, 0)
    }),
    (Column::number("futex", 6, 3), |all, period, view| {
        off(all, period, view, 1)
    }),
    (Column::number("i/o", 6, 5), |all, period, view| {
        off(all, period, view, 2)
    }),
    (Column::number("fault", 6, 7), |all, period, view| {
        off(all, period, view, 3)
    }),
    (Column::number("other", 6, 6), |all, period, view| {
        off(all, period, view, 4)
    }),
];

const STATES: [(Column, Cell); 4] = [
    (Column::number("run", 5, 8), |_, _, view| {
        alive(view, |alive| alive.running)
    }),
    (Column::number("queue", 6, 6), |_, _, view| {
        alive(view, |alive| alive.queued)
    }),
    (Column::number("idle", 6, 8), |_, _, view| {
        alive(view, |alive| alive.idle)
    }),
    (Column::number("done", 6, 9), |_, _, view| {
        alive(view, |alive| alive.complete)
    }),
];

fn alive(view: &TaskTypeView, count: fn(&AliveView) -> u64) -> String {
    let alive = view.alive.as_ref();
    alive.map_or_else(|| NONE.to_owned(), |alive| human::count(count(alive)))
}

fn polls(snapshot: &Snapshot, period: Period, view: &TaskTypeView) -> String {
    let over = period.watched(&snapshot.tasks);
    match period.polls(view).0 {
        // That none was seen in a moment says nothing about a second.
        0 if over.0 < period.length(snapshot).0 / 10 => NONE.to_owned(),
        polls => human::rate(polls, over),
    }
}

fn busy(snapshot: &Snapshot, period: Period, view: &TaskTypeView) -> String {
    human::ratio(period.in_polls(snapshot, view).unwrap_or(f64::NAN))
}

fn of_time(snapshot: &Snapshot, period: Period, part: Nanos) -> String {
    human::percent(share(part, period.length(snapshot)))
}

fn off(snapshot: &Snapshot, period: Period, view: &TaskTypeView, part: usize) -> String {
    let (_, off) = period.found(view);
    match off.get(part) {
        // As in the table of threads: what is nothing does not stand out.
        None | Some(Nanos(0)) => "·".to_owned(),
        Some(&part) => of_time(snapshot, period, part),
    }
}

/// The columns for a view of this width.
pub(super) fn columns(tasks: &TasksView, width: u16) -> Vec<Column> {
    let rest = all(tasks).into_iter().map(|(column, _)| column);
    [Column::number("type", name_width(width), 0)]
        .into_iter()
        .chain(rest)
        .collect()
}

/// The cells of a type, one for each column.
pub(super) fn cells(
    snapshot: &Snapshot,
    period: Period,
    view: &TaskTypeView,
    width: u16,
) -> Vec<String> {
    let all = all(&snapshot.tasks).into_iter();
    let cells = all.map(|(_, cell)| cell(snapshot, period, view));
    [name(&view.name, &view.source(), width)]
        .into_iter()
        .chain(cells)
        .collect()
}

/// The column that the table is sorted by; `None` when there is none for that.
pub(super) fn sorted(app: &App, columns: &[Column]) -> Option<usize> {
    let title = match app.tasks.sort {
        TaskSort::Name => "type",
        TaskSort::Live => "live",
        TaskSort::Polls => "polls/s",
        TaskSort::Busy => "busy",
        TaskSort::P99 => "p99",
        TaskSort::Scheduled => "waited",
        TaskSort::Long => "long",
    };
    columns.iter().position(|column| column.title == title)
}

/// A type with where it was written: with as many of the file's directories as there is room for.
fn name(name: &str, source: &str, width: u16) -> String {
    let mut source = human::source(source);
    loop {
        let text = sanitise(&human::task_type(name, source)).into_owned();
        let fits = text.chars().count() <= usize::from(name_width(width));
        match source.split_once('/') {
            Some((_, rest)) if !fits => source = rest,
            _ => return text,
        }
    }
}

fn name_width(width: u16) -> u16 {
    match width {
        0..60 => 17,
        60..110 => 28,
        _ => 44,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained_whatever_is_known() {
        let mut tasks = TasksView::default();
        let mut shown = Vec::new();
        for (watched, followed) in [(None, false), (None, true), (Some(1.0), true)] {
            (tasks.watched, tasks.followed) = (watched, followed);
            for width in [40, 80, 140] {
                shown.extend(columns(&tasks, width).iter().map(|column| column.title));
            }
        }
        for title in &shown {
            assert!(MEANINGS.iter().any(|(name, _)| name == title), "{title}");
        }
        for (title, _) in MEANINGS {
            assert!(shown.contains(&title), "{title}");
        }
    }
}
