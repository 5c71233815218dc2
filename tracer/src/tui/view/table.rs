//! A table whose less important columns give way on a narrow terminal, and say so.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{stack, theme::Theme};
use crate::human::NONE;

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its heading.
    pub(super) title: &'static str,
    /// Its width; for the first column, the least.
    pub(super) width: u16,
    /// Weight: the higher, the earlier it gives way; 0 never does.
    pub(super) rank: u8,
    /// What stands in it.
    pub(super) shows: Shows,
}

/// What stands in a column. The first column is text in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    /// A number, at the right.
    Number,
    /// Text. As the last column it takes what room is left.
    Text,
    /// The same, cut between functions.
    Stack,
}

impl Column {
    /// A number, or the first column.
    pub(super) const fn number(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            title,
            width,
            rank,
            shows: Shows::Number,
        }
    }

    /// Text.
    pub(super) const fn text(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            shows: Shows::Text,
            ..Self::number(title, width, rank)
        }
    }

    /// A stack in a line.
    pub(super) const fn stack(title: &'static str, width: u16, rank: u8) -> Self {
        Self {
            shows: Shows::Stack,
            ..Self::number(title, width, rank)
        }
    }
}

/// The first column grows up to this width; beyond that, names and numbers would stand too far apart.
const WIDEST_NAME: u16 = 28;

/// A table over rows that are made when they are drawn.
pub(super) struct Table<'a, R> {
    /// All columns, those that do not fit included. The first takes what room is left, unless the last is text.
    pub(super) columns: &'a [Column],
    /// The column it is sorted by, and whether the other way round.
    pub(super) sorted: (Option<usize>, bool),
    /// All rows.
    pub(super) rows: &'a [R],
    /// The selected one.
    pub(super) selected: Option<usize>,
    /// The cells of a row, one for each column, and its style.
    pub(super) cells: &'a dyn Fn(&R) -> (Vec<String>, Style),
}

/// The columns that fit, as indices, in order.
pub(super) fn fitting(columns: &[Column], width: u16) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).collect();
    let rank = |at: &usize| columns.get(*at).map_or(0, |column| column.rank);
    let needed = |shown: &[usize]| -> u16 {
        shown
            .iter()
            .filter_map(|&at| columns.get(at))
            .map(|column| column.width + 1)
            .sum::<u16>()
            .saturating_sub(1)
    };
    while needed(&shown) > width {
        // Of equals the last one goes.
        let Some(least) = shown
            .iter()
            .copied()
            .filter(|at| rank(at) > 0)
            .max_by_key(rank)
        else {
            break;
        };
        shown.retain(|&at| at != least);
    }
    shown
}

/// The first of `len` rows to show when `height` fit: as many before the selected one as after it.
pub(super) fn first_row(len: usize, height: usize, selected: Option<usize>) -> usize {
    selected
        .map_or(0, |at| at.saturating_sub(height / 2))
        .min(len.saturating_sub(height))
}

/// Rows above and below those shown, in words; `None` when all are shown.
pub(super) fn more(first: usize, shown: usize, len: usize) -> Option<String> {
    let below = len.saturating_sub(first + shown);
    match (first, below) {
        (0, 0) => None,
        (0, _) => Some(format!("{below} more below")),
        (_, 0) => Some(format!("{first} more above")),
        _ => Some(format!("{first} more above, {below} below")),
    }
}

