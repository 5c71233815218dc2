//! The loaded kernel side: programs attached as long as it lives, maps read through it.
//!
//! Dropping it detaches everything; so does the end of this process, `kill -9` included, because the kernel
//! closes what nobody holds.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
    path::PathBuf,
};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{HashMap, MapData, MapError, PerCpuArray, RingBuf},
    programs::{ProgramError, RawTracePoint},
};
use aya_log::EbpfLogger;
use thiserror::Error;
use tracer_common::{
    LossReason, Pid, SyscallKey, SyscallRow, Target, ThreadRow, Tid, config::SyscallClasses, name,
};

use super::{
    kernel::{self, Requirement},
    probes::{Attach, Group, PROBES, Probe},
    ready::Ready,
    wire::Wire,
};
use crate::{
    record::{ProbeMeta, ProbeStatus},
    target::{sys, syscall},
};

/// The kernel object, built from `tracer-ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer.bpf.o"));

/// What to load, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Groups to attach; required ones are attached all the same.
    pub groups: Vec<Group>,
    /// Size of the ring buffer in bytes: a power of two, at least a page. `None` for the built-in 4 MiB.
    pub ring_bytes: Option<u32>,
    /// Where the kernel's type information is.
    pub btf: PathBuf,
    /// Send the kernel side's debug lines.
    pub debug: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            groups: Group::ALL.to_vec(),
            ring_bytes: None,
            btf: super::btf::KERNEL.into(),
            debug: false,
        }
    }
}

/// Why the kernel side could not be loaded or attached.
#[derive(Debug, Error)]
pub enum LoadError {
    /// This process may not.
    #[error("missing {}", .missing.iter().map(|capability| capability.name()).collect::<Vec<_>>().join(", "))]
    Privilege {
        /// What it would need.
        missing: Vec<sys::Capability>,
    },
    /// This kernel cannot.
    #[error("this kernel lacks {}: {}", .lacks.what, .lacks.met.as_ref().err().map_or("", String::as_str))]
    Kernel {
        /// What it lacks.
        lacks: Requirement,
    },
    /// A map or the object as a whole was refused.
    #[error("load the kernel object")]
    Object(#[source] EbpfError),
    /// The verifier, or the attach point, refused a program nothing works without.
    #[error("attach probe `{probe}`: {why}")]
    Probe {
        /// The probe.
        probe: &'static str,
        /// What the kernel said, its verifier's last lines included.
        why: String,
    },
    /// A map could not be opened or written.
    #[error("use map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
}

/// Insert only what is not there yet (`include/uapi/linux/bpf.h`).
const BPF_NOEXIST: u64 = 1;

type Table<K, V> = HashMap<MapData, Wire<K>, Wire<V>>;

/// The loaded kernel side.
pub struct Kernel {
    /// Holds the programs and their links.
    programs: Option<Ebpf>,
    events: RingBuf<MapData>,
    losses: PerCpuArray<MapData, u64>,
    targets: Table<Pid, Target>,
    threads: Table<Tid, ThreadRow>,
    syscalls: Table<SyscallKey, SyscallRow>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    probes: Vec<ProbeMeta>,
}

/// How one copied row came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// Whole.
    Row(T),
    /// The row is gone.
    Gone,
    /// It changed during every attempt.
    Torn,
}

