//! Descriptions, one per message.

use tracer_common::{Nanos, Pid, StackId, SyscallNr, Tid, callback::CallbackKind};

use super::schema::{self, meta::What};
use crate::record::{
    CallbackKindMeta, FileMeta, FrameMeta, HeapMeta, HeapSpaceMeta, HeapsMeta, InFlightMeta,
    LimitsMeta, Meta, ProbeMeta, ProbeStatus, ProcessMeta, Record, RuntimeMeta, SessionMeta,
    StackMeta, SymbolMeta, SyscallNameMeta, TaskKind, TaskTypeMeta, ThreadNameMeta, WaitGroup,
    WaitsMeta, WorkTypeMeta,
};

/// Bytes of text in a description.
pub(super) fn text(meta: &Meta) -> usize {
    match meta {
        Meta::Session(meta) => {
            meta.tool_version.len() + meta.profile.len() + meta.kernel.len() + meta.arch.len()
        }
        Meta::Process(meta) => meta.comm.len() + meta.exe.len() + meta.cmdline.len(),
        Meta::ThreadName(meta) => meta.name.len(),
        Meta::SyscallName(meta) => meta.name.len(),
        Meta::Probe(meta) => meta.name.len() + meta.group.len() + meta.why.len(),
        Meta::Stack(meta) => 10 * meta.frames.len(),
        Meta::Symbol(meta) => {
            let frames = meta.frames.iter();
            meta.module.len()
                + frames
                    .map(|frame| 24 + frame.function.len() + frame.file.len())
                    .sum::<usize>()
        }
        Meta::File(meta) => meta.kind.len() + meta.name.len(),
        Meta::Limits(_) => 0,
        Meta::Runtime(meta) => {
            let notes = meta.notes.iter().map(|note| 8 + note.len());
            meta.kind.len() + meta.version.len() + meta.module.len() + notes.sum::<usize>()
        }
        Meta::TaskType(meta) => meta.name.len() + meta.raw_name.len() + meta.file.len(),
        Meta::WorkType(meta) => meta.name.len(),
        Meta::CallbackKind(meta) => meta.name.len(),
        Meta::InFlight(meta) => {
            let kinds = meta.requests.iter().chain(&meta.handles);
            let kinds = kinds.chain(&meta.await_places);
            meta.why.len() + kinds.map(|(kind, _)| 24 + kind.len()).sum::<usize>()
        }
        Meta::Heaps(meta) => {
            let heaps = meta.heaps.iter().map(|heap| {
                let spaces = heap.spaces.iter();
                64 + spaces.map(|space| 24 + space.name.len()).sum::<usize>()
            });
            meta.why.len() + heaps.sum::<usize>()
        }
        Meta::Waits(meta) => {
            let groups = meta.groups.iter().map(|group| {
                let lines = group.lines.iter().map(|line| 8 + line.len());
                16 + 10 * group.ids.len() + lines.sum::<usize>()
            });
            meta.why.len() + groups.sum::<usize>()
        }
    }
}

