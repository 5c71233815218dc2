//! Descriptors: what went through them, and what waiting for events gave.

use std::fmt::Write as _;

use super::{FEW, WIDTH, more, section};
use crate::{
    human,
    model::{FileView, PollView, Snapshot},
};

/// Columns for what a descriptor is.
const NAME: usize = 38;

pub(super) fn descriptors(out: &mut String, snapshot: &Snapshot) {
    let title = "I/O (descriptors by the bytes that went through them; time inside the calls)";
    if !section(out, snapshot, title, "file_calls") {
        return;
    }
    // A number is one only within its process.
    let several = snapshot.processes.len() > 1;
    if snapshot.files.is_empty() {
        line!(out, "  nothing was read or written");
    } else {
        line!(
            out,
            "  {:<NAME$} {:>7} {:>9} {:>7} {:>9} {:>6} {:>6} {:>8}",
            "descriptor",
            "reads",
            "bytes",
            "writes",
            "bytes",
            "errors",
            "again",
            "time"
        );
        for view in snapshot.files.iter().take(FEW) {
            descriptor(out, view, several);
        }
        let listed = snapshot.files.len().saturating_sub(FEW) as u64;
        more(out, snapshot.files_unlisted.saturating_add(listed));
    }
    for view in snapshot.polls.iter().take(FEW) {
        epoll(out, view, several);
    }
}

fn number(pid: tracer_common::Pid, fd: u32, several: bool) -> String {
    if several {
        format!("{}:{fd}", pid.0)
    } else {
        fd.to_string()
    }
}

fn descriptor(out: &mut String, view: &FileView, several: bool) {
    let mut name = number(view.pid, view.fd, several);
    if view.kind.is_empty() {
        name.push_str(" (closed before it was looked at)");
    }
    for part in [&view.kind, &view.name] {
        if !part.is_empty() {
            name.push(' ');
            name.push_str(&human::sanitise(part));
        }
    }
    let row = format!(
        "  {:<NAME$} {:>7} {:>9} {:>7} {:>9} {:>6} {:>6} {:>8}",
        human::cut(&name, NAME),
        human::count(view.reads),
        human::bytes(view.read_bytes),
        human::count(view.writes),
        human::bytes(view.write_bytes),
        human::count(view.errors),
        human::count(view.again),
        human::duration(view.time)
    );
    line!(out, "{}", human::cut(&row, WIDTH));
}

fn epoll(out: &mut String, view: &PollView, several: bool) {
    let mean = view.events as f64 / view.waits as f64;
    let events = if mean.is_finite() {
        format!(
            ", {mean:.2} events each, {} at most",
            human::count(view.events_max)
        )
    } else {
        String::new()
    };
    let latency = if view.latency.count == 0 {
        String::new()
    } else {
        format!(
            "; woken to back {}, p99 {}",
            human::duration(view.latency.p50),
            human::duration(view.latency.p99)
        )
    };
    let row = format!(
        "  epoll {}: {} waits ({} empty){events}{latency}",
        number(view.pid, view.fd, several),
        human::count(view.waits),
        human::count(view.empty)
    );
    line!(out, "{}", human::cut(&row, WIDTH));
}
