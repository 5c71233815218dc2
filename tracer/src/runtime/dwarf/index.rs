//! One pass over all debug information for the few entries everything else starts from. All of it has to be walked,
//! because compilers do not say where an entry's children end; so each entry costs a few nanoseconds, and nothing is
//! kept but what is looked for.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use gimli::{AttributeValue, Dwarf, EntriesRaw, Operation, SectionId};

use super::{
    bases::Bases,
    file::{Bytes, Sections},
};

/// In the mangled name of every `poll` that tokio makes for a task type, whichever way it is mangled.
const POLL: &[u8] = b"5tokio7runtime4task3raw4poll";
/// What such a function is called, and what the type that holds a task is called: the generics that follow are the same.
const POLL_NAME: &[u8] = b"poll<";
const CELL_NAME: &[u8] = b"Cell<";
/// The table of a type's functions for a trait.
const VTABLE: &[u8] = b"::{vtable}";
/// What ends a type's life.
const DROP_NAME: &[u8] = b"drop_in_place<";

/// The variable with the future that is awaited, and the futures whose places are looked for: what macros wait with.
const AWAITED: &[u8] = b"__awaitee";
const POLL_FN: &[u8] = b"PollFn<";

/// In the names of the units of tokio itself: a file, then the crate.
const TOKIO: &[u8] = b"/@/tokio.";

/// Namespaces in namespaces that are told apart.
const DEEPEST: usize = 64;

/// Of expressions; only the size of an address matters here.
const ENCODING: gimli::Encoding = gimli::Encoding {
    address_size: 8,
    format: gimli::Format::Dwarf32,
    version: 5,
};

/// Where things are. Entries are known by where they are in `.debug_info`.
#[derive(Default)]
pub(super) struct Index {
    /// Units: where each starts and ends.
    pub(super) units: Vec<(u64, u64)>,
    /// `poll` functions of task types by address; the digest of their generics, and the entry.
    pub(super) polls: HashMap<u64, (u64, u64)>,
    /// Types that hold tasks, by the digest of their generics; sorted.
    pub(super) cells: Vec<(u64, u64)>,
    /// Variables that are tables of functions, by address.
    pub(super) vtables: HashMap<u64, u64>,
    /// `drop_in_place` functions, by address.
    pub(super) drops: HashMap<u64, u64>,
    /// Where futures of macros are awaited, by the digest of their generics: the unit, and in it the file and the line.
    pub(super) awaits: HashMap<u64, (u64, u64, u64)>,
    /// A function of each `impl`, by the digest of its path: the entry, and how many levels below it is.
    pub(super) methods: HashMap<u64, (u64, u32)>,
    /// There are lines of tokio's own files.
    pub(super) has_tokio: bool,
    /// The types are in other files.
    pub(super) is_split: bool,
    /// Units that end in nonsense.
    pub(super) damaged: u32,
}

/// The wanted attributes of an entry.
#[derive(Default)]
struct Entry<'data> {
    name: Option<AttributeValue<Bytes<'data>>>,
    linkage: Option<AttributeValue<Bytes<'data>>>,
    low_pc: Option<u64>,
    location: Option<u64>,
    origin: Option<u64>,
    of: Option<u64>,
    file: Option<u64>,
    line: Option<u64>,
}

/// The namespaces around an entry.
struct Around {
    depth: isize,
    /// Digest of the path.
    path: u64,
    /// The nearest `impl`: the digest of its path, and how many levels below it this is.
    implementation: Option<(u64, u32)>,
}

/// The digest of a path with one more name.
fn below(path: u64, name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, name).hash(&mut hasher);
    hasher.finish()
}

/// The digest of a path.
pub(super) fn digest(path: &str) -> u64 {
    path.split("::")
        .fold(0, |path, name| below(path, name.as_bytes()))
}

fn generics(text: &[u8]) -> u64 {
    below(0, text)
}

/// Functions whose address is at one entry and whose name is at another.
#[derive(Default)]
struct Apart {
    placed: Vec<(u64, u64)>,
    polls: HashMap<u64, u64>,
    drops: HashMap<u64, u64>,
}

