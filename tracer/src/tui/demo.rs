//! Hand-made sessions for tests of the screen: a Node service with its loop, its thread pool and V8's helpers, and a
//! tokio service.

mod findings;
mod loops;
mod node;
mod resources;
mod tasks;

use tracer_common::{LossReason, Nanos, Pid, State, SyscallNr, ThreadTimes, Tid};

use crate::{
    model::{
        Distribution, Life, LoopsView, ProcessView, Quality, Snapshot, SyscallView, ThreadView,
        WindowPoint,
    },
    record::{ProbeMeta, ProbeStatus, SessionMeta},
};

const SECOND: u64 = 1_000_000_000;
/// How long the session has run.
const RAN: u64 = 192;

/// The same with its event loops.
pub(super) fn looping() -> Snapshot {
    let mut snapshot = healthy();
    snapshot.loops = loops::loops(snapshot.now);
    snapshot
        .quality
        .probes
        .push(probe("event_loops", ProbeStatus::Attached, ""));
    snapshot
}

/// The same with all that is known of Node.
pub(super) fn node() -> Snapshot {
    let mut snapshot = looping();
    node::add(&mut snapshot);
    snapshot.findings = findings::some(snapshot.now);
    snapshot
}

/// All is well.
pub(super) fn healthy() -> Snapshot {
    let busy = [
        (State::ON_CPU, 310),
        (State::RUNNABLE, 50),
        (State::PREEMPTED, 20),
        (State::EPOLL, 620),
    ];
    let pool = [
        [
            (State::ON_CPU, 842),
            (State::RUNNABLE, 71),
            (State::FUTEX, 87),
        ],
        [
            (State::ON_CPU, 838),
            (State::RUNNABLE, 75),
            (State::FUTEX, 87),
        ],
        [
            (State::ON_CPU, 401),
            (State::DISK, 310),
            (State::FUTEX, 289),
        ],
        [
            (State::ON_CPU, 4),
            (State::RUNNABLE, 0),
            (State::FUTEX, 996),
        ],
    ];
    let mut threads = vec![thread(4182, "node", State::EPOLL, &busy)];
    threads[0].waiting_on = 13;
    for (tid, parts) in (4188..).zip(&pool) {
        threads.push(thread(tid, "libuv-worker", State::ON_CPU, parts));
    }
    if let Some(idle) = threads.last_mut() {
        (idle.state, idle.waiting_on) = (State::FUTEX, 0x7f3c_8c00_12a8);
    }
    for tid in 4183..4187 {
        let mut parked = thread(
            tid,
            "node",
            State::FUTEX,
            &[(State::ON_CPU, 2), (State::FUTEX, 998)],
        );
        parked.waiting_on = 0x5581_02c4_9e10;
        threads.push(parked);
    }
    threads.push(thread(
        4187,
        "SignalInspector",
        State::UNKNOWN,
        &[(State::UNKNOWN, 1000)],
    ));
    threads.sort_by_key(|thread| (thread.pid, thread.tid));
    let mut gone = thread(
        4203,
        "node",
        State::DEAD,
        &[(State::ON_CPU, 120), (State::FUTEX, 880)],
    );
    gone.life = Life::Ended;
    gone.recent = ThreadTimes::default();
    threads.push(gone);
    let mut folded = thread(
        0,
        "resize",
        State::DEAD,
        &[(State::ON_CPU, 700), (State::RUNNABLE, 300)],
    );
    folded.life = Life::Folded(37);
    (folded.pid, folded.tid) = (None, None);
    folded.recent = ThreadTimes::default();
    threads.push(folded);

    Snapshot {
        session: SessionMeta {
            tool_version: "0.1.0".to_owned(),
            profile: "default".to_owned(),
            kernel: "6.12.0".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 4,
            started: Nanos(1_000 * SECOND),
            started_unix_ns: 0,
            interval: Nanos(SECOND),
        },
        now: Nanos((1_000 + RAN) * SECOND),
        window: Nanos(SECOND),
        findings: findings::none(),
        ticks: RAN,
        processes: vec![ProcessView {
            pid: Pid(4182),
            parent: Pid(1),
            since: Nanos(1_000 * SECOND),
            comm: "node".to_owned(),
            exe: "/usr/bin/node".to_owned(),
            cmdline: "/usr/bin/node /srv/api/server.js --port 8080".to_owned(),
            rss_bytes: Some(212 << 20),
            threads: 10,
            exit: None,
        }],
        processes_folded: 0,
        threads,
        syscalls: syscalls(),
        locks: resources::locks(),
        long_waits: resources::long_waits(),
        files: resources::files(),
        files_unlisted: 12,
        polls: resources::polls(),
        memory: resources::memory(),
        cpu: resources::cpu(),
        tasks: tasks::none(),
        loops: LoopsView::default(),
        in_flight: resources::in_flight(),
        resources_unknown: None,
        quality: Quality {
            events: 1_190_400,
            recent_events: 6_213,
            lost: vec![],
            probes: vec![
                probe("sched_switch", ProbeStatus::Attached, ""),
                probe("futex_waits", ProbeStatus::Attached, ""),
                probe("sched_waking", ProbeStatus::Attached, ""),
                probe("wait_stacks", ProbeStatus::Attached, ""),
                probe("cpu_sample", ProbeStatus::Attached, ""),
                probe("sys_exit", ProbeStatus::Attached, ""),
                probe("file_calls", ProbeStatus::Attached, ""),
                probe("memory_calls", ProbeStatus::Attached, ""),
                probe(
                    "task_poll",
                    ProbeStatus::Off,
                    "no tokio task types were found",
                ),
                probe(
                    "task_wake",
                    ProbeStatus::Off,
                    "no tokio task types were found",
                ),
            ],
            inconsistent: 0,
            agent_cpu: Nanos(2 * SECOND),
            agent_recent_cpu: Nanos(4_200_000),
            agent_rss_bytes: Some(12 << 20),
            probe_time: Some(Nanos(3_100_000_000)),
            probe_runs: Some(4_120_000),
            target_cpu_ratio: Some(0.012),
            recent_cpu_ratio: Some(0.014),
            target_probe_time: [Nanos(2_970_000_000), Nanos(18_000_000)],
            stacks: 24_800,
            shallow_stacks: 410,
        },
        history: history(),
        ..Snapshot::default()
    }
}

