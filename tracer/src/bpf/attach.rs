//! Programs on their attach points: attach, switch, ask the kernel what they cost.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    programs::{
        PerfEvent, ProgramError, RawTracePoint,
        perf_event::{
            PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
        },
        raw_trace_point::RawTracePointLinkId,
    },
    util::online_cpus,
};
use tracer_common::{Nanos, Pid};

use super::{
    functions::{AtFunctions, Detached},
    probes::{Attach, Functions, Group, PROBES, Probe, SAMPLES_PER_S},
    session::{LoadError, NOT_ASKED_FOR},
    uprobe::{MapFds, Points},
};
use crate::record::{ProbeMeta, ProbeStatus};

/// Programs, with what attaches them. Dropping it detaches all.
pub(super) struct Programs {
    object: Ebpf,
    functions: AtFunctions,
    links: BTreeMap<&'static str, Links>,
}

enum Links {
    RawTracepoint(RawTracePointLinkId),
    CpuClock(Vec<PerfEventLinkId>),
}

/// How often a program ran and how long, for any process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// Runs.
    pub count: u64,
    /// Time in the program itself, without the way there and back.
    pub time: Nanos,
}

impl Programs {
    pub(super) fn new(object: Ebpf, maps: MapFds) -> Self {
        Self {
            object,
            functions: AtFunctions::new(maps),
            links: BTreeMap::new(),
        }
    }

    /// Adds functions of a runtime that was found. They are attached to when their group is switched on.
    pub(super) fn add_functions(&mut self, which: Functions, points: Points) {
        self.functions.add(which, points);
    }

    /// Forgets the functions of a process, and takes their probes off.
    pub(super) fn remove_functions(&mut self, pid: Pid) {
        self.functions.remove(pid);
    }

    /// Links at functions that were taken off and are to be dropped.
    pub(super) fn detached(&mut self) -> Vec<Detached> {
        self.functions.detached()
    }

    /// True when every link that was taken off is gone.
    pub(super) fn is_settled(&self) -> bool {
        self.functions.is_settled()
    }

    /// Attaches a group's probes at functions, and says what became of them.
    pub(super) fn attach_functions(&mut self, group: Group) -> Vec<ProbeMeta> {
        let of_group = PROBES.iter().filter(|probe| probe.group == group);
        let probes = of_group.filter_map(|probe| match probe.attach {
            Attach::Functions { which, .. } => Some((probe, self.functions.has(which))),
            Attach::RawTracepoint(_)
            | Attach::CpuClock
            | Attach::PartOfRuntime(_)
            | Attach::Part(_) => None,
        });
        let probes: Vec<(&Probe, bool)> = probes.collect();
        if !probes.iter().any(|&(_, is_there)| is_there) {
            return Vec::new();
        }
        probes
            .into_iter()
            .map(|(probe, is_there)| {
                if !is_there && !probe.is_needed() {
                    let why = "not needed: the runtime tells it elsewhere".to_owned();
                    return meta(probe, ProbeStatus::Off, why);
                }
                let (status, why) = match self.attach(probe) {
                    Ok(()) => (ProbeStatus::Attached, String::new()),
                    Err(why) => (ProbeStatus::Refused, why),
                };
                meta(probe, status, why)
            })
            .collect()
    }

