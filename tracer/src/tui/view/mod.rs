//! Drawing, and nothing else: the same [`App`] draws the same screen. Nothing here fails, whatever the size.
//!
//! From top to bottom: a header that says what this is and whether it can be trusted, notices when something is
//! missing, the view, in a replay where it stands, and the keys.

mod await_tree;
mod callbacks;
mod cpu;
mod cut;
mod findings;
mod footer;
mod header;
pub(crate) mod help;
mod io;
mod locks;
mod long_iterations;
mod long_polls;
mod loop_delay;
mod loops;
mod memory;
mod node;
mod notice;
mod now;
mod overview;
mod panel;
mod polls;
mod segments;
mod stack;
mod syscalls;
mod table;
pub(crate) mod task;
mod task_columns;
mod tasks;
#[cfg(test)]
mod tests;
mod theme;
mod threads;
mod transport;
mod waits;
mod workers;

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Wrap},
};

use self::theme::Theme;
use super::{
    app::{App, View},
    list::Period,
};
use crate::{
    human::{self, sanitise},
    model::{Snapshot, ThreadView},
    record::{ProbeMeta, ProbeStatus},
};

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    let theme = Theme::new(app.options.color);
    let Some(snapshot) = app.shown() else {
        return waiting(frame, area, app, &theme);
    };
    let Parts {
        top,
        notices,
        notes,
        body,
        bar,
        bottom,
    } = parts(area, app, snapshot, &theme);
    header::draw(frame, top, app, snapshot, &theme);
    frame.render_widget(Paragraph::new(notices), notes);
    match app.view {
        View::Overview => overview::draw(frame, body, app, snapshot, &theme),
        View::Tasks => match app.task_page {
            Some(page) => task::draw(frame, body, page, snapshot, &theme),
            None if snapshot.tasks.has_node() => {
                let mut body = body;
                if !snapshot.tasks.types.is_empty() {
                    let below = cut::bottom(&mut body, area.height / 2);
                    tasks::draw(frame, below, app, snapshot, &theme);
                }
                node::draw(frame, body, app, snapshot, &theme);
            }
            None => tasks::draw(frame, body, app, snapshot, &theme),
        },
        View::Threads => threads::draw(frame, body, app, snapshot, &theme),
        View::Locks => locks::draw(frame, body, app, snapshot, &theme),
        View::Syscalls => syscalls::draw(frame, body, app, snapshot, &theme),
        View::Io => io::draw(frame, body, app, snapshot, &theme),
        View::Memory => memory::draw(frame, body, app, snapshot, &theme),
        View::Cpu => cpu::draw(frame, body, app, snapshot, &theme),
        View::Loops => loops::draw(frame, body, app, snapshot, &theme),
        View::Findings => findings::draw(frame, body, app, snapshot, &theme),
    }
    transport::draw(frame, bar, app, &theme);
    footer::draw(frame, bottom, app, &theme);
    help::draw(frame, area, app, &theme);
}

/// How the screen is divided.
struct Parts<'a> {
    top: Rect,
    notices: Vec<Line<'a>>,
    notes: Rect,
    body: Rect,
    bar: Rect,
    bottom: Rect,
}

fn parts<'a>(area: Rect, app: &App, snapshot: &Snapshot, theme: &Theme) -> Parts<'a> {
    let notices = notice::lines(snapshot, area.width, theme);
    let spare = area.height.saturating_sub(5);
    let most_notices = if area.height < 16 { 1 } else { 2 };
    let mut body = area;
    let top = cut::top(&mut body, 1);
    let notes = cut::top(
        &mut body,
        (notices.len() as u16).min(most_notices).min(spare),
    );
    let bottom = cut::bottom(&mut body, u16::from(spare > 0));
    let bar = cut::bottom(&mut body, u16::from(app.transport.is_some() && spare > 0));
    Parts {
        top,
        notices,
        notes,
        body,
        bar,
        bottom,
    }
}

