//! Await trees for scripts: nested nodes, what each waits for and who holds that.

use serde::Serialize;

use super::{address, type_name};
use crate::{
    dump::{Dump, Holder, TreeOf, words::Words},
    runtime::tokio::tree::{Channel, Guard, Held, Kind, Lock, Node, Resource},
};

/// Levels from which on those with one below it are folded, and those that are written: readers of JSON refuse what is
/// nested too deeply, `serde_json` at 128, and a level is two of those.
const FOLDED: u32 = 40;
const DEEPEST: u32 = 56;
/// Holders of a lock that are listed with each that waits for it.
const MOST_HOLDERS: usize = 16;

#[derive(Serialize)]
pub(super) struct NodeOf<'a> {
    function: &'a str,
    raw_name: &'a str,
    kind: &'static str,
    file: Option<&'a str>,
    line: Option<u32>,
    /// So many levels, one below the other, are shown as this one: they are the same, or too many.
    levels: u32,
    not_polled_yet: bool,
    waits_on: Option<Waits<'a>>,
    holds: Vec<Guarded<'a>>,
    ended: u32,
    omitted: u32,
    children: Vec<NodeOf<'a>>,
}

#[derive(Serialize)]
struct Guarded<'a> {
    guard: &'static str,
    address: String,
    variable: &'a str,
    certain: bool,
}

/// What has to happen. Which fields there are depends on the kind.
#[derive(Default, Serialize)]
pub(super) struct Waits<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    free_permits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<Vec<HeldBy<'a>>>,
    /// Negative when it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fd: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sends: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<u64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    task_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<bool>,
}

#[derive(Serialize)]
struct HeldBy<'a> {
    task: Option<u64>,
    header: Option<String>,
    #[serde(rename = "type")]
    name: Option<&'a str>,
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    variable: &'a str,
    certain: bool,
}

pub(super) fn node<'a>(
    words: &Words<'a>,
    tree: &'a TreeOf,
    of: &'a Node,
    depth: u32,
    number: &mut usize,
) -> NodeOf<'a> {
    let own = *number;
    *number += 1;
    let (mut last, mut levels) = (of, 1);
    while let [child] = &last.children[..]
        && !tree.holds.iter().any(|(node, _)| *node == *number)
        && (depth >= FOLDED || is_same(last, child))
    {
        last = child;
        levels += 1;
        *number += 1;
    }
    // Of those that are folded only the last can wait for something.
    let range = own..*number;
    let resource = tree.waits.iter().find(|(node, _)| range.contains(node));
    let holds = tree.holds.iter().filter(|(node, _)| *node == own);
    let mut children = Vec::new();
    let mut omitted = last.omitted;
    for child in &last.children {
        let child = node(words, tree, child, depth + 1, number);
        if depth < DEEPEST {
            children.push(child);
        } else {
            omitted = omitted.saturating_add(1);
        }
    }
    NodeOf {
        function: &of.function,
        raw_name: &of.raw_name,
        kind: match of.kind {
            Kind::Function => "function",
            Kind::Block => "block",
            Kind::Future => "future",
            Kind::All => "all",
            Kind::Any => "any",
        },
        file: Some(&*of.file).filter(|file| !file.is_empty()),
        line: Some(of.line).filter(|line| *line > 0),
        levels,
        not_polled_yet: last.is_new,
        waits_on: resource.map(|(_, resource)| waits(words, resource)),
        holds: holds.map(|(_, held)| guarded(held)).collect(),
        ended: last.ended,
        omitted,
        children,
    }
}

/// The same function at the same line, and nothing beside what is below it.
fn is_same(one: &Node, below: &Node) -> bool {
    let is_plain = |node: &Node| node.ended == 0 && node.omitted == 0 && !node.is_new;
    (&one.function, &one.file, one.line, one.kind)
        == (&below.function, &below.file, below.line, below.kind)
        && is_plain(one)
        && is_plain(below)
}

fn guarded(held: &Held) -> Guarded<'_> {
    Guarded {
        guard: match held.guard {
            Guard::Mutex => "mutex",
            Guard::Read => "rwlock_read",
            Guard::Write => "rwlock_write",
            Guard::Permit => "semaphore",
        },
        address: address(held.lock),
        variable: &held.variable,
        certain: held.is_certain,
    }
}

pub(super) fn waits<'a>(words: &Words<'a>, resource: &Resource) -> Waits<'a> {
    let plain = |kind| Waits {
        kind,
        ..Waits::default()
    };
    match resource {
        Resource::Lock {
            lock,
            address,
            free,
        } => {
            let holders = words.holders(*address).iter().take(MOST_HOLDERS);
            Waits {
                address: Some(self::address(*address)),
                free_permits: *free,
                held_by: Some(holders.map(|holder| held_by(words.dump, holder)).collect()),
                ..plain(match lock {
                    Lock::Mutex => "mutex",
                    Lock::Read => "rwlock_read",
                    Lock::Write => "rwlock_write",
                    Lock::Semaphore => "semaphore",
                    Lock::Other => "lock",
                })
            }
        }
        Resource::Timer { deadline } => Waits {
            left_ns: words.left(*deadline),
            ..plain("timer")
        },
        Resource::Io { fd } => {
            let forest = words.dump.forest.as_ref();
            let found = forest.and_then(|forest| forest.descriptors.get(fd.as_ref()?));
            Waits {
                fd: *fd,
                descriptor: found.map(|found| found.kind),
                name: found
                    .map(|found| &*found.name)
                    .filter(|name| !name.is_empty()),
                ..plain("io")
            }
        }
        Resource::Channel {
            channel,
            sends,
            address,
        } => Waits {
            address: address.map(self::address),
            sends: Some(*sends),
            ..plain(match channel {
                Channel::Mpsc => "mpsc",
                Channel::Oneshot => "oneshot",
                Channel::Watch => "watch",
                Channel::Broadcast => "broadcast",
            })
        },
        Resource::Task { header, id } => {
            let task = words.task_at(*header, *id);
            Waits {
                address: Some(self::address(*header)),
                task: *id,
                task_type: task.and_then(|task| type_name(words.dump, task)),
                live: Some(task.is_some()),
                ..plain("task")
            }
        }
        Resource::Notify { address } => Waits {
            address: Some(self::address(*address)),
            ..plain("notify")
        },
        Resource::Barrier { address } => Waits {
            address: address.map(self::address),
            ..plain("barrier")
        },
        Resource::Turn => plain("turn"),
        Resource::Nothing => plain("nothing"),
    }
}

fn held_by<'a>(dump: &'a Dump, holder: &'a Holder) -> HeldBy<'a> {
    let task = dump.tasks.get(holder.task);
    let forest = dump.forest.as_ref();
    let node = forest.and_then(|forest| forest.node(holder.node));
    HeldBy {
        task: task.and_then(|task| task.id),
        header: task.map(|task| address(task.header)),
        name: task.and_then(|task| type_name(dump, task)),
        function: node.map(|node| &*node.function),
        file: node.map(|node| &*node.file).filter(|file| !file.is_empty()),
        line: node.map(|node| node.line).filter(|line| *line > 0),
        variable: &holder.held.variable,
        certain: holder.held.is_certain,
    }
}
