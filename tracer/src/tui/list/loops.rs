//! The list of event loops.

use tracer_common::{Nanos, Pid, Tid};

use super::{List, Period, Row, Sort};
use crate::model::{Distribution, LoopView, Snapshot};

/// What event loops are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoopSort {
    /// Those of main threads first, then the busiest.
    #[default]
    Main,
    /// Share of the time outside waits, most first.
    Used,
    /// 99th percentile of the delay, longest first.
    P99,
    /// Longest iteration, longest first.
    Max,
    /// Iterations, most first.
    Iterations,
}

impl Sort for LoopSort {
    const ALL: &'static [Self] = &[
        Self::Main,
        Self::Used,
        Self::P99,
        Self::Max,
        Self::Iterations,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Main => "main first",
            Self::Used => "used",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Iterations => "iterations",
        }
    }
}

impl Row for LoopView {
    type Id = (Pid, Tid);

    fn id(&self) -> Self::Id {
        (self.pid, self.tid)
    }
}

impl Period {
    /// How long iterations of a loop took in it; `None` when they are not counted.
    #[must_use]
    pub fn delay(self, view: &LoopView) -> Option<Distribution> {
        let counts = view.counts.as_ref()?;
        Some(match self {
            Self::Window => counts.recent_delay,
            Self::Session => counts.delay,
        })
    }

    /// Iterations and events of a loop in it; `None` when they are not counted.
    #[must_use]
    pub fn iterations(self, view: &LoopView) -> Option<(u64, u64)> {
        let counts = view.counts.as_ref()?;
        Some(match self {
            Self::Window => (counts.recent_iterations, counts.recent_events),
            Self::Session => (counts.iterations, counts.events),
        })
    }

    /// The share of its time in which a loop did not wait for events; `None` when it had none.
    #[must_use]
    pub fn used(self, view: &LoopView) -> Option<f64> {
        match self {
            Self::Window => view.recent_utilization(),
            Self::Session => view.utilization(),
        }
    }
}

/// The list of event loops.
pub type LoopList = List<LoopSort, <LoopView as Row>::Id>;

impl LoopList {
    /// The loops to show, in order. A filter is for the thread's name.
    #[must_use]
    pub fn rows<'a>(&self, snapshot: &'a Snapshot, period: Period) -> Vec<&'a LoopView> {
        let loops = snapshot.loops.loops.iter();
        let mut rows: Vec<_> = loops.filter(|view| self.matches(&view.name)).collect();
        let delay = |view: &LoopView, of: fn(&Distribution) -> Nanos| {
            period.delay(view).map_or(0, |delay| of(&delay).0)
        };
        // A stable sort: what is equal stays in the order of the snapshot.
        rows.sort_by(|a, b| {
            let by = |view: &LoopView| match self.sort {
                LoopSort::Main => 0,
                LoopSort::Used => (period.used(view).unwrap_or(0.0) * 1e9) as u64,
                LoopSort::P99 => delay(view, |delay| delay.p99),
                LoopSort::Max => delay(view, |delay| delay.max),
                LoopSort::Iterations => period.iterations(view).map_or(0, |(count, _)| count),
            };
            self.order(by(b).cmp(&by(a)))
        });
        if self.sort == LoopSort::Main && self.reversed {
            rows.reverse();
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LoopCounts, LoopTimes, LoopsView};

    fn view(tid: u32, active: u64, max: u64) -> LoopView {
        LoopView {
            pid: Pid(1),
            tid: Tid(tid),
            name: format!("loop-{tid}"),
            recent: LoopTimes {
                active: Nanos(active),
                idle: Nanos(100 - active),
            },
            counts: Some(LoopCounts {
                recent_delay: Distribution {
                    max: Nanos(max),
                    ..Distribution::default()
                },
                ..LoopCounts::default()
            }),
            ..LoopView::default()
        }
    }

    #[test]
    fn loops_are_sorted_and_filtered() {
        let snapshot = Snapshot {
            loops: LoopsView {
                loops: vec![view(1, 5, 2), view(2, 90, 1), view(3, 40, 9)],
                ..LoopsView::default()
            },
            ..Snapshot::default()
        };
        let said = |list: &LoopList| {
            let rows = list.rows(&snapshot, Period::Window);
            rows.iter().map(|view| view.tid.0).collect::<Vec<_>>()
        };
        let mut list = LoopList::default();
        assert_eq!(said(&list), [1, 2, 3]);
        list.reversed = true;
        assert_eq!(said(&list), [3, 2, 1]);
        list.sort = LoopSort::Max;
        assert_eq!(said(&list), [2, 1, 3]);
        list.reversed = false;
        list.sort = LoopSort::Used;
        assert_eq!(said(&list), [2, 3, 1]);
        list.filter = "-3".to_owned();
        assert_eq!(said(&list), [3]);
    }
}
