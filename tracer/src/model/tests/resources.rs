//! What Node has in flight, by type.

use tracer_common::{Nanos, Pid};

use super::{fold, story, tick};
use crate::{
    model::{LevelView, Snapshot},
    record::{InFlightMeta, Meta, Record},
};

/// What was read of a process.
fn read(pid: u32, requests: &[(&str, u64)], handles: &[(&str, u64)]) -> Record {
    let counts = |of: &[(&str, u64)]| {
        let counts = of.iter();
        counts
            .map(|(kind, count)| ((*kind).into(), *count))
            .collect()
    };
    Record::Meta(Meta::InFlight(InFlightMeta {
        pid: Pid(pid),
        threads: 1,
        requests: counts(requests),
        handles: counts(handles),
        ..InFlightMeta::default()
    }))
}

fn unread(pid: u32, why: &str) -> Record {
    Record::Meta(Meta::InFlight(InFlightMeta {
        pid: Pid(pid),
        why: why.into(),
        ..InFlightMeta::default()
    }))
}

/// Type, now, mean and maximum.
fn levels<'a>(snapshot: &'a Snapshot, what: &str) -> Vec<(&'a str, u64, f64, u64)> {
    let levels = snapshot.levels(what).into_iter();
    levels
        .map(|level| {
            let kind = level.kind.as_deref().unwrap();
            (kind, level.now, level.mean, level.max)
        })
        .collect()
}

#[test]
fn what_is_in_flight_is_summed_up_by_type_and_one_that_came_late_was_0_before() {
    let mut all = story("0ms process p1 node | 0ms process p2 node");
    all.extend([
        read(1, &[("FSREQCALLBACK", 6)], &[("TCPWRAP", 1)]),
        read(2, &[("FSREQCALLBACK", 2)], &[]),
        tick(1),
        read(
            1,
            &[("FSREQCALLBACK", 2), ("CONNECTWRAP", 9)],
            &[("TCPWRAP", 3)],
        ),
        Record::Tick(Nanos(4_000_000_000)),
    ]);
    let got = fold(all);
    assert_eq!(
        levels(&got, LevelView::REQUESTS),
        [
            ("CONNECTWRAP", 9, 9.0 * 0.75, 9),
            ("FSREQCALLBACK", 4, 5.0, 8)
        ]
    );
    assert_eq!(levels(&got, LevelView::HANDLES), [("TCPWRAP", 3, 2.5, 3)]);
    assert_eq!(got.resources_unknown, None);
}

#[test]
fn what_could_not_be_read_is_left_out_and_said() {
    let mut all = story("0ms process p1 node | 0ms process p2 node");
    all.push(tick(1));
    let nobody = "it has not been read yet, or the version that recorded did not";
    let got = fold(all.clone());
    assert_eq!(got.resources_unknown.as_deref(), Some(nobody));
    assert_eq!(got.in_flight, []);
    all.extend([
        read(1, &[("FSREQCALLBACK", 6)], &[]),
        read(2, &[("FSREQCALLBACK", 1)], &[]),
        tick(2),
        unread(2, "torn"),
        read(1, &[("FSREQCALLBACK", 60)], &[]),
        tick(3),
    ]);
    let got = fold(all.clone());
    // Not 60: what the other has is not known.
    assert_eq!(
        levels(&got, LevelView::REQUESTS),
        [("FSREQCALLBACK", 7, 7.0, 7)]
    );
    assert_eq!(got.resources_unknown.as_deref(), Some("torn"));
    all.extend(story("3s exit p2 0").into_iter().skip(1));
    // It was read when it was gone already.
    all.extend([unread(2, "gone"), tick(4)]);
    let got = fold(all.clone());
    assert_eq!(
        levels(&got, LevelView::REQUESTS),
        [("FSREQCALLBACK", 60, 33.5, 60)]
    );
    assert_eq!(got.resources_unknown, None);
    all.extend(story("4s exit p1 0").into_iter().skip(1));
    all.push(tick(6));
    let got = fold(all);
    let mean = (7.0 + 60.0) / 4.0;
    assert_eq!(
        levels(&got, LevelView::REQUESTS),
        [("FSREQCALLBACK", 0, mean, 60)]
    );
}

#[test]
fn types_have_a_bound() {
    let names: Vec<String> = (0..2_000)
        .map(|number| format!("TYPE{number:04}"))
        .collect();
    let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    let mut all = story("0ms process p1 node");
    all.extend([read(1, &many, &many), tick(1)]);
    assert_eq!(fold(all).in_flight.len(), 512);
}

#[test]
fn timers_are_known_when_those_of_all_processes_are() {
    let due = |pid: u32, timers: Option<u64>, immediates: Option<u64>| {
        Record::Meta(Meta::InFlight(InFlightMeta {
            pid: Pid(pid),
            timers,
            immediates,
            ..InFlightMeta::default()
        }))
    };
    let mut all = story("0ms process p1 node | 0ms process p2 node");
    all.extend([due(1, Some(3), Some(0)), due(2, Some(4), None), tick(1)]);
    let got = fold(all.clone());
    let whole = |got: &Snapshot| {
        let levels = got.in_flight.iter();
        let levels = levels.map(|level| (level.what, level.now, level.max));
        levels.collect::<Vec<_>>()
    };
    assert_eq!(whole(&got), [(LevelView::TIMERS, 7, 7)]);
    all.extend(story("1s exit p1 0 | 1s exit p2 0").into_iter().skip(1));
    all.push(tick(2));
    assert_eq!(whole(&fold(all)), [(LevelView::TIMERS, 0, 7)]);
}

#[test]
fn async_functions_that_wait_are_levels_of_the_ticks_at_which_they_were_read() {
    let awaits = |pid: u32, count: Option<u64>, places: &[(&str, u64)]| {
        let places = places.iter();
        let await_places = places.map(|&(place, count)| (place.to_owned(), count));
        Record::Meta(Meta::InFlight(InFlightMeta {
            pid: Pid(pid),
            awaits: count,
            await_places: await_places.collect(),
            ..InFlightMeta::default()
        }))
    };
    let mut all = story("0ms process p1 node | 0ms process p2 node");
    all.extend([
        awaits(1, Some(30), &[("load (a.js:2)", 20), ("save (a.js:9)", 10)]),
        awaits(2, Some(4), &[("load (a.js:2)", 4)]),
        tick(1),
        // Not read this time: the window says nothing about them.
        awaits(1, None, &[]),
        tick(2),
        awaits(1, Some(6), &[("save (a.js:9)", 6)]),
        tick(3),
    ]);
    let got = fold(all);
    assert_eq!(
        levels(&got, LevelView::AWAITS),
        [
            ("save (a.js:9)", 6, 8.0, 10),
            ("load (a.js:2)", 4, 14.0, 24)
        ]
    );
    let all = got.levels(LevelView::PROMISES);
    assert_eq!((all[0].now, all[0].mean, all[0].max), (10, 22.0, 34));
}
