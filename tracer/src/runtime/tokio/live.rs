//! The tasks of a process, read from its memory: every task holds the address of its type's table, so whatever holds
//! one is a task, or was one.
//!
//! Needs no probe and does not stop the process, which may hang. The memory of a task that has ended stays as it was
//! until somebody uses it again, so what is found is checked for what only a live task has.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    ops::Range,
};

use tracer_common::{Nanos, Pid, task::state};

use super::{Kind, Tokio};
use crate::{
    runtime::memory::Memory,
    target::{
        mapping::{self, Mapping},
        sys,
    },
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// Words looked at together.
const BLOCK: usize = 64;
/// Times a header is read until two readings are the same.
const TRIES: usize = 4;
/// Bytes read of a task: the header, the scheduler, the id.
const HEADER: usize = 192;
/// Nobody holds so many references to one task; an address in the state's place looks like more.
const REFERENCES: u64 = 1 << 24;
/// Lists of tasks are numbered from 1 on, ids too.
const OWNERS: u64 = 1 << 40;
/// Where programs have memory: <https://docs.kernel.org/admin-guide/sysctl/vm.html> (`mmap_min_addr`)
const USER: Range<u64> = 1 << 16..1 << 47;
/// Bytes around a stack pointer that are taken for stack.
const STACK: u64 = 8 << 20;

/// The state of a task: flags, and how many references there are to it.
///
/// <https://github.com/tokio-rs/tokio/blob/tokio-1.44.2/tokio/src/runtime/task/state.rs#L16>
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(pub u64);

impl State {
    /// It is being polled now.
    #[must_use]
    pub fn is_running(self) -> bool {
        self.0 & state::RUNNING != 0
    }

    /// It has ended; what it returned is kept as long as somebody may ask for it.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self.0 & state::COMPLETE != 0
    }

    /// It was woken and waits to be polled, or will be polled again.
    #[must_use]
    pub fn is_notified(self) -> bool {
        self.0 & state::NOTIFIED != 0
    }

    /// There is a `JoinHandle`.
    #[must_use]
    pub fn is_joinable(self) -> bool {
        self.0 & state::JOIN_INTEREST != 0
    }

    /// Somebody awaits the `JoinHandle`.
    #[must_use]
    pub fn is_joined(self) -> bool {
        self.0 & state::JOIN_WAKER != 0
    }

    /// It was aborted.
    #[must_use]
    pub fn is_cancelled(self) -> bool {
        self.0 & state::CANCELLED != 0
    }

    /// References to it: the list of its owner, the queue, the `JoinHandle`, wakers.
    #[must_use]
    pub fn references(self) -> u64 {
        self.0 >> state::REFERENCES
    }

    fn is_plausible(self) -> bool {
        (1..REFERENCES).contains(&self.references()) && !(self.is_running() && self.is_complete())
    }
}

/// A task in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Where it is. Another task may be there later.
    pub header: u64,
    /// Its id, unique among the live ones; `None` where tokio has none.
    pub id: Option<u64>,
    /// Which of the files given to the scan it is of.
    pub file: usize,
    /// Which of the file's types it has.
    pub task_type: usize,
    /// What spawned it.
    pub kind: Kind,
    /// Its state when it was read.
    pub state: State,
    /// The list (of a runtime or `LocalSet`) that owns it; 0 for a blocking one, which none does.
    pub owner: u64,
}

/// What a scan found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The live tasks, by id and place.
    pub tasks: Vec<Task>,
    /// Those that have ended: completed and kept for who joins, or freed and not yet overwritten. Only their ids and
    /// types mean anything.
    pub ended: Vec<Task>,
    /// Tasks that changed with each reading, so their parts may not fit together.
    pub torn: u64,
    /// Bytes read.
    pub read: u64,
}

