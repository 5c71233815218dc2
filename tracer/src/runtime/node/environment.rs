//! The environments of a process: one for its main thread and one for each worker thread. An environment (`node::Environment`)
//! holds what Node keeps per thread, the lists of what is in flight among it.
//!
//! No probe is needed to find them. libuv keeps the address of its default loop, which is the main thread's; the loop lists
//! its handles, some of which are parts of the environment; and an environment begins with the address of its class's
//! vtable, which Node offers to add-ons. That of a worker thread is found in the object that stands for the worker
//! (`node::worker::Worker`), and that one in the set that its parent's environment keeps.
//!
//! Nothing is believed for where it is: every object has to begin with the vtable of its class, every list has to lead
//! back, and an environment's own lists have to be lists.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Component, Node,
    list::{Before, Budget, Links, Unknown, word},
};
use crate::runtime::{code::Code, image::Image, memory::Memory};
use iced_x86::{OpKind, Register};
use tracer_common::Tid;

/// The class of environments.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/env.h> (`class Environment final : public MemoryRetainer`)
const ENVIRONMENT: &str = "_ZTVN4node11EnvironmentE";
/// That of workers.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/node_worker.h> (`class Worker : public AsyncWrap`)
const WORKER: &str = "_ZTVN4node6worker6WorkerE";
/// Gives the default loop, making it the first time.
const DEFAULT_LOOP: &str = "uv_default_loop";

/// Objects point this far behind the start of a vtable.
/// <https://itanium-cxx-abi.github.io/cxx-abi/abi.html#vtable-components>
const FIRST_METHOD: u64 = 16;

/// Where a loop has the links to its handles, in bytes, and these in a handle: <https://github.com/libuv/libuv/blob/v1.44.2/include/uv.h>
/// (`struct uv_loop_s`, `UV_HANDLE_FIELDS`). The same until 1.52; whether it is so here shows in that each handle names its
/// loop and its neighbours name it.
const HANDLES: u64 = 16;
const LINKS_IN_HANDLE: u64 = 32;
const LOOP_IN_HANDLE: usize = 8;
const OF_LOOP: Links = Links { next: 0, prev: 8 };

/// Handles looked at for being part of an environment: those are the first ones of a loop.
const LOOKED_AT: u64 = 256;
/// An environment has no more bytes: 2 to 5 thousand in versions 18 to 26.
pub(super) const LARGEST: u64 = 16 << 10;
/// A worker has no more bytes: about 600.
const WORKER_BYTES: usize = 2 << 10;
/// Times an environment that is known is looked at until its lists are whole.
const ATTEMPTS: usize = 16;
/// Workers of one process.
const MOST_WORKERS: usize = 4_096;
/// Memory is read in such pieces where it may end.
const PAGE: u64 = 4_096;

/// What an object of Node's classes begins with, as the file was linked: of environments and of workers.
pub(super) fn vtables(image: &Image) -> [Option<u64>; 2] {
    first_methods(image, [ENVIRONMENT, WORKER])
}

/// What objects of classes begin with, by the names of the classes' vtables.
pub(super) fn first_methods(image: &Image, vtables: [&str; 2]) -> [Option<u64>; 2] {
    let vtables = image.exported(vtables);
    vtables.map(|table| table.map(|table| table.wrapping_add(FIRST_METHOD)))
}

/// Where libuv keeps the address of its default loop, as the file was linked: what the function looks at first.
/// <https://github.com/libuv/libuv/blob/v1.51.0/src/uv-common.c> (`uv_default_loop`)
pub(super) fn default_loop(code: &Code) -> Option<u64> {
    let [function] = code.image.exported([DEFAULT_LOOP]);
    let mut instructions = code.decode(code.bounds(function?)).take(12);
    instructions.find_map(|instruction| {
        let mut operands = (0..instruction.op_count()).map(|at| instruction.op_kind(at));
        let is_read = operands.any(|kind| kind == OpKind::Memory);
        let is_alone = instruction.memory_base() == Register::None
            && instruction.memory_index() == Register::None
            && instruction.segment_prefix() == Register::None;
        let place = if instruction.is_ip_rel_memory_operand() {
            instruction.ip_rel_memory_address()
        } else if is_read && is_alone {
            instruction.memory_displacement64()
        } else {
            return None;
        };
        let is_word = instruction.memory_size().size() == 8;
        let is_variable = code.image.is_data(place) && !code.image.is_constant(place);
        (is_word && is_variable).then_some(place)
    })
}

/// Finds environments. Remembers what it found, and looks whether it is still so.
#[derive(Clone, Debug)]
pub(super) struct Environments {
    /// Where libuv keeps the address of its default loop.
    default_loop: u64,
    /// What an environment begins with.
    environment: u64,
    /// What a worker begins with.
    worker: Option<u64>,
    /// That of the main thread.
    main: Option<u64>,
    /// Where a worker has the address of its own environment, in bytes.
    own_in_worker: Option<usize>,
    /// The workers whose environments were found last, by these.
    workers: BTreeMap<u64, u64>,
}

