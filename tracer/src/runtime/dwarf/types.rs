//! Types as debug information describes them, read one at a time when they are met and kept.

use std::{collections::HashMap, sync::Arc};

use gimli::{AttributeValue, Dwarf};

use super::{
    file::{Bytes, Sections},
    index::Index,
    unit::{Unit, Units},
};

/// Types kept; when there are more, all are forgotten and read again.
const MOST_TYPES: usize = 1 << 16;
/// Entries looked at for one type.
const MOST_ENTRIES: usize = 1 << 16;
/// Names of types in steps of `typedef` and the like.
const MOST_ALIASES: usize = 8;

/// A type. Types refer to each other by where they are in the debug information; see [`super::Types::get`].
#[derive(Debug)]
pub struct Type {
    /// Where it is.
    pub at: u64,
    /// Its name without the path, generics included (their paths are).
    pub name: String,
    /// The path to it.
    pub scope: Arc<str>,
    /// The path to it and its name, without generics: `core::option::Option`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is made of.
    pub kind: Kind,
}

/// What a type is made of.
#[derive(Debug)]
pub enum Kind {
    /// A structure, tuple, closure, enum with data, or coroutine.
    Struct {
        /// What it always has, in the order they are written.
        fields: Vec<Field>,
        /// What it has one of.
        variants: Option<Variants>,
        /// Its generics: name and type.
        parameters: Vec<(String, u64)>,
    },
    /// Fields that share one place.
    Union(Vec<Field>),
    /// A thin pointer or reference, or a box.
    Pointer(Option<u64>),
    /// So many of another type.
    Array(u64, Option<u64>),
    /// A number, or an enum without data.
    Scalar,
    /// Anything else.
    Other,
}

/// A field.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name; of tuples `__0`.
    pub name: String,
    /// Where it begins.
    pub offset: u64,
    /// Its type.
    pub of: u64,
}

/// The variants of an enum or coroutine.
#[derive(Debug)]
pub struct Variants {
    /// Where the number is that tells them apart, and its bytes; without one there is one variant.
    pub discriminant: Option<Field>,
    /// All of them.
    pub arms: Vec<Variant>,
}

/// One variant.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its number; the variant without one is meant by all numbers that are no other's.
    pub number: Option<u64>,
    /// What it has.
    pub field: Field,
    /// Where a coroutine stands that is in it: the number of the file, and the line.
    pub source: Option<(u64, u32)>,
}

/// Reads types and keeps them.
#[derive(Default)]
pub(super) struct Cache {
    known: HashMap<u64, Option<Arc<Type>>>,
}

/// The attributes of an entry that are used.
#[derive(Default)]
struct Entry {
    name: Option<String>,
    size: Option<u64>,
    of: Option<u64>,
    offset: Option<u64>,
    discriminant: Option<u64>,
    number: Option<u64>,
    count: Option<u64>,
    file: Option<u64>,
    line: Option<u64>,
}

impl Cache {
    /// The type at `at`.
    pub(super) fn get(
        &mut self,
        sections: &Sections,
        index: &Index,
        units: &mut Units,
        at: u64,
    ) -> Option<Arc<Type>> {
        if let Some(known) = self.known.get(&at) {
            return known.clone();
        }
        let dwarf = sections.dwarf();
        let mut of = at;
        let mut read = None;
        for _ in 0..MOST_ALIASES {
            let Some(unit) = index
                .unit(of)
                .and_then(|(start, _)| units.get(&dwarf, start))
            else {
                break;
            };
            match self::read(&dwarf, &unit, of) {
                Some(Read::Type(found)) => {
                    read = Some(Arc::new(found));
                    break;
                }
                Some(Read::Alias(other)) => of = other,
                None => break,
            }
        }
        if self.known.len() >= MOST_TYPES {
            self.known.clear();
        }
        self.known.insert(at, read.clone());
        read
    }
}

enum Read {
    Type(Type),
    /// Another name of this type.
    Alias(u64),
}