impl Index {
    /// Walks all of it. Units that cannot be read are left out.
    pub(super) fn of(sections: &Sections) -> Self {
        let dwarf = sections.dwarf();
        let strings = sections.bytes(SectionId::DebugStr);
        let mut index = Self::default();
        let mut apart = Apart::default();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Some(start) = header.debug_info_offset() else {
                continue;
            };
            let start = start.0 as u64;
            let end = start.saturating_add(header.length_including_self() as u64);
            index.units.push((start, end));
            let Ok(abbreviations) = dwarf.abbreviations(&header) else {
                index.damaged += 1;
                continue;
            };
            let Ok(mut entries) = header.entries_raw(&abbreviations, None) else {
                index.damaged += 1;
                continue;
            };
            let Some((bases, _)) = Bases::read(&header, &abbreviations) else {
                index.damaged += 1;
                continue;
            };
            let unit = Unit {
                bases,
                dwarf: &dwarf,
                strings: strings.slice(),
            };
            let mut awaits = Vec::new();
            if index
                .walk(&unit, &mut entries, &mut apart, &mut awaits)
                .is_err()
            {
                index.damaged += 1;
            }
            for (of, file, line) in awaits {
                let place = of
                    .checked_sub(start)
                    .and_then(|place| usize::try_from(place).ok());
                let of = place
                    .and_then(|place| header.entry(&abbreviations, gimli::UnitOffset(place)).ok());
                let name = of.and_then(|of| of.attr_value(gimli::DW_AT_name));
                if let Some(digest) = unit.generics(name, POLL_FN) {
                    index.awaits.entry(digest).or_insert((start, file, line));
                }
            }
        }
        for (address, origin) in apart.placed {
            if let Some(&digest) = apart.polls.get(&origin) {
                index.polls.entry(address).or_insert((digest, origin));
            }
            if let Some(&entry) = apart.drops.get(&origin) {
                index.drops.entry(address).or_insert(entry);
            }
        }
        index.cells.sort_unstable();
        index
    }

    fn walk<'data>(
        &mut self,
        unit: &Unit<'_, 'data>,
        entries: &mut EntriesRaw<'_, Bytes<'data>>,
        apart: &mut Apart,
        awaits: &mut Vec<(u64, u64, u64)>,
    ) -> gimli::Result<()> {
        let mut around: Vec<Around> = Vec::new();
        while !entries.is_empty() {
            let depth = entries.next_depth();
            while around.last().is_some_and(|around| depth <= around.depth) {
                around.pop();
            }
            let at = unit
                .bases
                .start
                .saturating_add(entries.next_offset().0 as u64);
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let attributes = abbreviation.attributes();
            match abbreviation.tag() {
                gimli::DW_TAG_namespace => {
                    let entry = unit.entry(entries, attributes)?;
                    let name = unit.bytes(entry.name).unwrap_or_default();
                    let parent = around.last();
                    let path = below(parent.map_or(0, |parent| parent.path), name);
                    let implementation = if name.starts_with(b"{impl#") {
                        Some((path, 0))
                    } else {
                        parent
                            .and_then(|parent| parent.implementation)
                            .map(|(path, levels)| (path, levels + 1))
                    };
                    if abbreviation.has_children() && around.len() < DEEPEST {
                        around.push(Around {
                            depth,
                            path,
                            implementation,
                        });
                    }
                }
                gimli::DW_TAG_structure_type => {
                    let entry = unit.entry(entries, attributes)?;
                    if let Some(digest) = unit.generics(entry.name, CELL_NAME) {
                        self.cells.push((digest, at));
                    }
                }
                gimli::DW_TAG_variable => {
                    let entry = unit.entry(entries, attributes)?;
                    if let Some(address) = entry.location
                        && unit
                            .bytes(entry.name)
                            .is_some_and(|name| name.ends_with(VTABLE))
                    {
                        self.vtables.entry(address).or_insert(at);
                    }
                    if let (Some(of), Some(file), Some(line)) = (entry.of, entry.file, entry.line)
                        && unit.begins(entry.name, AWAITED)
                    {
                        awaits.push((of, file, line));
                    }
                }
                gimli::DW_TAG_subprogram => {
                    let entry = unit.entry(entries, attributes)?;
                    if let Some((path, levels)) =
                        around.last().and_then(|around| around.implementation)
                        && entry.linkage.is_some()
                    {
                        self.methods.entry(path).or_insert((at, levels + 1));
                    }
                    self.function(unit, at, &entry, apart);
                }
                gimli::DW_TAG_compile_unit | gimli::DW_TAG_skeleton_unit => {
                    let dwo = [gimli::DW_AT_dwo_name, gimli::DW_AT_GNU_dwo_name];
                    self.is_split |= attributes.iter().any(|spec| dwo.contains(&spec.name()));
                    let entry = unit.entry(entries, attributes)?;
                    let name = unit.bytes(entry.name).unwrap_or_default();
                    self.has_tokio |= name.windows(TOKIO.len()).any(|part| part == TOKIO);
                }
                _ => entries.skip_attributes(attributes)?,
            }
        }
        Ok(())
    }

    fn function(&mut self, unit: &Unit<'_, '_>, at: u64, entry: &Entry<'_>, apart: &mut Apart) {
        if let (Some(address), Some(origin)) = (entry.low_pc, entry.origin) {
            apart.placed.push((address, origin));
            return;
        }
        if let Some(digest) = unit.generics(entry.name, POLL_NAME) {
            let linkage = unit.bytes(entry.linkage);
            if linkage.is_some_and(|name| name.windows(POLL.len()).any(|part| part == POLL)) {
                match entry.low_pc {
                    Some(address) => _ = self.polls.insert(address, (digest, at)),
                    None => _ = apart.polls.insert(at, digest),
                }
            }
        } else if unit.generics(entry.name, DROP_NAME).is_some() {
            match entry.low_pc {
                Some(address) => _ = self.drops.insert(address, at),
                None => _ = apart.drops.insert(at, at),
            }
        }
    }

    /// The type that holds the tasks whose `poll` function is at `address`, as it was linked: of the same unit where
    /// there is one.
    pub(super) fn cell(&self, address: u64) -> Option<u64> {
        let &(digest, poll) = self.polls.get(&address)?;
        let from = self.cells.partition_point(|(other, _)| *other < digest);
        let same = self
            .cells
            .iter()
            .skip(from)
            .take_while(|(other, _)| *other == digest);
        let unit = self.unit(poll)?;
        let near = same
            .clone()
            .find(|(_, cell)| (unit.0..unit.1).contains(cell));
        near.or_else(|| same.clone().next()).map(|(_, cell)| *cell)
    }

    /// Where the future of this name, a `PollFn`, is awaited.
    pub(super) fn awaited(&self, name: &str) -> Option<(u64, u64, u64)> {
        let rest = name.as_bytes().strip_prefix(POLL_FN)?;
        self.awaits.get(&generics(rest)).copied()
    }

    /// The unit that has the entry: where it starts and ends.
    pub(super) fn unit(&self, entry: u64) -> Option<(u64, u64)> {
        let after = self.units.partition_point(|(start, _)| *start <= entry);
        let unit = *self.units.get(after.checked_sub(1)?)?;
        (entry < unit.1).then_some(unit)
    }
}

