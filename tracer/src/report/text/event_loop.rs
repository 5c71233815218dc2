//! Event loops: how busy each is, how long its iterations take, the long ones and where they were.

use std::{cmp::Reverse, fmt::Write as _};

use tracer_common::Nanos;

use super::{FEW, WIDTH, more, packed, thread_name, waits_in};
use crate::{
    human,
    model::{LongIterationView, LoopView, Snapshot, StackView},
};

/// An iteration that goes on for this long is worth a line.
const LONG: Nanos = Nanos(10_000_000);

/// All of it; nothing when no process has event loops.
pub(super) fn event_loops(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.loops;
    if !view.recognised && view.loops.is_empty() {
        return;
    }
    line!(out);
    line!(
        out,
        "LOOP (delay: an iteration, from one wait for events to the next; used: share of the time)"
    );
    if view.loops.is_empty() {
        line!(out, "  no thread has waited for events");
        return;
    }
    if !view.counted {
        let why = human::not_watched(&snapshot.quality.probes, "event_loops", "iterations");
        let said = format!("{why}; used is by the thread's states");
        line!(out, "  {}", human::cut(&said, WIDTH - 2));
    }
    line!(
        out,
        "  {:>8} {:<17} {:>6} {:>10} {:>9} {:>9} {:>8} {:>8} {:>8} {:>6}",
        "tid",
        "thread",
        "used",
        "iterations",
        "rate",
        "events",
        "p50",
        "p99",
        "max",
        "long"
    );
    for of_thread in view.loops.iter().take(FEW) {
        event_loop(out, of_thread, snapshot);
    }
    let rest = view.loops.len().saturating_sub(FEW) as u64;
    more(out, rest.saturating_add(view.unlisted));
    if view.counted {
        long_iterations(out, snapshot);
    }
}

fn event_loop(out: &mut String, view: &LoopView, snapshot: &Snapshot) {
    let none = || human::NONE.to_owned();
    let counts = view.counts.as_ref();
    let count = |of: Option<u64>| of.map_or_else(none, human::count);
    let time = |of: Option<Nanos>| {
        let ended = counts.map_or(0, |counts| counts.delay.count);
        of.map_or_else(none, |of| human::duration_of(ended, of))
    };
    let name = thread_name(&view.name, view.tid);
    let name = match (view.is_main(), view.name.as_str()) {
        (true, "") => "main".to_owned(),
        (true, _) => format!("main {name}"),
        (false, _) => name.into_owned(),
    };
    line!(
        out,
        "  {:>8} {:<17} {:>6} {:>10} {:>9} {:>9} {:>8} {:>8} {:>8} {:>6}{}",
        view.tid.0,
        human::cut(&name, 17),
        view.utilization().map_or_else(none, human::percent),
        count(counts.map(|counts| counts.iterations)),
        counts.map_or_else(none, |counts| {
            let span = view.active.plus(view.idle);
            human::rate(counts.iterations, span.min(snapshot.duration()))
        }),
        count(counts.map(|counts| counts.events)),
        time(counts.map(|counts| counts.delay.p50)),
        time(counts.map(|counts| counts.delay.p99)),
        time(counts.map(|counts| counts.delay.max)),
        count(counts.map(|counts| counts.long)),
        if view.ended { " ended" } else { "" }
    );
}

fn long_iterations(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.loops;
    line!(out);
    line!(
        out,
        "LONG ITERATIONS (of the last ones the longest; the loop could do nothing else meanwhile)"
    );
    let going_on: Vec<&LoopView> = view
        .loops
        .iter()
        .filter(|view| view.going_on >= LONG)
        .collect();
    let mut rows: Vec<&LongIterationView> = view.long.iter().collect();
    if rows.is_empty() && going_on.is_empty() {
        line!(out, "  there was none over the threshold");
        return;
    }
    rows.sort_by_key(|view| Reverse(view.busy));
    line!(out, "  {:>8} {:>9}  {:<16} where", "busy", "at", "thread");
    for view in going_on.iter().take(FEW) {
        let row = format!(
            "  {:>8} {:>9}  {:<16} {}",
            human::duration(view.going_on),
            "goes on",
            human::cut(&thread_name(&view.name, view.tid), 16),
            where_it_was(&view.stack)
        );
        line!(out, "{}", human::cut(&row, WIDTH));
    }
    for view in rows.iter().take(FEW) {
        long_iteration(out, snapshot, view);
    }
    more(out, rows.len().saturating_sub(FEW) as u64);
}

fn long_iteration(out: &mut String, snapshot: &Snapshot, view: &LongIterationView) {
    let at = view.since.since(snapshot.session.started);
    let split = human::poll_split(view.busy, &view.off);
    let row = format!(
        "  {:>8} {:>9}  {:<16} {}",
        human::duration(view.busy),
        human::duration(at.unwrap_or_default()),
        human::cut(&thread_name(&view.name, view.tid), 16),
        where_it_was(&view.stack)
    );
    line!(out, "{}", human::cut(&row, WIDTH));
    for row in packed(&split.split(", ").collect::<Vec<_>>(), ", ", WIDTH - 4) {
        line!(out, "    {row}");
    }
}

fn where_it_was(stack: &StackView) -> String {
    waits_in(stack).map_or_else(
        || "not known: no sample and no long wait fell into it".to_owned(),
        |place| format!("in {place}"),
    )
}
