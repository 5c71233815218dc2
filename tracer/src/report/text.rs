//! The report for people: whether it can be trusted, where the time goes, which calls and locks, how much memory.

/// Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr) => { { $out.push('\n'); } };
    ($out:expr, $($words:tt)*) => {{ let _ = writeln!($out, $($words)*); }};
}

mod callback;
mod cost;
mod cpu;
mod event_loop;
mod findings;
mod io;
mod locks;
mod memory;
mod node;
mod task_types;
mod tasks;

use std::{borrow::Cow, fmt::Write as _};

use tracer_common::{Nanos, State};

use super::not_measured;
use crate::{
    human,
    model::{LevelView, Life, ProcessView, Snapshot, StackView, SyscallView, ThreadView},
    record::ProbeStatus,
};

/// Rows per table of threads and calls; the rest is summed up in one line.
const ROWS: usize = 20;
/// Rows of the other tables.
const FEW: usize = 8;
/// Types of requests, and of handles.
const KINDS: usize = 8;
/// Columns a line of those tables takes at most.
const WIDTH: usize = 100;

/// The whole report, ending in a newline. No line depends on the width of a terminal.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    head(&mut out, snapshot);
    findings::findings(&mut out, snapshot);
    threads(&mut out, snapshot);
    event_loop::event_loops(&mut out, snapshot);
    tasks::tasks(&mut out, snapshot);
    callback::callbacks(&mut out, snapshot);
    node::node(&mut out, snapshot);
    syscalls(&mut out, snapshot);
    locks::locks(&mut out, snapshot);
    locks::long_waits(&mut out, snapshot);
    cpu::functions(&mut out, snapshot);
    cpu::javascript(&mut out, snapshot);
    io::descriptors(&mut out, snapshot);
    memory::memory(&mut out, snapshot);
    in_flight(&mut out, snapshot);
    cost::cost(&mut out, snapshot);
    missing(&mut out, snapshot);
    out
}

/// Begins a section that `probe` gives. False when there is nothing more to say: the probe was off or refused, which
/// is said, or is not known to those who recorded.
fn section(out: &mut String, snapshot: &Snapshot, title: &str, probe: &str) -> bool {
    let probes = &snapshot.quality.probes;
    let Some(probe) = probes.iter().find(|known| known.name == probe) else {
        return false;
    };
    line!(out);
    line!(out, "{title}");
    let counted = matches!(probe.status, ProbeStatus::Attached | ProbeStatus::Degraded);
    if !counted {
        let why = if probe.why.is_empty() {
            String::new()
        } else {
            format!(": {}", human::sanitise(&probe.why))
        };
        let said = format!(
            "not measured, the probe group `{}` is {}{why}",
            probe.group,
            probe.status.name()
        );
        line!(out, "  {}", human::cut(&said, WIDTH - 2));
    }
    counted
}

/// Says how many rows of a table are not shown.
fn more(out: &mut String, rows: u64) {
    if rows > 0 {
        line!(out, "  {} more (--json)", human::count(rows));
    }
}

/// `parts` one after the other, in lines of at most `width` characters; a part that is longer is cut.
fn packed<S: AsRef<str>>(parts: &[S], separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let room = width.saturating_sub(separator.trim_end().chars().count());
    for part in parts {
        let part = human::cut(part.as_ref(), room);
        let needed = separator.chars().count() + part.chars().count();
        match lines.last_mut() {
            Some(line) if line.chars().count() + needed <= room => {
                line.push_str(separator);
                line.push_str(&part);
            }
            Some(line) => {
                line.push_str(separator.trim_end());
                lines.push(part.into_owned());
            }
            None => lines.push(part.into_owned()),
        }
    }
    lines
}

/// What held a thread up: the function of JavaScript, if there is one, else as [`place`].
fn waits_in(stack: &StackView) -> Option<String> {
    let js = human::in_javascript(stack).map(|place| human::sanitise(&place).into_owned());
    js.or_else(|| place(stack))
}

/// A stack in one line, safe to print.
fn place(stack: &StackView) -> Option<String> {
    human::place(stack).map(|place| human::sanitise(&place).into_owned())
}

/// A thread's name, or its number when it has none.
fn thread_name(name: &str, tid: tracer_common::Tid) -> Cow<'_, str> {
    if name.is_empty() {
        format!("thread {}", tid.0).into()
    } else {
        human::sanitise(name)
    }
}

