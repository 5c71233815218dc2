//! The page of a type of task: what is known of it, where its polls spend their time, which of its tasks are there.

use std::cmp::Reverse;

use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    await_tree, long_polls,
    panel::{self, Title},
    stack, table, tasks,
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{Distribution, LongPollView, Snapshot, TaskTypeView, TaskView},
    record::TaskKind,
    tui::{
        app::{App, TaskPage},
        list::{Period, Row as _},
    },
};
use tracer_common::Nanos;

/// Width of what stands before the words.
const LABEL: usize = 11;

/// What stands on the page, for the help.
pub(super) const MEANINGS: [(&str, &str); 9] = [
    ("came", "tasks that were spawned since polls are watched"),
    (
        "cpu",
        "on a CPU in polls of this type, by samples, polls watched or not",
    ),
    ("in polls", "what threads did inside polls of this type"),
    (
        "wakes",
        "times one was woken; did nothing: it was queued already or had ended",
    ),
    ("woken by", "types of tasks that wake it, most often first"),
    ("scheduled", "from being woken to the poll"),
    ("idle", "from the end of a poll to being woken"),
    ("lifetime", "of tasks that were seen to come and to end"),
    (
        "age",
        "since the task was first seen; “in poll”: how long this poll goes on",
    ),
];

/// The page in its panel.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    page: TaskPage,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let types = &snapshot.tasks.types;
    let Some(view) = types.iter().find(|view| view.id() == page.id) else {
        let title = Title::new("Task type", vec![]);
        let inner = panel::draw(frame, area, &title, Line::default(), theme);
        let gone = "This type is not listed at this moment. Esc goes back to the list.";
        return frame.render_widget(super::explanation([gone.to_owned()], theme), inner);
    };
    let room = panel::inner(area);
    let lines = lines(snapshot, view, room.width, theme);
    let most = (lines.len() as u16).saturating_sub(room.height);
    let scroll = page.scroll.min(most);
    let name = sanitise(&view.name).into_owned();
    let kind = match view.kind {
        TaskKind::Async => "a future",
        TaskKind::Blocking => "a closure of the blocking pool",
    };
    let mut about = vec![kind.to_owned(), format!("pid {}", view.pid.0)];
    about.extend(tasks::sampled(&snapshot.tasks));
    let note = match most - scroll {
        0 => Line::default(),
        more => Line::from(theme.faint(format!(" {more} more below "))),
    };
    let inner = panel::draw(frame, area, &Title::new(&name, about), note, theme);
    frame.render_widget(Paragraph::new(lines).scroll((scroll, 0)), inner);
}

/// Lines that do not fit into a terminal of this size.
pub(crate) fn overflow(app: &App, columns: u16, rows: u16) -> u16 {
    let (Some(page), Some(snapshot)) = (app.task_page, app.shown()) else {
        return 0;
    };
    let theme = Theme::new(false);
    let area = Rect::new(0, 0, columns, rows);
    let room = panel::inner(super::parts(area, app, snapshot, &theme).body);
    let types = &snapshot.tasks.types;
    let view = types.iter().find(|view| view.id() == page.id);
    let lines = view.map_or(0, |view| {
        lines(snapshot, view, room.width, &theme).len() as u16
    });
    lines.saturating_sub(room.height)
}

/// Everything, in lines of this width.
fn lines<'a>(snapshot: &Snapshot, view: &TaskTypeView, width: u16, theme: &Theme) -> Vec<Line<'a>> {
    let mut lines = facts(snapshot, view, width, theme);
    let mut section = |heading: &str, rows: Vec<String>| {
        if rows.is_empty() {
            return;
        }
        lines.push(Line::default());
        lines.push(Line::from(theme.strong(heading.to_owned())));
        let rows = rows.into_iter();
        lines.extend(rows.map(|row| Line::from(theme.plain(table::shortened(&row, width)))));
    };
    let times = format!(
        "{:<LABEL$}{:>8} {:>8} {:>8} {:>8} {:>8}",
        "Times", "count", "p50", "p99", "max", "total"
    );
    section(&times, self::times(view));
    section(
        "Where its polls spend their time (by samples and long waits)",
        stacks(view, width),
    );
    section(
        &await_tree::heading(view, snapshot.now),
        await_tree::rows(view, width),
    );
    section(
        "Long polls, newest first",
        long_polls(snapshot, view, width),
    );
    let alive = format!(
        "{:<9} {:<9} {:>9} {:>9}  {:<17} {}",
        "Task", "state", "age", "in poll", "thread", "runtime"
    );
    section(&alive, live(snapshot, view));
    lines
}

