//! What the kernel side costs: an estimate, from the kernel's own statistics of programs.
//!
//! The kernel measures a program's runs only while somebody asks, and asking makes every run of every program on the
//! machine 20–50 ns slower. So it is asked for a moment at the beginning and after every tenth tick; in between, what
//! a run costs is taken from the last time, and how often programs ran for the targets is known from the counters.

use std::{collections::BTreeMap, os::fd::OwnedFd};

use tracer_common::Nanos;

use super::governor;
use crate::{
    bpf::{
        Kernel, Runs,
        probes::{Attach, PROBES},
    },
    record::ProbesSample,
    target::sys,
};

/// Ticks from one measurement to the next.
const EVERY: u64 = 10;
/// The way into a program and back, which the kernel's statistics leave out, in nanoseconds per run. Measured with
/// empty programs on Linux 6.18: a hooked call takes 70–95 ns longer, of which the statistics show 47–58.
const WAY: f64 = 35.0;
/// What a system call costs more when any program is attached to system calls, in nanoseconds: the kernel then goes
/// its slow way. Measured on Linux 6.18: 45–80.
const SLOW_WAY: f64 = 60.0;
/// A run for a target with warm caches, in nanoseconds, by program. Measured on Linux 6.18. Where most runs are for
/// others, what is left of the sum for the targets is mostly the error of the guess what others take: then no more
/// than this many times the usual is believed.
const USUAL: [(&str, f64); 6] = [
    ("sys_enter", 160.0),
    ("sys_exit", 200.0),
    ("sched_switch", 300.0),
    ("sched_wakeup", 300.0),
    ("sched_waking", 300.0),
    ("cpu_sample", 6_500.0),
];
const TIMES_THE_USUAL: f64 = 3.0;

/// A run for a process that is no target, in nanoseconds: the first question, and out.
const OTHERS: f64 = 45.0;

/// How often something happened to the targets that runs programs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Activity {
    pub(super) syscalls: u64,
    pub(super) switches: u64,
    pub(super) wakeups: u64,
    pub(super) samples: u64,
    /// Polls and wakes of tasks that were watched.
    pub(super) polls: u64,
    pub(super) wakes: u64,
    /// What they cost, in nanoseconds.
    pub(super) at_functions: f64,
    /// CPU time of the targets' threads.
    pub(super) on_cpu: Nanos,
}

impl Activity {
    fn since(&self, before: &Self) -> Self {
        Self {
            syscalls: self.syscalls.saturating_sub(before.syscalls),
            switches: self.switches.saturating_sub(before.switches),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            samples: self.samples.saturating_sub(before.samples),
            polls: self.polls.saturating_sub(before.polls),
            wakes: self.wakes.saturating_sub(before.wakes),
            at_functions: self.at_functions - before.at_functions,
            on_cpu: Nanos(self.on_cpu.0.saturating_sub(before.on_cpu.0)),
        }
    }

    /// Runs of a program on behalf of the targets.
    fn runs(&self, program: &str) -> u64 {
        match program {
            "sys_enter" | "sys_exit" => self.syscalls,
            "sched_switch" => self.switches.saturating_mul(2),
            "sched_wakeup" | "sched_waking" => self.wakeups,
            "cpu_sample" => self.samples,
            "task_poll" | "task_poll_return" => self.polls,
            "task_wake" => self.wakes,
            _ => 0,
        }
    }
}

/// One program's runs, as measured last.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    /// Nanoseconds a run for a target takes.
    target: f64,
    /// Runs per second for others.
    others: f64,
    /// Nanoseconds a run for others takes.
    other: f64,
}

/// A measurement that goes on.
struct Statistics {
    _asked: OwnedFd,
    since: Nanos,
    before: BTreeMap<&'static str, Runs>,
}

/// A measurement: how long it was, and the runs in it.
struct Taken {
    length: Nanos,
    runs: Vec<(&'static str, Runs)>,
}

/// The meter.
#[derive(Default)]
pub(super) struct Cost {
    statistics: Option<Statistics>,
    /// Runs in the last measurement that is not yet accounted for.
    taken: Option<Taken>,
    measured: BTreeMap<&'static str, Measured>,
    at: Option<Nanos>,
    /// CPUs of this machine.
    cpus: f64,
    activity: Activity,
    ticks: u64,
    time: f64,
    runs: f64,
    target_time: f64,
    /// What the targets paid in the last tick; `None` when that is not known.
    pub(super) spent: Option<Spent>,
}

/// What the targets paid in a tick, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spent {
    /// For probes.
    pub(super) probes: f64,
    /// In all: their CPU time.
    pub(super) cpu: f64,
    /// What everybody else paid for probes.
    pub(super) others: f64,
    /// All CPU time there was.
    pub(super) machine: f64,
    /// What each group of the governor's order cost the targets and everybody else.
    pub(super) parts: [[f64; 2]; governor::ORDER.len()],
}

impl Cost {
    /// Begins to measure.
    pub(super) fn begin(&mut self, kernel: &Kernel, at: Nanos) {
        self.at = Some(at);
        self.cpus = f64::from(sys::online_cpus());
        self.ask(kernel, at);
    }

    fn ask(&mut self, kernel: &Kernel, at: Nanos) {
        if let Some(asked) = kernel.count_runs() {
            self.statistics = Some(Statistics {
                _asked: asked,
                since: at,
                before: kernel.runs().into_iter().collect(),
            });
        }
    }

