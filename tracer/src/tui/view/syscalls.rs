//! System calls: how often, how long, how many fail. The time is time inside the call, not CPU time.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    cut,
    panel::{self, Title},
    table::{self, Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{Snapshot, SyscallView},
    tui::{app::App, list::SyscallSort},
};
use tracer_common::Nanos;

const COLUMNS: [Column; 11] = [
    Column::number("name", 12, 0),
    Column::text("what it does", 18, 10),
    Column::number("calls/s", 8, 2),
    Column::number("time", 7, 1),
    Column::number("calls", 7, 6),
    Column::number("errors", 7, 5),
    Column::number("inside", 8, 8),
    Column::number("mean", 8, 9),
    Column::number("p50", 8, 4),
    Column::number("p99", 8, 3),
    Column::number("max", 8, 7),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 11] = [
    ("name", "the system call"),
    ("what it does", "said of calls that wait by design"),
    ("calls/s", "returns per second in the period of the title"),
    ("time", "share of all time inside calls: waiting, not CPU"),
    ("calls", "returns since attach"),
    ("errors", "returns with an errno since attach"),
    ("inside", "time inside it since attach, over all threads"),
    ("mean", "time inside per call"),
    ("p50", "half of the calls took less, give or take 6 %"),
    ("p99", "99 of 100 calls took less, likewise"),
    ("max", "the longest call"),
];

/// Calls that wait by design: their time is long and costs nothing.
const WAITS: [(&str, &[&str]); 6] = [
    (
        "waits for events",
        &[
            "epoll_wait",
            "epoll_pwait",
            "epoll_pwait2",
            "poll",
            "ppoll",
            "select",
            "pselect6",
        ],
    ),
    ("waits for threads", &["futex", "futex_wait", "futex_waitv"]),
    ("sleeps", &["nanosleep", "clock_nanosleep", "pause"]),
    ("waits for a child", &["wait4", "waitid"]),
    ("waits for clients", &["accept", "accept4"]),
    (
        "waits for I/O",
        &["io_uring_enter", "io_getevents", "io_pgetevents"],
    ),
];

fn what_it_does(name: &str) -> &'static str {
    WAITS
        .iter()
        .find(|(_, names)| names.contains(&name))
        .map_or("", |(what, _)| what)
}

/// The whole view: the table, and the selected call in words.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.syscalls.rows(snapshot, app.period);
    let selected = app.syscalls.position(&rows);
    let detail = selected
        .and_then(|at| rows.get(at))
        .filter(|_| area.height >= 14);
    let mut table = area;
    let lines = detail.map_or(0, |call| if call.errnos.is_empty() { 5 } else { 6 });
    let below = cut::bottom(&mut table, lines);
    panel(frame, table, app, snapshot, selected, theme);
    if let Some(call) = detail {
        detail_panel(frame, below, snapshot, call, theme);
    }
}

/// The table in its panel.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    selected: Option<usize>,
    theme: &Theme,
) {
    let rows = app.syscalls.rows(snapshot, app.period);
    let period = super::period(app, snapshot);
    let mut about: Vec<String> = super::at_times(snapshot, "sys_exit").into_iter().collect();
    about.push("time inside, not cpu".to_owned());
    about.extend(super::filtered(&app.syscalls.filter));
    about.push(format!("calls/s and time: {period}"));
    about.push("the rest since attach".to_owned());
    let inner = panel::draw(
        frame,
        area,
        &Title::new("System calls", about),
        Line::default(),
        theme,
    );
    if rows.is_empty() {
        return frame.render_widget(super::explanation([nothing(app, snapshot)], theme), inner);
    }
    let all: Nanos = snapshot
        .syscalls
        .iter()
        .fold(Nanos(0), |sum, call| sum.plus(app.period.calls(call).1));
    let length = app.period.length(snapshot);
    let counted = snapshot
        .syscalls
        .iter()
        .map(|call| app.period.calls(call).0);
    let off = super::off_for_now(snapshot, "sys_exit", counted.max().unwrap_or(0));
    let cells = |call: &&SyscallView| {
        let (count, time) = app.period.calls(call);
        let timed = |time| human::duration_of(call.time.count, time);
        let cells = vec![
            sanitise(&call.name).into_owned(),
            what_it_does(&call.name).to_owned(),
            if off {
                NONE.to_owned()
            } else {
                human::rate(count, length)
            },
            human::ratio(share(time, all)),
            human::count(call.count),
            human::count(call.errors),
            timed(call.inside),
            timed(mean(call)),
            timed(call.time.p50),
            timed(call.time.p99),
            timed(call.time.max),
        ];
        (
            cells,
            if count == 0 {
                theme.faint_style()
            } else {
                Style::new()
            },
        )
    };
    let by = match app.syscalls.sort {
        SyscallSort::Name => 0,
        SyscallSort::Calls => 2,
        SyscallSort::Time => 3,
        SyscallSort::Errors => 5,
        SyscallSort::P99 => 9,
        SyscallSort::Max => 10,
    };
    Table {
        columns: &COLUMNS,
        sorted: (Some(by), app.syscalls.reversed),
        rows: &rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn nothing(app: &App, snapshot: &Snapshot) -> String {
    if let Some(probe) = super::syscalls_not_counted(snapshot) {
        format!(
            "System calls are not counted: the probe sys_exit is {} ({}).",
            probe.status.name(),
            sanitise(&probe.why)
        )
    } else if app.syscalls.filter.is_empty() {
        "No system call has returned yet.".to_owned()
    } else {
        format!(
            "No system call has “{}” in its name. Esc shows all.",
            sanitise(&app.syscalls.filter)
        )
    }
}

fn mean(call: &SyscallView) -> Nanos {
    Nanos(call.time.sum.0.checked_div(call.time.count).unwrap_or(0))
}

/// The selected call in sentences.
fn detail_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    snapshot: &Snapshot,
    call: &SyscallView,
    theme: &Theme,
) {
    let name = sanitise(&call.name);
    let about = what_it_does(&call.name);
    let about = if about.is_empty() {
        vec![]
    } else {
        vec![format!("{about}: long times are normal")]
    };
    let inner = panel::draw(
        frame,
        area,
        &Title::new(&name, about),
        Line::default(),
        theme,
    );
    let failed = match call.errors {
        0 => "none failed".to_owned(),
        errors => {
            let share = errors as f64 / call.count as f64;
            format!("{} failed ({})", human::count(errors), human::ratio(share))
        }
    };
    let time = &call.time;
    let recent = format!(
        "last {}: {} calls, {} inside",
        human::duration(snapshot.window),
        human::count(call.recent_count),
        human::duration(call.recent_time)
    );
    let mut lines = vec![
        recent,
        format!(
            "since attach: {} calls, {failed}; {} inside, {} each",
            human::count(call.count),
            human::duration(call.inside),
            human::duration(mean(call))
        ),
        format!(
            "half took less than {}, 99 of 100 less than {}, the longest {}",
            human::duration(time.p50),
            human::duration(time.p99),
            human::duration(time.max)
        ),
    ];
    if !call.errnos.is_empty() {
        let numbers: Vec<String> = call
            .errnos
            .iter()
            .map(|&(number, count)| format!("{} {}", human::errno(number), human::count(count)))
            .collect();
        let line = format!("failed with: {}", numbers.join(", "));
        lines.push(table::shortened(&line, inner.width));
    }
    frame.render_widget(super::explanation(lines, theme), inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(
            COLUMNS.map(|column| column.title),
            MEANINGS.map(|(title, _)| title)
        );
    }
}