struct Unit<'a, 'data> {
    bases: Bases,
    dwarf: &'a Dwarf<Bytes<'data>>,
    strings: &'data [u8],
}

impl<'data> Unit<'_, 'data> {
    fn entry(
        &self,
        entries: &mut EntriesRaw<'_, Bytes<'data>>,
        attributes: &[gimli::AttributeSpecification],
    ) -> gimli::Result<Entry<'data>> {
        let mut entry = Entry::default();
        for &spec in attributes {
            let value = entries.read_attribute_inline(spec)?;
            match spec.name() {
                gimli::DW_AT_name => entry.name = Some(value.value()),
                gimli::DW_AT_linkage_name => entry.linkage = Some(value.value()),
                gimli::DW_AT_low_pc => {
                    entry.low_pc = self.bases.address(self.dwarf, &value.value());
                }
                gimli::DW_AT_location => entry.location = self.place(&value.value()),
                gimli::DW_AT_type => entry.of = self.bases.reference(&value.value()),
                gimli::DW_AT_decl_line => entry.line = value.udata_value(),
                gimli::DW_AT_decl_file => {
                    if let AttributeValue::FileIndex(file) = value.value() {
                        entry.file = Some(file);
                    }
                }
                gimli::DW_AT_abstract_origin => entry.origin = self.bases.reference(&value.value()),
                _ => {}
            }
        }
        Ok(entry)
    }

    fn bytes(&self, value: Option<AttributeValue<Bytes<'data>>>) -> Option<&'data [u8]> {
        self.bases.bytes(self.dwarf, &value?)
    }

    /// The address of a variable that is always at the same one.
    fn place(&self, location: &AttributeValue<Bytes<'data>>) -> Option<u64> {
        let AttributeValue::Exprloc(expression) = location else {
            return None;
        };
        let mut bytes = expression.0;
        let first = gimli::DwOp(*bytes.slice().first()?);
        if ![gimli::DW_OP_addr, gimli::DW_OP_addrx].contains(&first) {
            return None;
        }
        match Operation::parse(&mut bytes, ENCODING) {
            Ok(Operation::Address { address }) => Some(address),
            Ok(Operation::AddressIndex { index }) => self
                .bases
                .address(self.dwarf, &AttributeValue::DebugAddrIndex(index)),
            Ok(_) | Err(_) => None,
        }
    }

    /// True when a name begins so. Most do not, so their end is not searched.
    fn begins(&self, name: Option<AttributeValue<Bytes<'data>>>, prefix: &[u8]) -> bool {
        if let Some(AttributeValue::DebugStrRef(offset)) = name {
            let text = self.strings.get(offset.0..);
            return text.is_some_and(|text| text.starts_with(prefix));
        }
        self.bytes(name)
            .is_some_and(|name| name.starts_with(prefix))
    }

    /// A digest of the generics of a name that begins with `prefix`, which ends in the bracket that opens them.
    fn generics(&self, name: Option<AttributeValue<Bytes<'data>>>, prefix: &[u8]) -> Option<u64> {
        if !self.begins(name, prefix) {
            return None;
        }
        Some(generics(self.bytes(name)?.strip_prefix(prefix)?))
    }
}
