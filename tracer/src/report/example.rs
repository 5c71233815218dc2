//! A snapshot in which everything was measured: what the tests of the reports are about.

mod callback;
mod event_loop;
mod finding;
mod node;
mod tasks;

use std::sync::Arc;

use tracer_common::{
    LossReason, Nanos, Pid, State, SyscallNr, ThreadTimes, Tid,
    table::{LockKind, MemoryCall},
};

use crate::{
    model::{
        CpuStackView, CpuView, Distribution, FileView, JsFunctionView, LevelView, Life, LockView,
        MemoryCallView, MemoryStackView, MemoryView, PartyView, PollView, ProcessView, Quality,
        Snapshot, StackView, SyscallView, ThreadView, WaitView,
    },
    record::{FrameMeta, ProbeMeta, ProbeStatus, SessionMeta, SymbolMeta},
};

const MS: u64 = 1_000_000;

/// Probes the reports ask for.
const PROBES: [(&str, &str); 12] = [
    ("collection_return", "gc"),
    ("work_return", "pool"),
    ("sched_switch", "sched"),
    ("sys_exit", "syscall"),
    ("futex_waits", "lock"),
    ("sched_waking", "lock"),
    ("event_loops", "syscall"),
    ("file_calls", "io"),
    ("memory_calls", "memory"),
    ("cpu_sample", "sample"),
    ("task_poll", "task"),
    ("task_wake", "wake"),
];

/// Innermost first: function, file, line.
pub(super) fn stack(frames: &[(&str, &str, u32)]) -> StackView {
    let symbol = |&(function, file, line): &(&str, &str, u32)| {
        Arc::new(SymbolMeta {
            module: "/srv/app".into(),
            frames: vec![FrameMeta {
                function: function.into(),
                file: file.into(),
                line,
            }],
            ..SymbolMeta::default()
        })
    };
    frames.iter().map(symbol).collect()
}

fn distribution(count: u64, [p50, p99, max]: [u64; 3], sum: u64) -> Distribution {
    Distribution {
        count,
        sum: Nanos(sum),
        p50: Nanos(p50),
        p99: Nanos(p99),
        max: Nanos(max),
    }
}

pub(super) fn probe(name: &str, status: ProbeStatus, why: &str) -> ProbeMeta {
    let group = PROBES.iter().find(|(known, _)| *known == name);
    ProbeMeta {
        name: name.into(),
        group: group.map(|(_, group)| (*group).into()).unwrap_or_default(),
        status,
        why: why.into(),
    }
}

fn party(tid: u32, name: &str, count: u64, waited: u64) -> PartyView {
    PartyView {
        tid: Tid(tid),
        name: name.into(),
        count,
        waited: Nanos(waited),
    }
}

