//! Addresses of a process or of the kernel → names, for stacks that were collected as raw addresses.
//!
//! Runs at record time and off the hot path: a first question about a program reads its symbols (milliseconds, with
//! large debug information more), and a recording holds the names, because the files may be elsewhere afterwards.
//! Reads `/proc` and files only. Never fails and never guesses: what has no name keeps its module and offset.
//!
//! Code that a runtime makes while it runs (JIT) is `[anon]` here and has no frames.

use std::collections::{BTreeMap, HashMap, HashSet};

use tracer_common::Pid;

mod cache;
mod engine;
mod files;
mod maps;
pub mod name;
mod target;
#[cfg(test)]
mod tests;

use cache::Recent;
use engine::{Engine, Frames};
use files::Files;
use maps::Maps;
use target::Target;

use crate::target::mapping::FileKey;

/// Places whose frames are kept. Measured, one takes 350 bytes in Node and 700 in a Rust program with debug
/// information, so all take 10 to 25 MiB.
const PLACES: usize = 32_768;
/// Files held open. Each costs up to three descriptors and what its symbols take parsed: 3 MiB for Node, tens for a
/// large program with debug information.
const FILES: usize = 96;
/// Processes whose mappings are kept; [`Symbolizer::forget`] is the usual end of one.
const PROCESSES: usize = 1_024;

/// An address to look up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lookup {
    /// Virtual address.
    pub address: u64,
    /// It is where a call returns to. The call is the instruction before, and where it is a function's or a line's
    /// last, the address itself is already in the next one: the name looked up is that of the byte before.
    pub is_return: bool,
}

impl Lookup {
    /// An address that was being executed.
    #[must_use]
    pub const fn at(address: u64) -> Self {
        Self {
            address,
            is_return: false,
        }
    }

    /// An address that a call returns to.
    #[must_use]
    pub const fn return_to(address: u64) -> Self {
        Self {
            address,
            is_return: true,
        }
    }

    /// The addresses of a stack, innermost first: the first one was being executed, all others are returned to.
    pub fn stack(addresses: &[u64]) -> impl Iterator<Item = Self> + '_ {
        addresses.iter().enumerate().map(|(depth, &address)| Self {
            address,
            is_return: depth > 0,
        })
    }

    fn place(self) -> u64 {
        self.address.saturating_sub(u64::from(self.is_return))
    }
}

/// What is known about an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    /// The virtual address that was asked for.
    pub address: u64,
    /// Path of the mapped file as the target sees it; `[vdso]`, `[heap]` and the like as the kernel names them,
    /// `[anon]`, `[kernel]`, or empty when nothing is mapped there.
    pub module: String,
    /// Where the address is in the module's file, in bytes from its start; 0 when unknown.
    pub offset: u64,
    /// Innermost inlined function first, the out-of-line function last. Empty when there is no name.
    pub frames: Vec<Frame>,
}

/// One function at an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Demangled, without Rust's hash. At most [`name::LONGEST`] bytes.
    pub function: String,
    /// Source file as the compiler wrote it; empty when unknown.
    pub file: String,
    /// Line in `file`, from 1; 0 when unknown. For all but the innermost frame it is the line of the call.
    pub line: u32,
}

/// Where code is, whichever process has it mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    File(FileKey),
    Vdso,
    Kernel,
}

/// Finds the names, and keeps what it found. Belongs to one worker thread.
pub struct Symbolizer {
    engine: Engine,
    files: Files,
    known: Recent<(Place, u64), Frames>,
    processes: HashMap<Pid, Maps>,
    clock: u64,
}

impl Default for Symbolizer {
    fn default() -> Self {
        Self::new()
    }
}

