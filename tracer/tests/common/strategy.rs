//! Records of every kind with any content, extreme values included.

#![allow(dead_code, reason = "each test binary uses a part of it")]

#[path = "strategy_tasks.rs"]
mod strategy_tasks;

use proptest::{collection::vec, prelude::*};
use tracer::record::{
    AgentSample, CounterKey, CounterSample, FileMeta, FrameMeta, HoldingSample, LimitsMeta, Loss,
    Meta, PressureSample, ProbeMeta, ProbeStatus, ProbesSample, ProcessMeta, ProcessSample, Record,
    Sample, SessionMeta, StackMeta, SymbolMeta, SyscallNameMeta, SyscallSample, ThreadNameMeta,
    ThreadSample,
};
use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, StackId, State, SyscallKey, SyscallNr, TableNr,
    ThreadTimes, Tid,
    event::{Call, Exec, LongWait, Mapped, ProcessExit, ThreadExit, ThreadStart, Unmapped},
};

/// A number, often an extreme one. One flat strategy and not a union of many: thousands of them are on the stack.
fn edge64() -> impl Strategy<Value = u64> {
    (0..8u8, any::<u64>()).prop_map(|(which, any)| match which {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << 63,
        4..=5 => any % 1000,
        _ => any,
    })
}

fn edge32() -> impl Strategy<Value = u32> {
    edge64().prop_map(|any| {
        if any < 1000 {
            any as u32
        } else {
            (any >> 32) as u32
        }
    })
}

fn nanos() -> impl Strategy<Value = Nanos> {
    edge64().prop_map(Nanos)
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), ".{0,20}", "[a-z:/ ]{0,300}"].boxed()
}

fn times() -> BoxedStrategy<ThreadTimes> {
    (
        prop::array::uniform16(edge64()),
        edge64(),
        edge64(),
        edge64(),
    )
        .prop_map(
            |(in_state, voluntary, involuntary, migrations)| ThreadTimes {
                in_state,
                voluntary,
                involuntary,
                migrations,
            },
        )
        .boxed()
}

/// Few of them, so that what is said of one is said again.
fn few() -> BoxedStrategy<u32> {
    prop_oneof![0..4u32, edge32()].boxed()
}

fn few_addresses() -> BoxedStrategy<u64> {
    prop_oneof![0..4u64, edge64()].boxed()
}

fn stack() -> BoxedStrategy<StackId> {
    few().prop_map(StackId).boxed()
}

/// Those of threads that wait and run, with what they called.
fn stacked_events() -> BoxedStrategy<Event> {
    let wait = (
        (nanos(), nanos(), few_addresses()),
        (few(), few()),
        (stack(), stack()),
        edge32(),
        prop_oneof![Just(State::FUTEX.0), any::<u8>()],
        any::<[u8; 3]>(),
    )
        .prop_map(
            |((first, since, on), (tid, pid), stacks, by_current, state, reserved)| {
                Event::LongWait(LongWait {
                    first,
                    since,
                    on,
                    tid: Tid(tid),
                    pid: Pid(pid),
                    stack: stacks.0,
                    waker_stack: stacks.1,
                    by_current,
                    state: State(state),
                    reserved,
                })
            },
        );
    let mapped = (few_addresses(), edge64(), edge64(), stack(), few()).prop_map(
        |(address, bytes, weight, stack, what)| {
            Event::Mapped(Mapped {
                address,
                bytes,
                weight,
                stack,
                what,
            })
        },
    );
    let unmapped = (few_addresses(), edge64())
        .prop_map(|(address, bytes)| Event::Unmapped(Unmapped { address, bytes }));
    let call = (edge64(), any::<i64>(), edge32(), edge32()).prop_map(
        |(duration, result, nr, reserved)| {
            Event::Call(Call {
                duration,
                result,
                nr: SyscallNr(nr),
                reserved,
            })
        },
    );
    prop_oneof![5 => prop_oneof![wait, mapped, unmapped, call], 3 => strategy_tasks::events()]
        .boxed()
}

fn events() -> BoxedStrategy<Record> {
    let lives = prop_oneof![
        (few(), few()).prop_map(|(pid, tid)| Event::ThreadStart(ThreadStart {
            pid: Pid(pid),
            tid: Tid(tid)
        })),
        (nanos(), times(), any::<[u8; 16]>(), nanos()).prop_map(
            |(first, times, name, ready_max)| Event::ThreadExit(ThreadExit {
                first,
                times,
                name,
                ready_max
            })
        ),
        (edge32(), edge32())
            .prop_map(|(code, reserved)| Event::ProcessExit(ProcessExit { code, reserved })),
        (few(), edge32()).prop_map(|(old_tid, reserved)| Event::Exec(Exec {
            old_tid: Tid(old_tid),
            reserved
        })),
    ];
    let payload = prop_oneof![lives, stacked_events()];
    (nanos(), few(), few(), edge32(), any::<u16>(), payload)
        .prop_map(|(at, pid, tid, cpu, len, event)| {
            let header = EventHeader {
                at,
                pid: Pid(pid),
                tid: Tid(tid),
                cpu,
                kind: event.kind(),
                len,
            };
            Record::Event(header, event)
        })
        .boxed()
}

