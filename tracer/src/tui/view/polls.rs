//! What waiting for events at epoll descriptors gives, and how late it ends.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    panel::{self, Title},
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE},
    model::{PollView, Snapshot},
};

const COLUMNS: [Column; 8] = [
    Column::number("epoll", 14, 0),
    Column::number("waits/s", 8, 4),
    Column::number("waits", 7, 3),
    Column::number("events", 7, 1),
    Column::number("most", 5, 6),
    Column::number("empty", 6, 2),
    Column::number("late p50", 8, 5),
    Column::number("late p99", 8, 3),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 8] = [
    ("epoll", "the descriptor an event loop waits at"),
    ("waits/s", "returns per second since attach"),
    ("waits", "returns since attach"),
    (
        "events",
        "events per return; many at once: the loop is behind",
    ),
    ("most", "the most events of one return"),
    (
        "empty",
        "share of returns without an event: a timer was due",
    ),
    ("late p50", "from being woken to the return: half took less"),
    ("late p99", "likewise 99 of 100; long when CPUs are short"),
];

/// What waiting at epoll descriptors gives.
pub(super) fn panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let about = vec![
        "since attach".to_owned(),
        "late: from being woken to running again".to_owned(),
    ];
    let mut title = Title::new("Waiting for events", about);
    title.frame_from.1 = 4;
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if snapshot.polls.is_empty() {
        let why = super::without(snapshot, "file_calls", "Not counted")
            .unwrap_or_else(|| "Nobody has waited at an epoll descriptor since attach.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let length = snapshot.duration();
    let cells = |poll: &PollView| {
        let latency = |time| human::duration_of(poll.latency.count, time);
        let per_wait = poll.events as f64 / poll.waits as f64;
        let cells = vec![
            if snapshot.processes.len() > 1 {
                format!("fd {} pid {}", poll.fd, poll.pid.0)
            } else {
                format!("fd {}", poll.fd)
            },
            human::rate(poll.waits, length),
            human::count(poll.waits),
            if per_wait.is_finite() {
                format!("{per_wait:.1}")
            } else {
                NONE.to_owned()
            },
            human::count(poll.events_max),
            human::percent(poll.empty as f64 / poll.waits as f64),
            latency(poll.latency.p50),
            latency(poll.latency.p99),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &COLUMNS,
        sorted: (Some(2), false),
        rows: &snapshot.polls,
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
