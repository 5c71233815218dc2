//! A line of facts of unequal weight: what does not fit is said shorter, then left out, least important first.
//! Nothing is wrapped or cut within a word.

use ratatui::{
    style::Style,
    text::{Line, Span},
};

/// A fact on the line.
#[derive(Debug)]
pub(super) struct Segment {
    /// How to say it, longest first.
    variants: Vec<String>,
    style: Style,
    /// Style of its first word.
    lead: Style,
    /// Weight: 0 stays longest.
    rank: u8,
}

impl Segment {
    pub(super) fn new(rank: u8, text: impl Into<String>, style: Style) -> Self {
        Self {
            variants: vec![text.into()],
            style,
            lead: style,
            rank,
        }
    }

    /// Any number of ways to say it, longest first.
    pub(super) fn any(rank: u8, variants: Vec<String>, style: Style) -> Self {
        Self {
            variants,
            style,
            lead: style,
            rank,
        }
    }

    /// Its first word looks different.
    pub(super) fn lead(mut self, style: Style) -> Self {
        self.lead = style;
        self
    }

    /// Another, shorter way to say it.
    pub(super) fn or(mut self, shorter: impl Into<String>) -> Self {
        self.variants.push(shorter.into());
        self
    }
}

const GAP: &str = "  ";

/// As much of `left` and `right` as fits into `width` columns, `right` at the right end.
pub(super) fn line<'a>(width: u16, left: Vec<Segment>, right: Vec<Segment>) -> Line<'a> {
    let width = usize::from(width);
    let lefts = left.len();
    let mut segments: Vec<Segment> = left.into_iter().chain(right).collect();
    while total(&segments) > width {
        let least = segments
            .iter_mut()
            .filter(|s| !s.variants.is_empty())
            .max_by_key(|s| s.rank);
        let Some(least) = least else { break };
        least.variants.remove(0);
    }
    let used = total(&segments);
    let mut line = Line::default();
    for (at, segment) in segments.iter().enumerate() {
        let Some(text) = segment.variants.first() else {
            continue;
        };
        let pad = if at >= lefts {
            width.saturating_sub(used)
        } else {
            0
        };
        let begun = !line.spans.is_empty();
        let right_begun = at > lefts
            && segments
                .iter()
                .take(at)
                .skip(lefts)
                .any(|s| !s.variants.is_empty());
        let gap = if begun { GAP.len() } else { 1 } + if right_begun { 0 } else { pad };
        line.push_span(Span::raw(" ".repeat(gap)));
        let (first, rest) = text.split_at(text.find(' ').unwrap_or(text.len()));
        line.push_span(Span::styled(first.to_owned(), segment.lead));
        line.push_span(Span::styled(rest.to_owned(), segment.style));
    }
    line
}

/// Columns needed: a space at both ends, two between.
fn total(segments: &[Segment]) -> usize {
    let shown: Vec<_> = segments.iter().filter_map(|s| s.variants.first()).collect();
    let text: usize = shown
        .iter()
        .map(|text| Span::raw(text.as_str()).width())
        .sum();
    if shown.is_empty() {
        0
    } else {
        text + GAP.len() * (shown.len() - 1) + 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(width: u16) -> String {
        let plain = Style::new();
        let left = vec![
            Segment::new(9, "name", plain),
            Segment::new(0, "the state of it", plain).or("state"),
            Segment::new(5, "detail", plain),
        ];
        let right = vec![
            Segment::new(7, "more", plain),
            Segment::new(2, "? help", plain),
        ];
        line(width, left, right).to_string()
    }

    #[test]
    fn the_least_important_goes_first() {
        assert_eq!(
            said(50),
            " name  the state of it  detail       more  ? help"
        );
        assert_eq!(said(45), " name  the state of it  detail  more  ? help");
        assert_eq!(said(44), " the state of it  detail       more  ? help");
        assert_eq!(said(37), " the state of it  detail      ? help");
        assert_eq!(said(28), " the state of it     ? help");
        assert_eq!(said(20), " the state of it");
        assert_eq!(said(16), " state");
        assert_eq!(said(6), "");
    }

    #[test]
    fn a_line_is_never_too_long() {
        for width in 0..80 {
            assert!(
                line(width, vec![Segment::new(0, "日本語", Style::new())], vec![]).width()
                    <= width.into()
            );
            assert!(said(width).chars().count() <= usize::from(width));
        }
    }
}
