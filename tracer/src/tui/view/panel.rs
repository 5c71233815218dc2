//! A titled part of the screen: in a frame where there is room, under a plain heading where there is not.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Stylize},
    text::{Line, Span},
    widgets::Block,
};

use super::theme::Theme;

/// From this width and height on a frame helps more than it costs.
const FRAME_FROM: (u16, u16) = (60, 5);

/// The same for panels that stand side by side: without their frames their lines would run together.
pub(super) const BESIDE: (u16, u16) = (40, 4);

/// Rows a panel of this width and plenty of height takes for itself.
pub(super) fn overhead(width: u16) -> u16 {
    if width < FRAME_FROM.0 { 1 } else { 2 }
}

/// The room inside a panel with the usual frame.
pub(super) fn inner(area: Rect) -> Rect {
    inside(area, FRAME_FROM)
}

fn inside(area: Rect, frame_from: (u16, u16)) -> Rect {
    if area.width < frame_from.0 || area.height < frame_from.1 {
        let heading = area.height.min(1);
        let below = Rect {
            y: area.y + heading,
            height: area.height - heading,
            ..area
        };
        return Rect {
            x: below.x + 1,
            width: below.width.saturating_sub(1),
            ..below
        }
        .intersection(below);
    }
    let inner = Block::bordered().inner(area);
    Rect {
        x: inner.x + 1,
        width: inner.width.saturating_sub(2),
        ..inner
    }
    .intersection(inner)
}

/// Draws title and, where there is a frame, a note at its bottom; returns the room inside.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &Title<'_>,
    note: Line<'_>,
    theme: &Theme,
) -> Rect {
    if area.width < title.frame_from.0 || area.height < title.frame_from.1 {
        let heading = Rect {
            height: area.height.min(1),
            ..area
        };
        frame.render_widget(title.line(area.width, theme), heading);
        return inside(area, title.frame_from);
    }
    let block = Block::bordered()
        .border_style(theme.faint_style())
        .title_top(title.line(area.width.saturating_sub(2), theme))
        .title_bottom(note);
    frame.render_widget(block, area);
    inside(area, title.frame_from)
}

/// A title and what qualifies it.
#[derive(Debug)]
pub(super) struct Title<'a> {
    /// What the panel shows.
    pub(super) name: &'a str,
    /// What it is about, most important first; dropped from the end where there is no room.
    pub(super) about: Vec<String>,
    /// Width and height from which on it has a frame.
    pub(super) frame_from: (u16, u16),
}

impl<'a> Title<'a> {
    pub(super) fn new(name: &'a str, about: Vec<String>) -> Self {
        Self {
            name,
            about,
            frame_from: FRAME_FROM,
        }
    }

    fn line(&self, width: u16, theme: &Theme) -> Line<'a> {
        // A title takes the style of the frame it stands in, which is faint.
        let bright = |span: Span<'a>| span.remove_modifier(Modifier::DIM);
        let mut line = Line::from(bright(theme.strong(format!(" {} ", self.name))));
        for about in &self.about {
            let part = theme.plain(format!("· {about} "));
            if line.width() + part.width() > usize::from(width) {
                break;
            }
            line.push_span(bright(part));
        }
        line
    }
}
