//! The file that has a program's debug information, and its sections in memory.
//!
//! Where to look: the program itself; then a file of its build id, then the one its `.gnu_debuglink` names, in the
//! directories debuggers look into.

use std::{
    borrow::Cow,
    ffi::OsStr,
    ops::Range,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use object::{Object as _, ObjectSection as _};

use super::Missing;
use crate::target::sys::{self, MappedFile};

/// Bytes of a section.
pub(super) type Bytes<'data> = EndianSlice<'data, LittleEndian>;

/// Below these, debug information of installed programs is found.
const DEBUG_DIRECTORIES: &[&str] = &["/usr/lib/debug", "/lib/debug"];

/// Sections that are compressed in the file are kept decompressed; more than this is refused, because a few bytes can
/// claim to be any number of them.
const MOST_DECOMPRESSED: u64 = 2 << 30;

/// What is read of a file. Locations and ranges of code are not.
const SECTIONS: &[SectionId] = &[
    SectionId::DebugAbbrev,
    SectionId::DebugAddr,
    SectionId::DebugInfo,
    SectionId::DebugLine,
    SectionId::DebugLineStr,
    SectionId::DebugStr,
    SectionId::DebugStrOffsets,
];

enum Content {
    /// Where it is in the file.
    Mapped(Range<usize>),
    Decompressed(Vec<u8>),
}

/// A file that is mapped, and where its debug information is.
pub(super) struct Sections {
    path: PathBuf,
    file: MappedFile,
    found: Vec<(SectionId, Content)>,
}

impl Sections {
    /// The debug information of the program at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, Missing> {
        let program = map(path)?;
        let (identity, own) = {
            let file = parse(path, &program)?;
            (Identity::of(&file), sections(path, &program, &file)?)
        };
        if let Some(found) = own {
            return Ok(Self {
                path: path.to_owned(),
                file: program,
                found,
            });
        }
        for path in identity.candidates(path) {
            let Ok(debug) = map(&path) else { continue };
            let found = {
                let Ok(file) = parse(&path, &debug) else {
                    continue;
                };
                if !identity.is_same(&Identity::of(&file)) {
                    continue;
                }
                sections(&path, &debug, &file)?
            };
            if let Some(found) = found {
                return Ok(Self {
                    path,
                    file: debug,
                    found,
                });
            }
        }
        Err(Missing::Stripped)
    }

    /// Gives back the pages that were touched, after all of them were: mapped anew, the file is read where it is needed.
    pub(super) fn give_back(&mut self) {
        if let Ok(again) = sys::map_file(&self.path)
            && again.len() == self.file.len()
        {
            self.file = again;
        }
    }

    /// A section's bytes; none when the file does not have it.
    pub(super) fn bytes(&self, id: SectionId) -> Bytes<'_> {
        let content = self.found.iter().find(|(found, _)| *found == id);
        let bytes = match content {
            Some((_, Content::Mapped(range))) => self.file.get(range.clone()).unwrap_or_default(),
            Some((_, Content::Decompressed(bytes))) => bytes,
            None => &[],
        };
        EndianSlice::new(bytes, LittleEndian)
    }

    /// All sections, as their reader wants them.
    pub(super) fn dwarf(&self) -> Dwarf<Bytes<'_>> {
        let load = |id| Ok::<_, std::convert::Infallible>(self.bytes(id));
        match Dwarf::load(load) {
            Ok(dwarf) => dwarf,
        }
    }
}

fn map(path: &Path) -> Result<MappedFile, Missing> {
    let unreadable = |why| Missing::Unreadable {
        path: path.to_owned(),
        why,
    };
    // A pipe would wait and a device may do something.
    let metadata = path.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(std::io::ErrorKind::InvalidInput.into()));
    }
    sys::map_file(path).map_err(unreadable)
}

fn parse<'data>(path: &Path, bytes: &'data [u8]) -> Result<object::File<'data>, Missing> {
    let not_elf = || Missing::NotElf {
        path: path.to_owned(),
    };
    let Ok(file) = object::File::parse(bytes) else {
        return Err(not_elf());
    };
    if !file.is_little_endian() || !file.is_64() {
        return Err(not_elf());
    }
    Ok(file)
}

/// The sections of `file` that are wanted; `None` when it has no types.
fn sections(
    path: &Path,
    bytes: &[u8],
    file: &object::File<'_>,
) -> Result<Option<Vec<(SectionId, Content)>>, Missing> {
    let damaged = || Missing::Damaged {
        path: path.to_owned(),
    };
    let mut found = Vec::new();
    let mut decompressed = 0u64;
    for &id in SECTIONS {
        let Some(section) = file.section_by_name(id.name()) else {
            continue;
        };
        let Ok(data) = section.compressed_data() else {
            return Err(damaged());
        };
        if data.format != object::CompressionFormat::None {
            decompressed = decompressed.saturating_add(data.uncompressed_size);
            if decompressed > MOST_DECOMPRESSED {
                return Err(damaged());
            }
        }
        let content = match data.decompress() {
            Err(_) => return Err(damaged()),
            Ok(Cow::Owned(bytes)) => Content::Decompressed(bytes),
            Ok(Cow::Borrowed(part)) => {
                let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
                Content::Mapped(start..start.saturating_add(part.len()))
            }
        };
        let is_empty = match &content {
            Content::Mapped(range) => range.is_empty(),
            Content::Decompressed(bytes) => bytes.is_empty(),
        };
        if !is_empty {
            found.push((id, content));
        }
    }
    let has_types = found.iter().any(|(id, _)| *id == SectionId::DebugInfo);
    Ok(has_types.then_some(found))
}

/// What a program and its debug file have in common.
struct Identity {
    build_id: Option<Vec<u8>>,
    /// The debug file's name.
    link: Option<PathBuf>,
    /// Where the code is and how much of it there is.
    text: Option<(u64, u64)>,
}

impl Identity {
    fn of(file: &object::File<'_>) -> Self {
        let link = file.gnu_debuglink().ok().flatten();
        let text = file.section_by_name(".text");
        Self {
            build_id: file.build_id().ok().flatten().map(<[u8]>::to_vec),
            link: link.map(|(name, _)| PathBuf::from(OsStr::from_bytes(name))),
            text: text.map(|text| (text.address(), text.size())),
        }
    }

    /// Not by the link's checksum: it is over all of the debug file, which would have to be read.
    fn is_same(&self, debug: &Self) -> bool {
        match (&self.build_id, &debug.build_id) {
            (Some(one), Some(other)) => one == other,
            (None, None) => self.text == debug.text,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Where the debug file of the program at `path` may be.
    fn candidates(&self, path: &Path) -> Vec<PathBuf> {
        // `/proc/PID/exe` and the like: where the program was installed.
        let installed = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let mut candidates = Vec::new();
        if let Some(id) = &self.build_id
            && id.len() > 1
        {
            let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
            let file = format!(".build-id/{}/{}.debug", &hex[..2], &hex[2..]);
            candidates.extend(
                DEBUG_DIRECTORIES
                    .iter()
                    .map(|directory| Path::new(directory).join(&file)),
            );
        }
        if let (Some(link), Some(directory)) = (&self.link, installed.parent()) {
            candidates.push(directory.join(link));
            candidates.push(directory.join(".debug").join(link));
            let inside = directory.strip_prefix("/").unwrap_or(directory);
            candidates.extend(
                DEBUG_DIRECTORIES
                    .iter()
                    .map(|debug| Path::new(debug).join(inside).join(link)),
            );
        }
        candidates.retain(|candidate| *candidate != installed);
        candidates
    }
}
