//! When what Node has in flight is read from the memory of the targets, and what is put on record of it.

use std::collections::BTreeMap;

use tracer_common::{Nanos, Pid};

use super::observer::Question;
use crate::{
    dump::Awaiting,
    record::{InFlightMeta, Meta, Record},
    runtime::node::{Unknown, in_flight::InFlight},
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
    /// Async functions that wait; `None` when these were not read this time.
    pub awaiting: Option<Awaiting>,
}

/// The processes that run Node.
#[derive(Debug, Default)]
pub(super) struct Resources {
    processes: BTreeMap<Pid, Asked>,
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
        Question::Count(pid)
    }

    /// It is gone, or runs another program.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.processes.remove(&pid);
    }

    /// Those to be read at this tick.
    pub(super) fn due(&mut self, now: Nanos) -> Vec<Question> {
        let processes = self.processes.iter_mut();
        let due = processes.filter(|(_, asked)| !asked.is_asked && asked.next <= now);
        due.map(|(&pid, asked)| {
            asked.is_asked = true;
            Question::Count(pid)
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
        is_torn.into()
    }
}