    /// Attaches what is wanted and says what became of every probe.
    pub(super) fn attach_all(
        &mut self,
        wanted: impl Fn(Group) -> bool,
    ) -> Result<Vec<ProbeMeta>, LoadError> {
        let mut probes = Vec::new();
        for probe in PROBES {
            let lacking = probe.group.needs().filter(|&needed| !wanted(needed));
            let (status, why) = if !wanted(probe.group) {
                (ProbeStatus::Off, NOT_ASKED_FOR.to_owned())
            } else if let Some(lacking) = lacking {
                let why = format!("needs the group `{}`, which is off", lacking.name());
                (ProbeStatus::Off, why)
            } else if matches!(
                probe.attach,
                Attach::Functions { .. } | Attach::PartOfRuntime(_)
            ) {
                // Not until a runtime was found.
                let of_node = probe.group.is_of_node();
                let lacking = if of_node {
                    "no Node was found"
                } else {
                    "no tokio task types were found"
                };
                (ProbeStatus::Off, lacking.to_owned())
            } else {
                match self.attach(probe) {
                    Ok(()) => (ProbeStatus::Attached, String::new()),
                    Err(why) if probe.group.is_required() => {
                        return Err(LoadError::Probe {
                            probe: probe.name,
                            why,
                        });
                    }
                    Err(why) => (ProbeStatus::Refused, why),
                }
            };
            probes.push(meta(probe, status, why));
        }
        Ok(probes)
    }

    /// Switches a group's programs. False when nothing changed.
    pub(super) fn switch(&mut self, group: Group, on: bool) -> bool {
        let mut of_group: Vec<&Probe> = PROBES
            .iter()
            .filter(|probe| probe.group == group)
            .filter(|probe| !matches!(probe.attach, Attach::Part(_) | Attach::PartOfRuntime(_)))
            .collect();
        if on {
            // The exit of a system call first: a call whose entry is seen must not go without its exit.
            of_group.reverse();
        }
        let mut changed = false;
        for probe in of_group {
            let is_on = self.is_attached(probe.name);
            if matches!(probe.attach, Attach::Functions { which, .. } if !self.functions.has(which))
            {
                continue;
            }
            if on && !is_on {
                match self.attach(probe) {
                    Ok(()) => changed = true,
                    Err(why) => log::info!("probe `{}` cannot be switched on: {why}", probe.name),
                }
            } else if !on && is_on {
                self.detach(probe.name);
                changed = true;
            }
        }
        changed
    }

    /// True when every program of a group at functions that were found is attached, but for those which were `refused`
    /// when it was first switched on.
    pub(super) fn is_complete(&self, group: Group, refused: impl Fn(&str) -> bool) -> bool {
        let mut of_group = PROBES.iter().filter(|probe| probe.group == group);
        of_group.all(|probe| match probe.attach {
            Attach::Functions { which, .. } => {
                let is_there = self.functions.has(which);
                !is_there || self.is_attached(probe.name) || refused(probe.name)
            }
            Attach::RawTracepoint(_)
            | Attach::CpuClock
            | Attach::PartOfRuntime(_)
            | Attach::Part(_) => true,
        })
    }

    fn attach(&mut self, probe: &Probe) -> Result<(), String> {
        let links = match probe.attach {
            Attach::Part(of) | Attach::PartOfRuntime(of) => {
                return match of.iter().find(|part| !self.is_attached(part)) {
                    None => Ok(()),
                    Some(missing) => Err(format!("the probe `{missing}` is not attached")),
                };
            }
            Attach::RawTracepoint(tracepoint) => {
                let program: &mut RawTracePoint = program(&mut self.object, probe.name)?;
                load(program.fd().is_ok(), || program.load())?;
                let link = program
                    .attach(tracepoint)
                    .map_err(|error| explain(&error))?;
                Links::RawTracepoint(link)
            }
            Attach::CpuClock => {
                let program: &mut PerfEvent = program(&mut self.object, probe.name)?;
                load(program.fd().is_ok(), || program.load())?;
                let cpus = online_cpus().map_err(|(what, error)| format!("{what}: {error}"))?;
                let mut links = Vec::new();
                for cpu in cpus {
                    let link = program
                        .attach(
                            PerfEventConfig::Software(SoftwareEvent::CpuClock),
                            PerfEventScope::AllProcessesOneCpu { cpu },
                            SamplePolicy::Period(1_000_000_000 / SAMPLES_PER_S),
                            false,
                        )
                        .map_err(|error| explain(&error))?;
                    links.push(link);
                }
                Links::CpuClock(links)
            }
            Attach::Functions { which, is_return } => {
                return self
                    .functions
                    .attach(&mut self.object, probe.name, which, is_return);
            }
        };
        self.links.insert(probe.name, links);
        Ok(())
    }

