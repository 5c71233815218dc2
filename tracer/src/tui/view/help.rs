//! What `?` opens: the keys as the table of keys has them, the glyphs of the bars, and what every number means.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

use super::{
    callbacks, cpu, findings, io, locks, long_iterations, long_polls, loop_delay, loops, memory,
    node, now, polls, stack, syscalls, task, task_columns, theme::Theme, threads, waits, workers,
};
use crate::{
    human::{self, sanitise},
    record::{ProbeMeta, ProbeStatus},
    tui::{
        app::{App, View},
        bands::BANDS,
        input,
    },
};

/// The numbers of the header.
const HEADER: [(&str, &str); 9] = [
    ("attached", "how long the target has been accounted"),
    ("profile", "which groups of probes were asked for"),
    ("events/s", "starts and ends of threads and processes"),
    ("lost", "data known to be missing: the next line says what"),
    ("refused", "probes not attached: their numbers are missing"),
    (
        "degraded",
        "probes that count only part: off at times, or less exact",
    ),
    (
        "cost",
        "of the probes, in percent of the target's CPU time; of a CPU where it uses little of one",
    ),
    ("own cpu", "what tracer itself uses, in percent of one CPU"),
    ("own rss", "the memory it uses"),
];

/// A heading and its lines: a key, glyph or name, and what it means.
struct Section {
    heading: &'static str,
    /// The view it is about; `None` for what is about all of them.
    view: Option<View>,
    lines: Vec<(String, Style, String)>,
}

/// What is wrong, then what the view on the screen shows, then the rest.
fn sections(app: &App, theme: &Theme) -> Vec<Section> {
    let plain = theme.strong_style();
    let named =
        |heading, view, pairs: &mut dyn Iterator<Item = (&'static str, &'static str)>| Section {
            heading,
            view,
            lines: pairs
                .map(|(name, meaning)| (name.to_owned(), plain, meaning.to_owned()))
                .collect(),
        };
    let keys = input::help(app.transport.is_some())
        .into_iter()
        .map(|(heading, lines)| Section {
            heading,
            view: None,
            lines: lines
                .into_iter()
                .map(|(keys, help)| (keys, plain, help.to_owned()))
                .collect(),
        });
    let bars = Section {
        heading: "Bars: a thread's time, always in this order",
        view: Some(View::Overview),
        lines: BANDS
            .iter()
            .map(|band| {
                let label = format!("{} {}", band.glyph, band.word);
                (label, theme.colored(band.color), band.meaning.to_owned())
            })
            .collect(),
    };
    let view = Some;
    let mut sections: Vec<Section> = vec![bars];
    sections.extend(keys);
    sections.extend([
        named("Header", None, &mut HEADER.into_iter()),
        named("Now", view(View::Overview), &mut now::meanings()),
        named(
            "Tasks",
            view(View::Tasks),
            &mut task_columns::MEANINGS.into_iter(),
        ),
        named(
            "Tasks: long polls",
            view(View::Tasks),
            &mut long_polls::MEANINGS.into_iter(),
        ),
        named(
            "Tasks: workers",
            view(View::Tasks),
            &mut workers::MEANINGS.into_iter(),
        ),
        named(
            "Tasks: the page of a type",
            view(View::Tasks),
            &mut task::MEANINGS.into_iter(),
        ),
        named(
            "Callbacks",
            view(View::Tasks),
            &mut callbacks::MEANINGS.into_iter(),
        ),
        named(
            "JavaScript",
            view(View::Tasks),
            &mut node::FUNCTION_MEANINGS.into_iter(),
        ),
        named(
            "Thread pool",
            view(View::Tasks),
            &mut node::POOL_MEANINGS.into_iter(),
        ),
        named(
            "Garbage collections",
            view(View::Tasks),
            &mut node::COLLECTION_MEANINGS.into_iter(),
        ),
        named(
            "In flight",
            view(View::Tasks),
            &mut node::LEVEL_MEANINGS.into_iter(),
        ),
        named(
            "Findings",
            view(View::Findings),
            &mut findings::MEANINGS.into_iter(),
        ),
        named(
            "Event loops",
            view(View::Loops),
            &mut loops::MEANINGS.into_iter(),
        ),
        named(
            "Event loops: iterations",
            view(View::Loops),
            &mut loop_delay::MEANINGS.into_iter(),
        ),
        named(
            "Event loops: long iterations",
            view(View::Loops),
            &mut long_iterations::MEANINGS.into_iter(),
        ),
        named(
            "Threads",
            view(View::Threads),
            &mut threads::MEANINGS.into_iter(),
        ),
        named("Locks", view(View::Locks), &mut locks::MEANINGS.into_iter()),
        named(
            "Long waits",
            view(View::Locks),
            &mut waits::MEANINGS.into_iter(),
        ),
        named(
            "System calls",
            view(View::Syscalls),
            &mut syscalls::MEANINGS.into_iter(),
        ),
        named(
            "I/O: descriptors",
            view(View::Io),
            &mut io::MEANINGS.into_iter(),
        ),
        named(
            "I/O: epoll",
            view(View::Io),
            &mut polls::MEANINGS.into_iter(),
        ),
        named("Memory", view(View::Memory), &mut memory::FACTS.into_iter()),
        named(
            "Memory calls",
            view(View::Memory),
            &mut memory::CALLS_MEANINGS.into_iter(),
        ),
        named(
            "Memory by stack",
            view(View::Memory),
            &mut memory::STACKS_MEANINGS.into_iter(),
        ),
        named("CPU", view(View::Cpu), &mut cpu::FACTS.into_iter()),
        named(
            "CPU by function",
            view(View::Cpu),
            &mut cpu::FUNCTION_MEANINGS.into_iter(),
        ),
        named(
            "CPU by stack",
            view(View::Cpu),
            &mut cpu::STACKS_MEANINGS.into_iter(),
        ),
        named("Stacks", None, &mut std::iter::once(stack::MEANING)),
    ]);
    sections.sort_by_key(|section| section.view != Some(app.view));
    let (first, last) = match missing(app, theme) {
        Some((missing, true)) => (Some(missing), None),
        Some((off, false)) => (None, Some(off)),
        None => (None, None),
    };
    first.into_iter().chain(sections).chain(last).collect()
}