/// Few threads and calls, so that samples follow each other, with counters that may grow or not.
fn samples() -> BoxedStrategy<Record> {
    let tid = prop_oneof![(0..3u32), edge32()].prop_map(Tid);
    let first = prop_oneof![Just(Nanos(1)), nanos()];
    let thread = (
        nanos(),
        few(),
        (tid.clone(), first.clone()),
        prop_oneof![Just(State::FUTEX.0), any::<u8>()],
        times(),
        (nanos(), few_addresses()),
    )
        .prop_map(
            |(at, pid, (tid, first), state, times, (ready_max, waiting_on))| {
                Sample::Thread(ThreadSample {
                    at,
                    pid: Pid(pid),
                    tid,
                    first,
                    state: State(state),
                    times,
                    ready_max,
                    waiting_on,
                })
            },
        );
    let buckets = prop_oneof![
        vec((edge32(), edge32()), 0..6),
        prop::collection::btree_map(0..496u32, edge32(), 0..9)
            .prop_map(|map| map.into_iter().collect())
    ];
    let key = (tid, first, prop_oneof![0..3u32, edge32()]);
    let counters = (edge64(), edge64(), edge64(), nanos(), nanos());
    let syscall = (key, counters, buckets, prop::bool::weighted(0.1)).prop_map(
        |((tid, first, nr), (count, errors, timed, sum, max), buckets, last)| {
            let key = SyscallKey {
                first,
                tid,
                nr: SyscallNr(nr),
            };
            Sample::Syscall(SyscallSample {
                key,
                count,
                errors,
                timed,
                sum,
                max,
                buckets,
                last,
            })
        },
    );
    let process = (nanos(), few(), edge64(), edge64(), edge64()).prop_map(
        |(at, pid, rss_bytes, minor_faults, major_faults)| {
            Sample::Process(ProcessSample {
                at,
                pid: Pid(pid),
                rss_bytes,
                minor_faults,
                major_faults,
            })
        },
    );
    let agent = (nanos(), nanos(), edge64())
        .prop_map(|(at, cpu, rss_bytes)| Sample::Agent(AgentSample { at, cpu, rss_bytes }));
    prop_oneof![3 => thread, 3 => syscall, 1 => process, 1 => agent, 3 => rows(), 2 => readings(), 2 => strategy_tasks::samples()]
        .prop_map(Record::Sample)
        .boxed()
}

/// Few tables and keys, so that samples follow each other; words as the kernel's rows give them, or not.
fn rows() -> BoxedStrategy<Sample> {
    let table = prop_oneof![5 => 1..12u32, 1 => edge32()].prop_map(TableNr);
    let key = prop_oneof![
        Just(CounterKey::default()),
        (0..3u8).prop_map(|byte| {
            let mut key = CounterKey::default();
            key.0[8] = byte;
            key.0[12] = 1;
            key
        }),
        any::<[u8; 32]>().prop_map(CounterKey),
    ];
    let words = prop_oneof![
        prop::collection::btree_map(0..4u32, edge64(), 0..4)
            .prop_map(|map| map.into_iter().collect()),
        prop::collection::btree_map(0..300u32, edge64(), 0..12)
            .prop_map(|map| map.into_iter().collect()),
        vec((edge32(), edge64()), 0..6),
    ];
    (table, key, words, prop::bool::weighted(0.2))
        .prop_map(|(table, key, words, last)| {
            Sample::Counter(CounterSample {
                table,
                key,
                words,
                last,
            })
        })
        .boxed()
}

/// A value that may not be known. The file has room for those below 2^63, and there are no others.
fn known() -> BoxedStrategy<Option<u64>> {
    prop_oneof![Just(None), edge64().prop_map(|any| Some(any >> 1))].boxed()
}

