//! The page of a Node process: its callbacks, the functions of JavaScript that run, the thread pool, garbage collections,
//! and what is in flight.

use std::cmp::Reverse;

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    callbacks, cut, io,
    panel::{self, Title},
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise},
    model::{CollectionView, HeapView, JsFunctionView, LevelView, Snapshot, WorkView},
    tui::{app::App, list::Period},
};

const FUNCTIONS: [Column; 3] = [
    Column::text("function", 30, 0),
    Column::number("self", 6, 0),
    Column::number("total", 6, 1),
];

/// What the columns of the functions mean, for the help.
pub(super) const FUNCTION_MEANINGS: [(&str, &str); 3] = [
    (
        "function",
        "of JavaScript, with its script and the line that most samples were in",
    ),
    (
        "self",
        "share of CPU samples in it, or in what it calls that is not JavaScript",
    ),
    ("total", "share of samples in it or in anything it calls"),
];

const POOL: [Column; 6] = [
    Column::text("work", 16, 0),
    Column::number("runs/s", 7, 1),
    Column::number("run p50", 8, 3),
    Column::number("run p99", 8, 0),
    Column::number("wait p50", 8, 2),
    Column::number("wait p99", 8, 0),
];

/// What the columns of the pool mean, for the help.
pub(super) const POOL_MEANINGS: [(&str, &str); 6] = [
    ("work", "what a thread of libuv's pool does, by kind"),
    ("runs/s", "done per second, since attach"),
    ("run p50", "half of it took less"),
    ("run p99", "likewise 99 of 100"),
    ("wait p50", "from being handed in to its beginning"),
    (
        "wait p99",
        "likewise; long waits: the pool has too few threads",
    ),
];

const COLLECTIONS: [Column; 6] = [
    Column::text("collection", 16, 0),
    Column::number("runs/s", 7, 1),
    Column::number("used", 6, 0),
    Column::number("p50", 7, 3),
    Column::number("p99", 7, 2),
    Column::number("max", 7, 0),
];

/// What the columns of the collections mean, for the help.
pub(super) const COLLECTION_MEANINGS: [(&str, &str); 6] = [
    (
        "collection",
        "of garbage: scavenge (young objects) or mark-compact (all); of which thread's heap",
    ),
    ("runs/s", "how many per second"),
    ("used", "share of the time the thread stood still for them"),
    ("p50", "half of the pauses were shorter"),
    ("p99", "likewise 99 of 100"),
    ("max", "the longest since attach"),
];

const LEVELS: [Column; 4] = [
    Column::text("in flight", 27, 0),
    Column::number("now", 7, 0),
    Column::number("mean", 7, 1),
    Column::number("max", 7, 0),
];

/// What the columns of what is in flight mean, for the help.
pub(super) const LEVEL_MEANINGS: [(&str, &str); 4] = [
    (
        "in flight",
        "started and not finished; requests and handles by kind, as async_hooks calls it",
    ),
    ("now", "at the last look"),
    ("mean", "on average over the looks"),
    ("max", "the most at a look"),
];

/// From this width on, panels stand side by side.
const SIDE_BY_SIDE: u16 = 120;
/// Below it a panel is not worth its heading.
const LEAST: u16 = 5;

/// Draws it.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let mut rest = area;
    let wanted = callbacks::height(snapshot, area.width);
    let most = if area.height < 12 {
        area.height
    } else {
        (area.height * 2 / 5).max(LEAST + 2)
    };
    let top = cut::top(&mut rest, wanted.min(most));
    callbacks::panel(frame, top, app, snapshot, None, theme);
    if area.width >= SIDE_BY_SIDE {
        let mut right = cut::right(&mut rest, area.width / 2);
        functions_panel(frame, rest, snapshot, theme);
        side(frame, &mut right, app, snapshot, theme);
        return;
    }
    let rows = |rows: usize| (rows as u16).max(1) + 1 + panel::overhead(area.width);
    let functions = rows(snapshot.cpu.javascript.len()).min((rest.height / 2).max(LEAST));
    let functions = cut::top(&mut rest, functions);
    if functions.height >= LEAST {
        functions_panel(frame, functions, snapshot, theme);
    }
    side(frame, &mut rest, app, snapshot, theme);
}

