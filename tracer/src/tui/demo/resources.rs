//! What the threads of the hand-made session share: futexes, descriptors, memory, CPUs.

use std::sync::Arc;

use tracer_common::{
    Nanos, Pid, State, Tid,
    table::{LockKind, MemoryCall},
};

use super::{RAN, SECOND};
use crate::{
    model::{
        CpuStackView, CpuView, Distribution, FileView, LevelView, LockView, MemoryCallView,
        MemoryStackView, MemoryView, PartyView, PollView, StackView, WaitView,
    },
    record::{FrameMeta, SymbolMeta},
};

pub(super) const PID: Pid = Pid(4182);
pub(super) const US: u64 = 1_000;
pub(super) const MS: u64 = 1_000_000;
const MIB: u64 = 1 << 20;

const NODE: &str = "/usr/bin/node";
const LIBC: &str = "/usr/lib/x86_64-linux-gnu/libc.so.6";
const ADDON: &str = "/srv/api/node_modules/sharp/build/sharp.node";
const KERNEL: &str = "[kernel]";

const START: (&str, &str) = (LIBC, "start_thread");
const WORKER: (&str, &str) = (NODE, "worker");
const WORK: (&str, &str) = (NODE, "uv__work_done");
const ASYNC: (&str, &str) = (NODE, "uv__async_io");
const POLL: (&str, &str) = (NODE, "uv__io_poll");
const RUN: (&str, &str) = (NODE, "uv_run");
const LOOP: (&str, &str) = (NODE, "node::SpinEventLoopInternal(node::Environment*)");

/// Where the pool waits for work.
fn pool_idle() -> StackView {
    stack(&[
        (LIBC, "__futex_abstimed_wait_common"),
        (LIBC, "pthread_cond_wait"),
        (NODE, "uv_cond_wait"),
        WORKER,
        START,
    ])
}

/// Where the pool waits for its turn at the queue.
fn pool_queue() -> StackView {
    stack(&[
        (LIBC, "__lll_lock_wait"),
        (LIBC, "pthread_mutex_lock"),
        (NODE, "uv_mutex_lock"),
        WORKER,
        START,
    ])
}

/// Where the loop hands work to the pool.
fn submit() -> StackView {
    stack(&[
        (LIBC, "pthread_cond_signal"),
        (NODE, "uv_cond_signal"),
        (NODE, "uv__work_submit"),
        (NODE, "node::ThreadPoolWork::ScheduleWork()"),
        (
            NODE,
            "node::crypto::CryptoJob<node::crypto::PBKDF2Traits>::Run(v8::FunctionCallbackInfo<v8::Value> const&)",
        ),
        RUN,
        LOOP,
    ])
}

pub(super) fn locks() -> Vec<LockView> {
    let pool: Vec<_> = (4188..4192).map(|tid| (tid, "libuv-worker")).collect();
    vec![
        LockView {
            waiting_now: 1,
            waiters: parties(&pool, 44_000, 190 * SECOND),
            wakers: parties(&[(4182, "node"), (4188, "libuv-worker")], 61_000, 0),
            stack: pool_idle(),
            waker_stack: submit(),
            ..lock(
                0x7f3c_8c00_12a8,
                0,
                640,
                1_310 * MS,
                [2 * MS, 92 * MS, 2_100 * MS],
            )
        },
        LockView {
            waiting_now: 2,
            waiters: parties(&pool, 17_000, 41 * SECOND),
            wakers: parties(&pool, 13_000, 0),
            stack: pool_queue(),
            waker_stack: stack(&[
                (LIBC, "pthread_mutex_unlock"),
                (NODE, "uv_mutex_unlock"),
                WORKER,
                START,
            ]),
            ..lock(
                0x7f3c_8c00_1280,
                0,
                214,
                290 * MS,
                [830 * US, 9_700 * US, 38 * MS],
            )
        },
        LockView {
            waiting_now: 0,
            waiters: parties(&[(4182, "node")], 1_140, 2 * SECOND),
            wakers: vec![],
            woken: 0,
            ..lock(
                0x7f3c_a410_0f40,
                LockKind::SHARED,
                6,
                12 * MS,
                [1_900 * US, 4 * MS, 5 * MS],
            )
        },
        LockView {
            waiting_now: 4,
            waiters: parties(
                &[
                    (4183, "node"),
                    (4184, "node"),
                    (4185, "node"),
                    (4186, "node"),
                ],
                300,
                180 * SECOND,
            ),
            wakers: parties(&[(4182, "node")], 300, 0),
            ..lock(
                0x5581_02c4_9e10,
                LockKind::PI,
                0,
                0,
                [300 * MS, 980 * MS, 12 * SECOND],
            )
        },
    ]
}