/// A tokio service in which logins hold up everybody else.
pub(super) fn tokio() -> Snapshot {
    let mut snapshot = healthy();
    for process in &mut snapshot.processes {
        process.comm = "orders".to_owned();
        process.exe = "/srv/orders".to_owned();
        process.cmdline = "/srv/orders --port 8080".to_owned();
    }
    for known in &mut snapshot.quality.probes {
        if known.status == ProbeStatus::Off {
            (known.status, known.why) = (ProbeStatus::Attached, String::new());
        }
    }
    let parts = |cpu, runnable, futex| {
        [
            (State::ON_CPU, cpu),
            (State::RUNNABLE, runnable),
            (State::FUTEX, futex),
            (State::EPOLL, 1_000 - cpu - runnable - futex),
        ]
    };
    let worker =
        |tid, parts: [(State, u64); 4]| thread(tid, "tokio-runtime-w", State::FUTEX, &parts);
    snapshot.threads = vec![
        thread(4182, "orders", State::FUTEX, &[(State::FUTEX, 1_000)]),
        worker(4183, parts(214, 31, 481)),
        worker(4184, parts(418, 36, 390)),
        worker(4185, parts(171, 22, 620)),
        worker(4186, parts(80, 9, 200)),
        worker(4190, parts(231, 40, 729)),
        worker(4191, parts(190, 38, 772)),
    ];
    snapshot.tasks = tasks::tasks();
    snapshot.in_flight.extend(tasks::in_flight());
    snapshot
}

/// Data was lost, a probe was refused, another process came.
pub(super) fn troubled() -> Snapshot {
    let mut snapshot = healthy();
    snapshot.quality.lost = vec![(LossReason::RING_FULL, 12_400), (LossReason::TORN_READ, 3)];
    snapshot.quality.inconsistent = 2;
    for known in &mut snapshot.quality.probes {
        match known.name.as_str() {
            "wait_stacks" => {
                known.status = ProbeStatus::Refused;
                known.why = "the kernel has no room for stacks".to_owned();
            }
            "file_calls" => {
                known.status = ProbeStatus::Degraded;
                known.why = "off 41 % of the time since it was first switched off, to keep --max-overhead 1%: \
                             what it counts is of the rest"
                    .to_owned();
            }
            _ => {}
        }
    }
    for lock in &mut snapshot.locks {
        lock.stack.clear();
        lock.waker_stack.clear();
    }
    for wait in &mut snapshot.long_waits {
        wait.stack.clear();
    }
    snapshot.quality.recent_cpu_ratio = Some(0.031);
    snapshot.memory.rss_slope = Some(-1_200_000.0);
    snapshot.cpu.io_uring = true;
    // The quota is used up: most of the pool's waiting is for it.
    for thread in &mut snapshot.threads {
        let runnable = usize::from(State::RUNNABLE.0);
        let throttled = usize::from(State::THROTTLED.0);
        for times in [&mut thread.times, &mut thread.recent] {
            let moved = times.in_state[runnable] / 5 * 4;
            times.in_state[runnable] -= moved;
            times.in_state[throttled] += moved;
        }
    }
    let child = ProcessView {
        pid: Pid(4310),
        parent: Pid(4182),
        since: Nanos(1_100 * SECOND),
        comm: "sh".to_owned(),
        exe: "/bin/dash".to_owned(),
        cmdline: "sh -c 'convert in.png'".to_owned(),
        rss_bytes: Some(1 << 20),
        threads: 1,
        exit: None,
    };
    snapshot.processes.push(child);
    let mut shell = thread(4310, "sh\u{1b}[31m", State::OTHER, &[(State::OTHER, 1000)]);
    shell.pid = Some(Pid(4310));
    snapshot.threads.insert(10, shell);
    snapshot
}

