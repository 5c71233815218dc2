//! Records of tasks with any content.

use proptest::{collection::vec, prelude::*};
use tracer::record::{
    AliveSample, Meta, ProbesSample, RuntimeMeta, Sample, TaskKind, TaskSample, TaskTypeMeta,
    WaitGroup, WaitsMeta, WorkTypeMeta,
};
use tracer_common::{
    Event, Nanos, Pid, StackId, Tid,
    event::{CpuSample, LongIteration, LongPoll},
};

use super::{edge32, edge64, few, few_addresses, nanos, stack, text};

/// Of few tasks, types and polls, so that events, samples and names meet.
pub(super) fn events() -> BoxedStrategy<Event> {
    let long = (
        nanos(),
        (few_addresses(), few_addresses(), edge64()),
        prop::array::uniform5(edge64()),
    )
        .prop_map(|(since, (header, vtable, task), off)| {
            Event::LongPoll(LongPoll {
                since,
                header,
                vtable,
                task,
                off,
            })
        });
    let sample = (
        (stack(), stack()),
        edge64(),
        (few_addresses(), edge64(), nanos()),
    )
        .prop_map(|((stack, kernel_stack), period, (vtable, task, poll))| {
            Event::CpuSample(CpuSample {
                stack,
                kernel_stack,
                period,
                vtable,
                task,
                poll,
            })
        });
    // A sample outside of any poll, of which there are most.
    let outside = stack().prop_map(|stack: StackId| {
        Event::CpuSample(CpuSample {
            stack,
            ..CpuSample::default()
        })
    });
    let iteration = (nanos(), prop::array::uniform5(edge64()))
        .prop_map(|(since, off)| Event::LongIteration(LongIteration { since, off }));
    prop_oneof![long, sample, outside, iteration].boxed()
}

pub(super) fn samples() -> BoxedStrategy<Sample> {
    let alive = (
        (nanos(), few(), few_addresses()),
        (edge64(), edge64(), edge64(), edge64()),
    )
        .prop_map(|((at, pid, vtable), (running, queued, idle, complete))| {
            Sample::Alive(AliveSample {
                at,
                pid: Pid(pid),
                vtable,
                running,
                queued,
                idle,
                complete,
            })
        });
    let state = prop_oneof![0..64u64, edge64()];
    let task = (
        (nanos(), few(), few_addresses(), edge64()),
        (few_addresses(), edge64(), state),
        (nanos(), few(), nanos()),
    )
        .prop_map(
            |((at, pid, header, id), (vtable, owner, state), (first, tid, poll))| {
                Sample::Task(TaskSample {
                    at,
                    pid: Pid(pid),
                    header,
                    id,
                    vtable,
                    owner,
                    state,
                    first,
                    tid: Tid(tid),
                    poll,
                })
            },
        );
    let on = || prop_oneof![(0..1_000u64).prop_map(Nanos), nanos()];
    let probes = (nanos(), on(), on(), on(), on()).prop_map(
        |(at, polls_first, polls_last, polls_on, wakes_on)| {
            Sample::Probes(ProbesSample {
                at,
                polls_first,
                polls_last,
                polls_on,
                wakes_on,
                ..ProbesSample::default()
            })
        },
    );
    prop_oneof![alive, task, probes].boxed()
}

pub(super) fn metas() -> BoxedStrategy<Meta> {
    let kind = prop_oneof![
        Just("node".to_owned()),
        Just("tokio".to_owned()),
        Just("native".to_owned()),
        text()
    ];
    let runtime = (few(), kind, text(), text(), edge32(), vec(text(), 0..3)).prop_map(
        |(pid, kind, version, module, files, notes)| {
            Meta::Runtime(RuntimeMeta {
                pid: Pid(pid),
                kind,
                version,
                module,
                files,
                notes,
            })
        },
    );
    let kind = prop_oneof![Just(TaskKind::Async), Just(TaskKind::Blocking)];
    let name = prop_oneof![text(), Just(TaskKind::WORKER.to_owned())];
    let of_type = (
        (few(), few_addresses(), kind),
        (name, text(), text(), edge32()),
    )
        .prop_map(|((pid, vtable, kind), (name, raw_name, file, line))| {
            Meta::TaskType(TaskTypeMeta {
                pid: Pid(pid),
                vtable,
                name,
                raw_name,
                file,
                line,
                kind,
            })
        });
    let group = (edge64(), vec(edge64(), 0..3), vec(text(), 0..4))
        .prop_map(|(tasks, ids, lines)| WaitGroup { tasks, ids, lines });
    let waits = (
        (nanos(), few(), few_addresses()),
        (edge64(), vec(group, 0..3), text()),
    )
        .prop_map(|((at, pid, vtable), (tasks, groups, why))| {
            Meta::Waits(WaitsMeta {
                at,
                pid: Pid(pid),
                vtable,
                tasks,
                groups,
                why,
            })
        });
    let work_type = (few(), few_addresses(), text()).prop_map(|(pid, vtable, name)| {
        Meta::WorkType(WorkTypeMeta {
            pid: Pid(pid),
            vtable,
            name,
        })
    });
    prop_oneof![runtime, of_type, waits, work_type].boxed()
}