impl Kernel {
    /// Loads the kernel object and attaches its programs. They do nothing until a target is added.
    ///
    /// # Errors
    /// When a privilege or a kernel feature is missing, or a required probe is refused. A refused optional probe
    /// is no error: see [`Kernel::probes`].
    pub fn load(options: &Options) -> Result<Self, LoadError> {
        let missing = sys::missing_capabilities();
        if !missing.is_empty() {
            return Err(LoadError::Privilege { missing });
        }
        let facts = kernel::facts(&options.btf);
        if let Some(lacks) = kernel::unmet(&facts) {
            return Err(LoadError::Kernel { lacks });
        }
        let layout = Wire(facts.layout.unwrap_or_default());
        let classes: Wire<SyscallClasses> = Wire(syscall::classes());
        let log_level: u8 = if options.debug {
            aya_log::Level::Debug as u8
        } else {
            0
        };

        let mut loader = EbpfLoader::new();
        loader
            // No relocation in the object needs the kernel's types; parsing them again would take as long as all else.
            .btf(None)
            .override_global(name::LAYOUT, &layout, true)
            .override_global(name::SYSCALL_CLASSES, &classes, true)
            .override_global(name::LOG_LEVEL, &log_level, true);
        if let Some(bytes) = options.ring_bytes {
            loader.map_max_entries(name::EVENTS, bytes);
        }
        let mut programs = loader.load(OBJECT).map_err(LoadError::Object)?;
        let logger = if options.debug {
            EbpfLogger::init(&mut programs).ok()
        } else {
            None
        };

        let mut probes = Vec::new();
        for probe in PROBES {
            let wanted = probe.group.is_required() || options.groups.contains(&probe.group);
            let (status, why) = if wanted {
                match attach(&mut programs, probe) {
                    Ok(()) => (ProbeStatus::Attached, String::new()),
                    Err(why) if probe.group.is_required() => {
                        return Err(LoadError::Probe {
                            probe: probe.name,
                            why,
                        });
                    }
                    Err(why) => (ProbeStatus::Refused, why),
                }
            } else {
                (ProbeStatus::Off, "not asked for".to_owned())
            };
            probes.push(ProbeMeta {
                name: probe.name.into(),
                group: probe.group.name().into(),
                status,
                why,
            });
        }
        Ok(Self {
            events: take(&mut programs, name::EVENTS)?,
            losses: take(&mut programs, name::LOSSES)?,
            targets: take(&mut programs, name::TARGETS)?,
            threads: take(&mut programs, name::THREADS)?,
            syscalls: take(&mut programs, name::SYSCALLS)?,
            programs: Some(programs),
            logger,
            probes,
        })
    }

    /// What became of every probe.
    #[must_use]
    pub fn probes(&self) -> &[ProbeMeta] {
        &self.probes
    }

    /// Detaches every program. The maps stay readable and do not change any more.
    pub fn detach(&mut self) {
        self.programs = None;
    }

    /// Begins to trace a process: from the next instruction on, its edges are accounted. False when it is traced
    /// already.
    ///
    /// # Errors
    /// When the table is full.
    pub fn add_target(&mut self, pid: Pid, target: Target) -> Result<bool, LoadError> {
        match self.targets.insert(Wire(pid), Wire(target), BPF_NOEXIST) {
            Ok(()) => Ok(true),
            Err(_) if self.targets.get(&Wire(pid), 0).is_ok() => Ok(false),
            Err(source) => Err(LoadError::Map {
                map: name::TARGETS,
                source,
            }),
        }
    }

    /// Stops tracing a process. One that is not traced is no error.
    pub fn remove_target(&mut self, pid: Pid) {
        let _ = self.targets.remove(&Wire(pid));
    }

    /// Begins the accounting of a thread that was met in the middle, unless an edge has begun it already.
    /// False when it has.
    pub fn seed_thread(&mut self, tid: Tid, row: ThreadRow) -> bool {
        self.threads
            .insert(Wire(tid), Wire(row), BPF_NOEXIST)
            .is_ok()
    }

    /// Ends the accounting of a thread. One that is not accounted is no error.
    pub fn forget_thread(&mut self, tid: Tid) {
        let _ = self.threads.remove(&Wire(tid));
    }

    /// Forgets the counts of one call of one thread. Counts that are not there are no error.
    pub fn forget_syscall(&mut self, key: SyscallKey) {
        let _ = self.syscalls.remove(&Wire(key));
    }

    /// Tells when the ring buffer has events. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the runtime takes no more descriptors.
    pub fn ready(&self) -> std::io::Result<Ready> {
        Ready::of(self.events.as_fd())
    }

