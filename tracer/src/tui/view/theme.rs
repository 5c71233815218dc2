//! Colours and emphasis. One colour asks for attention; without colours, emphasis and glyphs say the same.

use std::borrow::Cow;

use ratatui::{
    style::{Color, Modifier, Style},
    text::Span,
};

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    color: bool,
}

impl Theme {
    pub(super) fn new(color: bool) -> Self {
        Self { color }
    }

    /// Ordinary text.
    pub(super) fn plain<'a>(&self, text: impl Into<Cow<'a, str>>) -> Span<'a> {
        Span::raw(text)
    }

    /// Names and headings.
    pub(super) fn strong<'a>(&self, text: impl Into<Cow<'a, str>>) -> Span<'a> {
        Span::styled(text, self.strong_style())
    }

    /// What is there for completeness.
    pub(super) fn faint<'a>(&self, text: impl Into<Cow<'a, str>>) -> Span<'a> {
        Span::styled(text, self.faint_style())
    }

    pub(super) fn strong_style(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn faint_style(&self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What needs attention.
    pub(super) fn alarm_style(&self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn selected_style(&self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// `color`, when there are colours.
    pub(super) fn colored(&self, color: Color) -> Style {
        if self.color {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }
}