fn facts<'a>(snapshot: &Snapshot, view: &TaskTypeView, width: u16, theme: &Theme) -> Vec<Line<'a>> {
    let source = view.source();
    let mut facts = vec![
        ("type", sanitise(&view.raw_name).into_owned()),
        ("source", sanitise(human::source(&source)).into_owned()),
        ("live", states(view)),
    ];
    if view.is_unnamed() {
        let why = "none: they came and ended between two looks at the process's memory, so that nobody read what they are";
        facts = vec![("type", why.to_owned())];
    }
    match tasks::not_watched(snapshot) {
        Some(why) => facts.push(("polls", why)),
        None => facts.extend(of_polls(snapshot, view)),
    }
    facts.extend(by_samples(snapshot, view));
    if snapshot.tasks.watched.is_some() {
        facts.extend(of_wakes(snapshot, view));
    }
    let room = usize::from(width).saturating_sub(LABEL);
    let mut lines = Vec::new();
    for (label, text) in facts {
        let text = if text.is_empty() {
            "not known: the file does not tell".to_owned()
        } else {
            text
        };
        let mut label = theme.strong(format!("{label:<LABEL$}"));
        for part in human::wrapped(&text, room) {
            let part = table::shortened(&part, room as u16);
            lines.push(Line::from(vec![label, theme.plain(part)]));
            label = Span::raw(" ".repeat(LABEL));
        }
    }
    lines
}

fn states(view: &TaskTypeView) -> String {
    let Some(alive) = view.alive else {
        return "not known: nobody has looked yet".to_owned();
    };
    let complete = match alive.complete {
        0 => String::new(),
        count => format!("; {} complete but not joined", human::count(count)),
    };
    format!(
        "{}: {} running, {} queued, {} idle{complete}",
        human::count(alive.unfinished()),
        human::count(alive.running),
        human::count(alive.queued),
        human::count(alive.idle)
    )
}

/// What takes polls that are watched.
fn of_polls(snapshot: &Snapshot, view: &TaskTypeView) -> Vec<(&'static str, String)> {
    let tasks = &snapshot.tasks;
    let came = view.spawned.map_or_else(
        || format!("{NONE} (polls are watched only at times)"),
        human::count,
    );
    let rate = |period: Period| {
        let rate = human::rate(period.polls(view).0, period.watched(tasks));
        let busy = period.in_polls(snapshot, view).unwrap_or(f64::NAN);
        format!("{rate}, busy {}", human::ratio(busy))
    };
    let facts = vec![
        (
            "came",
            format!(
                "{came}; ended {}, {} of them aborted",
                human::count(view.completed),
                human::count(view.cancelled)
            ),
        ),
        (
            "polls",
            format!(
                "{}: {}; in the last {}: {}",
                human::count(view.polls),
                rate(Period::Session),
                human::duration(snapshot.window),
                rate(Period::Window)
            ),
        ),
        (
            "of these",
            format!(
                "{} ended with the task queued again, {} were long",
                human::count(view.rescheduled),
                human::count(view.long_polls)
            ),
        ),
    ];
    facts
}

/// What samples and waits tell.
fn by_samples(snapshot: &Snapshot, view: &TaskTypeView) -> Vec<(&'static str, String)> {
    let tasks = &snapshot.tasks;
    let mut facts = Vec::new();
    if view.samples > 0 {
        let cpu = |period: Period| {
            let (cpu, _) = period.found(view);
            human::ratio(share(cpu, period.length(snapshot)))
        };
        facts.push((
            "cpu",
            format!(
                "{} ({} samples): {}; in the last {}: {}",
                human::duration(view.sampled_cpu),
                human::count(view.samples),
                cpu(Period::Session),
                human::duration(snapshot.window),
                cpu(Period::Window)
            ),
        ));
    }
    let (all, off) = view.split(tasks);
    if all.0 > 0 {
        facts.push(("in polls", human::poll_shares(all, off)));
    }
    facts
}

/// What takes wakes that are watched.
fn of_wakes(snapshot: &Snapshot, view: &TaskTypeView) -> Vec<(&'static str, String)> {
    let Some(wakes) = view.wakes else {
        let why = super::without(snapshot, "task_wake", "not watched");
        return vec![("wakes", why.unwrap_or_else(|| "not watched yet".to_owned()))];
    };
    let mut facts = vec![(
        "wakes",
        format!(
            "{}: {} did nothing, {} by the task itself",
            human::count(wakes),
            human::count(view.redundant_wakes.unwrap_or(0)),
            human::count(view.self_wakes.unwrap_or(0))
        ),
    )];
    let wakers: Vec<String> = view
        .wakers
        .iter()
        .map(|(name, count)| {
            let name = match name.as_str() {
                "" => "no task: the runtime or another thread".into(),
                name => sanitise(name),
            };
            format!("{name} ({})", human::count(*count))
        })
        .collect();
    if !wakers.is_empty() {
        facts.push(("woken by", wakers.join(", ")));
    }
    facts
}