    /// The next event in the ring buffer: header and payload as raw bytes.
    pub fn next_event<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.events.next().map(|item| read(&item))
    }

    /// Prints the kernel side's debug lines that have come.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Threads that are accounted. A set: when the kernel deletes the key a walk stands on, the walk starts
    /// again from the beginning; under a storm of exits it is ended at a bound, and the next tick goes on.
    #[must_use]
    pub fn thread_ids(&self) -> BTreeSet<Tid> {
        const STEPS: usize = 1 << 17;
        self.threads
            .keys()
            .take(STEPS)
            .filter_map(Result::ok)
            .map(|Wire(tid)| tid)
            .collect()
    }

    /// A thread's row.
    #[must_use]
    pub fn thread(&self, tid: Tid) -> Read<ThreadRow> {
        whole(
            || self.threads.get(&Wire(tid), 0).map(|Wire(row)| row),
            ThreadRow::is_consistent,
        )
    }

    /// (Thread, call) pairs that are counted.
    #[must_use]
    pub fn syscall_keys(&self) -> Vec<SyscallKey> {
        self.syscalls
            .keys()
            .filter_map(Result::ok)
            .map(|Wire(key)| key)
            .collect()
    }

    /// The counts of one call of one thread.
    #[must_use]
    pub fn syscall(&self, key: SyscallKey) -> Read<SyscallRow> {
        whole(
            || self.syscalls.get(&Wire(key), 0).map(|Wire(row)| row),
            SyscallRow::is_consistent,
        )
    }

    /// Runs of a probe that the kernel skipped, for any process, since it was loaded. A program does not run on
    /// a CPU on which another run of it was preempted: seen from Linux 7.1 on, at system calls from 7.2 on.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        let Some(programs) = &self.programs else {
            return 0;
        };
        PROBES
            .iter()
            .filter_map(|probe| misses(programs.program(probe.name)?.fd().ok()?.as_fd()))
            .sum()
    }

    /// What the kernel side lost since it was loaded, by reason.
    #[must_use]
    pub fn losses(&self) -> Vec<(LossReason, u64)> {
        (0..LossReason::KERNEL)
            .filter_map(|reason| {
                let counts = self.losses.get(&reason, 0).ok()?;
                Some((LossReason(reason), counts.iter().sum()))
            })
            .collect()
    }
}

/// Copies a row until the copy is whole. The kernel writes while it copies, so a copy can be torn; its own
/// books tell.
fn whole<T>(copy: impl Fn() -> Result<T, MapError>, is_whole: impl Fn(&T) -> bool) -> Read<T> {
    const ATTEMPTS: usize = 16;
    for _ in 0..ATTEMPTS {
        match copy() {
            Ok(row) if is_whole(&row) => return Read::Row(row),
            Ok(_) => {}
            Err(_) => return Read::Gone,
        }
    }
    Read::Torn
}

/// Linux 6.12, `kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`.
fn misses(program: BorrowedFd<'_>) -> Option<u64> {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let info = std::fs::read_to_string(path).ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("recursion_misses:"))?;
    line.trim().parse().ok()
}

fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(
    programs: &mut Ebpf,
    map: &'static str,
) -> Result<M, LoadError> {
    let missing = || MapError::InvalidName {
        name: map.to_owned(),
    };
    programs
        .take_map(map)
        .ok_or_else(missing)
        .and_then(M::try_from)
        .map_err(|source| LoadError::Map { map, source })
}

fn attach(programs: &mut Ebpf, probe: &Probe) -> Result<(), String> {
    let Attach::RawTracepoint(name) = probe.attach;
    let program = programs
        .program_mut(probe.name)
        .ok_or("not in the kernel object")?;
    let program: &mut RawTracePoint = program
        .try_into()
        .map_err(|error: ProgramError| error.to_string())?;
    program
        .load()
        .and_then(|()| program.attach(name))
        .map(|_| ())
        .map_err(|error| explain(&error))
}

/// The kernel's reason, with the end of the verifier's log where it gave one.
fn explain(error: &ProgramError) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum, and only one variant carries a log"
    )]
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let mut tail: Vec<&str> = log
                .lines()
                .rev()
                .filter(|line| !line.trim().is_empty())
                .take(6)
                .collect();
            tail.reverse();
            format!(
                "{io_error}; the verifier's last lines:\n    {}",
                tail.join("\n    ")
            )
        }
        other => {
            let cause = std::error::Error::source(other).map(|cause| format!(": {cause}"));
            format!("{other}{}", cause.unwrap_or_default())
        }
    }
}
