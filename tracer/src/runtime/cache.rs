//! What was recognised in a file, kept on disk: half a gigabyte of program takes seconds, and says the same each time.
//!
//! Recognition reads nothing but the file itself (no separate debug file, no configuration), so its answer stands as
//! long as the file and this program stay what they are. A wrong answer would do harm: a breakpoint inside an
//! instruction, or a return probe where no function begins, breaks the target. Anybody can give a program the build id
//! of another, stripped copies have the id of the original, and a patched file keeps its id and length. So the id only
//! finds an entry, and one is used when
//! - it was made of this very file: device, inode, length, times of modification and of change are all the same. The
//!   time of change cannot be set by who owns the file, and a file that changed just now, within the grain of that
//!   clock, is not kept. Copies, other mounts of an overlay and whatever was touched are recognised anew;
//! - this very executable made it: another one may know better;
//! - its probes are where instructions and functions begin in the file as it is now. This is for file systems whose
//!   owner makes up their times (FUSE, images in a loop device): whatever an entry says, no probe breaks a program.
//!
//! Entries are read from a directory that belongs to who runs this and that nobody else can write to; damaged ones
//! count as absent. Who has more rights than his user would, by file capabilities or setuid, has no cache: its place
//! comes from that user's environment, and the entries could be his.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use serde::{Deserialize, Serialize};
use tracer_common::Nanos;

use super::{Holds, image::Image};
use crate::target::sys;

#[cfg(test)]
mod tests;

/// Names the directory; empty: no cache.
pub const VARIABLE: &str = "TRACER_CACHE_DIR";
/// What an entry begins with; the last word changes when the rest does.
const MAGIC: &str = "tracer-recognised 2 ";
/// Digits of the checksum, and the end of the line.
const CHECKSUM: usize = 9;
/// How the name of an entry ends.
const ENTRY: &str = ".recognised";
/// How it ends until it is whole.
const UNFINISHED: &str = ".recognised.new";
/// Bytes of an entry.
const LARGEST: u64 = 64 << 20;
/// Entries kept.
const ENTRIES: usize = 64;
/// Bytes kept.
const BYTES: u64 = 256 << 20;
/// What is unfinished after so many seconds was left behind.
const LEFT_BEHIND: i64 = 600;
/// Bytes of a build id; usual are 8 to 32.
const BUILD_ID: usize = 64;
/// Recognising anew what takes less is cheaper than to keep it. Measured: 9 to 34 ms for programs of 2 MB, 57 for one of
/// 24 MB with debug information, 43 to 122 for the 91 to 150 MB of Node 18 to 26 (320 to 410 when it was not in memory), 2.8 s for 450 MB.
const WORTH: Nanos = Nanos(100_000_000);
/// Seconds since its last change until a file may be kept: the clock of a file system may count in 2 seconds (FAT).
const SETTLED: i64 = 2;

/// Where results are kept, if anywhere.
#[derive(Clone, Debug)]
pub struct Cache {
    place: Result<Place, Off>,
    /// This executable.
    tool: String,
    worth: Nanos,
    settled: i64,
}

/// Why nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Off {
    #[error("not asked for")]
    NotAsked,
    #[error("switched off by {VARIABLE}")]
    Switched,
    #[error("off, because this program has rights that its user has not")]
    Raised,
    #[error("off, because there is no home directory: {VARIABLE} can name a place")]
    Homeless,
}

/// A directory, and how much of its path is made when it is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// Is there.
    base: PathBuf,
    /// One below the other.
    below: Vec<OsString>,
}

impl Place {
    fn path(&self) -> PathBuf {
        let names = self.below.iter();
        names.fold(self.base.clone(), |path, name| path.join(name))
    }

    /// The directory, if nobody else can have put anything into it. No symbolic link is followed below the base.
    fn open(&self, make: bool) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut directory = rustix::fs::openat(CWD, &self.base, flags, Mode::empty())?;
        for name in &self.below {
            if make {
                match rustix::fs::mkdirat(&directory, name, Mode::RWXU) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            let flags = flags | OFlags::NOFOLLOW;
            directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
        }
        let of = rustix::fs::fstat(&directory)?;
        if of.st_uid != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("it belongs to somebody else"));
        }
        let others = Mode::WGRP | Mode::WOTH;
        if Mode::from_raw_mode(of.st_mode).intersects(others) {
            return Err(io::Error::other("others can write to it"));
        }
        Ok(directory)
    }
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Where.
    pub place: PathBuf,
    /// How many results.
    pub entries: usize,
    /// What they take.
    pub bytes: u64,
}

