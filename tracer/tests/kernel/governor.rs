//! The cost meter and the governor, on a target that does nothing but system calls.

use tracer::{
    bpf,
    record::{Meta, ProbeStatus, Record, Sample},
    source::live::{Live, Options},
};
use tracer_common::{Nanos, State};

use crate::common::{Workload, fold, kernel_test};

/// Ticks of one command each: about 100 ms.
fn run(max_overhead: Option<f64>, ticks: usize) -> Vec<Record> {
    let mut truth = Workload::truth();
    let mut records = Vec::new();
    let options = Options {
        bpf: bpf::Options::default(),
        follow_children: true,
        interval: Nanos(100_000_000),
        profile: "default".into(),
        max_overhead,
    };
    let mut live = Live::attach(&[truth.pid()], options, &mut records).unwrap();
    for _ in 0..ticks {
        truth.ask("syscalls getppid 150000");
        live.tick(&mut records);
    }
    let _ = live.finish(&mut records);
    records
}

#[test]
fn the_meter_says_that_counting_calls_costs() {
    let Some(_kernel) = kernel_test("the_meter_says_that_counting_calls_costs") else {
        return;
    };
    let snapshot = fold(&run(None, 5));
    // Bare, a getppid takes 170 ns here; counted, two to five times as long. So between a fifth and nine tenths of the
    // time is ours.
    let ratio = snapshot.quality.target_cpu_ratio.unwrap();
    assert!((0.2..0.95).contains(&ratio), "{ratio}");
    assert!(snapshot.quality.probe_runs.unwrap() >= 2 * 5 * 150_000);
    assert!(snapshot.quality.probe_time.unwrap().0 > 0);
}

#[test]
fn the_governor_holds_the_limit_and_says_so() {
    let Some(_kernel) = kernel_test("the_governor_holds_the_limit_and_says_so") else {
        return;
    };
    // A counted tick costs four times what it measures, so one in a dozen is affordable.
    let records = run(Some(0.25), 50);
    let snapshot = fold(&records);
    let degraded: Vec<&str> = snapshot
        .quality
        .probes
        .iter()
        .filter(|probe| probe.status == ProbeStatus::Degraded)
        .map(|probe| probe.name.as_str())
        .collect();
    assert_eq!(
        degraded,
        [
            "sys_enter",
            "sys_exit",
            "call_errors",
            "event_loops",
            "file_calls",
            "memory_calls"
        ],
        "what was switched off shows, with what depends on it"
    );
    let ratio = snapshot.quality.target_cpu_ratio.unwrap();
    assert!(
        ratio < 0.32,
        "{ratio}: the first tick is free, then the limit holds"
    );
    // Off means off: most calls were not counted, and those that were are right.
    let counted = snapshot
        .syscalls
        .iter()
        .find(|call| call.name == "getppid")
        .unwrap();
    assert!(counted.count < 50 * 150_000 / 2, "{}", counted.count);
    assert_eq!(counted.errors, 0);
    assert!(counted.time.max.0 < 1_000_000_000, "no call spans a pause");
    // The scheduler's part never pauses.
    for thread in &snapshot.threads {
        assert_eq!(thread.times.total(), thread.wall);
        assert_eq!(thread.times.of(State::UNKNOWN).0, 0);
    }
    let switched = records
        .iter()
        .filter(
            |record| matches!(record, Record::Meta(Meta::Probe(probe)) if probe.name == "sys_exit"),
        )
        .count();
    assert!(switched > 2, "it is on record each time");
    assert!(
        records
            .iter()
            .any(|record| matches!(record, Record::Sample(Sample::Probes(_))))
    );
}
