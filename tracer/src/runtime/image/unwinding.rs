//! Where functions begin and end: what unwinding needs tells it, and is there in stripped files too; symbols tell it
//! for the rest.

use std::ops::Range;

use gimli::{BaseAddresses, EhFrame, EndianSlice, LittleEndian, UnwindSection as _};

use super::Image;

type Slice<'data> = EndianSlice<'data, LittleEndian>;

/// Where unwinding information is, to find the bounds of functions.
#[derive(Clone, Debug)]
pub(super) struct Unwinding<'data> {
    /// The search table of `.eh_frame_hdr`: pairs of 32-bit offsets from `header`.
    table: &'data [u8],
    header: u64,
    frames: EhFrame<Slice<'data>>,
    bases: BaseAddresses,
    /// Address of `frames`.
    start: u64,
}

impl<'data> Image<'data> {
    /// From where to where the function goes that holds `address`.
    #[must_use]
    pub fn function(&self, address: u64) -> Option<Range<u64>> {
        // Code that is written in assembler, or was compiled as data, has no unwinding information.
        let holds = |function: &Range<u64>| function.contains(&address);
        let by_unwinding = self.function_by_unwinding(address).filter(holds);
        by_unwinding.or_else(|| self.function_by_symbol(address).filter(holds))
    }

    fn function_by_unwinding(&self, address: u64) -> Option<Range<u64>> {
        let unwinding = self
            .unwinding
            .get_or_init(|| self.find_unwinding())
            .as_ref()?;
        let entries = unwinding.table.as_chunks::<8>().0;
        let at = |offset: &[u8]| {
            let offset = offset.try_into().map_or(0, i32::from_le_bytes);
            unwinding.header.wrapping_add_signed(i64::from(offset))
        };
        let after = entries.partition_point(|entry| at(&entry[..4]) <= address);
        let entry = entries.get(after.checked_sub(1)?)?;
        let offset = at(&entry[4..]).checked_sub(unwinding.start)?;
        let offset = gimli::EhFrameOffset(usize::try_from(offset).ok()?);
        let frame = unwinding
            .frames
            .fde_from_offset(&unwinding.bases, offset, EhFrame::cie_from_offset)
            .ok()?;
        Some(frame.initial_address()..frame.initial_address().checked_add(frame.len())?)
    }

    fn find_unwinding(&self) -> Option<Unwinding<'data>> {
        let header = self.eh_frame_header.clone()?;
        let bytes = self.bytes(header.start, header.end.checked_sub(header.start)?)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(header.start);
        let parsed = gimli::EhFrameHdr::new(bytes, LittleEndian)
            .parse(&bases, 8)
            .ok()?;
        let gimli::Pointer::Direct(start) = parsed.eh_frame_ptr() else {
            return None;
        };
        // Version, how the pointer to .eh_frame, the count and the table are written: all linkers write these, and
        // what else may be there needs no search table.
        // https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/ehframechpt.html
        const USUAL: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
        if bytes.get(..4)? != USUAL {
            return None;
        }
        let count = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
        let table = bytes.get(12..)?;
        let size = usize::try_from(count).ok()?.checked_mul(8)?;
        Some(Unwinding {
            table: &table[..table.len().min(size)],
            header: header.start,
            frames: EhFrame::new(self.from(start)?, LittleEndian),
            bases: bases.set_eh_frame(start),
            start,
        })
    }
}
