//! All threads, each with all its states.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    cut,
    panel::{self, Title},
    table::{self, Column, Table},
    theme::Theme,
    workers,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{Life, Role, Snapshot, ThreadView},
    tui::{
        app::App,
        bands::{self, BANDS},
        list::{Sort as _, ThreadSort},
    },
};
use tracer_common::{State, ThreadTimes};

/// What stands in a column.
#[derive(Clone, Copy)]
enum Shows {
    Name,
    Tid,
    Pid,
    /// What it does with tasks.
    Role,
    Now,
    WaitsOn,
    /// Share of time in these states.
    Share(&'static [State]),
    ReadyMax,
    Wall,
    Voluntary,
    Involuntary,
    Migrations,
}

/// A column: heading, width, rank, what stands in it.
struct Spec(&'static str, u16, u8, Shows);

/// All columns. A state no thread has been in gives way before the others.
const SPECS: [Spec; 23] = {
    use Shows as S;
    [
        Spec("name", 15, 0, S::Name),
        Spec("tid", 7, 1, S::Tid),
        Spec("pid", 7, 15, S::Pid),
        Spec("role", 8, 12, S::Role),
        Spec("now", 9, 14, S::Now),
        Spec("waits on", 9, 14, S::WaitsOn),
        Spec("cpu", 5, 2, S::Share(&[State::ON_CPU])),
        Spec("runq", 5, 3, S::Share(&[State::RUNNABLE])),
        Spec("preem", 5, 13, S::Share(&[State::PREEMPTED])),
        Spec("quota", 5, 4, S::Share(&[State::THROTTLED])),
        Spec("fault", 5, 12, S::Share(&[State::PAGE_FAULT])),
        Spec("disk", 5, 6, S::Share(&[State::DISK])),
        Spec("net", 5, 7, S::Share(&[State::NETWORK])),
        Spec("futex", 5, 4, S::Share(&[State::FUTEX])),
        Spec(
            "other",
            5,
            10,
            S::Share(&[State::OTHER, State(13), State(14), State(15)]),
        ),
        Spec("epoll", 5, 5, S::Share(&[State::EPOLL])),
        Spec("sleep", 5, 9, S::Share(&[State::SLEEP])),
        Spec("?", 5, 11, S::Share(&[State::UNKNOWN])),
        Spec("runq max", 8, 13, S::ReadyMax),
        Spec("wall", 7, 16, S::Wall),
        Spec("vol", 6, 17, S::Voluntary),
        Spec("invol", 6, 18, S::Involuntary),
        Spec("migr", 6, 19, S::Migrations),
    ]
};

/// What columns mean, for the help. Those of states are explained with the bars.
pub(super) const MEANINGS: [(&str, &str); 14] = [
    ("name", "its name; ×N: so many ended threads of that name"),
    ("tid", "thread id"),
    ("pid", "its process, when several are traced"),
    (
        "role",
        "worker: polls tasks; blocking: runs closures of the blocking pool",
    ),
    ("now", "what it was doing when it was last read"),
    (
        "waits on",
        "the end of a futex's address (see locks), or a descriptor",
    ),
    ("cpu … ?", "share of its time in each state, as in the bars"),
    ("runq", "here: woken, waiting for a CPU"),
    ("preem", "preempted: taken off its CPU, waiting again"),
    ("runq max", "the longest it was ready and got no CPU"),
    ("wall", "time accounted: since attach, or since it began"),
    ("vol", "context switches because it waited (voluntary)"),
    ("invol", "those because another had to run (involuntary)"),
    ("migr", "times it came back on another CPU"),
];

/// Rank of a state no thread has been in.
const ABSENT: u8 = 100;

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.threads.rows(snapshot, app.period);
    let selected = app.threads.position(&rows);
    let detail = selected
        .and_then(|at| rows.get(at))
        .filter(|_| area.height >= 14);
    let mut table = area;
    let below = cut::bottom(&mut table, if detail.is_some() { 6 } else { 0 });
    table_panel(frame, table, app, snapshot, &rows, selected, theme);
    if let Some(thread) = detail {
        detail_panel(frame, below, app, snapshot, thread, theme);
    }
}

fn table_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    rows: &[&ThreadView],
    selected: Option<usize>,
    theme: &Theme,
) {
    let absent = |states: &[State]| {
        rows.iter().all(|thread| {
            let times = app.period.times(thread);
            states.iter().all(|&state| times.of(state).0 == 0)
        })
    };
    let specs: Vec<&Spec> = SPECS
        .iter()
        .filter(|Spec(_, _, _, shows)| {
            (snapshot.processes.len() > 1 || !matches!(shows, Shows::Pid))
                && (!snapshot.tasks.pollers.is_empty() || !matches!(shows, Shows::Role))
        })
        .collect();
    let columns: Vec<Column> = specs
        .iter()
        .map(|&&Spec(title, width, rank, shows)| {
            let gives_way = matches!(shows, Shows::Share(states) if absent(states));
            Column::number(title, width, if gives_way { ABSENT + rank } else { rank })
        })
        .collect();
    let mut about = vec![super::period(app, snapshot)];
    about.extend(super::filtered(&app.threads.filter));
    about.push(population(rows));
    about.push(format!("by {}", app.threads.sort.name()));
    let hidden = columns.len() - table::fitting(&columns, area.width.saturating_sub(4)).len();
    let note = match hidden {
        0 => Line::default(),
        1 => Line::from(theme.faint(" 1 more column on a wider terminal ")),
        _ => Line::from(theme.faint(format!(" {hidden} more columns on a wider terminal "))),
    };
    let inner = panel::draw(frame, area, &Title::new("Threads", about), note, theme);
    if rows.is_empty() {
        return frame.render_widget(super::explanation([nobody(app)], theme), inner);
    }
    let cells = |thread: &&ThreadView| {
        let times = app.period.times(thread);
        let cells = specs
            .iter()
            .map(|Spec(_, _, _, shows)| cell(*shows, thread, times, snapshot))
            .collect();
        (
            cells,
            if thread.life == Life::Alive {
                Style::new()
            } else {
                theme.faint_style()
            },
        )
    };
    let by = match app.threads.sort {
        ThreadSort::Cpu => "cpu",
        ThreadSort::Waiting => "runq",
        ThreadSort::Name => "name",
        ThreadSort::Tid => "tid",
    };
    let sorted = (
        columns.iter().position(|column| column.title == by),
        app.threads.reversed,
    );
    Table {
        columns: &columns,
        sorted,
        rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn cell(shows: Shows, thread: &ThreadView, times: &ThreadTimes, snapshot: &Snapshot) -> String {
    match shows {
        Shows::Name => match thread.life {
            Life::Alive | Life::Ended => super::thread_name(thread),
            Life::Folded(threads) => {
                format!("{} ×{}", super::thread_name(thread), human::count(threads))
            }
        },
        Shows::Tid => thread.tid.map_or(String::new(), |tid| tid.0.to_string()),
        Shows::Pid => thread.pid.map_or(String::new(), |pid| pid.0.to_string()),
        Shows::Role => role(thread, snapshot).map_or(NONE, Role::name).to_owned(),
        Shows::Now => match thread.life {
            Life::Alive => bands::word(thread.state).to_owned(),
            Life::Ended | Life::Folded(_) => "ended".to_owned(),
        },
        Shows::WaitsOn => waits_on(thread).unwrap_or_else(|| NONE.to_owned()),
        Shows::ReadyMax => human::duration(thread.ready_max),
        Shows::Share(states) => {
            let part = states
                .iter()
                .fold(0_u64, |sum, &state| sum.saturating_add(times.of(state).0));
            match (part, times.total().0) {
                (_, 0) => NONE.to_owned(),
                (0, _) => "0".to_owned(),
                (part, total) => human::percent(part as f64 / total as f64),
            }
        }
        Shows::Wall => human::duration(thread.wall),
        Shows::Voluntary => human::count(thread.times.voluntary),
        Shows::Involuntary => human::count(thread.times.involuntary),
        Shows::Migrations => human::count(thread.times.migrations),
    }
}

/// What it does with tasks.
fn role(thread: &ThreadView, snapshot: &Snapshot) -> Option<Role> {
    let (pid, tid) = thread.pid.zip(thread.tid)?;
    snapshot.role(pid, tid)
}

/// That it polls tasks, and how much of its time.
fn polls(thread: &ThreadView, app: &App, snapshot: &Snapshot) -> Option<String> {
    let role = role(thread, snapshot).filter(|role| *role != Role::Other)?;
    if role == Role::Loop {
        let (pid, tid) = thread.pid.zip(thread.tid)?;
        let busy = snapshot.loops.of(pid, tid)?.recent_utilization();
        let busy = busy.map_or_else(|| NONE.to_owned(), human::percent);
        return Some(format!("event loop: {busy} utilised"));
    }
    let mut pollers = snapshot.tasks.pollers.iter();
    let poller = pollers.find(|poller| Some(poller.tid) == thread.tid)?;
    let (_, busy) = workers::polled(poller, app.period, snapshot);
    let busy = busy.map_or_else(|| NONE.to_owned(), human::percent);
    Some(format!("{}: {busy} of its time in tasks", role.name()))
}

/// The futex or the descriptor it waits on at this moment.
fn waits_on(thread: &ThreadView) -> Option<String> {
    match (thread.waiting_on, thread.state) {
        (0, _) => None,
        (address, State::FUTEX) => Some(human::short_address(address)),
        (fd, _) => Some(format!("fd {fd}")),
    }
}

/// The same in words: what is known of the futex or the descriptor.
fn waits_on_in_words(thread: &ThreadView, snapshot: &Snapshot) -> Option<String> {
    let on = waits_on(thread)?;
    if thread.state == State::FUTEX {
        let lock = snapshot
            .locks
            .iter()
            .find(|lock| Some(lock.pid) == thread.pid && lock.address == thread.waiting_on)?;
        return Some(match lock.wakers.first() {
            Some(waker) if waker.name.is_empty() => {
                format!("{on}, most often woken by {}", waker.tid.0)
            }
            Some(waker) => format!("{on}, most often woken by {}", sanitise(&waker.name)),
            None => format!("{on}, which no thread has woken yet"),
        });
    }
    let file = snapshot
        .files
        .iter()
        .find(|file| Some(file.pid) == thread.pid && u64::from(file.fd) == thread.waiting_on);
    let what = file.map(|file| format!("{} {}", file.kind, file.name));
    let what = what.map(|what| sanitise(what.trim()).into_owned());
    Some(match what.filter(|what| !what.is_empty()) {
        Some(what) => format!("{on} ({what})"),
        None => on,
    })
}

fn population(rows: &[&ThreadView]) -> String {
    let alive = rows
        .iter()
        .filter(|thread| thread.life == Life::Alive)
        .count() as u64;
    let ended: u64 = rows
        .iter()
        .map(|thread| match thread.life {
            Life::Alive => 0,
            Life::Ended => 1,
            Life::Folded(threads) => threads,
        })
        .sum();
    match ended {
        0 => format!("{} alive", human::count(alive)),
        _ => format!(
            "{} alive, {} ended",
            human::count(alive),
            human::count(ended)
        ),
    }
}

fn nobody(app: &App) -> String {
    if app.threads.filter.is_empty() {
        "No thread has been seen yet. One appears as soon as it runs or its counters are read."
            .to_owned()
    } else {
        format!(
            "No thread has “{}” in its name. Esc shows all.",
            sanitise(&app.threads.filter)
        )
    }
}

/// The selected thread in words, for what its columns have no room for.
fn detail_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    thread: &ThreadView,
    theme: &Theme,
) {
    let name = super::thread_name(thread);
    let process = thread
        .pid
        .and_then(|pid| snapshot.processes.iter().find(|process| process.pid == pid));
    let mut about = Vec::new();
    match (thread.tid, process) {
        (Some(tid), Some(process)) => {
            about.push(format!(
                "tid {} of {} pid {}",
                tid.0,
                sanitise(&process.comm),
                process.pid.0
            ));
        }
        (Some(tid), None) => about.push(format!("tid {}", tid.0)),
        (None, _) => {}
    }
    about.extend(polls(thread, app, snapshot));
    match thread.life {
        Life::Alive => {
            let on = waits_on_in_words(thread, snapshot).or_else(|| waits_on(thread));
            let on = on.map_or(String::new(), |on| format!(" on {on}"));
            about.push(format!("now: {}{on}", bands::word(thread.state)));
        }
        Life::Ended => about.push("ended".to_owned()),
        Life::Folded(threads) => about.push(format!(
            "{} ended threads of this name",
            human::count(threads)
        )),
    }
    let inner = panel::draw(
        frame,
        area,
        &Title::new(&name, about),
        Line::default(),
        theme,
    );
    let times = &thread.times;
    let lines = [
        format!(
            "last {}: {}",
            human::duration(snapshot.window),
            parts(&thread.recent)
        ),
        format!("all {}: {}", human::duration(thread.wall), parts(times)),
        format!(
            "longest wait for a CPU: {}; on CPUs other than before {} times",
            human::duration(thread.ready_max),
            human::count(times.migrations)
        ),
        format!(
            "context switches: {} to wait (voluntary), {} to let others run",
            human::count(times.voluntary),
            human::count(times.involuntary)
        ),
    ];
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|line| Line::from(theme.plain(table::shortened(&line, inner.width))))
        .collect();
    frame.render_widget(ratatui::widgets::Paragraph::new(lines), inner);
}

fn parts(times: &ThreadTimes) -> String {
    let parts: Vec<String> = BANDS
        .iter()
        .filter(|band| band.of(times).0 > 0)
        .map(|band| {
            format!(
                "{} {}",
                band.word,
                human::ratio(share(band.of(times), times.total()))
            )
        })
        .collect();
    if parts.is_empty() {
        "no time accounted".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::thread::STATES;

    #[test]
    fn every_column_is_explained() {
        for Spec(title, _, _, shows) in &SPECS {
            let by_itself = MEANINGS.iter().any(|(name, _)| name == title);
            let by_the_bars = matches!(shows, Shows::Share(_))
                && BANDS
                    .iter()
                    .any(|band| band.word == *title || band.glyph.to_string() == *title);
            assert!(by_itself || by_the_bars, "{title}");
        }
    }

    #[test]
    fn every_state_that_takes_time_has_exactly_one_column() {
        for state in (0..STATES as u8)
            .map(State)
            .filter(|&state| state != State::DEAD)
        {
            let columns = SPECS.iter().filter(
                |Spec(_, _, _, shows)| matches!(shows, Shows::Share(states) if states.contains(&state)),
            );
            assert_eq!(columns.count(), 1, "{state:?}");
        }
    }
}
