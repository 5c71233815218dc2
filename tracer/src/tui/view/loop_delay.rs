//! How long the iterations of an event loop take: how many of each length, and how much of the time they are.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    loops,
    panel::{self, Title},
    table::{Column, Table},
    theme::Theme,
};
use crate::{
    human,
    model::{LoopView, Snapshot},
    tui::app::App,
};
use tracer_common::{Nanos, hist::bucket_bounds};

const COLUMNS: [Column; 5] = [
    Column::number("took up to", 10, 0),
    Column::number("iterations", 10, 1),
    Column::number("share", 6, 2),
    Column::number("of busy", 7, 0),
    Column::text("", 10, 3),
];

/// What each column means, for the help.
pub(super) const MEANINGS: [(&str, &str); 4] = [
    (
        "took up to",
        "iterations up to this length, longer than the row above",
    ),
    ("iterations", "how many, since attach"),
    ("share", "of all iterations"),
    (
        "of busy",
        "their part of the time in iterations; the bar says the same",
    ),
];

/// Ends of the rows; above the last there is one more.
const ENDS: [u64; 9] = [
    10_000,
    100_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
];

/// Iterations up to a length, and about the time in them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Class {
    /// `None` for all that are longer.
    end: Option<u64>,
    count: u64,
    time: f64,
}

/// The classes up to the longest there is.
fn classes(view: &LoopView) -> Vec<Class> {
    let ends = ENDS.iter().map(|&end| Some(end)).chain([None]);
    let mut classes: Vec<Class> = ends
        .map(|end| Class {
            end,
            ..Class::default()
        })
        .collect();
    let buckets = view.counts.iter().flat_map(|counts| &counts.delay_buckets);
    for &(bucket, count) in buckets {
        let (low, high) = bucket_bounds(bucket);
        let middle = low + (high - low) / 2;
        let class = classes
            .iter_mut()
            .find(|class| class.end.is_none_or(|end| middle <= end));
        if let Some(class) = class {
            class.count = class.count.saturating_add(count);
            class.time += count as f64 * middle as f64;
        }
    }
    let longest = classes.iter().rposition(|class| class.count > 0);
    classes.truncate(longest.map_or(0, |at| at + 1));
    classes
}

/// Rows the panel has.
pub(super) fn rows(view: &LoopView) -> u16 {
    (classes(view).len() as u16).max(1)
}

/// The histogram of one loop.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    view: &LoopView,
    theme: &Theme,
) {
    let mut about = vec![loops::name(view), "since attach".to_owned()];
    if snapshot.loops.loops.len() > 1 && !app.loops.has_selection() {
        about.push("select another above".to_owned());
    }
    let mut title = Title::new("How long iterations take", about);
    title.frame_from = (40, 4);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let rows = classes(view);
    if rows.is_empty() {
        let why = super::without(snapshot, "event_loops", "Iterations are not counted")
            .unwrap_or_else(|| "No iteration of this loop has ended since attach.".to_owned());
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let all = rows.iter().map(|class| class.count).sum::<u64>().max(1) as f64;
    let time = rows.iter().map(|class| class.time).sum::<f64>().max(1.0);
    let cells = |class: &Class| {
        let end = class
            .end
            .map_or_else(|| "more".to_owned(), |end| human::duration(Nanos(end)));
        let of_time = class.time / time;
        let cells = vec![
            end,
            human::count(class.count),
            human::percent(class.count as f64 / all),
            human::percent(of_time),
            "█".repeat((of_time * BAR).round() as usize),
        ];
        (cells, Style::new())
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

/// Cells of a bar that is full.
const BAR: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LoopCounts;
    use tracer_common::hist::bucket_index;

    #[test]
    fn every_column_is_explained() {
        for (column, (title, _)) in COLUMNS.iter().zip(MEANINGS) {
            assert_eq!(column.title, title);
        }
    }

    #[test]
    fn iterations_are_in_the_class_of_their_length() {
        let buckets = [(50_000, 7), (2_000_000, 2), (60_000_000, 1)];
        let view = LoopView {
            counts: Some(LoopCounts {
                delay_buckets: buckets
                    .map(|(time, count)| (bucket_index(time), count))
                    .to_vec(),
                ..LoopCounts::default()
            }),
            ..LoopView::default()
        };
        let got = classes(&view);
        let counts: Vec<u64> = got.iter().map(|class| class.count).collect();
        assert_eq!(counts, [0, 7, 0, 2, 0, 0, 1]);
        assert!(got[6].time > 50e6, "most of the time");
        assert!(classes(&LoopView::default()).is_empty());
    }
}
