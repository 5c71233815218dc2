//! `tracer doctor`: what this kernel, these rights and a target allow, before attaching to anything.

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tracer_common::Pid;

use super::{Failure, failure, target::Target};
use crate::{
    bpf::{
        self, Kernel, LoadError,
        kernel::{self, OLDEST},
        probes::{Attach, Group, PROBES},
    },
    record::{ProbeMeta, ProbeStatus},
    runtime::cache::Cache,
    target::{process, sys},
};

#[derive(Debug, Args)]
#[command(after_help = "\
Loads and attaches every probe for a moment, with no target, so that what it says is what will happen.

Exit status: 0 when tracing will work, otherwise what tracing would fail with (3, 4 or 5).")]
pub(super) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// For scripts
    #[arg(long)]
    json: bool,
    /// The kernel's type information, for kernels that do not publish it
    #[arg(long, value_name = "FILE", default_value = bpf::btf::KERNEL, hide_short_help = true)]
    btf: PathBuf,
}

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Diagnosis {
    schema: &'static str,
    tool: Tool,
    kernel: Vec<Check>,
    privileges: Vec<Check>,
    cache: Check,
    probes: Vec<ProbeCheck>,
    target: Vec<Check>,
    #[serde(skip)]
    verdict: Option<(&'static str, u8)>,
}

#[derive(Debug, Serialize)]
struct Tool {
    version: &'static str,
    kernel_object: &'static str,
}

#[derive(Debug, Serialize)]
struct Check {
    what: String,
    ok: bool,
    detail: String,
    remedy: String,
}

#[derive(Debug, Serialize)]
struct ProbeCheck {
    name: &'static str,
    group: &'static str,
    status: &'static str,
    why: String,
    since_kernel: &'static str,
    cost: &'static str,
    gives: &'static str,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let found = if arguments.target.is_given() {
        if arguments.target.is_program() {
            return Err(
                Failure::Usage("doctor looks at running targets: give -p PID or -n NAME").into(),
            );
        }
        Some(
            arguments
                .target
                .find(|| Ok(crate::pipeline::launch::Output::Inherit))?,
        )
    } else {
        None
    };
    let cache = Cache::of_environment();
    let mut diagnosis = Diagnosis {
        schema: "tracer.doctor/1",
        tool: Tool {
            version: env!("CARGO_PKG_VERSION"),
            kernel_object: env!("TRACER_BPF_ROUTE"),
        },
        kernel: kernel_checks(&arguments.btf),
        privileges: privilege_checks(),
        cache: cache_check(&cache),
        probes: Vec::new(),
        target: found
            .iter()
            .flat_map(|found| &found.pids)
            .flat_map(|&pid| [target_check(pid), runtime_check(pid, &cache)])
            .collect(),
        verdict: None,
    };
    diagnosis.try_to_load(arguments);
    let text = if arguments.json {
        serde_json::to_string_pretty(&diagnosis)? + "\n"
    } else {
        diagnosis.text()
    };
    super::print(&text, None)?;
    match diagnosis.verdict {
        Some((why, status)) => Err(Failure::Doctor(why, status).into()),
        None => Ok(()),
    }
}

fn kernel_checks(btf: &std::path::Path) -> Vec<Check> {
    let facts = kernel::facts(btf);
    let (release, arch) = sys::uname();
    let mut checks = vec![Check {
        what: format!("Linux {release} ({arch})"),
        ok: true,
        detail: format!("meant for {OLDEST} and later"),
        remedy: String::new(),
    }];
    checks.extend(
        kernel::requirements(&facts)
            .into_iter()
            .map(|requirement| Check {
                what: requirement.what.to_owned(),
                ok: requirement.met.is_ok(),
                detail: requirement.met.err().unwrap_or_default(),
                remedy: requirement.since.to_owned(),
            }),
    );
    checks
}

fn privilege_checks() -> Vec<Check> {
    use sys::Capability;
    let missing = sys::missing_capabilities();
    let mut checks: Vec<Check> = [Capability::Bpf, Capability::Perfmon]
        .into_iter()
        .map(|capability| Check {
            what: capability.name().to_owned(),
            ok: !missing.contains(&capability),
            detail: "load and attach probes".to_owned(),
            remedy: failure::privilege_advice(&missing),
        })
        .collect();
    // Without it other users' threads that sleep while being attached to begin as unknown; nothing else.
    checks.push(Check {
        what: Capability::SysPtrace.name().to_owned(),
        ok: Capability::SysPtrace.is_effective(),
        detail: "see what other users' sleeping threads wait for at the moment of attaching"
            .to_owned(),
        remedy: failure::privilege_advice(&[Capability::SysPtrace]),
    });
    checks
}

/// Where what takes long to recognise is kept.
fn cache_check(cache: &Cache) -> Check {
    let (what, detail) = match cache.usage() {
        Ok(usage) => {
            let detail = format!(
                "of programs that take long to recognise: {} kept, {}",
                usage.entries,
                crate::human::bytes(usage.bytes)
            );
            (usage.place.display().to_string(), detail)
        }
        Err(why) => ("not used".to_owned(), why),
    };
    Check {
        what,
        ok: true,
        detail,
        remedy: String::new(),
    }
}

