//! Memory: how much there is, how fast it grows, which calls ask for it, and from where.

use ratatui::{Frame, layout::Rect, style::Style, text::Line, widgets::Paragraph};

use super::{
    cut, io, now,
    panel::{self, Title},
    stack,
    table::{self, Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE},
    model::{MemoryCallView, MemoryStackView, MemoryView, Snapshot},
    tui::{
        app::App,
        list::{MemorySort, Sort as _},
    },
};
use tracer_common::Nanos;

/// What each fact means, for the help.
pub(super) const FACTS: [(&str, &str); 7] = [
    ("resident", "memory in RAM (rss), and its history"),
    ("growth", "of the resident set, over the last minute"),
    (
        "proportional",
        "the same, shared pages divided among who shares them",
    ),
    ("swapped", "memory moved out to disk"),
    ("faults", "pages mapped when touched; some needed I/O"),
    (
        "fault time",
        "waiting for I/O; handling on a CPU, by samples",
    ),
    (
        "pressure",
        "share of time some task (all) waited for memory",
    ),
];

const CALLS: [Column; 5] = [
    Column::number("call", 14, 0),
    Column::number("calls", 7, 1),
    Column::number("bytes", 8, 1),
    Column::number("calls/s", 8, 3),
    Column::number("bytes/s", 11, 2),
];

/// What the columns of the calls mean, for the help.
pub(super) const CALLS_MEANINGS: [(&str, &str); 5] = [
    (
        "call",
        "a way to get memory from the kernel or give it back",
    ),
    ("calls", "calls that succeeded since attach"),
    ("bytes", "how much they asked for or gave back"),
    ("calls/s", "per second since attach"),
    ("bytes/s", "likewise"),
];

const STACKS: [Column; 5] = [
    Column::number("still mapped", 13, 0),
    Column::number("asked for", 9, 2),
    Column::number("bytes/s", 10, 4),
    Column::number("samples", 7, 3),
    Column::stack("where", 24, 1),
];

/// What the columns of the stacks mean, for the help.
pub(super) const STACKS_MEANINGS: [(&str, &str); 5] = [
    (
        "still mapped",
        "not given back yet: what grows here may be a leak",
    ),
    ("asked for", "bytes, extrapolated from samples"),
    ("bytes/s", "asked for per second since attach"),
    ("samples", "how many there are: few say little"),
    ("where", "who asked, without the C library's part"),
];

/// From this width on, the calls stand beside the facts.
const SIDE_BY_SIDE: u16 = 78;
/// Beside each other they need their frames, or their lines would run together.
const BESIDE: (u16, u16) = (38, 8);

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.memory.rows(snapshot);
    let selected = app.memory.position(&rows);
    let mut rest = area;
    let calls_wanted = snapshot.memory.calls.as_ref().map_or(2, Vec::len).max(2) as u16 + 1;
    let head = (FACTS.len() as u16).max(calls_wanted) + 2;
    if area.width >= SIDE_BY_SIDE && area.height >= head + 5 {
        let mut top = cut::top(&mut rest, head);
        let calls = cut::right(&mut top, (area.width - 40).min(62));
        facts_panel(frame, top, snapshot, theme);
        calls_panel(frame, calls, snapshot, theme);
    } else {
        let facts = FACTS.len() as u16 + panel::overhead(area.width);
        let top = cut::top(&mut rest, facts);
        facts_panel(frame, top, snapshot, theme);
    }
    if rest.height < 3 {
        return;
    }
    let detail = selected
        .and_then(|at| rows.get(at))
        .map(|row| stack::lines(&row.stack));
    let wanted = detail.as_ref().map_or(0, |lines| lines.len() as u16 + 2);
    let room = if rest.height >= 10 {
        area.height / 3
    } else {
        0
    };
    let below = cut::bottom(&mut rest, wanted.min(room));
    stacks_panel(frame, rest, app, snapshot, &rows, selected, theme);
    if let (Some(lines), false) = (detail, below.is_empty()) {
        whole_stack(frame, below, "Asked for by", lines, theme);
    }
}

/// A stack with one line per function.
pub(super) fn whole_stack(
    frame: &mut Frame<'_>,
    area: Rect,
    name: &str,
    mut lines: Vec<String>,
    theme: &Theme,
) {
    let about = vec!["innermost first".to_owned()];
    let inner = panel::draw(
        frame,
        area,
        &Title::new(name, about),
        Line::default(),
        theme,
    );
    if lines.is_empty() {
        lines.push("no stack could be taken".to_owned());
    }
    let height = usize::from(inner.height);
    let hidden = lines.len().saturating_sub(height);
    if hidden > 0 {
        lines.truncate(height.saturating_sub(1));
        lines.push(format!("{} more callers", hidden + 1));
    }
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|line| Line::from(theme.plain(table::shortened(&line, inner.width))))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

fn facts_panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let about = vec!["all targets together".to_owned()];
    let mut title = Title::new("Memory", about);
    title.frame_from = BESIDE;
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    const LABEL: usize = 13;
    let room = inner.width.saturating_sub(LABEL as u16);
    let facts = facts(&snapshot.memory, room);
    for (((label, _), text), line) in FACTS.iter().zip(facts).zip(inner.rows()) {
        let text = table::shortened(&text, room);
        let mut drawn = Line::from(vec![
            theme.strong(format!("{label:<LABEL$}")),
            theme.plain(text),
        ]);
        if *label == "resident" {
            let room = usize::from(inner.width).saturating_sub(drawn.width() + 2);
            drawn.push_span(theme.plain(format!("  {}", now::rss_bars(snapshot, room))));
        }
        frame.render_widget(drawn, line);
    }
}