fn lock(address: u64, kind: u32, waits: u64, recent: u64, [p50, p99, max]: [u64; 3]) -> LockView {
    let count = waits * RAN + 300;
    LockView {
        pid: PID,
        address,
        kind: LockKind(kind),
        wait: Distribution {
            count,
            sum: Nanos(recent * RAN + 40 * SECOND),
            p50: Nanos(p50),
            p99: Nanos(p99),
            max: Nanos(max),
        },
        recent_waits: waits,
        recent_time: Nanos(recent),
        woken: count - count / 50,
        again: Some(count / 9),
        timeouts: Some(count / 60),
        interrupted: Some(0),
        wake_calls: Some(count + count / 4),
        wake_results: Some(count - count / 50),
        ..LockView::default()
    }
}

fn parties(threads: &[(u32, &str)], count: u64, waited: u64) -> Vec<PartyView> {
    let party = |(at, &(tid, name)): (usize, &(u32, &str))| PartyView {
        tid: Tid(tid),
        name: name.to_owned(),
        count: count / (at as u64 + 1),
        waited: Nanos(waited / (at as u64 + 1)),
    };
    threads.iter().enumerate().map(party).collect()
}

pub(super) fn long_waits() -> Vec<WaitView> {
    let wait = |state, tid, thread: &str, count, sum: u64, max: u64, stack| WaitView {
        state,
        stack,
        waker_stack: vec![],
        tid: Tid(tid),
        thread: thread.to_owned(),
        count,
        sum: Nanos(sum),
        max: Nanos(max),
    };
    vec![
        wait(
            State::FUTEX,
            4191,
            "libuv-worker",
            1_812,
            191 * SECOND,
            2_100 * MS,
            pool_idle(),
        ),
        wait(
            State::DISK,
            4190,
            "libuv-worker",
            611,
            21 * SECOND,
            41 * MS,
            stack(&[(LIBC, "pread64"), (NODE, "uv__fs_work"), WORKER, START]),
        ),
        wait(
            State::FUTEX,
            4189,
            "libuv-worker",
            402,
            8 * SECOND,
            38 * MS,
            pool_queue(),
        ),
        wait(
            State::THROTTLED,
            4182,
            "node",
            12,
            900 * MS,
            88 * MS,
            vec![],
        ),
    ]
}

pub(super) fn files() -> Vec<FileView> {
    let file = |fd,
                kind: &str,
                name: &str,
                [reads, writes]: [u64; 2],
                [read_size, write_size]: [u64; 2]| FileView {
        pid: PID,
        fd,
        kind: kind.to_owned(),
        name: name.to_owned(),
        reads: reads * RAN,
        read_bytes: reads * read_size * RAN,
        writes: writes * RAN,
        write_bytes: writes * write_size * RAN,
        time: Nanos((reads + writes) * RAN * 14 * US),
        time_max: Nanos(2_900 * US),
        recent_bytes: reads * read_size + writes * write_size,
        recent_calls: reads + writes,
        ..FileView::default()
    };
    vec![
        FileView {
            time: Nanos(60 * SECOND),
            time_max: Nanos(41 * MS),
            ..file(
                27,
                "file",
                "/srv/api/data/orders.db",
                [610, 0],
                [16 << 10, 0],
            )
        },
        FileView {
            again: 41_022,
            ..file(
                31,
                "socket",
                "10.0.0.7:8080 ← 10.0.0.21:51234",
                [640, 612],
                [410, 5_200],
            )
        },
        FileView {
            errors: 212,
            again: 1_440,
            connects: 213,
            closes: 212,
            ..file(
                33,
                "socket",
                "10.0.0.7:40112 → 10.0.0.9:5432",
                [212, 212],
                [900, 140],
            )
        },
        file(1, "pipe", "pipe:[88123]", [0, 40], [0, 96]),
        FileView {
            connects: 12_400,
            ..file(21, "socket", "0.0.0.0:8080, listening", [0, 0], [0, 0])
        },
        file(18, "eventfd", "", [301, 298], [8, 8]),
        file(44, "", "", [0, 0], [0, 0]),
    ]
}

pub(super) fn polls() -> Vec<PollView> {
    vec![
        PollView {
            pid: PID,
            fd: 13,
            waits: 82_752,
            empty: 1_930,
            events: 121_400,
            events_max: 61,
            latency: Distribution {
                count: 61_100,
                sum: Nanos(4 * SECOND),
                p50: Nanos(38 * US),
                p99: Nanos(4_100 * US),
                max: Nanos(71 * MS),
            },
        },
        PollView {
            pid: PID,
            fd: 16,
            waits: 3,
            empty: 3,
            ..PollView::default()
        },
    ]
}

pub(super) fn in_flight() -> Vec<LevelView> {
    vec![LevelView {
        what: "sockets",
        kind: None,
        now: 64,
        mean: 58.24,
        max: 211,
    }]
}

