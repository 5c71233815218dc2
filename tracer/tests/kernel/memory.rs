//! Memory asked for and given back, in bytes; pages touched.

use tracer::{bpf, model::Snapshot};
use tracer_common::table::MemoryCall;

use crate::common::{ByHand, Workload, fold, kernel_test, number};

fn bytes(snapshot: &Snapshot, what: MemoryCall) -> u64 {
    snapshot.memory.bytes(what).unwrap()
}

#[test]
fn mapped_and_unmapped_bytes_are_exact() {
    let Some(_kernel) = kernel_test("mapped_and_unmapped_bytes_are_exact") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    let mapped = truth.ask("mmap 20 2097152");
    session.tick();
    let half = fold(&session.records);
    assert_eq!(
        bytes(&half, MemoryCall::MAP),
        number(&mapped, "mapped_bytes")
    );
    assert_eq!(
        bytes(&half, MemoryCall::UNMAP),
        number(&mapped, "unmapped_bytes")
    );
    // Each mapping is larger than what one stack stands for, so each was sent.
    let still: u64 = half
        .memory
        .by_stack
        .iter()
        .map(|row| row.still_mapped_bytes)
        .sum();
    let asked: u64 = half.memory.by_stack.iter().map(|row| row.bytes).sum();
    assert_eq!(still, number(&mapped, "kept_bytes"));
    assert_eq!(asked, number(&mapped, "mapped_bytes"));
    assert!(half.memory.by_stack.iter().all(|row| !row.stack.is_empty()));
    let rest = truth.ask("munmap-rest");
    let all = session.finish();
    assert_eq!(
        bytes(&all, MemoryCall::UNMAP),
        number(&mapped, "unmapped_bytes") + number(&rest, "unmapped_bytes")
    );
    let still: u64 = all
        .memory
        .by_stack
        .iter()
        .map(|row| row.still_mapped_bytes)
        .sum();
    assert_eq!(still, 0);
}

#[test]
fn small_mappings_are_sampled_by_bytes() {
    let Some(_kernel) = kernel_test("small_mappings_are_sampled_by_bytes") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let mapped = truth.ask("mmap 1000 65536");
    let snapshot = session.finish();
    let total = number(&mapped, "mapped_bytes");
    assert_eq!(bytes(&snapshot, MemoryCall::MAP), total);
    let samples: u64 = snapshot.memory.by_stack.iter().map(|row| row.samples).sum();
    let stand_for: u64 = snapshot.memory.by_stack.iter().map(|row| row.bytes).sum();
    assert_eq!(samples, total >> 20, "one stack for a MiB");
    assert!(stand_for <= total && stand_for + (1 << 20) > total);
}

#[test]
fn the_other_ways_are_told_apart() {
    let Some(_kernel) = kernel_test("the_other_ways_are_told_apart") else {
        return;
    };
    let mut truth = Workload::truth();
    let session = ByHand::attach(truth.pid(), bpf::Options::default());
    let brk = truth.ask("brk 1048576");
    let advice = truth.ask("madvise 5 409600");
    let remap = truth.ask("mremap 8 262144");
    let snapshot = session.finish();
    assert_eq!(
        bytes(&snapshot, MemoryCall::BRK_GROW),
        number(&brk, "grown_bytes")
    );
    assert_eq!(
        bytes(&snapshot, MemoryCall::BRK_SHRINK),
        number(&brk, "shrunk_bytes")
    );
    assert_eq!(
        bytes(&snapshot, MemoryCall::GIVE_BACK),
        number(&advice, "advised_bytes")
    );
    assert_eq!(
        bytes(&snapshot, MemoryCall::REMAP_GROW),
        number(&remap, "grown_bytes")
    );
}

#[test]
fn touched_pages_are_faults_and_resident() {
    let Some(_kernel) = kernel_test("touched_pages_are_faults_and_resident") else {
        return;
    };
    let mut truth = Workload::truth();
    let mut session = ByHand::attach(truth.pid(), bpf::Options::default());
    session.tick();
    let before = fold(&session.records);
    let touched = truth.ask("touch 4000");
    let snapshot = session.finish();
    let faults = snapshot.memory.minor_faults.unwrap() - before.memory.minor_faults.unwrap_or(0);
    assert!(
        (4_000..4_080).contains(&faults),
        "{faults} faults for {touched}"
    );
    assert!(snapshot.memory.pss_bytes.unwrap() > 0 && snapshot.memory.swap_bytes == Some(0));
}
