//! What a process has started and not finished, by type: requests (`ReqWrap`: a file that is read, a name that is looked
//! up) and handles (`HandleWrap`: a connection, a server, a pipe). Node keeps both in lists, per thread, and keeps for
//! debuggers where these are.
//!
//! Nothing runs in the process for that, so it works in one that is stopped or in an endless loop. Its threads go on
//! changing the lists while they are read: a list that does not lead back, or a member that makes no sense, is a torn
//! read. That is tried again, and never counted.
//!
//! Timers and immediates are in no list, but Node knows how many there are. Not counted: work of `crypto` and `zlib` (it is
//! in the pool's), promises.

use std::collections::BTreeMap;

use tracer_common::Nanos;

use super::{
    Component, Node,
    environment::Environments,
    heap::{self, Heap, Heaps},
    list::{Before, Budget, Links, Unknown, word},
    timers::{Due, Timers},
};
use crate::{runtime::memory::Memory, target::sys};

/// A read of one process takes no longer: 3,000 members take 6 ms in a build that is not optimised.
pub const LONGEST: Nanos = Nanos(100_000_000);
/// Members of all lists of a process.
const MOST: u64 = 1_000_000;
/// How often it is tried.
const TRIES: u32 = 8;
/// An environment and an object have no more bytes.
const LARGEST: u64 = 65_536;
/// `kInvalidAsyncId`, of a resource whose end was told to hooks, and beyond what was ever given out.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/async_wrap.h>
const IDS: std::ops::Range<f64> = -1.0..9_007_199_254_740_992.0;

/// How many there are, by the name that Node has for the type (`async_hooks` calls them so).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests: started, and their callbacks have not run.
    pub requests: BTreeMap<String, u64>,
    /// Handles that are not closed, also those that do not keep the process alive.
    pub handles: BTreeMap<String, u64>,
    /// Timers that keep the process alive; `None` where Node's number of them was not found.
    pub timers: Option<u64>,
    /// Immediates; `None` where Node's number of them was not found.
    pub immediates: Option<u64>,
    /// Threads whose lists these are: the main one and workers.
    pub threads: usize,
    /// Reads that were torn before one was not.
    pub torn: u32,
}

/// Reads what is in flight in one process, again and again.
#[derive(Clone, Debug)]
pub struct Reader {
    environments: Environments,
    timers: Option<Timers>,
    heaps: Option<Heaps>,
    node: Node,
    lists: Option<[List; 2]>,
    /// Environments that were there when it was last read.
    known: Vec<u64>,
}

/// A list in each environment.
#[derive(Clone, Copy, Debug)]
struct List {
    /// Where an environment has its head.
    head: u64,
    /// Where an object has its links.
    links_at: u64,
    links: Links,
}

impl Reader {
    /// `None` when the files do not tell where the lists are, which is one of the process's notes then.
    #[must_use]
    pub fn of(node: &Node) -> Option<Self> {
        let module = node.module(Component::Node)?;
        if module.holds.providers.is_none() || module.holds.nodedbg.is_empty() {
            return None;
        }
        let counts = module.holds.counts;
        let counts = counts.map(|vtable| vtable.map(|vtable| vtable.wrapping_add(module.bias)));
        Some(Self {
            environments: Environments::of(node)?,
            timers: Timers::of(counts),
            heaps: Heaps::of(node),
            node: node.clone(),
            lists: None,
            known: Vec::new(),
        })
    }

    /// How large the heaps of V8 are now, the main thread's first: of the threads that were there at the last
    /// [`Self::read`].
    ///
    /// # Errors
    /// When that cannot be told: see [`heap::Unknown`].
    pub fn heaps(&mut self, memory: &dyn Memory) -> Result<Vec<Heap>, heap::Unknown> {
        let heaps = self.heaps.as_mut().ok_or(heap::Unknown::NoFunctions)?;
        let mut found = heaps.read(memory, &self.known)?;
        for heap in &mut found {
            heap.tid = self.environments.thread(memory, heap.environment);
        }
        Ok(found)
    }

    /// What is in flight now.
    ///
    /// # Errors
    /// When that cannot be told: see [`Unknown`].
    pub fn read(&mut self, memory: &dyn Memory) -> Result<InFlight, Unknown> {
        let mut budget = Budget::new(MOST, sys::monotonic().plus(LONGEST));
        let mut torn = 0;
        loop {
            match self.try_to(memory, &mut budget) {
                Err(Unknown::Torn) if torn + 1 < TRIES && !budget.is_spent() => torn += 1,
                result => return result.map(|found| InFlight { torn, ..found }),
            }
        }
    }

