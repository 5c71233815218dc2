//! Event loops: how busy each is, how long its iterations take, and which of them were long.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    cut, long_iterations, loop_delay, now,
    panel::{self, Title},
    table::{self, Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise},
    model::{LoopView, Snapshot},
    tui::{
        app::App,
        list::{LoopSort, Sort as _},
    },
};
use tracer_common::Nanos;

const COLUMNS: [Column; 10] = [
    Column::text("loop", 14, 0),
    Column::number("used", 6, 0),
    Column::number("p50", 7, 3),
    Column::number("p99", 7, 1),
    Column::number("max", 7, 0),
    Column::number("loops/s", 7, 2),
    Column::number("events/s", 8, 6),
    Column::number("long", 6, 4),
    Column::number("tid", 7, 7),
    Column::text("longest", 8, 5),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 10] = [
    (
        "loop",
        "the thread whose loop it is: main, or a worker's name",
    ),
    (
        "used",
        "share of the time it did not wait for events, as eventLoopUtilization",
    ),
    ("p50", "delay: half of its iterations took less"),
    ("p99", "likewise 99 of 100"),
    ("max", "the longest; what was due meanwhile was so late"),
    ("loops/s", "iterations per second"),
    ("events/s", "events its waits gave, per second"),
    ("long", "iterations over 10 ms since attach"),
    ("tid", "the thread's number"),
    (
        "longest",
        "the longest of each window, the newest at the right",
    ),
];

/// From this width on, the histogram stands beside the long iterations.
const SIDE_BY_SIDE: u16 = 120;

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.loops.rows(snapshot, app.period);
    let selected = app.loops.position(&rows);
    let mut rest = area;
    let wanted = height(snapshot, area.width).max(2 + panel::overhead(area.width));
    let most = (area.height / 3).max(5);
    let top = cut::top(&mut rest, wanted.min(most));
    panel(frame, top, app, snapshot, None, theme);
    let Some(view) = selected.or(Some(0)).and_then(|at| rows.get(at)) else {
        return;
    };
    if rest.height < 3 {
        return;
    }
    if area.width >= SIDE_BY_SIDE {
        let width = rest.width / 2;
        let right = cut::right(&mut rest, width);
        loop_delay::panel(frame, rest, app, snapshot, view, theme);
        long_iterations::panel(frame, right, snapshot, theme);
        return;
    }
    let delays = loop_delay::rows(view) + 1 + panel::overhead(area.width);
    let height = delays.min(rest.height.saturating_sub(6));
    let delays = cut::top(&mut rest, height);
    if delays.height >= 3 {
        loop_delay::panel(frame, delays, app, snapshot, view, theme);
    }
    long_iterations::panel(frame, rest, snapshot, theme);
}

/// The loops, in their panel; `more` says where there is more of it.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    more: Option<&str>,
    theme: &Theme,
) {
    let mut about = vec![super::period(app, snapshot)];
    match more {
        Some(more) => about.push(more.to_owned()),
        None => {
            about.extend(super::filtered(app.loops.filter.as_str()));
            about.push(format!("by {}", app.loops.sort.name()));
        }
    }
    about.extend(super::at_times(snapshot, "event_loops"));
    let title = Title::new("Event loops", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let rows = app.loops.rows(snapshot, app.period);
    if rows.is_empty() {
        return frame.render_widget(super::explanation(nothing(app, snapshot), theme), inner);
    }
    let mut inner = inner;
    if !snapshot.loops.counted
        && let Some(why) = super::without(snapshot, "event_loops", "Iterations are not counted")
    {
        let said = cut::top(&mut inner, WHY);
        frame.render_widget(super::explanation([why], theme), said);
    }
    let selected = match more {
        Some(_) => None,
        None => app.loops.position(&rows),
    };
    let bars = room_for_bars(inner.width);
    let cells = |view: &&LoopView| (row(view, app, snapshot, bars), style(view, theme));
    let sorted = match app.loops.sort {
        LoopSort::Main => None,
        LoopSort::Used => Some(1),
        LoopSort::P99 => Some(3),
        LoopSort::Max => Some(4),
        LoopSort::Iterations => Some(5),
    };
    Table {
        columns: &COLUMNS,
        sorted: (sorted.filter(|_| more.is_none()), app.loops.reversed),
        rows: &rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// Rows for the reason why iterations are not counted.
const WHY: u16 = 2;

/// Rows the panel needs.
pub(super) fn height(snapshot: &Snapshot, width: u16) -> u16 {
    let view = &snapshot.loops;
    let why = if view.counted { 0 } else { WHY };
    view.loops.len() as u16 + 1 + why + panel::overhead(width)
}

/// Columns that are left for the last one, in a table of this width.
fn room_for_bars(width: u16) -> usize {
    let others = table::fitting(&COLUMNS, width)
        .into_iter()
        .filter(|&at| at + 1 < COLUMNS.len())
        .filter_map(|at| COLUMNS.get(at))
        .map(|column| column.width + 1);
    usize::from(width.saturating_sub(others.sum()))
}

/// A loop is held up right now.
const HELD: Nanos = Nanos(100_000_000);

fn style(view: &LoopView, theme: &Theme) -> Style {
    if view.going_on >= HELD {
        theme.strong_style()
    } else {
        Style::new()
    }
}

fn row(view: &LoopView, app: &App, snapshot: &Snapshot, bars: usize) -> Vec<String> {
    let none = || NONE.to_owned();
    let length = app.period.length(snapshot);
    let delay = app.period.delay(view);
    let time = |of: Option<Nanos>| {
        let count = delay.map_or(0, |delay| delay.count);
        of.map_or_else(none, |time| human::duration_of(count, time))
    };
    let counts = app.period.iterations(view);
    let rate = |count: Option<u64>| count.map_or_else(none, |count| human::rate(count, length));
    vec![
        name(view),
        app.period.used(view).map_or_else(none, human::percent),
        time(delay.map(|delay| delay.p50)),
        time(delay.map(|delay| delay.p99)),
        time(delay.map(|delay| delay.max)),
        rate(counts.map(|(iterations, _)| iterations)),
        rate(counts.map(|(_, events)| events)),
        view.counts
            .as_ref()
            .map_or_else(none, |counts| human::count(counts.long)),
        view.tid.0.to_string(),
        now::delay_bars(view, bars),
    ]
}

/// What a loop is called: names of Node's threads are often those of the program.
pub(super) fn name(view: &LoopView) -> String {
    let name = sanitise(&view.name);
    match (view.is_main(), name.as_ref()) {
        (true, "") => "main".to_owned(),
        (true, name) => format!("main {name}"),
        (false, "") => format!("tid {}", view.tid.0),
        (false, name) => name.to_owned(),
    }
}

/// Why there are no loops to show.
fn nothing(app: &App, snapshot: &Snapshot) -> Vec<String> {
    let view = &snapshot.loops;
    if !view.loops.is_empty() {
        vec![super::no_match("loop", &app.loops.filter)]
    } else if view.recognised {
        vec!["No thread of the Node process has waited for events yet.".to_owned()]
    } else if snapshot.tasks.runtimes.is_empty() {
        vec!["No process was looked at for a runtime yet.".to_owned()]
    } else {
        vec![
            "No process runs Node, whose threads have event loops.".to_owned(),
            "2 shows tasks of tokio, 6 who waits for events.".to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(COLUMNS.map(|c| c.title), MEANINGS.map(|(title, _)| title));
    }
}