impl Environments {
    /// `None` when the files do not tell where to look.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let module = node.module(Component::Node)?;
        let uv = node.module(Component::Uv)?;
        let [environment, worker] = module.holds.vtables;
        Some(Self {
            default_loop: uv.holds.default_loop?.wrapping_add(uv.bias),
            environment: environment?.wrapping_add(module.bias),
            worker: worker.map(|worker| worker.wrapping_add(module.bias)),
            main: None,
            own_in_worker: None,
            workers: BTreeMap::new(),
        })
    }

    /// All that are there, the main thread's first. `lists` are where an environment has lists.
    pub(super) fn find(
        &mut self,
        memory: &dyn Memory,
        lists: &[(u64, Links)],
        budget: &mut Budget,
    ) -> Result<Vec<u64>, Unknown> {
        let begins_as_one =
            |at: u64| at.is_multiple_of(8) && memory.word(at) == Some(self.environment);
        let is_one = |memory: &dyn Memory, at: u64| {
            let mut lists = lists.iter();
            begins_as_one(at)
                && lists.all(|&(list, links)| links.fits(memory, at.wrapping_add(list)))
        };
        let main = match self.main.filter(|&main| begins_as_one(main)) {
            // Its lists may just be changing.
            Some(main) if (0..ATTEMPTS).any(|_| is_one(memory, main)) => main,
            Some(_) => return Err(Unknown::Torn),
            None => self.on_default_loop(memory, &is_one, budget)?,
        };
        self.main = Some(main);
        self.workers.clear();
        let mut all = vec![main];
        let mut next = 0;
        let Some(worker) = self.worker else {
            return Ok(all);
        };
        let mut own_in_worker = self.own_in_worker;
        while let Some(&environment) = all.get(next) {
            next += 1;
            for worker in workers(memory, environment, worker, budget)? {
                budget.step()?;
                let own = own_environment(memory, worker, own_in_worker, |at| {
                    !all.contains(&at) && is_one(memory, at)
                });
                if let Some((place, own)) = own {
                    own_in_worker = Some(place);
                    self.workers.insert(own, worker);
                    all.push(own);
                }
            }
        }
        self.own_in_worker = own_in_worker;
        Ok(all)
    }

    /// The thread of a worker, by its environment, of those that were found last.
    pub(super) fn thread(&self, memory: &dyn Memory, environment: u64) -> Option<Tid> {
        thread(memory, *self.workers.get(&environment)?)
    }

    /// The environment that handles of the default loop are part of.
    fn on_default_loop(
        &self,
        memory: &dyn Memory,
        is_one: &impl Fn(&dyn Memory, u64) -> bool,
        budget: &mut Budget,
    ) -> Result<u64, Unknown> {
        let default = memory.word(self.default_loop);
        let default = default.filter(|&at| at != 0).ok_or(Unknown::NotStarted)?;
        let mut handles = Vec::new();
        let head = default.wrapping_add(HANDLES);
        let before_links = Before {
            bytes: LINKS_IN_HANDLE,
            name: LOOP_IN_HANDLE,
        };
        OF_LOOP.around(memory, head, before_links, budget, |links, bytes| {
            if (handles.len() as u64) < LOOKED_AT {
                handles.push(links - LINKS_IN_HANDLE);
            }
            (word(bytes, LOOP_IN_HANDLE)? == default).then_some(())
        })?;
        let vtable = self.environment.to_le_bytes();
        let mut unknown = Unknown::NoEnvironment;
        for handle in handles {
            budget.step()?;
            let (start, bytes) = before(memory, handle);
            let words = bytes.chunks_exact(8).enumerate().rev();
            let places = words
                .filter(|(_, word)| *word == vtable)
                .map(|(at, _)| start + at as u64 * 8);
            for place in places {
                if is_one(memory, place) {
                    return Ok(place);
                }
                // It may be one whose lists were just changing.
                unknown = Unknown::Torn;
            }
        }
        Err(unknown)
    }
}

