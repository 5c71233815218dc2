//! The report for people: whether it can be trusted, where the time goes, which calls, how much memory.

use std::fmt::Write as _;

use tracer_common::{Nanos, State};

use super::not_measured;
use crate::{
    human,
    model::{Life, ProcessView, Snapshot, SyscallView, ThreadView},
    record::ProbeStatus,
};

/// Rows per table; the rest is summed up in one line.
const ROWS: usize = 20;

/// The whole report, ending in a newline. No line depends on the width of a terminal.
#[must_use]
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    head(&mut out, snapshot);
    threads(&mut out, snapshot);
    syscalls(&mut out, snapshot);
    memory(&mut out, snapshot);
    missing(&mut out, snapshot);
    out
}

/// Writing to a `String` cannot fail.
macro_rules! line {
    ($out:expr) => { { $out.push('\n'); } };
    ($out:expr, $($words:tt)*) => {{ let _ = writeln!($out, $($words)*); }};
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
        "LOST DATA, see below".to_owned()
    };
    let attached = quality
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Attached)
        .count();
    line!(
        out,
        "  quality   {lost}; {attached} of {} probes attached; {} events",
        quality.probes.len(),
        human::count(quality.events)
    );
    for (reason, count) in &quality.lost {
        line!(
            out,
            "            lost {} of {}",
            human::count(*count),
            reason.name()
        );
    }
    if quality.inconsistent > 0 {
        line!(
            out,
            "            {} records made no sense and were skipped",
            human::count(quality.inconsistent)
        );
    }
    for probe in quality
        .probes
        .iter()
        .filter(|probe| probe.status != ProbeStatus::Attached)
    {
        line!(
            out,
            "            probe {} is {}: {}",
            probe.name,
            probe.status.name(),
            human::sanitise(&probe.why)
        );
    }
    let cpu = human::ratio(human::share(quality.agent_cpu, snapshot.duration()));
    let rss = quality
        .agent_rss_bytes
        .map_or_else(|| human::NONE.to_owned(), human::bytes);
    line!(
        out,
        "  own cost  {cpu} of one CPU, {rss} memory (tracer itself; the probes' cost is not in it)"
    );
}

/// The columns of the thread table, and the states each adds up.
const COLUMNS: &[(&str, &[State])] = &[
    ("on-cpu", &[State::ON_CPU]),
    ("runq", &[State::RUNNABLE, State::PREEMPTED]),
    ("futex", &[State::FUTEX]),
    ("epoll", &[State::EPOLL]),
    ("disk", &[State::DISK]),
    ("net", &[State::NETWORK]),
    ("fault", &[State::PAGE_FAULT]),
    ("sleep", &[State::SLEEP]),
    ("other", &[State::OTHER, State::THROTTLED]),
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
    for (title, _) in COLUMNS {
        let _ = write!(out, " {title:>7}");
    }
    line!(out, " {:>9}", "switches");
    for view in rows.iter().take(ROWS) {
        thread(out, view, snapshot.duration());
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

fn thread(out: &mut String, view: &ThreadView, duration: Nanos) {
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
    for (_, states) in COLUMNS {
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
            .fold(Nanos(0), |sum, view| sum.plus(view.time.sum));
        line!(
            out,
            "  {} more calls, together {} (all of them: --json)",
            rest.len(),
            human::duration(time)
        );
    }
}

fn syscall(out: &mut String, view: &SyscallView, duration: Nanos) {
    let time = |value| {
        if view.time.count == 0 {
            human::NONE.to_owned()
        } else {
            human::duration(value)
        }
    };
    line!(
        out,
        "  {:<18} {:>9} {:>10} {:>8} {:>9} {:>9} {:>9} {:>9}",
        human::sanitise(&view.name),
        human::count(view.count),
        human::rate(view.count, duration),
        human::count(view.errors),
        time(view.time.sum),
        time(view.time.p50),
        time(view.time.p99),
        time(view.time.max)
    );
}

fn memory(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(out, "MEMORY");
    let memory = &snapshot.memory;
    let rss = memory
        .rss_bytes
        .map_or_else(|| human::NONE.to_owned(), human::bytes);
    let faults = |count: Option<u64>| {
        count.map_or_else(
            || human::NONE.to_owned(),
            |count| {
                format!(
                    "{} ({})",
                    human::count(count),
                    human::rate(count, snapshot.duration())
                )
            },
        )
    };
    line!(out, "  resident  {rss}");
    line!(
        out,
        "  faults    {} minor, {} major",
        faults(memory.minor_faults),
        faults(memory.major_faults)
    );
}

fn missing(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    let fields: Vec<&str> = not_measured(snapshot)
        .iter()
        .map(|missing| missing.field)
        .collect();
    line!(out, "NOT MEASURED (reasons: --json, quality.not_measured)");
    for row in fields.chunks(6) {
        line!(out, "  {}", row.join(", "));
    }
}