fn head(out: &mut String, snapshot: &Snapshot) {
    let session = &snapshot.session;
    let shown: Vec<String> = snapshot.processes.iter().take(4).map(process).collect();
    let more = (snapshot.processes.len() as u64 + snapshot.processes_folded)
        .saturating_sub(shown.len() as u64);
    line!(
        out,
        "{}{}",
        if shown.is_empty() {
            "no process".to_owned()
        } else {
            shown.join(", ")
        },
        if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        }
    );
    if let Some(command) = snapshot
        .processes
        .first()
        .map(|process| human::sanitise(&process.cmdline))
        && !command.is_empty()
    {
        line!(out, "  command   {command}");
    }
    line!(
        out,
        "  traced    {} with profile `{}` on Linux {} ({}, {} CPUs)",
        human::duration(snapshot.duration()),
        human::sanitise(&session.profile),
        human::sanitise(&session.kernel),
        human::sanitise(&session.arch),
        session.cpus
    );
    quality(out, snapshot);
}

fn process(process: &ProcessView) -> String {
    let name = human::sanitise(if process.comm.is_empty() {
        "?"
    } else {
        &process.comm
    });
    let end = process
        .exit
        .map(|status| format!(", ended: {}", human::exit_status(status)));
    format!("{name} (pid {}{})", process.pid.0, end.unwrap_or_default())
}

fn quality(out: &mut String, snapshot: &Snapshot) {
    let quality = &snapshot.quality;
    let lost = if quality.lost.is_empty() {
        "nothing lost".to_owned()
    } else {
        "LOST DATA, see COST".to_owned()
    };
    let with = |status| {
        let probes = quality.probes.iter();
        probes.filter(|probe| probe.status == status).count()
    };
    let degraded = match with(ProbeStatus::Degraded) {
        0 => String::new(),
        count => format!(", {count} degraded, see COST"),
    };
    line!(
        out,
        "  quality   {lost}; {} of {} probes attached{degraded}; {} events",
        with(ProbeStatus::Attached),
        quality.probes.len(),
        human::count(quality.events)
    );
    if quality.inconsistent > 0 {
        line!(
            out,
            "            {} records made no sense and were skipped",
            human::count(quality.inconsistent)
        );
    }
    // Those with one reason in one line.
    let mut absent: Vec<(ProbeStatus, &str, Vec<&str>)> = Vec::new();
    for probe in &quality.probes {
        if !matches!(probe.status, ProbeStatus::Refused | ProbeStatus::Off) {
            continue;
        }
        let same = absent
            .iter_mut()
            .find(|(status, why, _)| (*status, *why) == (probe.status, probe.why.as_str()));
        match same {
            Some((.., names)) => names.push(&probe.name),
            None => absent.push((probe.status, &probe.why, vec![&probe.name])),
        }
    }
    for (status, why, names) in absent {
        let (what, are) = match names.len() {
            1 => ("probe", "is"),
            _ => ("probes", "are"),
        };
        line!(
            out,
            "            {what} {} {are} {}: {}",
            names.join(", "),
            status.name(),
            human::sanitise(why)
        );
    }
}

/// A column of the thread table, and the states it adds up.
type Column = (&'static str, &'static [State]);

const COLUMNS: &[Column] = &[
    ("on-cpu", &[State::ON_CPU]),
    ("runq", &[State::RUNNABLE, State::PREEMPTED]),
    ("futex", &[State::FUTEX]),
    ("epoll", &[State::EPOLL]),
    ("disk", &[State::DISK]),
    ("net", &[State::NETWORK]),
    ("fault", &[State::PAGE_FAULT]),
    ("sleep", &[State::SLEEP]),
    ("quota", &[State::THROTTLED]),
    ("other", &[State::OTHER]),
    ("unknown", &[State::UNKNOWN]),
];

fn threads(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(
        out,
        "WHERE THE TIME GOES (each thread's wall time; epoll is idle, futex may be)"
    );
    if snapshot.threads.is_empty() {
        line!(out, "  no thread was seen");
        return;
    }
    let mut rows: Vec<&ThreadView> = snapshot.threads.iter().collect();
    let busy = |view: &ThreadView| view.times.of(State::ON_CPU).0;
    rows.sort_by(|a, b| {
        busy(b)
            .cmp(&busy(a))
            .then(a.tid.cmp(&b.tid))
            .then(a.name.cmp(&b.name))
    });
    let _ = write!(out, "  {:>8} {:<17} {:>9}", "tid", "thread", "wall");
    // Most machines know no quotas, and the line is long.
    let throttled = rows
        .iter()
        .any(|view| view.times.of(State::THROTTLED).0 > 0);
    let columns: Vec<Column> = COLUMNS
        .iter()
        .copied()
        .filter(|(title, _)| throttled || *title != "quota")
        .collect();
    for (title, _) in &columns {
        let _ = write!(out, " {title:>7}");
    }
    line!(out, " {:>9}", "switches");
    for view in rows.iter().take(ROWS) {
        thread(out, view, &columns, snapshot.duration());
    }
    if let Some(rest) = rows.get(ROWS..).filter(|rest| !rest.is_empty()) {
        let cpu = rest
            .iter()
            .fold(0, |sum: u64, view| sum.saturating_add(busy(view)));
        line!(
            out,
            "  {} more rows, together {} on a CPU (all of them: --json)",
            rest.len(),
            human::duration(Nanos(cpu))
        );
    }
}