/// Ten seconds of a service with a lock that is fought for.
pub(super) fn snapshot() -> Snapshot {
    let start = Nanos(5_000 * MS);
    Snapshot {
        session: SessionMeta {
            tool_version: "0.1.0".into(),
            profile: "default".into(),
            kernel: "6.12.0".into(),
            arch: "x86_64".into(),
            cpus: 8,
            started: start,
            started_unix_ns: 1_700_000_000_000_000_000,
            interval: Nanos(1_000 * MS),
        },
        now: Nanos(start.0 + 10_000 * MS),
        window: Nanos(1_000 * MS),
        ticks: 10,
        processes: vec![ProcessView {
            pid: Pid(4182),
            parent: Pid(1),
            comm: "app".into(),
            exe: "/srv/app".into(),
            cmdline: "/srv/app --port 80".into(),
            ..ProcessView::default()
        }],
        threads: threads(),
        syscalls: vec![SyscallView {
            nr: SyscallNr(202),
            name: "futex".into(),
            count: 1_236,
            errors: 12,
            errnos: vec![(11, 9), (110, 3)],
            time: distribution(1_230, [4_860, 71_300_000, 991_000_000], 77_000 * MS),
            inside: Nanos(77_000 * MS),
            ..SyscallView::default()
        }],
        locks: locks(),
        locks_unlisted: 3,
        long_waits: long_waits(),
        files: files(),
        files_unlisted: 2,
        polls: vec![PollView {
            pid: Pid(4182),
            fd: 7,
            waits: 7_440,
            empty: 120,
            events: 11_200,
            events_max: 64,
            latency: distribution(7_000, [12_000, 180_000, 5_510_000], 110 * MS),
        }],
        memory: memory(),
        cpu: cpu(),
        tasks: tasks::tasks(),
        loops: event_loop::loops(),
        node: node::node(),
        callbacks: callback::callbacks(),
        in_flight: vec![LevelView {
            what: "sockets",
            kind: None,
            now: 12,
            mean: 14.25,
            max: 40,
        }]
        .into_iter()
        .chain(tasks::in_flight())
        .collect(),
        resources_unknown: None,
        findings: finding::findings(Nanos(start.0 + 10_000 * MS)),
        quality: Quality {
            events: 12_400,
            lost: vec![(LossReason::RING_FULL, 12)],
            inconsistent: 0,
            probes: PROBES
                .iter()
                .map(|(name, _)| probe(name, ProbeStatus::Attached, ""))
                .collect(),
            agent_cpu: Nanos(10 * MS),
            agent_rss_bytes: Some(33_100_000),
            probe_time: Some(Nanos(61 * MS)),
            probe_runs: Some(204_000),
            target_cpu_ratio: Some(0.0124),
            target_probe_time: [Nanos(40 * MS), Nanos(4 * MS)],
            stacks: 2_100,
            shallow_stacks: 40,
            ..Quality::default()
        },
        ..Snapshot::default()
    }
}

fn threads() -> Vec<ThreadView> {
    // Something in every state, those of later versions included.
    let times = ThreadTimes {
        in_state: std::array::from_fn(|state| MS << state),
        voluntary: 400,
        involuntary: 12,
        migrations: 3,
    };
    let mut idle = ThreadTimes::default();
    idle.in_state[State::EPOLL.0 as usize] = 9_000 * MS;
    vec![
        ThreadView {
            pid: Some(Pid(4182)),
            tid: Some(Tid(4183)),
            name: "worker-a".into(),
            wall: times.total(),
            times,
            ready_max: Nanos(7 * MS),
            ..ThreadView::default()
        },
        ThreadView {
            name: "storm".into(),
            life: Life::Folded(9),
            state: State::DEAD,
            wall: idle.total(),
            times: idle,
            ..ThreadView::default()
        },
    ]
}

fn locks() -> Vec<LockView> {
    vec![
        LockView {
            pid: Pid(4182),
            address: 0x7f12_a400_0b60,
            wait: distribution(1_236, [2 * MS, 12 * MS, 41_200_000], 4_210 * MS),
            woken: 1_200,
            again: Some(44),
            timeouts: Some(30),
            interrupted: Some(6),
            wake_calls: Some(1_250),
            wake_results: Some(1_200),
            waiting_now: 2,
            waiters: vec![
                party(4183, "worker-a", 800, 3_000 * MS),
                party(4184, "worker-b", 436, 1_210 * MS),
            ],
            wakers: vec![party(4185, "flusher", 1_200, 4_000 * MS)],
            stack: stack(&[
                ("syscall", "", 0),
                (
                    "std::sys::sync::mutex::futex::Mutex::lock_contended",
                    "/rust/futex.rs",
                    75,
                ),
                ("app::pool::Pool<T>::take", "/srv/src/pool.rs", 88),
            ]),
            waker_stack: stack(&[("app::pool::Pool<T>::give", "/srv/src/pool.rs", 104)]),
            ..LockView::default()
        },
        LockView {
            pid: Pid(4182),
            address: 0x5581,
            kind: LockKind(LockKind::SHARED),
            wait: distribution(2, [MS, MS, MS], 2 * MS),
            again: Some(0),
            timeouts: Some(2),
            interrupted: Some(0),
            wake_calls: Some(0),
            wake_results: Some(0),
            waiters: vec![party(4190, "", 2, 2 * MS)],
            ..LockView::default()
        },
    ]
}

