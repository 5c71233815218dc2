//! What is wrong: on the overview in two lines each, on a view of its own with evidence and remedy.

use ratatui::{
    Frame,
    layout::Rect,
    style::Color,
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    cut,
    panel::{self, Title},
    theme::Theme,
};
use crate::{
    findings::{self, DETECTORS, Entry},
    human::{self, sanitise},
    model::{Evidence, Finding, Severity, Snapshot, Unit},
    tui::{app::App, list::Sort as _},
};
use tracer_common::Nanos;

/// What the lines mean, for the help.
pub(super) const MEANINGS: [(&str, &str); 4] = [
    (
        "critical",
        "people notice: what is slow, or not done, because of it",
    ),
    ("warning", "it costs time or memory that could be had back"),
    ("sure", "less where events were lost or not all was watched"),
    (
        "over",
        "it was so, and has not been for two seconds and more",
    ),
];

/// Findings on the overview.
const TOP: usize = 2;
/// Rows of a finding there.
const EACH: usize = 2;

/// Rows the panel on the overview wants.
pub(super) fn height(snapshot: &Snapshot, width: u16) -> u16 {
    let told = going_on(snapshot).count().clamp(0, TOP) * EACH;
    (told.max(1) as u16).saturating_add(panel::overhead(width))
}

fn going_on(snapshot: &Snapshot) -> impl Iterator<Item = &Finding> {
    let all = snapshot.findings.list.iter();
    all.filter(|finding| !finding.is_over)
}

/// The worst ones, in their panel on the overview.
pub(super) fn panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let more = going_on(snapshot).count().saturating_sub(TOP);
    let about = if snapshot.findings.list.is_empty() {
        vec![]
    } else if more > 0 {
        vec![format!("{more} more, and why: 8")]
    } else {
        vec!["8 says why and how".to_owned()]
    };
    let title = Title::new("Findings", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let mut lines = Vec::new();
    for finding in going_on(snapshot).take(TOP) {
        lines.extend(two(finding, usize::from(inner.width), theme));
    }
    if lines.is_empty() {
        lines.push(Line::from(theme.faint(nothing(snapshot))));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A finding in two lines.
fn two<'a>(finding: &Finding, width: usize, theme: &Theme) -> [Line<'a>; EACH] {
    const MARK: usize = 12;
    let name = sanitise(&finding.subject.name);
    let said = format!("{name} {}", findings::says(finding));
    let rest = width.saturating_sub(MARK + 1 + finding.id.name().len() + 1);
    let first = Line::from(vec![
        mark(finding, theme),
        Span::styled(format!("{} ", finding.id.name()), theme.strong_style()),
        theme.plain(human::cut(&said, rest).into_owned()),
    ]);
    let remedy = entry(finding).map_or("", |entry| entry.remedy);
    let second = human::cut(&format!("→ {remedy}"), width.saturating_sub(MARK + 1)).into_owned();
    let indent = " ".repeat(MARK + 1);
    [first, Line::from(theme.plain(format!("{indent}{second}")))]
}

fn mark<'a>(finding: &Finding, theme: &Theme) -> Span<'a> {
    let text = match finding.severity {
        _ if finding.is_over => "  over       ",
        Severity::Critical => "▲ CRITICAL   ",
        Severity::Warning => "▲ warning    ",
        Severity::Info => "· info       ",
    };
    let style = match finding.severity {
        _ if finding.is_over => theme.faint_style(),
        Severity::Critical => theme.alarm_style(),
        Severity::Warning => theme.colored(Color::Yellow),
        Severity::Info => theme.faint_style(),
    };
    Span::styled(text, style)
}

fn entry(finding: &Finding) -> Option<&'static Entry> {
    findings::detector(finding.id).map(|detector| &detector.entry)
}

/// Healthy is said too.
fn nothing(snapshot: &Snapshot) -> String {
    let view = &snapshot.findings;
    let Some(checked) = view.checked else {
        return format!(
            "nothing is concluded in the first {} seconds",
            findings::QUIET.0 / 1_000_000_000
        );
    };
    let blind = match view.blind.len() {
        0 => "none blind".to_owned(),
        count => format!("{count} blind (8 says why)"),
    };
    format!(
        "none now, after {}: {checked} of {} checks, {blind}",
        human::elapsed(snapshot.duration()),
        DETECTORS.len(),
    )
}

