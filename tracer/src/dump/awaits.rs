//! Async functions of JavaScript that are at an `await`, counted from the memory of a target by where they wait.

use tracer_common::{Nanos, Pid};

use crate::{
    human,
    runtime::{
        memory::Memory,
        node::v8::{self, V8, awaits},
    },
    target::sys,
};

/// Reads of a process take no more than this share of a CPU: after one, none for so many times as long.
const PATIENCE: u64 = 50;
/// Places that are told, those with most functions first.
const PLACES: usize = 64;

/// Reads them in one process.
pub struct AwaitReader {
    v8: V8,
    next: Nanos,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaiting {
    /// In all.
    pub count: u64,
    /// By function and line: `loadUser (users.js:20)`. The most; not always all.
    pub places: Vec<(String, u64)>,
}

impl AwaitReader {
    /// For a process in which this V8 was found.
    #[must_use]
    pub fn of(pid: Pid, v8: &v8::Found) -> Self {
        Self {
            v8: V8::new(v8.layout.clone(), v8.texts(pid)),
            next: Nanos(0),
        }
    }

    /// Counts them, unless it is too early to do so again. `None` also when V8 moved objects during each reading, or not
    /// all memory was looked at: then some would be missing, or there twice.
    pub fn read(&mut self, pid: Pid, memory: &dyn Memory) -> Option<Awaiting> {
        if sys::monotonic() < self.next {
            return None;
        }
        let found = awaits::look(&mut self.v8, pid, memory);
        let took = found.as_ref().map_or(Nanos(0), |found| found.took);
        self.next = sys::monotonic().plus(Nanos(took.0.saturating_mul(PATIENCE)));
        let found = found?;
        if found.has_moved || !found.is_whole {
            return None;
        }
        let places = found.counts().into_iter().take(PLACES);
        let places = places.map(|(place, count)| {
            let name = human::js_function(&place.function, &place.script, place.line);
            (name, count)
        });
        Some(Awaiting {
            count: found.pending.len() as u64,
            places: places.collect(),
        })
    }
}
