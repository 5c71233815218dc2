//! Callbacks of Node by kind: how often each comes, how long it holds the loop, and what runs because of it.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    panel::{self, Title},
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise},
    model::{CallbackView, Snapshot},
    tui::{app::App, list::Period},
};

const COLUMNS: [Column; 8] = [
    Column::text("callback", 19, 0),
    Column::number("used", 6, 0),
    Column::number("runs/s", 7, 1),
    Column::number("p50", 7, 3),
    Column::number("p99", 7, 0),
    Column::number("max", 7, 5),
    Column::number("ticks p99", 9, 4),
    Column::text("function", 16, 2),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 8] = [
    (
        "callback",
        "its kind as async_hooks calls it; Timers, Immediates: runs of what is due; none: of no resource",
    ),
    (
        "used",
        "share of the time in such callbacks and their ticks, those inside of them apart",
    ),
    ("runs/s", "callbacks per second watched"),
    ("p50", "half of the functions called took less"),
    ("p99", "likewise 99 of 100"),
    ("max", "the longest since attach"),
    (
        "ticks p99",
        "process.nextTick and microtasks that ran afterwards: 99 of 100 took less",
    ),
    (
        "function",
        "your function that most samples in such callbacks were under, and a line of it",
    ),
];

/// The kinds in their panel; `more` says where there is more of them.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    more: Option<&str>,
    theme: &Theme,
) {
    let view = &snapshot.callbacks;
    let mut about: Vec<String> = sampled(view.watched).into_iter().collect();
    about.push(format!("used and runs/s: {}", super::period(app, snapshot)));
    about.extend(more.map(str::to_owned));
    let title = Title::new("Callbacks", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if view.kinds.is_empty() {
        return frame.render_widget(super::explanation([nothing(snapshot)], theme), inner);
    }
    let mut rows: Vec<&CallbackView> = view.kinds.iter().collect();
    if app.period == Period::Window {
        rows.sort_by_key(|view| std::cmp::Reverse(view.recent_time));
    }
    let cells = |view: &&CallbackView| {
        let (runs, used) = rates(view, snapshot, app.period);
        let cells = vec![
            sanitise(&view.kind).into_owned(),
            used,
            runs,
            human::duration(view.busy.p50),
            human::duration(view.busy.p99),
            human::duration(view.busy.max),
            human::duration(view.ticks.p99),
            function(view),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &COLUMNS,
        sorted: (Some(1), false),
        rows: &rows,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// Rows the panel needs.
pub(super) fn height(snapshot: &Snapshot, width: u16) -> u16 {
    let rows = snapshot.callbacks.kinds.len().max(1) as u16;
    rows + 1 + panel::overhead(width)
}

/// Callbacks per second, and the share of the time they and their ticks took.
fn rates(view: &CallbackView, snapshot: &Snapshot, period: Period) -> (String, String) {
    let (runs, time, over) = match period {
        Period::Window => (view.recent, view.recent_time, snapshot.callbacks.recent_on),
        Period::Session => (view.busy.count, view.whole(), snapshot.duration()),
    };
    let used = human::share(time, over);
    let used = if used.is_finite() {
        human::percent(used)
    } else {
        NONE.to_owned()
    };
    (human::rate(runs, over), used)
}

fn function(view: &CallbackView) -> String {
    let symbol = view.function.as_ref();
    let place = symbol.and_then(|symbol| human::place(std::slice::from_ref(symbol)));
    place.map_or_else(|| NONE.to_owned(), |place| sanitise(&place).into_owned())
}

/// How much of the time was watched, when that is not all of it.
pub(super) fn sampled(share: Option<f64>) -> Option<String> {
    let share = share.filter(|&share| share < 0.999)?;
    Some(format!("sampled {}: estimates", human::ratio(share)))
}

fn nothing(snapshot: &Snapshot) -> String {
    if snapshot.callbacks.watched.is_some() {
        return "No callback has been made while they were watched.".to_owned();
    }
    super::without(snapshot, "callback", "Callbacks are not watched")
        .unwrap_or_else(|| "Callbacks have not been watched yet.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(COLUMNS.map(|c| c.title), MEANINGS.map(|(title, _)| title));
    }
}
