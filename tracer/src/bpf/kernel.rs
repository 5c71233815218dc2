//! What the running kernel can do, and what the tracer needs of it.

use std::path::Path;

use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported},
};
use tracer_common::Layout;

use super::btf::{Btf, BtfError};

/// The oldest kernel the tracer is meant for.
pub const OLDEST: &str = "6.1";

/// Something a kernel must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What it is, in words for people.
    pub what: &'static str,
    /// Since which version kernels have it, and under which option.
    pub since: &'static str,
    /// Whether this one has it; `Err` says why not, or why that is not known.
    pub met: Result<(), String>,
}

/// What was found out about the running kernel. Plain facts, so that the judgement can be tested.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Machine architecture.
    pub arch: String,
    /// Offsets of structure members, or why they are not known.
    pub layout: Option<Layout>,
    /// Why they are not.
    pub layout_error: String,
    /// Arguments of the `sched_switch` tracepoint.
    pub sched_switch_arguments: Option<u32>,
    /// Whether ring buffers can be made; `None` when that could not be asked.
    pub ring_buffer: Option<bool>,
    /// Whether programs may read a thread's saved registers; `None` when that could not be asked.
    pub saved_registers: Option<bool>,
    /// Whether this process sees the host's own process numbers.
    pub initial_pid_namespace: bool,
}

/// Asks the running kernel. `btf` is where its type information is.
#[must_use]
pub fn facts(btf: &Path) -> Facts {
    let (_, arch) = crate::target::sys::uname();
    let mut facts = Facts {
        arch,
        ring_buffer: is_map_supported(MapType::RingBuf).ok(),
        saved_registers: is_helper_supported(
            ProgramType::RawTracePoint,
            BpfHelper::BPF_FUNC_task_pt_regs,
        )
        .ok(),
        initial_pid_namespace: crate::target::sys::in_initial_pid_namespace(),
        ..Facts::default()
    };
    match Btf::read(btf)
        .and_then(|btf| Ok((layout(&btf)?, btf.tracepoint_arguments("sched_switch"))))
    {
        Ok((layout, arguments)) => {
            facts.layout = Some(layout);
            facts.sched_switch_arguments = arguments;
        }
        Err(error) => facts.layout_error = describe(&error),
    }
    facts
}

fn describe(error: &BtfError) -> String {
    match error {
        BtfError::Read { source, .. } => format!("{error}: {source}"),
        BtfError::NotBtf { .. } | BtfError::NoSuchMember(_) => error.to_string(),
    }
}

/// The offset of `r10`, from where the nine words to `orig_ax` are read at once.
fn registers(btf: &Btf) -> Result<u32, BtfError> {
    let r10 = btf.offset("pt_regs", "r10")?;
    for (member, word) in [("dx", 5), ("si", 6), ("di", 7), ("orig_ax", 8)] {
        if btf.offset("pt_regs", member)? != r10 + 8 * word {
            return Err(BtfError::NoSuchMember(format!(
                "pt_regs.{member} where it is expected"
            )));
        }
    }
    Ok(r10)
}

fn layout(btf: &Btf) -> Result<Layout, BtfError> {
    Ok(Layout {
        task_pid: btf.offset("task_struct", "pid")?,
        task_tgid: btf.offset("task_struct", "tgid")?,
        task_signal: btf.offset("task_struct", "signal")?,
        task_exit_code: btf.offset("task_struct", "exit_code")?,
        signal_live: btf.offset("signal_struct", "live")?,
        regs_r10: registers(btf)?,
        task_files: btf.offset("task_struct", "files")?,
        files_fdt: btf.offset("files_struct", "fdt")?,
        fdt_fd: btf.offset("fdtable", "fd")?,
        fdt_max_fds: btf.offset("fdtable", "max_fds")?,
        file_inode: btf.offset("file", "f_inode")?,
        inode_mode: btf.offset("inode", "i_mode")?,
        // Without group scheduling or quotas there is no throttling to see.
        task_cfs_rq: btf
            .offset("task_struct", "se")
            .and_then(|entity| Ok(entity + btf.offset("sched_entity", "cfs_rq")?))
            .unwrap_or(0),
        task_fsbase: btf
            .offset("task_struct", "thread")
            .and_then(|thread| Ok(thread + btf.offset("thread_struct", "fsbase")?))?,
        cfs_throttle_count: btf.offset("cfs_rq", "throttle_count").unwrap_or(0),
    })
}

