//! Memory that is read a page at a time and kept: objects of one kind lie side by side, and each has many words to check.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use crate::runtime::memory::Memory;

const PAGE: usize = 4_096;
/// Pages that are kept: 64 MiB.
const PAGES: usize = 16_384;

/// Pages as they were when they were first asked for. What was decided from them is checked against memory afterwards.
pub(super) struct Cached<'a> {
    memory: &'a dyn Memory,
    pages: RefCell<HashMap<u64, Page>>,
    /// The page that was asked for last: objects that belong together were made together.
    last: RefCell<Option<(u64, Page)>>,
}

/// `None` when it cannot be read.
type Page = Option<Rc<[u8; PAGE]>>;

impl<'a> Cached<'a> {
    pub(super) fn new(memory: &'a dyn Memory) -> Self {
        Self {
            memory,
            pages: RefCell::default(),
            last: RefCell::default(),
        }
    }

    fn page(&self, page: u64) -> Page {
        let mut last = self.last.borrow_mut();
        if let Some((known, content)) = &*last
            && *known == page
        {
            return content.clone();
        }
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= PAGES && !pages.contains_key(&page) {
            pages.clear();
        }
        let content = pages.entry(page).or_insert_with(|| {
            let mut content = [0; PAGE];
            let is_read = self.memory.read(page, &mut content);
            is_read.then(|| Rc::new(content))
        });
        *last = Some((page, content.clone()));
        content.clone()
    }
}

impl Memory for Cached<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        // A script's source is read once and is large.
        if buffer.len() > PAGE {
            return self.memory.read(address, buffer);
        }
        let mut address = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let from = usize::try_from(address % PAGE as u64).unwrap_or(0);
            let size = rest.len().min(PAGE - from);
            let (now, later) = rest.split_at_mut(size);
            let Some(content) = self.page(address - from as u64) else {
                return false;
            };
            now.copy_from_slice(&content[from..from + size]);
            let Some(next) = address.checked_add(size as u64) else {
                return later.is_empty();
            };
            (address, rest) = (next, later);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use tracer_common::Pid;

    use super::*;
    use crate::runtime::memory::ProcessMemory;

    #[test]
    fn words_across_pages_are_read_and_what_is_not_mapped_is_refused() {
        let memory = ProcessMemory::of(Pid(std::process::id())).unwrap();
        let cached = Cached::new(&memory);
        let known: Vec<u64> = (0..4_096).collect();
        let start = known.as_ptr().addr() as u64;
        let mut bytes = vec![0; PAGE];
        assert!(cached.read(start + 24, &mut bytes));
        let words: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&word| u64::from_le_bytes(word))
            .collect();
        assert_eq!(words, known[3..3 + PAGE / 8]);
        assert_eq!(cached.word(8), None);
        assert_eq!(cached.word(u64::MAX - 3), None);
    }
}
