//! The lists of what threads share: futexes, descriptors, memory and CPU time by stack.

use std::cmp::{Ordering, Reverse};

use tracer_common::{Nanos, Pid, table::LockKind};

use super::{List, Period, Row, Sort};
use crate::model::{CpuStackView, FileView, LockView, MemoryStackView, Snapshot, StackView};

/// What futexes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockSort {
    /// Time waited, longest first.
    #[default]
    Time,
    /// Waits, most first.
    Waits,
    /// Threads that wait now, most first.
    Now,
    /// 99th percentile, longest first.
    P99,
    /// Longest wait, longest first.
    Max,
}

impl Sort for LockSort {
    const ALL: &'static [Self] = &[Self::Time, Self::Waits, Self::Now, Self::P99, Self::Max];

    fn name(self) -> &'static str {
        match self {
            Self::Time => "time waited",
            Self::Waits => "waits",
            Self::Now => "waiting now",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }
}

/// What descriptors are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileSort {
    /// Bytes, most first.
    #[default]
    Bytes,
    /// Calls, most first.
    Calls,
    /// Time inside, longest first.
    Inside,
    /// Errors, most first.
    Errors,
    /// Number, least first.
    Fd,
}

impl Sort for FileSort {
    const ALL: &'static [Self] = &[
        Self::Bytes,
        Self::Calls,
        Self::Inside,
        Self::Errors,
        Self::Fd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Calls => "calls",
            Self::Inside => "time inside",
            Self::Errors => "errors",
            Self::Fd => "fd",
        }
    }
}

/// What memory by stack is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemorySort {
    /// Bytes still mapped, most first: what a leak looks like.
    #[default]
    Mapped,
    /// Bytes asked for, most first.
    Asked,
}

impl Sort for MemorySort {
    const ALL: &'static [Self] = &[Self::Mapped, Self::Asked];

    fn name(self) -> &'static str {
        match self {
            Self::Mapped => "still mapped",
            Self::Asked => "asked for",
        }
    }
}

/// What CPU time by stack is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CpuSort {
    /// Samples, most first.
    #[default]
    Time,
    /// The kernel's part first, then samples.
    Kernel,
}

impl Sort for CpuSort {
    const ALL: &'static [Self] = &[Self::Time, Self::Kernel];

    fn name(self) -> &'static str {
        match self {
            Self::Time => "cpu time",
            Self::Kernel => "kernel first",
        }
    }
}

impl Row for LockView {
    type Id = (Pid, u64, LockKind);

    fn id(&self) -> Self::Id {
        (self.pid, self.address, self.kind)
    }
}

impl Row for FileView {
    type Id = (Pid, u32);

    fn id(&self) -> Self::Id {
        (self.pid, self.fd)
    }
}

impl Row for MemoryStackView {
    type Id = Vec<u64>;

    fn id(&self) -> Self::Id {
        addresses(&self.stack)
    }
}

impl Row for CpuStackView {
    type Id = (Vec<u64>, Vec<u64>);

    fn id(&self) -> Self::Id {
        (addresses(&self.stack), addresses(&self.kernel_stack))
    }
}

fn addresses(stack: &StackView) -> Vec<u64> {
    stack.iter().map(|symbol| symbol.address).collect()
}

impl Period {
    /// Waits for a futex in it, and the time they took.
    #[must_use]
    pub fn waits(self, lock: &LockView) -> (u64, Nanos) {
        match self {
            Self::Window => (lock.recent_waits, lock.recent_time),
            Self::Session => (lock.wait.count, lock.wait.sum),
        }
    }

    /// Calls on a descriptor in it, and the bytes that went through, both ways.
    #[must_use]
    pub fn transfers(self, file: &FileView) -> (u64, u64) {
        match self {
            Self::Window => (file.recent_calls, file.recent_bytes),
            Self::Session => (
                file.reads
                    .saturating_add(file.writes)
                    .saturating_add(file.connects),
                file.read_bytes.saturating_add(file.write_bytes),
            ),
        }
    }
}

/// The list of futexes.
pub type LockList = List<LockSort, <LockView as Row>::Id>;

impl LockList {
    /// The futexes to show, in order. A filter is for the address or for the name of a thread that waits or wakes.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a LockView> {
        let shown = |lock: &&LockView| {
            let mut parties = lock.waiters.iter().chain(&lock.wakers);
            self.matches(&format!("{:#x}", lock.address))
                || parties.any(|party| self.matches(&party.name))
        };
        let mut rows: Vec<_> = snapshot.locks.iter().filter(shown).collect();
        rows.sort_by(|a, b| {
            let by = |lock: &LockView| match self.sort {
                LockSort::Time => period.waits(lock).1.0,
                LockSort::Waits => period.waits(lock).0,
                LockSort::Now => u64::from(lock.waiting_now),
                LockSort::P99 => lock.wait.p99.0,
                LockSort::Max => lock.wait.max.0,
            };
            // What is equal in the last window, often nothing, goes by the whole session.
            let then = b.wait.sum.cmp(&a.wait.sum);
            self.order(
                by(b)
                    .cmp(&by(a))
                    .then(then)
                    .then_with(|| a.id().cmp(&b.id())),
            )
        });
        rows
    }
}

/// The list of descriptors.
pub type FileList = List<FileSort, <FileView as Row>::Id>;

