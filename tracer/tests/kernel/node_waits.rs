//! Long waits inside of JavaScript: a program that knows in which function and on which line its main thread waits.

use std::{collections::BTreeMap, ffi::OsStr, fs, process::Command};

use serde_json::Value;
use tracer::{
    bpf::{self, probes::Group},
    record::{FrameMeta, Meta, Record, StackMeta, SymbolMeta},
};
use tracer_common::{Event, LossReason, Nanos, StackId, State, event::LongWait};

use crate::{
    common::{ByHand, Workload, agrees_once, fold, kernel_test, lost, number},
    node_builds::{self, Build, workload},
};

const MS: u64 = 1_000_000;
const WAITS: usize = 5;

/// How the program waits, and what for.
const KINDS: [(&str, State); 3] = [
    ("runChild", State::EPOLL),
    ("waitForFlag", State::FUTEX),
    ("readSlowly", State::OTHER),
];

/// The line on which a function of the program waits, from 1 on.
fn line(function: &str) -> u32 {
    let text = fs::read_to_string(workload("waits.mjs")).unwrap();
    let marked = format!("// waits: {function}");
    1 + text
        .lines()
        .position(|line| line.ends_with(&marked))
        .unwrap() as u32
}

/// A long wait of the main thread.
#[derive(Debug)]
struct Waited {
    at: Nanos,
    wait: LongWait,
    /// The functions of JavaScript on its stack, innermost first.
    js: Vec<FrameMeta>,
    frames: usize,
}

fn waited(records: &[Record]) -> Vec<Waited> {
    let mut stacks: BTreeMap<StackId, &StackMeta> = BTreeMap::new();
    let mut symbols: BTreeMap<u64, &SymbolMeta> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        match record {
            Record::Meta(Meta::Stack(stack)) => drop(stacks.insert(stack.id, stack)),
            Record::Meta(Meta::Symbol(symbol)) => drop(symbols.insert(symbol.address, symbol)),
            Record::Event(header, Event::LongWait(wait)) if wait.tid.0 == wait.pid.0 => {
                let stack = stacks.get(&wait.stack);
                let frames = stack.map_or(&[][..], |stack| &stack.frames);
                let js = frames.iter().filter(|&at| at >> 63 == 1);
                let js = js.filter_map(|at| symbols.get(at)?.frames.first().cloned());
                found.push(Waited {
                    at: header.at,
                    wait: *wait,
                    js: js.collect(),
                    frames: frames.len(),
                });
            }
            Record::Event(..)
            | Record::Sample(_)
            | Record::Meta(_)
            | Record::Loss(_)
            | Record::Tick(_) => {}
        }
    }
    found
}

fn light() -> bpf::Options {
    bpf::Options {
        groups: Group::LIGHT.to_vec(),
        ..bpf::Options::default()
    }
}

fn blocks(answer: &Value) -> Vec<(u64, u64)> {
    let blocks = answer["blocks"].as_array().unwrap().iter();
    blocks
        .map(|block| (number(block, "start_ns"), number(block, "end_ns")))
        .collect()
}

#[test]
fn each_long_wait_inside_of_javascript_names_function_and_line() {
    let Some(_kernel) = kernel_test("each_long_wait_inside_of_javascript_names_function_and_line")
    else {
        return;
    };
    for build in node_builds::all() {
        for options in [light(), bpf::Options::default()] {
            // On a busy machine a wait may be in two parts. A wrong name is one too many each time.
            let mut tries = (0..3).map(|_| each_is_named(&build, options.clone()));
            if !tries.any(|named| named.is_ok()) {
                panic!("{}: a wait is missing each time", build.name);
            }
        }
    }
}