fn readings() -> BoxedStrategy<Sample> {
    let time = || known().prop_map(|any| any.map(Nanos));
    let holding = (nanos(), few(), known(), known(), known(), known()).prop_map(
        |(at, pid, pss_bytes, swap_bytes, descriptors, sockets)| {
            Sample::Holding(HoldingSample {
                at,
                pid: Pid(pid),
                pss_bytes,
                swap_bytes,
                descriptors,
                sockets,
            })
        },
    );
    let pressure = (nanos(), time(), time(), time(), time(), time()).prop_map(
        |(at, memory_some, memory_full, cgroup_memory_some, cgroup_memory_full, throttled)| {
            Sample::Pressure(PressureSample {
                at,
                memory_some,
                memory_full,
                cgroup_memory_some,
                cgroup_memory_full,
                throttled,
            })
        },
    );
    let probes = (nanos(), nanos(), edge64(), nanos()).prop_map(|(at, time, runs, target_time)| {
        Sample::Probes(ProbesSample {
            at,
            time,
            runs,
            target_time,
            ..ProbesSample::default()
        })
    });
    prop_oneof![holding, pressure, probes].boxed()
}

/// What names addresses and descriptors.
fn lookups() -> BoxedStrategy<Meta> {
    let stack = (few(), few(), vec(few_addresses(), 0..6)).prop_map(|(id, pid, frames)| {
        Meta::Stack(StackMeta {
            id: StackId(id),
            pid: Pid(pid),
            frames,
        })
    });
    let function = prop_oneof![text(), Just("asm_exc_page_fault".to_owned())];
    let frame = (function, text(), edge32()).prop_map(|(function, file, line)| FrameMeta {
        function,
        file,
        line,
    });
    let symbol = (few(), few_addresses(), text(), edge64(), vec(frame, 0..3)).prop_map(
        |(pid, address, module, offset, frames)| {
            Meta::Symbol(SymbolMeta {
                pid: Pid(pid),
                address,
                module,
                offset,
                frames,
            })
        },
    );
    let file = (few(), few(), text(), text()).prop_map(|(pid, fd, kind, name)| {
        Meta::File(FileMeta {
            pid: Pid(pid),
            fd,
            kind,
            name,
        })
    });
    let limits =
        (few(), edge32(), edge32(), edge32()).prop_map(|(pid, cpus, quota_millicpus, io_uring)| {
            Meta::Limits(LimitsMeta {
                pid: Pid(pid),
                cpus,
                quota_millicpus,
                io_uring,
            })
        });
    prop_oneof![stack, symbol, file, limits].boxed()
}

fn metas() -> BoxedStrategy<Record> {
    let session = (
        (text(), text(), text(), text()),
        edge32(),
        nanos(),
        edge64(),
        nanos(),
    )
        .prop_map(
            |((tool_version, profile, kernel, arch), cpus, started, started_unix_ns, interval)| {
                let session = SessionMeta {
                    tool_version,
                    profile,
                    kernel,
                    arch,
                    cpus,
                    started,
                    started_unix_ns,
                    interval,
                };
                Meta::Session(session)
            },
        );
    let process = (few(), edge32(), nanos(), text(), text(), text()).prop_map(
        |(pid, parent, since, comm, exe, cmdline)| {
            Meta::Process(ProcessMeta {
                pid: Pid(pid),
                parent: Pid(parent),
                since,
                comm,
                exe,
                cmdline,
            })
        },
    );
    let thread = (edge32(), edge32(), nanos(), text()).prop_map(|(pid, tid, first, name)| {
        Meta::ThreadName(ThreadNameMeta {
            pid: Pid(pid),
            tid: Tid(tid),
            first,
            name,
        })
    });
    let syscall = (edge32(), text()).prop_map(|(nr, name)| {
        Meta::SyscallName(SyscallNameMeta {
            nr: SyscallNr(nr),
            name,
        })
    });
    let status = prop_oneof![
        Just(ProbeStatus::Attached),
        Just(ProbeStatus::Degraded),
        Just(ProbeStatus::Refused),
        Just(ProbeStatus::Off)
    ];
    let name = prop_oneof![
        text(),
        prop::sample::select(
            &[
                "sys_exit",
                "futex_waits",
                "sched_waking",
                "file_calls",
                "memory_calls",
                "cpu_sample",
                "task_poll",
                "task_wake",
                "running_task",
                "event_loops"
            ][..]
        )
        .prop_map(str::to_owned),
    ];
    let probe = (name, text(), status, text()).prop_map(|(name, group, status, why)| {
        Meta::Probe(ProbeMeta {
            name,
            group,
            status,
            why,
        })
    });
    prop_oneof![1 => session, 1 => process, 1 => thread, 1 => syscall, 2 => probe, 4 => lookups(), 2 => strategy_tasks::metas()]
        .prop_map(Record::Meta)
        .boxed()
}

pub(crate) fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        2 => events(),
        6 => samples(),
        2 => metas(),
        1 => (edge32(), edge64()).prop_map(|(reason, count)| Record::Loss(Loss { reason: LossReason(reason), count })),
        1 => nanos().prop_map(Record::Tick),
    ]
}
