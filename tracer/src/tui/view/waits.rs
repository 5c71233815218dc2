//! Long waits, each of them seen: how, how long, and from where.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    panel::{self, Title},
    stack,
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise},
    model::{Snapshot, WaitView},
    tui::bands,
};

const COLUMNS: [Column; 6] = [
    Column::text("thread", 12, 0),
    Column::text("state", 6, 1),
    Column::number("count", 6, 5),
    Column::number("total", 7, 3),
    Column::number("longest", 8, 4),
    Column::stack("where", 18, 2),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 6] = [
    ("thread", "the thread that waited last"),
    ("state", "how it waited, as in the bars"),
    ("count", "long waits from this place since attach"),
    ("total", "how long they took together"),
    ("longest", "the longest of them"),
    (
        "where",
        "the waiter's stack, without the C library's part of it",
    ),
];

/// Long waits of any kind, by where they came from.
pub(super) fn panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let about = vec![
        "one by one, of any kind".to_owned(),
        "since attach".to_owned(),
    ];
    let title = Title::new("Long waits", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if snapshot.long_waits.is_empty() {
        let why = super::without(snapshot, "sched_waking", "Long waits are not told")
            .unwrap_or_else(|| "No wait has been long since attach.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let cells = |wait: &WaitView| {
        let thread = if wait.thread.is_empty() {
            wait.tid.0.to_string()
        } else {
            sanitise(&wait.thread).into_owned()
        };
        let cells = vec![
            thread,
            bands::word(wait.state).to_owned(),
            human::count(wait.count),
            human::duration(wait.sum),
            human::duration(wait.max),
            stack::callers(&wait.stack).unwrap_or_else(|| NONE.to_owned()),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &COLUMNS,
        sorted: (Some(3), false),
        rows: &snapshot.long_waits,
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
