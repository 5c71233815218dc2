//! Every probe there is: one row each. `tracer doctor` lists them, the load test covers them.

/// A group that `--with` and `--without` switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Threads and processes come and go. Always on.
    Process,
    /// A thread's time by state. Always on.
    Sched,
    /// System calls: counts, errors and durations.
    Syscall,
}

impl Group {
    /// Every group.
    pub const ALL: &'static [Self] = &[Self::Process, Self::Sched, Self::Syscall];

    /// The word people type.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Sched => "sched",
            Self::Syscall => "syscall",
        }
    }

    /// The group people mean by a word.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|group| group.name() == name)
    }

    /// True when nothing works without it.
    #[must_use]
    pub fn is_required(self) -> bool {
        match self {
            Self::Process | Self::Sched => true,
            Self::Syscall => false,
        }
    }
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// To the raw tracepoint of this name.
    RawTracepoint(&'static str),
}

/// One probe.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Name of the program in the kernel object.
    pub name: &'static str,
    /// What switches it.
    pub group: Group,
    /// Where it sits.
    pub attach: Attach,
    /// Since which kernel it works as it is.
    pub since: &'static str,
    /// What it costs the target, measured (see README).
    pub cost: &'static str,
    /// What it is for, and so what is missing without it.
    pub gives: &'static str,
}

/// The probes, in the order in which they are attached: a thread's creation is watched before its time is.
pub const PROBES: &[Probe] = &[
    Probe {
        name: "sched_wakeup_new",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_wakeup_new"),
        since: "6.1",
        cost: "once per new thread or process",
        gives: "new threads and child processes",
    },
    Probe {
        name: "sched_process_exec",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_process_exec"),
        since: "6.1",
        cost: "once per exec",
        gives: "programs that replace each other",
    },
    Probe {
        name: "sched_process_exit",
        group: Group::Process,
        attach: Attach::RawTracepoint("sched_process_exit"),
        since: "6.1",
        cost: "once per exit",
        gives: "exit codes",
    },
    Probe {
        name: "sched_switch",
        group: Group::Sched,
        attach: Attach::RawTracepoint("sched_switch"),
        since: "6.1",
        cost: "per context switch",
        gives: "time by state, context switches",
    },
    Probe {
        name: "sched_wakeup",
        group: Group::Sched,
        attach: Attach::RawTracepoint("sched_wakeup"),
        since: "6.1",
        cost: "per wake-up",
        gives: "run queue latency",
    },
    Probe {
        name: "sys_enter",
        group: Group::Syscall,
        attach: Attach::RawTracepoint("sys_enter"),
        since: "6.1",
        cost: "per system call",
        gives: "durations of system calls",
    },
    Probe {
        name: "sys_exit",
        group: Group::Syscall,
        attach: Attach::RawTracepoint("sys_exit"),
        since: "6.1",
        cost: "per system call",
        gives: "system calls by name: count, errors, time",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_one_row_and_says_what_it_gives() {
        for (index, probe) in PROBES.iter().enumerate() {
            assert!(
                PROBES[index + 1..]
                    .iter()
                    .all(|other| other.name != probe.name),
                "{}",
                probe.name
            );
            assert!(!probe.gives.is_empty() && !probe.cost.is_empty());
        }
    }
}
