//! What is found with call stacks: long waits, samples of running threads, memory asked for.

use tracer_common::{
    Event, Nanos, Pid, StackId, State, Tid,
    event::{CpuSample, Exec, LongWait, Mapped, ProcessExit, Unmapped},
    table::{LockKey, LockRow, Locks, MemoryCall},
};

use super::{event, fold, row, story, tick};
use crate::{
    model::{MemoryStackView, StackView},
    record::{FrameMeta, Meta, Record, StackMeta, SymbolMeta},
};

/// A stack of process `pid` (0: of the kernel) of these addresses.
fn stack(id: u32, pid: u32, frames: &[u64]) -> Record {
    Record::Meta(Meta::Stack(StackMeta {
        id: StackId(id),
        pid: Pid(pid),
        frames: frames.to_vec(),
    }))
}

fn symbol(pid: u32, address: u64, function: &str) -> Record {
    Record::Meta(Meta::Symbol(SymbolMeta {
        pid: Pid(pid),
        address,
        frames: vec![FrameMeta {
            function: function.into(),
            ..FrameMeta::default()
        }],
        ..SymbolMeta::default()
    }))
}

/// Thread `tid` of process 1 waited until `end` for `ms`.
fn wait(tid: u32, state: State, end: u64, ms: u64, stacks: [u32; 2]) -> Record {
    event(
        end,
        1,
        Event::LongWait(LongWait {
            since: Nanos((end - ms) * 1_000_000),
            on: 0x7000,
            tid: Tid(tid),
            pid: Pid(1),
            stack: StackId(stacks[0]),
            waker_stack: StackId(stacks[1]),
            state,
            ..LongWait::default()
        }),
    )
}

fn sampled(stack: u32, kernel_stack: u32) -> Record {
    event(
        1,
        1,
        Event::CpuSample(CpuSample {
            stack: StackId(stack),
            kernel_stack: StackId(kernel_stack),
            period: 10_000_000,
            ..CpuSample::default()
        }),
    )
}

fn mapped(pid: u32, address: u64, bytes: u64, weight: u64, stack: u32) -> Record {
    called(MemoryCall::MAP, pid, address, bytes, weight, stack)
}

fn called(what: MemoryCall, pid: u32, address: u64, bytes: u64, weight: u64, stack: u32) -> Record {
    event(
        1,
        pid,
        Event::Mapped(Mapped {
            address,
            bytes,
            weight,
            stack: StackId(stack),
            what: what.number,
        }),
    )
}

fn unmapped(pid: u32, address: u64, bytes: u64) -> Record {
    event(1, pid, Event::Unmapped(Unmapped { address, bytes }))
}

fn functions(stack: &StackView) -> Vec<String> {
    stack
        .iter()
        .map(|symbol| match symbol.frames.first() {
            Some(frame) => frame.function.clone(),
            None => format!("{:#x}", symbol.address),
        })
        .collect()
}