/// Which runtime the target has, and so which probes at its functions there will be.
fn runtime_check(pid: Pid, cache: &Cache) -> Check {
    let found = crate::runtime::find(pid, cache);
    let mut said: Vec<String> = Vec::new();
    if let Some(node) = &found.node {
        let known =
            |version: &Option<String>| version.clone().unwrap_or("of unknown version".into());
        let points: usize = node.modules.iter().map(|one| one.holds.points.len()).sum();
        said.push(format!(
            "node {} (V8 {}, libuv {}), {points} places to probe",
            known(&node.version),
            known(&node.v8),
            known(&node.uv)
        ));
        said.extend(node.notes.iter().cloned());
    }
    if let Some(tokio) = found.tokio.first().map(|mapped| &mapped.holds) {
        let version = tokio.version.as_deref().unwrap_or("of unknown version");
        said.push(format!("tokio {version}, {} task types", tokio.types.len()));
        said.extend(tokio.notes.iter().cloned());
    }
    if said.is_empty() {
        said.push(format!(
            "no tokio and no Node.js in the {} files it has mapped",
            found.files
        ));
    }
    let detail = said.join("; ");
    Check {
        what: "runtime".to_owned(),
        ok: true,
        detail,
        remedy: String::new(),
    }
}

fn target_check(pid: Pid) -> Check {
    let description = process::describe(pid).unwrap_or_default();
    let threads = process::threads(pid).len();
    let family = process::with_descendants(pid).len();
    Check {
        what: format!(
            "{} (pid {})",
            crate::human::sanitise(&description.comm),
            pid.0
        ),
        ok: threads > 0,
        detail: format!(
            "{}; {threads} threads; {} child processes",
            if description.exe.is_empty() {
                "program unreadable"
            } else {
                &description.exe
            },
            family.saturating_sub(1)
        ),
        remedy: String::new(),
    }
}

impl Diagnosis {
    fn try_to_load(&mut self, arguments: &Arguments) {
        let options = bpf::Options {
            btf: arguments.btf.clone(),
            groups: Group::ALL.to_vec(),
            ..bpf::Options::default()
        };
        let (probes, why) = match Kernel::load(&options) {
            Ok(kernel) => (kernel.probes().to_vec(), String::new()),
            Err(error) => {
                self.verdict = Some(match &error {
                    LoadError::Privilege { .. } => {
                        ("tracing needs more privileges", failure::PRIVILEGE)
                    }
                    LoadError::Kernel { .. } => {
                        ("this kernel lacks what tracing needs", failure::KERNEL)
                    }
                    LoadError::Object(_) | LoadError::Probe { .. } | LoadError::Map { .. } => {
                        ("the kernel refused a probe", failure::KERNEL)
                    }
                });
                (Vec::new(), format!("{:#}", anyhow::Error::new(error)))
            }
        };
        self.probes = PROBES
            .iter()
            .map(|probe| {
                let refused = ProbeMeta {
                    status: ProbeStatus::Refused,
                    why: why.clone(),
                    ..ProbeMeta::default()
                };
                let met = probes
                    .iter()
                    .find(|met| met.name == probe.name)
                    .cloned()
                    .unwrap_or(refused);
                let why = match probe.attach {
                    Attach::Functions { .. } | Attach::PartOfRuntime(_)
                        if met.status == ProbeStatus::Off =>
                    {
                        let runtime = if probe.group.is_of_node() {
                            "Node.js"
                        } else {
                            "tokio tasks"
                        };
                        format!("attached to a program with {runtime}")
                    }
                    Attach::RawTracepoint(_)
                    | Attach::CpuClock
                    | Attach::Part(_)
                    | Attach::Functions { .. }
                    | Attach::PartOfRuntime(_) => met.why,
                };
                ProbeCheck {
                    name: probe.name,
                    group: probe.group.name(),
                    status: met.status.name(),
                    why,
                    since_kernel: probe.since,
                    cost: probe.cost,
                    gives: probe.gives,
                }
            })
            .collect();
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut section = |title: &str, checks: &[Check]| {
            if checks.is_empty() {
                return;
            }
            let _ = writeln!(out, "{title}");
            for check in checks {
                let mark = if check.ok { "ok" } else { "--" };
                let detail = if check.detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", check.detail)
                };
                let _ = writeln!(out, "  {mark}  {}{detail}", check.what);
                if !check.ok {
                    for line in check.remedy.lines() {
                        let _ = writeln!(out, "        {line}");
                    }
                }
            }
            out.push('\n');
        };
        section("KERNEL", &self.kernel);
        section("PRIVILEGES", &self.privileges);
        section("CACHE", std::slice::from_ref(&self.cache));
        section("TARGET", &self.target);
        let _ = writeln!(out, "PROBES (built with {})", self.tool.kernel_object);
        for probe in &self.probes {
            let mark = if probe.why.is_empty() { "ok" } else { "--" };
            let _ = writeln!(
                out,
                "  {mark}  {:<19} {:<8} {:<10} {:<24} {}",
                probe.name, probe.group, probe.status, probe.cost, probe.gives
            );
        }
        if let Some(probe) = self.probes.iter().find(|probe| !probe.why.is_empty()) {
            let _ = writeln!(out, "        {}", probe.why);
        }
        let verdict = self.verdict.map_or("tracing will work", |(why, _)| why);
        let _ = writeln!(out, "\n{verdict}");
        out
    }
}
