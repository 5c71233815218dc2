//! System calls: cumulative rows per thread and call, summed over all threads.

use std::collections::BTreeMap;

use tracer_common::{Nanos, SyscallKey, SyscallNr};

use super::{Windowed, histogram::Histogram, snapshot::SyscallView};
use crate::record::{SyscallNameMeta, SyscallSample};

/// Rows kept at most: the kernel's own table is smaller.
const ROWS: usize = 65_536;
/// Calls kept at most: numbers beyond make no sense.
const CALLS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Syscalls {
    /// The last sample of each row, to know what is new in the next.
    rows: BTreeMap<SyscallKey, SyscallSample>,
    calls: BTreeMap<SyscallNr, Call>,
    names: BTreeMap<SyscallNr, String>,
}

#[derive(Debug, Default)]
struct Call {
    count: Windowed,
    time: Windowed,
    errors: u64,
    histogram: Histogram,
}

impl Syscalls {
    /// Takes in a row. False when its counters ran backwards or it cannot be kept.
    pub(super) fn sample(&mut self, sample: &SyscallSample) -> bool {
        let known = self.rows.get(&sample.key);
        let backwards = known.is_some_and(|known| {
            known.count > sample.count
                || known.timed > sample.timed
                || known.errors > sample.errors
                || known.sum > sample.sum
        });
        let no_room = known.is_none() && self.rows.len() >= ROWS
            || self.calls.len() >= CALLS && !self.calls.contains_key(&sample.key.nr);
        if backwards || no_room {
            return false;
        }
        let before = known.cloned().unwrap_or_default();
        let call = self.calls.entry(sample.key.nr).or_default();
        call.count.total = call.count.total.saturating_add(sample.count - before.count);
        call.errors = call.errors.saturating_add(sample.errors - before.errors);
        let sum = Nanos(sample.sum.0 - before.sum.0);
        call.time.total = call.time.total.saturating_add(sum.0);
        call.histogram.add_sum(sum, sample.max);
        let counted: BTreeMap<u32, u32> = before.buckets.into_iter().collect();
        let mut good = true;
        for &(bucket, count) in &sample.buckets {
            let new = count.saturating_sub(counted.get(&bucket).copied().unwrap_or(0));
            good &= call.histogram.add(bucket, u64::from(new));
        }
        if sample.last {
            self.rows.remove(&sample.key);
        } else {
            self.rows.insert(sample.key, sample.clone());
        }
        good
    }

    pub(super) fn name(&mut self, meta: &SyscallNameMeta) {
        if self.names.len() < CALLS || self.names.contains_key(&meta.nr) {
            self.names.insert(meta.nr, meta.name.clone());
        }
    }

    /// Closes a window: returns within it.
    pub(super) fn close(&mut self) -> u64 {
        self.calls.values_mut().fold(0, |sum: u64, call| {
            call.count.close();
            call.time.close();
            sum.saturating_add(call.count.recent)
        })
    }

    pub(super) fn views(
        &self,
        errnos: Option<&BTreeMap<SyscallNr, Vec<(u32, u64)>>>,
    ) -> Vec<SyscallView> {
        let mut views: Vec<SyscallView> = self
            .calls
            .iter()
            .map(|(&nr, call)| SyscallView {
                nr,
                name: self
                    .names
                    .get(&nr)
                    .cloned()
                    .unwrap_or_else(|| format!("syscall_{}", nr.0)),
                count: call.count.total,
                errors: call.errors,
                errnos: errnos
                    .map_or_else(Vec::new, |errnos| by_number(call.errors, errnos.get(&nr))),
                inside: call.inside(call.time.total, call.count.total),
                time: call.histogram.summary(),
                recent_count: call.count.recent,
                recent_time: call.inside(call.time.recent, call.count.recent),
            })
            .collect();
        views.sort_by(|a, b| {
            b.time
                .sum
                .cmp(&a.time.sum)
                .then(b.count.cmp(&a.count))
                .then(a.nr.cmp(&b.nr))
        });
        views
    }
}

impl Call {
    /// Time inside `count` calls of which those that were timed took `timed`: when not all were, they are taken to
    /// have been like the others.
    fn inside(&self, timed: u64, count: u64) -> Nanos {
        let all_timed = self.histogram.summary().count;
        if all_timed >= self.count.total || all_timed == 0 {
            return Nanos(timed);
        }
        let mean = self.time.total as f64 / all_timed as f64;
        Nanos((mean * count as f64) as u64)
    }
}

/// Errors by number, most frequent first. The kernel side does not note `EAGAIN`: it is what the others leave.
fn by_number(all: u64, noted: Option<&Vec<(u32, u64)>>) -> Vec<(u32, u64)> {
    const EAGAIN: u32 = 11;
    let mut by_number = noted.cloned().unwrap_or_default();
    let sum = by_number
        .iter()
        .fold(0u64, |sum, &(_, count)| sum.saturating_add(count));
    if all > sum {
        by_number.push((EAGAIN, all - sum));
    }
    by_number.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    by_number
}