pub(super) fn encode(meta: &Meta) -> schema::Meta {
    let what = match meta.clone() {
        Meta::Session(meta) => What::Session(schema::Session {
            tool_version: meta.tool_version,
            profile: meta.profile,
            kernel: meta.kernel,
            arch: meta.arch,
            cpus: meta.cpus,
            started: meta.started.0,
            started_unix_ns: meta.started_unix_ns,
            interval: meta.interval.0,
        }),
        Meta::Process(meta) => What::Process(schema::Process {
            pid: meta.pid.0,
            parent: meta.parent.0,
            since: meta.since.0,
            comm: meta.comm,
            exe: meta.exe,
            cmdline: meta.cmdline,
        }),
        Meta::ThreadName(meta) => What::ThreadName(schema::ThreadName {
            pid: meta.pid.0,
            tid: meta.tid.0,
            first: meta.first.0,
            name: meta.name,
        }),
        Meta::SyscallName(meta) => What::SyscallName(schema::SyscallName {
            nr: meta.nr.0,
            name: meta.name,
        }),
        Meta::Probe(meta) => What::Probe(schema::Probe {
            name: meta.name,
            group: meta.group,
            status: encode_status(meta.status).into(),
            why: meta.why,
        }),
        Meta::Stack(meta) => What::Stack(schema::Stack {
            id: meta.id.0,
            pid: meta.pid.0,
            frames: meta.frames,
        }),
        Meta::Symbol(meta) => What::Symbol(schema::Symbol {
            pid: meta.pid.0,
            address: meta.address,
            module: meta.module,
            offset: meta.offset,
            frames: meta
                .frames
                .into_iter()
                .map(|frame| schema::Frame {
                    function: frame.function,
                    file: frame.file,
                    line: frame.line,
                })
                .collect(),
        }),
        Meta::File(meta) => What::File(schema::File {
            pid: meta.pid.0,
            fd: meta.fd,
            kind: meta.kind,
            name: meta.name,
        }),
        Meta::Limits(meta) => What::Limits(schema::Limits {
            pid: meta.pid.0,
            cpus: meta.cpus,
            quota_millicpus: meta.quota_millicpus,
            io_uring: meta.io_uring,
        }),
        Meta::Runtime(meta) => What::Runtime(schema::Runtime {
            pid: meta.pid.0,
            kind: meta.kind,
            version: meta.version,
            module: meta.module,
            files: meta.files,
            notes: meta.notes,
        }),
        Meta::TaskType(meta) => What::TaskType(schema::TaskType {
            pid: meta.pid.0,
            vtable: meta.vtable,
            name: meta.name,
            raw_name: meta.raw_name,
            file: meta.file,
            line: meta.line,
            kind: match meta.kind {
                TaskKind::Async => 0,
                TaskKind::Blocking => 1,
            },
        }),
        Meta::WorkType(meta) => What::WorkType(schema::WorkType {
            pid: meta.pid.0,
            vtable: meta.vtable,
            name: meta.name,
        }),
        Meta::CallbackKind(meta) => What::CallbackKind(schema::CallbackKind {
            pid: meta.pid.0,
            kind: meta.kind.number,
            name: meta.name,
        }),
        Meta::InFlight(meta) => What::InFlight(schema::InFlight {
            at: meta.at.0,
            pid: meta.pid.0,
            threads: meta.threads,
            requests: encode_kinds(meta.requests),
            handles: encode_kinds(meta.handles),
            why: meta.why,
            timers: one_more(meta.timers),
            immediates: one_more(meta.immediates),
            awaits: one_more(meta.awaits),
            await_places: encode_kinds(meta.await_places),
        }),
        Meta::Heaps(meta) => What::Heaps(schema::Heaps {
            at: meta.at.0,
            pid: meta.pid.0,
            heaps: meta.heaps.into_iter().map(encode_heap).collect(),
            why: meta.why,
        }),
        Meta::Waits(meta) => What::Waits(schema::Waits {
            at: meta.at.0,
            pid: meta.pid.0,
            vtable: meta.vtable,
            tasks: meta.tasks,
            groups: meta
                .groups
                .into_iter()
                .map(|group| schema::WaitGroup {
                    tasks: group.tasks,
                    ids: group.ids,
                    lines: group.lines,
                })
                .collect(),
            why: meta.why,
        }),
    };
    schema::Meta { what: Some(what) }
}

