//! Tasks of async runtimes: types, long polls, workers, the blocking pool.

use std::{cmp::Reverse, fmt::Write as _};

use tracer_common::{Nanos, Pid, Tid};

use super::{FEW, WIDTH, more, packed, place, task_types, thread_name};
use crate::{
    human,
    model::{LongPollView, PollerView, Snapshot, StackView, TaskView, TasksView},
    record::TaskKind,
};

/// All of it; nothing when nobody was to look for a runtime.
pub(super) fn tasks(out: &mut String, snapshot: &Snapshot) {
    let tasks = &snapshot.tasks;
    if tasks.runtimes.is_empty() && tasks.is_empty() {
        // Older recordings know nothing of tasks, and say nothing.
        let mut probes = snapshot.quality.probes.iter();
        if probes.any(|probe| probe.name == "task_poll") {
            line!(out);
            line!(out, "TASKS");
            line!(
                out,
                "  no process was looked at for a runtime: with large files that takes some seconds"
            );
        }
        return;
    }
    line!(out);
    let about = if tasks.is_by_samples() {
        "by time in polls: CPU by samples, and waits; shares: of the time"
    } else {
        "by time in polls, on a CPU or not; share: of the time; waited: from wake to poll"
    };
    line!(out, "TASKS ({about})");
    runtimes(out, tasks);
    if !tasks.is_recognised() {
        return;
    }
    watched(out, snapshot);
    task_types::types(out, snapshot);
    if tasks.watched.is_some() {
        long_polls(out, snapshot);
        workers(out, snapshot);
    }
}

/// What was recognised, once for processes of which the same is said; or that nothing was.
fn runtimes(out: &mut String, tasks: &TasksView) {
    let mut said: Vec<String> = Vec::new();
    let mut say = |parts: Vec<String>| {
        let text = parts.join("; ");
        if !said.contains(&text) {
            said.push(text);
        }
    };
    for runtime in &tasks.runtimes {
        let notes = runtime.notes.iter();
        let notes = notes.map(|note| human::sanitise(note).into_owned());
        if runtime.kind == "node" || tasks.is_recognised_in(runtime.pid) {
            let version = match runtime.version.as_str() {
                "" => String::new(),
                version => format!(" {}", human::sanitise(version)),
            };
            let module = match runtime.module.as_str() {
                "" => String::new(),
                module => format!(" in {}", human::sanitise(module)),
            };
            let name = format!("{}{version}{module}", human::sanitise(&runtime.kind));
            say([name].into_iter().chain(notes).collect());
        } else if !tasks.is_recognised() {
            say(notes.collect());
        }
    }
    if tasks.is_node() && !tasks.is_recognised() {
        line!(out, "  Node.js has no tasks");
    } else if !tasks.is_recognised() {
        line!(
            out,
            "  no tokio was recognised in the {} files that were checked",
            human::count(tasks.files_checked())
        );
    }
    let said = said.iter().filter(|text| !text.is_empty());
    for text in said.take(FEW) {
        words(out, text, 2);
    }
}

/// Text of any length in lines, broken between words.
fn words(out: &mut String, text: &str, indent: usize) {
    let words: Vec<&str> = text.split_whitespace().collect();
    for row in packed(&words, " ", WIDTH - indent) {
        line!(out, "{:indent$}{row}", "");
    }
}

/// How far the numbers can be trusted.
fn watched(out: &mut String, snapshot: &Snapshot) {
    let tasks = &snapshot.tasks;
    let probes = &snapshot.quality.probes;
    let Some(share) = tasks.watched else {
        let why = human::not_watched(probes, "task_poll", "polls");
        let rest = if tasks.followed {
            "CPU by samples, waits by the scheduler; live tasks are read from memory"
        } else {
            "live tasks are read from memory"
        };
        return words(out, &format!("{why}; {rest}"), 2);
    };
    let mut said = Vec::new();
    if tasks.is_sampled() {
        said.push(format!(
            "polls were watched {} of the time: counts and sums are estimates",
            human::ratio(share)
        ));
    }
    match tasks.wakes_watched {
        None => said.push(human::not_watched(probes, "task_wake", "wakes")),
        Some(share) if share < 0.999 => {
            said.push(format!("wakes {} of the time", human::ratio(share)));
        }
        Some(_) => {}
    }
    if !said.is_empty() {
        words(out, &said.join("; "), 2);
    }
}

fn long_polls(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(
        out,
        "LONG POLLS (of the last ones the longest; the worker could run no other task)"
    );
    let going_on = snapshot.tasks.going_on(snapshot.now);
    let mut rows: Vec<&LongPollView> = snapshot.tasks.long_polls.iter().collect();
    if rows.is_empty() && going_on.is_empty() {
        line!(out, "  there was none over the threshold");
        return;
    }
    rows.sort_by_key(|view| Reverse(view.busy));
    line!(
        out,
        "  {:>8} {:>9}  {:<16} type, task, where",
        "busy",
        "at",
        "thread"
    );
    for (task, time) in going_on.iter().take(FEW) {
        goes_on(out, snapshot, task, *time);
    }
    more(out, going_on.len().saturating_sub(FEW) as u64);
    for view in rows.iter().take(FEW) {
        long_poll(out, snapshot, view);
    }
    more(out, rows.len().saturating_sub(FEW) as u64);
}

