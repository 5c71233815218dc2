//! The few things the standard library does not give: clocks, privileges, the machine's names.

use rustix::time::{ClockId, clock_gettime};
use tracer_common::Nanos;

/// The monotonic clock the kernel side stamps events with (`bpf_ktime_get_ns` is `CLOCK_MONOTONIC`).
#[must_use]
pub fn monotonic() -> Nanos {
    nanos(ClockId::Monotonic)
}

/// CPU time used by this process, all threads.
#[must_use]
pub fn own_cpu() -> Nanos {
    nanos(ClockId::ProcessCPUTime)
}

/// Nanoseconds since the Unix epoch at the moment `monotonic` names.
#[must_use]
pub fn unix_ns_at(monotonic_then: Nanos) -> u64 {
    let (unix, now) = (nanos(ClockId::Realtime), monotonic());
    unix.0
        .saturating_sub(now.0.saturating_sub(monotonic_then.0))
}

fn nanos(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Nanos(
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0)),
    )
}

/// Kernel release and machine architecture, as `uname -r -m` says.
#[must_use]
pub fn uname() -> (String, String) {
    let name = rustix::system::uname();
    (
        name.release().to_string_lossy().into_owned(),
        name.machine().to_string_lossy().into_owned(),
    )
}

/// CPUs that are online.
#[must_use]
pub fn online_cpus() -> u32 {
    use procfs::Current as _;
    let cores = procfs::CpuInfo::current().map_or(1, |info| info.num_cores());
    u32::try_from(cores).unwrap_or(u32::MAX)
}

/// A Linux capability the tracer can need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Load programs and make maps (Linux 5.8).
    Bpf,
    /// Attach programs to tracepoints and read kernel memory from them (Linux 5.8).
    Perfmon,
    /// Stands in for both of the above.
    SysAdmin,
    /// Read what another user's process is doing.
    SysPtrace,
    /// Read files of another user's process.
    DacReadSearch,
}

impl Capability {
    /// Its name, as `setcap` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "cap_bpf",
            Self::Perfmon => "cap_perfmon",
            Self::SysAdmin => "cap_sys_admin",
            Self::SysPtrace => "cap_sys_ptrace",
            Self::DacReadSearch => "cap_dac_read_search",
        }
    }

    /// Its bit: <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/capability.h>
    fn bit(self) -> u32 {
        match self {
            Self::DacReadSearch => 2,
            Self::SysPtrace => 19,
            Self::SysAdmin => 21,
            Self::Perfmon => 38,
            Self::Bpf => 39,
        }
    }

    /// True when this process has it in effect.
    #[must_use]
    pub fn is_effective(self) -> bool {
        let effective = procfs::process::Process::myself()
            .and_then(|own| own.status())
            .map(|status| status.capeff);
        effective.is_ok_and(|set| set & (1 << self.bit()) != 0)
    }
}

/// The capabilities that are missing to load and attach the probes.
#[must_use]
pub fn missing_capabilities() -> Vec<Capability> {
    if Capability::SysAdmin.is_effective() {
        return Vec::new();
    }
    [Capability::Bpf, Capability::Perfmon]
        .into_iter()
        .filter(|capability| !capability.is_effective())
        .collect()
}

/// True when this process can do what its user cannot, so that what the user says is not to be trusted with it: as
/// a setuid program, or as one with capabilities that is not root's.
#[must_use]
pub fn is_raised() -> bool {
    let (real, effective) = (rustix::process::getuid(), rustix::process::geteuid());
    if effective.is_root() {
        return !real.is_root();
    }
    let status = procfs::process::Process::myself().and_then(|own| own.status());
    real != effective || status.map_or(true, |status| status.capeff != 0)
}

/// True when this process sees the host's own process numbers: the kernel side reports those.
#[must_use]
pub fn in_initial_pid_namespace() -> bool {
    // PROC_PID_INIT_INO: https://github.com/torvalds/linux/blob/v6.12/include/linux/proc_ns.h#L43
    const INITIAL: u64 = 0xEFFF_FFFC;
    std::fs::metadata("/proc/self/ns/pid")
        .map(|meta| std::os::unix::fs::MetadataExt::ino(&meta))
        .map_or(true, |inode| inode == INITIAL)
}

/// Keeps the allocator from spreading over many arenas: with one per thread this program holds twice the memory, most
/// of it given back by nobody. Call it before the first thread.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "a libc call that std lacks; the proof stands below"
    )
)]
pub fn one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `mallopt` takes two numbers and has no other precondition than to be called before threads allocate.
    // https://man7.org/linux/man-pages/man3/mallopt.3.html
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that was freed back to the system, after something large was needed for a moment.
#[cfg_attr(
    target_env = "gnu",
    expect(
        unsafe_code,
        reason = "a libc call that std lacks; the proof stands below"
    )
)]
pub fn give_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: `malloc_trim` takes a number and may be called from any thread at any time.
    // https://man7.org/linux/man-pages/man3/malloc_trim.3.html
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The content of a file, see [`map_file`].
pub type MappedFile = memmap2::Mmap;

/// The content of a file, read when it is touched.
///
/// # Errors
/// When the file cannot be opened or is empty.
#[expect(
    unsafe_code,
    reason = "files of hundreds of megabytes are not copied into memory; the proof stands below"
)]
pub fn map_file(path: &std::path::Path) -> std::io::Result<MappedFile> {
    let file = std::fs::File::open(path)?;
    // SAFETY: the bytes may change when somebody writes the file in place. The files mapped here are programs that
    // run and their debug files: the kernel refuses to write the former (ETXTBSY), and whoever replaces the latter
    // makes a new file. Nothing relies on two readings of a byte to agree: all offsets are checked where they are used.
    unsafe { memmap2::Mmap::map(&file) }
}
