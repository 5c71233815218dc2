//! Which rows of a list are shown, in which order, and which one is selected.
//!
//! The selection follows its row, not its place: numbers change every second, and what one reads about should
//! stay selected.

mod findings;
mod loops;
mod resources;
mod tasks;

use std::cmp::Ordering;

use tracer_common::{Nanos, Pid, SyscallNr, ThreadTimes, Tid};

pub use self::findings::{FindingList, FindingSort};
pub use self::loops::{LoopList, LoopSort};
pub use self::resources::{
    CpuList, CpuSort, FileList, FileSort, LockList, LockSort, MemoryList, MemorySort,
};
pub use self::tasks::{TaskList, TaskSort};
use super::bands;
use crate::{
    human::share,
    model::{Life, Snapshot, SyscallView, ThreadView},
};

/// The time that numbers are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Period {
    /// The last window: what happens now.
    #[default]
    Window,
    /// Since the accounting began.
    Session,
}

impl Period {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Window => Self::Session,
            Self::Session => Self::Window,
        }
    }

    /// A thread's times in it.
    #[must_use]
    pub fn times(self, thread: &ThreadView) -> &ThreadTimes {
        match self {
            Self::Window => &thread.recent,
            Self::Session => &thread.times,
        }
    }

    /// A call's returns in it, and the time they took.
    #[must_use]
    pub fn calls(self, call: &SyscallView) -> (u64, Nanos) {
        match self {
            Self::Window => (call.recent_count, call.recent_time),
            Self::Session => (call.count, call.inside),
        }
    }

    /// Its length.
    #[must_use]
    pub fn length(self, snapshot: &Snapshot) -> Nanos {
        match self {
            Self::Window => snapshot.window,
            Self::Session => snapshot.duration(),
        }
    }
}

/// What a list is sorted by.
pub trait Sort: Copy + PartialEq + 'static {
    /// All orders, in the order they are cycled through.
    const ALL: &'static [Self];

    /// Its name.
    fn name(self) -> &'static str;

    /// The one after it.
    #[must_use]
    fn next(self) -> Self {
        let at = Self::ALL
            .iter()
            .position(|&sort| sort == self)
            .map_or(0, |at| at + 1);
        Self::ALL
            .get(at)
            .or(Self::ALL.first())
            .copied()
            .unwrap_or(self)
    }
}

/// What threads are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThreadSort {
    /// Share of its time on a CPU, highest first.
    #[default]
    Cpu,
    /// Share of its time waiting for a CPU, highest first.
    Waiting,
    /// Name.
    Name,
    /// Thread id.
    Tid,
}

impl Sort for ThreadSort {
    const ALL: &'static [Self] = &[Self::Cpu, Self::Waiting, Self::Name, Self::Tid];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Waiting => "waiting for a cpu",
            Self::Name => "name",
            Self::Tid => "tid",
        }
    }
}

/// What system calls are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyscallSort {
    /// Time inside, longest first.
    #[default]
    Time,
    /// Calls, most first.
    Calls,
    /// Errors, most first.
    Errors,
    /// 99th percentile, longest first.
    P99,
    /// Longest call, longest first.
    Max,
    /// Name.
    Name,
}

impl Sort for SyscallSort {
    const ALL: &'static [Self] = &[
        Self::Time,
        Self::Calls,
        Self::Errors,
        Self::P99,
        Self::Max,
        Self::Name,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Calls => "calls",
            Self::Errors => "errors",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Name => "name",
        }
    }
}

/// A row that stays the same from one snapshot to the next.
pub trait Row {
    /// What identifies it.
    type Id: Clone + PartialEq;

    /// Its identity.
    fn id(&self) -> Self::Id;
}

impl Row for ThreadView {
    type Id = (Option<Pid>, Option<Tid>, Option<String>);

    fn id(&self) -> Self::Id {
        // Only a folded row is known by its name: names of living threads change.
        (
            self.pid,
            self.tid,
            self.tid.is_none().then(|| self.name.clone()),
        )
    }
}

impl Row for SyscallView {
    type Id = SyscallNr;

    fn id(&self) -> SyscallNr {
        self.nr
    }
}

/// A move of the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// The first row.
    First,
    /// The last row.
    Last,
}

/// How a list is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List<S, Id> {
    /// What it is sorted by.
    pub sort: S,
    /// The other way round.
    pub reversed: bool,
    /// Only rows whose name contains this; empty for all.
    pub filter: String,
    /// The selected row and where it stood when it was selected.
    selected: Option<(Id, usize)>,
}

impl<S: Sort, Id: Clone + PartialEq> List<S, Id> {
    /// Where the selected row stands among `rows`. When it is gone, the row that took its place is selected.
    pub fn position<R: Row<Id = Id>>(&self, rows: &[&R]) -> Option<usize> {
        let (id, last_seen) = self.selected.as_ref()?;
        let last = rows.len().checked_sub(1)?;
        Some(
            rows.iter()
                .position(|row| row.id() == *id)
                .unwrap_or(*last_seen)
                .min(last),
        )
    }