fn read(dwarf: &Dwarf<Bytes<'_>>, unit: &Unit, at: u64) -> Option<Read> {
    let mut entries = unit.entries(dwarf, at)?;
    let abbreviation = entries.read_abbreviation().ok()??;
    let tag = abbreviation.tag();
    let own = entry(dwarf, unit, &mut entries, abbreviation.attributes())?;
    let children = if abbreviation.has_children() {
        Children::read(dwarf, unit, &mut entries)
    } else {
        Children::default()
    };
    let kind = match tag {
        gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => Kind::Struct {
            fields: children.fields,
            variants: children.variants,
            parameters: children.parameters,
        },
        gimli::DW_TAG_union_type => Kind::Union(children.fields),
        gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type => Kind::Pointer(own.of),
        gimli::DW_TAG_array_type => Kind::Array(own.of?, children.count),
        gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type => Kind::Scalar,
        gimli::DW_TAG_typedef
        | gimli::DW_TAG_const_type
        | gimli::DW_TAG_volatile_type
        | gimli::DW_TAG_atomic_type
        | gimli::DW_TAG_restrict_type => return Some(Read::Alias(own.of?)),
        _ => Kind::Other,
    };
    let scope = unit.path(at);
    let name = own.name.unwrap_or_default();
    let base = without_generics(&name);
    let path = if scope.is_empty() {
        base.to_owned()
    } else {
        format!("{scope}::{base}")
    };
    let size = match tag {
        gimli::DW_TAG_pointer_type | gimli::DW_TAG_reference_type => 8,
        _ => own.size.unwrap_or(0),
    };
    Some(Read::Type(Type {
        at,
        path,
        name,
        scope,
        size,
        kind,
    }))
}

/// What the entries below a type's say.
#[derive(Default)]
struct Children {
    fields: Vec<Field>,
    variants: Option<Variants>,
    parameters: Vec<(String, u64)>,
    count: Option<u64>,
}

impl Children {
    /// Reads to the end of the children, or of what can be read.
    fn read<'data>(
        dwarf: &Dwarf<Bytes<'data>>,
        unit: &Unit,
        entries: &mut gimli::EntriesRaw<'_, Bytes<'data>>,
    ) -> Self {
        let mut children = Self::default();
        // Where the discriminant of the variants is described, and the tags of the entries above.
        let mut discriminant = None;
        let mut above = [gimli::DW_TAG_null; 2];
        let mut number = None;
        for _ in 0..MOST_ENTRIES {
            let depth = entries.next_depth();
            if depth < 1 || entries.is_empty() {
                break;
            }
            let at = unit
                .bases
                .start
                .saturating_add(entries.next_offset().0 as u64);
            let Ok(abbreviation) = entries.read_abbreviation() else {
                break;
            };
            let Some(abbreviation) = abbreviation else {
                continue;
            };
            let tag = abbreviation.tag();
            if depth > 3 {
                if entries.skip_attributes(abbreviation.attributes()).is_err() {
                    break;
                }
                continue;
            }
            let Some(entry) = entry(dwarf, unit, entries, abbreviation.attributes()) else {
                break;
            };
            if let Some(place) = usize::try_from(depth - 1)
                .ok()
                .and_then(|place| above.get_mut(place))
            {
                *place = tag;
            }
            let in_variants = above[0] == gimli::DW_TAG_variant_part;
            match (depth, tag) {
                (1, gimli::DW_TAG_member) => children.fields.extend(entry.field()),
                (1, gimli::DW_TAG_template_type_parameter) => {
                    children.parameters.extend(entry.name.zip(entry.of));
                }
                (1, gimli::DW_TAG_subrange_type) => children.count = entry.count,
                (1, gimli::DW_TAG_variant_part) => {
                    discriminant = entry.discriminant;
                    children.variants = Some(Variants {
                        discriminant: None,
                        arms: Vec::new(),
                    });
                }
                (2, gimli::DW_TAG_member) if in_variants && discriminant == Some(at) => {
                    if let Some(variants) = &mut children.variants {
                        variants.discriminant = entry.field();
                    }
                }
                (2, gimli::DW_TAG_variant) if in_variants => number = entry.number,
                (3, gimli::DW_TAG_member) if in_variants && above[1] == gimli::DW_TAG_variant => {
                    let line = entry.line.and_then(|line| u32::try_from(line).ok());
                    let source = entry.file.zip(line);
                    if let (Some(variants), Some(field)) = (&mut children.variants, entry.field()) {
                        variants.arms.push(Variant {
                            number,
                            field,
                            source,
                        });
                    }
                }
                _ => {}
            }
        }
        children
    }
}

