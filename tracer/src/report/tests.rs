//! The JSON report: every number is in the catalogue, and what is absent has a reason.

use super::*;
use crate::{metric, model::LevelView};

/// Walks every number of the report.
fn numbers(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                numbers(&path, value, found);
            }
        }
        serde_json::Value::Array(items) => {
            items
                .iter()
                .for_each(|item| numbers(&format!("{at}[]"), item, found));
        }
        serde_json::Value::Number(_) => found.push(at.to_owned()),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::String(_) => {}
    }
}

#[test]
fn every_measured_number_is_in_the_catalogue_and_the_other_way_round() {
    let json = serde_json::to_value(Report::new(&example::snapshot())).unwrap();
    let mut found = Vec::new();
    numbers("", &json, &mut found);
    // Numbers that name something and measure nothing.
    found.retain(|path| {
        let name = path.rsplit('.').next().unwrap();
        ![
            "pid",
            "parent_pid",
            "tid",
            "fd",
            "exit_status",
            "id",
            "async_id",
            "line",
            "trigger_async_id",
            "runtime",
        ]
        .contains(&name)
    });
    for number in &found {
        let known = metric::all().any(|metric| metric.id == number);
        assert!(known, "{number} is not in the catalogue");
    }
    for metric in metric::all() {
        assert!(
            found.iter().any(|number| number == metric.id),
            "{} is never shown",
            metric.id
        );
    }
}

#[test]
fn the_parts_of_a_thread_add_up_to_its_wall_time_whatever_the_states() {
    let json = serde_json::to_value(Report::new(&example::snapshot())).unwrap();
    let thread = &json["threads"][0];
    let off_cpu: u64 = thread["off_cpu"]
        .as_object()
        .unwrap()
        .values()
        .map(|part| part.as_u64().unwrap())
        .sum();
    let sum =
        off_cpu + thread["on_cpu_ns"].as_u64().unwrap() + thread["runnable_ns"].as_u64().unwrap();
    assert_eq!(sum, thread["wall_ns"].as_u64().unwrap());
}

/// Walks every `null` of the report.
fn nulls(at: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                let path = format!("{at}.{name}");
                nulls(path.trim_start_matches('.'), value, found);
            }
        }
        serde_json::Value::Array(items) => {
            items
                .iter()
                .for_each(|item| nulls(&format!("{at}[]"), item, found));
        }
        serde_json::Value::Null => found.push(at.to_owned()),
        serde_json::Value::Number(_)
        | serde_json::Value::Bool(_)
        | serde_json::Value::String(_) => {}
    }
}

fn nulls_and_reasons(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let json = serde_json::to_value(Report::new(snapshot)).unwrap();
    let mut found = Vec::new();
    nulls("", &json, &mut found);
    let reasons = json["quality"]["not_measured"].as_array().unwrap();
    let fields = reasons
        .iter()
        .map(|reason| reason["field"].as_str().unwrap().to_owned());
    (found, fields.collect())
}

#[test]
fn what_was_not_measured_is_null_with_a_reason() {
    let (nulls, reasons) = nulls_and_reasons(&Snapshot::default());
    assert!(
        nulls.contains(&"syscalls".to_owned()),
        "no probe, no numbers"
    );
    for field in nulls.iter().filter(|field| *field != "cpu.quota_cpus") {
        assert!(reasons.contains(field), "{field} is null without a reason");
    }
    for field in reasons.iter().filter(|field| !field.contains("[]")) {
        assert!(nulls.contains(field), "{field} has a value and a reason");
    }
}

#[test]
fn what_was_measured_has_a_value_and_no_reason() {
    let (nulls, reasons) = nulls_and_reasons(&example::snapshot());
    // What only one of two runtimes has stands with a reason, and with a value elsewhere.
    let of_one = ["pools[].running_now", "pools[].queued_now"];
    let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
    let rest: Vec<&str> = reasons
        .into_iter()
        .filter(|field| !of_one.contains(field))
        .collect();
    assert!(rest.is_empty(), "{rest:?}");
    // Those that say something by being absent: it lives, it is not known by name, none was timed.
    let says_so = [
        "targets[].exit_status",
        "files[].kind",
        "files[].name",
        "threads[].pid",
        "threads[].tid",
        "threads[].role",
        "targets[].runtime.version",
        "targets[].runtime.module",
        "tasks[].source",
        "tasks[].raw_type",
        "tasks[].wakers[].type",
        "live_tasks[].id",
        "live_tasks[].source",
        "live_tasks[].runtime",
        "live_tasks[].tid",
        "live_tasks[].polled_for_ns",
        "callbacks[].function",
        "long_polls[].source",
        "long_polls[].id",
        "findings[].subject.pid",
    ];
    let none_was_timed = |field: &str| {
        let ends = [".p50_ns", ".p99_ns", ".max_ns"];
        ends.iter().any(|end| field.ends_with(end))
    };
    for field in nulls.iter().filter(|field| !none_was_timed(field)) {
        assert!(
            of_one.contains(&field.as_str()) || says_so.contains(&field.as_str()),
            "{field} is null"
        );
    }
}

/// The example with less known about tasks.
fn with_tasks(change: impl FnOnce(&mut TasksView)) -> Snapshot {
    let mut snapshot = example::snapshot();
    change(&mut snapshot.tasks);
    snapshot
}

