//! Futexes and long waits.

use std::{borrow::Cow, fmt::Write as _};

use tracer_common::table::LockKind;

use super::{FEW, WIDTH, more, packed, place, section, thread_name, waits_in};
use crate::{
    human,
    model::{LockView, PartyView, Snapshot, WaitView},
};

pub(super) fn locks(out: &mut String, snapshot: &Snapshot) {
    let title = "LOCKS (futexes, by the time threads waited; parked and idle threads wait too)";
    if !section(out, snapshot, title, "futex_waits") {
        return;
    }
    if snapshot.locks.is_empty() {
        line!(out, "  no thread waited");
        return;
    }
    line!(
        out,
        "  {:<18} {:>8} {:>9} {:>9} {:>9}  waiters <- wakers",
        "address",
        "waits",
        "time",
        "p99",
        "max"
    );
    for view in snapshot.locks.iter().take(FEW) {
        lock(out, view);
    }
    let listed = snapshot.locks.len().saturating_sub(FEW) as u64;
    more(out, snapshot.locks_unlisted.saturating_add(listed));
}

fn lock(out: &mut String, view: &LockView) {
    let time = |value| human::duration_of(view.wait.count, value);
    let row = format!(
        "  {:<18} {:>8} {:>9} {:>9} {:>9}  {} <- {}",
        format!("{:#x}", view.address),
        human::count(view.wait.count),
        time(view.wait.sum),
        time(view.wait.p99),
        time(view.wait.max),
        parties(&view.waiters),
        parties(&view.wakers)
    );
    line!(out, "{}", human::cut(&row, WIDTH));
    let mut said: Vec<String> = Vec::new();
    if let Some(place) = place(&view.stack) {
        said.push(format!("waits in {place}"));
    }
    if let Some(place) = place(&view.waker_stack) {
        said.push(format!("woken in {place}"));
    }
    if view.waiting_now > 0 {
        said.push(format!(
            "{} wait now",
            human::count(view.waiting_now.into())
        ));
    }
    if view.kind.has(LockKind::SHARED) {
        said.push("between processes".to_owned());
    }
    for row in packed(&said, ", ", WIDTH - 4) {
        line!(out, "    {row}");
    }
}

/// The first two names, each with how many threads have it, and how many more there are.
fn parties(parties: &[PartyView]) -> String {
    let mut names: Vec<(Cow<'_, str>, usize)> = Vec::new();
    for party in parties {
        let name = thread_name(&party.name, party.tid);
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, threads)) => *threads += 1,
            None => names.push((name, 1)),
        }
    }
    let (shown, rest) = names.split_at(names.len().min(2));
    if shown.is_empty() {
        return human::NONE.to_owned();
    }
    let shown: Vec<String> = shown
        .iter()
        .map(|(name, threads)| match threads {
            1 => name.to_string(),
            threads => format!("{name} ×{threads}"),
        })
        .collect();
    let shown = shown.join(", ");
    match rest.len() {
        0 => shown,
        rest => format!("{shown} +{rest}"),
    }
}

pub(super) fn long_waits(out: &mut String, snapshot: &Snapshot) {
    let title = "LONG WAITS (over the threshold, by state and place; idle threads wait long too)";
    if !section(out, snapshot, title, "sched_waking") {
        return;
    }
    if snapshot.long_waits.is_empty() {
        line!(out, "  there was none");
        return;
    }
    line!(
        out,
        "  {:<10} {:>7} {:>9} {:>9}  {:<16} where",
        "state",
        "waits",
        "time",
        "max",
        "thread, the last"
    );
    for view in snapshot.long_waits.iter().take(FEW) {
        long_wait(out, view);
    }
    more(out, snapshot.long_waits.len().saturating_sub(FEW) as u64);
}

fn long_wait(out: &mut String, view: &WaitView) {
    let row = format!(
        "  {:<10} {:>7} {:>9} {:>9}  {:<16} {}",
        human::state(view.state),
        human::count(view.count),
        human::duration(view.sum),
        human::duration(view.max),
        human::cut(&thread_name(&view.thread, view.tid), 16),
        waits_in(&view.stack).unwrap_or_else(|| human::NONE.to_owned())
    );
    line!(out, "{}", human::cut(&row, WIDTH));
    if let Some(place) = place(&view.waker_stack) {
        let row = format!("    woken in {place}");
        line!(out, "{}", human::cut(&row, WIDTH));
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::Tid;

    use super::*;

    #[test]
    fn threads_of_one_name_are_named_once() {
        let all = |names: &[&str]| {
            let parties: Vec<PartyView> = (1..)
                .zip(names)
                .map(|(tid, name)| PartyView {
                    tid: Tid(tid),
                    name: (*name).into(),
                    ..PartyView::default()
                })
                .collect();
            super::parties(&parties)
        };
        assert_eq!(all(&[]), human::NONE);
        assert_eq!(all(&["main"]), "main");
        assert_eq!(all(&["node", "main", "node", "node"]), "node ×3, main");
        assert_eq!(all(&["a", "", "b", "c", "c"]), "a, thread 2 +2");
    }
}
