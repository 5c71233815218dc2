//! Tasks by type: how many there are, how often and how long they are polled, how long they wait for it.

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    cut, long_polls,
    panel::{self, Title},
    table::Table,
    task_columns,
    theme::Theme,
    workers,
};
use crate::{
    human::{self, sanitise},
    model::{Snapshot, TaskTypeView, TasksView},
    tui::{
        app::{App, View},
        list::Sort as _,
    },
};

/// From this width on, workers stand beside long polls.
const SIDE_BY_SIDE: u16 = 120;
/// Their width there at most.
const SIDE: u16 = 79;

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let tasks = &snapshot.tasks;
    let rows = app.tasks.rows(snapshot, app.period);
    let selected = app.tasks.position(&rows);
    let mut rest = area;
    if tasks.watched.is_some() && area.height >= 14 {
        let rows = |rows: usize| (rows as u16).saturating_add(3);
        let types = rows(tasks.types_of_tasks().count()).max(6);
        let below = area.height.saturating_sub(types).max(area.height / 3);
        let long = rows(tasks.long_polls.len() + tasks.going_on(snapshot.now).len());
        let workers = rows(tasks.pollers.len());
        if area.width >= SIDE_BY_SIDE {
            let mut below = cut::bottom(&mut rest, below.min(long.max(workers)));
            let beside = cut::right(&mut below, (area.width * 19 / 40).min(SIDE));
            long_polls::panel(frame, below, snapshot, theme);
            workers::panel(frame, beside, app, snapshot, theme);
        } else if area.height >= 30 {
            let below = below.min(long.saturating_add(workers));
            let low = cut::bottom(&mut rest, workers.min(below / 2));
            let middle = cut::bottom(&mut rest, below - low.height);
            long_polls::panel(frame, middle, snapshot, theme);
            workers::panel(frame, low, app, snapshot, theme);
        } else {
            let below = cut::bottom(&mut rest, below.min(long));
            long_polls::panel(frame, below, snapshot, theme);
        }
    }
    let note = "Enter opens the page of a type";
    panel(frame, rest, app, snapshot, (selected, note), theme);
}

/// The types in their panel, with a note on what there is to do.
pub(super) fn panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    (selected, note): (Option<usize>, &str),
    theme: &Theme,
) {
    let tasks = &snapshot.tasks;
    let rows = app.tasks.rows(snapshot, app.period);
    if rows.is_empty() {
        let about = super::filtered(&app.tasks.filter).into_iter().collect();
        let title = Title::new("Tasks", about);
        let inner = panel::draw(frame, area, &title, Line::default(), theme);
        return frame.render_widget(super::explanation(nothing(app, snapshot), theme), inner);
    }
    let mut about: Vec<String> = sampled(tasks).into_iter().collect();
    about.extend(super::filtered(&app.tasks.filter));
    let period = super::period(app, snapshot);
    if tasks.watched.is_some() {
        about.push(format!("polls/s and busy: {period}"));
        about.push("the rest since attach".to_owned());
    } else if tasks.followed {
        about.push(format!("CPU by samples, {period}"));
    }
    about.push(format!("by {}", app.tasks.sort.name()));
    let note = match tasks.types_unlisted {
        0 => Line::from(theme.faint(format!(" {note} "))),
        more => Line::from(theme.faint(format!(" {} more not listed ", human::count(more)))),
    };
    let mut inner = panel::draw(frame, area, &Title::new("Tasks", about), note, theme);
    // What samples tell is enough for the overview.
    let is_said = app.view == View::Tasks || !tasks.followed;
    if let Some(why) = not_watched(snapshot).filter(|_| is_said) {
        let lines = if inner.height > 5 { 2 } else { 1 };
        let lines = cut::top(&mut inner, lines);
        frame.render_widget(super::explanation([why], theme), lines);
    }
    let cells = |view: &&TaskTypeView| {
        let cells = task_columns::cells(snapshot, app.period, view, area.width);
        let quiet =
            app.period.in_polls(snapshot, view) == Some(0.0) && app.period.polls(view).0 == 0;
        let style = if quiet {
            theme.faint_style()
        } else {
            Style::new()
        };
        (cells, style)
    };
    let columns = task_columns::columns(tasks, area.width);
    Table {
        sorted: (task_columns::sorted(app, &columns), app.tasks.reversed),
        columns: &columns,
        rows: &rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

/// How much of the time polls were watched, when that is not all of it.
pub(super) fn sampled(tasks: &TasksView) -> Option<String> {
    let share = tasks.watched.filter(|_| tasks.is_sampled())?;
    Some(format!("sampled {}: estimates", human::ratio(share)))
}

/// Why polls are not watched, although there are tasks.
pub(super) fn not_watched(snapshot: &Snapshot) -> Option<String> {
    let tasks = &snapshot.tasks;
    if tasks.watched.is_some() {
        return None;
    }
    let why = super::without(snapshot, "task_poll", "Polls are not watched")
        .unwrap_or_else(|| "Polls have not been watched yet.".to_owned());
    let rest = if tasks.followed {
        "CPU is by samples, waits by the scheduler."
    } else {
        "Live tasks are read from memory."
    };
    Some(format!("{why} {rest}"))
}

fn nothing(app: &App, snapshot: &Snapshot) -> Vec<String> {
    let tasks = &snapshot.tasks;
    if !app.tasks.filter.is_empty() {
        return vec![super::no_match("type of task", &app.tasks.filter)];
    }
    if tasks.is_recognised() {
        let mut lines = vec!["No task has been seen yet.".to_owned()];
        lines.extend(not_watched(snapshot));
        lines.extend(notes(tasks));
        return lines;
    }
    if tasks.runtimes.is_empty() {
        return vec![
            "No process has been looked at for a runtime yet, or the version that recorded did not."
                .to_owned(),
        ];
    }
    if tasks.is_node() {
        let mut lines = vec!["Node.js has no tasks.".to_owned()];
        lines.extend(notes(tasks));
        return lines;
    }
    let files = match tasks.files_checked() {
        1 => "1 file".to_owned(),
        files => format!("{} files", human::count(files)),
    };
    let mut lines = vec![format!(
        "No tokio task types found: not a tokio program ({files} checked)."
    )];
    lines.extend(notes(tasks));
    lines
}

/// What was found out about runtimes that limits what can be seen.
fn notes(tasks: &TasksView) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for note in tasks.runtimes.iter().flat_map(|runtime| &runtime.notes) {
        let note = sanitise(note).into_owned();
        if !said.contains(&note) {
            said.push(note);
        }
    }
    said
}
