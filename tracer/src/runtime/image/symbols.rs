//! What functions and variables are called, when the file was not stripped.

use std::ops::Range;

use object::elf;

use super::{Image, words3};

/// Symbols looked at. The largest programs have two million.
const SYMBOLS: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
struct Symbol {
    address: u64,
    size: u64,
    name: u32,
    is_function: bool,
}

#[derive(Debug, Default)]
pub(super) struct Symbols<'data> {
    /// Functions and objects, by address.
    sorted: Vec<Symbol>,
    /// Thread-local variables; their addresses are offsets in the thread's block.
    thread_local: Vec<Symbol>,
    names: &'data [u8],
}

impl<'data> Image<'data> {
    /// True when the functions have names.
    #[must_use]
    pub fn has_symbols(&self) -> bool {
        self.sections
            .iter()
            .any(|section| section.kind == elf::SHT_SYMTAB)
    }

    /// Names of what begins at `address`, mangled. Several when the compiler found that functions are the same.
    pub fn names(&self, address: u64) -> impl Iterator<Item = &'data str> + '_ {
        let symbols = self.symbols();
        let first = symbols
            .sorted
            .partition_point(|symbol| symbol.address < address);
        symbols.sorted[first..]
            .iter()
            .take_while(move |symbol| symbol.address == address)
            .filter_map(|symbol| symbols.name(symbol))
    }

    /// Addresses of what has a mangled name that fits, by address.
    pub fn named<'a>(
        &'a self,
        fits: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (u64, &'data str)> + 'a {
        let symbols = self.symbols();
        symbols.sorted.iter().filter_map(move |symbol| {
            let name = symbols.name(symbol).filter(|name| fits(name))?;
            Some((symbol.address, name))
        })
    }

    /// Where what has a mangled name that begins with one of these is, by address. Much quicker than [`Self::named`]
    /// where few do: of most symbols no more than the first letters of the name are read.
    pub fn beginning_with<'a>(
        &'a self,
        prefixes: &'a [&str],
    ) -> impl Iterator<Item = (Range<u64>, &'data str)> + 'a {
        let symbols = self.symbols();
        symbols.sorted.iter().filter_map(move |symbol| {
            let begins = |prefix: &&str| symbols.begins(symbol, prefix);
            let name = prefixes
                .iter()
                .any(begins)
                .then(|| symbols.name(symbol))??;
            let end = symbol.address.checked_add(symbol.size)?;
            Some((symbol.address..end, name))
        })
    }

    /// Addresses of what the file offers to others under these names; in a program that offers nothing, of what has
    /// these names. Costs little where there is nothing of the kind.
    #[must_use]
    pub fn exported<const COUNT: usize>(&self, names: [&str; COUNT]) -> [Option<u64>; COUNT] {
        let mut found = [None; COUNT];
        let tables = [elf::SHT_DYNSYM, elf::SHT_SYMTAB];
        let table = tables
            .iter()
            .find_map(|&kind| self.sections.iter().find(|section| section.kind == kind));
        let Some((table, texts)) =
            table.and_then(|table| Some((table, self.sections.get(table.link)?.data)))
        else {
            return found;
        };
        let is_there = |name: &str| memchr::memmem::find(texts, name.as_bytes()).is_some();
        let there = names.map(is_there);
        if !there.contains(&true) {
            return found;
        }
        for entry in table.data.as_chunks::<24>().0.iter().take(SYMBOLS) {
            let at = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
            let defined = u16::from_le_bytes([entry[6], entry[7]]) != elf::SHN_UNDEF;
            let rest = usize::try_from(at).ok().and_then(|at| texts.get(at..));
            let (true, Some(rest)) = (defined, rest) else {
                continue;
            };
            for (name, found) in names.iter().zip(&mut found) {
                let is_it = rest
                    .strip_prefix(name.as_bytes())
                    .is_some_and(|rest| rest.first() == Some(&0));
                if is_it {
                    *found = Some(words3(entry)[1]);
                }
            }
        }
        found
    }

    /// Where thread-local variables are in the block and their size, in bytes, of those whose mangled name fits.
    pub fn thread_locals<'a>(
        &'a self,
        fits: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = (u64, u64)> + 'a {
        let symbols = self.symbols();
        symbols.thread_local.iter().filter_map(move |symbol| {
            let name = symbols.name(symbol)?;
            fits(name).then_some((symbol.address, symbol.size))
        })
    }

    fn symbols(&self) -> &Symbols<'data> {
        self.symbols.get_or_init(|| {
            [elf::SHT_SYMTAB, elf::SHT_DYNSYM]
                .iter()
                .find_map(|&kind| self.read_symbols(kind))
                .unwrap_or_default()
        })
    }

    fn read_symbols(&self, kind: u32) -> Option<Symbols<'data>> {
        let section = self.sections.iter().find(|section| section.kind == kind)?;
        let names = self.sections.get(section.link)?.data;
        let entries = section.data.as_chunks::<24>().0;
        let mut symbols = Symbols {
            names,
            ..Symbols::default()
        };
        for entry in entries.iter().take(SYMBOLS) {
            let [_, address, size] = words3(entry);
            let symbol = Symbol {
                address,
                size,
                name: u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]),
                is_function: entry[4] & 15 == elf::STT_FUNC,
            };
            let defined = u16::from_le_bytes([entry[6], entry[7]]) != elf::SHN_UNDEF;
            match entry[4] & 15 {
                elf::STT_TLS if defined => symbols.thread_local.push(symbol),
                elf::STT_FUNC | elf::STT_OBJECT | elf::STT_NOTYPE if defined => {
                    symbols.sorted.push(symbol);
                }
                _ => {}
            }
        }
        symbols.sorted.sort_unstable_by_key(|symbol| symbol.address);
        Some(symbols)
    }

    pub(super) fn function_by_symbol(&self, address: u64) -> Option<Range<u64>> {
        let symbols = &self.symbols().sorted;
        let after = symbols.partition_point(|symbol| symbol.address <= address);
        let symbol = symbols[..after]
            .iter()
            .rev()
            .take(16)
            .find(|symbol| symbol.is_function && symbol.size > 0)?;
        Some(symbol.address..symbol.address.checked_add(symbol.size)?)
    }
}

impl<'data> Symbols<'data> {
    fn begins(&self, symbol: &Symbol, prefix: &str) -> bool {
        let start = usize::try_from(symbol.name).ok();
        let rest = start.and_then(|start| self.names.get(start..));
        rest.is_some_and(|rest| rest.starts_with(prefix.as_bytes()))
    }

    fn name(&self, symbol: &Symbol) -> Option<&'data str> {
        let rest = self.names.get(usize::try_from(symbol.name).ok()?..)?;
        let end = memchr::memchr(0, rest)?;
        std::str::from_utf8(&rest[..end])
            .ok()
            .filter(|name| !name.is_empty())
    }
}
