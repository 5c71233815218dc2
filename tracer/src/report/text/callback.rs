//! Node's callbacks by kind, and promises.

use std::fmt::Write as _;

use super::{FEW, WIDTH, more, packed};
use crate::{
    human,
    model::{CallbackView, PromisesView, Snapshot},
};

/// Width of the kind of a callback.
const NAME: usize = 19;

/// Both, where they were watched.
pub(super) fn callbacks(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.callbacks;
    if view.watched.is_some() {
        of_node(out, snapshot);
    }
    if view.promises_watched.is_some() {
        promises(out, snapshot);
    }
}

fn of_node(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.callbacks;
    line!(out);
    line!(
        out,
        "CALLBACKS (by time in the function, and in ticks and microtasks afterwards; nested ones apart)"
    );
    watched(out, "callbacks were", view.watched);
    if view.kinds.is_empty() {
        line!(out, "  there was none");
        return;
    }
    line!(
        out,
        "  {:<NAME$} {:>6} {:>8} {:>5} {:>7} {:>7} {:>9}  function",
        "kind",
        "count",
        "rate",
        "share",
        "p50",
        "p99",
        "ticks p99"
    );
    for view in view.kinds.iter().take(FEW) {
        callback(out, view, snapshot);
    }
    more(out, view.kinds.len().saturating_sub(FEW) as u64);
    let long = view.long.iter().take(3).map(|long| {
        format!(
            "{} {} and {} of ticks (async id {}, caused by {})",
            long.kind,
            human::duration(long.busy),
            human::duration(long.ticks),
            long.async_id,
            long.trigger_async_id
        )
    });
    let long: Vec<String> = long.collect();
    if !long.is_empty() {
        line!(out, "  long, the last ones:");
        for row in packed(&long, "; ", WIDTH - 4) {
            line!(out, "    {}", human::sanitise(&row));
        }
    }
}

fn callback(out: &mut String, view: &CallbackView, snapshot: &Snapshot) {
    let length = snapshot.duration();
    let function = view.function.as_ref();
    let function = function.and_then(|symbol| human::place(std::slice::from_ref(symbol)));
    let function = function.unwrap_or_else(|| human::NONE.to_owned());
    let [p50, p99] = [view.busy.p50, view.busy.p99].map(human::duration);
    let row = format!(
        "  {:<NAME$} {:>6} {:>8} {:>5} {p50:>7} {p99:>7} {:>9}  {}",
        human::cut(&human::sanitise(&view.kind), NAME),
        human::count(view.busy.count),
        human::rate(view.busy.count, length),
        human::ratio(human::share(view.whole(), length)),
        human::duration(view.ticks.p99),
        human::sanitise(&function)
    );
    line!(out, "{}", human::cut(&row, WIDTH));
}

fn promises(out: &mut String, snapshot: &Snapshot) {
    let view = &snapshot.callbacks;
    line!(out);
    line!(out, "AWAITS AND PROMISES");
    watched(out, "they were", view.promises_watched);
    let runs = |of: &PromisesView| {
        let mut all = view.microtasks.iter();
        all.find(|(pid, _)| *pid == of.pid).map(|(_, runs)| *runs)
    };
    if view.promises.is_empty() {
        line!(out, "  there was none");
    }
    let length = snapshot.duration();
    let counted = |count: u64| format!("{} ({})", human::count(count), human::rate(count, length));
    for promises in view.promises.iter().take(FEW) {
        let mut parts = vec![
            format!("awaits begun {}", counted(promises.awaits)),
            format!("resumed {}", counted(promises.resumed)),
            format!("by an error {}", human::count(promises.thrown)),
            format!("promises fulfilled {}", human::count(promises.fulfilled)),
            format!("rejected {}", human::count(promises.rejected)),
            format!("waited for {} times", human::count(promises.thens)),
        ];
        if let Some(runs) = runs(promises) {
            parts.push(format!(
                "microtasks run {}, {} of the time",
                counted(runs.count),
                human::ratio(human::share(runs.sum, length))
            ));
        }
        let pid = promises.pid.0;
        for (index, row) in packed(&parts, ", ", WIDTH - 12).into_iter().enumerate() {
            match index {
                0 => line!(out, "  {pid:>8}  {row}"),
                _ => line!(out, "            {row}"),
            }
        }
    }
}

/// Says how much of the time was watched, where it was not all.
fn watched(out: &mut String, what: &str, share: Option<f64>) {
    if let Some(share) = share.filter(|&share| share < 0.999) {
        line!(
            out,
            "  {what} watched {} of the time: counts and sums are estimates",
            human::ratio(share)
        );
    }
}