/// A scan under way; it can be done in parts.
pub struct Scan {
    /// By address of the table in the process.
    types: HashMap<u64, (usize, usize)>,
    /// Where the tables of each file lie.
    windows: Vec<Range<u64>>,
    files: Vec<File>,
    /// What is left, in reverse.
    left: Vec<Range<u64>>,
    stacks: Vec<Range<u64>>,
    buffer: Vec<u8>,
    hits: Vec<Task>,
    torn: u64,
    read: u64,
}

struct File {
    vtable: u64,
    owner: u64,
    types: Vec<(Kind, Option<u64>)>,
}

impl Scan {
    /// A scan of `regions` for tasks of the files in `files`, given with their biases. `stacks`: where threads have
    /// their stacks; a task that is just being made, or was made long ago, has a copy there.
    #[must_use]
    pub fn new(
        files: &[(&Tokio, u64)],
        mut regions: Vec<Range<u64>>,
        stacks: Vec<Range<u64>>,
    ) -> Self {
        regions.reverse();
        let mut types = HashMap::new();
        let mut windows = Vec::new();
        for (file, (tokio, bias)) in files.iter().enumerate() {
            let tables = tokio.types.iter().map(|one| one.vtable.wrapping_add(*bias));
            let first = tables.clone().min().unwrap_or_default();
            let last = tables.clone().max().unwrap_or_default();
            windows.push(first..last.saturating_add(1));
            types.extend(tables.enumerate().map(|(index, at)| (at, (file, index))));
        }
        let files = files.iter().map(|(tokio, _)| File {
            vtable: tokio.layout.vtable,
            owner: tokio.layout.owner,
            types: tokio.types.iter().map(|one| (one.kind, one.id)).collect(),
        });
        Self {
            types,
            windows,
            files: files.collect(),
            left: regions,
            stacks,
            buffer: vec![0; CHUNK],
            hits: Vec::new(),
            torn: 0,
            read: 0,
        }
    }

    /// A scan of a process.
    #[must_use]
    pub fn of(pid: Pid, files: &[(&Tokio, u64)]) -> Self {
        let mappings = mapping::of(pid);
        let stacks = stacks(pid, &mappings);
        Self::new(files, regions(&mappings), stacks)
    }

    /// Goes on for about `budget`, at least by a mebibyte. True when there is nothing left.
    pub fn advance(&mut self, memory: &impl Memory, budget: Nanos) -> bool {
        let end = sys::monotonic().0.saturating_add(budget.0);
        if self.types.is_empty() {
            self.left.clear();
        }
        while let Some(region) = self.left.pop() {
            let size = region.end.saturating_sub(region.start);
            let until = region.start + size.min(64 * CHUNK as u64);
            if until < region.end {
                self.left.push(until..region.end);
            }
            let mut parts = memory.resident(region.start..until);
            parts.reverse();
            while let Some(part) = parts.pop() {
                let until = part.end.min(part.start.saturating_add(CHUNK as u64));
                if until < part.end {
                    parts.push(until..part.end);
                }
                self.chunk(memory, part.start..until);
                if sys::monotonic().0 >= end {
                    break;
                }
            }
            self.left.extend(parts);
            // Large regions may have nothing in them, and even to learn that takes time.
            if sys::monotonic().0 >= end {
                return self.left.is_empty();
            }
        }
        true
    }

    fn chunk(&mut self, memory: &impl Memory, part: Range<u64>) {
        let size = usize::try_from(part.end.saturating_sub(part.start)).unwrap_or(0);
        let mut buffer = std::mem::take(&mut self.buffer);
        let size = size.min(buffer.len());
        if memory.read(part.start, &mut buffer[..size]) {
            self.words(memory, part.start, &buffer[..size]);
        } else {
            // Something in it was unmapped meanwhile.
            const PAGE: usize = 4_096;
            for (at, page) in (part.start..)
                .step_by(PAGE)
                .zip(buffer[..size].chunks_mut(PAGE))
            {
                if memory.read(at, page) {
                    self.words(memory, at, page);
                }
            }
        }
        self.buffer = buffer;
    }

