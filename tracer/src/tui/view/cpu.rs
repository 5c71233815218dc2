//! CPU: how much there is, how many threads want it, and which code uses it.

use std::collections::{BTreeMap, BTreeSet};

use ratatui::{Frame, layout::Rect, style::Style, text::Line};

use super::{
    cut, memory, now,
    panel::{self, Title},
    stack,
    table::{self, Column, Table},
    theme::Theme,
};
use crate::{
    human::{self, NONE},
    model::{CpuStackView, CpuView, Snapshot, WindowPoint},
    tui::{
        app::App,
        list::{CpuSort, Sort as _},
    },
};
use tracer_common::Nanos;

/// What each fact means, for the help.
pub(super) const FACTS: [(&str, &str); 4] = [
    (
        "may use",
        "CPUs allowed by affinity, and the cgroup's quota",
    ),
    (
        "wanted",
        "threads that run or want to; more than may: they queue",
    ),
    ("throttled", "time its cgroup was stopped for its quota"),
    (
        "samples",
        "met running so often, each for so much time; stacks end early in code without frame pointers",
    ),
];

const FUNCTIONS: [Column; 5] = [
    Column::number("function", 24, 0),
    Column::number("self", 6, 0),
    Column::number("time", 8, 2),
    Column::number("total", 6, 1),
    Column::number("kernel", 7, 3),
];

/// What the columns of the functions mean, for the help.
pub(super) const FUNCTION_MEANINGS: [(&str, &str); 5] = [
    ("function", "the program's innermost function"),
    (
        "self",
        "share of samples in it, system calls it makes included",
    ),
    ("time", "the CPU time these stand for"),
    ("total", "share of samples in it or in what it calls"),
    ("kernel", "the part of self that the kernel ran for it"),
];

const STACKS: [Column; 4] = [
    Column::number("share", 7, 0),
    Column::number("time", 8, 2),
    Column::text("in", 8, 3),
    Column::stack("stack", 24, 1),
];

/// What the columns of the stacks mean, for the help.
pub(super) const STACKS_MEANINGS: [(&str, &str); 4] = [
    ("share", "share of all samples"),
    ("time", "the CPU time these stand for"),
    ("in", "program, or kernel on its behalf"),
    ("stack", "the program's part of it"),
];

/// From this width on, functions stand beside stacks.
const SIDE_BY_SIDE: u16 = 120;

/// The view.
pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    theme: &Theme,
) {
    let rows = app.cpu.rows(snapshot);
    let selected = app.cpu.position(&rows);
    let mut rest = area;
    let facts = cut::top(&mut rest, FACTS.len() as u16 + panel::overhead(area.width));
    facts_panel(frame, facts, snapshot, theme);
    if rest.height < 3 {
        return;
    }
    if rows.is_empty() {
        let why = nothing(app, snapshot);
        let title = Title::new("Where CPU time goes", vec![]);
        let inner = panel::draw(frame, rest, &title, Line::default(), theme);
        return frame.render_widget(super::explanation([why], theme), inner);
    }
    let detail = selected.and_then(|at| rows.get(at)).map(|row| whole(row));
    let wanted = detail.as_ref().map_or(0, |lines| lines.len() as u16 + 2);
    let room = if rest.height >= 12 {
        area.height / 3
    } else {
        0
    };
    let below = cut::bottom(&mut rest, wanted.min(room));
    let functions = Function::of(&rows, snapshot.cpu.samples);
    if area.width >= SIDE_BY_SIDE {
        let half = rest.width / 2;
        let right = cut::right(&mut rest, half);
        functions_panel(frame, rest, app, snapshot, &functions, theme);
        stacks_panel(frame, right, app, snapshot, &rows, selected, theme);
    } else if rest.height < 10 && selected.is_some() {
        stacks_panel(frame, rest, app, snapshot, &rows, selected, theme);
    } else if rest.height < 10 {
        functions_panel(frame, rest, app, snapshot, &functions, theme);
    } else {
        let height = (functions.len() as u16 + 3).min(rest.height / 2);
        let top = cut::top(&mut rest, height);
        functions_panel(frame, top, app, snapshot, &functions, theme);
        stacks_panel(frame, rest, app, snapshot, &rows, selected, theme);
    }
    if let (Some(lines), false) = (detail, below.is_empty()) {
        memory::whole_stack(frame, below, "Met running in", lines, theme);
    }
}