impl Entry {
    fn field(&self) -> Option<Field> {
        Some(Field {
            name: self.name.clone().unwrap_or_default(),
            offset: self.offset.unwrap_or(0),
            of: self.of?,
        })
    }
}

fn entry<'data>(
    dwarf: &Dwarf<Bytes<'data>>,
    unit: &Unit,
    entries: &mut gimli::EntriesRaw<'_, Bytes<'data>>,
    specs: &[gimli::AttributeSpecification],
) -> Option<Entry> {
    let mut entry = Entry::default();
    for &spec in specs {
        let attribute = entries.read_attribute(spec).ok()?;
        let value = attribute.value();
        match attribute.name() {
            gimli::DW_AT_name => entry.name = unit.bases.text(dwarf, &value),
            gimli::DW_AT_byte_size => entry.size = value.udata_value(),
            gimli::DW_AT_type => entry.of = unit.bases.reference(&value),
            gimli::DW_AT_data_member_location => entry.offset = value.udata_value(),
            gimli::DW_AT_discr => entry.discriminant = unit.bases.reference(&value),
            gimli::DW_AT_discr_value => entry.number = number(&value),
            gimli::DW_AT_count => entry.count = value.udata_value(),
            gimli::DW_AT_decl_line => entry.line = value.udata_value(),
            gimli::DW_AT_decl_file => {
                if let AttributeValue::FileIndex(index) = value {
                    entry.file = Some(index);
                }
            }
            _ => {}
        }
    }
    Some(entry)
}

/// The first of the generics of the function at `at`.
pub(super) fn first_parameter(dwarf: &Dwarf<Bytes<'_>>, unit: &Unit, at: u64) -> Option<u64> {
    let mut entries = unit.entries(dwarf, at)?;
    let abbreviation = entries.read_abbreviation().ok()??;
    entries.skip_attributes(abbreviation.attributes()).ok()?;
    if !abbreviation.has_children() {
        return None;
    }
    let children = Children::read(dwarf, unit, &mut entries);
    children.parameters.first().map(|(_, of)| *of)
}

/// The number of a variant, as it is in memory: of negative ones the bits.
fn number(value: &AttributeValue<Bytes<'_>>) -> Option<u64> {
    if let AttributeValue::Block(block) = value {
        let low = block.slice().get(..8)?;
        return Some(u64::from_le_bytes(low.try_into().ok()?));
    }
    let signed = || value.sdata_value().map(i64::cast_unsigned);
    value.udata_value().or_else(signed)
}

/// A name without its generics: `Option<T>` is `Option`, `{async_fn_env#0}<T>` is `{async_fn_env#0}`.
fn without_generics(name: &str) -> &str {
    let inside = if name.starts_with('{') {
        name.find('}').map_or(0, |end| end + 1)
    } else if name.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        0
    } else {
        return name;
    };
    let end = name[inside..]
        .find('<')
        .map_or(name.len(), |at| inside + at);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::without_generics;

    #[test]
    fn generics_are_left_out_of_paths() {
        let of = without_generics;
        assert_eq!(of("Option<alloc::string::String>"), "Option");
        assert_eq!(of("{async_fn_env#0}<u8>"), "{async_fn_env#0}");
        assert_eq!(of("{async_block_env#12}"), "{async_block_env#12}");
        assert_eq!(of("(u8, Vec<u8>)"), "(u8, Vec<u8>)");
        assert_eq!(of("&mut Vec<u8>"), "&mut Vec<u8>");
        assert_eq!(of(""), "");
    }
}
