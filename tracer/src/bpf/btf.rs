//! The kernel's own type information (BTF): at which offset a member of a structure lies on the running kernel.
//!
//! Only what the tracer needs: members by name, through anonymous structures and unions, and the number of
//! arguments of a tracepoint. Format: <https://docs.kernel.org/bpf/btf.html>. Reads any bytes without panicking.

use std::path::Path;

use thiserror::Error;

/// Where the kernel publishes its own.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// Why an offset is not known.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no BTF of this machine's byte order.
    #[error("{path} is not BTF")]
    NotBtf {
        /// The file.
        path: String,
    },
    /// There is no such structure or member.
    #[error("the kernel has no `{0}`")]
    NoSuchMember(String),
}

/// Parsed type information.
pub struct Btf {
    bytes: Vec<u8>,
    /// Offset in `bytes` of each type, by id; id 0 is void.
    types: Vec<usize>,
    strings: usize,
}

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;

#[derive(Clone, Copy)]
struct Type {
    at: usize,
    name: u32,
    kind: u32,
    members: u32,
    /// Members carry a bit-field size in their top byte.
    bit_fields: bool,
    refers_to: u32,
}

impl Btf {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read or is not BTF.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| BtfError::Read {
            path: shown.clone(),
            source,
        })?;
        Self::parse(bytes).ok_or(BtfError::NotBtf { path: shown })
    }

    fn parse(bytes: Vec<u8>) -> Option<Self> {
        const MAGIC: u16 = 0xEB9F;
        if u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = |field: usize| Some(u32_at(&bytes, 4 + 4 * field)? as usize);
        let header_len = header(0)?;
        let start = header_len.checked_add(header(1)?)?;
        let end = start.checked_add(header(2)?)?;
        let strings = header_len.checked_add(header(3)?)?;
        if end > bytes.len() || strings > bytes.len() {
            return None;
        }
        let mut btf = Self {
            types: vec![start],
            strings,
            bytes,
        };
        let mut at = start;
        while at < end {
            btf.types.push(at);
            at = at.checked_add(12 + btf.trailing(btf.type_at(at)?)?)?;
        }
        Some(btf)
    }

    /// Bytes that follow the common part of a type.
    fn trailing(&self, of: Type) -> Option<usize> {
        let each = match of.kind {
            1 | 14 | 17 => return Some(4), // int, variable, declaration tag
            3 => return Some(12),          // array
            KIND_STRUCT | KIND_UNION | 15 | 19 => 12, // data section, 64-bit enum
            6 | 13 => 8,                   // enum, function prototype
            2 | 7..=12 | 16 | 18 => 0,     // pointers, typedefs, qualifiers, functions, floats
            _ => return None,
        };
        Some(each * of.members as usize)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = u32_at(&self.bytes, at + 4)?;
        Some(Type {
            at,
            name: u32_at(&self.bytes, at)?,
            kind: info >> 24 & 0x1f,
            members: info & 0xffff,
            bit_fields: info >> 31 != 0,
            refers_to: u32_at(&self.bytes, at + 8)?,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        if id == 0 {
            return None;
        }
        self.type_at(*self.types.get(id as usize)?)
    }

    fn name(&self, offset: u32) -> Option<&[u8]> {
        let rest = self
            .bytes
            .get(self.strings.checked_add(offset as usize)?..)?;
        rest.split(|&byte| byte == 0).next()
    }

    fn find(&self, kind: u32, name: &str) -> Option<Type> {
        self.types
            .iter()
            .skip(1)
            .filter_map(|&at| self.type_at(at))
            .find(|found| found.kind == kind && self.name(found.name) == Some(name.as_bytes()))
    }

    /// Byte offset of `member` in `struct structure`.
    ///
    /// # Errors
    /// When there is no such structure or member, or it is a bit field.
    pub fn offset(&self, structure: &str, member: &str) -> Result<u32, BtfError> {
        self.find(KIND_STRUCT, structure)
            .and_then(|found| self.member_offset(found, member, 0))
            .ok_or_else(|| BtfError::NoSuchMember(format!("{structure}.{member}")))
    }

    fn member_offset(&self, of: Type, wanted: &str, depth: u32) -> Option<u32> {
        // Anonymous members nest a few deep in the kernel; the bound is for files that are not a kernel's.
        if depth > 16 {
            return None;
        }
        for index in 0..of.members as usize {
            let at = of.at + 12 + 12 * index;
            let name = self.name(u32_at(&self.bytes, at)?)?;
            let refers_to = u32_at(&self.bytes, at + 4)?;
            let raw = u32_at(&self.bytes, at + 8)?;
            let (bits, bit_field) = if of.bit_fields {
                (raw & 0xff_ffff, raw >> 24 != 0)
            } else {
                (raw, false)
            };
            if name == wanted.as_bytes() {
                return (!bit_field && bits % 8 == 0).then_some(bits / 8);
            }
            if name.is_empty()
                && let Some(inner) = self.by_id(refers_to)
                && matches!(inner.kind, KIND_STRUCT | KIND_UNION)
                && let Some(offset) = self.member_offset(inner, wanted, depth + 1)
            {
                return (bits / 8).checked_add(offset);
            }
        }
        None
    }

    /// Number of arguments a raw tracepoint hands to a program, or `None` when the kernel has no such tracepoint.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let typedef = self.find(KIND_TYPEDEF, &format!("btf_trace_{name}"))?;
        let prototype = self.by_id(self.by_id(typedef.refers_to)?.refers_to)?;
        // The first parameter is the tracepoint's private data.
        prototype.members.checked_sub(1)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_agrees_with_bpftool() {
        let Ok(btf) = Btf::read(Path::new(KERNEL)) else {
            return;
        };
        let Ok(dump) = std::process::Command::new("bpftool")
            .args(["btf", "dump", "file", KERNEL, "format", "raw"])
            .output()
        else {
            return;
        };
        let dump = String::from_utf8_lossy(&dump.stdout);
        for (structure, member) in [
            ("task_struct", "pid"),
            ("task_struct", "tgid"),
            ("task_struct", "signal"),
            ("signal_struct", "live"),
            ("pt_regs", "orig_ax"),
        ] {
            let theirs = dump
                .lines()
                .skip_while(|line| !line.contains(&format!("STRUCT '{structure}'")))
                .skip(1)
                .take_while(|line| line.starts_with('\t'))
                .find(|line| line.contains(&format!("'{member}'")))
                .and_then(|line| {
                    line.split("bits_offset=")
                        .nth(1)?
                        .split(' ')
                        .next()?
                        .trim()
                        .parse::<u32>()
                        .ok()
                })
                .unwrap_or_else(|| panic!("bpftool does not list {structure}.{member}"));
            assert_eq!(
                btf.offset(structure, member).unwrap() * 8,
                theirs,
                "{structure}.{member}"
            );
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let Ok(btf) = Btf::read(Path::new(KERNEL)) else {
            return;
        };
        assert!(btf.offset("task_struct", "no_such_member").is_err());
        assert!(btf.offset("no_such_struct", "pid").is_err());
        assert_eq!(btf.tracepoint_arguments("no_such_tracepoint"), None);
    }

    #[test]
    fn broken_files_are_refused_or_searched_without_panic() {
        assert!(Btf::parse(Vec::new()).is_none());
        assert!(Btf::parse(vec![0x9f, 0xeb, 1, 0]).is_none());
        let Ok(bytes) = std::fs::read(KERNEL) else {
            return;
        };
        for cut in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let mut broken = bytes[..cut.min(200_000)].to_vec();
            for position in (0..broken.len()).step_by(997) {
                broken[position] ^= 0x5a;
            }
            broken
                .iter_mut()
                .zip(&bytes)
                .take(2)
                .for_each(|(to, from)| *to = *from);
            if let Some(btf) = Btf::parse(broken) {
                let _ = btf.offset("task_struct", "pid");
            }
        }
    }
}
