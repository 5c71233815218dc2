//! Memory, pressure, levels and what the probes cost.

use tracer_common::{
    Nanos, Pid, State, ThreadTimes, Tid,
    table::{MemoryCall, MemoryCalls, MemoryKey, MemoryRow},
};

use super::{fold, last, probe, row, story, tick};
use crate::{
    model::{LevelView, Snapshot},
    record::{
        HoldingSample, LimitsMeta, Meta, PressureSample, ProbeStatus, ProbesSample, ProcessSample,
        Record, Sample, ThreadSample,
    },
};

const SECOND: u64 = 1_000_000_000;

fn rss(pid: u32, bytes: u64) -> Record {
    Record::Sample(Sample::Process(ProcessSample {
        pid: Pid(pid),
        rss_bytes: bytes,
        ..ProcessSample::default()
    }))
}

fn holding(pid: u32, sockets: Option<u64>, pss_bytes: Option<u64>) -> Record {
    Record::Sample(Sample::Holding(HoldingSample {
        pid: Pid(pid),
        sockets,
        pss_bytes,
        ..HoldingSample::default()
    }))
}

fn close(got: Option<f64>, want: f64) -> bool {
    got.is_some_and(|got| (got - want).abs() <= 1e-9 * want.abs().max(1.0))
}

/// What `bytes` gives for each second is what was read at its end.
fn slope(seconds: u64, bytes: impl Fn(u64) -> u64) -> Option<f64> {
    let mut all = story("0ms process p1 node");
    for second in 1..=seconds {
        all.extend([rss(1, bytes(second)), tick(second)]);
    }
    fold(all).memory.rss_slope
}

#[test]
fn memory_that_grows_in_a_line_has_the_slope_of_the_line() {
    let megabyte = 1_000_000;
    assert!(close(slope(10, |s| 50_000_000 + s * megabyte), 1e6));
    assert!(close(slope(10, |s| 50_000_000 - s * megabyte), -1e6));
    assert!(close(slope(10, |_| 50_000_000), 0.0));
    // A saw as high as two seconds of growth changes little: ends do not decide alone.
    let got = slope(60, |s| 50_000_000 + s * megabyte + (s % 2) * 2 * megabyte);
    assert!(
        got.is_some_and(|got| (got / 1e6 - 1.0).abs() < 0.01),
        "{got:?}"
    );
}

#[test]
fn a_slope_is_of_the_last_minute_and_needs_five_windows() {
    assert_eq!(slope(4, |s| 1_000 + s), None);
    assert!(slope(5, |s| 1_000 + s).is_some());
    let grew_before = slope(120, |s| 1_000_000 + s.min(59) * 1_000);
    assert!(close(grew_before, 0.0), "{grew_before:?}");
}

#[test]
fn what_processes_hold_is_summed_up_and_an_unread_value_keeps_the_last_one() {
    let mut all = story("0ms process p1 node | 0ms process p2 child");
    all.extend([
        holding(1, None, Some(700)),
        holding(2, None, Some(50)),
        holding(1, Some(3), None),
        tick(1),
    ]);
    let got = fold(all.clone());
    assert_eq!(
        (got.memory.pss_bytes, got.memory.swap_bytes),
        (Some(750), None)
    );
    all.extend(story("1s exit p2 0").into_iter().skip(1));
    all.extend([holding(2, Some(9), Some(9)), tick(2)]);
    let got = fold(all);
    assert_eq!(got.memory.pss_bytes, Some(700));
    assert_eq!(got.quality.inconsistent, 1, "it is gone");
}

#[test]
fn the_mean_of_a_level_is_weighted_by_time() {
    let at = |ms: u64| Record::Tick(Nanos(ms * 1_000_000));
    let mut all = story("0ms process p1 node");
    all.extend([at(1_000)]);
    assert_eq!(fold(all.clone()).in_flight, [], "not known yet");
    all.extend([
        holding(1, Some(10), None),
        at(2_000),
        holding(1, Some(40), None),
        at(2_500),
        holding(1, Some(4), None),
        at(4_000),
    ]);
    let want = LevelView {
        what: "sockets",
        kind: None,
        now: 4,
        mean: (10.0 * 1.0 + 40.0 * 0.5 + 4.0 * 1.5) / 3.0,
        max: 40,
    };
    assert_eq!(fold(all).in_flight, [want]);
}

#[test]
fn nothing_is_in_flight_when_nobody_is_left() {
    let mut all = story("0ms process p1 node");
    all.extend([holding(1, Some(10), None), tick(1)]);
    all.extend(story("1s exit p1 0").into_iter().skip(1));
    all.push(tick(2));
    let level = &fold(all).in_flight[0];
    assert_eq!((level.now, level.mean, level.max), (0, 5.0, 10));
}

fn pressure(at: u64, some: Option<u64>, full: Option<u64>, cgroup: [Option<u64>; 2]) -> Record {
    Record::Sample(Sample::Pressure(PressureSample {
        at: Nanos(at * SECOND),
        memory_some: some.map(Nanos),
        memory_full: full.map(Nanos),
        cgroup_memory_some: cgroup[0].map(Nanos),
        cgroup_memory_full: cgroup[1].map(Nanos),
        throttled: some.map(|some| Nanos(some / 2)),
    }))
}

#[test]
fn pressure_is_the_share_of_the_time_since_attach_and_not_since_boot() {
    let boot = 700 * SECOND;
    let got = fold([
        pressure(100, Some(boot), None, [Some(5), Some(5)]),
        pressure(
            104,
            Some(boot + SECOND),
            None,
            [Some(5 + 2 * SECOND), Some(5)],
        ),
    ]);
    assert_eq!(got.memory.pressure_some, Some(0.25));
    assert_eq!(got.memory.pressure_full, None, "the kernel does not say");
    assert_eq!(got.memory.cgroup_pressure, Some((0.5, 0.0)));
    assert_eq!(got.cpu.throttled, Some(Nanos(SECOND / 2)));
}

