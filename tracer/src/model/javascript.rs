//! CPU samples by function of JavaScript.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    snapshot::{JsFunctionView, LISTED},
    stacks::Stacks,
};
use crate::record::FrameMeta;

/// By script and name.
type Function<'a> = (&'a str, &'a str);

#[derive(Default)]
struct Met {
    own: u64,
    total: u64,
    /// Samples by line: in itself, and in what it calls.
    lines: BTreeMap<u32, [u64; 2]>,
}

impl Stacks {
    /// Functions that running threads were met in, by the samples in themselves, most first.
    pub(super) fn js_functions(&self) -> Vec<JsFunctionView> {
        let mut functions: BTreeMap<(String, String), Met> = BTreeMap::new();
        for (stack, count) in self.user_stacks() {
            let view = self.view(stack);
            let symbols = view.iter().filter(|symbol| symbol.is_javascript());
            let frames: Vec<&FrameMeta> = symbols.flat_map(|symbol| &symbol.frames).collect();
            let mut seen: BTreeSet<Function<'_>> = BTreeSet::new();
            for (depth, frame) in frames.into_iter().enumerate() {
                // A function that calls itself was running once.
                if !seen.insert((&frame.file, &frame.function)) {
                    continue;
                }
                let key = (frame.file.clone(), frame.function.clone());
                let met = functions.entry(key).or_default();
                met.total = met.total.saturating_add(count);
                let [own, below] = met.lines.entry(frame.line).or_default();
                let of_line = if depth == 0 {
                    met.own = met.own.saturating_add(count);
                    own
                } else {
                    below
                };
                *of_line = of_line.saturating_add(count);
            }
        }
        let mut views: Vec<JsFunctionView> = functions
            .into_iter()
            .map(|((script, function), met)| JsFunctionView {
                line: line(&met),
                function,
                script,
                own: met.own,
                total: met.total,
            })
            .collect();
        views.sort_by(|a, b| {
            let by_size = (Reverse(a.own), Reverse(a.total));
            let by_size = by_size.cmp(&(Reverse(b.own), Reverse(b.total)));
            by_size.then_with(|| (&a.script, &a.function).cmp(&(&b.script, &b.function)))
        });
        views.truncate(LISTED);
        views
    }
}

fn line(met: &Met) -> u32 {
    let known = met.lines.iter().filter(|&(&line, _)| line > 0);
    let most = known.max_by_key(|&(&line, counts)| (counts, Reverse(line)));
    most.map_or(0, |(&line, _)| line)
}
