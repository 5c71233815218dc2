//! Samples that stand for themselves: what processes hold, pressure, the cost of probes. In columns.

use tracer_common::{Nanos, Pid};

use super::{
    super::{Column, Delta, Later, Malformed, Times},
    schema,
};
use crate::record::{HoldingSample, PressureSample, ProbesSample};

/// The last times of the columns while they are filled.
#[derive(Default)]
pub(super) struct Columns {
    holding_at: Delta,
    pressure_at: Delta,
    probes_at: Delta,
}

impl Columns {
    pub(super) fn push_holding(
        &mut self,
        columns: &mut schema::HoldingSamples,
        sample: &HoldingSample,
    ) {
        columns.at_delta.push(self.holding_at.of(sample.at.0));
        columns.pid.push(sample.pid.0);
        columns.pss_bytes.push(known(sample.pss_bytes));
        columns.swap_bytes.push(known(sample.swap_bytes));
        columns.descriptors.push(known(sample.descriptors));
        columns.sockets.push(known(sample.sockets));
    }

    pub(super) fn push_pressure(
        &mut self,
        columns: &mut schema::PressureSamples,
        sample: &PressureSample,
    ) {
        let time = |time: Option<Nanos>| known(time.map(|time| time.0));
        columns.at_delta.push(self.pressure_at.of(sample.at.0));
        columns.memory_some.push(time(sample.memory_some));
        columns.memory_full.push(time(sample.memory_full));
        columns
            .cgroup_memory_some
            .push(time(sample.cgroup_memory_some));
        columns
            .cgroup_memory_full
            .push(time(sample.cgroup_memory_full));
        columns.throttled.push(time(sample.throttled));
    }

    pub(super) fn push_probes(
        &mut self,
        columns: &mut schema::ProbesSamples,
        sample: &ProbesSample,
    ) {
        columns.at_delta.push(self.probes_at.of(sample.at.0));
        columns.time.push(sample.time.0);
        columns.runs.push(sample.runs);
        columns.target_time.push(sample.target_time.0);
        columns.polls_first.push(sample.polls_first.0);
        columns.polls_last.push(sample.polls_last.0);
        columns.works_on.push(sample.works_on.0);
        columns.callbacks_first.push(sample.callbacks_first.0);
        columns.callbacks_on.push(sample.callbacks_on.0);
        columns.promises_first.push(sample.promises_first.0);
        columns.promises_on.push(sample.promises_on.0);
        columns.polls_on.push(sample.polls_on.0);
        columns.wakes_on.push(sample.wakes_on.0);
    }
}

/// A value that may not be known, in a cell: -1 then. Values are below 2^63 by nature; a larger one is not known.
fn known(value: Option<u64>) -> i64 {
    value
        .and_then(|value| i64::try_from(value).ok())
        .unwrap_or(-1)
}

fn value(cell: i64) -> Option<u64> {
    u64::try_from(cell).ok()
}

pub(super) struct HoldingRows<'a> {
    at: Times<'a>,
    pid: Column<'a, u32>,
    pss_bytes: Column<'a, i64>,
    swap_bytes: Column<'a, i64>,
    descriptors: Column<'a, i64>,
    sockets: Column<'a, i64>,
}

impl<'a> HoldingRows<'a> {
    pub(super) fn new(columns: &'a schema::HoldingSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            pid: Column::new(&columns.pid),
            pss_bytes: Column::new(&columns.pss_bytes),
            swap_bytes: Column::new(&columns.swap_bytes),
            descriptors: Column::new(&columns.descriptors),
            sockets: Column::new(&columns.sockets),
        }
    }

    pub(super) fn next(&mut self) -> Result<HoldingSample, Malformed> {
        Ok(HoldingSample {
            at: self.at.next()?,
            pid: Pid(self.pid.next()?),
            pss_bytes: value(self.pss_bytes.next()?),
            swap_bytes: value(self.swap_bytes.next()?),
            descriptors: value(self.descriptors.next()?),
            sockets: value(self.sockets.next()?),
        })
    }
}

pub(super) struct PressureRows<'a> {
    at: Times<'a>,
    memory_some: Column<'a, i64>,
    memory_full: Column<'a, i64>,
    cgroup_memory_some: Column<'a, i64>,
    cgroup_memory_full: Column<'a, i64>,
    throttled: Column<'a, i64>,
}

impl<'a> PressureRows<'a> {
    pub(super) fn new(columns: &'a schema::PressureSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            memory_some: Column::new(&columns.memory_some),
            memory_full: Column::new(&columns.memory_full),
            cgroup_memory_some: Column::new(&columns.cgroup_memory_some),
            cgroup_memory_full: Column::new(&columns.cgroup_memory_full),
            throttled: Column::new(&columns.throttled),
        }
    }

    pub(super) fn next(&mut self) -> Result<PressureSample, Malformed> {
        let time = |cell| value(cell).map(Nanos);
        Ok(PressureSample {
            at: self.at.next()?,
            memory_some: time(self.memory_some.next()?),
            memory_full: time(self.memory_full.next()?),
            cgroup_memory_some: time(self.cgroup_memory_some.next()?),
            cgroup_memory_full: time(self.cgroup_memory_full.next()?),
            throttled: time(self.throttled.next()?),
        })
    }
}

pub(super) struct ProbesRows<'a> {
    at: Times<'a>,
    time: Column<'a, u64>,
    runs: Column<'a, u64>,
    target_time: Column<'a, u64>,
    polls_first: Later<'a, u64>,
    polls_last: Later<'a, u64>,
    works_on: Later<'a, u64>,
    callbacks_first: Later<'a, u64>,
    callbacks_on: Later<'a, u64>,
    promises_first: Later<'a, u64>,
    promises_on: Later<'a, u64>,
    polls_on: Later<'a, u64>,
    wakes_on: Later<'a, u64>,
}

impl<'a> ProbesRows<'a> {
    pub(super) fn new(columns: &'a schema::ProbesSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            time: Column::new(&columns.time),
            runs: Column::new(&columns.runs),
            target_time: Column::new(&columns.target_time),
            polls_first: Later::new(&columns.polls_first),
            polls_last: Later::new(&columns.polls_last),
            works_on: Later::new(&columns.works_on),
            callbacks_first: Later::new(&columns.callbacks_first),
            callbacks_on: Later::new(&columns.callbacks_on),
            promises_first: Later::new(&columns.promises_first),
            promises_on: Later::new(&columns.promises_on),
            polls_on: Later::new(&columns.polls_on),
            wakes_on: Later::new(&columns.wakes_on),
        }
    }

    pub(super) fn next(&mut self) -> Result<ProbesSample, Malformed> {
        Ok(ProbesSample {
            at: self.at.next()?,
            time: Nanos(self.time.next()?),
            runs: self.runs.next()?,
            target_time: Nanos(self.target_time.next()?),
            polls_first: Nanos(self.polls_first.next()?),
            polls_last: Nanos(self.polls_last.next()?),
            works_on: Nanos(self.works_on.next()?),
            callbacks_first: Nanos(self.callbacks_first.next()?),
            callbacks_on: Nanos(self.callbacks_on.next()?),
            promises_first: Nanos(self.promises_first.next()?),
            promises_on: Nanos(self.promises_on.next()?),
            polls_on: Nanos(self.polls_on.next()?),
            wakes_on: Nanos(self.wakes_on.next()?),
        })
    }
}
