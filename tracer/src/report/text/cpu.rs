//! CPU time by function, from samples of running threads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use tracer_common::Nanos;

use super::{WIDTH, section};
use crate::{
    human,
    model::{CpuStackView, Snapshot, StackView},
    record::FrameMeta,
};

/// Functions listed.
const FUNCTIONS: usize = 10;

/// Samples in a function itself, and in it or in what it called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Samples {
    own: u64,
    total: u64,
}

/// A function, whichever of its lines. Empty when there is no name in the whole stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Function<'a> {
    name: &'a str,
    file: &'a str,
}

pub(super) fn functions(out: &mut String, snapshot: &Snapshot) {
    let cpu = &snapshot.cpu;
    let title =
        "CPU (functions of the program by the samples in themselves; total with what they call)";
    if !section(out, snapshot, title, "cpu_sample") {
        return;
    }
    limits(out, snapshot);
    if cpu.samples == 0 {
        line!(out, "  no thread was found running");
        return;
    }
    let found = by_function(&cpu.by_stack);
    let mut rows: Vec<(Function<'_>, Samples)> = found.into_iter().collect();
    rows.sort_by(|a, b| {
        b.1.own
            .cmp(&a.1.own)
            .then(b.1.total.cmp(&a.1.total))
            .then(a.0.cmp(&b.0))
    });
    line!(out, "  {:>7} {:>7}  function", "self", "total");
    for (function, samples) in rows.iter().take(FUNCTIONS) {
        let name = if *function == Function::default() {
            "(no name: stripped, made at run time, or no stack)".to_owned()
        } else {
            human::function(&FrameMeta {
                function: function.name.to_owned(),
                file: function.file.to_owned(),
                line: 0,
            })
        };
        let share = |part: u64| human::percent(human::share(Nanos(part), Nanos(cpu.samples)));
        let row = format!(
            "  {:>7} {:>7}  {}",
            share(samples.own),
            share(samples.total),
            human::sanitise(&name)
        );
        line!(out, "{}", human::cut(&row, WIDTH));
    }
    let seen = cpu
        .by_stack
        .iter()
        .fold(0, |sum: u64, view| sum.saturating_add(view.samples));
    let rest = cpu.samples.saturating_sub(seen);
    line!(
        out,
        "  {} samples, one per {} of CPU time{}",
        human::count(cpu.samples),
        human::duration(cpu.period),
        if rest == 0 {
            String::new()
        } else {
            format!("; {} in rarer stacks are in no row", human::count(rest))
        }
    );
}

/// Functions of JavaScript listed.
const JAVASCRIPT: usize = 10;

/// Functions of JavaScript by the samples in themselves, where there are any.
pub(super) fn javascript(out: &mut String, snapshot: &Snapshot) {
    let cpu = &snapshot.cpu;
    if cpu.javascript.is_empty() {
        return;
    }
    line!(out);
    line!(
        out,
        "JAVASCRIPT (functions by samples in them, or in what is none; total with all they call)"
    );
    line!(
        out,
        "  {:>7} {:>7}  function, the line most were in",
        "self",
        "total"
    );
    for view in cpu.javascript.iter().take(JAVASCRIPT) {
        let share = |part: u64| human::percent(human::share(Nanos(part), Nanos(cpu.samples)));
        let row = format!(
            "  {:>7} {:>7}  {}",
            share(view.own),
            share(view.total),
            human::sanitise(&human::js_function(&view.function, &view.script, view.line))
        );
        line!(out, "{}", human::cut(&row, WIDTH));
    }
    super::more(out, cpu.javascript.len().saturating_sub(JAVASCRIPT) as u64);
}

/// What the targets may use at most.
fn limits(out: &mut String, snapshot: &Snapshot) {
    let cpu = &snapshot.cpu;
    let mut said: Vec<String> = Vec::new();
    if let Some(allowed) = cpu.allowed {
        said.push(format!(
            "may use {allowed} of {} CPUs",
            snapshot.session.cpus
        ));
    }
    if let Some(quota) = cpu.quota_millicpus {
        said.push(format!("quota {:.2} CPUs", f64::from(quota) / 1e3));
        if let Some(throttled) = cpu.throttled {
            said.push(format!("throttled {}", human::duration(throttled)));
        }
    }
    if cpu.io_uring {
        said.push("uses io_uring, whose operations are not seen".to_owned());
    }
    if !said.is_empty() {
        line!(out, "  {}", said.join(", "));
    }
}

fn by_function(stacks: &[CpuStackView]) -> BTreeMap<Function<'_>, Samples> {
    let mut found: BTreeMap<Function<'_>, Samples> = BTreeMap::new();
    for view in stacks {
        let all: Vec<Function<'_>> = named(&view.stack).collect();
        let own = all.first().copied().unwrap_or_default();
        let samples = found.entry(own).or_default();
        samples.own = samples.own.saturating_add(view.samples);
        // A function that calls itself was running once.
        let all: BTreeSet<Function<'_>> = all.into_iter().chain([own]).collect();
        for function in all {
            let samples = found.entry(function).or_default();
            samples.total = samples.total.saturating_add(view.samples);
        }
    }
    found
}

/// The functions of a stack that have a name, innermost first.
fn named(stack: &StackView) -> impl Iterator<Item = Function<'_>> {
    stack
        .iter()
        .flat_map(|symbol| &symbol.frames)
        .filter(|frame| !frame.function.is_empty())
        .map(|frame| Function {
            name: &frame.function,
            file: &frame.file,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::stack;

    #[test]
    fn a_function_is_counted_once_per_sample_however_often_it_is_in_the_stack() {
        let view = |frames: &[(&str, &str, u32)], samples| CpuStackView {
            stack: stack(frames),
            samples,
            ..CpuStackView::default()
        };
        let stacks = [
            view(
                &[
                    ("", "", 0),
                    ("walk", "a.rs", 1),
                    ("walk", "a.rs", 2),
                    ("main", "", 0),
                ],
                5,
            ),
            view(&[("main", "", 0)], 2),
            view(&[("walk", "b.rs", 1)], 1),
            view(&[("", "", 0)], 9),
        ];
        let got = by_function(&stacks);
        let said: Vec<_> = got
            .iter()
            .map(|(function, samples)| (function.name, function.file, samples.own, samples.total))
            .collect();
        assert_eq!(
            said,
            [
                ("", "", 9, 9),
                ("main", "", 2, 7),
                ("walk", "a.rs", 5, 5),
                ("walk", "b.rs", 1, 1)
            ]
        );
    }
}