/// What a file holds.
#[derive(Debug)]
pub struct Recognised {
    /// Runtimes.
    pub holds: Holds,
    /// It was known from an earlier look.
    pub is_from_cache: bool,
}

/// Which file, with which content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    build_id: String,
    length: u64,
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    /// The same, of content or attributes.
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File, build_id: &[u8]) -> Option<Self> {
        let metadata = file.metadata().ok()?;
        Some(Self {
            build_id: hex(build_id),
            length: metadata.size(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Of its entry. A file that was changed in its place has the name of what it was before.
    fn name(&self) -> String {
        format!(
            "{}-{:x}-{:x}-{:x}{ENTRY}",
            self.build_id, self.length, self.device, self.inode
        )
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An entry as it is read.
#[derive(Deserialize)]
struct Entry {
    tool: String,
    file: Identity,
    holds: Holds,
}

/// An entry as it is written.
#[derive(Serialize)]
struct EntryOf<'data> {
    tool: &'data str,
    file: &'data Identity,
    holds: &'data Holds,
}

impl Cache {
    /// Keeps nothing.
    #[must_use]
    pub fn off() -> Self {
        Self::new(Err(Off::NotAsked))
    }

    /// Where the environment says: `$TRACER_CACHE_DIR`, or else `tracer` in `$XDG_CACHE_HOME`, in `$HOME/.cache` or in
    /// `/var/cache`, the first of these that belongs to who runs this (`sudo` may leave another's home).
    #[must_use]
    pub fn of_environment() -> Self {
        let is_raised = sys::is_raised();
        let place = place(is_raised, |name| env::var_os(name), is_ours);
        Self::new(place)
    }

    /// In this directory, which is made when it is missing.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self::new(named(directory))
    }

    /// Keeps everything that has a build id, however fast it was recognised and however new the file is: for tests.
    #[must_use]
    pub fn of_everything(self) -> Self {
        Self {
            worth: Nanos(0),
            settled: i64::MIN,
            ..self
        }
    }

    fn new(place: Result<Place, Off>) -> Self {
        let tool = if place.is_ok() { own() } else { String::new() };
        Self {
            place,
            tool,
            worth: WORTH,
            settled: SETTLED,
        }
    }

    /// What is kept, or why nothing is.
    ///
    /// # Errors
    /// The reason as people read it.
    pub fn usage(&self) -> Result<Usage, String> {
        let place = self.place.as_ref().map_err(Off::to_string)?;
        let mut usage = Usage {
            place: place.path(),
            entries: 0,
            bytes: 0,
        };
        let directory = match place.open(false) {
            Ok(directory) => directory,
            // It is made for the first entry.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(usage),
            Err(error) => return Err(format!("{}: {error}", usage.place.display())),
        };
        let kept = kept(directory.as_fd())
            .map_err(|error| format!("{}: {error}", usage.place.display()))?;
        for one in kept.iter().filter(|one| !one.is_unfinished) {
            usage.entries += 1;
            usage.bytes += one.bytes;
        }
        Ok(usage)
    }

    /// What `image`, the content of `file`, holds: as it was kept, or recognised anew, and then kept if it took long.
    #[must_use]
    pub fn recognise(&self, file: &File, image: &Image) -> Recognised {
        let anew = || Recognised {
            holds: super::recognise(image),
            is_from_cache: false,
        };
        let Ok(place) = &self.place else {
            return anew();
        };
        let Some(build_id) = image.build_id().filter(|id| id.len() <= BUILD_ID) else {
            let path = fs::read_link(super::own_path(file)).unwrap_or_default();
            log::debug!(
                "{} has no build id, so what it holds is not kept",
                path.display()
            );
            return anew();
        };
        let begun = sys::monotonic();
        let Some(identity) = Identity::of(file, build_id) else {
            return anew();
        };
        if let Some(holds) = self.read(place, &identity, image) {
            let is_from_cache = true;
            return Recognised {
                holds,
                is_from_cache,
            };
        }
        let fresh = anew();
        let took = sys::monotonic().since(begun).unwrap_or_default();
        let now = i64::try_from(sys::unix_ns_at(begun) / 1_000_000_000).unwrap_or(0);
        let is_settled = now.saturating_sub(identity.changed.0) >= self.settled
            && Identity::of(file, build_id).as_ref() == Some(&identity);
        if took >= self.worth && is_settled && fresh.holds.fits(image) {
            match self.write(place, &identity, &fresh.holds) {
                Ok(()) => log::debug!(
                    "what took {:?} to recognise is kept in {}",
                    Duration::from_nanos(took.0),
                    place.path().display()
                ),
                Err(error) => log::debug!(
                    "what was recognised is not kept in {}: {error}",
                    place.path().display()
                ),
            }
        }
        fresh
    }

    /// What is kept of a file.
    fn read(&self, place: &Place, identity: &Identity, image: &Image) -> Option<Holds> {
        let bytes = match read(place, &identity.name()) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::debug!("{} is not used: {error}", place.path().display());
                }
                return None;
            }
        };
        let entry = parse(&bytes);
        let entry = entry.filter(|entry| entry.tool == self.tool && entry.file == *identity);
        let entry = entry.filter(|entry| entry.holds.fits(image));
        if entry.is_none() {
            log::debug!("{} is of another file or damaged", identity.name());
        }
        Some(entry?.holds)
    }

    fn write(&self, place: &Place, identity: &Identity, holds: &Holds) -> io::Result<()> {
        let bytes = bytes(&EntryOf {
            tool: &self.tool,
            file: identity,
            holds,
        })?;
        let directory = place.open(true)?;
        let directory = directory.as_fd();
        // Processes of different namespaces may have the same number, hardly at the same time.
        let unfinished = format!(
            "{:x}-{:x}{UNFINISHED}",
            std::process::id(),
            sys::monotonic().0
        );
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(directory, &unfinished, flags, mode)?;
        let written = File::from(file)
            .write_all(&bytes)
            .and_then(|()| {
                let name = identity.name();
                rustix::fs::renameat(directory, &unfinished, directory, name).map_err(Into::into)
            })
            .inspect_err(|_| {
                let _ = rustix::fs::unlinkat(directory, &unfinished, AtFlags::empty());
            });
        written.and_then(|()| prune(directory))
    }
}

