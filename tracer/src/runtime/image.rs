//! An ELF file of x86-64 as it lies on disk: where its addresses are in it, what its relocated words will point at,
//! where its functions begin and end, what they are called.
//!
//! Works on stripped files: only names need symbols. Every offset in the file is checked where it is used, so no file
//! can make it panic; what makes no sense is not there. Nothing is read before it is asked for, because a program
//! with debug information has hundreds of megabytes.

use std::{cell::OnceCell, ops::Range};

use object::{
    elf,
    read::elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _},
};

mod relocations;
mod symbols;
mod unwinding;

pub use relocations::Pointer;
use symbols::Symbols;
use unwinding::Unwinding;

const LITTLE: object::LittleEndian = object::LittleEndian;

/// A part of the file that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is loaded, before the bias.
    pub address: u64,
    /// Bytes in memory; what is more than in the file is zero.
    pub memory_size: u64,
    /// Where it is in the file, in bytes from its start.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// It holds code.
    pub is_executable: bool,
    /// It can be written, if only until relocations are done.
    pub is_writable: bool,
}

impl Segment {
    fn addresses(&self) -> Range<u64> {
        self.address..self.address.saturating_add(self.memory_size)
    }
}

/// A program or library.
#[derive(Debug)]
pub struct Image<'data> {
    data: &'data [u8],
    segments: Vec<Segment>,
    /// Addresses that become read-only when relocations are done.
    relro: Vec<Range<u64>>,
    /// The block of thread-local variables: bytes in memory, rounded up to its alignment.
    thread_block: Option<u64>,
    is_relocated: bool,
    is_program: bool,
    build_id: Option<&'data [u8]>,
    sections: Vec<Section<'data>>,
    dynamic: Dynamic,
    unwinding: OnceCell<Option<Unwinding<'data>>>,
    pointers: OnceCell<Vec<Pointer>>,
    symbols: OnceCell<Symbols<'data>>,
    eh_frame_header: Option<Range<u64>>,
}

#[derive(Clone, Copy, Debug)]
struct Section<'data> {
    name: &'data [u8],
    kind: u32,
    link: usize,
    data: &'data [u8],
}

/// Addresses and sizes in bytes from the dynamic section.
#[derive(Clone, Copy, Debug, Default)]
struct Dynamic {
    rela: (u64, u64),
    plt: (u64, u64),
    relr: (u64, u64),
    symbols: u64,
}

impl<'data> Image<'data> {
    /// Reads the headers. `None` when it is no ELF file of x86-64 that can be run or loaded.
    #[must_use]
    pub fn parse(data: &'data [u8]) -> Option<Self> {
        let header = elf::FileHeader64::<object::LittleEndian>::parse(data).ok()?;
        header.endian().ok()?;
        let kind = header.e_type(LITTLE);
        if header.e_machine(LITTLE) != elf::EM_X86_64 || !matches!(kind, elf::ET_EXEC | elf::ET_DYN)
        {
            return None;
        }
        let mut image = Self {
            data,
            segments: Vec::new(),
            relro: Vec::new(),
            thread_block: None,
            is_relocated: kind == elf::ET_DYN,
            is_program: kind == elf::ET_EXEC,
            build_id: None,
            sections: Vec::new(),
            dynamic: Dynamic::default(),
            unwinding: OnceCell::new(),
            pointers: OnceCell::new(),
            symbols: OnceCell::new(),
            eh_frame_header: None,
        };
        for segment in header.program_headers(LITTLE, data).ok()? {
            image.add(segment);
        }
        image.segments.sort_by_key(|segment| segment.address);
        image.sections = sections(header, data);
        image.read_dynamic();
        (!image.segments.is_empty()).then_some(image)
    }

