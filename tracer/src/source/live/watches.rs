//! All that is governed at functions of the targets: rows of groups that are watched together, and what each may spend.

use tracer_common::Nanos;

use super::watch::Watch;
use crate::{
    bpf::{Kernel, probes::Group},
    record::{Meta, ProbesSample, Record},
};

/// What each row of [`Group::GOVERNED`] may spend at most, as a share of the limit. Of callbacks and promises a part of the
/// time says enough: there are many of them. What they leave is for counting system calls, which loops are followed by.
const SHARES: [f64; 3] = [1.0, 0.4, 0.2];
/// No row spends less than this share of the limit: what it costs must be found out.
const LEAST: f64 = 0.1;

/// One [`Watch`] for each row of [`Group::GOVERNED`].
pub(super) struct Watches {
    rows: [Watch; SHARES.len()],
    limit: Option<f64>,
    /// Share of polls whose first instruction is single-stepped.
    pub(super) stepped: f64,
    /// The function that does what `uv_queue_work` was given begins with such an instruction, in some target.
    pub(super) steps_queued_work: bool,
}

impl Watches {
    /// `limit`: the share of the targets' CPU time that all may spend.
    pub(super) fn new(limit: Option<f64>, interval: Nanos) -> Self {
        Self {
            rows: Group::GOVERNED.map(|groups| Watch::new(groups, limit, interval)),
            limit,
            stepped: 0.0,
            steps_queued_work: false,
        }
    }

    /// When [`Watches::keep_to_plan`] has something to do.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.rows.iter().filter_map(Watch::due).min()
    }

    /// Attaches to what was found, and says what became of the probes.
    pub(super) fn attach(&mut self, kernel: &mut Kernel, out: &mut Vec<Record>) {
        for &group in Group::UNGOVERNED {
            let metas = kernel.attach_functions(group).into_iter();
            out.extend(metas.map(|meta| Record::Meta(Meta::Probe(meta))));
        }
        for row in &mut self.rows {
            row.stepped = self.stepped;
            row.steps_queued_work = self.steps_queued_work;
            row.attach(kernel, out);
        }
    }

    /// Decides for how long is watched until the next tick: what a row has left is for those behind it.
    pub(super) fn tick(
        &mut self,
        kernel: &mut Kernel,
        now: Nanos,
        (length, on_cpu): (Nanos, Nanos),
        out: &mut Vec<Record>,
    ) {
        let mut spent = 0.0;
        for (row, share) in self.rows.iter_mut().zip(SHARES) {
            if let Some(limit) = self.limit {
                let left = (limit - spent).min(limit * share);
                row.set_limit(left.max(limit * LEAST));
            }
            row.tick(kernel, now, length, on_cpu, out);
            spent += row.spent_share;
        }
    }

    /// Takes all probes at functions off, for good.
    pub(super) fn end(&mut self, kernel: &mut Kernel) {
        for row in &mut self.rows {
            row.end(kernel);
        }
    }

    /// Begins and ends bursts.
    pub(super) fn keep_to_plan(&mut self, kernel: &mut Kernel) {
        for row in &mut self.rows {
            row.keep_to_plan(kernel);
        }
    }

    /// The share of the targets' CPU time (or of half a CPU) that all took in the last tick.
    pub(super) fn spent_share(&self) -> f64 {
        self.rows.iter().map(|row| row.spent_share).sum()
    }

    /// What watching cost since attach, in nanoseconds.
    pub(super) fn cost(&self) -> f64 {
        self.rows.iter().map(|row| row.cost).sum()
    }

    /// Polls and wakes seen since attach.
    pub(super) fn seen(&self) -> [u64; 2] {
        self.rows.first().map_or([0; 2], Watch::seen)
    }

    /// Says how long what is watched was.
    pub(super) fn tell(&self, sample: &mut ProbesSample) {
        for row in &self.rows {
            row.tell(sample);
        }
    }
}
