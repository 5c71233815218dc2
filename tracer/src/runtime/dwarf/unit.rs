//! Units of debug information: what is needed to read an entry in the middle of one, and which namespaces it is in.
//!
//! An entry does not know its parent, so a unit that is asked for is walked once and its namespaces are kept.

use std::{collections::HashMap, sync::Arc};

use gimli::{
    Abbreviations, AttributeValue, DebugInfoOffset, DebugLineOffset, Dwarf, EntriesRaw, UnitHeader,
    UnitOffset,
};

use super::{bases::Bases, file::Bytes};

/// Namespaces kept of all units together; when there are more, all are forgotten and found again when asked for.
const MOST_SCOPES: usize = 1 << 18;
/// Namespaces in namespaces.
const DEEPEST: usize = 64;

/// A namespace: a module, a function, or an `impl` (`{impl#3}`).
struct Scope {
    start: u64,
    end: u64,
    /// The path to it, itself included.
    path: Arc<str>,
    parent: Option<u32>,
}

/// A unit that was looked at.
pub(super) struct Unit {
    pub(super) bases: Bases,
    abbreviations: Abbreviations,
    line: Option<DebugLineOffset<usize>>,
    directory: Option<String>,
    /// By where they start, so parents before what is in them.
    scopes: Vec<Scope>,
}

/// The units that were looked at.
#[derive(Default)]
pub(super) struct Units {
    known: HashMap<u64, Option<Arc<Unit>>>,
    scopes: usize,
}

impl Units {
    /// The unit that starts at `start`.
    pub(super) fn get(&mut self, dwarf: &Dwarf<Bytes<'_>>, start: u64) -> Option<Arc<Unit>> {
        if let Some(unit) = self.known.get(&start) {
            return unit.clone();
        }
        let unit = Unit::read(dwarf, start).map(Arc::new);
        self.scopes += unit.as_ref().map_or(1, |unit| unit.scopes.len());
        if self.scopes > MOST_SCOPES {
            self.known.clear();
            self.scopes = unit.as_ref().map_or(1, |unit| unit.scopes.len());
        }
        self.known.insert(start, unit.clone());
        unit
    }
}

impl Unit {
    fn read(dwarf: &Dwarf<Bytes<'_>>, start: u64) -> Option<Self> {
        let header = header(dwarf, start)?;
        let abbreviations = header.abbreviations(&dwarf.debug_abbrev).ok()?;
        let (bases, root) = Bases::read(&header, &abbreviations)?;
        let value = |name| root.attr_value(name);
        let line = match value(gimli::DW_AT_stmt_list) {
            Some(AttributeValue::DebugLineRef(offset)) => Some(offset),
            Some(_) | None => None,
        };
        let directory = value(gimli::DW_AT_comp_dir).and_then(|value| bases.text(dwarf, &value));
        let mut unit = Self {
            bases,
            abbreviations,
            line,
            directory,
            scopes: Vec::new(),
        };
        // A unit that ends in nonsense keeps what came before.
        let _ = unit.walk(dwarf, &header);
        Some(unit)
    }

