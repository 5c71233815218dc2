//! What `?` opens: the keys as the table of keys has them, the glyphs of the bars, and what every number means.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{now, syscalls, theme::Theme, threads};
use crate::tui::{app::App, bands::BANDS, input};

/// The numbers of the header.
const HEADER: [(&str, &str); 7] = [
    ("attached", "how long the target has been accounted"),
    ("profile", "which groups of probes were asked for"),
    ("events/s", "starts and ends of threads and processes"),
    ("lost", "data known to be missing: the next line says what"),
    ("refused", "probes not attached: their numbers are missing"),
    ("own cpu", "what tracer itself uses, in percent of one CPU"),
    ("own rss", "the memory it uses"),
];

/// A heading and its lines: a key, glyph or name, and what it means.
struct Section {
    heading: &'static str,
    lines: Vec<(String, Style, String)>,
}

fn sections(app: &App, theme: &Theme) -> [Vec<Section>; 2] {
    let plain = theme.strong_style();
    let named = |heading, pairs: &mut dyn Iterator<Item = (&'static str, &'static str)>| Section {
        heading,
        lines: pairs
            .map(|(name, meaning)| (name.to_owned(), plain, meaning.to_owned()))
            .collect(),
    };
    let keys = input::help(app.transport.is_some())
        .into_iter()
        .map(|(heading, lines)| Section {
            heading,
            lines: lines
                .into_iter()
                .map(|(keys, help)| (keys, plain, help.to_owned()))
                .collect(),
        });
    let bars = Section {
        heading: "Bars: a thread's time, always in this order",
        lines: BANDS
            .iter()
            .map(|band| {
                let label = format!("{} {}", band.glyph, band.word);
                (label, theme.colored(band.color), band.meaning.to_owned())
            })
            .collect(),
    };
    let mut first: Vec<Section> = vec![bars];
    first.extend(keys);
    let second = vec![
        named("Header", &mut HEADER.into_iter()),
        named("Now", &mut now::meanings()),
        named("Threads", &mut threads::MEANINGS.into_iter()),
        named("System calls", &mut syscalls::MEANINGS.into_iter()),
    ];
    [first, second]
}

/// From this width on there are two columns.
const TWO_COLUMNS: u16 = 110;
/// Width of keys, glyphs and names.
const LABEL: usize = 14;

fn render<'a>(sections: &[Section], width: u16, theme: &Theme) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for section in sections {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.push(Line::from(theme.strong(section.heading)));
        for (label, style, meaning) in &section.lines {
            let mut label = Span::styled(format!("  {label:<LABEL$}"), *style);
            for part in wrapped(meaning, usize::from(width).saturating_sub(label.width())) {
                lines.push(Line::from(vec![label, theme.plain(part)]));
                label = Span::raw(" ".repeat(2 + LABEL));
            }
        }
    }
    lines
}

/// `text` in lines of at most `width`, broken between words; a word that is longer has its own line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else {
            continue;
        };
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// The columns of text and the size of the window they are shown in, frame excluded.
fn layout<'a>(app: &App, columns: u16, rows: u16, theme: &Theme) -> (Vec<Vec<Line<'a>>>, u16, u16) {
    let width = columns.saturating_sub(4).min(150);
    let height = rows.saturating_sub(2);
    let [first, mut second] = sections(app, theme);
    if columns >= TWO_COLUMNS {
        let half = width.saturating_sub(3) / 2;
        (
            vec![render(&first, half, theme), render(&second, half, theme)],
            width,
            height,
        )
    } else {
        let mut all = first;
        all.append(&mut second);
        (vec![render(&all, width, theme)], width, height)
    }
}

/// Lines that do not fit into a terminal of this size.
pub(crate) fn overflow(app: &App, columns: u16, rows: u16) -> u16 {
    let (texts, _, height) = layout(app, columns, rows, &Theme::new(false));
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    (longest as u16).saturating_sub(height)
}

/// Draws it over the screen; nothing when it is closed.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let Some(help) = app.help else { return };
    let (texts, width, height) = layout(app, area.width, area.height, theme);
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0) as u16;
    let outer = Rect {
        x: area.x + area.width.saturating_sub(width + 4) / 2,
        y: area.y,
        width: (width + 4).min(area.width),
        height: (longest + 2).min(area.height),
    };
    let most = longest.saturating_sub(height);
    let scroll = help.scroll.min(most);
    let keys: Vec<String> = input::hints(app.focus())
        .into_iter()
        .map(|hint| format!("{} {}", hint.keys, hint.text))
        .collect();
    let mut title = vec![theme.strong(" Help ")];
    if most > scroll {
        title.push(theme.plain(format!("· {} more below ", most - scroll)));
    }
    let block = Block::bordered()
        .title_top(Line::from(title))
        .title_bottom(format!(" {} ", keys.join("  ")));
    let inner = block.inner(outer);
    frame.render_widget(Clear, outer);
    frame.render_widget(block, outer);
    let count = texts.len() as u16;
    let each = inner.width.saturating_sub(2) / count.max(1);
    for (at, text) in (0_u16..).zip(texts) {
        let column = Rect {
            x: inner.x + 1 + at * (each + 1),
            width: each,
            ..inner
        }
        .intersection(inner);
        frame.render_widget(Paragraph::new(text).scroll((scroll, 0)), column);
    }
}