/// Both parts of a stack: the kernel's in a line, then the program's.
fn whole(row: &CpuStackView) -> Vec<String> {
    let kernel = stack::chain(&row.kernel_stack).map(|chain| format!("kernel: {chain}"));
    kernel.into_iter().chain(stack::lines(&row.stack)).collect()
}

fn nothing(app: &App, snapshot: &Snapshot) -> String {
    if let Some(why) = super::without(snapshot, "cpu_sample", "Not known") {
        why
    } else if app.cpu.filter.is_empty() {
        "No thread has been met running yet: they are looked at 99 times per second of CPU time."
            .to_owned()
    } else {
        super::no_match("stack", &app.cpu.filter)
    }
}

/// CPU time by function.
#[derive(Debug, PartialEq)]
struct Function {
    /// As it can be shown.
    name: String,
    /// Samples in which it is the innermost.
    own: u64,
    /// Of these, those in the kernel.
    kernel: u64,
    /// Samples with it anywhere in the stack.
    total: u64,
}

/// Functions that are looked for in every stack.
const FUNCTIONS_SHOWN: usize = 100;

impl Function {
    /// The innermost functions of all stacks, by self time.
    fn of(rows: &[&CpuStackView], samples: u64) -> Vec<Self> {
        let mut functions: BTreeMap<String, Self> = BTreeMap::new();
        for row in rows {
            let name = stack::innermost(&row.stack).unwrap_or_else(|| "(no stack)".to_owned());
            let function = functions.entry(name.clone()).or_insert(Self {
                name,
                own: 0,
                kernel: 0,
                total: 0,
            });
            function.own = function.own.saturating_add(row.samples);
            if !row.kernel_stack.is_empty() {
                function.kernel = function.kernel.saturating_add(row.samples);
            }
        }
        // Stacks have most of their functions in common: each name is shortened once.
        let mut short: BTreeMap<&str, String> = BTreeMap::new();
        for row in rows {
            let frames = row.stack.iter().flat_map(|symbol| symbol.frames.iter());
            for frame in frames.clone() {
                short
                    .entry(&frame.function)
                    .or_insert_with(|| stack::short(&frame.function));
            }
            let names: BTreeSet<&String> = frames
                .filter_map(|frame| short.get(frame.function.as_str()))
                .collect();
            for name in names {
                if let Some(function) = functions.get_mut(name) {
                    function.total = function.total.saturating_add(row.samples);
                }
            }
        }
        let mut functions: Vec<Self> = functions.into_values().collect();
        for function in &mut functions {
            // Code without a name is counted where it is innermost only.
            function.total = function
                .total
                .max(function.own)
                .min(samples.max(function.own));
        }
        functions.sort_by(|a, b| b.own.cmp(&a.own).then_with(|| a.name.cmp(&b.name)));
        functions.truncate(FUNCTIONS_SHOWN);
        functions
    }
}

fn part(samples: u64, of: u64) -> String {
    human::ratio(samples as f64 / of as f64)
}

fn time(samples: u64, cpu: &CpuView) -> String {
    if cpu.period.0 == 0 {
        NONE.to_owned()
    } else {
        human::duration(Nanos(samples.saturating_mul(cpu.period.0)))
    }
}