fn thread(out: &mut String, view: &ThreadView, columns: &[Column], duration: Nanos) {
    let (tid, mark) = match view.life {
        Life::Alive => (view.tid.map_or(0, |tid| tid.0).to_string(), String::new()),
        Life::Ended => (
            view.tid.map_or(0, |tid| tid.0).to_string(),
            " ended".to_owned(),
        ),
        Life::Folded(count) => (format!("{}×", human::count(count)), " ended".to_owned()),
    };
    let _ = write!(
        out,
        "  {tid:>8} {:<17} {:>9}",
        human::sanitise(&view.name),
        human::duration(view.wall)
    );
    for (_, states) in columns {
        let time = states
            .iter()
            .fold(Nanos(0), |sum, &state| sum.plus(view.times.of(state)));
        let share = if time.0 == 0 {
            "·".to_owned()
        } else {
            human::percent(human::share(time, view.wall))
        };
        let _ = write!(out, " {share:>7}");
    }
    let switches = view.times.voluntary.saturating_add(view.times.involuntary);
    line!(
        out,
        " {:>9}{mark}",
        human::rate(switches, duration.min(view.wall))
    );
}

fn syscalls(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(
        out,
        "SYSTEM CALLS (by time spent in them, blocked or not, over all threads)"
    );
    if snapshot.syscalls.is_empty() {
        line!(out, "  none was counted");
        return;
    }
    line!(
        out,
        "  {:<18} {:>9} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
        "call",
        "calls",
        "rate",
        "errors",
        "time",
        "p50",
        "p99",
        "max"
    );
    for view in snapshot.syscalls.iter().take(ROWS) {
        syscall(out, view, snapshot.duration());
    }
    if let Some(rest) = snapshot
        .syscalls
        .get(ROWS..)
        .filter(|rest| !rest.is_empty())
    {
        let time = rest
            .iter()
            .fold(Nanos(0), |sum, view| sum.plus(view.inside));
        line!(
            out,
            "  {} more calls, together {} (all of them: --json)",
            rest.len(),
            human::duration(time)
        );
    }
}

fn syscall(out: &mut String, view: &SyscallView, duration: Nanos) {
    let time = |value| human::duration_of(view.time.count, value);
    line!(
        out,
        "  {:<18} {:>9} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
        human::sanitise(&view.name),
        human::count(view.count),
        human::rate(view.count, duration),
        human::count(view.errors),
        time(view.inside),
        time(view.time.p50),
        time(view.time.p99),
        time(view.time.max)
    );
}

fn in_flight(out: &mut String, snapshot: &Snapshot) {
    if snapshot.in_flight.is_empty() {
        return;
    }
    line!(out);
    line!(out, "IN FLIGHT (started and not finished)");
    let said = |level: &LevelView| {
        let (now, max) = (human::count(level.now), human::count(level.max));
        format!("{now} now, mean {:.1}, at most {max}", level.mean)
    };
    let whole = snapshot.in_flight.iter().filter(|one| one.kind.is_none());
    for level in whole {
        line!(out, "  {:<10} {}", level.what, said(level));
    }
    for what in [LevelView::REQUESTS, LevelView::HANDLES, LevelView::AWAITS] {
        let mut levels = snapshot.levels(what);
        levels.retain(|level| level.max > 0);
        for level in levels.iter().take(KINDS) {
            let kind = human::sanitise(level.kind.as_deref().unwrap_or_default());
            line!(out, "  {what:<10} {kind:<23} {}", said(level));
        }
        if let Some(more @ 1..) = levels.len().checked_sub(KINDS) {
            line!(out, "  {what:<10} of {more} more types: --json");
        }
    }
}

fn missing(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(out, "NOT MEASURED (reasons: --json, quality.not_measured)");
    let fields: Vec<&str> = not_measured(snapshot)
        .iter()
        .map(|missing| missing.field)
        .collect();
    for row in packed(&fields, ", ", WIDTH - 2) {
        line!(out, "  {row}");
    }
}

#[cfg(test)]
mod tests;
