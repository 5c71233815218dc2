//! What was found in a file of a target, as what is said of it and where it is probed.

use std::collections::BTreeMap;

use tracer_common::{Pid, task::Cookie};

use super::observer::Found;
use crate::{
    bpf::{Points, probes::Functions},
    record::{RuntimeMeta, TaskKind, TaskTypeMeta},
    runtime::{
        Mapped,
        node::{Component, Node},
        probe::ProbePoint,
        tokio::{Kind, TaskType, WakeProbe},
    },
};

/// What is said of a process's runtime. One that is Node.js is that, also when an add-on brings tokio with it.
pub(super) fn runtime(pid: Pid, found: &Found) -> RuntimeMeta {
    let of_tokio = found.tokio.iter().flat_map(|mapped| &mapped.holds.notes);
    let mut meta = RuntimeMeta {
        pid,
        kind: "native".to_owned(),
        files: found.files,
        notes: found.notes.clone(),
        ..RuntimeMeta::default()
    };
    if let Some(node) = &found.node {
        "node".clone_into(&mut meta.kind);
        meta.version = node.version.clone().unwrap_or_default();
        meta.module = module(node);
        meta.notes.extend(node.notes.iter().cloned());
        meta.notes
            .extend(super::node::no_promises(pid, node).map(str::to_owned));
        let also = found.tokio.iter().map(|mapped| {
            let version = mapped.holds.version.as_deref();
            let version = version.unwrap_or("of unknown version");
            format!("there is tokio too, {version} in {}", mapped.path)
        });
        meta.notes.extend(also);
    } else if let Some(first) = found.tokio.first() {
        "tokio".clone_into(&mut meta.kind);
        meta.version = first.holds.version.clone().unwrap_or_default();
        meta.module.clone_from(&first.path);
    }
    meta.notes.extend(of_tokio.cloned());
    meta
}

fn module(node: &Node) -> String {
    let own = node.module(Component::Node);
    own.map_or_else(String::new, |module| module.path.clone())
}

/// What is said of a type of task.
pub(super) fn task_type(pid: Pid, mapped: &Mapped, of_type: &TaskType) -> TaskTypeMeta {
    let source = of_type.source.as_ref();
    TaskTypeMeta {
        pid,
        vtable: of_type.vtable.wrapping_add(mapped.bias),
        name: of_type.name.clone(),
        raw_name: of_type.raw_name.clone(),
        file: source.map(|source| source.file.clone()).unwrap_or_default(),
        line: source.map(|source| source.line).unwrap_or_default(),
        kind: match of_type.kind {
            Kind::Async => TaskKind::Async,
            Kind::Blocking => TaskKind::Blocking,
        },
    }
}

/// Where polls, wakes and closures for the blocking pool pass in a file that a process has mapped.
#[must_use]
pub fn points(pid: Pid, mapped: &Mapped) -> [(Functions, Points); 3] {
    const FIRST_ARGUMENT: u8 = 5;
    let tokio = &mapped.holds;
    // Where a task's id is depends on what schedules it, and is the same for all schedulers of futures.
    let id_of = |kind: Kind| {
        let mut types = tokio.types.iter();
        types.find_map(|of_type| of_type.id.filter(|_| of_type.kind == kind))
    };
    let cookie = |id: Option<u64>, register: u8, kind: Kind| {
        let id = id.unwrap_or(0);
        Cookie::new(tokio.layout.vtable, id, register, kind == Kind::Blocking)
    };
    // Several types may share a function, whose cookie is then that of the first; but one instruction is one place.
    let mut polls: BTreeMap<u64, Cookie> = BTreeMap::new();
    for of_type in &tokio.types {
        let ProbePoint { file_offset, .. } = of_type.poll_probe;
        let cookie = cookie(of_type.id, FIRST_ARGUMENT, of_type.kind);
        polls.entry(file_offset).or_insert(cookie);
    }
    let of = |probes: &[WakeProbe], kind: Kind| -> Vec<(u64, Cookie)> {
        let id = id_of(kind);
        let cookies = probes.iter().map(|probe| {
            let cookie = cookie(id, probe.header_register, kind);
            (probe.point.file_offset, cookie)
        });
        cookies.collect()
    };
    [
        (Functions::Polls, polls.into_iter().collect()),
        (Functions::Wakes, of(&tokio.wakes, Kind::Async)),
        (Functions::Spawns, of(&tokio.spawns, Kind::Blocking)),
    ]
    .map(|(which, places)| {
        let file = mapped.file.clone();
        (which, Points { pid, file, places })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::tokio::WORKER;

    #[test]
    fn the_loop_of_a_worker_is_known_by_the_name_it_gets() {
        assert!(TaskKind::Blocking.is_worker(WORKER));
        assert!(!TaskKind::Async.is_worker(WORKER));
        assert!(!TaskKind::Blocking.is_worker("[blocking] resize"));
    }
}
