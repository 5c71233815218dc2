//! The report as people read it.

use super::*;
use crate::{
    model::{CpuStackView, FileView, LockView},
    record::ProbeMeta,
    report::example::{self, probe, stack},
};

/// The lines of a section, without its title.
fn section_of(snapshot: &Snapshot, title: &str) -> Vec<String> {
    let text = text(snapshot);
    let lines = text.lines().skip_while(|line| !line.starts_with(title));
    lines
        .skip(1)
        .take_while(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn with_probe(name: &str, status: ProbeStatus, why: &str) -> Snapshot {
    let mut snapshot = example::snapshot();
    for known in &mut snapshot.quality.probes {
        if known.name == name {
            *known = probe(name, status, why);
        }
    }
    snapshot
}

#[test]
fn a_whole_report() {
    insta::assert_snapshot!(text(&example::snapshot()));
}

#[test]
fn a_report_of_nothing_says_so() {
    insta::assert_snapshot!(text(&Snapshot::default()));
}

#[test]
fn a_section_whose_probe_is_off_says_why_and_one_nobody_knew_of_is_not_there() {
    for (probe, title) in [
        ("futex_waits", "LOCKS"),
        ("sched_waking", "LONG WAITS"),
        ("cpu_sample", "CPU"),
        ("file_calls", "I/O"),
    ] {
        let off = with_probe(probe, ProbeStatus::Off, "not asked for");
        let group = &off.quality.probes.iter().find(|known| known.name == probe);
        let group = &group.unwrap().group;
        assert_eq!(
            section_of(&off, title),
            [format!(
                "  not measured, the probe group `{group}` is off: not asked for"
            )]
        );
        let mut unknown = off.clone();
        unknown.quality.probes.retain(|known| known.name != probe);
        let text = text(&unknown);
        assert!(!text.lines().any(|line| line.starts_with(title)), "{text}");
    }
}

#[test]
fn what_was_switched_off_to_hold_a_limit_is_said_once_for_all_that_it_concerns() {
    let why = "off 80 % of the time since it was first switched off, to keep --max-overhead 2%: what it counts is of the rest";
    let mut snapshot = with_probe("sys_exit", ProbeStatus::Degraded, why);
    snapshot.quality.lost.clear();
    snapshot.quality.probes.extend([
        ProbeMeta {
            name: "wait_stacks".into(),
            status: ProbeStatus::Degraded,
            why: "no frame pointers".into(),
            ..ProbeMeta::default()
        },
        probe("file_calls", ProbeStatus::Degraded, why),
    ]);
    assert_eq!(
        section_of(&snapshot, "COST")[2..],
        [
            "  degraded  wait_stacks",
            "              no frame pointers",
            "            sys_exit, file_calls",
            "              off 80 % of the time since it was first switched off, to keep --max-overhead 2%: what",
            "              it counts is of the rest",
            "  lost      nothing",
        ]
    );
    assert!(text(&snapshot).contains("probes attached, 3 degraded, see COST;"));
}

#[test]
fn rows_that_are_not_shown_are_counted() {
    let mut snapshot = example::snapshot();
    snapshot.locks = vec![LockView::default(); 20];
    snapshot.files = vec![FileView::default(); 9];
    let last = |title| section_of(&snapshot, title).pop().unwrap();
    assert_eq!(last("LOCKS"), "  15 more (--json)");
    assert!(section_of(&snapshot, "I/O").contains(&"  3 more (--json)".to_owned()));
}

#[test]
fn descriptors_of_several_processes_are_told_apart() {
    let mut snapshot = example::snapshot();
    snapshot.processes.push(ProcessView::default());
    let io = section_of(&snapshot, "I/O");
    assert!(io[1].starts_with("  4182:12 socket 127.0.0.1:80"), "{io:?}");
    assert!(io.last().unwrap().starts_with("  epoll 4182:7: "), "{io:?}");
}

#[test]
fn tasks_that_are_watched_at_times_or_not_at_all_are_said_to_be() {
    let mut snapshot = example::snapshot();
    (snapshot.tasks.watched, snapshot.tasks.wakes_watched) = (Some(0.04), Some(0.01));
    assert_eq!(
        section_of(&snapshot, "TASKS")[1],
        "  polls were watched 4 % of the time: counts and sums are estimates; wakes 1 % of the time"
    );
    let mut snapshot = with_probe("task_poll", ProbeStatus::Off, "not asked for");
    (snapshot.tasks.watched, snapshot.tasks.wakes_watched) = (None, None);
    insta::assert_snapshot!(
        "tasks_by_samples",
        section_of(&snapshot, "TASKS").join("\n")
    );
    snapshot.tasks.followed = false;
    for view in &mut snapshot.tasks.types {
        *view = crate::model::TaskTypeView {
            name: view.name.clone(),
            alive: view.alive,
            ..Default::default()
        };
    }
    insta::assert_snapshot!(
        "tasks_only_from_memory",
        section_of(&snapshot, "TASKS").join("\n")
    );
    assert!(section_of(&snapshot, "WORKERS").is_empty());
    snapshot.tasks = crate::model::TasksView::default();
    snapshot.tasks.runtimes.push(crate::record::RuntimeMeta {
        kind: "native".into(),
        files: 7,
        notes: vec!["libfoo.so could not be read: permission denied".into()],
        ..Default::default()
    });
    assert_eq!(
        section_of(&snapshot, "TASKS"),
        [
            "  no tokio was recognised in the 7 files that were checked",
            "  libfoo.so could not be read: permission denied",
        ]
    );
    snapshot.tasks.runtimes[0] = crate::record::RuntimeMeta {
        kind: "node".into(),
        version: "20.20.2".into(),
        module: "/usr/bin/node".into(),
        files: 7,
        notes: vec!["libuv's timers: not known".into()],
        ..Default::default()
    };
    assert_eq!(
        section_of(&snapshot, "TASKS"),
        [
            "  Node.js has no tasks",
            "  node 20.20.2 in /usr/bin/node; libuv's timers: not known",
        ]
    );
    snapshot.tasks = crate::model::TasksView::default();
    let said = "  no process was looked at for a runtime: with large files that takes some seconds";
    assert_eq!(section_of(&snapshot, "TASKS"), [said]);
    snapshot.quality.probes.clear();
    assert!(!text(&snapshot).contains("TASKS"), "an older recording");
}

#[test]
fn samples_in_stacks_that_are_not_listed_are_said() {
    let mut snapshot = example::snapshot();
    snapshot.cpu.by_stack = vec![CpuStackView {
        samples: 1,
        ..CpuStackView::default()
    }];
    assert_eq!(
        section_of(&snapshot, "CPU").pop().unwrap(),
        "  500 samples, one per 10.1 ms of CPU time; 499 in rarer stacks are in no row"
    );
}

#[test]
fn the_sections_but_threads_and_calls_fit_their_columns_and_cannot_drive_the_terminal() {
    let mut snapshot = example::snapshot();
    let long = "\x1b[2J".to_owned() + &"name ".repeat(60);
    for lock in &mut snapshot.locks {
        lock.wait.count = u64::MAX;
        lock.wait.sum = Nanos(u64::MAX);
        lock.address = u64::MAX;
        lock.waiters
            .iter_mut()
            .for_each(|party| party.name.clone_from(&long));
        lock.stack = stack(&[(&long, &long, u32::MAX)]);
        lock.waker_stack = lock.stack.clone();
    }
    for wait in &mut snapshot.long_waits {
        wait.thread.clone_from(&long);
        wait.count = u64::MAX;
        wait.stack = stack(&[(&long, &long, 1)]);
    }
    for file in &mut snapshot.files {
        file.name.clone_from(&long);
        file.kind.clone_from(&long);
        file.read_bytes = u64::MAX;
        file.time = Nanos(u64::MAX);
    }
    for poll in &mut snapshot.polls {
        poll.waits = u64::MAX;
        poll.latency.p99 = Nanos(u64::MAX);
    }
    for view in &mut snapshot.tasks.types {
        (view.name, view.file) = (long.clone(), format!("/{long}"));
        (view.polls, view.busy.sum) = (u64::MAX, Nanos(u64::MAX));
        (view.completed, view.off) = (u64::MAX, [Nanos(u64::MAX); 5]);
        for found in &mut view.stacks {
            found.stack = stack(&[(&long, &long, 1)]);
        }
    }
    for runtime in &mut snapshot.tasks.runtimes {
        runtime.module.clone_from(&long);
        runtime.notes = vec![long.clone(), "x".repeat(200)];
    }
    for poller in &mut snapshot.tasks.pollers {
        poller.name.clone_from(&long);
        (poller.polls, poller.blocking) = (u64::MAX, u64::MAX);
    }
    for poll in &mut snapshot.tasks.long_polls {
        (poll.name, poll.source) = (long.clone(), long.clone());
        (poll.busy, poll.off) = (Nanos(u64::MAX), [Nanos(1 << 60); 5]);
        poll.stack = stack(&[(&long, &long, 1)]);
    }
    for view in &mut snapshot.memory.by_stack {
        view.stack = stack(&[(&long, &long, 1)]);
    }
    for view in &mut snapshot.cpu.by_stack {
        view.stack = stack(&[(&long, "", 1)]);
    }
    let text = text(&snapshot);
    let [tasks, calls] = ["TASKS", "SYSTEM"].map(|title| text.find(title).unwrap());
    let tasks = text.get(tasks..calls).unwrap();
    let after = text.lines().skip_while(|line| !line.starts_with("LOCKS"));
    for line in tasks.lines().chain(after) {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn what_node_has_in_flight_is_told_by_type_largest_first() {
    let mut snapshot = example::snapshot();
    let level = |what, kind: &str, now, max| LevelView {
        what,
        kind: Some(kind.to_owned()),
        now,
        mean: now as f64 / 2.0,
        max,
    };
    let names: Vec<String> = (b'A'..=b'K')
        .map(|letter| format!("{}WRAP", letter as char))
        .collect();
    snapshot.in_flight.truncate(1);
    snapshot.in_flight.extend([
        level(LevelView::REQUESTS, "FSREQCALLBACK", 25, 31),
        level(LevelView::REQUESTS, "GETADDRINFOREQWRAP", 1_200, 1_200),
        level(LevelView::REQUESTS, "WRITEWRAP", 0, 0),
    ]);
    let handles = names.iter().enumerate();
    let handles = handles.map(|(at, name)| level(LevelView::HANDLES, name, 40, 50 + at as u64));
    snapshot.in_flight.extend(handles);
    let lines = section_of(&snapshot, "IN FLIGHT");
    assert_eq!(
        lines[..4],
        [
            "  sockets    12 now, mean 14.2, at most 40",
            "  requests   GETADDRINFOREQWRAP      1.2 k now, mean 600.0, at most 1.2 k",
            "  requests   FSREQCALLBACK           25 now, mean 12.5, at most 31",
            "  handles    KWRAP                   40 now, mean 20.0, at most 60",
        ]
    );
    assert_eq!(lines.len(), 3 + 8 + 1);
    assert_eq!(lines[11], "  handles    of 3 more types: --json");
}
