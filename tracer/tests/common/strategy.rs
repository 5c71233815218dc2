//! Records of every kind with any content, extreme values included.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use proptest::{collection::vec, prelude::*};
use tracer::record::{
    AgentSample, Loss, Meta, ProbeMeta, ProbeStatus, ProcessMeta, ProcessSample, Record, Sample,
    SessionMeta, SyscallNameMeta, SyscallSample, ThreadNameMeta, ThreadSample,
};
use tracer_common::{
    Event, EventHeader, LossReason, Nanos, Pid, State, SyscallKey, SyscallNr, ThreadTimes, Tid,
    event::{Exec, ProcessExit, ThreadExit, ThreadStart},
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

fn events() -> BoxedStrategy<Record> {
    let payload = prop_oneof![
        (edge32(), edge32()).prop_map(|(pid, tid)| Event::ThreadStart(ThreadStart {
            pid: Pid(pid),
            tid: Tid(tid)
        })),
        (nanos(), times(), any::<[u8; 16]>())
            .prop_map(|(first, times, name)| Event::ThreadExit(ThreadExit { first, times, name })),
        (edge32(), edge32())
            .prop_map(|(code, reserved)| Event::ProcessExit(ProcessExit { code, reserved })),
        (edge32(), edge32()).prop_map(|(old_tid, reserved)| Event::Exec(Exec {
            old_tid: Tid(old_tid),
            reserved
        })),
    ];
    (nanos(), edge32(), edge32(), edge32(), any::<u16>(), payload)
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
        edge32(),
        (tid.clone(), first.clone()),
        any::<u8>(),
        times(),
    )
        .prop_map(|(at, pid, (tid, first), state, times)| {
            Sample::Thread(ThreadSample {
                at,
                pid: Pid(pid),
                tid,
                first,
                state: State(state),
                times,
            })
        });
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
    let process = (nanos(), edge32(), edge64(), edge64(), edge64()).prop_map(
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
    prop_oneof![3 => thread, 3 => syscall, 1 => process, 1 => agent]
        .prop_map(Record::Sample)
        .boxed()
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
    let process = (edge32(), edge32(), nanos(), text(), text(), text()).prop_map(
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
    let probe = (text(), text(), status, text()).prop_map(|(name, group, status, why)| {
        Meta::Probe(ProbeMeta {
            name,
            group,
            status,
            why,
        })
    });
    prop_oneof![session, process, thread, syscall, probe]
        .prop_map(Record::Meta)
        .boxed()
}

pub(crate) fn records() -> impl Strategy<Value = Record> {
    prop_oneof![
        2 => events(),
        6 => samples(),
        1 => metas(),
        1 => (edge32(), edge64()).prop_map(|(reason, count)| Record::Loss(Loss { reason: LossReason(reason), count })),
        1 => nanos().prop_map(Record::Tick),
    ]
}
