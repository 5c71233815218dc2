//! Tasks that wait for each other in a circle: none of them can go on.

use super::{Forest, Task, TaskTree};
use crate::runtime::tokio::tree::{Guard, Lock, Resource};

/// Circles that are looked for.
const MOST: usize = 16;

/// A task in a circle, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Which of [`super::Dump::tasks`].
    pub task: usize,
    /// What it waits for.
    pub waits: Resource,
    /// The task that would have to go on first.
    pub next: usize,
    /// That one certainly holds what is waited for.
    pub is_certain: bool,
}

/// A circle: the last one waits for the first.
pub type Cycle = Vec<Link>;

/// The circles among what tasks wait for. Of those that share tasks one is found.
pub(super) fn find(tasks: &[Task], forest: &Forest) -> Vec<Cycle> {
    let by_header: std::collections::HashMap<u64, usize> = tasks
        .iter()
        .enumerate()
        .map(|(index, task)| (task.header, index))
        .collect();
    let links: Vec<Vec<Link>> = tasks
        .iter()
        .enumerate()
        .map(|(index, task)| match &task.tree {
            TaskTree::Read(tree) => forest
                .certain_waits(tree)
                .flat_map(|waits| links(index, waits, forest, &by_header))
                .collect(),
            TaskTree::NotAsked | TaskTree::NoTypes | TaskTree::None(_) => Vec::new(),
        })
        .collect();
    circles(&links)
}

/// Whom a task waits for that waits for this.
fn links(
    task: usize,
    waits: &Resource,
    forest: &Forest,
    by_header: &std::collections::HashMap<u64, usize>,
) -> Vec<Link> {
    let link = |next, is_certain| Link {
        task,
        waits: waits.clone(),
        next,
        is_certain,
    };
    match waits {
        Resource::Lock {
            lock,
            address,
            free,
        } => {
            let holders = forest.holders.get(address).map_or(&[][..], Vec::as_slice);
            holders
                .iter()
                .filter(|holder| is_in_the_way(*lock, *free, holder.held.guard))
                .map(|holder| link(holder.task, holder.held.is_certain))
                .collect()
        }
        Resource::Task { header, .. } => {
            let next = by_header.get(header);
            next.map(|next| link(*next, true)).into_iter().collect()
        }
        Resource::Timer { .. }
        | Resource::Io { .. }
        | Resource::Channel { .. }
        | Resource::Notify { .. }
        | Resource::Barrier { .. }
        | Resource::Turn
        | Resource::Nothing => Vec::new(),
    }
}

/// Whether somebody with such a guard keeps one who waits for such a lock waiting. Of permits there may be others.
fn is_in_the_way(lock: Lock, free: Option<u64>, guard: Guard) -> bool {
    match (lock, guard) {
        (Lock::Mutex, Guard::Mutex) => free.is_none_or(|free| free == 0),
        (Lock::Write, Guard::Read | Guard::Write) | (Lock::Read, Guard::Write) => true,
        _ => false,
    }
}

fn circles(links: &[Vec<Link>]) -> Vec<Cycle> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        OnTheWay,
        Done,
    }
    let mut seen = vec![Seen::Not; links.len()];
    let mut circles = Vec::new();
    for start in 0..links.len() {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::OnTheWay;
        // Each with the number of its next link.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((task, at)) = way.last_mut() {
            let Some(link) = links[*task].get(*at) else {
                seen[*task] = Seen::Done;
                way.pop();
                continue;
            };
            *at += 1;
            let next = link.next;
            match seen.get(next) {
                Some(Seen::Not) => {
                    seen[next] = Seen::OnTheWay;
                    way.push((next, 0));
                }
                Some(Seen::OnTheWay) if circles.len() < MOST => {
                    let from = way.iter().position(|(task, _)| *task == next);
                    let circle = way.iter().skip(from.unwrap_or(way.len()));
                    let taken = |(task, at): &(usize, usize)| {
                        let link = at.checked_sub(1).and_then(|at| links[*task].get(at));
                        link.cloned()
                    };
                    circles.push(circle.filter_map(taken).collect());
                }
                Some(Seen::OnTheWay | Seen::Done) | None => {}
            }
        }
    }
    circles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(task: usize, next: usize) -> Link {
        Link {
            task,
            waits: Resource::Turn,
            next,
            is_certain: true,
        }
    }

    fn found(links: &[&[usize]]) -> Vec<Vec<usize>> {
        let links: Vec<Vec<Link>> = links
            .iter()
            .enumerate()
            .map(|(task, next)| next.iter().map(|next| link(task, *next)).collect())
            .collect();
        let circles = circles(&links);
        circles
            .iter()
            .map(|circle| circle.iter().map(|link| link.task).collect())
            .collect()
    }

    #[test]
    fn circles_are_told_from_chains() {
        assert_eq!(found(&[&[1], &[2], &[]]), [[0; 0]; 0]);
        assert_eq!(found(&[&[1], &[0]]), [[0, 1]]);
        assert_eq!(found(&[&[0]]), [[0]]);
        // Those in front of a circle are not in it, and what was looked at is not looked at again.
        assert_eq!(found(&[&[2], &[0], &[3], &[4, 2], &[]]), [[2, 3]]);
        assert_eq!(found(&[&[7]]), [[0; 0]; 0]);
    }

    #[test]
    fn readers_do_not_wait_for_readers() {
        assert!(!is_in_the_way(Lock::Read, None, Guard::Read));
        assert!(is_in_the_way(Lock::Write, None, Guard::Read));
        assert!(is_in_the_way(Lock::Mutex, Some(0), Guard::Mutex));
        assert!(!is_in_the_way(Lock::Mutex, Some(1), Guard::Mutex));
        assert!(!is_in_the_way(Lock::Semaphore, Some(0), Guard::Permit));
    }
}