impl Symbolizer {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            engine: Engine::new(),
            files: Files::new(FILES),
            known: Recent::new(PLACES),
            processes: HashMap::new(),
            clock: 0,
        }
    }

    /// Keeps what `pid` has mapped, and the files of its code open, so that its addresses can be looked up when it
    /// has ended. At attach, and again when it may have loaded more.
    pub fn remember(&mut self, pid: Pid) {
        let Some(mut target) = self.take(pid) else {
            return;
        };
        for index in 0..target.maps.mappings.len() {
            if target.maps.mappings[index].executable {
                target.hold(&mut self.files, &mut self.engine, index);
            }
        }
        self.put_back(target);
    }

    /// Drops what is known about the process itself; call it when no more of its addresses will come. What is known
    /// about its files stays, other processes may share it.
    pub fn forget(&mut self, pid: Pid) {
        self.processes.remove(&pid);
    }

    /// Names of user space addresses of `pid`, one for each, in their order.
    ///
    /// Reads `/proc/PID/maps` once per call, so ask for many at a time. Of a process that has ended, the mappings
    /// last seen are used; until it is forgotten, its number stays its own, even when the kernel gives it to another.
    pub fn process(&mut self, pid: Pid, lookups: &[Lookup]) -> Vec<Symbol> {
        let mut symbols = symbols(lookups, "");
        let Some(mut target) = self.take(pid) else {
            return symbols;
        };
        let places: Vec<_> = lookups
            .iter()
            .zip(&mut symbols)
            .map(|(lookup, symbol)| {
                let index = target.maps.index(lookup.place())?;
                let mapping = &target.maps.mappings[index];
                symbol.module = target.maps.module(mapping);
                symbol.offset = mapping.place_of(lookup.address);
                if !mapping.executable {
                    return None;
                }
                let at = mapping.place_of(lookup.place());
                if &*mapping.path == "[vdso]" {
                    return Some((Place::Vdso, at));
                }
                let key = target.key(&mut self.files, &mut self.engine, index)?;
                Some((Place::File(key), at))
            })
            .collect();
        self.name(&places, &mut symbols, Some(&mut target));
        self.put_back(target);
        symbols
    }

    /// Names of kernel addresses, one for each, in their order. Needs root, or `CAP_SYSLOG` where
    /// `kernel.kptr_restrict` is 1; with 2 there are none.
    pub fn kernel(&mut self, lookups: &[Lookup]) -> Vec<Symbol> {
        let mut symbols = symbols(lookups, "[kernel]");
        let places: Vec<_> = lookups
            .iter()
            .map(|lookup| Some((Place::Kernel, lookup.place())))
            .collect();
        self.name(&places, &mut symbols, None);
        symbols
    }

    /// Fills in the frames of `symbols`: from what is known, and in one question per file what is not.
    fn name(
        &mut self,
        places: &[Option<(Place, u64)>],
        symbols: &mut [Symbol],
        mut target: Option<&mut Target>,
    ) {
        let mut unknown: BTreeMap<Place, BTreeMap<u64, Vec<usize>>> = BTreeMap::new();
        for (index, place) in places.iter().enumerate() {
            let Some(place) = *place else { continue };
            match self.known.get(&place) {
                Some(frames) => symbols[index].frames = frames.to_vec(),
                None => {
                    let of_file = unknown.entry(place.0).or_default();
                    of_file.entry(place.1).or_default().push(index);
                }
            }
        }
        for (place, askers) in unknown {
            let offsets: Vec<u64> = askers.keys().copied().collect();
            let answers = match place {
                Place::File(key) => target.as_deref_mut().and_then(|target| {
                    target.frames(&mut self.files, &mut self.engine, key, &offsets)
                }),
                Place::Vdso => self.engine.vdso(&offsets),
                Place::Kernel => self.engine.kernel(&offsets),
            };
            // Could not be asked: perhaps next time.
            let Some(answers) = answers else { continue };
            for ((offset, indexes), frames) in askers.into_iter().zip(answers) {
                for index in indexes {
                    symbols[index].frames = frames.to_vec();
                }
                self.known.insert((place, offset), frames);
            }
        }
    }

    /// What `pid` has mapped now, or had when it was last seen. `None` when nothing is known.
    fn take(&mut self, pid: Pid) -> Option<Target> {
        let mut maps = self.processes.remove(&pid).unwrap_or_default();
        let live = maps.refresh(pid);
        (!maps.mappings.is_empty()).then(|| Target {
            pid,
            maps,
            live,
            mapping_of: HashMap::new(),
            without_file: HashSet::new(),
        })
    }

    fn put_back(&mut self, target: Target) {
        let Target { pid, mut maps, .. } = target;
        self.clock += 1;
        maps.used = self.clock;
        if self.processes.len() >= PROCESSES {
            let oldest = self.processes.iter().min_by_key(|(_, maps)| maps.used);
            if let Some((&oldest, _)) = oldest {
                self.processes.remove(&oldest);
            }
        }
        self.processes.insert(pid, maps);
    }
}

fn symbols(lookups: &[Lookup], module: &str) -> Vec<Symbol> {
    let symbol = |lookup: &Lookup| Symbol {
        address: lookup.address,
        module: module.to_owned(),
        ..Symbol::default()
    };
    lookups.iter().map(symbol).collect()
}
