//! I/O: what goes through which descriptor, what waiting for events gives, and what is under way.

use ratatui::{Frame, layout::Rect, style::Style, text::Line, widgets::Paragraph};

use super::{
    cut,
    panel::{self, Title},
    polls,
    segments::{self, Segment},
    table::{self, Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise},
    model::{FileView, LevelView, Snapshot},
    tui::{
        app::App,
        list::{FileSort, Sort as _},
    },
};
use tracer_common::Nanos;

const COLUMNS: [Column; 11] = [
    Column::number("descriptor", 21, 0),
    Column::number("fd", 4, 2),
    Column::text("kind", 9, 6),
    Column::number("bytes/s", 10, 1),
    Column::number("calls/s", 8, 8),
    Column::number("reads", 6, 7),
    Column::number("writes", 6, 7),
    Column::number("again", 6, 9),
    Column::number("errors", 6, 3),
    Column::number("inside", 8, 5),
    Column::number("slowest", 8, 10),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 11] = [
    (
        "descriptor",
        "its path or addresses; what it is when it has none",
    ),
    ("fd", "its number; numbers are used again after a close"),
    ("kind", "socket, pipe, file, eventfd and so on"),
    ("bytes/s", "bytes per second in the period, both ways"),
    ("calls/s", "reads, writes, accepts and connects, likewise"),
    ("reads", "calls that read or receive since attach"),
    ("writes", "calls that write or send since attach"),
    ("again", "calls that would have had to wait (EAGAIN)"),
    ("errors", "calls that failed; those above do not count"),
    ("inside", "time inside these calls since attach"),
    ("slowest", "the longest of them"),
];

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.files.rows(snapshot, app.period);
    let selected = app.files.position(&rows);
    let mut rest = area;
    let strip = cut::top(&mut rest, u16::from(area.height >= 6));
    frame.render_widget(under_way(snapshot, strip.width, theme), strip);
    let polls_wanted = (snapshot.polls.len() as u16).max(1) + 3;
    let polls = if area.height >= 14 {
        polls_wanted.min(area.height / 3)
    } else {
        0
    };
    let polls = cut::bottom(&mut rest, polls);
    let detail = selected
        .and_then(|at| rows.get(at))
        .filter(|_| area.height >= 18);
    let below = cut::bottom(&mut rest, if detail.is_some() { 5 } else { 0 });
    files_panel(frame, rest, app, snapshot, &rows, selected, theme);
    if let Some(file) = detail {
        detail_panel(frame, below, snapshot, file, theme);
    }
    if !polls.is_empty() {
        polls::panel(frame, polls, snapshot, theme);
    }
}

/// What is started and not finished, and what is not seen.
fn under_way<'a>(snapshot: &Snapshot, width: u16, theme: &Theme) -> Line<'a> {
    let plain = Style::new();
    let mut left = Vec::new();
    if snapshot.cpu.io_uring {
        left.push(
            Segment::new(
                0,
                "▲ io_uring is used: its reads and writes are no system calls and are not below",
                plain,
            )
            .or("▲ io_uring is used: its I/O is not below")
            .or("▲ io_uring: I/O not below")
            .lead(theme.alarm_style()),
        );
    }
    let whole = snapshot.in_flight.iter().filter(|one| one.kind.is_none());
    for (rank, level) in (1..).zip(whole) {
        left.push(
            Segment::new(rank, level_said(level), plain)
                .or(format!("{} {} now", level.what, human::count(level.now)))
                .lead(theme.strong_style()),
        );
    }
    if snapshot.in_flight.is_empty() {
        left.push(Segment::new(1, format!("sockets {NONE}"), plain).lead(theme.strong_style()));
    }
    segments::line(width, left, vec![])
}

/// So many now, on average, and at most.
pub(super) fn level_said(level: &LevelView) -> String {
    format!(
        "{} {} in flight now, {} on average, {} at most",
        level.what,
        human::count(level.now),
        mean(level),
        human::count(level.max)
    )
}

/// The mean, as a count where it is large.
pub(super) fn mean(level: &LevelView) -> String {
    if !level.mean.is_finite() {
        NONE.to_owned()
    } else if level.mean < 100.0 {
        format!("{:.1}", level.mean)
    } else {
        human::count(level.mean.round() as u64)
    }
}

