//! Sizes of V8's heaps.

use tracer_common::{Nanos, Pid, Tid};

use super::{fold, story, tick};
use crate::{
    model::AfterFullView,
    record::{HeapMeta, HeapSpaceMeta, HeapsMeta, Meta, Record},
};

fn heap(isolate: u64, used: u64, full: Option<(u64, u64)>) -> HeapMeta {
    let space = |name: &str, used_bytes, committed_bytes| HeapSpaceMeta {
        name: name.into(),
        used_bytes,
        committed_bytes,
    };
    HeapMeta {
        isolate,
        tid: Some(Tid(1)),
        spaces: vec![
            space("old_space", used, 2 * used),
            space("new_space", 10, 100),
            space("code_large_object_space", 0, 0),
        ],
        full_collections: full.map(|(count, _)| count),
        after_full_bytes: full.map(|(_, left)| left).filter(|&left| left > 0),
        ..HeapMeta::default()
    }
}

fn read(at: u64, heaps: Vec<HeapMeta>) -> Record {
    Record::Meta(Meta::Heaps(HeapsMeta {
        at: Nanos(at),
        pid: Pid(1),
        heaps,
        why: String::new(),
    }))
}

fn after(all: Vec<Record>) -> Vec<(u64, u64)> {
    let levels = fold(all).node.heaps.swap_remove(0).after_full;
    let pair = |level: AfterFullView| (level.at.0, level.used_bytes);
    levels.into_iter().map(pair).collect()
}

#[test]
fn a_heap_is_as_large_as_its_spaces_and_those_without_memory_are_left_out() {
    let mut all = story("0ms process p1 node");
    all.extend([tick(1)]);
    assert!(fold(all.clone()).node.heaps_unknown.is_some());
    all.extend([read(5, vec![heap(8, 500, None), heap(16, 900, None)])]);
    let got = fold(all.clone()).node;
    assert_eq!(got.heaps_unknown, None);
    let sizes = got
        .heaps
        .iter()
        .map(|heap| (heap.used_bytes, heap.committed_bytes, heap.spaces.len()));
    assert_eq!(
        sizes.collect::<Vec<_>>(),
        [(910, 1_900, 2), (510, 1_100, 2)]
    );
    all.extend(story("9ms exit p1 0"));
    let got = fold(all).node;
    let ended = got
        .heaps
        .iter()
        .map(|heap| (heap.used_bytes, heap.has_ended));
    assert_eq!(ended.collect::<Vec<_>>(), [(910, true), (510, true)]);
    assert_eq!(got.heaps_unknown, None);
}

#[test]
fn what_each_full_collection_left_is_kept_of_those_that_were_met() {
    let mut all = story("0ms process p1 node");
    let mut then = |at, count, left| {
        all.push(read(at, vec![heap(8, 500, Some((count, left)))]));
        after(all.clone())
    };
    assert_eq!(then(1, 3, 70), [], "that was before");
    assert_eq!(then(2, 4, 80), [(2, 80)]);
    assert_eq!(then(3, 4, 90), [(2, 90)], "it was in the middle of it");
    assert_eq!(then(4, 4, 85), [(2, 85)], "sweeping goes on");
    assert_eq!(then(5, 4, 95), [(2, 85)], "it only becomes less");
    assert_eq!(then(6, 5, 0), [(2, 85)], "one begins");
    assert_eq!(then(7, 5, 120), [(2, 85), (7, 120)]);
    assert_eq!(then(8, 7, 130), [(2, 85), (7, 120), (8, 130)]);
    for count in 8..200 {
        then(count, count, count);
    }
    assert_eq!(then(201, 201, 1).len(), 64);
}

#[test]
fn another_heap_begins_anew_and_why_nothing_is_known_is_said() {
    let mut all = story("0ms process p1 node");
    all.extend([
        read(1, vec![heap(8, 500, Some((1, 10)))]),
        read(2, vec![heap(8, 500, Some((2, 20)))]),
        read(3, vec![heap(16, 500, Some((9, 30)))]),
    ]);
    assert_eq!(after(all.clone()), []);
    all.push(Record::Meta(Meta::Heaps(HeapsMeta {
        pid: Pid(1),
        why: "torn".into(),
        ..HeapsMeta::default()
    })));
    assert_eq!(fold(all).node.heaps_unknown.as_deref(), Some("torn"));
}
