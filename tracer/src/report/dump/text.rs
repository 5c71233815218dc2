//! A dump for people: whether it can be trusted, what is stuck, then the tasks by type.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use crate::{
    dump::{
        Cycle, Detail, Dump, Task, TaskTree,
        tree::{Writer, same},
        words::{self, Words, grouped},
    },
    human,
    model::TaskState,
    runtime::tokio::Kind,
};

mod javascript;

pub(super) use javascript::via;

/// Lists of tasks that are named.
const MOST_LISTS: usize = 8;

/// Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr) => { { $out.push('\n'); } };
    ($out:expr, $($words:tt)*) => {{ let _ = writeln!($out, $($words)*); }};
}

pub(super) fn text(dump: &Dump, detail: Detail) -> String {
    let mut out = String::new();
    let name = format!(
        "{} (pid {})",
        human::sanitise(&dump.process.comm),
        dump.process.pid.0
    );
    let stopped = if dump.is_stopped { ", stopped" } else { "" };
    let node = dump.node.as_ref().zip(dump.javascript.as_ref());
    if let Some((node, js)) = node {
        line!(out, "{name}{stopped}");
        javascript::write(&mut out, dump, node, js, detail);
        if dump.runtimes.is_empty() {
            return out;
        }
        line!(out);
    }
    if dump.runtimes.is_empty() {
        line!(
            out,
            "{name}: no tokio was recognised in it, so there are no tasks to show; {}: each was searched for the tables that tokio makes for task types",
            files(dump.files)
        );
        return out;
    }
    if node.is_none() {
        line!(out, "{name}{stopped}");
    }
    let words = Words::new(dump);
    head(&mut out, dump);
    deadlocks(&mut out, &words);
    types(&mut out, &words, detail);
    out
}

fn files(count: u32) -> String {
    match count {
        1 => "1 file checked".to_owned(),
        count => format!("{} files checked", grouped(count.into())),
    }
}

fn head(out: &mut String, dump: &Dump) {
    let mut row = |name: &str, text: &str| line!(out, "  {name:<9} {}", human::sanitise(text));
    for runtime in &dump.runtimes {
        let version = runtime.version.as_deref().unwrap_or("of unknown version");
        row("tokio", &format!("{version} in {}", runtime.module));
    }
    let count = dump.tasks.len() as u64;
    row(
        "tasks",
        &format!(
            "{}: {}",
            grouped(count),
            states(&dump.tasks.iter().collect::<Vec<_>>())
        ),
    );
    if count > 0 {
        row("lists", &lists(dump));
    }
    let torn = match dump.torn {
        0 => "nothing torn".to_owned(),
        torn => format!("{} headers changed with each reading", grouped(torn)),
    };
    let whole = if dump.is_whole {
        ""
    } else {
        "; not all memory was looked at"
    };
    row(
        "read",
        &format!(
            "{} in {}; {torn}{whole}",
            human::bytes(dump.read),
            human::duration(dump.took)
        ),
    );
    if let Some(forest) = &dump.forest {
        let read = |task: &&Task| matches!(task.tree, TaskTree::Read(_));
        let read = dump.tasks.iter().filter(read).count() as u64;
        row(
            "trees",
            &format!(
                "{} of {} in {}",
                grouped(read),
                grouped(count),
                human::duration(forest.took)
            ),
        );
    }
    for runtime in &dump.runtimes {
        for note in runtime.no_trees.iter() {
            row("no trees", note);
        }
        for note in &runtime.notes {
            row("note", note);
        }
    }
}

/// `12 running, 3 queued, 985 idle`: the states that occur.
fn states(tasks: &[&Task]) -> String {
    let mut counts: BTreeMap<TaskState, u64> = BTreeMap::new();
    for task in tasks {
        *counts.entry(TaskState::of(task.state.0)).or_default() += 1;
    }
    if counts.is_empty() {
        return "none is live".to_owned();
    }
    let said: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{} {}", grouped(*count), state.name()))
        .collect();
    said.join(", ")
}

