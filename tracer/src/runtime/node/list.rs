//! Circular lists in the memory of a process that goes on changing them.

use tracer_common::Nanos;

use crate::{runtime::memory::Memory, target::sys};

/// Why there is nothing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The variable is still 0, or the process cannot be read.
    #[error("Node has not started yet, or the process's memory may not be read")]
    NotStarted,
    /// The loop has no handle that is part of an environment.
    #[error("no environment of Node is on libuv's default loop")]
    NoEnvironment,
    /// The lists changed each time they were read.
    #[error("the lists changed each time they were read")]
    Torn,
    /// It would have taken too long.
    #[error("there is more, or it changes faster, than can be read in 100 ms")]
    TooLong,
}

/// So many steps take 1 to 3 ms. When time is up after fewer, this thread did not run meanwhile, and may go on.
const FEW: u64 = 1_000;

/// How many steps and how much time there is.
pub(super) struct Budget {
    taken: u64,
    most: u64,
    until: Nanos,
}

impl Budget {
    pub(super) fn new(most: u64, until: Nanos) -> Self {
        Self {
            taken: 0,
            most,
            until,
        }
    }

    pub(super) fn step(&mut self) -> Result<(), Unknown> {
        self.taken += 1;
        (!self.is_spent()).then_some(()).ok_or(Unknown::TooLong)
    }

    /// The clock takes a tenth of the time that reading another process's memory does.
    pub(super) fn is_spent(&self) -> bool {
        self.taken > self.most || self.taken > FEW && sys::monotonic() > self.until
    }
}

/// Where a member of a circular list has the addresses of its neighbours, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) next: u64,
    pub(super) prev: u64,
}

/// What a member of a list has before its links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Before {
    /// How many bytes.
    pub(super) bytes: u64,
    /// Where the word is among them that no other member ever has.
    pub(super) name: usize,
}

/// Bytes of the two links.
const LINKS: u64 = 16;

impl Links {
    /// The neighbours: next and previous.
    fn of(self, bytes: &[u8]) -> Option<(u64, u64)> {
        let word = |at: u64| word(bytes, usize::try_from(at).ok()?);
        Some((word(self.next)?, word(self.prev)?))
    }

    /// True when `head` is a member of a list, of itself if of no other.
    pub(super) fn fits(self, memory: &dyn Memory, head: u64) -> bool {
        let mut bytes = [0; LINKS as usize];
        let links = memory.read(head, &mut bytes).then(|| self.of(&bytes));
        let Some((next, prev)) = links.flatten() else {
            return false;
        };
        let is_back = |of: u64, at: u64| {
            memory
                .word(of.wrapping_add(at))
                .is_some_and(|to| to == head)
        };
        is_back(next, self.prev) && is_back(prev, self.next)
    }

    /// Goes from `head` on to what is the last member when it begins: members come at the end, and one that came since
    /// would be counted with those that went since. The word `name` of the bytes before a member's links tells it from
    /// another one that is in its memory now. Hands out the bytes from `before` each member's links on, up to their
    /// end; what does not like them says so. A member that its neighbour does not know, or a way that does not lead to the
    /// last one, is a list that changed meanwhile.
    pub(super) fn around(
        self,
        memory: &dyn Memory,
        head: u64,
        Before {
            bytes: before,
            name,
        }: Before,
        budget: &mut Budget,
        mut each: impl FnMut(u64, &[u8]) -> Option<()>,
    ) -> Result<(), Unknown> {
        let size = usize::try_from(before + LINKS).ok().ok_or(Unknown::Torn)?;
        let mut bytes = [0; LINKS as usize];
        let is_read = memory.read(head, &mut bytes);
        let ends = is_read.then(|| self.of(&bytes)).flatten();
        let (mut member, last) = ends.ok_or(Unknown::NotStarted)?;
        let mut bytes = vec![0; size];
        let name_of_last = last
            .checked_sub(before)
            .and_then(|start| memory.read(start, &mut bytes).then(|| word(&bytes, name)))
            .flatten();
        let mut previous = head;
        while previous != last {
            budget.step()?;
            let start = member.checked_sub(before).ok_or(Unknown::Torn)?;
            let links = memory
                .read(start, &mut bytes)
                .then(|| self.of(&bytes[size - LINKS as usize..]))
                .flatten();
            let (next, prev) = links.ok_or(Unknown::Torn)?;
            if prev != previous || member == head || !member.is_multiple_of(8) {
                return Err(Unknown::Torn);
            }
            if member == last && word(&bytes, name) != name_of_last {
                return Err(Unknown::Torn);
            }
            each(member, &bytes).ok_or(Unknown::Torn)?;
            (previous, member) = (member, next);
        }
        Ok(())
    }
}

