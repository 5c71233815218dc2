//! CPU truth: who ran, who waited for a CPU and why, and where the time went.

use std::{fs, path::PathBuf};

use tracer::{
    bpf::{self, probes::Group},
    symbol::{Lookup, Symbolizer},
};
use tracer_common::{State, Tid};

use crate::{
    common::{ByHand, Workload, agrees_once, assert_close, kernel_test, number},
    thread,
};

fn light() -> bpf::Options {
    bpf::Options {
        groups: Group::LIGHT.to_vec(),
        ..bpf::Options::default()
    }
}

#[test]
fn rivals_on_one_cpu_wait_for_each_other() {
    let Some(_kernel) = kernel_test("rivals_on_one_cpu_wait_for_each_other") else {
        return;
    };
    agrees_once(|| {
        let mut truth = Workload::truth();
        let session = ByHand::attach(truth.pid(), light());
        let answer = truth.ask("contend 1500");
        let snapshot = session.finish();
        for rival in answer["rivals"].as_array().unwrap() {
            let view = thread(&snapshot, number(rival, "tid"));
            let (on_cpu, ready) = (
                view.times.of(State::ON_CPU).0,
                view.times.of(State::RUNNABLE).0 + view.times.of(State::PREEMPTED).0,
            );
            assert_close("on a CPU", on_cpu, number(rival, "cpu_ns"), 0.02);
            // Ours begins with the thread's birth and ends with its end, theirs when it had the CPU to look: on a busy
            // machine a turn of the scheduler or two more.
            let theirs = number(rival, "run_delay_ns");
            assert!(
                ready.abs_diff(theirs) < theirs / 50 + 16_000_000,
                "waiting for one: {ready} against {theirs}"
            );
            let preempted = number(rival, "involuntary_switches");
            assert!(view.times.involuntary.abs_diff(preempted) <= 1);
            assert!(view.ready_max.0 > 0 && view.ready_max.0 <= ready);
        }
    });
}

#[test]
fn samples_say_where_cpu_time_goes() {
    let Some(_kernel) = kernel_test("samples_say_where_cpu_time_goes") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), light());
    let answer = truth.ask("spin-named 1500");
    let snapshot = session.finish();
    let cpu = &snapshot.cpu;
    let spun = snapshot
        .threads
        .iter()
        .map(|thread| thread.times.of(State::ON_CPU).0)
        .sum::<u64>();
    // Alone on its CPU it is hit by every tick of the clock; in turns with others by chance: four standard deviations.
    let expected = spun as f64 / cpu.period.0 as f64;
    let off = (cpu.samples as f64 - expected).abs();
    assert!(
        off <= 4.0 * expected.sqrt() / 2.0 + 2.0,
        "{} samples for {expected}",
        cpu.samples
    );
    let mut symbolizer = Symbolizer::new();
    let named = |stack: &tracer::model::StackView| {
        let leaf = Lookup {
            address: stack.first()?.address,
            is_return: false,
        };
        let symbols = symbolizer.process(truth.pid(), &[leaf]);
        Some(symbols.first()?.frames.last()?.function.clone())
    };
    let leaves: Vec<Option<String>> = cpu
        .by_stack
        .iter()
        .map(|row| &row.stack)
        .map(named)
        .collect();
    let in_spin: u64 = cpu
        .by_stack
        .iter()
        .zip(&leaves)
        .filter(|(_, leaf)| {
            leaf.as_ref().is_some_and(|leaf| {
                leaf.contains("truth_spins_here") || leaf.contains("clock") || leaf.contains("now")
            })
        })
        .map(|(row, _)| row.samples)
        .sum();
    assert!(
        in_spin * 10 >= cpu.samples * 9,
        "{in_spin} of {}: {leaves:?} {answer}",
        cpu.samples
    );
}

/// A cgroup with a CPU quota, of whichever version this machine has; gone when it is dropped.
struct Quota {
    path: PathBuf,
    pid: u32,
}

impl Quota {
    /// A fifth of a CPU for `pid`, or `None` where no such group can be made.
    fn of(pid: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/sys/fs/cgroup/cpu/tracer-test-{pid}"));
        fs::create_dir(&path).ok()?;
        let quota = Self { path, pid };
        fs::write(quota.path.join("cpu.cfs_period_us"), "100000").ok()?;
        fs::write(quota.path.join("cpu.cfs_quota_us"), "20000").ok()?;
        fs::write(quota.path.join("cgroup.procs"), pid.to_string()).ok()?;
        Some(quota)
    }

    fn throttled_ns(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("throttled_time "));
        line.unwrap().parse().unwrap()
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let _ = fs::write("/sys/fs/cgroup/cpu/cgroup.procs", self.pid.to_string());
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn a_used_up_quota_is_told_from_a_busy_cpu() {
    let Some(_kernel) = kernel_test("a_used_up_quota_is_told_from_a_busy_cpu") else {
        return;
    };
    let mut truth = Workload::truth();
    let Some(quota) = Quota::of(truth.pid().0) else {
        println!("no cgroup with a quota can be made here: throttling is not tested");
        return;
    };
    let session = ByHand::attach(truth.pid(), light());
    let before = quota.throttled_ns();
    truth.ask("spin 150");
    let after = quota.throttled_ns();
    let snapshot = session.finish();
    let main = thread(&snapshot, u64::from(truth.pid().0));
    let throttled = main.times.of(State::THROTTLED).0;
    // The kernel counts a pause when it ends, and we until the thread runs again.
    assert_close("throttled", throttled, after - before, 0.1);
    assert!(throttled > 200_000_000, "{throttled}");
    assert_eq!(snapshot.cpu.quota_millicpus, Some(200));
    assert!(
        snapshot
            .cpu
            .throttled
            .is_some_and(|time| time.0 > 200_000_000)
    );
    assert_eq!(main.tid, Some(Tid(truth.pid().0)));
}

#[test]
fn sleeps_are_as_long_as_they_are() {
    let Some(_kernel) = kernel_test("sleeps_are_as_long_as_they_are") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), light());
    let answer = truth.ask("sleeps 50 4");
    let snapshot = session.finish();
    let time = |state: State| -> u64 {
        let threads = snapshot.threads.iter();
        threads.map(|thread| thread.times.of(state).0).sum()
    };
    let slept = time(State::SLEEP);
    // Each sleep takes as long as it was asked for at least, and the program's clock also sees the wait for a CPU after it.
    let waited = time(State::RUNNABLE) + time(State::PREEMPTED);
    let seen = number(&answer, "slept_ns");
    let bounds = seen.saturating_sub(waited) * 98 / 100..=seen;
    assert!(slept >= 200_000_000, "{slept}");
    assert!(bounds.contains(&slept), "{slept} is not in {bounds:?}");
}