/// Where the variables of the environment say. `is_ours` tells whether a directory is there and belongs to who asks.
fn place(
    is_raised: bool,
    variable: impl Fn(&str) -> Option<OsString>,
    is_ours: impl Fn(&Path) -> bool,
) -> Result<Place, Off> {
    if is_raised {
        return Err(Off::Raised);
    }
    if let Some(path) = variable(VARIABLE) {
        return named(Path::new(&path));
    }
    let directory = |name| variable(name).map(PathBuf::from);
    [
        (directory("XDG_CACHE_HOME"), &["tracer"][..]),
        (directory("HOME"), &[".cache", "tracer"]),
        (Some("/var/cache".into()), &["tracer"]),
    ]
    .into_iter()
    .filter_map(|(base, below)| Some((base.filter(|base| base.is_absolute())?, below)))
    .find(|(base, _)| is_ours(base))
    .map(|(base, below)| Place {
        base,
        below: below.iter().map(Into::into).collect(),
    })
    .ok_or(Off::Homeless)
}

fn named(path: &Path) -> Result<Place, Off> {
    if path.as_os_str().is_empty() {
        return Err(Off::Switched);
    }
    let base = path.parent().filter(|base| !base.as_os_str().is_empty());
    Ok(match (base, path.file_name()) {
        (base, Some(name)) => Place {
            base: base.unwrap_or(Path::new(".")).to_owned(),
            below: vec![name.to_owned()],
        },
        // It is `/` or ends with `..`: it is there.
        (_, None) => Place {
            base: path.to_owned(),
            below: Vec::new(),
        },
    })
}

fn is_ours(directory: &Path) -> bool {
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(directory).is_ok_and(|of| of.is_dir() && of.uid() == own)
}

