//! Node: garbage collections, heaps and libuv's thread pool.

use std::fmt::Write as _;

use super::{FEW, more, thread_name};
use crate::{
    human,
    model::{CollectionView, Distribution, HeapView, Snapshot, WorkView},
    record::ProbeStatus,
};

/// Width of a name in the first column.
const NAME: usize = 26;

/// Both, where there is Node.
pub(super) fn node(out: &mut String, snapshot: &Snapshot) {
    let is_there = |probe: &str| {
        let probes = snapshot.quality.probes.iter();
        let mut probes = probes.filter(|known| known.name == probe);
        probes.any(|known| matches!(known.status, ProbeStatus::Attached | ProbeStatus::Degraded))
    };
    if is_there("collection_return") {
        collections(out, snapshot);
    }
    heaps(out, snapshot);
    if is_there("work_return") {
        works(out, snapshot);
    }
}

fn collections(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(
        out,
        "GARBAGE COLLECTIONS (the thread stands still; share: of the time)"
    );
    let views = &snapshot.node.collections;
    if views.is_empty() {
        line!(out, "  there was none");
        return;
    }
    line!(
        out,
        "  {:<NAME$} {:>7} {:>9} {:>9} {:>6} {:>9} {:>9} {:>9}",
        "kind, thread",
        "count",
        "rate",
        "time",
        "share",
        "p50",
        "p99",
        "max"
    );
    for view in views.iter().take(FEW) {
        collection(out, view, snapshot);
    }
    more(out, views.len().saturating_sub(FEW) as u64);
}

fn collection(out: &mut String, view: &CollectionView, snapshot: &Snapshot) {
    let length = snapshot.duration();
    let name = format!("{}, {}", view.kind, thread_name(&view.thread, view.tid));
    line!(
        out,
        "  {:<NAME$} {:>7} {:>9} {:>9} {:>6} {}",
        human::cut(&name, NAME),
        human::count(view.pause.count),
        human::rate(view.pause.count, length),
        human::duration(view.pause.sum),
        human::ratio(human::share(view.pause.sum, length)),
        quantiles(&view.pause)
    );
}

/// Levels after full collections that are told.
const LEVELS: usize = 8;

fn heaps(out: &mut String, snapshot: &Snapshot) {
    let heaps = &snapshot.node.heaps;
    if heaps.is_empty() {
        return;
    }
    line!(out);
    line!(out, "HEAPS OF V8 (at the last tick)");
    for view in heaps.iter().take(FEW) {
        heap(out, view);
    }
    more(out, heaps.len().saturating_sub(FEW) as u64);
}

fn heap(out: &mut String, view: &HeapView) {
    let thread = view.tid.map_or_else(
        || format!("a worker of {}", view.pid.0),
        |tid| format!("thread {}", tid.0),
    );
    let sizes = human::heap(
        view.used_bytes,
        view.committed_bytes,
        view.limit_bytes,
        view.external_bytes,
    );
    let ended = if view.has_ended { " (ended)" } else { "" };
    line!(out, "  {thread}{ended}: {sizes}");
    let spaces = view.spaces.iter().filter(|space| space.used_bytes > 0);
    let spaces: Vec<String> = spaces
        .map(|space| {
            let name = human::sanitise(&space.name);
            let name = name.strip_suffix("_space").unwrap_or(&name);
            format!(
                "{} {}",
                name.replace('_', " "),
                human::bytes(space.used_bytes)
            )
        })
        .collect();
    for row in super::packed(&spaces, ", ", super::WIDTH - 4) {
        line!(out, "    {row}");
    }
    let told = view.after_full.len().saturating_sub(LEVELS);
    let levels = &view.after_full[told..];
    if !levels.is_empty() {
        let levels: Vec<String> = levels
            .iter()
            .map(|level| human::bytes(level.used_bytes))
            .collect();
        line!(
            out,
            "    old objects after each mark-compact: {}",
            levels.join(", ")
        );
    }
}

fn works(out: &mut String, snapshot: &Snapshot) {
    line!(out);
    line!(
        out,
        "THREAD POOL (libuv's; waited: from being handed in to its beginning)"
    );
    let node = &snapshot.node;
    if let Some(share) = node.watched.filter(|&share| share < 0.999) {
        line!(
            out,
            "  work was watched {} of the time: counts and sums are estimates",
            human::ratio(share)
        );
    }
    for pool in &node.pools {
        line!(
            out,
            "  {}: {} threads; {} handed in; now {} wait and {} are worked on",
            pool.pid.0,
            pool.threads,
            human::count(pool.submitted),
            human::count(pool.queued_now),
            human::count(pool.running_now)
        );
    }
    if node.works.is_empty() {
        line!(out, "  nothing was handed in");
        return;
    }
    line!(
        out,
        "  {:<NAME$} {:>7} {:>9} {:>9} {:>9} {:>9} {:>10} {:>10}",
        "kind",
        "count",
        "rate",
        "time",
        "p50",
        "p99",
        "waited p50",
        "waited p99"
    );
    for view in node.works.iter().take(FEW) {
        work(out, view, snapshot);
    }
    more(out, node.works.len().saturating_sub(FEW) as u64);
}

fn work(out: &mut String, view: &WorkView, snapshot: &Snapshot) {
    let [p50, p99] = [view.run.p50, view.run.p99].map(human::duration);
    let waited = |of: fn(&Distribution) -> tracer_common::Nanos| match view.queued.count {
        0 => human::NONE.to_owned(),
        _ => human::duration(of(&view.queued)),
    };
    line!(
        out,
        "  {:<NAME$} {:>7} {:>9} {:>9} {p50:>9} {p99:>9} {:>10} {:>10}",
        human::cut(&view.kind, NAME),
        human::count(view.run.count),
        human::rate(view.run.count, snapshot.duration()),
        human::duration(view.run.sum),
        waited(|of| of.p50),
        waited(|of| of.p99)
    );
}

fn quantiles(of: &Distribution) -> String {
    let [p50, p99, max] = [of.p50, of.p99, of.max].map(human::duration);
    format!("{p50:>9} {p99:>9} {max:>9}")
}
