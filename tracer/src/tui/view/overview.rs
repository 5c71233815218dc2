//! The first view: where the time goes, what happens now, the tasks and the system calls that take longest.

use ratatui::{
    Frame,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    callbacks, cut, findings,
    header::main_process,
    loops, node, now,
    panel::{self, Title},
    syscalls, table, tasks,
    theme::Theme,
};
use crate::{
    human::{self, NONE, sanitise, share},
    model::{Snapshot, ThreadView},
    tui::{
        app::App,
        bands::{self, BANDS},
        list::Sort as _,
    },
};
use tracer_common::ThreadTimes;

/// From this width on, "Now" stands beside the threads.
const SIDE_BY_SIDE: u16 = 120;
/// Its width there.
const SIDE: u16 = 54;
/// From this width on there is room for more than threads.
const MORE_THAN_THREADS: u16 = 60;

/// Draws it. Threads come first: on a small terminal they are all there is.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let threads = app.threads.living(snapshot, app.period);
    let wanted = (threads.len() as u16)
        .max(3)
        .saturating_add(panel::overhead(area.width));
    let mut rest = area;
    // First what is wrong, as long as something else fits in as well.
    let told = findings::height(snapshot, area.width);
    let is_quiet = snapshot.findings.list.iter().all(|finding| finding.is_over);
    let area = if area.height >= if is_quiet { 24 } else { 9 } {
        let top = cut::top(&mut rest, told);
        findings::panel(frame, top, snapshot, theme);
        rest
    } else {
        area
    };
    if area.height < 18 {
        time_panel(frame, area, app, snapshot, &threads, theme);
    } else if area.width < MORE_THAN_THREADS {
        let gauges = cut::bottom(&mut rest, now::ROWS + panel::overhead(area.width));
        time_panel(frame, rest, app, snapshot, &threads, theme);
        now_panel(frame, gauges, snapshot, theme);
    } else if area.width < SIDE_BY_SIDE {
        let gauges = now::ROWS / 2 + 2;
        let time = cut::top(
            &mut rest,
            wanted.min(area.height.saturating_sub(gauges + 7)).max(5),
        );
        let gauges = cut::top(&mut rest, gauges);
        time_panel(frame, time, app, snapshot, &threads, theme);
        now_panel(frame, gauges, snapshot, theme);
        rest_panels(frame, rest, app, snapshot, theme);
    } else {
        let mut time = cut::top(
            &mut rest,
            wanted.min(area.height * 3 / 5).max(now::ROWS + 2),
        );
        let gauges = cut::right(&mut time, SIDE);
        time_panel(frame, time, app, snapshot, &threads, theme);
        now_panel(frame, gauges, snapshot, theme);
        rest_panels(frame, rest, app, snapshot, theme);
    }
}

/// Rows from which on tasks and system calls share the room.
const BOTH: u16 = 14;

/// What runs in the threads: event loops and tasks where there are any, and system calls.
fn rest_panels(
    frame: &mut Frame<'_>,
    mut area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    if !snapshot.loops.loops.is_empty() {
        let wanted = loops::height(snapshot, area.width);
        let height = wanted.min((area.height / 2).max(5));
        let top = cut::top(&mut area, height);
        loops::panel(
            frame,
            top,
            app,
            snapshot,
            Some("l shows more of them"),
            theme,
        );
    }
    if snapshot.callbacks.watched.is_some() && area.height > BOTH {
        let wanted = callbacks::height(snapshot, area.width);
        let height = wanted.min((area.height / 3).max(5));
        let top = cut::top(&mut area, height);
        let more = Some("2 shows more of them");
        callbacks::panel(frame, top, app, snapshot, more, theme);
    }
    let types = snapshot.tasks.types.len() as u16;
    if types > 0 && area.height > 0 {
        let height = if area.height < BOTH {
            area.height
        } else {
            types.saturating_add(3).min(area.height / 2)
        };
        let top = cut::top(&mut area, height);
        tasks::panel(
            frame,
            top,
            app,
            snapshot,
            (None, "2 shows more of them"),
            theme,
        );
    }
    if area.width >= SIDE_BY_SIDE && !snapshot.cpu.javascript.is_empty() && area.height > 0 {
        let right = cut::right(&mut area, SIDE);
        node::functions_panel(frame, right, snapshot, theme);
    }
    if area.height > 0 {
        syscalls::panel(frame, area, app, snapshot, None, theme);
    }
}

fn now_panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let cpus = snapshot.session.cpus;
    let about = if cpus > 0 {
        vec![format!("100 % is one of {cpus} CPUs")]
    } else {
        vec![]
    };
    let mut title = Title::new("Now", about);
    title.frame_from = (40, 4);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    now::draw(frame, inner, snapshot, theme);
}

/// One row per living thread: who, how its time divides, and the largest parts in words.
fn time_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    threads: &[&ThreadView],
    theme: &Theme,
) {
    let mut about = vec![super::period(app, snapshot)];
    about.extend(super::filtered(app.threads.filter.as_str()));
    about.push(format!("by {}", app.threads.sort.name()));
    let legend = legend(
        threads.iter().map(|thread| app.period.times(thread)),
        area.width,
        theme,
    );
    let inner = panel::draw(
        frame,
        area,
        &Title::new("Where the time goes", about),
        legend,
        theme,
    );
    if threads.is_empty() {
        return frame.render_widget(super::explanation(nobody(app, snapshot), theme), inner);
    }
    let mut height = usize::from(inner.height);
    if threads.len() > height {
        height = height.saturating_sub(1);
    }
    let selected = app.threads.position(threads);
    let first = table::first_row(threads.len(), height, selected);
    let columns = Columns::new(threads, inner.width);
    let mut lines = inner.rows();
    for (at, thread) in threads.iter().enumerate().skip(first).take(height) {
        let Some(line) = lines.next() else { break };
        let name = if selected == Some(at) {
            theme.selected_style()
        } else {
            Style::new()
        };
        frame.render_widget(
            columns.line(thread, app.period.times(thread), name, theme),
            line,
        );
    }
    if let (Some(line), Some(more)) = (lines.next(), table::more(first, height, threads.len())) {
        frame.render_widget(Line::from(theme.faint(more)), line);
    }
}

