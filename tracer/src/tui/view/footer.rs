//! The last line: the keys that matter, read from the table of keys.

use ratatui::{Frame, layout::Rect};

use super::{
    segments::{self, Segment},
    theme::Theme,
};
use crate::{
    human::sanitise,
    tui::{
        app::App,
        input::{self, Action, Focus},
    },
};

/// Draws it; while a filter is typed, the filter.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let mut left = Vec::new();
    let focus = app.focus();
    if focus == Focus::Filter {
        let filter = sanitise(app.filter());
        left.push(
            Segment::new(
                0,
                format!("filter by name: {filter}▏"),
                theme.strong_style(),
            )
            .or(format!("/{filter}▏")),
        );
    }
    for hint in input::hints(focus) {
        let shown = matches!(hint.action, Action::Show(view) if view == app.view);
        let style = if shown {
            theme.selected_style()
        } else {
            theme.plain("").style
        };
        let text = format!("{} {}", hint.keys, hint.text);
        left.push(Segment::new(hint.rank, text, style).lead(style.patch(theme.strong_style())));
    }
    frame.render_widget(segments::line(area.width, left, vec![]), area);
}