/// The target has ended.
pub(super) fn exited() -> Snapshot {
    let mut snapshot = healthy();
    for process in &mut snapshot.processes {
        process.exit = Some(3 << 8);
    }
    for thread in &mut snapshot.threads {
        if thread.life == Life::Alive {
            (thread.life, thread.state, thread.recent) =
                (Life::Ended, State::DEAD, ThreadTimes::default());
        }
    }
    snapshot
}

/// A thread whose time in a window of a second divides like this, in thousandths.
fn thread(tid: u32, name: &str, state: State, parts: &[(State, u64)]) -> ThreadView {
    let mut recent = ThreadTimes {
        voluntary: 412,
        involuntary: 7,
        migrations: 2,
        ..ThreadTimes::default()
    };
    for &(state, part) in parts {
        recent.in_state[usize::from(state.0)] = part * SECOND / 1000;
    }
    let mut times = recent;
    for time in &mut times.in_state {
        *time *= RAN;
    }
    (times.voluntary, times.involuntary, times.migrations) = (79_104, 1_344, 388);
    ThreadView {
        pid: Some(Pid(4182)),
        tid: Some(Tid(tid)),
        name: name.to_owned(),
        life: Life::Alive,
        state,
        ready_max: Nanos(u64::from(tid % 7) * 3_100_000),
        wall: Nanos(RAN * SECOND),
        times,
        recent,
        ..ThreadView::default()
    }
}

fn syscalls() -> Vec<SyscallView> {
    const US: u64 = 1_000;
    const MS: u64 = 1_000_000;
    [
        (
            "futex",
            202,
            901,
            12,
            4_200 * MS,
            [310 * US, 92 * MS, 2_100 * MS],
        ),
        (
            "epoll_wait",
            232,
            431,
            0,
            620 * MS,
            [1_100 * US, 12 * MS, 998 * MS],
        ),
        (
            "pread64",
            17,
            610,
            0,
            311 * MS,
            [480 * US, 2_300 * US, 41 * MS],
        ),
        (
            "write",
            1,
            1_220,
            3,
            18 * MS,
            [12 * US, 48 * US, 2_900 * US],
        ),
        ("read", 0, 1_641, 410, 9 * MS, [4_100, 21 * US, 880 * US]),
        (
            "madvise",
            28,
            40,
            0,
            4 * MS,
            [81 * US, 310 * US, 1_900 * US],
        ),
        ("mmap", 9, 12, 0, 700 * US, [41 * US, 130 * US, 400 * US]),
        ("fstat", 5, 610, 0, 500 * US, [710, 1_900, 41 * US]),
        ("openat", 257, 0, 1, 0, [9 * US, 18 * US, 60 * US]),
        ("getpid", 39, 0, 0, 0, [120, 180, 400]),
    ]
    .map(
        |(name, nr, count, errors, ns, [p50, p99, max])| SyscallView {
            nr: SyscallNr(nr),
            name: name.to_owned(),
            count: (count * RAN).max(3),
            errors: (errors * RAN).min(count * RAN),
            time: Distribution {
                count: (count * RAN).max(3),
                sum: Nanos((ns * RAN).max(3 * p50)),
                p50: Nanos(p50),
                p99: Nanos(p99),
                max: Nanos(max),
            },
            inside: Nanos((ns * RAN).max(3 * p50)),
            errnos: errnos(name, (errors * RAN).min(count * RAN)),
            recent_count: count,
            recent_time: Nanos(ns),
        },
    )
    .to_vec()
}

fn errnos(name: &str, errors: u64) -> Vec<(u32, u64)> {
    let numbers: &[u32] = match name {
        "futex" => &[11, 110],
        "read" | "write" => &[11, 104, 32],
        _ => &[2],
    };
    let mut left = errors;
    let mut errnos = Vec::new();
    for &number in numbers {
        let count = if Some(&number) == numbers.last() {
            left
        } else {
            left - left / 5
        };
        left -= count;
        if count > 0 {
            errnos.push((number, count));
        }
    }
    errnos
}

/// Three minutes: work comes in waves, memory grows.
fn history() -> Vec<WindowPoint> {
    let point = |at: u64| {
        let wave = (at % 24).min(24 - at % 24);
        WindowPoint {
            at: Nanos((1_001 + at) * SECOND),
            length: Nanos(SECOND),
            on_cpu: Nanos((1_187 + 105 * wave) * SECOND / 1000),
            runnable: Nanos((8 + 24 * wave) * SECOND / 1000),
            switches: 3_100 + 140 * wave,
            syscalls: 4_910 + 260 * wave,
            rss_bytes: (160 << 20) + at * (52 << 20) / (RAN - 1),
        }
    };
    (0..RAN).map(point).collect()
}

fn probe(name: &str, status: ProbeStatus, why: &str) -> ProbeMeta {
    ProbeMeta {
        name: name.to_owned(),
        group: "sched".to_owned(),
        status,
        why: why.to_owned(),
    }
}