/// The word at this place.
pub(super) fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    word.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Words by address.
    pub(in crate::runtime::node) struct Words(pub(in crate::runtime::node) BTreeMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
            let (words, _) = buffer.as_chunks_mut::<8>();
            let mut places = (address..).step_by(8).zip(words);
            places.all(|(place, word)| {
                let known = self.0.get(&place).map(|known| *word = known.to_le_bytes());
                known.is_some()
            })
        }
    }

    const LIST: Links = Links { next: 8, prev: 0 };

    /// A list of these members, each with a word before its links: its own address.
    fn list(members: &[u64]) -> Words {
        let mut words = BTreeMap::new();
        let count = members.len();
        for (at, &member) in members.iter().enumerate() {
            words.insert(member - 8, member);
            words.insert(member, members[(at + count - 1) % count]);
            words.insert(member + 8, members[(at + 1) % count]);
        }
        Words(words)
    }

    fn walk(words: &Words, steps: u64) -> Result<Vec<u64>, Unknown> {
        let mut found = Vec::new();
        let mut budget = Budget::new(steps, sys::monotonic());
        let before = Before { bytes: 8, name: 0 };
        let walked = LIST.around(words, 0x100, before, &mut budget, |member, bytes| {
            assert_eq!(word(bytes, 0), Some(member));
            found.push(member);
            (member != 0x660).then_some(())
        });
        walked.map(|()| found)
    }

    #[test]
    fn a_list_is_followed_once_around() {
        assert_eq!(walk(&list(&[0x100]), 10), Ok(vec![]));
        let members = [0x100, 0x500, 0x200, 0x300];
        assert_eq!(walk(&list(&members), 3), Ok(members[1..].to_vec()));
        assert_eq!(walk(&list(&members), 2), Err(Unknown::TooLong));
        let fits = |head| LIST.fits(&list(&members), head);
        assert!(fits(0x100) && fits(0x300) && !fits(0x108) && !fits(0x700));
    }

    #[test]
    fn a_list_that_does_not_lead_back_is_torn() {
        let changed = |changes: &[(u64, u64)]| {
            let mut words = list(&[0x100, 0x500, 0x200, 0x300]);
            words.0.extend(changes.iter().copied());
            walk(&words, 100)
        };
        // A member was taken out while it was looked at: it is a list of its own then.
        let torn = Err(Unknown::Torn);
        assert_eq!(changed(&[(0x200, 0x200), (0x208, 0x200)]), torn);
        // Its memory is something else now.
        assert_eq!(changed(&[(0x208, 0)]), torn);
        assert_eq!(changed(&[(0x208, 0x1234_5678)]), torn);
        assert_eq!(changed(&[(0x208, 0x500)]), torn);
        // The last one went, as it was before.
        assert_eq!(changed(&[(0x100, 0x900)]), torn);
        // What is there makes no sense to who looks.
        assert_eq!(walk(&list(&[0x100, 0x660]), 100), torn);
        assert_eq!(walk(&Words(BTreeMap::new()), 100), Err(Unknown::NotStarted));
    }
}