pub(super) fn memory() -> MemoryView {
    let call = |what, calls, bytes| MemoryCallView { what, calls, bytes };
    let by_stack = |samples, bytes, still_mapped_bytes, stack| MemoryStackView {
        stack,
        samples,
        bytes,
        still_mapped_bytes,
    };
    MemoryView {
        rss_bytes: Some(212 * MIB),
        pss_bytes: Some(208 * MIB),
        swap_bytes: Some(0),
        rss_slope: Some(285_500.0),
        minor_faults: Some(48_211),
        major_faults: Some(3),
        fault_time: Nanos(312 * MS),
        fault_cpu: Some(Nanos(1_900 * MS)),
        calls: Some(vec![
            call(MemoryCall::MAP, 2_304, 1_480 * MIB),
            call(MemoryCall::UNMAP, 1_980, 1_290 * MIB),
            call(MemoryCall::REMAP_GROW, 4, 12 * MIB),
            call(MemoryCall::BRK_GROW, 122, 18 * MIB),
            call(MemoryCall::GIVE_BACK, 7_680, 960 * MIB),
        ]),
        by_stack: vec![
            by_stack(
                611,
                640 * MIB,
                48 * MIB,
                stack(&[
                    (LIBC, "mmap64"),
                    (LIBC, "malloc"),
                    (ADDON, "sharp::PipelineWorker::Execute()"),
                    (
                        NODE,
                        "napi_env__::CallIntoModule<(anonymous namespace)::uvimpl::Work>(v8::Local)",
                    ),
                    WORKER,
                    START,
                ]),
            ),
            by_stack(
                402,
                410 * MIB,
                6 * MIB,
                stack(&[
                    (LIBC, "mmap64"),
                    (
                        NODE,
                        "v8::base::OS::Allocate(void*, unsigned long, unsigned long)",
                    ),
                    (
                        NODE,
                        "v8::internal::MemoryAllocator::AllocatePage(v8::internal::Space*)",
                    ),
                    (NODE, "v8::internal::Heap::AllocateRaw(int)"),
                    (NODE, "v8::internal::Builtin_ArrayPush(int)"),
                    ("", ""),
                    RUN,
                    LOOP,
                ]),
            ),
            by_stack(88, 91 * MIB, 0, stack(&[("", ""), ("", "")])),
        ],
        pressure_some: Some(0.004),
        pressure_full: Some(0.000_4),
        cgroup_pressure: Some((0.021, 0.008)),
    }
}

pub(super) fn cpu() -> CpuView {
    let derive = [
        (NODE, "sha512_block_data_order_avx2"),
        (NODE, "PKCS5_PBKDF2_HMAC"),
        (
            NODE,
            "node::crypto::PBKDF2Traits::DeriveBits(node::Environment*)",
        ),
        WORKER,
        START,
    ];
    let row = |samples, stack, kernel_stack| CpuStackView {
        stack,
        kernel_stack,
        samples,
    };
    CpuView {
        javascript: Vec::new(),
        allowed: Some(2),
        quota_millicpus: Some(1_500),
        throttled: Some(Nanos(14_200 * MS)),
        samples: 22_600,
        period: Nanos(10_101_010),
        by_stack: vec![
            row(9_912, stack(&derive), vec![]),
            row(
                4_310,
                stack(&[
                    (
                        NODE,
                        "v8::internal::JsonStringifier::Serialize_(v8::internal::Handle<v8::internal::Object>)",
                    ),
                    (NODE, "v8::internal::JsonStringify(v8::internal::Isolate*)"),
                    ("", ""),
                    RUN,
                    LOOP,
                ]),
                vec![],
            ),
            row(3_904, stack(derive.get(1..).unwrap_or_default()), vec![]),
            row(
                1_407,
                stack(&[(LIBC, "pread64"), (NODE, "uv__fs_work"), WORKER, START]),
                stack(&[
                    (KERNEL, "copy_page_to_iter"),
                    (KERNEL, "filemap_read"),
                    (KERNEL, "vfs_read"),
                    (KERNEL, "do_syscall_64"),
                ]),
            ),
            row(
                890,
                stack(&[(LIBC, "epoll_wait"), POLL, RUN, LOOP]),
                stack(&[(KERNEL, "do_epoll_wait"), (KERNEL, "do_syscall_64")]),
            ),
            row(311, stack(&[WORK, ASYNC, POLL, RUN, LOOP]), vec![]),
        ],
        io_uring: false,
    }
}

/// A stack of (module, function), innermost first; an empty name for code without a symbol.
pub(super) fn stack(frames: &[(&str, &str)]) -> StackView {
    let symbol = |(at, &(module, function)): (u64, &(&str, &str))| {
        // The same function has the same address everywhere.
        let hash = function.bytes().fold(at, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(u64::from(byte))
        });
        let offset = hash & 0xff_ffff;
        let frame = FrameMeta {
            function: function.to_owned(),
            ..FrameMeta::default()
        };
        Arc::new(SymbolMeta {
            pid: PID,
            address: 0x7f00_0000_0000 + offset,
            module: module.to_owned(),
            offset,
            frames: if function.is_empty() {
                vec![]
            } else {
                vec![frame]
            },
        })
    };
    (0..).zip(frames).map(symbol).collect()
}
