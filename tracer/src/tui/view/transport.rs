//! Where a replay stands.

use ratatui::{Frame, layout::Rect, style::Color, text::Line};

use super::theme::Theme;
use crate::{human, tui::app::App};

/// Draws it; nothing in a live session.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(transport) = app.transport else {
        return;
    };
    if area.is_empty() {
        return;
    }
    let mark = if transport.ended {
        "■"
    } else if transport.paused {
        "‖"
    } else {
        "▶"
    };
    let from = format!(
        " {mark} {}×  {:>6} ",
        transport.speed,
        human::elapsed(transport.position)
    );
    let to = format!(" {} ", human::elapsed(transport.duration));
    let texts = from.chars().count() + to.chars().count();
    let room = usize::from(area.width).saturating_sub(texts);
    let share = human::share(transport.position, transport.duration).clamp(0.0, 1.0);
    // Not a number becomes 0: a recording of no length is at its start.
    let done = ((room as f64 * share) as usize).min(room.saturating_sub(1));
    let line = Line::from(vec![
        theme.strong(from),
        theme
            .plain("━".repeat(done))
            .patch_style(theme.colored(Color::Green)),
        theme.strong("●".repeat(room.min(1))),
        theme.faint("─".repeat(room.saturating_sub(done + 1))),
        theme.plain(to),
    ]);
    frame.render_widget(line, area);
}