    fn try_to(&mut self, memory: &dyn Memory, budget: &mut Budget) -> Result<InFlight, Unknown> {
        let lists = match self.lists {
            Some(lists) => lists,
            None => *self
                .lists
                .insert(lists(&self.node, memory).ok_or(Unknown::NotStarted)?),
        };
        let heads = lists.map(|list| (list.head, list.links));
        let environments = self.environments.find(memory, &heads, budget)?;
        self.known.clone_from(&environments);
        let [mut requests, mut handles] = [BTreeMap::new(), BTreeMap::new()];
        let mut due = Some(Due::default());
        for &environment in &environments {
            let timers = self.timers.as_mut();
            let own = timers.and_then(|timers| timers.read(memory, environment));
            due = due.zip(own).map(|(sum, own)| Due {
                timers: sum.timers + own.timers,
                immediates: sum.immediates + own.immediates,
            });
            self.count(memory, environment, lists[0], &mut requests, budget)?;
            self.count(memory, environment, lists[1], &mut handles, budget)?;
        }
        Ok(InFlight {
            requests: self.named(&requests),
            handles: self.named(&handles),
            timers: due.map(|due| due.timers),
            immediates: due.map(|due| due.immediates),
            threads: environments.len(),
            torn: 0,
        })
    }

    /// Counts the members of a list by type.
    fn count(
        &self,
        memory: &dyn Memory,
        environment: u64,
        list: List,
        counts: &mut BTreeMap<usize, u64>,
        budget: &mut Budget,
    ) -> Result<(), Unknown> {
        let module = self.node.module(Component::Node);
        let providers = module.and_then(|module| module.holds.providers.as_ref());
        let providers = providers.ok_or(Unknown::NotStarted)?;
        let kinds = providers.names.len();
        let place = usize::try_from(providers.offset)
            .ok()
            .ok_or(Unknown::Torn)?;
        let head = environment.wrapping_add(list.head);
        let before = Before {
            bytes: list.links_at,
            name: place + 8,
        };
        let walked = list
            .links
            .around(memory, head, before, budget, |_, object| {
                let kind = word(object, place)? & u64::from(u32::MAX);
                let kind = usize::try_from(kind).ok().filter(|&kind| kind < kinds)?;
                let id = f64::from_bits(word(object, place + 8)?);
                if !IDS.contains(&id) || id.fract() != 0.0 {
                    return None;
                }
                *counts.entry(kind).or_default() += 1;
                Some(())
            });
        // It was there a moment ago: the thread has ended since.
        walked.map_err(|unknown| match unknown {
            Unknown::NotStarted => Unknown::Torn,
            other @ (Unknown::NoEnvironment | Unknown::Torn | Unknown::TooLong) => other,
        })
    }

    fn named(&self, counts: &BTreeMap<usize, u64>) -> BTreeMap<String, u64> {
        let module = self.node.module(Component::Node);
        let providers = module.and_then(|module| module.holds.providers.as_ref());
        let name = |kind: usize| providers.and_then(|known| known.names.get(kind)).cloned();
        let named = counts.iter();
        let named = named.filter_map(|(&kind, &count)| Some((name(kind)?, count)));
        named.collect()
    }
}

/// Where the lists of requests and of handles are, as Node says once it has started.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/node_postmortem_metadata.cc>
fn lists(node: &Node, memory: &dyn Memory) -> Option<[List; 2]> {
    let numbers = node.nodedbg(memory);
    let number = |name: &str| {
        let number = numbers.get(name).copied();
        number.filter(|&number| number < LARGEST && number.is_multiple_of(8))
    };
    let place = |name: &str| number(name).filter(|&place| place > 0);
    let list = |head: u64, links_at: u64, of: &str| {
        let next = number(&format!("offset_ListNode_{of}__next___uintptr_t"))?;
        let prev = number(&format!("offset_ListNode_{of}__prev___uintptr_t"))?;
        let links = Links { next, prev };
        let is_pair = matches!((next, prev), (0, 8) | (8, 0));
        is_pair.then_some(List {
            head,
            links_at,
            links,
        })
    };
    let requests = list(
        place("offset_Environment__req_wrap_queue___Environment_ReqWrapQueue")?
            + number("offset_Environment_ReqWrapQueue__head___ListNode_ReqWrapQueue")?,
        place("offset_ReqWrap__req_wrap_queue___ListNode_ReqWrapQueue")?,
        "ReqWrap",
    )?;
    let handles = list(
        place("offset_Environment__handle_wrap_queue___Environment_HandleWrapQueue")?
            + number("offset_Environment_HandleWrapQueue__head___ListNode_HandleWrap")?,
        place("offset_HandleWrap__handle_wrap_queue___ListNode_HandleWrap")?,
        "HandleWrap",
    )?;
    Some([requests, handles])
}