    /// Moves the selection; the first move selects the first row, or the last.
    pub fn step<R: Row<Id = Id>>(&mut self, step: Step, page: usize, rows: &[&R]) {
        let Some(last) = rows.len().checked_sub(1) else {
            return;
        };
        let to = match (self.position(rows), step) {
            (_, Step::First) | (None, Step::Down | Step::PageDown | Step::Up | Step::PageUp) => 0,
            (_, Step::Last) => last,
            (Some(at), Step::Up) => at.saturating_sub(1),
            (Some(at), Step::Down) => at + 1,
            (Some(at), Step::PageUp) => at.saturating_sub(page),
            (Some(at), Step::PageDown) => at + page,
        };
        let to = to.min(last);
        self.selected = rows.get(to).map(|row| (row.id(), to));
    }

    /// Selects nothing.
    pub fn deselect(&mut self) {
        self.selected = None;
    }

    /// True when something is selected.
    pub fn has_selection(&self) -> bool {
        self.selected.is_some()
    }

    fn order(&self, ordering: Ordering) -> Ordering {
        if self.reversed {
            ordering.reverse()
        } else {
            ordering
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.filter.is_empty() || name.to_lowercase().contains(&self.filter.to_lowercase())
    }
}

/// What keys do to any list, whatever its rows are.
pub trait Listed {
    /// Only rows whose name contains this.
    fn filter(&self) -> &str;

    /// The same, to change it.
    fn filter_mut(&mut self) -> &mut String;

    /// Sorts by the next key.
    fn sort_by_next(&mut self);

    /// Sorts the other way round.
    fn reverse(&mut self);

    /// Selects nothing.
    fn select_nothing(&mut self);
}

impl<S: Sort, Id: Clone + PartialEq> Listed for List<S, Id> {
    fn filter(&self) -> &str {
        &self.filter
    }

    fn filter_mut(&mut self) -> &mut String {
        &mut self.filter
    }

    fn sort_by_next(&mut self) {
        self.sort = self.sort.next();
    }

    fn reverse(&mut self) {
        self.reversed ^= true;
    }

    fn select_nothing(&mut self) {
        self.deselect();
    }
}

/// The list of threads.
pub type ThreadList = List<ThreadSort, <ThreadView as Row>::Id>;

impl ThreadList {
    /// The threads to show: the living first, then the ended, then the folded, each group in order.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a ThreadView> {
        let shown = |thread: &&ThreadView| self.matches(&thread.name);
        let mut rows: Vec<_> = snapshot.threads.iter().filter(shown).collect();
        // Whole percents, so that threads that do about the same keep their places.
        let points = |thread: &ThreadView, part: Nanos| {
            let share = share(part, period.times(thread).total());
            if share.is_finite() {
                (share * 100.0).round() as u64
            } else {
                0
            }
        };
        rows.sort_by_cached_key(|thread| {
            let times = period.times(thread);
            let by = match self.sort {
                ThreadSort::Cpu => points(thread, times.of(tracer_common::State::ON_CPU)),
                ThreadSort::Waiting => points(thread, bands::waiting(times)),
                ThreadSort::Name | ThreadSort::Tid => 0,
            };
            let name = if self.sort == ThreadSort::Name {
                thread.name.to_lowercase()
            } else {
                String::new()
            };
            let life = match thread.life {
                Life::Alive => 0,
                Life::Ended => 1,
                Life::Folded(_) => 2,
            };
            SortKey {
                group: life,
                by,
                name,
                id: (thread.pid, thread.tid),
                reversed: self.reversed,
            }
        });
        rows
    }

    /// The living ones of [`ThreadList::rows`].
    #[must_use]
    pub fn living<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a ThreadView> {
        let mut rows = self.rows(snapshot, period);
        rows.retain(|thread| thread.life == Life::Alive);
        rows
    }
}