fn why(snapshot: &Snapshot, field: &str) -> String {
    let missing = not_measured(snapshot);
    let found = missing.into_iter().find(|missing| missing.field == field);
    found.map_or_else(
        || format!("{field} is measured"),
        |missing| missing.why.into(),
    )
}

#[test]
fn what_is_not_known_of_tasks_is_null_with_a_reason() {
    let nothing_watched = with_tasks(|tasks| {
        (tasks.watched, tasks.wakes_watched) = (None, None);
        for view in &mut tasks.types {
            (view.spawned, view.wakes) = (None, None);
            (view.redundant_wakes, view.self_wakes) = (None, None);
            view.scheduled = Distribution::default();
        }
    });
    let mut nothing_known = nothing_watched.clone();
    nothing_known.tasks.followed = false;
    let json = serde_json::to_value(Report::new(&nothing_watched)).unwrap();
    assert_eq!(
        json["tasks"][0]["cpu_samples"], 310,
        "by the task that runs"
    );
    assert_eq!(json["tasks"][0]["off_cpu"]["futex_ns"], 310_000_000);
    assert!(json["tasks"][0]["polls"].is_null());
    let mut without_samples = nothing_watched.clone();
    let mut probes = without_samples.quality.probes.iter_mut();
    let sampling = probes.find(|probe| probe.name == "cpu_sample").unwrap();
    sampling.status = crate::record::ProbeStatus::Off;
    let sampled = with_tasks(|tasks| {
        tasks.watched = Some(0.04);
        for view in &mut tasks.types {
            (view.spawned, view.alive) = (None, None);
        }
    });
    let native = with_tasks(|tasks| {
        *tasks = TasksView::default();
        tasks.runtimes.push(crate::record::RuntimeMeta {
            pid: tracer_common::Pid(4182),
            kind: "native".to_owned(),
            files: 7,
            ..Default::default()
        });
    });
    assert_eq!(
        why(&native, "tasks"),
        "no tokio was recognised in the 7 files that were checked"
    );
    let mut node = native.clone();
    node.tasks.runtimes[0].kind = "node".to_owned();
    assert_eq!(why(&node, "tasks"), "Node.js has no tasks");
    assert_eq!(
        why(&nothing_watched, "tasks[].polls"),
        "polls are not watched: the probe task_poll has not been on yet"
    );
    assert_eq!(
        why(&nothing_known, "tasks[].off_cpu"),
        "polls are not watched: the probe task_poll has not been on yet; nor is the task known that a thread runs: \
         this session has no probe running_task"
    );
    assert_eq!(
        why(&without_samples, "tasks[].stacks"),
        "the probe group `sample` is off or was refused"
    );
    assert_eq!(
        why(&sampled, "tasks[].spawned"),
        "polls are not watched all the time: a task that came may have gone unseen"
    );
    let (everything, _) = nulls_and_reasons(&example::snapshot());
    for snapshot in [
        nothing_watched,
        nothing_known,
        without_samples,
        sampled,
        native,
    ] {
        let (nulls, reasons) = nulls_and_reasons(&snapshot);
        for field in nulls.iter().filter(|field| !everything.contains(field)) {
            // A runtime that was not recognised has no file.
            let says_so = field.starts_with("targets[].runtime.");
            assert!(
                says_so || reasons.contains(field),
                "{field} is null without a reason"
            );
        }
    }
}

#[test]
fn what_node_has_in_flight_has_its_type_and_what_is_not_known_its_reason() {
    let mut snapshot = example::snapshot();
    snapshot.in_flight.push(LevelView {
        what: LevelView::REQUESTS,
        kind: Some("FSREQCALLBACK".to_owned()),
        now: 25,
        mean: 12.5,
        max: 31,
    });
    let json = serde_json::to_value(Report::new(&snapshot)).unwrap();
    let entries = json["in_flight"].as_array().unwrap();
    assert!(entries[0].get("kind").is_none(), "sockets have no types");
    let want = serde_json::json!({
        "what": "requests", "kind": "FSREQCALLBACK", "now": 25, "mean": 12.5, "max": 31,
    });
    assert_eq!(entries.last(), Some(&want));
    snapshot.resources_unknown = Some("nobody looked".to_owned());
    let kind = "in_flight[].kind";
    assert_eq!(
        why(&snapshot, kind),
        "in_flight[].kind is measured",
        "no Node"
    );
    snapshot.tasks.runtimes[0].kind = "node".to_owned();
    assert_eq!(why(&snapshot, kind), "nobody looked");
    snapshot.resources_unknown = None;
    assert_eq!(why(&snapshot, kind), "in_flight[].kind is measured");
    assert!(why(&snapshot, "in_flight[]").starts_with("promises that no async function awaits"));
}

#[test]
fn roles_are_told_by_what_threads_polled() {
    let role = |snapshot: &Snapshot| {
        let json = serde_json::to_value(Report::new(snapshot)).unwrap();
        json["threads"][0]["role"].clone()
    };
    assert_eq!(role(&example::snapshot()), "worker");
    let blocking = with_tasks(|tasks| tasks.pollers[0].polls = 0);
    assert_eq!(role(&blocking), "blocking");
    let neither = with_tasks(|tasks| tasks.pollers.clear());
    assert_eq!(role(&neither), "other");
    let unknown = with_tasks(|tasks| tasks.watched = None);
    assert!(role(&unknown).is_null());
}