/// The facts in words, in the order of their labels.
fn facts(memory: &MemoryView, width: u16) -> [String; FACTS.len()] {
    let bytes = |size: Option<u64>| size.map_or_else(|| NONE.to_owned(), human::bytes);
    let count = |count: Option<u64>| count.map_or_else(|| NONE.to_owned(), human::count);
    [
        bytes(memory.rss_bytes),
        match memory.rss_slope {
            Some(slope) => human::growth(slope),
            None => format!("{NONE} not known before five windows"),
        },
        bytes(memory.pss_bytes),
        bytes(memory.swap_bytes),
        format!(
            "{}, {} with I/O",
            count(
                memory
                    .minor_faults
                    .zip(memory.major_faults)
                    .map(|(a, b)| a.saturating_add(b))
            ),
            count(memory.major_faults)
        ),
        format!(
            "wait {}, cpu {}",
            human::duration(memory.fault_time),
            memory
                .fault_cpu
                .map_or_else(|| NONE.to_owned(), human::duration)
        ),
        pressure(memory, width),
    ]
}

/// Of the cgroup and of the machine, as far as they are known and fit.
fn pressure(memory: &MemoryView, width: u16) -> String {
    let said = |(some, full), of| format!("{} ({}) {of}", human::ratio(some), human::ratio(full));
    let machine = memory.pressure_some.zip(memory.pressure_full);
    let own = memory.cgroup_pressure.map(|pair| (pair, "cgroup"));
    let ways: Vec<((f64, f64), &str)> = own
        .into_iter()
        .chain(machine.map(|pair| (pair, "machine")))
        .collect();
    let Some(&((some, full), of)) = ways.first() else {
        return NONE.to_owned();
    };
    let all: Vec<String> = ways.iter().map(|&(pair, of)| said(pair, of)).collect();
    let variants = [all.join(", "), said((some, full), of)];
    variants
        .into_iter()
        .find(|text| text.chars().count() <= usize::from(width))
        .unwrap_or_else(|| format!("{} {of}", human::ratio(some)))
}

fn calls_panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    // The probe is named in the line under the header; here is no room for it.
    let degraded = super::at_times(snapshot, "memory_calls").map(|_| "▲ degraded".to_owned());
    let mut about: Vec<String> = degraded.into_iter().collect();
    about.push("since attach".to_owned());
    let mut title = Title::new("Memory calls", about);
    title.frame_from = BESIDE;
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let Some(calls) = snapshot
        .memory
        .calls
        .as_ref()
        .filter(|calls| !calls.is_empty())
    else {
        let why = super::without(snapshot, "memory_calls", "Not counted").unwrap_or_else(|| {
            if snapshot.memory.calls.is_none() {
                "Not counted.".to_owned()
            } else {
                "None since attach.".to_owned()
            }
        });
        return frame.render_widget(super::explanation([why], theme), inner);
    };
    let length = snapshot.duration();
    let cells = |call: &MemoryCallView| {
        let cells = vec![
            human::memory_call(call.what).to_owned(),
            human::count(call.calls),
            human::bytes(call.bytes),
            human::rate(call.calls, length),
            io::bytes_per_second(call.bytes, length),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &CALLS,
        sorted: (None, false),
        rows: calls,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn stacks_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    rows: &[&MemoryStackView],
    selected: Option<usize>,
    theme: &Theme,
) {
    let mut about: Vec<String> = super::filtered(&app.memory.filter).into_iter().collect();
    about.push("sampled".to_owned());
    about.push("since attach".to_owned());
    about.push(format!("by {}", app.memory.sort.name()));
    let title = Title::new("Who asks for memory", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if rows.is_empty() {
        let why = if let Some(why) = super::without(snapshot, "memory_calls", "Not known") {
            why
        } else if app.memory.filter.is_empty() {
            "Nobody has asked the kernel for much memory since attach: what is allocated comes from what the \
             process already has."
                .to_owned()
        } else {
            super::no_match("stack", &app.memory.filter)
        };
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let length: Nanos = snapshot.duration();
    let cells = |row: &&MemoryStackView| {
        let cells = vec![
            human::bytes(row.still_mapped_bytes),
            human::bytes(row.bytes),
            io::bytes_per_second(row.bytes, length),
            human::count(row.samples),
            stack::callers(&row.stack).unwrap_or_else(|| NONE.to_owned()),
        ];
        (cells, Style::new())
    };
    let by = match app.memory.sort {
        MemorySort::Mapped => 0,
        MemorySort::Asked => 1,
    };
    let mut columns = STACKS;
    let [.., place] = &mut columns;
    if area.width >= 70 {
        // Two functions tell more than a rate.
        place.width = 36;
    }
    Table {
        columns: &columns,
        sorted: (Some(by), app.memory.reversed),
        rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(
            CALLS.map(|c| c.title),
            CALLS_MEANINGS.map(|(title, _)| title)
        );
        assert_eq!(
            STACKS.map(|c| c.title),
            STACKS_MEANINGS.map(|(title, _)| title)
        );
    }

    #[test]
    fn what_was_not_read_is_no_zero() {
        let said = facts(&MemoryView::default(), 30);
        for (at, text) in said.iter().enumerate().filter(|(at, _)| *at != 5) {
            assert!(text.starts_with(NONE), "{at}: {text}");
        }
        assert_eq!(said[5], "wait 0 s, cpu –");
    }
}