fn files_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    rows: &[&FileView],
    selected: Option<usize>,
    theme: &Theme,
) {
    let mut about: Vec<String> = super::at_times(snapshot, "file_calls")
        .into_iter()
        .collect();
    about.extend(super::filtered(&app.files.filter));
    about.push(format!("per second: {}", super::period(app, snapshot)));
    about.push("the rest since attach".to_owned());
    about.push(format!("by {}", app.files.sort.name()));
    let note = match snapshot.files_unlisted {
        0 => Line::default(),
        more => Line::from(theme.faint(format!(" {} more not listed ", human::count(more)))),
    };
    let title = Title::new("Descriptors", about);
    let inner = panel::draw(frame, area, &title, note, theme);
    if rows.is_empty() {
        return frame.render_widget(super::explanation(nothing(app, snapshot), theme), inner);
    }
    let length = app.period.length(snapshot);
    let counted = snapshot
        .files
        .iter()
        .map(|file| app.period.transfers(file).0);
    let off = super::off_for_now(snapshot, "file_calls", counted.max().unwrap_or(0));
    let cells = |file: &&FileView| {
        let (calls, bytes) = app.period.transfers(file);
        let cells = vec![
            name(file),
            file.fd.to_string(),
            known(&file.kind).to_owned(),
            bytes_per_second(bytes, if off { Nanos(0) } else { length }),
            human::rate(calls, if off { Nanos(0) } else { length }),
            human::count(file.reads),
            human::count(file.writes),
            human::count(file.again),
            human::count(file.errors),
            human::duration(file.time),
            human::duration(file.time_max),
        ];
        (
            cells,
            if calls == 0 {
                theme.faint_style()
            } else {
                Style::new()
            },
        )
    };
    let by = match app.files.sort {
        FileSort::Fd => 1,
        FileSort::Bytes => 3,
        FileSort::Calls => 4,
        FileSort::Errors => 8,
        FileSort::Inside => 9,
    };
    let mut columns = COLUMNS;
    let [name, ..] = &mut columns;
    // A socket's name is two addresses, and the one that matters is the second.
    name.width = match area.width {
        0..70 => name.width,
        70..120 => 33,
        _ => 44,
    };
    Table {
        columns: &columns,
        sorted: (Some(by), app.files.reversed),
        rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn nothing(app: &App, snapshot: &Snapshot) -> Vec<String> {
    if let Some(why) = super::without(
        snapshot,
        "file_calls",
        "What goes through descriptors is not counted",
    ) {
        vec![why]
    } else if app.files.filter.is_empty() {
        vec![
            "Nothing has been read, written, sent or received since attach.".to_owned(),
            "Memory-mapped files and io_uring do it without system calls.".to_owned(),
        ]
    } else {
        vec![super::no_match("descriptor", &app.files.filter)]
    }
}

fn known(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// What a descriptor is, in a word or a path.
fn name(file: &FileView) -> String {
    match (file.name.as_str(), file.kind.as_str()) {
        ("", "") => "(gone before it was read)".to_owned(),
        ("", kind) => format!("({})", sanitise(kind)),
        (name, _) => sanitise(name).into_owned(),
    }
}

pub(super) fn bytes_per_second(bytes: u64, over: Nanos) -> String {
    if over.0 == 0 {
        return NONE.to_owned();
    }
    let rate = bytes as f64 / (over.0 as f64 / 1e9);
    format!("{}/s", human::bytes(rate.round() as u64))
}

/// The selected descriptor in sentences.
fn detail_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    snapshot: &Snapshot,
    file: &FileView,
    theme: &Theme,
) {
    let fd = format!("fd {}", file.fd);
    let about = vec![
        name(file),
        known(&sanitise(&file.kind)).to_owned(),
        format!("pid {}", file.pid.0),
    ];
    let inner = panel::draw(frame, area, &Title::new(&fd, about), Line::default(), theme);
    let each = |bytes: u64, calls: u64| {
        bytes
            .checked_div(calls)
            .map_or(String::new(), |size| format!(" of {}", human::bytes(size)))
    };
    let calls = file
        .reads
        .saturating_add(file.writes)
        .saturating_add(file.connects);
    let took = Nanos(file.time.0.checked_div(calls).unwrap_or(0));
    let lines = [
        format!(
            "read {} in {} calls{}; wrote {} in {}{}",
            human::bytes(file.read_bytes),
            human::count(file.reads),
            each(file.read_bytes, file.reads),
            human::bytes(file.write_bytes),
            human::count(file.writes),
            each(file.write_bytes, file.writes)
        ),
        format!(
            "accepted or connected {}, closed {}, failed {}; would have waited {}",
            human::count(file.connects),
            human::count(file.closes),
            human::count(file.errors),
            human::count(file.again)
        ),
        format!(
            "{} each, {} in all, {} at most; last {}: {} calls",
            human::duration(took),
            human::duration(file.time),
            human::duration(file.time_max),
            human::duration(snapshot.window),
            human::count(file.recent_calls)
        ),
    ];
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|line| Line::from(theme.plain(table::shortened(&line, inner.width))))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(COLUMNS.map(|c| c.title), MEANINGS.map(|(title, _)| title));
    }

    #[test]
    fn a_descriptor_is_called_what_is_known_of_it() {
        let said = |kind: &str, path: &str| {
            name(&FileView {
                kind: kind.to_owned(),
                name: path.to_owned(),
                ..FileView::default()
            })
        };
        assert_eq!(said("file", "/srv/\x1bx"), "/srv/�x");
        assert_eq!(said("eventfd", ""), "(eventfd)");
        assert_eq!(said("", ""), "(gone before it was read)");
        assert_eq!(bytes_per_second(2048, Nanos(2_000_000_000)), "1.0 KiB/s");
        assert_eq!(bytes_per_second(2048, Nanos(0)), NONE);
    }
}