/// The view: the list, and all about the selected one.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.findings.rows(snapshot);
    let selected = app.findings.position(&rows);
    let view = &snapshot.findings;
    let mut about: Vec<String> = super::filtered(app.findings.filter.as_str())
        .into_iter()
        .collect();
    about.push(format!("by {}", app.findings.sort.name()));
    let title = Title::new("Findings", about);
    let mut rest = area;
    let wanted = rows.len().max(1) + view.blind.len();
    let wanted = (wanted as u16).saturating_add(panel::overhead(area.width));
    let top = cut::top(&mut rest, wanted.min((area.height / 3).max(4)));
    let inner = panel::draw(frame, top, &title, Line::default(), theme);
    let width = usize::from(inner.width);
    let mut lines: Vec<Line<'_>> = rows
        .iter()
        .enumerate()
        .map(|(at, finding)| {
            let line = Line::from(vec![
                mark(finding, theme),
                Span::styled(format!("{:<22} ", finding.id.name()), theme.strong_style()),
                theme.plain(
                    human::cut(&sanitise(&finding.subject.name), width.saturating_sub(36))
                        .into_owned(),
                ),
            ]);
            if Some(at) == selected {
                line.style(theme.selected_style())
            } else {
                line
            }
        })
        .collect();
    if rows.is_empty() {
        lines.push(Line::from(theme.plain(nothing(snapshot))));
    }
    for (id, why) in &view.blind {
        lines.push(Line::from(
            theme.faint(format!("  not checked: {}, because {why}", id.name())),
        ));
    }
    // The selected one stays in sight.
    let scroll = selected
        .unwrap_or(0)
        .saturating_sub(usize::from(inner.height).saturating_sub(1));
    frame.render_widget(Paragraph::new(lines).scroll((scroll as u16, 0)), inner);
    if let Some(finding) = rows.get(selected.unwrap_or(0)).filter(|_| rest.height > 3) {
        whole(frame, rest, finding, snapshot, theme);
    }
}

/// Evidence, why it matters, what to do.
fn whole(frame: &mut Frame<'_>, area: Rect, finding: &Finding, snapshot: &Snapshot, theme: &Theme) {
    let Some(entry) = entry(finding) else {
        return;
    };
    let ago = |at: Nanos| human::elapsed(snapshot.now.since(at).unwrap_or_default());
    let about = vec![
        entry.class.to_owned(),
        format!("{} sure", human::percent(finding.confidence)),
        format!("first seen {} ago", ago(finding.first)),
    ];
    let title = Title::new(finding.id.name(), about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let width = usize::from(inner.width);
    let mut lines = Vec::new();
    let name = sanitise(&finding.subject.name);
    let mut say = |indent: &str, text: &str, strong: bool| {
        let room = width.saturating_sub(indent.len());
        for part in human::wrapped(text, room) {
            let part = format!("{indent}{part}");
            lines.push(Line::from(if strong {
                theme.strong(part)
            } else {
                theme.plain(part)
            }));
        }
    };
    say("", &format!("{name} {}", findings::says(finding)), true);
    say("", "", false);
    let span = human::duration(finding.span);
    let seen = if finding.is_over {
        format!("Evidence, of {span} until {} ago:", ago(finding.last))
    } else {
        format!("Evidence, of the last {span}:")
    };
    say("", &seen, false);
    for evidence in &finding.evidence {
        let mut meanings = entry.evidence.iter();
        let meaning = meanings.find(|(metric, _)| *metric == evidence.metric);
        let meaning = meaning.map_or("", |(_, meaning)| meaning);
        let value = format!("{:>10}  ", shown(evidence));
        say(&value, meaning, false);
    }
    say("", "", false);
    say("", entry.matters, false);
    say("", "", false);
    say("", &format!("→ {}", entry.remedy), true);
    let is_node = finding.subject.pid.0 > 0
        && snapshot
            .tasks
            .runtime(finding.subject.pid)
            .is_some_and(|runtime| runtime.kind == "node");
    let sketch = if is_node { entry.node } else { entry.rust };
    for line in sketch.lines() {
        let line = human::cut(line.trim_end(), width.saturating_sub(4)).into_owned();
        lines.push(Line::from(theme.plain(format!("    {line}"))));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A number with its unit.
fn shown(evidence: &Evidence) -> String {
    let value = evidence.value;
    match evidence.unit {
        Unit::Time => human::duration(Nanos(value.max(0.0) as u64)),
        Unit::Count if value.fract() == 0.0 => human::count(value.max(0.0) as u64),
        Unit::Count => format!("{value:.1}"),
        Unit::PerSecond => human::per_second(value),
        Unit::Ratio => human::percent(value),
    }
}
