//! Long polls, each of them seen: of which task, how long, doing what, and where.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    panel::{self, Title},
    stack,
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{LongPollView, Snapshot, TasksView},
};
use tracer_common::{Nanos, Pid, Tid, task::OFF_PARTS};

const COLUMNS: [Column; 6] = [
    Column::text("type", 18, 0),
    Column::number("took", 7, 0),
    Column::number("ago", 7, 3),
    Column::text("mostly", 10, 2),
    Column::text("thread", 11, 4),
    Column::stack("where", 24, 1),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 6] = [
    ("type", "the type of the task that was polled"),
    ("took", "how long the poll took"),
    ("ago", "since it ended; now: it goes on"),
    ("mostly", "what the thread did in it most of the time"),
    ("thread", "the worker that polled it"),
    (
        "where",
        "the stack of the longest time in it, by samples and long waits",
    ),
];

/// Short words for what a thread does in a poll, as in the bars.
const PARTS: [&str; 6] = ["cpu", "runq", "futex", "i/o", "fault", "other"];

/// The last ones, in their panel.
pub(super) fn panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let tasks = &snapshot.tasks;
    let mut about = vec!["newest first".to_owned()];
    about.push("the worker could run nothing else".to_owned());
    let title = Title::new("Long polls", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let mut rows: Vec<(bool, Vec<String>)> = tasks
        .going_on(snapshot.now)
        .into_iter()
        .map(|(task, time)| {
            let cells = vec![
                sanitise(&task.name).into_owned(),
                human::duration(time),
                "now".to_owned(),
                "goes on".to_owned(),
                thread(task.pid, task.tid, tasks),
                stack::callers(&task.stack).unwrap_or_else(|| NONE.to_owned()),
            ];
            (true, cells)
        })
        .collect();
    if tasks.long_polls.is_empty() && rows.is_empty() {
        let none = "No poll has been over the threshold since attach.".to_owned();
        return frame.render_widget(super::explanation([none], theme), inner);
    }
    rows.extend(tasks.long_polls.iter().map(|poll| {
        let cells = vec![
            sanitise(&poll.name).into_owned(),
            human::duration(poll.busy),
            ago(poll, snapshot),
            mostly(poll.busy, &poll.off),
            thread(poll.pid, poll.tid, tasks),
            stack::callers(&poll.stack).unwrap_or_else(|| NONE.to_owned()),
        ];
        (false, cells)
    }));
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

/// How long it is since a poll ended.
pub(super) fn ago(poll: &LongPollView, snapshot: &Snapshot) -> String {
    let end = poll.since.plus(poll.busy);
    elapsed(snapshot.now.since(end).unwrap_or_default())
}

/// A time in whole seconds, so that it can be read while it grows.
pub(super) fn elapsed(time: Nanos) -> String {
    match time {
        Nanos(0..1_000_000_000) => "<1s".to_owned(),
        time => human::elapsed(time),
    }
}

/// The thread that polled, by its name where that is known.
pub(super) fn thread(pid: Pid, tid: Tid, tasks: &TasksView) -> String {
    let mut pollers = tasks.pollers.iter();
    let known = pollers.find(|poller| (poller.pid, poller.tid) == (pid, tid));
    match known.map_or("", |poller| poller.name.as_str()) {
        "" => format!("tid {}", tid.0),
        name => sanitise(name).into_owned(),
    }
}

/// What the thread did most of the time in a poll, or in an iteration of its loop.
pub(super) fn mostly(busy: Nanos, off: &[Nanos; OFF_PARTS]) -> String {
    let parts = human::poll_parts(busy, off);
    let largest = PARTS.iter().zip(parts).max_by_key(|&(_, time)| time);
    largest.map_or_else(
        || NONE.to_owned(),
        |(word, time)| format!("{word} {}", human::percent(share(time, busy))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(COLUMNS.map(|c| c.title), MEANINGS.map(|(title, _)| title));
    }
}