fn long_poll(out: &mut String, snapshot: &Snapshot, view: &LongPollView) {
    let at = view.since.since(snapshot.session.started);
    let row = format!(
        "  {:>8} {:>9}  {:<16} {}{}",
        human::duration(view.busy),
        human::duration(at.unwrap_or_default()),
        poller_name(snapshot, view.pid, view.tid),
        human::sanitise(&human::task_type(&view.name, &view.source)),
        task_id(view.task),
    );
    line!(out, "{}", human::cut(&row, WIDTH));
    let split = human::poll_split(view.busy, &view.off);
    for row in packed(&[where_it_was(&view.stack), split], "; ", WIDTH - 4) {
        line!(out, "    {row}");
    }
}

/// A poll that has not ended.
fn goes_on(out: &mut String, snapshot: &Snapshot, task: &TaskView, time: Nanos) {
    let row = format!(
        "  {:>8} {:>9}  {:<16} {}{}",
        human::duration(time),
        "goes on",
        poller_name(snapshot, task.pid, task.tid),
        human::sanitise(&human::task_type(&task.name, &task.source)),
        task_id(task.id),
    );
    line!(out, "{}", human::cut(&row, WIDTH));
    line!(
        out,
        "    {}",
        human::cut(&where_it_was(&task.stack), WIDTH - 4)
    );
}

fn poller_name(snapshot: &Snapshot, pid: Pid, tid: Tid) -> String {
    let mut pollers = snapshot.tasks.pollers.iter();
    let thread = pollers.find(|poller| (poller.pid, poller.tid) == (pid, tid));
    let name = thread.map_or("", |poller| poller.name.as_str());
    human::cut(&thread_name(name, tid), 16).into_owned()
}

fn task_id(id: u64) -> String {
    match id {
        0 => String::new(),
        id => format!(", task {id}"),
    }
}

fn where_it_was(stack: &StackView) -> String {
    place(stack).map_or_else(
        || "where is not known: no sample and no long wait fell into it".to_owned(),
        |place| format!("in {place}"),
    )
}

fn workers(out: &mut String, snapshot: &Snapshot) {
    let tasks = &snapshot.tasks;
    let workers: Vec<&PollerView> = tasks
        .pollers
        .iter()
        .filter(|poller| poller.is_worker())
        .collect();
    line!(out);
    line!(
        out,
        "WORKERS (share: time in polls and closures; parks: sleeps outside; moved: polls of what others woke)"
    );
    if workers.is_empty() {
        line!(out, "  no thread has polled a task");
    } else {
        line!(
            out,
            "  {:>8} {:<15} {:>6} {:>8} {:>7} {:>5} {:>6} {:>6}",
            "tid",
            "thread",
            "polls",
            "rate",
            "busy",
            "share",
            "parks",
            "moved"
        );
    }
    for poller in workers.iter().take(FEW) {
        worker(out, poller, snapshot);
    }
    more(out, workers.len().saturating_sub(FEW) as u64);
    pool(out, tasks);
}

fn worker(out: &mut String, poller: &PollerView, snapshot: &Snapshot) {
    let share = poller.busy_ratio(snapshot);
    let closures = match poller.blocking {
        0 => String::new(),
        count => format!(
            "  and {} in {}",
            closures(count),
            human::duration(poller.blocking_busy)
        ),
    };
    let row = format!(
        "  {:>8} {:<15} {:>6} {:>8} {:>7} {:>5} {:>6} {:>6}{closures}",
        poller.tid.0,
        human::cut(&human::sanitise(&poller.name), 15),
        human::count(poller.polls),
        human::rate(poller.polls, snapshot.tasks.watch_span),
        human::duration(poller.busy),
        share.map_or_else(|| human::NONE.to_owned(), human::percent),
        human::count(poller.parks),
        poller
            .moved
            .map_or_else(|| human::NONE.to_owned(), human::count),
    );
    line!(out, "{}", human::cut(&row, WIDTH));
}

/// The blocking pool in a line; nothing when nothing ran there.
fn pool(out: &mut String, tasks: &TasksView) {
    let ran = tasks.pollers.iter().filter(|poller| poller.blocking > 0);
    let (mut threads, mut closures, mut busy) = (0u64, 0u64, Nanos(0));
    for poller in ran {
        threads += 1;
        closures = closures.saturating_add(poller.blocking);
        busy = busy.plus(poller.blocking_busy);
    }
    let types = tasks.types_of_tasks();
    let blocking = types.filter(|view| view.kind == TaskKind::Blocking);
    let alive = blocking.filter_map(|view| view.alive);
    let (running, queued) = alive.fold((0u64, 0u64), |(running, queued), alive| {
        (
            running.saturating_add(alive.running),
            queued.saturating_add(alive.queued),
        )
    });
    if closures > 0 || running > 0 || queued > 0 {
        line!(
            out,
            "  blocking pool: {} on {}, {} in them; {} running, {} queued now",
            self::closures(closures),
            match threads {
                1 => "1 thread".to_owned(),
                threads => format!("{} threads", human::count(threads)),
            },
            human::duration(busy),
            human::count(running),
            human::count(queued)
        );
    }
}

fn closures(count: u64) -> String {
    match count {
        1 => "1 closure".to_owned(),
        count => format!("{} closures", human::count(count)),
    }
}