/// The pool, collections and what is in flight, one below the other as far as there is room.
fn side(frame: &mut Frame<'_>, area: &mut Rect, app: &App, snapshot: &Snapshot, theme: &Theme) {
    let node = &snapshot.node;
    let rows = |rows: usize| (rows as u16).max(1) + 1 + panel::overhead(area.width);
    let wanted = [
        rows(node.works.len()),
        rows(node.collections.len()) + u16::from(heaps(snapshot).is_some()),
        rows(snapshot.in_flight.len()) + 1,
    ];
    let mut left: u16 = wanted.iter().sum();
    type Panel = fn(&mut Frame<'_>, Rect, &App, &Snapshot, &Theme);
    let panels: [Panel; 3] = [pool_panel, collections_panel, levels_panel];
    for (at, (panel, wanted)) in panels.into_iter().zip(wanted).enumerate() {
        // Each gets what it wants, or a part of the room as large as that of what all want.
        let part = if left > area.height && at + 1 < panels.len() {
            let part = u32::from(area.height) * u32::from(wanted) / u32::from(left.max(1));
            (part as u16).max(LEAST)
        } else {
            wanted
        };
        left = left.saturating_sub(wanted);
        if area.height < LEAST {
            return;
        }
        let part = part.min(wanted).min(area.height);
        // What would be left over for nobody.
        let part = match area.height - part {
            rest if rest < LEAST => wanted.min(area.height),
            _ => part,
        };
        let part = cut::top(area, part);
        panel(frame, part, app, snapshot, theme);
    }
}

fn beside(name: &str, about: Vec<String>) -> Title<'_> {
    Title {
        frame_from: panel::BESIDE,
        ..Title::new(name, about)
    }
}