/// The distributions that have a value.
fn times(view: &TaskTypeView) -> Vec<String> {
    let row = |(label, of): (&str, &Distribution)| {
        format!(
            "{label:<LABEL$}{:>8} {:>8} {:>8} {:>8} {:>8}",
            human::count(of.count),
            human::duration(of.p50),
            human::duration(of.p99),
            human::duration(of.max),
            human::duration(of.sum)
        )
    };
    let all = [
        ("in polls", &view.busy),
        ("scheduled", &view.scheduled),
        ("idle", &view.idle),
        ("lifetime", &view.lifetime),
    ];
    let seen = all.into_iter().filter(|(_, of)| of.count > 0);
    seen.map(row).collect()
}

fn stacks(view: &TaskTypeView, width: u16) -> Vec<String> {
    let all = view
        .stacks
        .iter()
        .fold(Nanos(0), |sum, found| sum.plus(found.time));
    // Different lines of one function say the same here.
    let mut chains: Vec<(String, Nanos)> = Vec::new();
    for found in &view.stacks {
        let chain = stack::callers(&found.stack).unwrap_or_else(|| "(no stack)".to_owned());
        match chains.iter_mut().find(|(known, _)| *known == chain) {
            Some((_, time)) => *time = time.plus(found.time),
            None => chains.push((chain, found.time)),
        }
    }
    chains.sort_by_key(|&(_, time)| Reverse(time));
    let rows = chains.into_iter().map(|(chain, time)| {
        let lead = format!(
            "{:>8} {:>6}  ",
            human::duration(time),
            human::percent(share(time, all))
        );
        let room = width.saturating_sub(lead.chars().count() as u16);
        format!("{lead}{}", stack::fitted(&chain, room))
    });
    rows.collect()
}

/// Live tasks of the type, those that are listed.
fn live(snapshot: &Snapshot, view: &TaskTypeView) -> Vec<String> {
    let alive = snapshot.tasks.alive.iter();
    let of_type = alive.filter(|task| (task.pid, task.vtable) == view.id());
    let mut rows: Vec<String> = of_type.map(|task| live_task(snapshot, task)).collect();
    let all = view
        .alive
        .map_or(0, |alive| alive.unfinished().saturating_add(alive.complete));
    match all.saturating_sub(rows.len() as u64) {
        0 => {}
        more => rows.push(format!("{} more not listed", human::count(more))),
    }
    rows
}

fn live_task(snapshot: &Snapshot, task: &TaskView) -> String {
    let number = |number: u64| match number {
        0 => NONE.to_owned(),
        number => number.to_string(),
    };
    let thread = match task.tid.0 {
        0 => NONE.to_owned(),
        tid => tid.to_string(),
    };
    format!(
        "{:<9} {:<9} {:>9} {:>9}  {thread:<17} {}",
        number(task.id),
        task.state.name(),
        long_polls::elapsed(task.age(snapshot.now)),
        task.polled_for(snapshot.now)
            .map_or_else(|| NONE.to_owned(), human::duration),
        number(task.owner)
    )
}

/// Long polls of the type: two lines each.
fn long_polls(snapshot: &Snapshot, view: &TaskTypeView, width: u16) -> Vec<String> {
    let source = view.source();
    let of_type = |poll: &&LongPollView| {
        (poll.pid, &poll.name, &poll.source) == (view.pid, &view.name, &source)
    };
    let polls = snapshot.tasks.long_polls.iter().filter(of_type);
    polls
        .flat_map(|poll| {
            let task = match poll.task {
                0 => String::new(),
                id => format!(" task {id}"),
            };
            let head = format!(
                "{:>8} {} ago,{task} on {}: {}",
                human::duration(poll.busy),
                long_polls::ago(poll, snapshot),
                long_polls::thread(poll.pid, poll.tid, &snapshot.tasks),
                human::poll_split(poll.busy, &poll.off)
            );
            let chain = stack::callers(&poll.stack)
                .unwrap_or_else(|| "no sample and no long wait fell into it".to_owned());
            let room = width.saturating_sub(12);
            [head, format!("         in {}", stack::fitted(&chain, room))]
        })
        .collect()
}