/// The workers that the thread of an environment has started: `Environment::sub_worker_contexts_`, a set of addresses,
/// wherever it is. Sets lie alike in libstdc++ and libc++ up to their members: buckets, how many, first member, how many,
/// and after that the load they may have, which nobody changes; a member has the address of the next one first.
/// <https://github.com/gcc-mirror/gcc/blob/releases/gcc-12.2.0/libstdc%2B%2B-v3/include/bits/hashtable.h> (`_Hashtable`),
/// <https://github.com/llvm/llvm-project/blob/llvmorg-19.1.0/libcxx/include/__hash_table> (`__hash_table`)
fn workers(
    memory: &dyn Memory,
    environment: u64,
    vtable: u64,
    budget: &mut Budget,
) -> Result<Vec<u64>, Unknown> {
    const LOAD: u64 = 1.0f32.to_bits() as u64;
    let bytes = after(memory, environment, LARGEST);
    let words: Vec<u64> = words(&bytes).collect();
    for set in words.windows(5) {
        let &[_, _, first, count, load] = set else {
            continue;
        };
        let is_set = load & u64::from(u32::MAX) == LOAD && first != 0 && first.is_multiple_of(8);
        if !is_set || count == 0 || count > MOST_WORKERS as u64 {
            continue;
        }
        // What a member holds comes behind its hash, where that is kept.
        let holds = [8, 16].into_iter().find(|at| {
            let worker = memory.word(first.wrapping_add(*at));
            worker.is_some_and(|worker| {
                worker.is_multiple_of(8) && memory.word(worker) == Some(vtable)
            })
        });
        let Some(holds) = holds else {
            continue;
        };
        let mut found = Vec::new();
        let mut member = first;
        while member != 0 && (found.len() as u64) < count {
            budget.step()?;
            let held = memory.word(member.wrapping_add(holds));
            let worker = held.filter(|&worker| memory.word(worker) == Some(vtable));
            found.push(worker.ok_or(Unknown::Torn)?);
            member = memory.word(member).ok_or(Unknown::Torn)?;
        }
        let is_whole = member == 0 && found.len() as u64 == count;
        return is_whole.then_some(found).ok_or(Unknown::Torn);
    }
    Ok(Vec::new())
}

/// The environment of a worker, and where the worker has its address; `None` while it has none: it starts, or ends.
fn own_environment(
    memory: &dyn Memory,
    worker: u64,
    known: Option<usize>,
    is_one: impl Fn(u64) -> bool,
) -> Option<(usize, u64)> {
    let places = match known {
        Some(place) => place..place + 1,
        None => 0..WORKER_BYTES / 8,
    };
    let bytes = after(memory, worker, WORKER_BYTES as u64);
    let words = words(&bytes).enumerate();
    let mut words = words.filter(|(place, word)| places.contains(place) && *word != 0);
    words.find(|&(_, word)| is_one(word))
}

/// The thread of a worker (`Worker::tid_`, wherever it is): glibc's name for a thread is the address of what it keeps of it
/// (`struct pthread`), which begins with that address, has it again as the third word, and the number that the kernel
/// has for the thread behind that.
/// <https://github.com/bminor/glibc/blob/glibc-2.36/nptl/descr.h> (`pid_t tid`),
/// <https://github.com/bminor/glibc/blob/glibc-2.36/sysdeps/x86_64/nptl/tls.h> (`tcbhead_t`)
fn thread(memory: &dyn Memory, worker: u64) -> Option<Tid> {
    const SELF: u64 = 16;
    const TID: u64 = 0x2d0;
    let bytes = after(memory, worker, WORKER_BYTES as u64);
    let mut words = words(&bytes).filter(|word| *word != 0 && word.is_multiple_of(16));
    let is = |at: u64, word: u64| memory.word(at).is_some_and(|found| found == word);
    let thread = words.find(|&word| is(word, word) && is(word.wrapping_add(SELF), word))?;
    let tid = memory.word(thread.wrapping_add(TID))? as u32;
    (tid != 0).then_some(Tid(tid))
}

/// As much as can be read of [`LARGEST`] bytes before `end`, with where it begins.
fn before(memory: &dyn Memory, end: u64) -> (u64, Vec<u8>) {
    let pages = pages(end.saturating_sub(LARGEST)..end);
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut start = end;
    for page in pages.into_iter().rev() {
        let mut bytes = vec![0; usize::try_from(page.end - page.start).unwrap_or(0)];
        if !memory.read(page.start, &mut bytes) {
            break;
        }
        start = page.start;
        parts.push(bytes);
    }
    parts.reverse();
    (start, parts.concat())
}

/// As much as can be read of the bytes from `start` on.
pub(super) fn after(memory: &dyn Memory, start: u64, size: u64) -> Vec<u8> {
    let mut all = Vec::new();
    for page in pages(start..start.saturating_add(size)) {
        let mut bytes = vec![0; usize::try_from(page.end - page.start).unwrap_or(0)];
        if !memory.read(page.start, &mut bytes) {
            break;
        }
        all.append(&mut bytes);
    }
    all
}

/// The parts of a range that are on one page each.
fn pages(range: Range<u64>) -> Vec<Range<u64>> {
    let mut parts = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let end = (start / PAGE + 1).saturating_mul(PAGE).min(range.end);
        parts.push(start..end);
        start = end;
    }
    parts
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::node::list::tests::Words;

    #[test]
    fn pages_that_cannot_be_read_end_what_is_read() {
        let words = (0x2000..0x4000).step_by(8).map(|place| (place, place));
        let words = Words(words.collect());
        let (start, bytes) = before(&words, 0x3010);
        assert_eq!((start, bytes.len()), (0x2000, 0x1010));
        assert_eq!(super::words(&bytes).last(), Some(0x3008));
        assert_eq!(after(&words, 0x3ff0, LARGEST).len(), 16);
        assert_eq!(after(&words, 0x4000, LARGEST).len(), 0);
    }
}
