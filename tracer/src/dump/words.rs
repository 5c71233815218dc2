//! What tasks wait for, in words: who holds the lock, which task, how long still, which socket.

use std::collections::HashMap;

use tracer_common::{Nanos, task::TaskState};

use super::{Dump, Holder, Task};
use crate::{
    human,
    runtime::tokio::tree::{Channel, Guard, Lock, NoTree, Node, Resource},
};

/// Holders of a lock that are named.
const MOST_HOLDERS: usize = 3;

/// A dump, and its tasks by what others know of them.
pub(crate) struct Words<'a> {
    pub(crate) dump: &'a Dump,
    by_header: HashMap<u64, usize>,
}

impl<'a> Words<'a> {
    pub(crate) fn new(dump: &'a Dump) -> Self {
        let tasks = dump.tasks.iter().enumerate();
        Self {
            dump,
            by_header: tasks.map(|(index, task)| (task.header, index)).collect(),
        }
    }

    /// The live task with this header and id.
    pub(crate) fn task_at(&self, header: u64, id: Option<u64>) -> Option<&'a Task> {
        let task = self.dump.tasks.get(*self.by_header.get(&header)?)?;
        (id.is_none() || task.id == id).then_some(task)
    }

    pub(crate) fn type_name(&self, task: &Task) -> String {
        let of = self.dump.types.get(task.of);
        of.map_or_else(String::new, |of| human::sanitise(&of.of.name).into_owned())
    }

    /// `task 26 resize`.
    pub(crate) fn task(&self, task: &Task) -> String {
        format!("{} {}", number(task), self.type_name(task))
    }

    /// The holders of a lock.
    pub(crate) fn holders(&self, lock: u64) -> &'a [Holder] {
        let forest = self.dump.forest.as_ref();
        forest
            .and_then(|forest| forest.holders.get(&lock))
            .map_or(&[], Vec::as_slice)
    }

    /// `task 15 pay (src/pay.rs:49)`: where it stands with the guard.
    fn holder(&self, holder: &Holder) -> String {
        let task = self.dump.tasks.get(holder.task);
        let task = task.map_or_else(String::new, |task| self.task(task));
        let forest = self.dump.forest.as_ref();
        let at = forest
            .and_then(|forest| forest.node(holder.node))
            .map(source)
            .unwrap_or_default();
        let sure = if holder.held.is_certain {
            ""
        } else {
            "perhaps "
        };
        match &*at {
            "" => format!("{sure}{task}"),
            at => format!("{sure}{task} ({at})"),
        }
    }

    fn held_by(&self, address: u64) -> String {
        let holders = self.holders(address);
        if holders.is_empty() {
            let forest = self.dump.forest.as_ref();
            return match forest.map_or(0, |forest| forest.left_out) {
                0 => "no task is seen to hold it".to_owned(),
                _ => "none of the tasks that were looked at is seen to hold it".to_owned(),
            };
        }
        let named: Vec<String> = holders
            .iter()
            .take(MOST_HOLDERS)
            .map(|holder| self.holder(holder))
            .collect();
        let more = match holders.len().saturating_sub(named.len()) {
            0 => String::new(),
            more => format!(" and {} more", grouped(more as u64)),
        };
        format!("held by {}{more}", named.join(", "))
    }

    /// What a task waits for: `Mutex 0x55d0… held by task 15 pay (src/pay.rs:49)`.
    pub(crate) fn resource(&self, resource: &Resource) -> String {
        match resource {
            Resource::Lock {
                lock,
                address,
                free,
            } => {
                let free = match (lock, free) {
                    (Lock::Semaphore, Some(free)) => format!(" ({} permits free)", grouped(*free)),
                    _ => String::new(),
                };
                let what = lock_name(*lock);
                format!("{what} {address:#x}{free}, {}", self.held_by(*address))
            }
            Resource::Timer { deadline } => timer(self.left(*deadline)),
            Resource::Io { fd } => self.descriptor(*fd),
            Resource::Channel {
                channel,
                sends,
                address,
            } => {
                let what = match (channel, sends) {
                    (Channel::Mpsc, true) => "room in a channel (mpsc)",
                    (Channel::Mpsc, false) => "a message (mpsc)",
                    (Channel::Oneshot, _) => "an answer (oneshot)",
                    (Channel::Watch, _) => "a new value (watch)",
                    (Channel::Broadcast, _) => "a message (broadcast)",
                };
                format!("{what}{}", at(*address))
            }
            Resource::Task { header, id } => match (self.task_at(*header, *id), id) {
                (Some(task), _) => self.task(task),
                (None, Some(id)) => format!("task {id}, which has ended"),
                (None, None) => format!("the task at {header:#x}, which has ended"),
            },
            Resource::Notify { address } => format!("Notify {address:#x}"),
            Resource::Barrier { address } => format!("others at a Barrier{}", at(*address)),
            Resource::Turn => "its turn: it has yielded".to_owned(),
            Resource::Nothing => "nothing: it never ends".to_owned(),
        }
    }

    /// How long a timer has still to go; negative when it is due.
    pub(crate) fn left(&self, deadline: Option<u64>) -> Option<i64> {
        let now = self.dump.at.0;
        deadline.map(|deadline| deadline.wrapping_sub(now).cast_signed())
    }

    fn descriptor(&self, fd: Option<i32>) -> String {
        let Some(fd) = fd else {
            return "I/O".to_owned();
        };
        let forest = self.dump.forest.as_ref();
        match forest.and_then(|forest| forest.descriptors.get(&fd)) {
            Some(found) if found.name.is_empty() => format!("fd {fd} ({})", found.kind),
            Some(found) => format!("fd {fd} ({} {})", found.kind, human::sanitise(&found.name)),
            None => format!("fd {fd}"),
        }
    }
}