/// Tasks by the list that owns them, most first.
fn lists(dump: &Dump) -> String {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut blocking = 0u64;
    for task in &dump.tasks {
        if task.list == 0 && dump.is_blocking(task) {
            blocking += 1;
        } else {
            *counts.entry(task.list).or_default() += 1;
        }
    }
    let mut counts: Vec<(u64, u64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let mut said: Vec<String> = counts
        .iter()
        .take(MOST_LISTS)
        .map(|(list, count)| format!("{} in list {list}", grouped(*count)))
        .collect();
    let more = counts.get(MOST_LISTS..).unwrap_or_default();
    if !more.is_empty() {
        let count = more.iter().map(|(_, count)| count).sum();
        said.push(format!("{} in {} more", grouped(count), more.len()));
    }
    if blocking > 0 {
        said.push(format!("{} for the blocking pool", grouped(blocking)));
    }
    said.join(", ") + " (one per runtime or LocalSet)"
}

fn deadlocks(out: &mut String, words: &Words) {
    let forest = words.dump.forest.as_ref();
    let cycles = forest.map_or(&[][..], |forest| &forest.cycles);
    if cycles.is_empty() {
        return;
    }
    line!(out);
    line!(
        out,
        "DEADLOCK (each waits for the next, the last for the first; the same in two readings)"
    );
    for cycle in cycles {
        deadlock(out, words, cycle);
    }
}

fn deadlock(out: &mut String, words: &Words, cycle: &Cycle) {
    for (place, link) in cycle.iter().enumerate() {
        let Some(task) = words.dump.tasks.get(link.task) else {
            continue;
        };
        let bullet = if place == 0 { "▲" } else { " " };
        line!(
            out,
            "  {bullet} {} waits for {}",
            words.task(task),
            words.resource(&link.waits)
        );
    }
    if cycle.iter().any(|link| !link.is_certain) {
        line!(
            out,
            "    perhaps: a guard that was captured may have been given on meanwhile"
        );
    }
}

fn types(out: &mut String, words: &Words, detail: Detail) {
    let mut by_type: BTreeMap<usize, Vec<&Task>> = BTreeMap::new();
    for task in &words.dump.tasks {
        by_type.entry(task.of).or_default().push(task);
    }
    let mut by_type: Vec<(usize, Vec<&Task>)> = by_type.into_iter().collect();
    by_type.sort_by_key(|(_, tasks)| {
        let first = tasks.first().and_then(|task| task.id);
        (Reverse(tasks.len()), first)
    });
    for (of, tasks) in by_type {
        let Some(of) = words.dump.types.get(of) else {
            continue;
        };
        line!(out);
        let source = of.of.source.as_ref();
        let source = source.map_or_else(String::new, |at| format!("{}:{}", at.file, at.line));
        let name = if detail.raw && !of.of.raw_name.is_empty() {
            &of.of.raw_name
        } else {
            &of.of.name
        };
        let local = if of.is_local == Some(true) {
            "; local to its thread"
        } else {
            ""
        };
        let name = human::task_type(name, &source);
        let name = human::sanitise(&name);
        match tasks.len() {
            1 => line!(out, "{name}{local}"),
            count => line!(
                out,
                "{name} × {}: {}{local}",
                grouped(count as u64),
                states(&tasks)
            ),
        }
        match &words.dump.forest {
            Some(forest) => {
                let writer = Writer {
                    words,
                    forest,
                    detail,
                };
                trees(out, &writer, of.of.kind, &tasks);
            }
            None => singles(out, words, &tasks, detail),
        }
    }
}

/// The different trees of a type, then its tasks that have none.
fn trees(out: &mut String, writer: &Writer, kind: Kind, tasks: &[&Task]) {
    let limit = writer.detail.limit;
    let groups = same(tasks);
    for group in groups.iter().take(limit) {
        let Some((task, _)) = group.tasks.first() else {
            continue;
        };
        match group.tasks.len() {
            1 => line!(out, "  {}", about(writer.words, task, writer.detail)),
            count => line!(
                out,
                "  × {}: {}{}",
                grouped(count as u64),
                group
                    .tasks
                    .iter()
                    .take(3)
                    .map(|(task, _)| words::number(task))
                    .collect::<Vec<_>>()
                    .join(", "),
                if count > 3 { ", …" } else { "" }
            ),
        }
        writer.tree(out, group, 4);
    }
    if let Some(rest) = groups.get(limit..).filter(|rest| !rest.is_empty()) {
        let count: usize = rest.iter().map(|group| group.tasks.len()).sum();
        line!(
            out,
            "  {} more that wait in {} other ways (--limit)",
            grouped(count as u64),
            grouped(rest.len() as u64)
        );
    }
    let without = |task: &&&Task| !matches!(task.tree, TaskTree::Read(_));
    let without: Vec<&Task> = tasks.iter().filter(without).copied().collect();
    for task in without.iter().take(limit) {
        let why = match &task.tree {
            // Closures wait for nothing, they run or are queued; that no type has a tree is said once.
            TaskTree::None(_) if kind == Kind::Blocking => "",
            TaskTree::None(why) => words::no_tree(why),
            TaskTree::Read(_) | TaskTree::NotAsked | TaskTree::NoTypes => "",
        };
        let about = about(writer.words, task, writer.detail);
        match why {
            "" => line!(out, "  {about}"),
            why => line!(out, "  {about}: {why}"),
        }
    }
    more(out, without.len().saturating_sub(limit));
}

/// Single tasks of a type.
fn singles(out: &mut String, words: &Words, tasks: &[&Task], detail: Detail) {
    for task in tasks.iter().take(detail.limit) {
        line!(out, "  {}", about(words, task, detail));
    }
    more(out, tasks.len().saturating_sub(detail.limit));
}

fn more(out: &mut String, count: usize) {
    if count > 0 {
        line!(out, "  {} more (--limit)", grouped(count as u64));
    }
}

/// A task in a line: `task 26  running on tokio-rt-worker (tid 4190)  list 1`.
fn about(words: &Words, task: &Task, detail: Detail) -> String {
    let mut line = format!("{} {}", words::number(task), words::state(task));
    if let Some(thread) = &task.thread {
        let name = human::sanitise(&thread.name);
        let _ = write!(line, " on {name} (tid {})", thread.tid.0);
    }
    if task.state.is_cancelled() {
        line.push_str(", aborted");
    }
    match task.list {
        0 if words.dump.is_blocking(task) => line.push_str(", blocking"),
        list => {
            let _ = write!(line, ", list {list}");
        }
    }
    if detail.verbose || detail.raw {
        let _ = write!(line, ", header {:#x}", task.header);
        if let TaskTree::Read(tree) = &task.tree {
            let _ = write!(line, ", {}", human::bytes(tree.size));
        }
    }
    line
}