    fn add(&mut self, header: &elf::ProgramHeader64<object::LittleEndian>) {
        let address = header.p_vaddr(LITTLE);
        let memory_size = header.p_memsz(LITTLE);
        let addresses = address..address.saturating_add(memory_size);
        match header.p_type(LITTLE) {
            elf::PT_LOAD => {
                let flags = header.p_flags(LITTLE);
                self.segments.push(Segment {
                    address,
                    memory_size,
                    file_offset: header.p_offset(LITTLE),
                    file_size: header.p_filesz(LITTLE).min(memory_size),
                    is_executable: flags & elf::PF_X != 0,
                    is_writable: flags & elf::PF_W != 0,
                });
            }
            elf::PT_GNU_RELRO => self.relro.push(addresses),
            elf::PT_GNU_EH_FRAME => self.eh_frame_header = Some(addresses),
            elf::PT_INTERP => self.is_program = true,
            elf::PT_TLS => {
                let align = header.p_align(LITTLE).max(1);
                self.thread_block = memory_size.checked_next_multiple_of(align);
            }
            elf::PT_NOTE if self.build_id.is_none() => {
                let notes = header.notes(LITTLE, self.data).ok().flatten();
                let id = notes.and_then(|mut notes| {
                    while let Ok(Some(note)) = notes.next() {
                        if note.name() == elf::ELF_NOTE_GNU
                            && note.n_type(LITTLE) == elf::NT_GNU_BUILD_ID
                        {
                            return Some(note.desc());
                        }
                    }
                    None
                });
                self.build_id = id;
            }
            _ => {}
        }
    }

    fn read_dynamic(&mut self) {
        let Ok(header) = elf::FileHeader64::<object::LittleEndian>::parse(self.data) else {
            return;
        };
        let entries = header
            .program_headers(LITTLE, self.data)
            .unwrap_or_default()
            .iter()
            .find_map(|header| header.dynamic(LITTLE, self.data).ok().flatten())
            .unwrap_or_default();
        let mut dynamic = Dynamic::default();
        for entry in entries {
            let value = entry.d_val.get(LITTLE);
            match entry.d_tag.get(LITTLE) {
                0 => break,
                elf::DT_RELA => dynamic.rela.0 = value,
                elf::DT_RELASZ => dynamic.rela.1 = value,
                elf::DT_JMPREL => dynamic.plt.0 = value,
                elf::DT_PLTRELSZ => dynamic.plt.1 = value,
                elf::DT_RELR => dynamic.relr.0 = value,
                elf::DT_RELRSZ => dynamic.relr.1 = value,
                elf::DT_SYMTAB => dynamic.symbols = value,
                elf::DT_FLAGS_1 if value & u64::from(elf::DF_1_PIE) != 0 => self.is_program = true,
                _ => {}
            }
        }
        self.dynamic = dynamic;
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &'data [u8] {
        self.data
    }

