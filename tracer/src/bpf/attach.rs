//! Programs on their attach points: attach, switch, ask the kernel what they cost.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya::{
    Ebpf,
    programs::{
        PerfEvent, ProgramError, RawTracePoint, UProbe,
        perf_event::{
            PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
        },
        raw_trace_point::RawTracePointLinkId,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLinkId, UProbeScope},
    },
    util::online_cpus,
};
use tracer_common::{Nanos, Pid};

use super::{
    probes::{Attach, Functions, Group, PROBES, Probe, SAMPLES_PER_S},
    session::{LoadError, NOT_ASKED_FOR},
    uprobe::{self, MapFds, Multi, Points},
};
use crate::record::{ProbeMeta, ProbeStatus};

/// Programs, with what attaches them. Dropping it detaches all.
pub(super) struct Programs {
    object: Ebpf,
    /// The maps, for programs that `aya` does not load.
    maps: MapFds,
    /// Programs for links of many instructions; `None` until they are needed, or where the kernel has no such links.
    multi: Option<Multi>,
    /// Functions of the targets' runtimes.
    functions: BTreeMap<Functions, Vec<Points>>,
    links: BTreeMap<&'static str, Links>,
}

/// The programs at functions of the target.
const AT_FUNCTIONS: &[&str] = &["task_poll", "task_poll_return", "task_wake", "task_spawn"];

enum Links {
    RawTracepoint(RawTracePointLinkId),
    CpuClock(Vec<PerfEventLinkId>),
    /// One per file and process; dropping one detaches it.
    Multi(#[expect(dead_code, reason = "held, not used")] Vec<OwnedFd>),
    /// One per instruction.
    Single(Vec<UProbeLinkId>),
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
            maps,
            multi: None,
            functions: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// Adds functions of a runtime that was found. They are attached to when their group is switched on.
    pub(super) fn add_functions(&mut self, which: Functions, points: Points) {
        if !points.places.is_empty() {
            self.functions.entry(which).or_default().push(points);
        }
    }

    /// Forgets the functions of a process. Where they are attached to they stay so until their group is switched.
    pub(super) fn remove_functions(&mut self, pid: Pid) {
        self.functions.retain(|_, points| {
            points.retain(|points| points.pid != pid);
            !points.is_empty()
        });
    }

    /// Attaches a group's probes at functions, and says what became of them.
    pub(super) fn attach_functions(&mut self, group: Group) -> Vec<ProbeMeta> {
        let probes = PROBES
            .iter()
            .filter(|probe| probe.group == group)
            .filter(|probe| matches!(probe.attach, Attach::Functions { .. }));
        probes
            .map(|probe| {
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
                (
                    ProbeStatus::Off,
                    "no tokio task types were found".to_owned(),
                )
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
            let is_on = self.links.contains_key(probe.name);
            if matches!(probe.attach, Attach::Functions { which, .. } if !self.functions.contains_key(&which))
            {
                continue;
            }
            if on && !is_on {
                changed |= self.attach(probe).is_ok();
            } else if !on && is_on {
                self.detach(probe.name);
                changed = true;
            }
        }
        changed
    }

    fn attach(&mut self, probe: &Probe) -> Result<(), String> {
        let links = match probe.attach {
            Attach::Part(of) | Attach::PartOfRuntime(of) => {
                return match of.iter().find(|part| !self.links.contains_key(*part)) {
                    None => Ok(()),
                    Some(missing) => Err(format!("the probe `{missing}` is not attached")),
                };
            }
            Attach::RawTracepoint(tracepoint) => {
                let program: &mut RawTracePoint = self.program(probe.name)?;
                load(program.fd().is_ok(), || program.load())?;
                let link = program
                    .attach(tracepoint)
                    .map_err(|error| explain(&error))?;
                Links::RawTracepoint(link)
            }
            Attach::CpuClock => {
                let program: &mut PerfEvent = self.program(probe.name)?;
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
                let points = self.functions.get(&which).cloned().unwrap_or_default();
                if points.is_empty() {
                    return Err("the runtime's functions were not found".to_owned());
                }
                self.attach_to(probe.name, &points, is_return)?
            }
        };
        self.links.insert(probe.name, links);
        Ok(())
    }

    fn attach_to(
        &mut self,
        name: &'static str,
        points: &[Points],
        is_return: bool,
    ) -> Result<Links, String> {
        if uprobe::has_multi() {
            let multi = match &self.multi {
                Some(multi) => multi,
                None => self.multi.insert(Multi::load(
                    super::session::OBJECT,
                    &self.maps,
                    AT_FUNCTIONS,
                )?),
            };
            // A process that has just ended is no reason to go without the others.
            let attached = points
                .iter()
                .map(|points| multi.attach(name, points, is_return));
            let (links, refused): (Vec<_>, Vec<_>) = attached.partition(Result::is_ok);
            return match refused.into_iter().find_map(Result::err) {
                Some(why) if links.is_empty() => Err(why),
                Some(_) | None => Ok(Links::Multi(links.into_iter().flatten().collect())),
            };
        }
        let program: &mut UProbe = self.program(name)?;
        load(program.fd().is_ok(), || program.load())?;
        let mut links = Vec::new();
        for Points { pid, path, places } in points {
            let scope =
                NonZeroU32::new(pid.0).map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
            for &(offset, cookie) in places {
                let point = UProbeAttachPoint {
                    location: UProbeAttachLocation::AbsoluteOffset(offset),
                    cookie: Some(cookie.0),
                };
                links.push(
                    program
                        .attach(point, path, scope)
                        .map_err(|error| explain(&error))?,
                );
            }
        }
        Ok(Links::Single(links))
    }

    fn program<'a, P>(&'a mut self, name: &str) -> Result<&'a mut P, String>
    where
        &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
    {
        let program = self
            .object
            .program_mut(name)
            .ok_or("not in the kernel object")?;
        program
            .try_into()
            .map_err(|error: ProgramError| error.to_string())
    }

    fn detach(&mut self, name: &str) {
        // A link that cannot be found has gone with its program.
        match self.links.remove(name) {
            Some(Links::RawTracepoint(link)) => {
                if let Ok(program) = self.program::<RawTracePoint>(name) {
                    let _ = program.detach(link);
                }
            }
            Some(Links::CpuClock(links)) => {
                if let Ok(program) = self.program::<PerfEvent>(name) {
                    for link in links {
                        let _ = program.detach(link);
                    }
                }
            }
            Some(Links::Single(links)) => {
                if let Ok(program) = self.program::<UProbe>(name) {
                    for link in links {
                        let _ = program.detach(link);
                    }
                }
            }
            Some(Links::Multi(_)) | None => {}
        }
    }

    /// The programs that are attached.
    pub(super) fn attached(&self) -> Vec<&'static str> {
        self.links.keys().copied().collect()
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
        self.links
            .keys()
            .filter_map(|&name| {
                let multi = self.multi.as_ref().and_then(|multi| multi.fd(name));
                let info = match multi {
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

fn load(is_loaded: bool, load: impl FnOnce() -> Result<(), ProgramError>) -> Result<(), String> {
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
fn explain(error: &ProgramError) -> String {
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
