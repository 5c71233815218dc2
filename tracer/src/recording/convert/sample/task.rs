//! Samples of tasks, in columns.

use tracer_common::{Pid, Tid};

use super::{
    super::{Column, Delta, Malformed, Times},
    schema,
};
use crate::record::{AliveSample, TaskSample};

/// The last values of the columns that are kept as differences, while they are filled.
#[derive(Default)]
pub(super) struct Columns {
    alive_at: Delta,
    alive_vtable: Delta,
    at: Delta,
    header: Delta,
    id: Delta,
    vtable: Delta,
    first: Delta,
    poll: Delta,
}

impl Columns {
    pub(super) fn push_alive(&mut self, columns: &mut schema::AliveSamples, sample: &AliveSample) {
        columns.at_delta.push(self.alive_at.of(sample.at.0));
        columns.pid.push(sample.pid.0);
        columns
            .vtable_delta
            .push(self.alive_vtable.of(sample.vtable));
        columns.running.push(sample.running);
        columns.queued.push(sample.queued);
        columns.idle.push(sample.idle);
        columns.complete.push(sample.complete);
    }

    pub(super) fn push_task(&mut self, columns: &mut schema::TaskSamples, sample: &TaskSample) {
        columns.at_delta.push(self.at.of(sample.at.0));
        columns.pid.push(sample.pid.0);
        columns.header_delta.push(self.header.of(sample.header));
        columns.id_delta.push(self.id.of(sample.id));
        columns.vtable_delta.push(self.vtable.of(sample.vtable));
        columns.owner.push(sample.owner);
        columns.state.push(sample.state);
        columns.first_delta.push(self.first.of(sample.first.0));
        columns.tid.push(sample.tid.0);
        columns.poll_delta.push(self.poll.of(sample.poll.0));
    }
}

pub(super) struct AliveRows<'a> {
    at: Times<'a>,
    pid: Column<'a, u32>,
    vtable: Times<'a>,
    running: Column<'a, u64>,
    queued: Column<'a, u64>,
    idle: Column<'a, u64>,
    complete: Column<'a, u64>,
}

impl<'a> AliveRows<'a> {
    pub(super) fn new(columns: &'a schema::AliveSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            pid: Column::new(&columns.pid),
            vtable: Times::new(&columns.vtable_delta),
            running: Column::new(&columns.running),
            queued: Column::new(&columns.queued),
            idle: Column::new(&columns.idle),
            complete: Column::new(&columns.complete),
        }
    }

    pub(super) fn next(&mut self) -> Result<AliveSample, Malformed> {
        Ok(AliveSample {
            at: self.at.next()?,
            pid: Pid(self.pid.next()?),
            vtable: self.vtable.next()?.0,
            running: self.running.next()?,
            queued: self.queued.next()?,
            idle: self.idle.next()?,
            complete: self.complete.next()?,
        })
    }
}

pub(super) struct TaskRows<'a> {
    at: Times<'a>,
    pid: Column<'a, u32>,
    header: Times<'a>,
    id: Times<'a>,
    vtable: Times<'a>,
    owner: Column<'a, u64>,
    state: Column<'a, u64>,
    first: Times<'a>,
    tid: Column<'a, u32>,
    poll: Times<'a>,
}

impl<'a> TaskRows<'a> {
    pub(super) fn new(columns: &'a schema::TaskSamples) -> Self {
        Self {
            at: Times::new(&columns.at_delta),
            pid: Column::new(&columns.pid),
            header: Times::new(&columns.header_delta),
            id: Times::new(&columns.id_delta),
            vtable: Times::new(&columns.vtable_delta),
            owner: Column::new(&columns.owner),
            state: Column::new(&columns.state),
            first: Times::new(&columns.first_delta),
            tid: Column::new(&columns.tid),
            poll: Times::new(&columns.poll_delta),
        }
    }

    pub(super) fn next(&mut self) -> Result<TaskSample, Malformed> {
        Ok(TaskSample {
            at: self.at.next()?,
            pid: Pid(self.pid.next()?),
            header: self.header.next()?.0,
            id: self.id.next()?.0,
            vtable: self.vtable.next()?.0,
            owner: self.owner.next()?,
            state: self.state.next()?,
            first: self.first.next()?,
            tid: Tid(self.tid.next()?),
            poll: self.poll.next()?,
        })
    }
}