    /// What is loaded, by address.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The unique number the linker gave it.
    #[must_use]
    pub fn build_id(&self) -> Option<&'data [u8]> {
        self.build_id.filter(|id| !id.is_empty())
    }

    /// A program, not a library: its thread-local variables are at fixed offsets from the thread pointer.
    #[must_use]
    pub fn is_program(&self) -> bool {
        self.is_program
    }

    /// It is loaded anywhere, so its addresses are relocated.
    #[must_use]
    pub fn is_movable(&self) -> bool {
        self.is_relocated
    }

    /// Bytes of a program's thread-local variables; they end where the thread pointer points.
    #[must_use]
    pub fn thread_block(&self) -> Option<u64> {
        self.thread_block
    }

    /// The content of the first section of this name, as it is in the file; empty when there is none.
    #[must_use]
    pub fn section(&self, name: &str) -> &'data [u8] {
        let section = self.sections.iter().find(|one| one.name == name.as_bytes());
        section.map_or(&[], |section| section.data)
    }

    fn segment(&self, address: u64) -> Option<&Segment> {
        let after = self
            .segments
            .partition_point(|segment| segment.address <= address);
        let segment = self.segments.get(after.checked_sub(1)?)?;
        segment.addresses().contains(&address).then_some(segment)
    }

    /// True when there is code at `address`.
    #[must_use]
    pub fn is_code(&self, address: u64) -> bool {
        self.segment(address)
            .is_some_and(|segment| segment.is_executable)
    }

    /// True when `address` is of something loaded that is no code, be it in the file or zero at first.
    #[must_use]
    pub fn is_data(&self, address: u64) -> bool {
        self.segment(address)
            .is_some_and(|segment| !segment.is_executable)
    }

    /// True when nothing is written at `address` while the program runs, apart from relocations.
    #[must_use]
    pub fn is_constant(&self, address: u64) -> bool {
        self.segment(address)
            .is_some_and(|segment| !segment.is_executable && !segment.is_writable)
            || self.relro.iter().any(|range| range.contains(&address))
    }

    /// Where the byte of an address is in the file, in bytes from its start.
    #[must_use]
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let segment = self.segment(address)?;
        let at = address - segment.address;
        (at < segment.file_size).then(|| segment.file_offset.checked_add(at))?
    }

    /// The address of the code that is at this place in the file, in bytes from its start.
    #[must_use]
    pub fn code_at(&self, file_offset: u64) -> Option<u64> {
        let code = self.segments.iter().filter(|one| one.is_executable);
        code.filter_map(|one| Some((one, file_offset.checked_sub(one.file_offset)?)))
            .find(|(one, at)| *at < one.file_size)
            .and_then(|(one, at)| one.address.checked_add(at))
    }

    /// What is added to an address of the file to get the address in a process that has what is at `offset` in the
    /// file, in bytes, at `address` as code.
    #[must_use]
    pub fn bias(&self, address: u64, offset: u64) -> Option<u64> {
        let code = |segment: &Segment| segment.is_executable;
        self.biases(address, offset, code).next()
    }

    /// The same for each segment that `is_meant` and is in those pages; two may share one.
    pub fn biases(
        &self,
        address: u64,
        offset: u64,
        is_meant: impl Fn(&Segment) -> bool,
    ) -> impl Iterator<Item = u64> {
        const PAGE: u64 = 4_096;
        let segments = self.segments.iter().filter(move |segment| {
            let start = segment.file_offset / PAGE * PAGE;
            let end = segment.file_offset.saturating_add(segment.file_size);
            is_meant(segment) && (start..end).contains(&offset)
        });
        segments.map(move |segment| {
            let linked = segment
                .address
                .wrapping_add(offset)
                .wrapping_sub(segment.file_offset);
            address.wrapping_sub(linked)
        })
    }

    /// What the file holds from `address` to the end of its segment.
    #[must_use]
    pub fn from(&self, address: u64) -> Option<&'data [u8]> {
        let segment = self.segment(address)?;
        let at = address - segment.address;
        let left = segment.file_size.checked_sub(at)?;
        let start = usize::try_from(segment.file_offset.checked_add(at)?).ok()?;
        let data = self.data.get(start..)?;
        Some(&data[..data.len().min(usize::try_from(left).ok()?)])
    }

    /// `size` bytes at `address`, before relocation.
    #[must_use]
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        self.from(address)?.get(..usize::try_from(size).ok()?)
    }

    /// The word at `address`, before relocation.
    #[must_use]
    pub fn word(&self, address: u64) -> Option<u64> {
        let bytes = self.bytes(address, 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }
}

fn words3(bytes: &[u8; 24]) -> [u64; 3] {
    let words = bytes.as_chunks::<8>().0;
    [words[0], words[1], words[2]].map(u64::from_le_bytes)
}

fn sections<'data>(
    header: &elf::FileHeader64<object::LittleEndian>,
    data: &'data [u8],
) -> Vec<Section<'data>> {
    let Ok(table) = header.sections(LITTLE, data) else {
        return Vec::new();
    };
    let section = |section: &elf::SectionHeader64<object::LittleEndian>| Section {
        name: table.section_name(LITTLE, section).unwrap_or_default(),
        kind: section.sh_type(LITTLE),
        link: usize::try_from(section.sh_link(LITTLE)).unwrap_or(usize::MAX),
        data: section.data(LITTLE, data).unwrap_or_default(),
    };
    table.iter().map(section).collect()
}
