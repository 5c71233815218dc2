//! Frames of JavaScript functions: they have no addresses that tell them apart, so each place in a function is given one.
//!
//! What the frames point at is in the process's memory, which takes time to read: a sample, or a long wait, is held back
//! until the [`super::Observer`] has looked, and goes on record then.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tracer_common::{
    Event, EventHeader, Nanos, Pid,
    stack::{JsFrame, JsTop},
};

use super::Tail;
use crate::{
    record::{FrameMeta, Meta, Record, SymbolMeta},
    runtime::{
        memory::ProcessMemory,
        node::v8::{self, Named, V8, stack},
    },
    target::sys,
};

/// Events that wait to be looked at; more are put on record as they are.
const HELD: usize = 4_096;
/// Different places that get an address.
const PLACES: usize = 65_536;
/// What a process has mapped is looked at again after this time.
const MAPPED: Nanos = Nanos(5_000_000_000);

/// An event whose first stack has frames of JavaScript functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsEvent {
    /// Of the event.
    pub header: EventHeader,
    /// The event, without numbers of stacks.
    pub event: Event,
    /// The process that the first stack is of.
    pub pid: Pid,
    /// That stack: addresses, and what was read of each frame.
    pub frames: Vec<(u64, JsFrame)>,
    /// What was read at its inner end.
    pub top: JsTop,
    /// The second stack.
    pub second: Vec<u64>,
}

/// The session's side.
#[derive(Default)]
pub(super) struct JavaScript {
    held: Vec<JsEvent>,
    /// Events that are being looked at.
    pub(super) asked: usize,
    /// Addresses given, by process and what is there.
    given: HashMap<(Pid, Named), u64>,
    last: u64,
}

impl JavaScript {
    /// Holds an event back; gives it again when there are too many.
    pub(super) fn hold(
        &mut self,
        header: EventHeader,
        event: Event,
        tail: Tail,
    ) -> Option<JsEvent> {
        let stacks = tail.stacks.as_ref();
        let addresses = stacks.map_or(&[][..], |stacks| stacks.first());
        let held = JsEvent {
            header,
            event,
            // The header of a wait names the waker.
            pid: match event {
                Event::LongWait(wait) => wait.pid,
                Event::CpuSample(_)
                | Event::ThreadStart(_)
                | Event::ThreadExit(_)
                | Event::ProcessExit(_)
                | Event::Exec(_)
                | Event::Mapped(_)
                | Event::Unmapped(_)
                | Event::LongPoll(_)
                | Event::LongIteration(_)
                | Event::LongCallback(_)
                | Event::Call(_) => header.pid,
            },
            frames: addresses.iter().copied().zip(tail.frames).collect(),
            top: tail.top,
            second: stacks.map_or_else(Vec::new, |stacks| stacks.second().to_vec()),
        };
        if self.held.len() + self.asked >= HELD {
            return Some(held);
        }
        self.held.push(held);
        None
    }

    /// What the observer is to look at.
    pub(super) fn questions(&mut self) -> Option<super::Question> {
        let held = std::mem::take(&mut self.held);
        self.asked += held.len();
        (!held.is_empty()).then_some(super::Question::Name(held))
    }

    /// Those nobody was asked about.
    pub(super) fn rest(&mut self) -> Vec<JsEvent> {
        std::mem::take(&mut self.held)
    }

    /// The addresses of a stack, those of named frames given here and put on record when they are new.
    pub(super) fn addresses(
        &mut self,
        held: &JsEvent,
        names: &[Option<Named>],
        out: &mut Vec<Record>,
    ) -> Vec<u64> {
        let mut names = names.iter();
        let mut address = |&(address, _): &(u64, JsFrame)| {
            let name = names.next().and_then(Option::as_ref);
            name.and_then(|name| self.address(held.pid, name, out))
                .unwrap_or(address)
        };
        held.frames.iter().map(&mut address).collect()
    }

    fn address(&mut self, pid: Pid, named: &Named, out: &mut Vec<Record>) -> Option<u64> {
        let key = (pid, named.clone());
        if let Some(&address) = self.given.get(&key) {
            return Some(address);
        }
        if self.given.len() >= PLACES {
            return None;
        }
        self.last += 1;
        let address = SymbolMeta::GIVEN | self.last;
        self.given.insert(key, address);
        let frame = |place: &v8::Place| FrameMeta {
            function: place.function.to_string(),
            file: place.script.to_string(),
            line: place.line,
        };
        out.push(Record::Meta(Meta::Symbol(SymbolMeta {
            pid,
            address,
            module: named.kind.name().to_owned(),
            offset: 0,
            frames: named.places.iter().map(frame).collect(),
        })));
        Some(address)
    }

    /// The process runs another program.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.given.retain(|(of, _), _| *of != pid);
    }
}

/// The observer's side: V8 in one process.
pub(super) struct Js {
    found: Arc<v8::Found>,
    v8: V8,
    memory: ProcessMemory,
    looked: Nanos,
}

impl Js {
    /// Looks for V8 in a process.
    pub(super) fn find(pid: Pid) -> Option<Self> {
        let begun = sys::monotonic();
        let found = v8::find(pid)?;
        let v8 = V8::new(found.layout.clone(), found.texts(pid));
        let memory = ProcessMemory::of(pid).ok()?;
        let (major, minor) = found.layout.version;
        let took = sys::monotonic().since(begun).unwrap_or_default();
        let took = Duration::from_nanos(took.0);
        log::info!("process {}: V8 {major}.{minor}, found in {took:?}", pid.0);
        Some(Self {
            found: found.into(),
            v8,
            memory,
            looked: sys::monotonic(),
        })
    }

    /// What was found.
    pub(super) fn found(&self) -> Arc<v8::Found> {
        Arc::clone(&self.found)
    }

    /// What was found for each frame of an event; counts those for which nothing was found.
    pub(super) fn name(&mut self, held: &mut JsEvent, unknown: &mut u64) -> Vec<Option<Named>> {
        let now = sys::monotonic();
        if now.since(self.looked).is_some_and(|since| since > MAPPED) {
            self.v8.set_texts(self.found.texts(held.pid));
            self.looked = now;
        }
        let frames = &mut held.frames;
        stack::name(&mut self.v8, &self.memory, frames, &held.top, unknown)
    }
}