#[test]
fn one_reading_is_no_share_and_nonsense_is_not_known() {
    let got = fold([pressure(100, Some(9), Some(9), [None; 2])]);
    assert_eq!(got.memory.pressure_some, Some(0.0));
    let got = fold([
        pressure(100, Some(9), Some(9), [None; 2]),
        pressure(101, Some(8), Some(9 + 3 * SECOND), [None; 2]),
    ]);
    assert_eq!(got.memory.pressure_some, None, "it ran backwards");
    assert_eq!(
        got.memory.pressure_full,
        Some(1.0),
        "no more than all the time"
    );
}

#[test]
fn memory_calls_are_summed_up_over_processes() {
    let key = |pid, what| MemoryKey {
        pid: Pid(pid),
        what,
    };
    let counted = |calls, bytes| MemoryRow { calls, bytes };
    let mut all = vec![
        row::<MemoryCalls>(&key(1, MemoryCall::MAP), &counted(2, 4_096)),
        last::<MemoryCalls>(&key(2, MemoryCall::MAP), &counted(1, 100)),
        row::<MemoryCalls>(&key(2, MemoryCall::MAP), &counted(1, 4)),
        row::<MemoryCalls>(&key(1, MemoryCall::BRK_GROW), &counted(1, 8_192)),
        tick(1),
    ];
    let memory = |all: &[Record]| fold(all.to_vec()).memory;
    assert_eq!(memory(&all).calls, None, "not counted");
    assert_eq!(memory(&all).bytes(MemoryCall::MAP), None);
    all.push(probe("memory_calls", ProbeStatus::Attached));
    let got = memory(&all);
    assert_eq!(got.bytes(MemoryCall::MAP), Some(4_200));
    assert_eq!(got.bytes(MemoryCall::UNMAP), Some(0), "counted, and none");
    let calls: Vec<u64> = got.calls.unwrap().iter().map(|call| call.calls).collect();
    assert_eq!(calls, [4, 1]);
}

#[test]
fn memory_calls_of_more_processes_than_are_kept_are_in_the_sum() {
    let of = |pid| {
        let key = MemoryKey {
            pid: Pid(pid),
            what: MemoryCall::MAP,
        };
        last::<MemoryCalls>(
            &key,
            &MemoryRow {
                calls: 1,
                bytes: 10,
            },
        )
    };
    let mut all = vec![probe("memory_calls", ProbeStatus::Attached)];
    all.extend((1..=40_000).map(of));
    all.push(tick(1));
    let got = fold(all);
    assert_eq!(got.memory.bytes(MemoryCall::MAP), Some(400_000));
    assert_eq!(got.quality.inconsistent, 0);
}

#[test]
fn the_time_in_page_faults_is_of_all_threads_those_that_ended_included() {
    let got = fold(story(
        "0ms process p1 node | 0ms spawn t1 a in p1 | 0ms spawn t2 b in p1 | 0ms run t1 | 0ms run t2
         10ms wait t1 fault | 20ms wait t2 fault | 40ms end t2 | 100ms tick",
    ));
    assert_eq!(got.memory.fault_time, Nanos(110_000_000));
}

#[test]
fn limits_are_the_widest_affinity_and_the_tightest_quota() {
    let limits = |pid, cpus, quota_millicpus, io_uring| {
        Record::Meta(Meta::Limits(LimitsMeta {
            pid: Pid(pid),
            cpus,
            quota_millicpus,
            io_uring,
        }))
    };
    assert_eq!(fold([]).cpu.allowed, None);
    let got = fold([limits(1, 2, 0, 0)]).cpu;
    assert_eq!(
        (got.allowed, got.quota_millicpus, got.io_uring),
        (Some(2), None, false)
    );
    let got = fold([
        limits(1, 2, 0, 0),
        limits(2, 8, 1_500, 1),
        limits(3, 4, 500, 0),
    ])
    .cpu;
    assert_eq!(
        (got.allowed, got.quota_millicpus, got.io_uring),
        (Some(8), Some(500), true)
    );
}

#[test]
fn what_the_probes_cost_is_a_share_of_the_targets_cpu_time() {
    let used = |seconds: u64, on_cpu: u64| {
        let mut times = ThreadTimes::default();
        times.in_state[State::ON_CPU.0 as usize] = on_cpu;
        Record::Sample(Sample::Thread(ThreadSample {
            at: Nanos(seconds * SECOND),
            pid: Pid(1),
            tid: Tid(1),
            times,
            ..ThreadSample::default()
        }))
    };
    let cost = |target_time: u64| {
        Record::Sample(Sample::Probes(ProbesSample {
            at: Nanos(SECOND),
            time: Nanos(target_time * 3),
            runs: 7,
            target_time: Nanos(target_time),
            ..ProbesSample::default()
        }))
    };
    let ratios = |got: Snapshot| (got.quality.target_cpu_ratio, got.quality.recent_cpu_ratio);
    let mut all = vec![used(1, 400), tick(1)];
    assert_eq!(ratios(fold(all.clone())), (None, None), "not measured");
    all.extend([cost(20), used(2, 800), tick(2)]);
    all.extend([cost(30), used(3, 1_000), tick(3)]);
    let got = fold(all);
    assert_eq!(
        (got.quality.probe_time, got.quality.probe_runs),
        (Some(Nanos(90)), Some(7))
    );
    assert_eq!(ratios(got), (Some(0.03), Some(0.05)));
}