    /// True while the kernel measures.
    pub(super) fn is_asking(&self) -> bool {
        self.statistics.is_some()
    }

    /// Ends a measurement.
    pub(super) fn listen(&mut self, kernel: &Kernel, at: Nanos) {
        let Some(Statistics { since, before, .. }) = self.statistics.take() else {
            return;
        };
        let runs = kernel
            .runs()
            .into_iter()
            .map(|(name, now)| {
                let before = before.get(name).copied().unwrap_or_default();
                let runs = Runs {
                    count: now.count.saturating_sub(before.count),
                    time: Nanos(now.time.0.saturating_sub(before.time.0)),
                };
                (name, runs)
            })
            .collect();
        self.taken = at.since(since).map(|length| Taken { length, runs });
    }

    /// Adds what the tick that ends at `at` cost, the targets having done `activity` since attach. `None` where the
    /// kernel does not measure.
    pub(super) fn tick(
        &mut self,
        kernel: &Kernel,
        at: Nanos,
        activity: Activity,
    ) -> Option<ProbesSample> {
        let length = at.since(self.at?)?;
        let done = activity.since(&self.activity);
        self.activity = activity;
        self.at = Some(at);
        self.listen(kernel, at);
        if let Some(taken) = self.taken.take() {
            self.measure(&taken, &done, length);
        }
        if self.measured.is_empty() {
            return None;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(EVERY) {
            self.ask(kernel, at);
        }
        let attached = kernel.attached();
        let seconds = length.0 as f64 / 1e9;
        let (mut target, mut all_others) = (0.0, 0.0);
        let mut parts = [[0.0; 2]; governor::ORDER.len()];
        for (name, measured) in &self.measured {
            // What traps the target is accounted as a whole, below.
            if !attached.contains(name) || is_at_function(name) {
                continue;
            }
            let (own, others) = (done.runs(name) as f64, measured.others * seconds);
            self.runs += own + others;
            self.time += own * measured.target + others * measured.other;
            let slow = if *name == "sys_exit" { SLOW_WAY } else { 0.0 };
            let paid = own * (measured.target + WAY + slow);
            let paid_by_others = others * (measured.other + WAY + slow);
            target += paid;
            all_others += paid_by_others;
            let group = PROBES
                .iter()
                .find(|probe| probe.name == *name)
                .map(|probe| probe.group);
            let place = governor::ORDER
                .iter()
                .position(|&known| Some(known) == group);
            if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
                *part = [paid, paid_by_others];
            }
        }
        self.runs += (2 * done.polls + done.wakes) as f64;
        self.time += done.at_functions;
        self.target_time += target + done.at_functions;
        self.spent = Some(Spent {
            probes: target,
            cpu: done.on_cpu.0 as f64,
            others: all_others,
            machine: length.0 as f64 * self.cpus,
            parts,
        });
        Some(ProbesSample {
            at,
            time: Nanos(self.time as u64),
            runs: self.runs as u64,
            target_time: Nanos(self.target_time as u64),
            ..ProbesSample::default()
        })
    }

    /// Takes what runs cost from a measurement within a tick of this length, in which the targets did `done`.
    fn measure(&mut self, taken: &Taken, done: &Activity, tick: Nanos) {
        // The targets' runs are known of the whole tick only.
        let part = taken.length.0 as f64 / tick.0.max(1) as f64;
        let seconds = taken.length.0 as f64 / 1e9;
        for &(name, runs) in &taken.runs {
            let (count, time) = (runs.count as f64, runs.time.0 as f64);
            if count == 0.0 || seconds == 0.0 {
                self.measured.entry(name).or_default();
                continue;
            }
            let of_targets = (done.runs(name) as f64 * part).min(count);
            let of_others = count - of_targets;
            let other = (time / count).min(OTHERS);
            let usual = USUAL
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(time / count, |&(_, usual)| usual);
            let target = if of_targets > of_others {
                ((time - of_others * other) / of_targets).max(time / count)
            } else if of_targets > 0.0 {
                let left = (time - of_others * other) / of_targets;
                left.clamp(usual, TIMES_THE_USUAL * usual)
            } else {
                usual
            };
            let measured = Measured {
                target,
                others: of_others / seconds,
                other,
            };
            self.measured.insert(name, measured);
        }
    }
}

/// True for a program at a function of the target.
fn is_at_function(program: &str) -> bool {
    let probe = PROBES.iter().find(|probe| probe.name == program);
    probe.is_some_and(|probe| matches!(probe.attach, Attach::Functions { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_pay_for_their_own_runs_and_others_for_theirs() {
        let mut cost = Cost::default();
        let runs = Runs {
            count: 1_000,
            time: Nanos(100 * 245 + 900 * 45),
        };
        let done = Activity {
            syscalls: 200,
            ..Activity::default()
        };
        let taken = Taken {
            length: Nanos(500_000_000),
            runs: vec![("sys_exit", runs)],
        };
        cost.measure(&taken, &done, Nanos(1_000_000_000));
        let measured = cost.measured["sys_exit"];
        assert!((measured.target - 245.0).abs() < 1e-6);
        assert!((measured.others - 1_800.0).abs() < 1e-6 && (measured.other - 45.0).abs() < 1e-6);
    }
}