    fn words(&mut self, memory: &impl Memory, start: u64, bytes: &[u8]) {
        self.read += bytes.len() as u64;
        let words = bytes.as_chunks::<8>().0;
        for (block, words) in words.chunks(BLOCK).enumerate() {
            let near = self.windows.iter().any(|window| {
                let size = window.end - window.start;
                // No early end, so that many are compared at once.
                words.iter().fold(false, |near, word| {
                    near | (u64::from_le_bytes(*word).wrapping_sub(window.start) < size)
                })
            });
            if !near {
                continue;
            }
            for (index, word) in words.iter().enumerate() {
                if let Some(&found) = self.types.get(&u64::from_le_bytes(*word)) {
                    let at = 8 * (block * BLOCK + index);
                    self.hit(memory, (start, bytes), at, found);
                }
            }
        }
    }

    /// So many bytes behind `start` there is the address of a table.
    fn hit(
        &mut self,
        memory: &impl Memory,
        (start, chunk): (u64, &[u8]),
        at: usize,
        (file, task_type): (usize, usize),
    ) {
        let of = &self.files[file];
        let (kind, id) = of.types[task_type];
        let header = (start + at as u64).checked_sub(of.vtable);
        let Some(header) = header.filter(|at| at.is_multiple_of(16)) else {
            return;
        };
        let end = id.unwrap_or(of.owner).saturating_add(8);
        let Some(size) = usize::try_from(end).ok().filter(|&size| size <= HEADER) else {
            return;
        };
        let mut bytes = [0; HEADER];
        let known = header.checked_sub(start).and_then(|from| {
            let from = usize::try_from(from).ok()?;
            chunk.get(from..from + size)
        });
        match known {
            Some(known) => bytes[..size].copy_from_slice(known),
            None if memory.read(header, &mut bytes[..size]) => {}
            None => return,
        }
        let mut settled = false;
        for _ in 0..TRIES {
            let mut again = [0; HEADER];
            if !memory.read(header, &mut again[..size]) {
                return;
            }
            settled = again == bytes;
            if settled {
                break;
            }
            bytes = again;
        }
        self.torn += u64::from(!settled);
        let word = |offset: u64| {
            let at = usize::try_from(offset).unwrap_or(HEADER);
            let word = bytes.get(at..at.saturating_add(8));
            word.and_then(|word| word.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let is_address = |word: u64| USER.contains(&word) && word.is_multiple_of(8);
        let task = Task {
            header,
            id: id.map(word),
            file,
            task_type,
            kind,
            state: State(word(0)),
            owner: word(of.owner),
        };
        // Between the state and the table there are links to other tasks: of the queue, before 1.21 of the owner's list.
        let mut links = (8..of.vtable).step_by(8).map(word);
        let linked = links.all(|link| link == 0 || self.is_header(memory, link, file));
        let scheduler = id.and_then(|id| id.checked_sub(8)).map(word);
        let fits = linked
            && task.id.is_none_or(|id| (1..OWNERS).contains(&id))
            && task.owner < OWNERS
            && (kind == Kind::Blocking || scheduler.is_none_or(is_address));
        if fits {
            self.hits.push(task);
        } else if task.id.is_some_and(|id| (1..OWNERS).contains(&id)) && task.owner < OWNERS {
            // Freed, and its first words used for something else.
            self.hits.push(Task {
                state: State(0),
                ..task
            });
        }
    }

    /// True when a task is there, live or not.
    fn is_header(&self, memory: &impl Memory, address: u64, file: usize) -> bool {
        let table = address.checked_add(self.files[file].vtable);
        USER.contains(&address)
            && address.is_multiple_of(16)
            && table
                .and_then(|table| memory.word(table))
                .is_some_and(|table| self.types.contains_key(&table))
    }

    /// What was found so far.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut found = Found {
            torn: self.torn,
            read: self.read,
            ..Found::default()
        };
        let mut by_id: BTreeMap<(usize, u64), Task> = BTreeMap::new();
        for task in &self.hits {
            let Some(id) = task.id else {
                if self.is_live(task) {
                    found.tasks.push(*task);
                } else {
                    found.ended.push(*task);
                }
                continue;
            };
            let known = by_id.entry((task.file, id)).or_insert(*task);
            if self.rank(task) > self.rank(known) {
                *known = *task;
            }
        }
        for task in by_id.into_values() {
            if self.is_live(&task) {
                found.tasks.push(task);
            } else {
                found.ended.push(task);
            }
        }
        found
    }

