//! Events in columns.

use tracer_common::{Event, EventHeader, EventKind, Pid, Tid};

use super::{Column, Delta, Malformed, Times, rows, schema};
use crate::{record::Record, recording::container::Fields};

/// The columns of events while they are filled.
#[derive(Default)]
pub(super) struct Columns {
    message: schema::Events,
    at: Delta,
}

impl Columns {
    pub(super) fn push(&mut self, header: &EventHeader, event: &Event) {
        let columns = &mut self.message;
        let payload = event.payload();
        columns.at_delta.push(self.at.of(header.at.0));
        columns.pid.push(header.pid.0);
        columns.tid.push(header.tid.0);
        columns.cpu.push(header.cpu);
        columns.kind.push(u32::from(event.kind().0));
        columns.len.push(u32::from(header.len));
        columns.size.push(payload.len() as u32);
        columns.payload.extend_from_slice(payload);
    }

    pub(super) fn message(&self) -> &schema::Events {
        &self.message
    }
}

/// Appends the events to `records` and says how many were of a kind this version does not know.
pub(super) fn decode(
    message: &schema::Events,
    records: &mut Vec<Record>,
) -> Result<u64, Malformed> {
    let mut at = Times::new(&message.at_delta);
    let mut pid = Column::new(&message.pid);
    let mut tid = Column::new(&message.tid);
    let mut cpu = Column::new(&message.cpu);
    let mut len = Column::new(&message.len);
    let mut size = Column::new(&message.size);
    let mut payloads = Fields(&message.payload);
    let mut unknown = 0;
    let kinds = rows(&message.kind)?;
    records.reserve(kinds.len());
    for &kind in kinds {
        let at = at.next()?;
        let (pid, tid, cpu) = (Pid(pid.next()?), Tid(tid.next()?), cpu.next()?);
        let (len, size) = (len.next()?, size.next()?);
        let payload = payloads.take(size as usize).ok_or(Malformed)?;
        let known = u16::try_from(kind).ok().map(EventKind);
        let Some((kind, event)) =
            known.and_then(|kind| Some((kind, Event::decode(kind, payload)?)))
        else {
            unknown += 1;
            continue;
        };
        let Ok(len) = u16::try_from(len) else {
            return Err(Malformed);
        };
        records.push(Record::Event(
            EventHeader {
                at,
                pid,
                tid,
                cpu,
                kind,
                len,
            },
            event,
        ));
    }
    Ok(unknown)
}