impl FileList {
    /// The descriptors to show, in order. A filter is for the name or the kind.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a FileView> {
        let shown = |file: &&FileView| self.matches(&file.name) || self.matches(&file.kind);
        let mut rows: Vec<_> = snapshot.files.iter().filter(shown).collect();
        rows.sort_by(|a, b| {
            let by = |file: &FileView| match self.sort {
                FileSort::Bytes => period.transfers(file).1,
                FileSort::Calls => period.transfers(file).0,
                FileSort::Inside => file.time.0,
                FileSort::Errors => file.errors,
                FileSort::Fd => 0,
            };
            let then = match self.sort {
                FileSort::Bytes | FileSort::Calls => {
                    let all = |file: &FileView| Period::Session.transfers(file);
                    all(b).cmp(&all(a))
                }
                FileSort::Inside | FileSort::Errors | FileSort::Fd => Ordering::Equal,
            };
            self.order(
                by(b)
                    .cmp(&by(a))
                    .then(then)
                    .then_with(|| a.id().cmp(&b.id())),
            )
        });
        rows
    }
}

/// The list of stacks that asked for memory.
pub type MemoryList = List<MemorySort, <MemoryStackView as Row>::Id>;

impl MemoryList {
    /// The stacks to show, in order. A filter is for any function of the stack.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a MemoryStackView> {
        let stacks = snapshot.memory.by_stack.iter();
        let mut rows: Vec<_> = stacks
            .filter(|row| self.passes_through(&row.stack))
            .collect();
        rows.sort_by(|a, b| {
            let by = |row: &MemoryStackView| match self.sort {
                MemorySort::Mapped => (row.still_mapped_bytes, row.bytes),
                MemorySort::Asked => (row.bytes, row.still_mapped_bytes),
            };
            self.order(by(b).cmp(&by(a)))
        });
        rows
    }
}

/// The list of stacks that were met running.
pub type CpuList = List<CpuSort, <CpuStackView as Row>::Id>;

impl CpuList {
    /// The stacks to show, in order. A filter is for any function of the stack.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot) -> Vec<&'a CpuStackView> {
        let stacks = snapshot.cpu.by_stack.iter();
        let mut rows: Vec<_> = stacks
            .filter(|row| {
                self.passes_through(&row.stack)
                    || (!row.kernel_stack.is_empty() && self.passes_through(&row.kernel_stack))
            })
            .collect();
        rows.sort_by_key(|row| {
            let kernel = self.sort == CpuSort::Kernel && !row.kernel_stack.is_empty();
            (!kernel, Reverse(row.samples))
        });
        if self.reversed {
            rows.reverse();
        }
        rows
    }
}

impl<S: Sort, Id: Clone + PartialEq> List<S, Id> {
    /// True when a function of this stack, or the file of one without a name, passes the filter.
    fn passes_through(&self, stack: &StackView) -> bool {
        self.matches("")
            || stack.iter().any(|symbol| {
                let mut functions = symbol.frames.iter();
                functions.any(|frame| self.matches(&frame.function))
                    || (symbol.frames.is_empty() && self.matches(&symbol.module))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::PartyView, tui::demo};

    fn named(list: &LockList, snapshot: &Snapshot) -> Vec<u64> {
        let rows = list.rows(snapshot, Period::Window);
        rows.iter().map(|lock| lock.address).collect()
    }

    fn lock(address: u64, recent: u64, all: u64, waiter: &str) -> LockView {
        let mut lock = LockView {
            address,
            recent_time: Nanos(recent),
            recent_waits: 9 - recent,
            waiters: vec![PartyView {
                name: waiter.to_owned(),
                ..PartyView::default()
            }],
            ..LockView::default()
        };
        lock.wait.sum = Nanos(all);
        lock
    }

    #[test]
    fn futexes_go_by_the_window_and_then_by_the_session() {
        let snapshot = Snapshot {
            locks: vec![
                lock(1, 0, 5, "a"),
                lock(2, 0, 9, "b"),
                lock(3, 7, 7, "Worker"),
            ],
            ..Snapshot::default()
        };
        let mut list = LockList::default();
        assert_eq!(named(&list, &snapshot), [3, 2, 1]);
        list.sort = LockSort::Waits;
        assert_eq!(named(&list, &snapshot), [2, 1, 3]);
        list.filter = "work".to_owned();
        assert_eq!(named(&list, &snapshot), [3], "by the name of a waiter");
        list.filter = "0x2".to_owned();
        assert_eq!(named(&list, &snapshot), [2], "by the address");
    }

    #[test]
    fn a_filter_finds_a_function_anywhere_in_a_stack() {
        let snapshot = demo::healthy();
        let all = CpuList::default().rows(&snapshot).len();
        let mut list = CpuList {
            filter: "PBKDF2".to_owned(),
            ..CpuList::default()
        };
        let found = list.rows(&snapshot).len();
        assert!(found > 0 && found < all);
        list.filter = "no such function".to_owned();
        assert!(list.rows(&snapshot).is_empty());
    }

    #[test]
    fn every_order_has_a_name_of_its_own() {
        fn check<S: Sort>() {
            let names: Vec<_> = S::ALL.iter().map(|sort| sort.name()).collect();
            for (at, name) in names.iter().enumerate() {
                assert!(!name.is_empty() && !names[..at].contains(name), "{name}");
            }
        }
        check::<LockSort>();
        check::<FileSort>();
        check::<MemorySort>();
        check::<CpuSort>();
        check::<crate::tui::list::TaskSort>();
    }
}