    fn is_attached(&self, name: &str) -> bool {
        self.links.contains_key(name) || self.functions.is_attached(name)
    }

    fn detach(&mut self, name: &str) {
        // A link that cannot be found has gone with its program.
        match self.links.remove(name) {
            Some(Links::RawTracepoint(link)) => {
                if let Ok(program) = program::<RawTracePoint>(&mut self.object, name) {
                    let _ = program.detach(link);
                }
            }
            Some(Links::CpuClock(links)) => {
                if let Ok(program) = program::<PerfEvent>(&mut self.object, name) {
                    for link in links {
                        let _ = program.detach(link);
                    }
                }
            }
            None => self.functions.detach(name),
        }
    }

    /// The programs that are attached.
    pub(super) fn attached(&self) -> Vec<&'static str> {
        let links = self.links.keys().copied();
        links.chain(self.functions.attached()).collect()
    }

    /// Runs of every program since the kernel counts them.
    pub(super) fn runs(&self) -> Vec<(&'static str, Runs)> {
        self.infos(|info| {
            Some(Runs {
                count: field(info, "run_cnt:")?,
                time: Nanos(field(info, "run_time_ns:")?),
            })
        })
    }

    /// Runs that the kernel skipped, of all programs.
    pub(super) fn skipped(&self) -> u64 {
        self.infos(|info| field(info, "recursion_misses:"))
            .into_iter()
            .map(|(_, count)| count)
            .sum()
    }

    fn infos<T>(&self, read: impl Fn(&str) -> Option<T>) -> Vec<(&'static str, T)> {
        self.attached()
            .into_iter()
            .filter_map(|name| {
                let info = match self.functions.fd(name) {
                    Some(program) => info(program)?,
                    None => info(self.object.program(name)?.fd().ok()?.as_fd())?,
                };
                Some((name, read(&info)?))
            })
            .collect()
    }
}

fn meta(probe: &Probe, status: ProbeStatus, why: String) -> ProbeMeta {
    ProbeMeta {
        name: probe.name.into(),
        group: probe.group.name().into(),
        status,
        why,
    }
}

/// A program of the object that `aya` loads.
pub(super) fn program<'a, P>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut P, String>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = object.program_mut(name).ok_or("not in the kernel object")?;
    program
        .try_into()
        .map_err(|error: ProgramError| error.to_string())
}

pub(super) fn load(
    is_loaded: bool,
    load: impl FnOnce() -> Result<(), ProgramError>,
) -> Result<(), String> {
    if is_loaded {
        return Ok(());
    }
    load().map_err(|error| explain(&error))
}

/// What the kernel tells of a program. Linux 6.12, `kernel/bpf/syscall.c`, `bpf_prog_show_fdinfo`.
fn info(program: BorrowedFd<'_>) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).ok()
}

fn field(info: &str, name: &str) -> Option<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// The kernel's reason, with the end of the verifier's log where it gave one.
pub(super) fn explain(error: &ProgramError) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a foreign enum, and only one variant carries a log"
    )]
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => refusal(io_error, &verifier_log.to_string()),
        other => {
            let cause = std::error::Error::source(other).map(|cause| format!(": {cause}"));
            format!("{other}{}", cause.unwrap_or_default())
        }
    }
}

/// Why the kernel refused a program, with the end of its verifier's log.
pub(super) fn refusal(error: &std::io::Error, log: &str) -> String {
    let mut tail: Vec<&str> = log
        .lines()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(6)
        .collect();
    tail.reverse();
    format!(
        "{error}; the verifier's last lines:\n    {}",
        tail.join("\n    ")
    )
}
