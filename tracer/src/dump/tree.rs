//! Await trees as indented lines; those of one type that look the same are shown once.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use super::{
    Detail, Forest, Task, TaskTree, TreeOf,
    words::{self, Alike, Words, alike, grouped, guard_name},
};
use crate::{
    human,
    runtime::tokio::tree::{Guard, Kind, Node, Resource},
};

/// Futures in a row from which on they are folded.
const FEWEST_FOLDED: usize = 3;
/// Different things that tasks of one tree wait for that are named.
const MOST_NAMED: usize = 3;

/// Tasks whose trees look the same.
pub(crate) struct Same<'a> {
    pub(crate) tasks: Vec<(&'a Task, &'a TreeOf)>,
}

/// Puts together the tasks whose trees look the same, most first.
pub(crate) fn same<'a>(tasks: &[&'a Task]) -> Vec<Same<'a>> {
    type Key = (usize, Vec<(usize, Alike)>, Vec<(usize, Guard)>);
    let mut places: HashMap<Key, usize> = HashMap::new();
    let mut groups: Vec<Same> = Vec::new();
    for task in tasks {
        let TaskTree::Read(tree) = &task.tree else {
            continue;
        };
        let waits = tree.waits.iter();
        let holds = tree.holds.iter();
        let key = (
            tree.shape,
            waits.map(|(node, of)| (*node, alike(of))).collect(),
            holds.map(|(node, of)| (*node, of.guard)).collect(),
        );
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Same { tasks: Vec::new() });
        }
        groups[place].tasks.push((task, tree));
    }
    groups.sort_by_key(|group| Reverse(group.tasks.len()));
    groups
}

/// Where on the page a node is written.
#[derive(Clone, Copy)]
struct At {
    indent: usize,
    /// The one above is a function of tokio.
    is_inside: bool,
}

/// Writes trees.
pub(crate) struct Writer<'a> {
    pub(crate) words: &'a Words<'a>,
    pub(crate) forest: &'a Forest,
    pub(crate) detail: Detail,
}