    /// Of two with the same id, one is a copy.
    fn rank(&self, task: &Task) -> impl Ord + use<> {
        (
            self.is_live(task),
            task.owner != 0,
            !self.is_on_stack(task),
            task.header.is_multiple_of(128),
        )
    }

    fn is_live(&self, task: &Task) -> bool {
        // A future is owned from before its first poll to after its last. A blocking task never is; what is on a
        // stack is what it was made from, so it is as it was made.
        let is_owned = match task.kind {
            Kind::Async => task.owner != 0,
            Kind::Blocking => {
                let is_new = task.state.is_notified() && !task.state.is_running();
                !(is_new && self.is_on_stack(task))
            }
        };
        is_owned && task.state.is_plausible() && !task.state.is_complete()
    }

    fn is_on_stack(&self, task: &Task) -> bool {
        self.stacks.iter().any(|stack| stack.contains(&task.header))
    }
}

/// Where a process may have tasks: private memory of no file that can be written.
#[must_use]
pub fn regions(mappings: &[Mapping]) -> Vec<Range<u64>> {
    let is_heap = |mapping: &&Mapping| {
        let path = &*mapping.path;
        mapping.writable
            && (path.is_empty()
                || path == "[heap]"
                || path.starts_with("[anon:")
                || path.starts_with("/anon_hugepage"))
    };
    mappings
        .iter()
        .filter(is_heap)
        .map(|mapping| mapping.start..mapping.end)
        .collect()
}

/// About where the stacks of a process are: around the stack pointers of the threads that wait, and in mappings that
/// begin behind a guard page.
fn stacks(pid: Pid, mappings: &[Mapping]) -> Vec<Range<u64>> {
    let mut stacks: Vec<Range<u64>> = Vec::new();
    let threads = fs::read_dir(format!("/proc/{}/task", pid.0));
    for thread in threads.into_iter().flatten().flatten() {
        // The last two of its words are the stack pointer and where it executes.
        // https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c (proc_pid_syscall)
        let text = fs::read_to_string(thread.path().join("syscall")).unwrap_or_default();
        let pointer = text.split_whitespace().rev().nth(1);
        let pointer = pointer.and_then(|word| word.strip_prefix("0x"));
        let Some(pointer) = pointer.and_then(|word| u64::from_str_radix(word, 16).ok()) else {
            continue;
        };
        let at = mappings.partition_point(|mapping| mapping.start <= pointer);
        let Some(mapping) = at.checked_sub(1).and_then(|at| mappings.get(at)) else {
            continue;
        };
        let start = mapping.start.max(pointer.saturating_sub(STACK));
        stacks.push(start..mapping.end.min(pointer.saturating_add(STACK)));
    }
    for pair in mappings.windows(2) {
        let [guard, stack] = pair else { continue };
        // An arena of glibc's allocator begins like that too, but at a multiple of its largest size.
        const ARENA: u64 = 64 << 20;
        let is_guard = !guard.readable
            && !guard.writable
            && guard.path.is_empty()
            && guard.end == stack.start
            && guard.end - guard.start <= 64 << 10;
        if is_guard && stack.writable && stack.start % ARENA != 0 {
            stacks.push(stack.start..stack.end.min(stack.start.saturating_add(STACK)));
        }
    }
    stacks
}

#[cfg(test)]
mod tests;
