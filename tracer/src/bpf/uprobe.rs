//! Probes at instructions of the target: many through one link (Linux 6.6 and later), one by one before.
//!
//! A link is a few milliseconds' work whatever the number of its instructions; single probes are taken off one by one,
//! tens of milliseconds each. `aya` 0.14 knows only the latter, so the programs are loaded here: `aya-obj` reads the
//! same object, its programs are bound to the maps `aya` made, and two calls do the rest.
//!
//! Entry and return are two programs rather than one session program (Linux 6.13): measured, it costs a poll the same,
//! and works on more kernels.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::PathBuf,
    sync::Arc,
};

use super::attach::refusal;
use aya_obj::Object;
use tracer_common::{Pid, task::Cookie};
use zerocopy::{Immutable, IntoBytes};

/// Instructions of one file in one process.
#[derive(Clone, Debug)]
pub struct Points {
    /// The process.
    pub pid: Pid,
    /// The file. It stays open for as long as it may be probed: a path may lead to another one later, in which the
    /// places are in the middle of something else.
    pub file: Arc<File>,
    /// Where in the file each instruction is, in bytes from its start, and what the program is told there.
    pub places: Vec<(u64, Cookie)>,
}

impl Points {
    /// A path that leads this process to the file.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

/// The maps of a loaded object, by name. The numbers are good as long as the session holds its maps.
pub(super) type MapFds = Vec<(String, RawFd)>;

/// True where one link takes many instructions of one process. Linux 6.6 has such links, but before 6.10 their process
/// filter lets only one thread through.
/// <https://github.com/torvalds/linux/commit/46ba0e49b64232adac35a2bc892f1710c5b0fb7f>
pub(super) fn has_multi() -> bool {
    let (release, _) = crate::target::sys::uname();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 10)
}

/// Programs for links of many instructions.
pub(super) struct Multi {
    programs: BTreeMap<&'static str, OwnedFd>,
}

impl Multi {
    /// Loads `programs` of the object.
    pub(super) fn load(
        object: &[u8],
        maps: &MapFds,
        programs: &[&'static str],
    ) -> Result<Self, String> {
        let mut object = Object::parse(object).map_err(|error| error.to_string())?;
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|&(section, _)| section)
            .collect();
        let known: Vec<_> = maps
            .iter()
            .filter_map(|(name, fd)| Some((name.as_str(), *fd, object.maps.get(name)?.clone())))
            .collect();
        object
            .relocate_maps(known.iter().map(|(name, fd, map)| (*name, *fd, map)), &text)
            .map_err(|error| error.to_string())?;
        object
            .relocate_calls(&text)
            .map_err(|error| error.to_string())?;
        let mut loaded = BTreeMap::new();
        for &name in programs {
            loaded.insert(name, load(&object, name)?);
        }
        Ok(Self { programs: loaded })
    }

    pub(super) fn fd(&self, program: &str) -> Option<BorrowedFd<'_>> {
        self.programs.get(program).map(OwnedFd::as_fd)
    }

    /// Attaches a program to all of `points`, at the entry or the return of the functions that begin there.
    pub(super) fn attach(
        &self,
        program: &str,
        points: &Points,
        is_return: bool,
    ) -> Result<OwnedFd, String> {
        let program = self.fd(program).ok_or("not in the kernel object")?;
        let path = CString::new(points.path().as_os_str().as_bytes())
            .map_err(|error| error.to_string())?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) = points
            .places
            .iter()
            .map(|&(offset, Cookie(cookie))| (offset, cookie))
            .unzip();
        bpf(
            LINK_CREATE,
            &LinkCreate {
                program: program.as_raw_fd().unsigned_abs(),
                target: 0,
                attach_type: TRACE_UPROBE_MULTI,
                link_flags: 0,
                path: path.as_ptr().addr() as u64,
                offsets: offsets.as_ptr().addr() as u64,
                reference_counters: 0,
                cookies: cookies.as_ptr().addr() as u64,
                count: u32::try_from(offsets.len()).unwrap_or(u32::MAX),
                flags: u32::from(is_return),
                pid: points.pid.0,
                reserved: 0,
            },
        )
        .map_err(|error| error.to_string())
    }
}

fn load(object: &Object, name: &str) -> Result<OwnedFd, String> {
    let program = object
        .programs
        .get(name)
        .ok_or("not in the kernel object")?;
    let function = object
        .functions
        .get(&program.function_key())
        .ok_or("not in the kernel object")?;
    let instructions = &function.instructions;
    let mut attributes = ProgramLoad {
        program_type: TYPE_KPROBE,
        count: u32::try_from(instructions.len()).unwrap_or(u32::MAX),
        instructions: instructions.as_ptr().addr() as u64,
        license: object.license.as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        expected_attach_type: TRACE_UPROBE_MULTI,
    };
    for (to, from) in attributes.name.iter_mut().zip(name.bytes()).take(15) {
        *to = from;
    }
    let refused = match bpf(PROGRAM_LOAD, &attributes) {
        Ok(program) => return Ok(program),
        Err(error) => error,
    };
    // Once more, for the reason.
    let mut log = vec![0u8; 1 << 20];
    attributes.log_level = 1;
    attributes.log_size = 1 << 20;
    attributes.log = log.as_mut_ptr().expose_provenance() as u64;
    let _ = bpf(PROGRAM_LOAD, &attributes);
    let text = String::from_utf8_lossy(&log);
    Err(refusal(&refused, text.trim_end_matches('\0')))
}

// https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h
const PROGRAM_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;
const TYPE_KPROBE: u32 = 2;
const TRACE_UPROBE_MULTI: u32 = 48;

/// The members of `union bpf_attr` for `BPF_PROG_LOAD` that are used; the kernel takes the rest for 0.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

/// The same for `BPF_LINK_CREATE` of many probes.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    link_flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    /// 1: at returns (`BPF_F_UPROBE_MULTI_RETURN`).
    flags: u32,
    pid: u32,
    reserved: u32,
}

#[expect(
    unsafe_code,
    reason = "a system call no library here makes; the proof stands below"
)]
fn bpf<T: IntoBytes + Immutable>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    let bytes = attributes.as_bytes();
    // SAFETY: the kernel reads as many bytes as it is told from a value without padding. The addresses in it are of
    // buffers that the callers own until this returns, each as long as the count beside it says; only the log is
    // written, which is a buffer of that size nobody else refers to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, bytes.as_ptr(), bytes.len()) };
    let fd = libc::c_int::try_from(result).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both commands return a new descriptor that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
