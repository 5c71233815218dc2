//! Workers: the threads that poll tasks or run closures of the blocking pool, and how busy they are with it.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    panel::{self, Title},
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{PollerView, Role, Snapshot},
    tui::{app::App, list::Period},
};

const COLUMNS: [Column; 10] = [
    Column::text("thread", 13, 0),
    Column::number("tid", 7, 1),
    Column::text("role", 8, 2),
    Column::number("polls/s", 8, 1),
    Column::number("busy", 6, 0),
    Column::number("parks/s", 8, 3),
    Column::number("moved", 6, 4),
    Column::number("polls", 7, 6),
    Column::number("closures", 8, 7),
    Column::text("", 10, 5),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 9] = [
    ("thread", "a thread that polled tasks or ran closures"),
    ("tid", "its number"),
    (
        "role",
        "worker: polls tasks; blocking: ran closures of the blocking pool only",
    ),
    ("polls/s", "polls and closures per second watched"),
    ("busy", "share of its time in them; the bar says the same"),
    ("parks/s", "sleeps outside of them per second watched"),
    (
        "moved",
        "polls of a task that another worker had woken, since attach: stolen, or from a shared queue",
    ),
    ("polls", "polls of futures since attach"),
    ("closures", "closures of the blocking pool it ran"),
];

/// Threads that poll, in their panel.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let tasks = &snapshot.tasks;
    let about = vec![super::period(app, snapshot)];
    let mut title = Title::new("Workers", about);
    title.frame_from = panel::BESIDE;
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if tasks.pollers.is_empty() {
        let none = "No thread has polled a task yet.".to_owned();
        return frame.render_widget(super::explanation([none], theme), inner);
    }
    let cells = |poller: &PollerView| {
        let (polls, busy) = polled(poller, app.period, snapshot);
        let parks = match app.period {
            Period::Window => poller.recent_parks,
            Period::Session => poller.parks,
        };
        let name = match poller.name.as_str() {
            "" => NONE.to_owned(),
            name => sanitise(name).into_owned(),
        };
        let role = tasks.role(poller.pid, poller.tid);
        let cells = vec![
            name,
            poller.tid.0.to_string(),
            role.map_or(NONE, Role::name).to_owned(),
            polls,
            busy.map_or_else(|| NONE.to_owned(), human::percent),
            human::rate(parks, app.period.watched(tasks)),
            poller.moved.map_or_else(|| NONE.to_owned(), human::count),
            human::count(poller.polls),
            human::count(poller.blocking),
            bar(busy.unwrap_or(0.0)),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &COLUMNS,
        sorted: (None, false),
        rows: &tasks.pollers,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// A thread's polls and closures per second, and the share of its time in them.
pub(super) fn polled(
    poller: &PollerView,
    period: Period,
    snapshot: &Snapshot,
) -> (String, Option<f64>) {
    let over = period.watched(&snapshot.tasks);
    match period {
        Period::Window => {
            let busy = share(poller.recent_busy, over);
            let rate = human::rate(poller.recent_polls, over);
            (rate, busy.is_finite().then_some(busy.min(1.0)))
        }
        Period::Session => {
            let runs = poller.polls.saturating_add(poller.blocking);
            (human::rate(runs, over), poller.busy_ratio(snapshot))
        }
    }
}

/// Cells of a bar that is full.
const BAR: f64 = 10.0;

fn bar(share: f64) -> String {
    let full = (share * BAR).round() as usize;
    let rest = (BAR as usize).saturating_sub(full);
    format!("{}{}", "█".repeat(full.min(BAR as usize)), "░".repeat(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        for (column, (title, _)) in COLUMNS.iter().zip(MEANINGS) {
            assert_eq!(column.title, title);
        }
    }

    #[test]
    fn a_bar_says_a_share() {
        assert_eq!(bar(0.0).matches('█').count(), 0);
        assert_eq!(bar(0.5).matches('█').count(), 5);
        assert_eq!(bar(7.0).chars().count(), 10);
    }
}