/// Which executable this is: its version is the same from one build to the next.
fn own() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let path = Path::new("/proc/self/exe");
    let content = sys::map_file(path).ok();
    let image = content.as_ref().and_then(|content| Image::parse(content));
    match image.as_ref().and_then(Image::build_id) {
        Some(id) => format!("{version} {}", hex(id)),
        None => {
            let of = fs::metadata(path).ok();
            let of = of.map(|of| (of.size(), of.mtime(), of.mtime_nsec(), of.ino()));
            format!("{version} {of:?}")
        }
    }
}

fn bytes(entry: &EntryOf) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(entry)?;
    let mut bytes = format!("{MAGIC}{:08x}\n", crc32fast::hash(&body)).into_bytes();
    bytes.extend(body);
    if u64::try_from(bytes.len()).is_ok_and(|size| size <= LARGEST) {
        Ok(bytes)
    } else {
        Err(io::Error::other("it is too large"))
    }
}

/// `None` when it is damaged, or something else.
fn parse(bytes: &[u8]) -> Option<Entry> {
    let (checksum, body) = bytes
        .strip_prefix(MAGIC.as_bytes())?
        .split_at_checked(CHECKSUM)?;
    let expected = format!("{:08x}\n", crc32fast::hash(body));
    if checksum != expected.as_bytes() {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// The content of an entry, which from now on was used last.
fn read(place: &Place, name: &str) -> io::Result<Vec<u8>> {
    let directory = place.open(false)?;
    // Not waiting, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&directory, name, flags, Mode::empty())?);
    let of = file.metadata()?;
    if !of.is_file() || of.size() > LARGEST {
        return Err(io::Error::other("an entry is no file, or too large"));
    }
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    // A file system that is read-only serves as well.
    let _ = rustix::fs::futimens(
        &file,
        &Timestamps {
            last_access: now,
            last_modification: now,
        },
    );
    let mut bytes = Vec::with_capacity(usize::try_from(of.size()).unwrap_or(0));
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file of ours in the directory.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    /// When it was written or used last, in seconds and nanoseconds.
    used: (i64, i64),
    bytes: u64,
    name: Vec<u8>,
    is_unfinished: bool,
}

/// The files of ours in the directory. Others that somebody may have there are none of our business.
fn kept(directory: BorrowedFd) -> io::Result<Vec<Kept>> {
    let mut kept = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let finished = name.strip_suffix(ENTRY.as_bytes());
        let unfinished = name.strip_suffix(UNFINISHED.as_bytes());
        let is_ours = finished.or(unfinished).is_some_and(|stem| {
            let is_made = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
            stem.iter().all(is_made)
        });
        if !is_ours {
            continue;
        }
        // Another process may have removed it in between.
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let Ok(of) = rustix::fs::statat(directory, entry.file_name(), flags) else {
            continue;
        };
        if FileType::from_raw_mode(of.st_mode) == FileType::RegularFile {
            kept.push(Kept {
                used: (of.st_mtime, i64::try_from(of.st_mtime_nsec).unwrap_or(0)),
                bytes: u64::try_from(of.st_size).unwrap_or(0),
                name: name.to_vec(),
                is_unfinished: unfinished.is_some(),
            });
        }
    }
    Ok(kept)
}

/// Removes what was not used for the longest time until the rest is within bounds.
fn prune(directory: BorrowedFd) -> io::Result<()> {
    let now = sys::unix_ns_at(sys::monotonic()) / 1_000_000_000;
    let old = i64::try_from(now).unwrap_or(0).saturating_sub(LEFT_BEHIND);
    let mut kept = kept(directory)?;
    kept.sort_unstable_by(|one, other| other.cmp(one));
    let (mut entries, mut bytes) = (0, 0_u64);
    for one in kept {
        let is_left = if one.is_unfinished {
            one.used.0 >= old
        } else {
            entries += 1;
            bytes = bytes.saturating_add(one.bytes);
            entries <= ENTRIES && bytes <= BYTES
        };
        if !is_left {
            // Another process may have been faster.
            let name = OsStr::from_bytes(&one.name);
            let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
        }
    }
    Ok(())
}