/// Before anything is known.
fn waiting(frame: &mut Frame<'_>, area: Rect, app: &App, theme: &Theme) {
    let mut body = area;
    let roomy = u16::from(area.height > 5);
    let top = cut::top(&mut body, 1);
    cut::top(&mut body, roomy);
    let bottom = cut::bottom(&mut body, roomy);
    let bar = cut::bottom(&mut body, if app.transport.is_some() { roomy } else { 0 });
    let (state, text) = if app.session_ended {
        ("■ ended", "The session ended before anything was seen.")
    } else if app.transport.is_some_and(|transport| transport.paused) {
        (
            "‖ paused",
            "Before the first window of the recording: the first numbers come with it.",
        )
    } else if app.transport.is_some() {
        (
            "reading…",
            "Reading the recording: the first numbers come with its first window.",
        )
    } else {
        (
            "attaching…",
            "Attaching the probes and reading what runs: the first numbers come with the first window.",
        )
    };
    frame.render_widget(
        Line::from(vec![
            theme.strong(" tracer"),
            theme.plain(format!("  {state}")),
        ]),
        top,
    );
    frame.render_widget(explanation([text.to_owned()], theme), indent(body));
    transport::draw(frame, bar, app, theme);
    footer::draw(frame, bottom, app, theme);
    help::draw(frame, area, app, theme);
}

/// Text that stands where rows would be, and says why there are none.
fn explanation<'a>(lines: impl IntoIterator<Item = String>, theme: &Theme) -> Paragraph<'a> {
    let lines: Vec<Line<'_>> = lines
        .into_iter()
        .map(|line| Line::from(theme.plain(line)))
        .collect();
    Paragraph::new(lines).wrap(Wrap { trim: true })
}

fn indent(area: Rect) -> Rect {
    Rect {
        x: area.x.saturating_add(1),
        width: area.width.saturating_sub(2),
        ..area
    }
    .intersection(area)
}

/// The name of what numbers are about, as it stands in titles.
fn period(app: &App, snapshot: &Snapshot) -> String {
    match app.period {
        Period::Window if snapshot.window.0 == 0 => "no window yet".to_owned(),
        Period::Window => format!("last {}", human::duration(snapshot.window)),
        Period::Session => format!("whole session, {}", human::elapsed(snapshot.duration())),
    }
}

/// That a list is filtered, as it stands in titles.
fn filtered(filter: &str) -> Option<String> {
    (!filter.is_empty()).then(|| format!("filter “{}”", human::sanitise(filter)))
}

/// The probe that counts system calls, when it does not: then there are no numbers about them, not even 0.
fn syscalls_not_counted(snapshot: &Snapshot) -> Option<&ProbeMeta> {
    not_counting(snapshot, "sys_exit")
}

fn not_counting<'a>(snapshot: &'a Snapshot, probe: &str) -> Option<&'a ProbeMeta> {
    snapshot.quality.probes.iter().find(|known| {
        known.name == probe && matches!(known.status, ProbeStatus::Off | ProbeStatus::Refused)
    })
}

/// Why there is nothing about `what`, when that is because of this probe: it is off, refused, or was not there yet
/// when the recording was made.
fn without(snapshot: &Snapshot, probe: &str, what: &str) -> Option<String> {
    if let Some(known) = not_counting(snapshot, probe) {
        let turn_on = if known.status == ProbeStatus::Off {
            format!(" `--with {}` turns it on.", sanitise(&known.group))
        } else {
            String::new()
        };
        return Some(format!(
            "{what}: the probe {probe} is {} ({}).{turn_on}",
            known.status.name(),
            sanitise(&known.why)
        ));
    }
    let probes = &snapshot.quality.probes;
    let unknown = !probes.is_empty() && probes.iter().all(|known| known.name != probe);
    unknown.then(|| format!("{what}: this session has no probe {probe}."))
}

/// How far numbers that this probe counts are complete, when it was off for part of the time.
fn at_times(snapshot: &Snapshot, probe: &str) -> Option<String> {
    let mut probes = snapshot.quality.probes.iter();
    probes
        .any(|known| known.name == probe && known.status == ProbeStatus::Degraded)
        .then(|| format!("▲ degraded: {probe}"))
}

/// True when this probe is off for now: it is switched off at times, and in the last window there was nothing of
/// what it counts. Then that is not known, and not 0.
fn off_for_now(snapshot: &Snapshot, probe: &str, in_window: u64) -> bool {
    in_window == 0 && at_times(snapshot, probe).is_some()
}

/// That nothing in a list has what the filter asks for.
fn no_match(what: &str, filter: &str) -> String {
    format!("No {what} has “{}” in it. Esc shows all.", sanitise(filter))
}

/// A thread's name as it can be shown.
fn thread_name(thread: &ThreadView) -> String {
    if thread.name.is_empty() {
        "(no name yet)".to_owned()
    } else {
        human::sanitise(&thread.name).into_owned()
    }
}