/// Why there are no threads to show.
fn nobody(app: &App, snapshot: &Snapshot) -> Vec<String> {
    if !app.threads.filter.is_empty() {
        let filter = sanitise(&app.threads.filter).into_owned();
        vec![format!(
            "No living thread has “{filter}” in its name. Esc shows all."
        )]
    } else if snapshot.all_exited() {
        let how = main_process(snapshot)
            .and_then(|process| process.exit)
            .map(human::exit_status);
        let how = how.map(|how| format!(" ({how})")).unwrap_or_default();
        vec![
            format!("The target has exited{how}: no thread lives any more."),
            "3 shows those that ended, 5 its system calls; w switches to the whole session."
                .to_owned(),
        ]
    } else if snapshot.processes.is_empty() {
        vec![
            "No process is traced: nothing was found to attach to, or it was gone before it could be read."
                .to_owned(),
        ]
    } else {
        vec![
            "No thread has been seen yet. One appears as soon as it runs or its counters are read."
                .to_owned(),
            "If that does not happen, `tracer doctor` says which probes work here.".to_owned(),
        ]
    }
}

/// Widths of a row's parts.
struct Columns {
    name: u16,
    tid: u16,
    bar: u16,
    words: u16,
}

impl Columns {
    fn new(threads: &[&ThreadView], width: u16) -> Self {
        let longest = |text: fn(&ThreadView) -> String| {
            threads
                .iter()
                .map(|thread| Span::raw(text(thread)).width())
                .max()
                .unwrap_or(0) as u16
        };
        let tid = longest(tid);
        let name = longest(super::thread_name).min(if width < MORE_THAN_THREADS { 12 } else { 18 });
        let room = width.saturating_sub(name + tid + 5);
        // On a small terminal only the CPU's share; else what three states need, and four where that leaves half.
        let words = if width < MORE_THAN_THREADS {
            9
        } else {
            (room / 2).min(42).max(33.min(room / 3 * 2))
        };
        Self {
            name,
            tid,
            bar: room.saturating_sub(words),
            words,
        }
    }

    fn line<'a>(
        &self,
        thread: &ThreadView,
        times: &ThreadTimes,
        name: Style,
        theme: &Theme,
    ) -> Line<'a> {
        let label = table::shortened(&super::thread_name(thread), self.name);
        let pad = usize::from(self.name).saturating_sub(Span::raw(label.as_str()).width());
        let tid = format!("{:>1$}", tid(thread), usize::from(self.tid));
        let mut line = Line::from(vec![
            Span::styled(label, name),
            theme.plain(" ".repeat(pad + 1)),
            theme.faint(tid),
            theme.plain("  "),
        ]);
        for (band, cells) in BANDS.iter().zip(bands::cells(times, self.bar)) {
            let cells: String = std::iter::repeat_n(band.glyph, usize::from(cells)).collect();
            line.push_span(Span::styled(cells, theme.colored(band.color)));
        }
        let drawn = if times.total().0 == 0 { 0 } else { self.bar };
        line.push_span(theme.plain(" ".repeat(usize::from(self.bar - drawn) + 2)));
        line.push_span(theme.plain(words(times, self.words)));
        line
    }
}

fn tid(thread: &ThreadView) -> String {
    thread.tid.map_or(String::new(), |tid| tid.0.to_string())
}

/// The largest parts in words: the CPU always, the others in the order of the bar, as many as fit.
fn words(times: &ThreadTimes, width: u16) -> String {
    let total = times.total();
    let part = |band: &bands::Band| share(band.of(times), total);
    let (cpu, others) = match &BANDS {
        [cpu, others @ ..] => (human::percent(part(cpu)), others),
    };
    if total.0 == 0 {
        return format!("{NONE} no time in this window");
    }
    let mut shown: Vec<_> = others.iter().filter(|band| part(band) >= 0.005).collect();
    loop {
        let mut text = format!("cpu {cpu:>5}");
        for band in &shown {
            text.push_str(&format!("  {} {}", band.word, human::percent(part(band))));
        }
        if text.chars().count() <= usize::from(width) {
            return text;
        }
        let least = (0..shown.len()).min_by(|&a, &b| {
            let part = |at: usize| shown.get(at).map_or(0.0, |band| part(band));
            part(a).total_cmp(&part(b))
        });
        match least {
            Some(at) => shown.remove(at),
            None => return text,
        };
    }
}

/// The glyphs that occur, with their words.
fn legend<'a>(
    times: impl Iterator<Item = &'a ThreadTimes> + Clone,
    width: u16,
    theme: &Theme,
) -> Line<'static> {
    let mut line = Line::from(theme.plain(" "));
    for band in BANDS
        .iter()
        .filter(|band| times.clone().any(|times| band.of(times).0 > 0))
    {
        let glyph = Span::styled(band.glyph.to_string(), theme.colored(band.color));
        let word = theme.plain(format!(" {}  ", band.word));
        if line.width() + 1 + word.width() + 3 > usize::from(width) {
            break;
        }
        line.push_span(glyph);
        line.push_span(word);
    }
    if line.spans.len() == 1 {
        Line::default()
    } else {
        line
    }
}
