//! Records of tasks with any content.

use proptest::{collection::vec, option, prelude::*};
use tracer::record::{
    AliveSample, CallbackKindMeta, HeapMeta, HeapSpaceMeta, HeapsMeta, InFlightMeta, Meta,
    ProbesSample, RuntimeMeta, Sample, TaskKind, TaskSample, TaskTypeMeta, WaitGroup, WaitsMeta,
    WorkTypeMeta,
};
use tracer_common::{
    Event, Nanos, Pid, StackId, Tid,
    callback::CallbackKind,
    event::{CpuSample, LongCallback, LongIteration, LongPoll},
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
        few(),
    )
        .prop_map(
            |((stack, kernel_stack), period, (vtable, task, poll), callback)| {
                Event::CpuSample(CpuSample {
                    stack,
                    kernel_stack,
                    period,
                    vtable,
                    task,
                    poll,
                    callback,
                    reserved: 0,
                })
            },
        );
    // A sample outside of any poll, of which there are most.
    let outside = stack().prop_map(|stack: StackId| {
        Event::CpuSample(CpuSample {
            stack,
            ..CpuSample::default()
        })
    });
    let iteration = (nanos(), prop::array::uniform5(edge64()))
        .prop_map(|(since, off)| Event::LongIteration(LongIteration { since, off }));
    let callback = (nanos(), prop::array::uniform4(edge64()), few()).prop_map(
        |(since, [busy, ticks, async_id, trigger_async_id], number)| {
            Event::LongCallback(LongCallback {
                since,
                busy,
                ticks,
                async_id,
                trigger_async_id,
                kind: CallbackKind { number },
                reserved: 0,
            })
        },
    );
    prop_oneof![long, sample, outside, iteration, callback].boxed()
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
    let callbacks = (on(), on(), on(), on());
    let probes = (nanos(), on(), on(), on(), on(), on(), callbacks).prop_map(
        |(at, polls_first, polls_last, polls_on, wakes_on, works_on, callbacks)| {
            let (callbacks_first, callbacks_on, promises_first, promises_on) = callbacks;
            Sample::Probes(ProbesSample {
                at,
                polls_first,
                polls_last,
                polls_on,
                wakes_on,
                works_on,
                callbacks_first,
                callbacks_on,
                promises_first,
                promises_on,
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
    let callback_kind = (few(), few(), text()).prop_map(|(pid, number, name)| {
        Meta::CallbackKind(CallbackKindMeta {
            pid: Pid(pid),
            kind: CallbackKind { number },
            name,
        })
    });
    let counts = || vec((text(), edge64()), 0..4);
    let in_flight = (
        (nanos(), few(), edge32()),
        (counts(), counts(), option::of(0..9u64), option::of(0..9u64)),
        (option::of(0..9u64), counts()),
        prop_oneof![Just(String::new()), text()],
    )
        .prop_map(
            |(
                (at, pid, threads),
                (requests, handles, timers, immediates),
                (awaits, await_places),
                why,
            )| {
                Meta::InFlight(InFlightMeta {
                    at,
                    pid: Pid(pid),
                    threads,
                    requests,
                    handles,
                    timers,
                    immediates,
                    awaits,
                    await_places,
                    why,
                })
            },
        );
    prop_oneof![
        runtime,
        of_type,
        waits,
        work_type,
        callback_kind,
        in_flight,
        heaps()
    ]
    .boxed()
}

/// Sizes of heaps.
fn heaps() -> impl Strategy<Value = Meta> {
    let number = || option::of(0..9u64);
    let space = (text(), edge64(), edge64()).prop_map(|(name, used_bytes, committed_bytes)| {
        HeapSpaceMeta {
            name,
            used_bytes,
            committed_bytes,
        }
    });
    let heap = (
        (0..3u64, option::of(1..9u32), vec(space, 0..3)),
        (number(), number(), number(), number(), number()),
    )
        .prop_map(
            |(
                (isolate, tid, spaces),
                (
                    external_bytes,
                    array_buffer_bytes,
                    limit_bytes,
                    full_collections,
                    after_full_bytes,
                ),
            )| HeapMeta {
                isolate,
                tid: tid.map(Tid),
                spaces,
                external_bytes,
                array_buffer_bytes,
                limit_bytes,
                full_collections,
                after_full_bytes,
            },
        );
    let why = prop_oneof![Just(String::new()), text()];
    (nanos(), few(), vec(heap, 0..3), why).prop_map(|(at, pid, heaps, why)| {
        Meta::Heaps(HeapsMeta {
            at,
            pid: Pid(pid),
            heaps,
            why,
        })
    })
}