/// Holds `facts` against what the tracer needs, in the order in which people should fix things.
#[must_use]
pub fn requirements(facts: &Facts) -> Vec<Requirement> {
    let asked = |answer: Option<bool>, no: &str| match answer {
        // What could not be asked (for lack of privilege) is not held against the kernel.
        Some(true) | None => Ok(()),
        Some(false) => Err(no.to_owned()),
    };
    vec![
        Requirement {
            what: "the x86-64 architecture",
            since: "other architectures keep registers elsewhere; not supported yet",
            met: if facts.arch == "x86_64" {
                Ok(())
            } else {
                Err(format!("this machine is {}", facts.arch))
            },
        },
        Requirement {
            what: "type information of the kernel (BTF)",
            since: "Linux 5.2, CONFIG_DEBUG_INFO_BTF=y",
            met: facts
                .layout
                .map(|_| ())
                .ok_or_else(|| facts.layout_error.clone()),
        },
        Requirement {
            what: "BPF ring buffers",
            since: "Linux 5.8",
            met: asked(facts.ring_buffer, "the kernel refused to make one"),
        },
        Requirement {
            what: "reading a thread's saved registers (bpf_task_pt_regs)",
            since: "Linux 5.15",
            met: asked(facts.saved_registers, "the kernel does not know the helper"),
        },
        Requirement {
            what: "the task state in the sched_switch tracepoint",
            since: "Linux 5.19",
            met: match (facts.layout, facts.sched_switch_arguments) {
                (None, _) => Ok(()),
                (Some(_), Some(count)) if count >= 4 => Ok(()),
                (Some(_), count) => Err(format!("it has {} arguments", count.unwrap_or(0))),
            },
        },
        Requirement {
            what: "the initial PID namespace",
            since: "run tracer on the host, or in a container with --pid=host",
            met: if facts.initial_pid_namespace {
                Ok(())
            } else {
                Err(
                    "this process runs in a PID namespace of its own, and kernel events carry host numbers"
                        .into(),
                )
            },
        },
    ]
}

/// The first requirement that is not met.
#[must_use]
pub fn unmet(facts: &Facts) -> Option<Requirement> {
    requirements(facts)
        .into_iter()
        .find(|requirement| requirement.met.is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            arch: "x86_64".into(),
            layout: Some(Layout::default()),
            layout_error: String::new(),
            sched_switch_arguments: Some(4),
            ring_buffer: Some(true),
            saved_registers: Some(true),
            initial_pid_namespace: true,
        }
    }

    fn lacks(facts: &Facts) -> Option<&'static str> {
        unmet(facts).map(|requirement| requirement.what)
    }

    #[test]
    fn a_current_kernel_has_everything() {
        assert_eq!(lacks(&good()), None);
    }

    #[test]
    fn each_lack_is_named() {
        let no_btf = Facts {
            layout: None,
            layout_error: "read x".into(),
            ..good()
        };
        assert_eq!(lacks(&no_btf), Some("type information of the kernel (BTF)"));
        assert_eq!(
            lacks(&Facts {
                ring_buffer: Some(false),
                ..good()
            }),
            Some("BPF ring buffers")
        );
        let old_switch = Facts {
            sched_switch_arguments: Some(3),
            ..good()
        };
        assert_eq!(
            lacks(&old_switch),
            Some("the task state in the sched_switch tracepoint")
        );
        assert_eq!(
            lacks(&Facts {
                arch: "riscv64".into(),
                ..good()
            }),
            Some("the x86-64 architecture")
        );
        let inside = Facts {
            initial_pid_namespace: false,
            ..good()
        };
        assert_eq!(lacks(&inside), Some("the initial PID namespace"));
    }

    #[test]
    fn what_could_not_be_asked_is_not_held_against_the_kernel() {
        assert_eq!(
            lacks(&Facts {
                ring_buffer: None,
                saved_registers: None,
                ..good()
            }),
            None
        );
    }
}
