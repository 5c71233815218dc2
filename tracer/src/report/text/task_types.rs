//! Types of tasks: a row of numbers each, then what is worth a word.

use std::fmt::Write as _;

use tracer_common::{Nanos, Pid};

use super::{FEW, WIDTH, more, packed, place};
use crate::{
    human,
    model::{Snapshot, TaskTypeView, TasksView},
};

/// Width of a type's name.
const NAME: usize = 28;

/// All of them that fit, in as many columns as there is something to say.
pub(super) fn types(out: &mut String, snapshot: &Snapshot) {
    let tasks = &snapshot.tasks;
    let types: Vec<&TaskTypeView> = tasks.types_of_tasks().collect();
    if types.is_empty() {
        line!(out, "  no task has been seen");
        return;
    }
    let columns = columns(tasks);
    let titles = columns
        .iter()
        .map(|(title, _, width)| format!(" {title:>width$}"));
    line!(out, "  {:<NAME$}{}", "type", titles.collect::<String>());
    for view in types.iter().take(FEW) {
        let cells = columns
            .iter()
            .map(|(_, cell, width)| format!(" {:>width$}", cell(snapshot, view)));
        let row = format!(
            "  {:<NAME$}{}",
            human::cut(&human::sanitise(&view.name), NAME),
            cells.collect::<String>()
        );
        line!(out, "{}", human::cut(&row, WIDTH));
        words(out, snapshot, view);
    }
    let listed = types.len().saturating_sub(FEW) as u64;
    more(out, tasks.types_unlisted.saturating_add(listed));
}

/// Title, content and width.
type Column = (&'static str, fn(&Snapshot, &TaskTypeView) -> String, usize);

fn columns(tasks: &TasksView) -> &'static [Column] {
    if tasks.watched.is_some() {
        &[
            ("live", |_, view| live(view), 6),
            ("polls", |_, view| human::count(view.polls), 7),
            (
                "rate",
                |all, view| human::rate(view.polls, all.tasks.watch_span),
                8,
            ),
            ("busy", |all, view| time(view.in_polls(&all.tasks)), 8),
            ("share", |all, view| share(all.in_polls(view)), 6),
            (
                "p50",
                |_, view| human::duration_of(view.busy.count, view.busy.p50),
                8,
            ),
            (
                "p99",
                |_, view| human::duration_of(view.busy.count, view.busy.p99),
                8,
            ),
            (
                "waited p99",
                |_, view| human::duration_of(view.scheduled.count, view.scheduled.p99),
                10,
            ),
        ]
    } else if tasks.followed {
        &[
            ("live", |_, view| live(view), 6),
            ("samples", |_, view| human::count(view.samples), 8),
            ("cpu", |all, view| of_time(all, view.sampled_cpu), 7),
            ("runq", |all, view| of_time(all, off(view, 0)), 7),
            ("futex", |all, view| of_time(all, off(view, 1)), 7),
            ("i/o", |all, view| of_time(all, off(view, 2)), 7),
            ("fault", |all, view| of_time(all, off(view, 3)), 7),
            ("other", |all, view| of_time(all, off(view, 4)), 7),
        ]
    } else {
        &[("live", |_, view| live(view), 6)]
    }
}

fn live(view: &TaskTypeView) -> String {
    let live = view.alive.map(|alive| human::count(alive.unfinished()));
    live.unwrap_or_else(|| human::NONE.to_owned())
}

fn time(time: Option<Nanos>) -> String {
    let time = time.unwrap_or_default();
    human::duration_of(time.0, time)
}

fn share(share: Option<f64>) -> String {
    human::percent(share.unwrap_or(f64::NAN))
}

fn off(view: &TaskTypeView, part: usize) -> Nanos {
    view.off.get(part).copied().unwrap_or_default()
}

/// A share of the time since attach; nothing is a dot, as in the table of threads.
fn of_time(snapshot: &Snapshot, part: Nanos) -> String {
    match part {
        Nanos(0) => "·".to_owned(),
        part => human::percent(human::share(part, snapshot.duration())),
    }
}

/// What does not fit into columns.
fn words(out: &mut String, snapshot: &Snapshot, view: &TaskTypeView) {
    let tasks = &snapshot.tasks;
    let mut said = Vec::new();
    let source = view.source();
    if !source.is_empty() && !source.ends_with(&view.name) {
        said.push(human::sanitise(human::source(&source)).into_owned());
    }
    if several_processes(snapshot) {
        let Pid(pid) = view.pid;
        said.push(format!("pid {pid}"));
    }
    said.extend(states(view));
    if tasks.watched.is_some() {
        let came = view.spawned.filter(|&count| count > 0);
        said.extend(came.map(|count| format!("{} came", human::count(count))));
        said.extend(ends(view));
    }
    if view.long_polls > 0 {
        said.push(format!("{} long polls", human::count(view.long_polls)));
    }
    for row in packed(&said, "; ", WIDTH - 4) {
        line!(out, "    {row}");
    }
    // Without watched polls the columns have said it.
    let (all, off) = view.split(tasks);
    if tasks.watched.is_some() && all.0 > 0 {
        let split = human::poll_shares(all, off);
        let row = format!("    inside polls: {split}");
        line!(out, "{}", human::cut(&row, WIDTH));
    }
    if let Some(place) = view.stacks.first().and_then(|found| place(&found.stack)) {
        let row = format!("    most of it in {place}");
        line!(out, "{}", human::cut(&row, WIDTH));
    }
}

/// True when tasks of more than one process are listed.
fn several_processes(snapshot: &Snapshot) -> bool {
    let mut types = snapshot.tasks.types_of_tasks();
    let first = types.next().map(|view| view.pid);
    types.any(|view| Some(view.pid) != first)
}

/// Tasks that are there by what they are doing, the states that occur; `None` when there is none.
fn states(view: &TaskTypeView) -> Option<String> {
    let alive = view.alive?;
    let states = [
        (alive.running, "running"),
        (alive.queued, "queued"),
        (alive.idle, "idle"),
        (alive.complete, "complete but not joined"),
    ];
    let states = states.into_iter().filter(|&(count, _)| count > 0);
    let said: Vec<String> = states
        .map(|(count, word)| format!("{} {word}", human::count(count)))
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Tasks that ended; `None` when none did.
fn ends(view: &TaskTypeView) -> Option<String> {
    let aborted = match view.cancelled {
        0 => String::new(),
        count => format!(" ({} aborted)", human::count(count)),
    };
    (view.completed > 0).then(|| format!("{} ended{aborted}", human::count(view.completed)))
}