/// Functions of JavaScript by the samples in themselves.
pub(super) fn functions_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let cpu = &snapshot.cpu;
    let about = vec![
        format!("{} CPU samples", human::count(cpu.samples)),
        "since attach".to_owned(),
    ];
    let title = beside("JavaScript", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if cpu.javascript.is_empty() {
        let why = super::without(snapshot, "cpu_sample", "Not known").unwrap_or_else(|| {
            "No thread has been met running JavaScript yet: they are looked at 99 times per second of CPU time."
                .to_owned()
        });
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let part = |samples: u64| human::percent(samples as f64 / cpu.samples as f64);
    // The first column would be cut where there is room for more of it.
    let mut columns = FUNCTIONS;
    columns[0].width = inner.width.saturating_sub(15).max(FUNCTIONS[0].width);
    let cells = |view: &JsFunctionView| {
        let name = human::js_function(&view.function, &view.script, view.line);
        let cells = vec![
            sanitise(&name).into_owned(),
            part(view.own),
            part(view.total),
        ];
        let style = if view.is_of_node() {
            theme.faint_style()
        } else {
            Style::new()
        };
        (cells, style)
    };
    Table {
        columns: &columns,
        sorted: (Some(1), false),
        rows: &cpu.javascript,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn pool_panel(frame: &mut Frame<'_>, area: Rect, _: &App, snapshot: &Snapshot, theme: &Theme) {
    let node = &snapshot.node;
    let mut about: Vec<String> = callbacks::sampled(node.watched).into_iter().collect();
    about.extend(node.pools.iter().map(|pool| {
        format!(
            "{} threads worked, {} wait, {} run",
            pool.threads,
            human::count(pool.queued_now),
            human::count(pool.running_now)
        )
    }));
    let title = beside("Thread pool", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if node.works.is_empty() {
        let why = super::without(snapshot, "work", "Not watched")
            .unwrap_or_else(|| "Nothing was handed to libuv's pool.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let cells = |view: &WorkView| {
        let time = |of: &crate::model::Distribution, time| human::duration_of(of.count, time);
        let cells = vec![
            sanitise(&view.kind).into_owned(),
            human::rate(view.run.count, snapshot.duration()),
            time(&view.run, view.run.p50),
            time(&view.run, view.run.p99),
            time(&view.queued, view.queued.p50),
            time(&view.queued, view.queued.p99),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &POOL,
        sorted: (None, false),
        rows: &node.works,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn collections_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let about = vec![format!("runs/s and used: {}", super::period(app, snapshot))];
    let title = beside("Garbage collections", about);
    let mut inner = panel::draw(frame, area, &title, Line::default(), theme);
    if let Some(parts) = heaps(snapshot).filter(|_| inner.height > 1) {
        let line = cut::top(&mut inner, 1);
        frame.render_widget(joined(parts, usize::from(line.width)), line);
    }
    let views = &snapshot.node.collections;
    if views.is_empty() {
        let why = super::without(snapshot, "collection_return", "Not watched")
            .unwrap_or_else(|| "There was none.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let length = app.period.length(snapshot);
    let cells = |view: &CollectionView| {
        let (count, time) = match app.period {
            Period::Window => (view.recent, view.recent_time),
            Period::Session => (view.pause.count, view.pause.sum),
        };
        let name = if view.tid.0 == view.pid.0 {
            view.kind.clone()
        } else {
            format!("{}, {}", view.kind, sanitise(&view.thread))
        };
        let used = human::share(time, length);
        let cells = vec![
            name,
            human::rate(count, length),
            if used.is_finite() {
                human::percent(used)
            } else {
                NONE.to_owned()
            },
            human::duration(view.pause.p50),
            human::duration(view.pause.p99),
            human::duration(view.pause.max),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &COLLECTIONS,
        sorted: (None, false),
        rows: views,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// How large the heaps are, most important first; `None` where that is not known.
fn heaps(snapshot: &Snapshot) -> Option<Vec<String>> {
    let heaps = snapshot.node.heaps.iter();
    let heaps: Vec<&HeapView> = heaps.filter(|heap| !heap.has_ended).collect();
    // Of each process the largest comes first.
    let largest = heaps.iter().max_by_key(|heap| heap.used_bytes)?;
    let sum = |of: fn(&HeapView) -> u64| {
        let sizes = heaps.iter().map(|heap| of(heap));
        human::bytes(sizes.fold(0, u64::saturating_add))
    };
    let name = match heaps.len() {
        1 => "heap".to_owned(),
        count => format!("{count} heaps"),
    };
    let mut parts = vec![format!(
        "{name} {} of {}",
        sum(|heap| heap.used_bytes),
        sum(|heap| heap.committed_bytes)
    )];
    if let [first, .., last] = &largest.after_full[..] {
        let [first, last] = [first, last].map(|level| human::bytes(level.used_bytes));
        parts.push(format!("full GC left {first}, now {last}"));
    }
    if heaps.iter().all(|heap| heap.external_bytes.is_some()) {
        let external = sum(|heap| heap.external_bytes.unwrap_or_default());
        parts.push(format!("external {external}"));
    }
    if let (1, Some(limit)) = (heaps.len(), largest.limit_bytes) {
        parts.push(format!("limit {}", human::bytes(limit)));
    }
    Some(parts)
}

/// As many of the parts as there is room for.
fn joined(parts: Vec<String>, width: usize) -> Line<'static> {
    let mut line = Line::default();
    for part in parts {
        let part = if line.spans.is_empty() {
            part
        } else {
            format!(" · {part}")
        };
        if !line.spans.is_empty() && line.width() + part.chars().count() > width {
            continue;
        }
        line.push_span(part);
    }
    line
}

fn levels_panel(frame: &mut Frame<'_>, area: Rect, app: &App, snapshot: &Snapshot, theme: &Theme) {
    let title = beside("In flight", promises(app, snapshot));
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    if snapshot.in_flight.is_empty() {
        let why = "Nobody has looked yet.".to_owned();
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let mut rows: Vec<&LevelView> = snapshot.in_flight.iter().collect();
    rows.sort_by_key(|level| Reverse(level.now));
    let cells = |level: &&LevelView| {
        let cells = vec![
            match &level.kind {
                Some(kind) => format!("{} {}", level.what, sanitise(kind)),
                None => level.what.to_owned(),
            },
            human::count(level.now),
            io::mean(level),
            human::count(level.max),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &LEVELS,
        sorted: (None, false),
        rows: &rows,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// Awaits per second, and how much of the time promises were watched.
fn promises(app: &App, snapshot: &Snapshot) -> Vec<String> {
    let view = &snapshot.callbacks;
    if view.promises_watched.is_none() {
        return Vec::new();
    }
    let promises = view.promises.iter();
    let (awaits, over) = match app.period {
        Period::Window => (
            promises.map(|of| of.recent_awaits).sum(),
            view.recent_promises_on,
        ),
        Period::Session => (promises.map(|of| of.awaits).sum(), snapshot.duration()),
    };
    let mut about = vec![format!("{} awaits", human::rate(awaits, over))];
    about.extend(callbacks::sampled(view.promises_watched));
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_is_explained() {
        let titles = |columns: &[Column]| columns.iter().map(|c| c.title).collect::<Vec<_>>();
        let explained = |meanings: &[(&'static str, &str)]| {
            meanings.iter().map(|&(title, _)| title).collect::<Vec<_>>()
        };
        assert_eq!(titles(&FUNCTIONS), explained(&FUNCTION_MEANINGS));
        assert_eq!(titles(&POOL), explained(&POOL_MEANINGS));
        assert_eq!(titles(&COLLECTIONS), explained(&COLLECTION_MEANINGS));
        assert_eq!(titles(&LEVELS), explained(&LEVEL_MEANINGS));
    }
}
