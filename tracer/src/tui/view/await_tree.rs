//! Where the idle tasks of a type wait: their await trees, those that look the same once.

use crate::{
    human::{self, sanitise},
    model::TaskTypeView,
    record::WaitGroup,
};
use tracer_common::Nanos;

/// What the section is called, and when memory was read.
pub(super) fn heading(view: &TaskTypeView, now: Nanos) -> String {
    let at = view.waits.as_ref().map_or(Nanos(0), |waits| waits.at);
    let age = now.since(at).unwrap_or_default();
    let since = match age.0 {
        0..2_000_000_000 => String::new(),
        _ => format!("; unchanged for {}", human::duration(age)),
    };
    format!("Where its tasks wait (read from memory{since})")
}

/// The trees in lines of this width; none when nothing waits.
pub(super) fn rows(view: &TaskTypeView, width: u16) -> Vec<String> {
    let Some(waits) = &view.waits else {
        return Vec::new();
    };
    if waits.groups.is_empty() && !waits.why.is_empty() {
        return wrapped(&sanitise(&waits.why), width);
    }
    let groups = waits.groups.iter();
    let mut rows: Vec<String> = groups.flat_map(|group| tree(group, width)).collect();
    let told = waits
        .groups
        .iter()
        .fold(0u64, |sum, group| sum.saturating_add(group.tasks));
    let alive = view
        .alive
        .map_or(0, |alive| alive.idle.saturating_add(alive.queued));
    if let more @ 1.. = alive.saturating_sub(told.max(waits.tasks)) {
        rows.push(format!("{} more were not looked at", human::count(more)));
    }
    if let more @ 1.. = waits.tasks.saturating_sub(told) {
        rows.push(format!(
            "{} more that went on meanwhile, or wait in other ways",
            human::count(more)
        ));
    }
    rows
}

fn tree(group: &WaitGroup, width: u16) -> Vec<String> {
    let ids: Vec<String> = group.ids.iter().map(ToString::to_string).collect();
    let more = if group.tasks > ids.len() as u64 {
        ", …"
    } else {
        ""
    };
    let head = match (group.tasks, ids.len()) {
        (1, 1) => format!("task {}", ids.join("")),
        (count, 0) => format!("{} ×", human::count(count)),
        (count, _) => format!("{} ×  task {}{more}", human::count(count), ids.join(", ")),
    };
    let lines = group.lines.iter().flat_map(|line| {
        let line = format!("  {}", sanitise(line));
        wrapped(&line, width)
    });
    std::iter::once(head).chain(lines).collect()
}

/// A line with its indentation; what does not fit stands below it.
fn wrapped(line: &str, width: u16) -> Vec<String> {
    let text = line.trim_start();
    let indent = line.len() - text.len();
    // However deep a tree is, some words fit beside each other.
    let indent = indent.min(usize::from(width) / 2);
    let room = usize::from(width).saturating_sub(indent + 4).max(1);
    let parts = human::wrapped(text, room).into_iter().enumerate();
    parts
        .map(|(place, part)| {
            let indent = if place == 0 { indent } else { indent + 4 };
            format!("{:indent$}{part}", "")
        })
        .collect()
}