    fn walk<'data>(
        &mut self,
        dwarf: &Dwarf<Bytes<'data>>,
        header: &UnitHeader<Bytes<'data>>,
    ) -> gimli::Result<()> {
        let abbreviations = std::mem::take(&mut self.abbreviations);
        let result = self.scopes(dwarf, header, &abbreviations);
        self.abbreviations = abbreviations;
        result
    }

    fn scopes<'data>(
        &mut self,
        dwarf: &Dwarf<Bytes<'data>>,
        header: &UnitHeader<Bytes<'data>>,
        abbreviations: &Abbreviations,
    ) -> gimli::Result<()> {
        let mut entries = header.entries_raw(abbreviations, None)?;
        let mut open: Vec<(isize, u32)> = Vec::new();
        while !entries.is_empty() {
            let at = self
                .bases
                .start
                .saturating_add(entries.next_offset().0 as u64);
            let depth = entries.next_depth();
            while let Some(&(of, scope)) = open.last()
                && depth <= of
            {
                self.scopes[scope as usize].end = at;
                open.pop();
            }
            let Some(abbreviation) = entries.read_abbreviation()? else {
                continue;
            };
            let specs = abbreviation.attributes();
            let is_namespace = abbreviation.tag() == gimli::DW_TAG_namespace;
            let parent = open.last().map(|(_, scope)| *scope);
            if is_namespace {
                let name = self.attribute(dwarf, &mut entries, specs, gimli::DW_AT_name)?;
                if abbreviation.has_children() && open.len() < DEEPEST {
                    let name = name.unwrap_or_default();
                    let path = match parent.and_then(|parent| self.scopes.get(parent as usize)) {
                        Some(parent) => Arc::from(format!("{}::{name}", parent.path)),
                        None => Arc::from(name),
                    };
                    open.push((depth, u32::try_from(self.scopes.len()).unwrap_or(u32::MAX)));
                    self.scopes.push(Scope {
                        start: at,
                        end: u64::MAX,
                        path,
                        parent,
                    });
                }
            } else {
                entries.skip_attributes(specs)?;
            }
        }
        Ok(())
    }

    /// Reads all attributes of an entry and gives one of them, a text.
    fn attribute<'data>(
        &self,
        dwarf: &Dwarf<Bytes<'data>>,
        entries: &mut EntriesRaw<'_, Bytes<'data>>,
        specs: &[gimli::AttributeSpecification],
        wanted: gimli::DwAt,
    ) -> gimli::Result<Option<String>> {
        let mut found = None;
        for &spec in specs {
            let attribute = entries.read_attribute(spec)?;
            if attribute.name() == wanted {
                found = self.bases.text(dwarf, &attribute.value());
            }
        }
        Ok(found)
    }

    /// Reads entries from `at` on.
    pub(super) fn entries<'data>(
        &self,
        dwarf: &Dwarf<Bytes<'data>>,
        at: u64,
    ) -> Option<EntriesRaw<'_, Bytes<'data>>> {
        let offset = usize::try_from(at.checked_sub(self.bases.start)?).ok()?;
        header(dwarf, self.bases.start)?
            .entries_raw(&self.abbreviations, Some(UnitOffset(offset)))
            .ok()
    }

    /// An attribute of the entry at `at`.
    pub(super) fn value<'data>(
        &self,
        dwarf: &Dwarf<Bytes<'data>>,
        at: u64,
        name: gimli::DwAt,
    ) -> Option<AttributeValue<Bytes<'data>>> {
        let mut entries = self.entries(dwarf, at)?;
        let abbreviation = entries.read_abbreviation().ok()??;
        let mut found = None;
        for &spec in abbreviation.attributes() {
            let attribute = entries.read_attribute(spec).ok()?;
            if attribute.name() == name {
                found = Some(attribute.value());
            }
        }
        found
    }

    /// The path of the namespaces that the entry at `at` is in.
    pub(super) fn path(&self, at: u64) -> Arc<str> {
        let after = self.scopes.partition_point(|scope| scope.start <= at);
        let mut next = after.checked_sub(1);
        while let Some(scope) = next.and_then(|index| self.scopes.get(index)) {
            if at < scope.end {
                return scope.path.clone();
            }
            next = scope.parent.map(|parent| parent as usize);
        }
        Arc::default()
    }

    /// The file of this number, as the compiler wrote it: relative to where it was started, or absolute.
    pub(super) fn file(&self, dwarf: &Dwarf<Bytes<'_>>, number: u64) -> Option<String> {
        let program = dwarf.debug_line.program(self.line?, 8, None, None).ok()?;
        let header = program.header();
        let file = header.file(number)?;
        let name = self.bases.text(dwarf, &file.path_name())?;
        let directory = match (header.version(), file.directory_index()) {
            (0..=4, 0) => None,
            (_, index) => header.directory(index),
        };
        let directory = directory.and_then(|directory| self.bases.text(dwarf, &directory));
        let path = match directory {
            Some(directory) if !name.starts_with('/') && !directory.is_empty() => {
                format!("{directory}/{name}")
            }
            Some(_) | None => name,
        };
        let below = self
            .directory
            .as_ref()
            .and_then(|start| path.strip_prefix(start.as_str()));
        Some(
            below
                .and_then(|rest| rest.strip_prefix('/'))
                .map_or(path.clone(), str::to_owned),
        )
    }
}

/// The header of the unit that starts at `start`.
fn header<'data>(dwarf: &Dwarf<Bytes<'data>>, start: u64) -> Option<UnitHeader<Bytes<'data>>> {
    let start = DebugInfoOffset(usize::try_from(start).ok()?);
    dwarf.debug_info.header_from_offset(start).ok()
}
