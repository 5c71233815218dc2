//! JavaScript functions of a Node.js process by name: a program that knows which function it keeps busy, on which line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Stdio},
};

use tracer::{
    bpf::{self, probes::Group},
    record::{FrameMeta, Meta, Record, StackMeta, SymbolMeta},
};
use tracer_common::{Event, LossReason, Nanos, Pid, StackId};

use crate::{
    common::{ByHand, Workload, fold, kernel_test, lost},
    node_builds::{self, Build, workload},
};

/// Every function of the program and of what it imports.
const OWN: &[&str] = &[
    "crunch",
    "square",
    "sumOfSquares",
    "Parser",
    "parseHuge",
    "matchSlowly",
    "grow",
    "spinOnce",
    "blockLoop",
    "repeat",
    "run",
    "span",
    "nowNs",
    "say",
    "onEnd",
    "once",
    "sumOfSquares",
    "(anonymous)",
];

/// The lines a function is on, and the one it spends its time on, from 1 on.
struct Lines {
    hot: BTreeMap<String, u32>,
    whole: BTreeMap<String, std::ops::RangeInclusive<u32>>,
}

impl Lines {
    fn read() -> Self {
        let text = fs::read_to_string(workload("functions.mjs")).unwrap();
        let mut lines = Self {
            hot: BTreeMap::new(),
            whole: BTreeMap::new(),
        };
        let all: Vec<&str> = text.lines().collect();
        for (number, line) in (1..).zip(&all) {
            // Not the comment that says so.
            let Some((_, name)) = line.split_once("; // hot: ") else {
                continue;
            };
            lines.hot.insert(name.to_owned(), number);
            let begins = |line: &&str| {
                let line = line.trim_start();
                let line = line.strip_prefix("function ").unwrap_or(line);
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('('))
            };
            let first = 1 + all.iter().position(begins).unwrap() as u32;
            lines.whole.insert(name.to_owned(), first..=number + 6);
        }
        lines
    }
}

/// A sample inside a span in which the program was busy.
struct Sample {
    /// The innermost function of JavaScript, and what ran in it.
    js: Option<(FrameMeta, String)>,
}

/// What the program did, and the samples taken meanwhile.
struct Ran {
    samples: Vec<Sample>,
    records: Vec<Record>,
}

/// Runs one command in a process with these options, while it is traced.
fn run(build: &Build, flags: &[&str], name: &str, length: Nanos) -> Ran {
    let mut command = build.command();
    let mut program = Workload::start(command.args(flags).arg(workload("functions.mjs")));
    let options = bpf::Options {
        groups: Group::LIGHT.to_vec(),
        ..bpf::Options::default()
    };
    let pid = program.pid();
    let mut session = ByHand::attach(pid, options);
    program.tell(&format!("{name} {}", length.0 / 1_000_000));
    session.run(Nanos(length.0 * 5 / 4), Nanos(100_000_000));
    let answer = program.answer();
    let spans: Vec<(f64, f64)> = answer["spans"]
        .as_array()
        .unwrap()
        .iter()
        .map(|span| (span[0].as_f64().unwrap(), span[1].as_f64().unwrap()))
        .collect();
    let records = session.records();
    let samples = samples(&records, pid, &spans);
    Ran { samples, records }
}

