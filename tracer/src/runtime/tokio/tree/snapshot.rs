//! A task as it was in one moment, although its owner goes on: copied at once, twice, and what it points to is read
//! again in the end.

use std::cell::{Cell, RefCell};

use super::NoTree;
use crate::runtime::memory::Memory;

/// Larger tasks are refused. A future of a MiB is a mistake; tokio boxes what is larger than 16 KiB.
const LARGEST: u64 = 16 << 20;
/// Readings outside of the task, for one tree.
const MOST_READS: u32 = 20_000;

/// Memory of which every reading has to be the same in the end.
pub(super) struct Snapshot<'a> {
    memory: &'a dyn Memory,
    start: u64,
    copy: Vec<u8>,
    /// What was read outside of the task.
    outside: RefCell<Vec<(u64, Vec<u8>)>>,
    reads: Cell<u32>,
}

impl<'a> Snapshot<'a> {
    /// Copies `size` bytes from `start` on.
    pub(super) fn of(memory: &'a dyn Memory, start: u64, size: u64) -> Result<Self, NoTree> {
        let size = match size {
            8..=LARGEST => usize::try_from(size).unwrap_or(0),
            _ => return Err(NoTree::Unknown("its type has no sensible size")),
        };
        let mut copy = vec![0; size];
        let mut again = vec![0; size];
        if !memory.read(start, &mut copy) || !memory.read(start, &mut again) {
            return Err(NoTree::Complete);
        }
        if copy != again {
            return Err(NoTree::Changing);
        }
        Ok(Self {
            memory,
            start,
            copy,
            outside: RefCell::default(),
            reads: Cell::new(0),
        })
    }

    /// The word the task begins with.
    pub(super) fn state(&self) -> u64 {
        self.word(self.start).unwrap_or(0)
    }

    /// Fills `buffer`; false when that is not to be had.
    pub(super) fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        if let Some(part) = self.copied(address, buffer.len()) {
            buffer.copy_from_slice(part);
            return true;
        }
        if !self.read_loosely(address, buffer) {
            return false;
        }
        let mut outside = self.outside.borrow_mut();
        outside.push((address, buffer.to_vec()));
        true
    }

    /// The same for what may change without the task: it is not compared in the end.
    pub(super) fn read_loosely(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.reads.set(self.reads.get().saturating_add(1));
        self.reads.get() <= MOST_READS && self.memory.read(address, buffer)
    }

    /// A word.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }

    fn copied(&self, address: u64, length: usize) -> Option<&[u8]> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.copy.get(from..from.checked_add(length)?)
    }

    /// True when all that was read is still there.
    pub(super) fn still_holds(&self) -> bool {
        let mut now = Vec::new();
        let mut same = |address: u64, then: &[u8]| {
            now.resize(then.len(), 0);
            self.memory.read(address, &mut now) && now == then
        };
        same(self.start, &self.copy)
            && self
                .outside
                .borrow()
                .iter()
                .all(|(address, then)| same(*address, then))
    }
}
