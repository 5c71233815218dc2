//! Long iterations of event loops, each of them seen: how long, doing what, and where.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    long_polls, loops,
    panel::{self, Title},
    stack,
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE},
    model::Snapshot,
};
use tracer_common::Nanos;

const COLUMNS: [Column; 5] = [
    Column::number("took", 8, 0),
    Column::number("ago", 7, 2),
    Column::text("mostly", 10, 1),
    Column::text("loop", 11, 3),
    Column::stack("where", 24, 1),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 5] = [
    (
        "took",
        "how long the iteration took; nothing else ran in the loop",
    ),
    ("ago", "since it ended; now: it goes on"),
    ("mostly", "what the thread did in it most of the time"),
    ("loop", "whose loop it was"),
    (
        "where",
        "the stack of the longest time in it, by samples and long waits",
    ),
];

/// From here on an iteration that goes on is a long one.
const LONG: Nanos = Nanos(10_000_000);

/// The last ones, in their panel.
pub(super) fn panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let view = &snapshot.loops;
    let about = vec![
        "newest first".to_owned(),
        "the loop could do nothing else".to_owned(),
    ];
    let mut title = Title::new("Long iterations", about);
    title.frame_from = (40, 4);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let place = |stack| stack::callers(stack).unwrap_or_else(|| NONE.to_owned());
    let going_on = view.loops.iter().filter(|view| view.going_on >= LONG);
    let mut rows: Vec<(bool, Vec<String>)> = going_on
        .map(|view| {
            let cells = vec![
                human::duration(view.going_on),
                "now".to_owned(),
                "goes on".to_owned(),
                loops::name(view),
                place(&view.stack),
            ];
            (true, cells)
        })
        .collect();
    rows.extend(view.long.iter().map(|long| {
        let end = long.since.plus(long.busy);
        let ago = snapshot.now.since(end).unwrap_or_default();
        let name = view
            .of(long.pid, long.tid)
            .map_or_else(|| format!("tid {}", long.tid.0), loops::name);
        let cells = vec![
            human::duration(long.busy),
            long_polls::elapsed(ago),
            long_polls::mostly(long.busy, &long.off),
            name,
            place(&long.stack),
        ];
        (false, cells)
    }));
    if rows.is_empty() {
        let why = super::without(
            snapshot,
            "event_loops",
            "Iterations are not seen one by one",
        )
        .unwrap_or_else(|| "No iteration has been over 10 ms since attach.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let cells = |(goes_on, cells): &(bool, Vec<String>)| {
        let style = if *goes_on {
            theme.strong_style()
        } else {
            Style::new()
        };
        (cells.clone(), style)
    };
    Table {
        columns: &COLUMNS,
        sorted: (None, false),
        rows: &rows,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(COLUMNS.map(|c| c.title), MEANINGS.map(|(title, _)| title));
    }
}
