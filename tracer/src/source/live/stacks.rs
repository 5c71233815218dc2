//! Stacks get numbers here, and their addresses a place in the queue for names.

use std::collections::{HashMap, HashSet};

use tracer_common::{Pid, StackId};

use crate::record::{Meta, Record, StackMeta, SymbolMeta};

/// Different stacks that get a number; later ones are shown without.
const STACKS: usize = 16_384;
/// Different addresses that are looked up; later ones are shown as numbers.
const ADDRESSES: usize = 131_072;

/// An address that waits for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unnamed {
    /// The process; 0 for the kernel.
    pub pid: Pid,
    /// The address as it stands in the stack.
    pub address: u64,
    /// It is where a call returns to: the call is before it.
    pub is_return: bool,
}

/// The stacks seen so far.
#[derive(Default)]
pub(super) struct Stacks {
    known: HashMap<(Pid, Box<[u64]>), StackId>,
    last: u32,
    asked: HashSet<(Pid, u64)>,
    unnamed: Vec<Unnamed>,
}

impl Stacks {
    /// The number of a stack, put on record when it is new. `None` when there are too many.
    pub(super) fn number(
        &mut self,
        pid: Pid,
        frames: &[u64],
        out: &mut Vec<Record>,
    ) -> Option<StackId> {
        if frames.is_empty() {
            return Some(StackId::NONE);
        }
        let key = (pid, frames.into());
        if let Some(&id) = self.known.get(&key) {
            return Some(id);
        }
        if self.known.len() >= STACKS {
            return None;
        }
        self.last += 1;
        let id = StackId(self.last);
        self.known.insert(key, id);
        out.push(Record::Meta(Meta::Stack(StackMeta {
            id,
            pid,
            frames: frames.to_vec(),
        })));
        for (depth, &address) in frames.iter().enumerate() {
            let is_given = pid != Pid(0) && address >= SymbolMeta::GIVEN;
            if !is_given && self.asked.len() < ADDRESSES && self.asked.insert((pid, address)) {
                self.unnamed.push(Unnamed {
                    pid,
                    address,
                    is_return: depth > 0,
                });
            }
        }
        Some(id)
    }

    /// The process runs another program: its addresses mean something else now.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.known.retain(|(of, _), _| *of != pid);
        self.asked.retain(|(of, _)| *of != pid);
    }

    /// Addresses that wait for their names, once.
    pub(super) fn unnamed(&mut self) -> Vec<Unnamed> {
        std::mem::take(&mut self.unnamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_gets_one_number_and_an_address_is_asked_for_once() {
        let (mut stacks, mut out) = (Stacks::default(), Vec::new());
        let pid = Pid(7);
        let one = stacks.number(pid, &[1, 2, 3], &mut out).unwrap();
        let other = stacks.number(pid, &[4, 2, 3], &mut out).unwrap();
        assert_eq!(stacks.number(pid, &[1, 2, 3], &mut out), Some(one));
        assert!(one != other && out.len() == 2);
        assert_eq!(stacks.number(pid, &[], &mut out), Some(StackId::NONE));
        let asked = stacks.unnamed();
        assert_eq!(
            asked
                .iter()
                .map(|unnamed| (unnamed.address, unnamed.is_return))
                .collect::<Vec<_>>(),
            [(1, false), (2, true), (3, true), (4, false)]
        );
        assert!(stacks.unnamed().is_empty());
        stacks.forget(pid);
        assert!(stacks.number(pid, &[1, 2, 3], &mut out).unwrap() > other);
        assert_eq!(stacks.unnamed().len(), 3);
    }

    #[test]
    fn there_is_an_end_to_numbers() {
        let (mut stacks, mut out) = (Stacks::default(), Vec::new());
        for address in 0..STACKS as u64 {
            assert!(stacks.number(Pid(1), &[address], &mut out).is_some());
        }
        assert_eq!(stacks.number(Pid(1), &[u64::MAX], &mut out), None);
        assert!(stacks.number(Pid(1), &[0], &mut out).is_some());
    }
}