#[test]
fn long_waits_are_summed_up_by_state_and_stack() {
    let mut all = story("0ms process p1 app | 0ms thread t11 worker in p1");
    all.extend([
        stack(1, 1, &[10, 20, 30]),
        stack(2, 1, &[40, 20, 30]),
        symbol(1, 10, "lock"),
        symbol(2, 20, "of another process"),
        symbol(1, 40, "unlock"),
        wait(11, State::FUTEX, 500, 40, [1, 2]),
        wait(12, State::FUTEX, 600, 50, [1, 0]),
        wait(11, State::FUTEX, 700, 20, [1, 2]),
        wait(11, State::EPOLL, 800, 100, [1, 0]),
        wait(11, State::DISK, 900, 30, [0, 0]),
        tick(1),
    ]);
    let got = fold(all);
    let said: Vec<_> = got
        .long_waits
        .iter()
        .map(|wait| {
            (
                wait.state,
                wait.count,
                wait.sum.0 / 1_000_000,
                wait.max.0 / 1_000_000,
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (State::FUTEX, 3, 110, 50),
            (State::EPOLL, 1, 100, 100),
            (State::DISK, 1, 30, 30)
        ]
    );
    let futex = &got.long_waits[0];
    assert_eq!(functions(&futex.stack), ["lock", "0x14", "0x1e"]);
    assert_eq!(functions(&futex.waker_stack), ["unlock", "0x14", "0x1e"]);
    assert_eq!((futex.tid, futex.thread.as_str()), (Tid(11), "worker"));
    assert!(got.long_waits[2].stack.is_empty());
}

#[test]
fn a_lock_shows_the_stacks_of_its_longest_time() {
    let key = LockKey {
        address: 0x7000,
        pid: Pid(1),
        ..LockKey::default()
    };
    let got = fold([
        stack(1, 1, &[10]),
        stack(2, 1, &[20]),
        stack(3, 1, &[30]),
        row::<Locks>(&key, &LockRow::default()),
        wait(11, State::FUTEX, 500, 30, [1, 3]),
        wait(11, State::FUTEX, 600, 20, [2, 3]),
        wait(11, State::FUTEX, 700, 20, [2, 3]),
        wait(11, State::EPOLL, 800, 99, [1, 3]),
        tick(1),
    ]);
    assert_eq!(functions(&got.locks[0].stack), ["0x14"]);
    assert_eq!(functions(&got.locks[0].waker_stack), ["0x1e"]);
}

#[test]
fn samples_of_running_threads_are_counted_by_stack() {
    let got = fold([
        stack(1, 1, &[10, 11, 12]),
        stack(2, 1, &[20]),
        stack(3, 0, &[90, 91]),
        symbol(0, 90, "clear_page"),
        symbol(0, 91, "asm_exc_page_fault"),
        sampled(1, 0),
        sampled(1, 0),
        sampled(1, 3),
        sampled(2, 0),
        sampled(0, 0),
        tick(1),
    ]);
    let cpu = &got.cpu;
    assert_eq!((cpu.samples, cpu.period), (5, Nanos(10_000_000)));
    let said: Vec<_> = cpu
        .by_stack
        .iter()
        .map(|found| (found.stack.len(), found.kernel_stack.len(), found.samples))
        .collect();
    assert_eq!(said, [(3, 0, 2), (0, 0, 1), (3, 2, 1), (1, 0, 1)]);
    assert_eq!(got.memory.fault_cpu, Some(Nanos(10_000_000)));
    assert_eq!(
        (got.quality.stacks, got.quality.shallow_stacks),
        (4, 1),
        "one sample has no stack"
    );
}

#[test]
fn without_samples_the_cpu_time_of_faults_is_not_known() {
    assert_eq!(fold([tick(1)]).memory.fault_cpu, None);
    assert_eq!(fold([sampled(0, 0)]).memory.fault_cpu, Some(Nanos(0)));
}

fn by_stack(records: Vec<Record>) -> Vec<(u64, u64, u64)> {
    let got = fold(records);
    let said = |view: &MemoryStackView| (view.samples, view.bytes, view.still_mapped_bytes);
    got.memory.by_stack.iter().map(said).collect()
}

#[test]
fn memory_is_still_mapped_until_it_is_unmapped() {
    let mut all = vec![
        mapped(1, 0x1000, 100, 4_000, 1),
        mapped(1, 0x2000, 200, 3_000, 1),
        mapped(2, 0x1000, 50, 900, 2),
        called(MemoryCall::BRK_GROW, 1, 0x9000, 70, 10_000, 3),
    ];
    assert_eq!(
        by_stack(all.clone()),
        [(1, 10_000, 0), (2, 7_000, 300), (1, 900, 50)],
        "most bytes first; of brk nobody says when it ends"
    );
    all.extend([
        unmapped(1, 0x1000, 100),
        unmapped(1, 0x1000, 100),
        unmapped(1, 0x5000, 9),
    ]);
    assert_eq!(
        by_stack(all),
        [(1, 10_000, 0), (2, 7_000, 200), (1, 900, 50)]
    );
}

#[test]
fn memory_that_is_mapped_over_is_gone() {
    let all = vec![mapped(1, 0x1000, 100, 100, 1), mapped(1, 0x1000, 30, 30, 2)];
    assert_eq!(by_stack(all), [(1, 100, 0), (1, 30, 30)]);
}

#[test]
fn nothing_is_still_mapped_of_a_process_that_ended_or_runs_another_program() {
    let all = [mapped(1, 0x1000, 100, 100, 1), mapped(2, 0x1000, 50, 50, 2)];
    let ends = event(2, 1, Event::ProcessExit(ProcessExit::default()));
    let runs = event(
        2,
        1,
        Event::Exec(Exec {
            old_tid: Tid(1),
            reserved: 0,
        }),
    );
    for end in [ends, runs] {
        let records = all.iter().cloned().chain([end]).collect();
        assert_eq!(by_stack(records), [(1, 100, 0), (1, 50, 50)]);
    }
}

#[test]
fn an_address_that_is_used_again_and_again_does_not_push_out_the_mapping_that_is_there() {
    let mut all = vec![mapped(1, 0x9000, 7, 7, 2)];
    for _ in 0..20_000 {
        all.extend([mapped(1, 0x1000, 100, 1, 1), unmapped(1, 0x1000, 100)]);
    }
    all.push(unmapped(1, 0x9000, 7));
    assert_eq!(by_stack(all), [(20_000, 20_000, 0), (1, 7, 0)]);
}

#[test]
fn mappings_beyond_those_that_are_waited_for_count_as_still_mapped() {
    let mut all: Vec<Record> = (0..16_385).map(|n| mapped(1, n << 12, 10, 10, 1)).collect();
    all.extend((0..16_385).map(|n| unmapped(1, n << 12, 10)));
    assert_eq!(by_stack(all), [(16_385, 163_850, 10)], "the oldest");
}