fn samples(records: &[Record], pid: Pid, spans: &[(f64, f64)]) -> Vec<Sample> {
    let mut stacks: BTreeMap<StackId, &StackMeta> = BTreeMap::new();
    let mut symbols: BTreeMap<u64, &SymbolMeta> = BTreeMap::new();
    let mut found = Vec::new();
    for record in records {
        match record {
            Record::Meta(Meta::Stack(stack)) => drop(stacks.insert(stack.id, stack)),
            Record::Meta(Meta::Symbol(symbol)) => drop(symbols.insert(symbol.address, symbol)),
            Record::Event(header, Event::CpuSample(sample)) if header.tid.0 == pid.0 => {
                let at = header.at.0 as f64;
                let is_busy = spans.iter().any(|&(from, to)| from <= at && at <= to);
                let frames = stacks.get(&sample.stack).map(|stack| &stack.frames);
                let js = frames.into_iter().flatten().find_map(|at| {
                    let symbol = symbols.get(at).filter(|_| at >> 63 == 1)?;
                    Some((symbol.frames.first()?.clone(), symbol.module.clone()))
                });
                if is_busy {
                    found.push(Sample { js });
                }
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

/// No name that the program does not have.
fn assert_nothing_invented(ran: &Ran) {
    let mut symbols: BTreeSet<(String, String)> = BTreeSet::new();
    for record in &ran.records {
        if let Record::Meta(Meta::Symbol(symbol)) = record {
            for frame in &symbol.frames {
                symbols.insert((frame.function.clone(), frame.file.clone()));
            }
        }
    }
    for (function, file) in symbols {
        if file.ends_with(".mjs") {
            assert!(OWN.contains(&function.as_str()), "{function} in {file}");
        } else {
            assert!(file.starts_with("node:"), "{function} in {file}");
        }
    }
}

/// What is asked of the samples of one function.
struct Expected {
    /// The functions that are at the inner end.
    tops: &'static [&'static str],
    /// What may run in them: nearly always one of these.
    kinds: &'static [&'static str],
    /// The share of samples whose line is known.
    lines: f64,
}

/// Runs a command and asserts that nearly each sample is named: function and file, and a line of it that it may be on. Up
/// to three times, because on a busy machine there are few samples; a wrong name is one too many each time.
fn assert_named(build: &Build, flags: &[&str], name: &str, expected: &Expected) {
    const LENGTH: Nanos = Nanos(2_000_000_000);
    let mut why = String::new();
    for _ in 0..3 {
        let ran = run(build, flags, name, LENGTH);
        assert_nothing_invented(&ran);
        match named(build, &ran, flags, name, expected) {
            Ok(()) => return,
            Err(not) => why = not,
        }
    }
    panic!("{why}");
}

/// `Err` when too few samples are named, and which.
fn named(
    build: &Build,
    ran: &Ran,
    flags: &[&str],
    name: &str,
    expected: &Expected,
) -> Result<(), String> {
    let lines = Lines::read();
    // In Node 18 code that takes the place of a loop which runs is not found: what was compiled into the function around it
    // is not told then, nor a line. That is no name, and no wrong one.
    let is_told = |sample: &&Sample| {
        let top = sample.js.as_ref();
        build.major() > 18 || top.is_none_or(|(top, kind)| top.line > 0 || kind != "[javascript]")
    };
    let samples: Vec<&Sample> = ran.samples.iter().filter(is_told).collect();
    let all = samples.len();
    if all < 30 {
        return Err(format!("{name}: {all} samples"));
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let (mut right, mut with_line, mut hot, mut of_kind) = (0, 0, 0, 0);
    for sample in samples {
        let (top, kind) = sample.js.clone().unwrap_or_default();
        let file = top.file.rsplit('/').next().unwrap_or_default();
        let said = format!("{} ({file}:{}) {kind}", top.function, top.line);
        *seen.entry(said).or_default() += 1;
        of_kind += usize::from(expected.kinds.contains(&kind.as_str()));
        if !expected.tops.contains(&top.function.as_str()) || file != "functions.mjs" {
            continue;
        }
        right += 1;
        if top.line > 0 {
            let whole = &lines.whole[&top.function];
            assert!(whole.contains(&top.line), "{name}: {top:?}");
            with_line += 1;
            hot += usize::from(lines.hot[&top.function] == top.line);
        }
    }
    let lost = lost(&fold(&ran.records), LossReason::JS_FRAMES_UNKNOWN);
    println!(
        "{}: {name} {flags:?}: of {all} {right} right, {with_line} with a line, {hot} on the hot one, {lost} frames not \
         found: {seen:?}",
        build.name
    );
    let is_named = right * 100 >= all * 95;
    let has_lines = with_line as f64 >= all as f64 * expected.lines;
    if is_named && has_lines && of_kind * 10 >= all * 8 {
        return Ok(());
    }
    Err(format!(
        "{name}: of {all} {right} right, {with_line} with a line, {of_kind} of that kind: {seen:?}"
    ))
}

const OPTIMISED: &[&str] = &["[turbofan]", "[maglev]"];

/// Options that keep V8 from optimising, as far as this one has them.
fn not_optimised(build: &Build, more: &[&'static str]) -> Vec<&'static str> {
    let mut flags = vec!["--no-opt"];
    let mut probe = build.command();
    let probe = probe.args(["--no-maglev", "-e", "0"]).stderr(Stdio::null());
    if probe.status().unwrap().success() {
        flags.push("--no-maglev");
    }
    flags.extend(more);
    flags
}

#[test]
fn a_function_that_blocks_the_loop_is_named_with_its_line() {
    let Some(_kernel) = kernel_test("a_function_that_blocks_the_loop_is_named_with_its_line")
    else {
        return;
    };
    let expected = Expected {
        tops: &["blockLoop"],
        kinds: OPTIMISED,
        lines: 0.95,
    };
    for build in node_builds::all() {
        assert_named(&build, &[], "blockLoop", &expected);
    }
}

#[test]
fn each_kind_of_code_leads_to_its_function_and_line() {
    let Some(_kernel) = kernel_test("each_kind_of_code_leads_to_its_function_and_line") else {
        return;
    };
    // The other versions are in the table of the README; here an old way to compile and a new one.
    for build in node_builds::versions().iter().skip(1).step_by(3) {
        each_kind(build);
    }
}

fn each_kind(build: &Build) {
    let interpreted = Expected {
        tops: &["crunch"],
        // A handler may have used the registers for something else.
        kinds: &["[interpreted]", "[javascript]"],
        lines: 0.5,
    };
    assert_named(
        build,
        &not_optimised(build, &["--no-sparkplug"]),
        "crunch",
        &interpreted,
    );
    let baseline = Expected {
        tops: &["crunch"],
        kinds: &["[baseline]"],
        lines: 0.9,
    };
    assert_named(
        build,
        &not_optimised(build, &["--always-sparkplug"]),
        "crunch",
        &baseline,
    );
    let optimised = |tops| Expected {
        tops,
        kinds: OPTIMISED,
        lines: 0.95,
    };
    assert_named(build, &[], "crunch", &optimised(&["crunch"]));
    assert_named(
        build,
        &[],
        "sumOfSquares",
        &optimised(&["square", "sumOfSquares"]),
    );
    // Code that takes the place of a loop that runs is not found in Node 18: the function around it is named.
    if build.major() > 18 {
        // Until its loop is replaced it takes a while.
        let replaced = Expected {
            lines: 0.8,
            ..optimised(&["spinOnce"])
        };
        assert_named(build, &[], "spinOnce", &replaced);
    }
}

#[test]
fn native_work_is_that_of_the_function_that_asked_for_it() {
    let Some(_kernel) = kernel_test("native_work_is_that_of_the_function_that_asked_for_it") else {
        return;
    };
    for (build, tops) in node_builds::all().iter().flat_map(|build| {
        [
            (build, &["parseHuge"]),
            (build, &["matchSlowly"]),
            (build, &["grow"]),
        ]
    }) {
        let expected = Expected {
            tops,
            kinds: &["[interpreted]", "[baseline]", "[maglev]", "[turbofan]"],
            lines: 0.9,
        };
        assert_named(build, &[], tops[0], &expected);
    }
}

#[test]
fn a_report_has_the_functions_of_javascript() {
    let Some(_kernel) = kernel_test("a_report_has_the_functions_of_javascript") else {
        return;
    };
    let mut workload = Workload::start(Command::new("node").arg(workload("functions.mjs")));
    workload.tell("blockLoop 60000");
    let report = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["report", "--duration", "5s", "--profile", "light", "-p"])
        .arg(workload.pid().0.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(report.stdout).unwrap();
    workload.kill();
    let cpu = text.split("\nCPU ").nth(1).unwrap_or_default();
    let cpu = cpu.split("\n\n").next().unwrap_or_default();
    assert!(cpu.contains(" blockLoop (functions.mjs)"), "{text}");
}
