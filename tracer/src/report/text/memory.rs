//! Memory: how much, how fast it grows, what it costs and where it was asked for.

use std::fmt::Write as _;

use super::{WIDTH, more, packed, place};
use crate::{
    human,
    model::{MemoryStackView, MemoryView, Snapshot},
};

/// Stacks listed.
const STACKS: usize = 5;

pub(super) fn memory(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(out, "MEMORY");
    let memory = &snapshot.memory;
    let size = |bytes: Option<u64>| bytes.map_or_else(|| human::NONE.to_owned(), human::bytes);
    let slope = memory.rss_slope.map(slope).unwrap_or_default();
    line!(out, "  resident  {}{slope}", size(memory.rss_bytes));
    if memory.pss_bytes.is_some() || memory.swap_bytes.is_some() {
        line!(
            out,
            "  pss       {}, swapped out {}",
            size(memory.pss_bytes),
            size(memory.swap_bytes)
        );
    }
    faults(out, snapshot);
    if let Some(calls) = &memory.calls {
        let said: Vec<String> = calls
            .iter()
            .filter(|call| call.calls > 0)
            .map(|call| {
                format!(
                    "{} {} ({})",
                    human::memory_call(call.what),
                    human::bytes(call.bytes),
                    human::count(call.calls)
                )
            })
            .collect();
        if said.is_empty() {
            line!(out, "  calls     none");
        }
        for (row, said) in packed(&said, "; ", WIDTH - 12).into_iter().enumerate() {
            let title = if row == 0 { "calls" } else { "" };
            line!(out, "  {title:<9} {said}");
        }
        by_stack(out, memory);
    }
    pressure(out, memory);
}

fn slope(slope: f64) -> String {
    let size = human::bytes(slope.abs() as u64);
    // Less than a page in ten seconds is nothing that grows.
    if slope.abs() < 410.0 {
        ", steady".to_owned()
    } else if slope > 0.0 {
        format!(", grows by {size}/s")
    } else {
        format!(", shrinks by {size}/s")
    }
}

fn faults(out: &mut String, snapshot: &Snapshot) {
    let memory = &snapshot.memory;
    let count = |count: Option<u64>| {
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
    let cpu = memory
        .fault_cpu
        .map(|time| format!(", {} on a CPU", human::duration(time)))
        .unwrap_or_default();
    line!(
        out,
        "  faults    {} minor, {} major; {} blocked{cpu}",
        count(memory.minor_faults),
        count(memory.major_faults),
        human::duration(memory.fault_time)
    );
}

fn by_stack(out: &mut String, memory: &MemoryView) {
    if memory.by_stack.is_empty() {
        return;
    }
    line!(
        out,
        "  {:>9} {:>12} {:>7}  where (extrapolated from samples)",
        "asked for",
        "still mapped",
        "samples"
    );
    for view in memory.by_stack.iter().take(STACKS) {
        stack(out, view);
    }
    more(out, memory.by_stack.len().saturating_sub(STACKS) as u64);
}

fn stack(out: &mut String, view: &MemoryStackView) {
    let row = format!(
        "  {:>9} {:>12} {:>7}  {}",
        human::bytes(view.bytes),
        human::bytes(view.still_mapped_bytes),
        human::count(view.samples),
        place(&view.stack).unwrap_or_else(|| human::NONE.to_owned())
    );
    line!(out, "{}", human::cut(&row, WIDTH));
}

/// Only where the kernel tells.
fn pressure(out: &mut String, memory: &MemoryView) {
    let share = |ratio: Option<f64>| ratio.map_or_else(|| human::NONE.to_owned(), human::ratio);
    let mut said = Vec::new();
    if memory.pressure_some.is_some() || memory.pressure_full.is_some() {
        said.push(format!(
            "machine: some task waited {} of the time, all {}",
            share(memory.pressure_some),
            share(memory.pressure_full)
        ));
    }
    if let Some((some, full)) = memory.cgroup_pressure {
        said.push(format!(
            "cgroup: {}, {}",
            human::ratio(some),
            human::ratio(full)
        ));
    }
    if !said.is_empty() {
        line!(out, "  pressure  {}", said.join("; "));
    }
}
