//! Which words of data hold an address of the same file: where it can be loaded anywhere, its relocations tell;
//! otherwise the words are in the file as they are.

use object::elf;

use super::{Image, words3};

/// A word of data that holds an address of the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    /// Where the word is.
    pub place: u64,
    /// What it points at.
    pub target: u64,
}

impl Image<'_> {
    /// What the word at `address` will point at in this file.
    #[must_use]
    pub fn pointer(&self, address: u64) -> Option<u64> {
        if !self.is_relocated {
            return self
                .word(address)
                .filter(|&value| self.segment(value).is_some());
        }
        let pointers = self.pointers();
        let at = pointers
            .binary_search_by_key(&address, |pointer| pointer.place)
            .ok()?;
        Some(pointers[at].target)
    }

    /// The word at `address` when it is a plain number.
    #[must_use]
    pub fn number(&self, address: u64) -> Option<u64> {
        let word = self.word(address)?;
        (!self.is_relocated || self.pointer(address).is_none()).then_some(word)
    }

    /// All words of constant data that point at code, by place.
    pub fn code_pointers(&self) -> Box<dyn Iterator<Item = Pointer> + '_> {
        if self.is_relocated {
            let all = self.pointers().iter().copied();
            return Box::new(all.filter(|pointer| self.is_code(pointer.target)));
        }
        let data = self.segments.iter().filter(|one| !one.is_executable);
        Box::new(data.flat_map(|segment| {
            let start = segment.address.next_multiple_of(8);
            let words = self.from(start).unwrap_or_default().as_chunks::<8>().0;
            let places = (start..).step_by(8);
            places.zip(words).filter_map(|(place, word)| {
                let target = u64::from_le_bytes(*word);
                let fits = self.is_code(target) && self.is_constant(place);
                fits.then_some(Pointer { place, target })
            })
        }))
    }

    fn pointers(&self) -> &[Pointer] {
        self.pointers.get_or_init(|| {
            let mut pointers = Vec::new();
            if self.is_relocated {
                self.read_rela(self.dynamic.rela, &mut pointers);
                self.read_rela(self.dynamic.plt, &mut pointers);
                self.read_relr(&mut pointers);
            }
            if !pointers.is_sorted() {
                pointers.sort_unstable();
            }
            pointers.dedup_by_key(|pointer| pointer.place);
            pointers
        })
    }

    /// <https://gitlab.com/x86-psABIs/x86-64-ABI> (Relocation Types)
    fn read_rela(&self, (address, size): (u64, u64), into: &mut Vec<Pointer>) {
        let Some(bytes) = self.bytes(address, size).filter(|_| size > 0) else {
            return;
        };
        into.reserve(bytes.len() / 24);
        for entry in bytes.as_chunks::<24>().0 {
            let [place, info, addend] = words3(entry);
            let kind = u32::from_le_bytes([entry[8], entry[9], entry[10], entry[11]]);
            let target = match kind {
                elf::R_X86_64_RELATIVE => Some(addend),
                elf::R_X86_64_64 => self
                    .own_symbol(info >> 32)
                    .map(|value| value.wrapping_add(addend)),
                elf::R_X86_64_GLOB_DAT | elf::R_X86_64_JUMP_SLOT => self.own_symbol(info >> 32),
                _ => None,
            };
            into.extend(target.map(|target| Pointer { place, target }));
        }
    }

    /// The address of a dynamic symbol that this file defines.
    fn own_symbol(&self, index: u64) -> Option<u64> {
        let at = index
            .checked_mul(24)?
            .checked_add(self.dynamic.symbols)
            .filter(|_| index > 0)?;
        let entry = self.bytes(at, 24)?;
        let section = u16::from_le_bytes([entry[6], entry[7]]);
        let value = self.word(at.checked_add(8)?)?;
        (section != elf::SHN_UNDEF).then_some(value)
    }

    /// <https://groups.google.com/g/generic-abi/c/bX460iggiKg>
    fn read_relr(&self, into: &mut Vec<Pointer>) {
        let (address, size) = self.dynamic.relr;
        let Some(bytes) = self.bytes(address, size).filter(|_| size > 0) else {
            return;
        };
        let mut add = |place| {
            let target = self.word(place);
            into.extend(target.map(|target| Pointer { place, target }));
        };
        let mut next = 0u64;
        for entry in bytes.as_chunks::<8>().0 {
            let entry = u64::from_le_bytes(*entry);
            if entry & 1 == 0 {
                add(entry);
                next = entry.wrapping_add(8);
                continue;
            }
            for bit in 0..63u64 {
                if entry >> (bit + 1) & 1 == 1 {
                    add(next.wrapping_add(8 * bit));
                }
            }
            next = next.wrapping_add(8 * 63);
        }
    }
}
