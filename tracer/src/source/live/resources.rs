//! When what Node has in flight is read from the memory of the targets, and what is put on record of it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tracer_common::{Nanos, Pid, Tid};

use super::observer::Question;
use crate::{
    dump::Awaiting,
    record::{HeapMeta, HeapSpaceMeta, HeapsMeta, InFlightMeta, Meta, Record},
    runtime::node::{
        Unknown,
        heap::{self, Heap},
        in_flight::InFlight,
        v8,
    },
};

/// Reads of a process take no more than this share of a CPU: after one, none for so many times as long.
const PATIENCE: u64 = 50;

/// What was read of a process.
#[derive(Debug)]
pub struct Count {
    /// When it was read.
    pub at: Nanos,
    /// How long it took.
    pub took: Nanos,
    /// How many of what, or why that is not known.
    pub found: Result<InFlight, Unknown>,
    /// How large the heaps of V8 are, or why that is not known; `None` when they were not read this time.
    pub heaps: Option<Result<Vec<Heap>, heap::Unknown>>,
    /// Async functions that wait; `None` when these were not read this time.
    pub awaiting: Option<Awaiting>,
}

/// The processes that run Node.
#[derive(Debug, Default)]
pub(super) struct Resources {
    processes: BTreeMap<Pid, Asked>,
    /// V8 in a process, by which its async functions are found.
    v8: BTreeMap<Pid, Arc<v8::Found>>,
}

#[derive(Debug, Default)]
struct Asked {
    /// A read was asked for and not answered.
    is_asked: bool,
    next: Nanos,
}

impl Resources {
    /// It runs Node, and where that keeps its lists is known.
    pub(super) fn begin(&mut self, pid: Pid) -> Question {
        let asked = Asked {
            is_asked: true,
            ..Asked::default()
        };
        self.processes.insert(pid, asked);
        Question::Count(pid, self.v8.get(&pid).cloned())
    }

    /// Whether V8 is in it, of which it is known where it keeps things.
    pub(super) fn found_js(&mut self, pid: Pid, v8: Option<Arc<v8::Found>>) {
        match v8 {
            Some(v8) => drop(self.v8.insert(pid, v8)),
            None => drop(self.v8.remove(&pid)),
        }
    }

    /// It is gone, or runs another program.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.v8.remove(&pid);
        self.processes.remove(&pid);
    }

    /// Those to be read at this tick.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<Question> {
        let (processes, v8) = (self.processes.iter_mut(), &self.v8);
        let due = processes.filter(|(_, asked)| !asked.is_asked && asked.next <= now);
        due.map(|(&pid, asked)| {
            asked.is_asked = true;
            Question::Count(pid, v8.get(&pid).cloned())
        })
        .collect()
    }

    /// Puts it on record. A read that was torn is a loss, which is for the caller to count: gives how many.
    pub(super) fn counted(&mut self, pid: Pid, count: Count, out: &mut Vec<Record>) -> u64 {
        let Some(asked) = self.processes.get_mut(&pid) else {
            return 0;
        };
        asked.is_asked = false;
        asked.next = count.at.plus(Nanos(count.took.0.saturating_mul(PATIENCE)));
        let is_torn = matches!(count.found, Err(Unknown::Torn));
        let awaits = count.awaiting.as_ref().map(|awaiting| awaiting.count);
        let meta = InFlightMeta {
            at: count.at,
            pid,
            awaits,
            await_places: count.awaiting.unwrap_or_default().places,
            ..InFlightMeta::default()
        };
        let meta = match count.found {
            Ok(found) => InFlightMeta {
                threads: u32::try_from(found.threads).unwrap_or(u32::MAX),
                requests: found.requests.into_iter().collect(),
                handles: found.handles.into_iter().collect(),
                timers: found.timers,
                immediates: found.immediates,
                ..meta
            },
            Err(unknown) => InFlightMeta {
                why: unknown.to_string(),
                ..meta
            },
        };
        out.push(Record::Meta(Meta::InFlight(meta)));
        out.extend(count.heaps.map(|found| heaps(count.at, pid, found)));
        is_torn.into()
    }
}

fn heaps(at: Nanos, pid: Pid, found: Result<Vec<Heap>, heap::Unknown>) -> Record {
    let meta = HeapsMeta {
        at,
        pid,
        ..HeapsMeta::default()
    };
    Record::Meta(Meta::Heaps(match found {
        Ok(heaps) => HeapsMeta {
            heaps: heaps.into_iter().map(|heap| heap_of(pid, heap)).collect(),
            ..meta
        },
        Err(unknown) => HeapsMeta {
            why: unknown.to_string(),
            ..meta
        },
    }))
}

fn heap_of(pid: Pid, heap: Heap) -> HeapMeta {
    let spaces = heap.spaces.into_iter().map(|space| HeapSpaceMeta {
        name: space.name,
        used_bytes: space.used,
        committed_bytes: space.committed,
    });
    let own = heap.is_main.then_some(Tid(pid.0));
    // What is read of another library's memory is believed when the kernel knows such a thread of the process.
    let is_there = |tid: &Tid| Path::new(&format!("/proc/{}/task/{}", pid.0, tid.0)).exists();
    let of_worker = heap.tid.filter(is_there);
    let (collections, left) = heap.last_full.unzip();
    HeapMeta {
        isolate: heap.isolate,
        tid: own.or(of_worker),
        spaces: spaces.collect(),
        external_bytes: heap.external,
        array_buffer_bytes: heap.array_buffers,
        limit_bytes: heap.limit,
        full_collections: collections.map(u64::from),
        after_full_bytes: left.filter(|&bytes| bytes > 0),
    }
}
