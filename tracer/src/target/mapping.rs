//! What a process has mapped, from `/proc/PID/maps`, and the files behind it.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    rc::Rc,
};

use tracer_common::Pid;

/// Mappings kept of one process, twice that for executable ones. The kernel's own default limit is 65,530.
const MAPPINGS: usize = 32_768;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Its first address.
    pub start: u64,
    /// The address behind it.
    pub end: u64,
    /// Holds code.
    pub executable: bool,
    /// Can be read.
    pub readable: bool,
    /// Can be written.
    pub writable: bool,
    /// Where in the file it starts, in bytes.
    pub offset: u64,
    /// As `stat` encodes it. On btrfs and some overlays it is not the one `stat` gives.
    pub device: u64,
    /// 0 when anonymous.
    pub inode: u64,
    /// As the kernel writes it, without ` (deleted)`; empty when anonymous.
    pub path: Rc<str>,
    /// The file, once it was found.
    pub key: Option<FileKey>,
}

impl Mapping {
    /// Where in the file `address` is, in bytes from its start; 0 in anonymous memory, which has none.
    pub fn place_of(&self, address: u64) -> u64 {
        if self.path.is_empty() {
            return 0;
        }
        address.wrapping_sub(self.start).wrapping_add(self.offset)
    }
}

/// The mappings of `pid` by address; empty when it is gone or may not be looked at.
#[must_use]
pub fn of(pid: Pid) -> Vec<Mapping> {
    fs::read(format!("/proc/{}/maps", pid.0)).map_or_else(|_| Vec::new(), |text| parse(&text))
}

/// The root directory of `pid` as this process sees it; empty when it is the same.
#[must_use]
pub fn root(pid: Pid) -> String {
    fs::read_link(format!("/proc/{}/root", pid.0))
        .ok()
        .and_then(|root| root.to_str().map(str::to_owned))
        .filter(|root| root != "/")
        .unwrap_or_default()
}

/// A path as a process in that root directory sees it: the kernel writes it from the reader's root.
#[must_use]
pub fn seen_from<'a>(root: &str, path: &'a str) -> &'a str {
    match path.strip_prefix(root) {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) | None => path,
    }
}

/// Which file, and which content of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

impl FileKey {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Lines that cannot be read are left out.
///
/// <https://github.com/torvalds/linux/blob/v6.12/fs/proc/task_mmu.c> (`show_vma_header_prefix`)
pub(crate) fn parse(text: &[u8]) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        let Some(mut mapping) = parse_line(&line) else {
            continue;
        };
        let room = if mapping.executable {
            2 * MAPPINGS
        } else {
            MAPPINGS
        };
        if mappings.len() >= room {
            continue;
        }
        if let Some(last) = mappings.last().filter(|last| last.path == mapping.path) {
            mapping.path = Rc::clone(&last.path);
        }
        mappings.push(mapping);
    }
    mappings
}

fn parse_line(line: &str) -> Option<Mapping> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode = fields.next()?;
    let path = fields.next().unwrap_or_default().trim_start_matches(' ');
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        executable: permissions.contains('x'),
        readable: permissions.contains('r'),
        writable: permissions.contains('w'),
        offset: hex(offset)?,
        device: rustix::fs::makedev(number(major)?, number(minor)?),
        inode: inode.parse().ok()?,
        path: path.strip_suffix(" (deleted)").unwrap_or(path).into(),
        key: None,
    })
}

/// How far a path is trusted to lead to the mapped file.
#[derive(Clone, Copy)]
enum Trust {
    /// It is the mapping.
    Full,
    /// It is in the target's own file system: the inode has to be the mapped one. The device cannot be compared,
    /// because `/proc/PID/maps` and `stat` tell different ones on btrfs.
    Inode,
    /// It may be anywhere: device and inode have to be the mapped ones.
    Device,
}

/// Opens the file behind a mapping by the first of these that leads to it:
/// - `map_files`, which is the mapping itself, deleted or not, but needs `CAP_SYS_ADMIN` or `CAP_CHECKPOINT_RESTORE`:
///   <https://github.com/torvalds/linux/blob/v6.12/fs/proc/base.c> (`proc_map_files_get_link`)
/// - `exe`, which also is not by name;
/// - the path in the target's root directory, and at last in ours.
pub fn open(pid: Pid, mapping: &Mapping, target_path: &str, live: bool) -> Option<(File, FileKey)> {
    let process = format!("/proc/{}", pid.0);
    let (start, end) = (mapping.start, mapping.end);
    let of_process = [
        (
            format!("{process}/map_files/{start:x}-{end:x}"),
            Trust::Full,
        ),
        (format!("{process}/exe"), Trust::Inode),
        (format!("{process}/root{target_path}"), Trust::Inode),
    ];
    of_process
        .iter()
        .filter(|_| live)
        .map(|(path, trust)| (Path::new(path), *trust))
        .chain([(Path::new(&*mapping.path), Trust::Device)])
        .find_map(|(path, trust)| open_if(path, |metadata| fits(metadata, mapping, trust)))
}

/// What [`open`] finds where `map_files` may not be read.
#[cfg(test)]
pub(crate) fn open_without_map_files(
    pid: Pid,
    mapping: &Mapping,
    target_path: &str,
) -> Option<FileKey> {
    // No mapping is like this, so there is no such entry.
    let (start, end) = (0, 0);
    let mapping = Mapping {
        start,
        end,
        ..mapping.clone()
    };
    Some(open(pid, &mapping, target_path, true)?.1)
}

fn fits(metadata: &Metadata, mapping: &Mapping, trust: Trust) -> bool {
    match trust {
        Trust::Full => true,
        Trust::Inode => metadata.ino() == mapping.inode,
        Trust::Device => metadata.ino() == mapping.inode && metadata.dev() == mapping.device,
    }
}

/// Opens a regular file that `fits`. Anything else is not even opened: a device may do something, and a pipe would
/// wait (should one be put in the file's place in between, not waiting is asked for too).
fn open_if(path: &Path, fits: impl Fn(&Metadata) -> bool) -> Option<(File, FileKey)> {
    let regular = |metadata: &Metadata| metadata.is_file() && fits(metadata);
    path.metadata().ok().filter(regular)?;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
        .ok()?;
    let metadata = file.metadata().ok().filter(regular)?;
    Some((file, FileKey::of(&metadata)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"\
00400000-05a3c000 r-xp 00001000 08:02 173521                             /usr/bin/my node (deleted)
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
not a line at all
7ffd1-7ffd2\n\
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]\n";

    #[test]
    fn lines_are_read_and_nonsense_is_left_out() {
        let mappings = parse(TEXT);
        let paths: Vec<&str> = mappings.iter().map(|mapping| &*mapping.path).collect();
        assert_eq!(paths, ["/usr/bin/my node", "", "[vdso]"]);
        assert_eq!(
            (mappings[0].start, mappings[0].end, mappings[0].offset),
            (0x40_0000, 0x5a3_c000, 0x1000)
        );
        assert_eq!(
            (
                mappings[0].device,
                mappings[0].inode,
                mappings[0].executable
            ),
            (0x802, 173_521, true)
        );
        assert!(!mappings[1].executable);
    }
}