/// What resources have in common that are shown as one: all but what differs from task to task. Locks stay apart, so
/// that each has its holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alike {
    Lock(u64),
    Channel(Channel, bool),
    Other(std::mem::Discriminant<Resource>),
}

pub(crate) fn alike(resource: &Resource) -> Alike {
    match resource {
        Resource::Lock { address, .. } => Alike::Lock(*address),
        Resource::Channel { channel, sends, .. } => Alike::Channel(*channel, *sends),
        Resource::Timer { .. }
        | Resource::Io { .. }
        | Resource::Task { .. }
        | Resource::Notify { .. }
        | Resource::Barrier { .. }
        | Resource::Turn
        | Resource::Nothing => Alike::Other(std::mem::discriminant(resource)),
    }
}

fn at(address: Option<u64>) -> String {
    address.map_or_else(String::new, |address| format!(" {address:#x}"))
}

/// `task 26`, or where it is.
pub(crate) fn number(task: &Task) -> String {
    match task.id {
        Some(id) => format!("task {id}"),
        None => format!("task at {:#x}", task.header),
    }
}

/// `a timer, 3m12s left`.
pub(crate) fn timer(left: Option<i64>) -> String {
    match left {
        None => "a timer".to_owned(),
        Some(left) if left >= 0 => format!("a timer, {} left", time(left)),
        Some(left) => format!("a timer that was due {} ago", time(left)),
    }
}

/// A time, whichever way.
pub(crate) fn time(left: i64) -> String {
    human::duration(Nanos(left.unsigned_abs()))
}

/// A count in full: `4,000`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `src/pay.rs:49`, or nothing.
pub(crate) fn source(node: &Node) -> String {
    let place = match (node.file.as_str(), node.line) {
        ("", _) => String::new(),
        (file, 0) => file.to_owned(),
        (file, line) => format!("{file}:{line}"),
    };
    human::sanitise(human::source(&place)).into_owned()
}

pub(crate) fn lock_name(lock: Lock) -> &'static str {
    match lock {
        Lock::Mutex => "Mutex",
        Lock::Read => "RwLock (to read)",
        Lock::Write => "RwLock (to write)",
        Lock::Semaphore => "Semaphore",
        Lock::Other => "lock",
    }
}

pub(crate) fn guard_name(guard: Guard) -> &'static str {
    match guard {
        Guard::Mutex => "Mutex",
        Guard::Read => "RwLock (to read)",
        Guard::Write => "RwLock (to write)",
        Guard::Permit => "permits of Semaphore",
    }
}

pub(crate) fn state(task: &Task) -> &'static str {
    TaskState::of(task.state.0).name()
}

pub(crate) fn no_tree(why: &NoTree) -> &'static str {
    match why {
        NoTree::Changing => "it was polled while it was read, each time",
        NoTree::Running => "it runs: its stack tells where",
        NoTree::Complete => "it ended meanwhile",
        NoTree::Unknown(why) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        let said: Vec<String> = [0, 999, 1_000, 4_000_000].map(grouped).into();
        assert_eq!(said, ["0", "999", "1,000", "4,000,000"]);
    }

    #[test]
    fn timers_say_which_way() {
        assert_eq!(timer(None), "a timer");
        assert_eq!(timer(Some(192_000_000_000)), "a timer, 3m12s left");
        assert_eq!(
            timer(Some(-2_000_000_000)),
            "a timer that was due 2.0 s ago"
        );
    }
}
