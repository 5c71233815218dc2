//! What attributes refer to: texts, addresses and other entries, some of them through tables of their unit.

use gimli::{
    Abbreviations, AttributeValue, DebugAddrBase, DebugStrOffsetsBase, DebuggingInformationEntry,
    Dwarf, Format, UnitHeader,
};

use super::file::Bytes;

/// The entry a unit begins with.
pub(super) type Root<'data> = DebuggingInformationEntry<Bytes<'data>>;

/// Where a unit and its tables are.
pub(super) struct Bases {
    /// Where it is in `.debug_info`.
    pub(super) start: u64,
    format: Format,
    strings: DebugStrOffsetsBase<usize>,
    addresses: DebugAddrBase<usize>,
}

impl Bases {
    /// Those of a unit, with the entry it begins with.
    pub(super) fn read<'data>(
        header: &UnitHeader<Bytes<'data>>,
        abbreviations: &Abbreviations,
    ) -> Option<(Self, Root<'data>)> {
        let root = header.entry(abbreviations, header.root_offset()).ok()?;
        let strings = match root.attr_value(gimli::DW_AT_str_offsets_base) {
            Some(AttributeValue::DebugStrOffsetsBase(base)) => base,
            Some(_) | None => DebugStrOffsetsBase(0),
        };
        let addresses = match root.attr_value(gimli::DW_AT_addr_base) {
            Some(AttributeValue::DebugAddrBase(base)) => base,
            Some(_) | None => DebugAddrBase(0),
        };
        let bases = Self {
            start: header.debug_info_offset()?.0 as u64,
            format: header.format(),
            strings,
            addresses,
        };
        Some((bases, root))
    }

    /// The entry that an attribute refers to.
    pub(super) fn reference(&self, value: &AttributeValue<Bytes<'_>>) -> Option<u64> {
        if let AttributeValue::UnitRef(offset) = value {
            return self.start.checked_add(offset.0 as u64);
        }
        if let AttributeValue::DebugInfoRef(offset) = value {
            return Some(offset.0 as u64);
        }
        None
    }

    /// The text that an attribute has or refers to.
    pub(super) fn bytes<'data>(
        &self,
        dwarf: &Dwarf<Bytes<'data>>,
        value: &AttributeValue<Bytes<'data>>,
    ) -> Option<&'data [u8]> {
        let text = if let AttributeValue::DebugStrRef(offset) = value {
            dwarf.debug_str.get_str(*offset)
        } else if let AttributeValue::String(text) = value {
            Ok(*text)
        } else if let AttributeValue::DebugLineStrRef(offset) = value {
            dwarf.debug_line_str.get_str(*offset)
        } else if let AttributeValue::DebugStrOffsetsIndex(index) = value {
            let offset = dwarf
                .debug_str_offsets
                .get_str_offset(self.format, self.strings, *index);
            offset.and_then(|offset| dwarf.debug_str.get_str(offset))
        } else {
            return None;
        };
        text.ok().map(|text| text.slice())
    }

    /// The same as text.
    pub(super) fn text<'data>(
        &self,
        dwarf: &Dwarf<Bytes<'data>>,
        value: &AttributeValue<Bytes<'data>>,
    ) -> Option<String> {
        let bytes = self.bytes(dwarf, value)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The address that an attribute has or refers to.
    pub(super) fn address(
        &self,
        dwarf: &Dwarf<Bytes<'_>>,
        value: &AttributeValue<Bytes<'_>>,
    ) -> Option<u64> {
        if let AttributeValue::Addr(address) = value {
            return Some(*address);
        }
        if let AttributeValue::DebugAddrIndex(index) = value {
            return dwarf.debug_addr.get_address(8, self.addresses, *index).ok();
        }
        None
    }
}