/// The probes that do not count everything, and why; nothing when all do. True when one of them was to: others are off
/// because nobody asked for them or there is nothing to probe.
fn missing(app: &App, theme: &Theme) -> Option<(Section, bool)> {
    let probes = app
        .shown()
        .map_or(&[][..], |snapshot| &snapshot.quality.probes);
    let line = |probe: &ProbeMeta| {
        let why = match probe.why.as_str() {
            "" => probe.status.name().to_owned(),
            why => format!("{}: {}", probe.status.name(), sanitise(why)),
        };
        (
            sanitise(&probe.name).into_owned(),
            theme.strong_style(),
            why,
        )
    };
    let missing = || {
        let probes = probes.iter();
        probes.filter(|probe| probe.status != ProbeStatus::Attached)
    };
    let lines: Vec<_> = missing().map(line).collect();
    let wanted = missing().any(|probe| probe.status != ProbeStatus::Off);
    let section = Section {
        heading: "Probes that do not count everything",
        view: None,
        lines,
    };
    (!section.lines.is_empty()).then_some((section, wanted))
}

/// From this width on there are two columns.
const TWO_COLUMNS: u16 = 110;
/// Width of keys, glyphs and names.
const LABEL: usize = 14;

fn render<'a>(section: &Section, width: u16, theme: &Theme) -> Vec<Line<'a>> {
    let mut lines = vec![Line::from(theme.strong(section.heading))];
    for (label, style, meaning) in &section.lines {
        let mut label = Span::styled(format!("  {label:<LABEL$}"), *style);
        for part in human::wrapped(meaning, usize::from(width).saturating_sub(label.width())) {
            lines.push(Line::from(vec![label, theme.plain(part)]));
            label = Span::raw(" ".repeat(2 + LABEL));
        }
    }
    lines
}

/// The columns of text and the size of the window they are shown in, frame excluded.
fn layout<'a>(app: &App, columns: u16, rows: u16, theme: &Theme) -> (Vec<Vec<Line<'a>>>, u16, u16) {
    let width = columns.saturating_sub(4).min(150);
    let height = rows.saturating_sub(2);
    let two = columns >= TWO_COLUMNS;
    let each = if two {
        width.saturating_sub(3) / 2
    } else {
        width
    };
    let sections = sections(app, theme);
    let rendered: Vec<_> = sections
        .iter()
        .map(|section| render(section, each, theme))
        .collect();
    let total: usize = rendered.iter().map(|lines| lines.len() + 1).sum();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for lines in rendered {
        // The second column begins with the section that reaches over the middle.
        let here = !two || (second.is_empty() && first.len() + lines.len() / 2 <= total / 2);
        let column = if here { &mut first } else { &mut second };
        if !column.is_empty() {
            column.push(Line::default());
        }
        column.extend(lines);
    }
    let mut texts = vec![first];
    texts.extend(two.then_some(second));
    (texts, width, height)
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