/// Appends the description to `records`, or says that it is one this version does not know.
pub(super) fn decode(message: schema::Meta, records: &mut Vec<Record>) -> u64 {
    let meta = match message.what {
        Some(What::Session(meta)) => Some(Meta::Session(SessionMeta {
            tool_version: meta.tool_version,
            profile: meta.profile,
            kernel: meta.kernel,
            arch: meta.arch,
            cpus: meta.cpus,
            started: Nanos(meta.started),
            started_unix_ns: meta.started_unix_ns,
            interval: Nanos(meta.interval),
        })),
        Some(What::Process(meta)) => Some(Meta::Process(ProcessMeta {
            pid: Pid(meta.pid),
            parent: Pid(meta.parent),
            since: Nanos(meta.since),
            comm: meta.comm,
            exe: meta.exe,
            cmdline: meta.cmdline,
        })),
        Some(What::ThreadName(meta)) => Some(Meta::ThreadName(ThreadNameMeta {
            pid: Pid(meta.pid),
            tid: Tid(meta.tid),
            first: Nanos(meta.first),
            name: meta.name,
        })),
        Some(What::SyscallName(meta)) => Some(Meta::SyscallName(SyscallNameMeta {
            nr: SyscallNr(meta.nr),
            name: meta.name,
        })),
        Some(What::Probe(meta)) => decode_status(meta.status()).map(|status| {
            Meta::Probe(ProbeMeta {
                name: meta.name,
                group: meta.group,
                status,
                why: meta.why,
            })
        }),
        Some(What::Stack(meta)) => Some(Meta::Stack(StackMeta {
            id: StackId(meta.id),
            pid: Pid(meta.pid),
            frames: meta.frames,
        })),
        Some(What::Symbol(meta)) => Some(Meta::Symbol(SymbolMeta {
            pid: Pid(meta.pid),
            address: meta.address,
            module: meta.module,
            offset: meta.offset,
            frames: meta
                .frames
                .into_iter()
                .map(|frame| FrameMeta {
                    function: frame.function,
                    file: frame.file,
                    line: frame.line,
                })
                .collect(),
        })),
        Some(What::File(meta)) => Some(Meta::File(FileMeta {
            pid: Pid(meta.pid),
            fd: meta.fd,
            kind: meta.kind,
            name: meta.name,
        })),
        Some(What::Limits(meta)) => Some(Meta::Limits(LimitsMeta {
            pid: Pid(meta.pid),
            cpus: meta.cpus,
            quota_millicpus: meta.quota_millicpus,
            io_uring: meta.io_uring,
        })),
        Some(What::Runtime(meta)) => Some(Meta::Runtime(RuntimeMeta {
            pid: Pid(meta.pid),
            kind: meta.kind,
            version: meta.version,
            module: meta.module,
            files: meta.files,
            notes: meta.notes,
        })),
        Some(What::TaskType(meta)) => Some(Meta::TaskType(TaskTypeMeta {
            pid: Pid(meta.pid),
            vtable: meta.vtable,
            name: meta.name,
            raw_name: meta.raw_name,
            file: meta.file,
            line: meta.line,
            kind: if meta.kind == 1 {
                TaskKind::Blocking
            } else {
                TaskKind::Async
            },
        })),
        Some(What::WorkType(meta)) => Some(Meta::WorkType(WorkTypeMeta {
            pid: Pid(meta.pid),
            vtable: meta.vtable,
            name: meta.name,
        })),
        Some(What::CallbackKind(meta)) => Some(Meta::CallbackKind(CallbackKindMeta {
            pid: Pid(meta.pid),
            kind: CallbackKind { number: meta.kind },
            name: meta.name,
        })),
        Some(What::InFlight(meta)) => Some(Meta::InFlight(InFlightMeta {
            at: Nanos(meta.at),
            pid: Pid(meta.pid),
            threads: meta.threads,
            requests: decode_kinds(meta.requests),
            handles: decode_kinds(meta.handles),
            timers: meta.timers.checked_sub(1),
            immediates: meta.immediates.checked_sub(1),
            awaits: meta.awaits.checked_sub(1),
            await_places: decode_kinds(meta.await_places),
            why: meta.why,
        })),
        Some(What::Heaps(meta)) => Some(Meta::Heaps(HeapsMeta {
            at: Nanos(meta.at),
            pid: Pid(meta.pid),
            heaps: meta.heaps.into_iter().map(decode_heap).collect(),
            why: meta.why,
        })),
        Some(What::Waits(meta)) => Some(Meta::Waits(WaitsMeta {
            at: Nanos(meta.at),
            pid: Pid(meta.pid),
            vtable: meta.vtable,
            tasks: meta.tasks,
            groups: meta
                .groups
                .into_iter()
                .map(|group| WaitGroup {
                    tasks: group.tasks,
                    ids: group.ids,
                    lines: group.lines,
                })
                .collect(),
            why: meta.why,
        })),
        None => None,
    };
    let unknown = u64::from(meta.is_none());
    records.extend(meta.map(Record::Meta));
    unknown
}