fn facts_panel(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    let cpus = snapshot.session.cpus;
    let about = if cpus > 0 {
        vec![format!("this machine has {cpus}")]
    } else {
        vec![]
    };
    let title = Title::new("CPUs", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    const LABEL: usize = 11;
    let facts = facts(snapshot);
    for (((label, _), text), line) in FACTS.iter().zip(facts).zip(inner.rows()) {
        let text = table::shortened(&text, inner.width.saturating_sub(LABEL as u16));
        let mut drawn = Line::from(vec![
            theme.strong(format!("{label:<LABEL$}")),
            theme.plain(text),
        ]);
        if *label == "wanted" {
            let room = usize::from(inner.width).saturating_sub(drawn.width() + 2);
            drawn.push_span(theme.plain(format!("  {}", now::wanted_bars(snapshot, room))));
        }
        frame.render_widget(drawn, line);
    }
}

/// Threads that ran or wanted to in a window, on average; not a number when it has no length.
pub(super) fn wanted(point: &WindowPoint) -> f64 {
    point.on_cpu.plus(point.runnable).0 as f64 / point.length.0 as f64
}

/// CPUs they may use: the quota where it is less.
fn usable(cpu: &CpuView) -> Option<f64> {
    let allowed = cpu.allowed.map(f64::from);
    let quota = cpu.quota_millicpus.map(|milli| f64::from(milli) / 1e3);
    match (allowed, quota) {
        (Some(allowed), Some(quota)) => Some(allowed.min(quota)),
        (one, other) => one.or(other),
    }
}

fn decimal(value: f64) -> String {
    if value.is_finite() {
        format!("{value:.1}")
    } else {
        NONE.to_owned()
    }
}

/// From this share on, stacks that end early make the tables below misleading.
const MANY: f64 = 0.2;

/// The facts in words, in the order of their labels.
fn facts(snapshot: &Snapshot) -> [String; FACTS.len()] {
    let cpu = &snapshot.cpu;
    let allowed = match cpu.allowed {
        None => NONE.to_owned(),
        Some(1) => "1 CPU".to_owned(),
        Some(cpus) => format!("{cpus} CPUs"),
    };
    let quota = match cpu.quota_millicpus {
        None => "no quota".to_owned(),
        Some(milli) => format!("quota {:.1} CPUs", f64::from(milli) / 1e3),
    };
    let finite = |value: &f64| value.is_finite();
    let values: Vec<f64> = snapshot.history.iter().map(wanted).filter(finite).collect();
    let now = values.last().copied().unwrap_or(f64::NAN);
    let most = values.iter().copied().fold(f64::NAN, f64::max);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let short = match usable(cpu) {
        Some(usable) if now > usable => " ▲ more than it may",
        Some(_) | None => "",
    };
    let throttled = cpu.throttled.map_or_else(
        || format!("{NONE} not known"),
        |time| {
            let share = human::ratio(human::share(time, snapshot.duration()));
            format!("{} ({share}), over all CPUs", human::duration(time))
        },
    );
    let kernel: u64 = cpu
        .by_stack
        .iter()
        .filter(|row| !row.kernel_stack.is_empty())
        .fold(0, |sum, row| sum.saturating_add(row.samples));
    let quality = &snapshot.quality;
    let early = quality.shallow_stacks as f64 / quality.stacks as f64;
    let mark = if early > MANY { "▲ " } else { "" };
    let samples = if cpu.samples == 0 {
        super::without(snapshot, "cpu_sample", NONE).unwrap_or_else(|| "none yet".to_owned())
    } else {
        format!(
            "{} of {}; {} in the kernel; {mark}{} of stacks end early",
            human::count(cpu.samples),
            human::duration(cpu.period),
            part(kernel, cpu.samples),
            human::ratio(early)
        )
    };
    [
        if cpu.allowed.is_none() && cpu.quota_millicpus.is_none() {
            NONE.to_owned()
        } else {
            format!("{allowed}, {quota}")
        },
        format!(
            "{} now, mean {}, max {}{short}",
            decimal(now),
            decimal(mean),
            decimal(most)
        ),
        throttled,
        samples,
    ]
}

fn functions_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    functions: &[Function],
    theme: &Theme,
) {
    let mut about: Vec<String> = super::at_times(snapshot, "cpu_sample")
        .into_iter()
        .collect();
    about.extend(super::filtered(&app.cpu.filter));
    about.push("sampled".to_owned());
    about.push("since attach".to_owned());
    let title = Title::new("CPU time by function", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let cpu = &snapshot.cpu;
    let cells = |function: &Function| {
        let cells = vec![
            function.name.clone(),
            part(function.own, cpu.samples),
            time(function.own, cpu),
            part(function.total, cpu.samples),
            part(function.kernel, cpu.samples),
        ];
        (cells, Style::new())
    };
    Table {
        columns: &FUNCTIONS,
        sorted: (Some(1), false),
        rows: functions,
        selected: None,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

fn stacks_panel(
    frame: &mut Frame<'_>,
    area: Rect,
    app: &App,
    snapshot: &Snapshot,
    rows: &[&CpuStackView],
    selected: Option<usize>,
    theme: &Theme,
) {
    let about = vec![format!("by {}", app.cpu.sort.name())];
    let title = Title::new("CPU time by stack", about);
    let inner = panel::draw(frame, area, &title, Line::default(), theme);
    let cpu = &snapshot.cpu;
    let cells = |row: &&CpuStackView| {
        let cells = vec![
            part(row.samples, cpu.samples),
            time(row.samples, cpu),
            if row.kernel_stack.is_empty() {
                "program"
            } else {
                "kernel"
            }
            .to_owned(),
            stack::chain(&row.stack).unwrap_or_else(|| "(no stack)".to_owned()),
        ];
        (cells, Style::new())
    };
    let by = match app.cpu.sort {
        CpuSort::Time => 0,
        CpuSort::Kernel => 2,
    };
    Table {
        columns: &STACKS,
        sorted: (Some(by), app.cpu.reversed),
        rows,
        selected,
        cells: &cells,
    }
    .draw(frame, inner, theme);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::demo;

    #[test]
    fn every_column_is_explained() {
        assert_eq!(
            FUNCTIONS.map(|c| c.title),
            FUNCTION_MEANINGS.map(|(title, _)| title)
        );
        assert_eq!(
            STACKS.map(|c| c.title),
            STACKS_MEANINGS.map(|(title, _)| title)
        );
    }

    #[test]
    fn functions_have_time_of_their_own_and_of_what_they_call() {
        let snapshot = demo::healthy();
        let rows: Vec<&CpuStackView> = snapshot.cpu.by_stack.iter().collect();
        let functions = Function::of(&rows, snapshot.cpu.samples);
        let of = |name: &str| functions.iter().find(|f| f.name == name).unwrap();
        let hash = of("sha512_block_data_order_avx2");
        assert_eq!((hash.own, hash.total, hash.kernel), (9_912, 9_912, 0));
        let derive = of("PKCS5_PBKDF2_HMAC");
        assert_eq!((derive.own, derive.total), (3_904, 3_904 + 9_912));
        let read = of("pread64");
        assert_eq!((read.own, read.kernel), (1_407, 1_407));
        assert!(functions.is_sorted_by(|a, b| a.own >= b.own));
    }

    #[test]
    fn what_may_be_used_is_the_lesser_of_affinity_and_quota() {
        let cpu = |allowed, quota_millicpus| CpuView {
            allowed,
            quota_millicpus,
            ..CpuView::default()
        };
        assert_eq!(usable(&cpu(Some(4), Some(1_500))), Some(1.5));
        assert_eq!(usable(&cpu(Some(1), Some(1_500))), Some(1.0));
        assert_eq!(usable(&cpu(Some(2), None)), Some(2.0));
        assert_eq!(usable(&cpu(None, None)), None);
    }
}