impl<R> Table<'_, R> {
    /// Draws headings and rows.
    pub(super) fn draw(&self, frame: &mut Frame<'_>, area: Rect, theme: &Theme) {
        let shown = fitting(self.columns, area.width);
        let mut lines = area.rows();
        if let Some(row) = lines.next() {
            let titles: Vec<String> = self
                .columns
                .iter()
                .enumerate()
                .map(|(at, column)| self.title(at, column))
                .collect();
            self.row(frame, row, &shown, &titles, theme.strong_style(), theme);
        }
        let mut height = usize::from(area.height.saturating_sub(1));
        let cut = self.rows.len() > height;
        if cut {
            height = height.saturating_sub(1);
        }
        let first = first_row(self.rows.len(), height, self.selected);
        for (at, row) in self.rows.iter().enumerate().skip(first).take(height) {
            let Some(line) = lines.next() else { break };
            let (cells, style) = (self.cells)(row);
            let style = if self.selected == Some(at) {
                style.patch(theme.selected_style())
            } else {
                style
            };
            frame.buffer_mut().set_style(line, style);
            self.row(frame, line, &shown, &cells, style, theme);
        }
        if let (Some(line), Some(more)) = (lines.next(), more(first, height, self.rows.len())) {
            frame.render_widget(Line::from(theme.faint(more)), line);
        }
    }

    fn title(&self, at: usize, column: &Column) -> String {
        match self.sorted {
            (Some(by), false) if by == at => format!("{}↓", column.title),
            (Some(by), true) if by == at => format!("{}↑", column.title),
            _ => column.title.to_owned(),
        }
    }

    fn row(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        shown: &[usize],
        cells: &[String],
        style: Style,
        theme: &Theme,
    ) {
        let widths = shown
            .iter()
            .skip(1)
            .filter_map(|&at| self.columns.get(at))
            .map(|column| column.width + 1);
        let others: u16 = widths.sum();
        let last = shown.len().saturating_sub(1);
        let stretches = last > 0
            && shown
                .last()
                .and_then(|&at| self.columns.get(at))
                .is_some_and(|column| column.shows != Shows::Number);
        let mut x = area.x;
        for (place, &at) in shown.iter().enumerate() {
            let (Some(column), Some(text)) = (self.columns.get(at), cells.get(at)) else {
                continue;
            };
            let width = if stretches && place == 0 {
                column.width
            } else if stretches && place == last {
                area.right().saturating_sub(x)
            } else if place == 0 {
                area.width
                    .saturating_sub(others)
                    .min(WIDEST_NAME.max(column.width))
            } else {
                column.width
            };
            let cell = Rect { x, width, ..area }.intersection(area);
            // Nothing is there for completeness.
            let style = if text == "0" || text == NONE {
                style.patch(theme.faint_style())
            } else {
                style
            };
            let text = if column.shows == Shows::Stack {
                stack::fitted(text, cell.width)
            } else {
                shortened(text, cell.width)
            };
            let text = Span::styled(text, style);
            let line = if place == 0 || column.shows != Shows::Number {
                Line::from(text)
            } else {
                Line::from(text).right_aligned()
            };
            frame.render_widget(line, cell);
            x = x.saturating_add(width + 1);
        }
    }
}

/// `text` in at most `width` columns, with an ellipsis when something is missing.
pub(super) fn shortened(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        let longer = format!("{short}{c}");
        if Span::raw(longer.as_str()).width() + 1 > width {
            break;
        }
        short = longer;
    }
    if width > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_give_way_by_rank() {
        let columns = [
            Column::number("name", 8, 0),
            Column::number("a", 4, 1),
            Column::number("b", 4, 3),
            Column::number("c", 4, 3),
        ];
        assert_eq!(fitting(&columns, 23), [0, 1, 2, 3]);
        assert_eq!(fitting(&columns, 22), [0, 1, 2]);
        assert_eq!(fitting(&columns, 17), [0, 1]);
        assert_eq!(fitting(&columns, 3), [0], "the name stays");
    }

    #[test]
    fn the_selected_row_is_always_shown() {
        for len in 0..20 {
            for height in 1..10 {
                for selected in 0..len {
                    let first = first_row(len, height, Some(selected));
                    assert!((first..first + height).contains(&selected));
                    assert!(first + height <= len.max(height));
                }
            }
        }
        assert_eq!(first_row(5, 0, Some(4)), 4);
    }

    #[test]
    fn what_is_cut_is_counted() {
        assert_eq!(more(0, 5, 5), None);
        assert_eq!(more(0, 5, 8).as_deref(), Some("3 more below"));
        assert_eq!(more(3, 5, 8).as_deref(), Some("3 more above"));
        assert_eq!(more(2, 5, 8).as_deref(), Some("2 more above, 1 below"));
    }

    #[test]
    fn long_names_end_in_an_ellipsis() {
        assert_eq!(shortened("libuv-worker", 12), "libuv-worker");
        assert_eq!(shortened("libuv-worker", 6), "libuv…");
        assert_eq!(shortened("日本語", 5), "日本…");
        assert_eq!(shortened("日本語", 4), "日…");
        assert_eq!(shortened("abc", 0), "");
    }
}