/// Larger numbers first, then names, then ids; `reversed` turns all of that, but not the groups.
#[derive(PartialEq, Eq)]
struct SortKey {
    group: u8,
    by: u64,
    name: String,
    id: (Option<Pid>, Option<Tid>),
    reversed: bool,
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let within = other
            .by
            .cmp(&self.by)
            .then_with(|| self.name.cmp(&other.name))
            .then_with(|| self.id.cmp(&other.id));
        self.group.cmp(&other.group).then(if self.reversed {
            within.reverse()
        } else {
            within
        })
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The list of system calls.
pub type SyscallList = List<SyscallSort, SyscallNr>;

impl SyscallList {
    /// The system calls to show, in order.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a SyscallView> {
        let shown = |call: &&SyscallView| self.matches(&call.name);
        let mut rows: Vec<_> = snapshot.syscalls.iter().filter(shown).collect();
        rows.sort_by(|a, b| {
            let ordering = match self.sort {
                // What is equal in the last window, often nothing, goes by the whole session.
                SyscallSort::Time => {
                    let session = b.time.sum.cmp(&a.time.sum);
                    period.calls(b).1.cmp(&period.calls(a).1).then(session)
                }
                SyscallSort::Calls => {
                    let session = b.count.cmp(&a.count);
                    period.calls(b).0.cmp(&period.calls(a).0).then(session)
                }
                SyscallSort::Errors => b.errors.cmp(&a.errors),
                SyscallSort::P99 => b.time.p99.cmp(&a.time.p99),
                SyscallSort::Max => b.time.max.cmp(&a.time.max),
                SyscallSort::Name => Ordering::Equal,
            };
            self.order(ordering.then_with(|| a.name.cmp(&b.name)))
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::State;

    fn thread(tid: u32, name: &str, cpu: u64, life: Life) -> ThreadView {
        let mut recent = ThreadTimes::default();
        recent.in_state[usize::from(State::ON_CPU.0)] = cpu;
        recent.in_state[usize::from(State::EPOLL.0)] = 1000 - cpu;
        let ids = !matches!(life, Life::Folded(_));
        ThreadView {
            pid: ids.then_some(Pid(1)),
            tid: ids.then_some(Tid(tid)),
            name: name.to_owned(),
            life,
            recent,
            ..ThreadView::default()
        }
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            threads: vec![
                thread(1, "loop", 300, Life::Alive),
                thread(2, "worker", 702, Life::Alive),
                thread(3, "Helper", 704, Life::Alive),
                thread(4, "busy once", 900, Life::Ended),
                thread(0, "short", 0, Life::Folded(9)),
            ],
            ..Snapshot::default()
        }
    }

    fn names(list: &ThreadList, snapshot: &Snapshot) -> String {
        let rows = list.rows(snapshot, Period::Window);
        rows.iter()
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>()
            .join(" < ")
    }

    #[test]
    fn the_living_come_first_in_every_order() {
        let snapshot = snapshot();
        let mut list = ThreadList::default();
        assert_eq!(
            names(&list, &snapshot),
            "worker < Helper < loop < busy once < short",
            "0.2 % do not change places"
        );
        list.reversed = true;
        assert_eq!(
            names(&list, &snapshot),
            "loop < Helper < worker < busy once < short"
        );
        list.reversed = false;
        list.sort = ThreadSort::Name;
        assert_eq!(
            names(&list, &snapshot),
            "Helper < loop < worker < busy once < short"
        );
        assert_eq!(list.living(&snapshot, Period::Window).len(), 3);
    }

    #[test]
    fn a_filter_is_part_of_a_name_in_any_case() {
        let list = ThreadList {
            filter: "ER".to_owned(),
            ..ThreadList::default()
        };
        assert_eq!(names(&list, &snapshot()), "worker < Helper");
    }

    #[test]
    fn orders_are_cycled_through() {
        let mut sort = SyscallSort::Time;
        for expected in SyscallSort::ALL.iter().skip(1).chain([&SyscallSort::Time]) {
            sort = sort.next();
            assert_eq!(sort, *expected);
        }
    }

    #[test]
    fn the_selection_follows_its_row_and_survives_its_end() {
        let mut snapshot = snapshot();
        let mut list = ThreadList::default();
        assert_eq!(list.position(&list.rows(&snapshot, Period::Window)), None);
        for step in [Step::Down, Step::Down, Step::Down] {
            let rows = list.rows(&snapshot, Period::Window);
            list.step(step, 10, &rows);
        }
        let selected = |list: &ThreadList, snapshot: &Snapshot| {
            let rows = list.rows(snapshot, Period::Window);
            list.position(&rows).map(|at| rows[at].name.clone())
        };
        assert_eq!(selected(&list, &snapshot).as_deref(), Some("loop"));
        snapshot.threads[0].recent.in_state[usize::from(State::ON_CPU.0)] = 100_000;
        assert_eq!(
            list.position(&list.rows(&snapshot, Period::Window)),
            Some(0),
            "it moved to the top"
        );
        snapshot.threads.remove(0);
        assert_eq!(
            selected(&list, &snapshot).as_deref(),
            Some("busy once"),
            "what took its place"
        );
        snapshot.threads.clear();
        assert_eq!(selected(&list, &snapshot), None);
        list.step(Step::Last, 10, &[] as &[&ThreadView]);
        list.deselect();
        assert!(!list.has_selection());
    }

    #[test]
    fn steps_stop_at_both_ends() {
        let snapshot = snapshot();
        let mut list = ThreadList::default();
        let rows = list.rows(&snapshot, Period::Window);
        for (step, at) in [
            (Step::Last, 4),
            (Step::Down, 4),
            (Step::PageUp, 1),
            (Step::PageUp, 0),
            (Step::Up, 0),
            (Step::PageDown, 3),
            (Step::PageDown, 4),
            (Step::First, 0),
        ] {
            list.step(step, 3, &rows);
            assert_eq!(list.position(&rows), Some(at), "{step:?}");
        }
    }
}