/// A count in a field that is 0 when it is not known; there are never 2^64 of anything.
fn one_more(count: Option<u64>) -> u64 {
    count.map_or(0, |count| count.saturating_add(1))
}

fn encode_kinds(counts: Vec<(String, u64)>) -> Vec<schema::OfKind> {
    let counts = counts.into_iter();
    counts
        .map(|(kind, count)| schema::OfKind { kind, count })
        .collect()
}

fn decode_kinds(counts: Vec<schema::OfKind>) -> Vec<(String, u64)> {
    let counts = counts.into_iter();
    counts.map(|of| (of.kind, of.count)).collect()
}

fn encode_status(status: ProbeStatus) -> schema::ProbeStatus {
    match status {
        ProbeStatus::Attached => schema::ProbeStatus::Attached,
        ProbeStatus::Degraded => schema::ProbeStatus::Degraded,
        ProbeStatus::Refused => schema::ProbeStatus::Refused,
        ProbeStatus::Off => schema::ProbeStatus::Off,
    }
}

fn decode_status(status: schema::ProbeStatus) -> Option<ProbeStatus> {
    match status {
        schema::ProbeStatus::Attached => Some(ProbeStatus::Attached),
        schema::ProbeStatus::Degraded => Some(ProbeStatus::Degraded),
        schema::ProbeStatus::Refused => Some(ProbeStatus::Refused),
        schema::ProbeStatus::Off => Some(ProbeStatus::Off),
        schema::ProbeStatus::Unspecified => None,
    }
}

fn encode_heap(heap: HeapMeta) -> schema::Heap {
    let spaces = heap.spaces.into_iter().map(|space| schema::HeapSpace {
        name: space.name,
        used_bytes: space.used_bytes,
        committed_bytes: space.committed_bytes,
    });
    schema::Heap {
        isolate: heap.isolate,
        tid: heap.tid.unwrap_or_default().0,
        spaces: spaces.collect(),
        external_bytes: one_more(heap.external_bytes),
        array_buffer_bytes: one_more(heap.array_buffer_bytes),
        limit_bytes: one_more(heap.limit_bytes),
        full_collections: one_more(heap.full_collections),
        after_full_bytes: one_more(heap.after_full_bytes),
    }
}

fn decode_heap(heap: schema::Heap) -> HeapMeta {
    let spaces = heap.spaces.into_iter().map(|space| HeapSpaceMeta {
        name: space.name,
        used_bytes: space.used_bytes,
        committed_bytes: space.committed_bytes,
    });
    HeapMeta {
        isolate: heap.isolate,
        tid: Some(Tid(heap.tid)).filter(|tid| tid.0 != 0),
        spaces: spaces.collect(),
        external_bytes: heap.external_bytes.checked_sub(1),
        array_buffer_bytes: heap.array_buffer_bytes.checked_sub(1),
        limit_bytes: heap.limit_bytes.checked_sub(1),
        full_collections: heap.full_collections.checked_sub(1),
        after_full_bytes: heap.after_full_bytes.checked_sub(1),
    }
}