fn long_waits() -> Vec<WaitView> {
    vec![
        WaitView {
            state: State::FUTEX,
            stack: stack(&[
                ("__futex_abstimed_wait_common", "", 0),
                ("tokio::runtime::park::Inner::park", "/tokio/park.rs", 112),
            ]),
            waker_stack: stack(&[("tokio::runtime::park::Inner::unpark", "/tokio/park.rs", 191)]),
            tid: Tid(4183),
            thread: "worker-a".into(),
            count: 31,
            sum: Nanos(2_100 * MS),
            max: Nanos(412 * MS),
        },
        WaitView {
            state: State::DISK,
            tid: Tid(4190),
            count: 1,
            sum: Nanos(30 * MS),
            max: Nanos(30 * MS),
            ..WaitView::default()
        },
    ]
}

fn files() -> Vec<FileView> {
    vec![
        FileView {
            pid: Pid(4182),
            fd: 12,
            kind: "socket".into(),
            name: "127.0.0.1:80 -> 127.0.0.1:51234".into(),
            reads: 2_000,
            read_bytes: 1_200_000,
            writes: 1_990,
            write_bytes: 48_000_000,
            connects: 1,
            errors: 2,
            again: 310,
            closes: 0,
            time: Nanos(95 * MS),
            time_max: Nanos(4 * MS),
            recent_bytes: 4_000_000,
            recent_calls: 400,
        },
        FileView {
            pid: Pid(4182),
            fd: 13,
            reads: 4,
            read_bytes: 400,
            ..FileView::default()
        },
    ]
}

fn memory() -> MemoryView {
    let call = |what, calls, bytes| MemoryCallView { what, calls, bytes };
    MemoryView {
        rss_bytes: Some(91_900_000),
        pss_bytes: Some(88_000_000),
        swap_bytes: Some(0),
        rss_slope: Some(1_260_000.0),
        minor_faults: Some(10_400),
        major_faults: Some(0),
        fault_time: Nanos(12 * MS),
        fault_cpu: Some(Nanos(40 * MS)),
        calls: Some(vec![
            call(MemoryCall::MAP, 212, 40_000_000),
            call(MemoryCall::UNMAP, 100, 12_000_000),
            call(MemoryCall::BRK_GROW, 3, 400_000),
        ]),
        by_stack: vec![MemoryStackView {
            stack: stack(&[
                ("__mmap", "", 0),
                ("app::cache::Cache::grow", "/srv/src/cache.rs", 40),
            ]),
            samples: 19,
            bytes: 39_800_000,
            still_mapped_bytes: 28_000_000,
        }],
        pressure_some: Some(0.004),
        pressure_full: Some(0.0),
        cgroup_pressure: Some((0.01, 0.002)),
    }
}

fn cpu() -> CpuView {
    let poll = (
        "tokio::runtime::task::core::Core<T,S>::poll",
        "/tokio/core.rs",
        412,
    );
    let main = ("app::main", "/srv/src/main.rs", 12);
    let view = |frames: &[(&str, &str, u32)], samples| CpuStackView {
        stack: stack(frames),
        kernel_stack: StackView::new(),
        samples,
    };
    CpuView {
        allowed: Some(4),
        quota_millicpus: Some(2_500),
        throttled: Some(Nanos(20 * MS)),
        samples: 500,
        period: Nanos(10_101_010),
        by_stack: vec![
            view(
                &[("app::hash::digest", "/srv/src/hash.rs", 30), poll, main],
                300,
            ),
            view(&[("app::hash::digest", "/srv/src/hash.rs", 31), main], 50),
            view(&[poll, main], 100),
            view(&[], 30),
        ],
        javascript: vec![
            JsFunctionView {
                function: "renderReport".into(),
                script: "/srv/views/report.js".into(),
                line: 41,
                own: 171,
                total: 180,
            },
            JsFunctionView {
                function: "parserOnHeadersComplete".into(),
                script: "node:_http_common".into(),
                line: 77,
                own: 12,
                total: 200,
            },
        ],
        io_uring: false,
    }
}
