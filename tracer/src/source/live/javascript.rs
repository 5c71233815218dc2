//! Frames of JavaScript functions: they have no addresses that tell them apart, so each place in a function is given one.
//!
//! What the frames point at is in the process's memory, which takes time to read: a sample is held back until the
//! [`super::Observer`] has looked, and goes on record then.

use std::{collections::HashMap, time::Duration};

use tracer_common::{
    EventHeader, Nanos, Pid,
    event::CpuSample,
    stack::{JsFrame, JsLayout, JsTop},
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

/// Samples that wait to be looked at; more are put on record as they are.
const HELD: usize = 4_096;
/// Different places that get an address.
const PLACES: usize = 65_536;
/// What a process has mapped is looked at again after this time.
const MAPPED: Nanos = Nanos(5_000_000_000);

/// A sample with frames of JavaScript functions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsSample {
    /// Of the event.
    pub header: EventHeader,
    /// The event, without numbers of stacks.
    pub sample: CpuSample,
    /// The user stack: addresses, and what was read of each frame.
    pub frames: Vec<(u64, JsFrame)>,
    /// What was read at the inner end of the stack.
    pub top: JsTop,
    /// The kernel stack.
    pub kernel: Vec<u64>,
}

/// The session's side.
#[derive(Default)]
pub(super) struct JavaScript {
    held: Vec<JsSample>,
    /// Samples that are being looked at.
    pub(super) asked: usize,
    /// Addresses given, by process and what is there.
    given: HashMap<(Pid, Named), u64>,
    last: u64,
}

impl JavaScript {
    /// Holds a sample back; gives it again when there are too many.
    pub(super) fn hold(
        &mut self,
        header: EventHeader,
        sample: CpuSample,
        tail: &Tail,
    ) -> Option<JsSample> {
        let stacks = tail.stacks.as_ref();
        let addresses = stacks.map_or(&[][..], |stacks| stacks.first());
        let sample = JsSample {
            header,
            sample,
            frames: addresses
                .iter()
                .copied()
                .zip(tail.frames.iter().copied())
                .collect(),
            top: tail.top,
            kernel: stacks.map_or_else(Vec::new, |stacks| stacks.second().to_vec()),
        };
        if self.held.len() + self.asked >= HELD {
            return Some(sample);
        }
        self.held.push(sample);
        None
    }

    /// What the observer is to look at.
    pub(super) fn questions(&mut self) -> Option<super::Question> {
        let held = std::mem::take(&mut self.held);
        self.asked += held.len();
        (!held.is_empty()).then_some(super::Question::Name(held))
    }

    /// Those nobody was asked about.
    pub(super) fn rest(&mut self) -> Vec<JsSample> {
        std::mem::take(&mut self.held)
    }

    /// The addresses of a stack, those of named frames given here and put on record when they are new.
    pub(super) fn addresses(
        &mut self,
        sample: &JsSample,
        names: &[Option<Named>],
        out: &mut Vec<Record>,
    ) -> Vec<u64> {
        let mut names = names.iter();
        let mut address = |&(address, _): &(u64, JsFrame)| {
            let name = names.next().and_then(Option::as_ref);
            name.and_then(|name| self.address(sample.header.pid, name, out))
                .unwrap_or(address)
        };
        sample.frames.iter().map(&mut address).collect()
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
    found: v8::Found,
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
            found,
            v8,
            memory,
            looked: sys::monotonic(),
        })
    }

    /// What the kernel side needs to tell its frames.
    pub(super) fn layout(&self) -> JsLayout {
        self.v8.layout().for_kernel()
    }

    /// What was found for each frame of a sample; counts those for which nothing was found.
    pub(super) fn name(&mut self, sample: &mut JsSample, unknown: &mut u64) -> Vec<Option<Named>> {
        let now = sys::monotonic();
        if now.since(self.looked).is_some_and(|since| since > MAPPED) {
            self.v8.set_texts(self.found.texts(sample.header.pid));
            self.looked = now;
        }
        let frames = &mut sample.frames;
        stack::name(&mut self.v8, &self.memory, frames, &sample.top, unknown)
    }
}