impl Writer<'_> {
    /// The tree that all of `same` have.
    pub(crate) fn tree(&self, out: &mut String, same: &Same, indent: usize) {
        let shape = same.tasks.first().map(|(_, tree)| tree.shape);
        let root = shape.and_then(|shape| self.forest.shapes.get(shape));
        if let Some(root) = root {
            let at = At {
                indent,
                is_inside: false,
            };
            self.node(out, root, same, at, &mut 0);
        }
    }

    fn is_brief(&self) -> bool {
        !(self.detail.verbose || self.detail.raw)
    }

    fn node(&self, out: &mut String, node: &Node, same: &Same, mut at: At, number: &mut usize) {
        let row = row(node);
        if row >= FEWEST_FOLDED && self.is_brief() {
            let last = self.descend(node, row - 1, number);
            let between = match row - 2 {
                1 => "1 future".to_owned(),
                between => format!("{between} futures"),
            };
            let (first, name) = (self.name(node), self.name(last));
            put(out, at.indent, &format!("{first} … {between} … {name}"));
            *number += 1;
            at.indent += 2;
            return self.below(out, last, same, at, number);
        }
        let waits = self.waits(same, *number);
        let line = self.line(node, same, *number);
        let is_coroutine = matches!(node.kind, Kind::Function | Kind::Block);
        let is_tokio = node.function.starts_with("tokio::");
        // What tokio waits with, and how it is made inside, says less than what it waits for.
        let says_nothing = if is_coroutine {
            at.is_inside && is_tokio && is_plain(node) && self.holds(same, *number).is_none()
        } else {
            node.kind == Kind::Future && waits.is_some()
        };
        at.is_inside = is_coroutine && is_tokio;
        let mut node = node;
        if !says_nothing || !self.is_brief() {
            let times = self.times(node, &line, same, *number);
            node = self.descend(node, times - 1, number);
            match times {
                1 => put(out, at.indent, &line),
                times => put(
                    out,
                    at.indent,
                    &format!("{line}, × {} in each other", grouped(times as u64)),
                ),
            }
            at.indent += 2;
        }
        *number += 1;
        if let Some(waits) = waits {
            put(out, at.indent, &format!("waits for {waits}"));
        }
        self.below(out, node, same, at, number);
    }

    /// So many nodes from `node` on, each the only one below the one before, have the same line.
    fn times(&self, node: &Node, line: &str, same: &Same, number: usize) -> usize {
        let mut times = 1;
        let mut next = node;
        while let [child] = &next.children[..]
            && is_plain(next)
            && self.is_brief()
            && self.line(child, same, number + times) == line
        {
            times += 1;
            next = child;
        }
        times
    }

    /// The node so many levels below.
    fn descend<'n>(&self, mut node: &'n Node, levels: usize, number: &mut usize) -> &'n Node {
        for _ in 0..levels {
            node = node.children.first().unwrap_or(node);
            *number += 1;
        }
        node
    }

    /// What is below `node`; neighbours that look the same once.
    fn below(&self, out: &mut String, node: &Node, same: &Same, at: At, number: &mut usize) {
        if node.ended > 0 {
            let ended = grouped(node.ended.into());
            put(
                out,
                at.indent,
                &format!("({ended} of its branches ended already)"),
            );
        }
        let mut texts: Vec<(String, u64)> = Vec::new();
        for child in &node.children {
            let mut text = String::new();
            self.node(&mut text, child, same, at, number);
            match texts.last_mut() {
                Some((last, count)) if *last == text => *count += 1,
                Some(_) | None => texts.push((text, 1)),
            }
        }
        for (text, count) in texts {
            match text.split_once('\n') {
                Some((first, rest)) if count > 1 => {
                    let _ = write!(out, "{first}, × {}\n{rest}", grouped(count));
                }
                Some(_) | None => out.push_str(&text),
            }
        }
        if node.omitted > 0 {
            let omitted = grouped(node.omitted.into());
            put(out, at.indent, &format!("({omitted} more)"));
        }
    }

    fn name(&self, node: &Node) -> String {
        let name = if self.detail.raw {
            &node.raw_name
        } else {
            &node.function
        };
        human::sanitise(name).into_owned()
    }

    fn line(&self, node: &Node, same: &Same, number: usize) -> String {
        let mut line = self.name(node);
        if node.kind == Kind::Block && !self.detail.raw {
            line = format!("async block in {line}");
        }
        let source = words::source(node);
        if !source.is_empty() {
            let _ = write!(line, " ({source})");
        }
        let how = match node.kind {
            _ if node.is_new => ", not polled yet",
            Kind::All if node.children.len() > 1 => ", all of",
            Kind::Any if node.children.len() > 1 => ", one of",
            Kind::All | Kind::Any | Kind::Function | Kind::Block | Kind::Future => "",
        };
        line.push_str(how);
        if let Some(holds) = self.holds(same, number) {
            let _ = write!(line, ", holds {holds}");
        }
        line
    }

    /// What the tasks wait for at this node.
    fn waits(&self, same: &Same, number: usize) -> Option<String> {
        let of = |tree: &'_ TreeOf| {
            let mut waits = tree.waits.iter();
            waits
                .find(|(node, _)| *node == number)
                .map(|(_, of)| of.clone())
        };
        let first = of(same.tasks.first()?.1)?;
        let all = same.tasks.iter().filter_map(|(_, tree)| of(tree));
        if let Resource::Timer { .. } = first {
            return Some(self.timers(all));
        }
        Some(named(all.map(|of| self.words.resource(&of))))
    }

    /// Timers from the first to the last.
    fn timers(&self, all: impl Iterator<Item = Resource>) -> String {
        let deadline = |of| {
            let Resource::Timer { deadline } = of else {
                return None;
            };
            self.words.left(deadline)
        };
        let mut left: Vec<i64> = all.filter_map(deadline).collect();
        left.sort_unstable();
        match (left.first(), left.last()) {
            (Some(&first), Some(&last)) if words::time(first) != words::time(last) => format!(
                "{} … {}",
                words::timer(Some(first)),
                words::timer(Some(last)).trim_start_matches("a timer, ")
            ),
            (first, _) => words::timer(first.copied()),
        }
    }

    /// The guards the tasks have at this node.
    fn holds(&self, same: &Same, number: usize) -> Option<String> {
        let (_, tree) = same.tasks.first()?;
        let first = tree.holds.iter().filter(|(node, _)| *node == number);
        let said: Vec<String> = first
            .enumerate()
            .map(|(place, _)| {
                let all = same.tasks.iter().filter_map(|(_, tree)| {
                    let mut holds = tree.holds.iter().filter(|(node, _)| *node == number);
                    let (_, held) = holds.nth(place)?;
                    let sure = if held.is_certain { "" } else { "perhaps " };
                    Some(format!(
                        "{sure}{} {:#x} in `{}`",
                        guard_name(held.guard),
                        held.lock,
                        human::sanitise(&held.variable)
                    ))
                });
                named(all)
            })
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// The different ones of `all`; of many the first, and how many there are.
fn named(all: impl Iterator<Item = String>) -> String {
    let mut seen = HashSet::new();
    let mut shown = Vec::new();
    for text in all {
        if !seen.contains(&text) {
            if shown.len() < MOST_NAMED {
                shown.push(text.clone());
            }
            seen.insert(text);
        }
    }
    match shown.first() {
        Some(first) if seen.len() > MOST_NAMED => {
            format!("{first} … ({} different ones)", grouped(seen.len() as u64))
        }
        Some(_) | None => shown.join(" or "),
    }
}

/// So many futures written by hand, each with nothing but the next one below it, begin here.
fn row(node: &Node) -> usize {
    let is_future =
        |node: &Node| node.kind == Kind::Future && node.file.is_empty() && is_plain(node);
    let mut count = 0;
    let mut next = Some(node);
    while let Some(node) = next.filter(|node| is_future(node) && node.children.len() == 1) {
        count += 1;
        next = node.children.first();
    }
    count
}

/// It has one branch at most.
fn is_plain(node: &Node) -> bool {
    node.children.len() <= 1 && node.ended == 0 && node.omitted == 0 && !node.is_new
}

fn put(out: &mut String, indent: usize, text: &str) {
    let _ = writeln!(out, "{:indent$}{text}", "");
}

#[cfg(test)]
mod tests;