/// `Err` when one is not there.
fn each_is_named(build: &Build, options: bpf::Options) -> Result<(), ()> {
    let mut node = build.start("waits.mjs", &[]);
    let pid = node.pid();
    let mut session = ByHand::attach(pid, options);
    session.tick();
    let mut spans = Vec::new();
    for (function, _) in KINDS {
        node.tell(&format!("{function} 60 {WAITS}"));
        session.run(Nanos(900 * MS), Nanos(100 * MS));
        spans.push(blocks(&node.answer()));
    }
    // Long waits of the loop itself.
    node.tell("idle 60 5");
    session.run(Nanos(600 * MS), Nanos(100 * MS));
    node.answer();
    let records = session.records();
    let mut all = waited(&records);
    all.retain(|waited| waited.wait.pid == pid);
    let lost = lost(&fold(&records), LossReason::JS_FRAMES_UNKNOWN);
    for ((function, state), spans) in KINDS.into_iter().zip(&spans) {
        assert_eq!(spans.len(), WAITS);
        let line = line(function);
        for &(start, end) in spans {
            let inside = |waited: &&Waited| {
                waited.wait.since.0 >= start && waited.at.0 <= end && waited.wait.state == state
            };
            let longest = all
                .iter()
                .filter(inside)
                .max_by_key(|waited| waited.at.0 - waited.wait.since.0);
            let Some(longest) = longest else {
                let near: Vec<&Waited> = all
                    .iter()
                    .filter(|waited| waited.at.0 >= start && waited.wait.since.0 <= end)
                    .collect();
                println!(
                    "{}: {function}: no wait in {start}..{end}: {near:?}",
                    build.name
                );
                return Err(());
            };
            let length = longest.at.0 - longest.wait.since.0;
            let said: Vec<String> = longest
                .js
                .iter()
                .map(|frame| format!("{} ({}:{})", frame.function, frame.file, frame.line))
                .collect();
            println!(
                "{}: {length} of {}: {} frames, {}",
                build.name,
                end - start,
                longest.frames,
                said.join(" < ")
            );
            // Stacks are taken so often only: a burst of short waits may have used that up.
            if longest.frames == 0 {
                return Err(());
            }
            assert!(length >= 45 * MS, "{}: {function}: {length}", build.name);
            let own = longest
                .js
                .iter()
                .find(|frame| !frame.file.starts_with("node:"));
            let own = own.unwrap_or_else(|| panic!("{}: {function}: {said:?}", build.name));
            assert!(own.file.ends_with("/waits.mjs"), "{own:?}");
            assert_eq!((own.function.as_str(), own.line), (function, line));
        }
    }
    assert_eq!(lost, 0, "{}", build.name);
    // To wait for events is a wait only inside of JavaScript.
    for waited in all.iter().filter(|one| one.wait.state == State::EPOLL) {
        let mut spans = spans[0].iter();
        let is_inside =
            spans.any(|&(start, end)| waited.wait.since.0 >= start && waited.at.0 <= end);
        assert!(is_inside, "{}: {:?}", build.name, waited.js);
    }
    Ok(())
}

#[test]
fn an_ordinary_service_has_no_long_wait_inside_of_javascript() {
    let Some(_kernel) = kernel_test("an_ordinary_service_has_no_long_wait_inside_of_javascript")
    else {
        return;
    };
    for build in node_builds::all() {
        // On a busy machine a page is fetched, or a lock is held by a thread that gets no CPU: once, not each time.
        agrees_once(|| waits_for_nothing(&build));
    }
}

fn waits_for_nothing(build: &Build) {
    let mut node = build.start("loop.mjs", &[]);
    let mut session = ByHand::attach(node.pid(), bpf::Options::default());
    session.tick();
    for command in ["serve 300", "idle 300", "block 30 3 50"] {
        node.ask(command);
        session.tick();
    }
    let waits = waited(&session.records());
    let inside: Vec<_> = waits
        .iter()
        .filter(|one| !one.js.is_empty() || one.wait.state == State::EPOLL)
        .map(|one| (one.wait, &one.js))
        .collect();
    assert!(inside.is_empty(), "{}: {inside:?}", build.name);
}

#[test]
fn a_report_names_the_function_that_waits() {
    let Some(_kernel) = kernel_test("a_report_names_the_function_that_waits") else {
        return;
    };
    let mut node = Workload::start(Command::new("node").arg(workload("waits.mjs")));
    node.tell("runChild 60 600");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("waits.mcap");
    let tracer = |arguments: &[&OsStr]| {
        let mut tracer = Command::new(env!("CARGO_BIN_EXE_tracer"));
        let output = tracer.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pid = node.pid().0.to_string();
    // Until it is known that this is Node there are no event loops.
    let length = ["-d", "12s", "-p", &pid, "-o"].map(OsStr::new);
    let record: Vec<&OsStr> = [OsStr::new("record")].into_iter().chain(length).collect();
    tracer(&[&record[..], &[file.as_os_str()]].concat());
    node.kill();
    let said = format!("spawnSync ← runChild (waits.mjs:{})", line("runChild"));
    let text = tracer(&[OsStr::new("report"), file.as_os_str()]);
    for title in ["\nLONG WAITS ", "\nLONG ITERATIONS "] {
        let part = text.split(title).nth(1).unwrap_or_default();
        let part = part.split("\n\n").next().unwrap_or_default();
        assert!(part.contains(&said), "{title}: {text}");
    }
    let json = tracer(&[OsStr::new("report"), OsStr::new("--json"), file.as_os_str()]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let is_named = |rows: &Value| {
        let mut rows = rows.as_array().unwrap().iter();
        rows.any(|row| {
            let mut stack = row["stack"].as_array().unwrap().iter();
            let line = format!("waits.mjs:{}", line("runChild"));
            stack.any(|frame| {
                let frame = frame.as_str().unwrap();
                frame.contains("runChild") && frame.contains(&line)
            })
        })
    };
    assert!(is_named(&json["long_waits"]), "{json}");
    assert!(is_named(&json["loop"]["long_iterations"]), "{json}");
}
