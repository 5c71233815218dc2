//! `tracer tasks` on Node.js: the async functions that wait, by who awaits whom, and the JavaScript stack of the moment,
//! of a program that knows both; without probes, on each version.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use common::{Workload, wait_until};
use serde_json::Value;
use tempfile::TempDir;
use tracer::target::process;
use xtask::node::{Builds, VERSIONS};

/// What is recognised in the builds, so that it takes its time once.
static CACHE: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workloads/node/awaits.mjs")
}

/// The lines of the program by what they are marked with.
fn lines(mark: &str) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(program()).unwrap();
    let mark = format!(" // {mark}: ");
    let lines = (1..).zip(text.lines());
    let marked = lines.filter_map(|(number, line)| {
        let (_, name) = line.split_once(&mark)?;
        Some((name.to_owned(), number))
    });
    marked.collect()
}

/// The builds that can be had here; at least one.
fn builds() -> Vec<(&'static str, PathBuf)> {
    let builds = Builds::of_this_test().unwrap();
    let found = VERSIONS
        .into_iter()
        .filter_map(|version| Some((version, builds.program(version).ok()?)));
    let found: Vec<_> = found.collect();
    let versions: Vec<&str> = found.iter().map(|(version, _)| *version).collect();
    println!("looked at Node.js {}", versions.join(", "));
    assert!(!found.is_empty(), "no build of Node.js is here");
    found
}

struct Running {
    workload: Workload,
    _folder: TempDir,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        command.arg(program()).env("AWAITS_PIPE", pipe);
        Self {
            workload: Workload::start(&mut command),
            _folder: folder,
        }
    }

    fn of(program: &PathBuf) -> Self {
        Self::start(Command::new(program))
    }

    fn ask(&mut self, commands: &[&str]) {
        for command in commands {
            assert_eq!(self.workload.ask(command)["event"], "done", "{command}");
        }
    }

    /// Gives the command that it never comes back from.
    fn stick(&mut self, command: &str) {
        assert_eq!(self.workload.ask(command)["event"], "stuck");
    }

    fn look(&self, arguments: &[&str]) -> String {
        let pid = self.workload.pid().0.to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_tracer"))
            .env("TRACER_CACHE_DIR", CACHE.path())
            .arg("tasks")
            .arg(pid)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self) -> Value {
        let found: Value = serde_json::from_str(&self.look(&["--json"])).unwrap();
        assert_eq!(found["schema"], "tracer.tasks/1");
        let found = found["targets"][0]["javascript"].clone();
        let quality = &found["pending"]["quality"];
        assert_eq!(quality["whole"], true, "{found}");
        found
    }

    /// The main thread, once it is in that state and, when a function is named, in that one: the answer came before.
    fn main_thread(&self, state: &str, function: Option<&str>) -> Value {
        let mut found = Value::Null;
        let is_in = |found: &Value, name| {
            let stack = found["stack"].as_array();
            stack.is_some_and(|stack| stack.iter().any(|frame| frame["function"] == name))
        };
        let is_there = wait_until(Duration::from_secs(60), || {
            found = self.json()["threads"][0].clone();
            found["state"] == state && function.is_none_or(|name| is_in(&found, name))
        });
        assert!(is_there, "{found}");
        assert_eq!(found["main"], true);
        found
    }
}

impl Drop for Running {
    /// One that is stuck does not end by itself.
    fn drop(&mut self) {
        let pid = self.workload.pid().0.to_string();
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
    }
}

/// How many of the program's own functions are at which line.
fn counts(found: &Value) -> BTreeMap<(String, u64), u64> {
    let awaits = found["pending"]["awaits"].as_array().unwrap().iter();
    let own = awaits.filter(|one| one["file"].as_str().unwrap().ends_with("/awaits.mjs"));
    own.map(|one| {
        let name = one["function"].as_str().unwrap().to_owned();
        let line = one["line"].as_u64().unwrap_or(0);
        ((name, line), one["count"].as_u64().unwrap())
    })
    .collect()
}

/// `part <- Promise.all <- all`, with counts.
fn chains(found: &Value) -> BTreeMap<String, u64> {
    let chains = found["pending"]["chains"].as_array().unwrap().iter();
    let said = chains.map(|chain| {
        let steps = chain["steps"].as_array().unwrap().iter();
        let steps: Vec<String> = steps
            .map(
                |step| match (step["via"].as_str(), step["times"].as_u64()) {
                    (Some(via), _) => via.to_owned(),
                    (None, Some(1)) => step["function"].as_str().unwrap().to_owned(),
                    (None, Some(times)) => {
                        format!("{} x{times}", step["function"].as_str().unwrap())
                    }
                    (None, None) => "circle".to_owned(),
                },
            )
            .collect();
        (steps.join(" <- "), chain["count"].as_u64().unwrap())
    });
    let mut counts = BTreeMap::new();
    for (chain, count) in said {
        *counts.entry(chain).or_insert(0) += count;
    }
    counts
}

/// Functions with their lines, innermost first, up to the first that is not in the program's own file.
fn own_stack(thread: &Value) -> Vec<(String, Option<u64>)> {
    let stack = thread["stack"].as_array().unwrap().iter();
    let own = stack.take_while(|frame| frame["file"].as_str().unwrap().ends_with("/awaits.mjs"));
    own.map(|frame| {
        let name = frame["function"].as_str().unwrap().to_owned();
        (name, frame["line"].as_u64())
    })
    .collect()
}

const ALL: &[&str] = &[
    "plain 100",
    "all 20",
    "allSettled 10",
    "any 5",
    "race 6",
    "handedOn 7",
    "then 8",
    "last 9",
    "sum 11",
    "timer 12",
    "file 1",
    "receive 13",
    "deep 300",
    "circle 1",
];

/// What the commands above leave waiting, by what its line is marked with.
const EXPECTED: &[(&str, &str, u64)] = &[
    ("queryDb", "queryDb", 100),
    ("loadUser", "loadUser", 100),
    ("renderPage", "renderPage", 100),
    ("plain", "plain", 100),
    ("part", "part", 3 * 20 + 2 * 10 + 2 * 5 + 6 + 7 + 8 + 9),
    ("all", "all", 20),
    ("allSettled", "allSettled", 10),
    ("any", "any", 5),
    ("race", "race", 6),
    ("handedOn", "handedOn", 7),
    ("then", "then", 8),
    ("last", "last", 9),
    ("numbers", "numbers", 11),
    ("sum", "sum", 11),
    ("timer", "timer", 12),
    ("file", "file", 1),
    ("receive", "receive", 13),
    ("deep", "deep", 299),
    ("deep", "deepest", 1),
    ("circle", "circle", 2),
];

fn assert_all_is_seen(running: &mut Running) {
    running.ask(ALL);
    let found = running.json();
    let lines = lines("await");
    let expected: BTreeMap<(String, u64), u64> = EXPECTED
        .iter()
        .map(|&(name, mark, count)| ((name.to_owned(), lines[mark]), count))
        .collect();
    assert_eq!(counts(&found), expected);
    let chains = chains(&found);
    let expected = [
        ("queryDb <- loadUser <- renderPage <- plain", 100),
        ("part <- Promise.all <- all", 60),
        ("part <- Promise.allSettled <- allSettled", 20),
        ("part <- Promise.any <- any", 10),
        ("part <- race", 6),
        ("part <- handedOn", 7),
        ("part <- then(onValue) <- then", 8),
        ("part <- last", 9),
        ("numbers <- sum", 11),
        ("timer", 12),
        ("open <- file", 1),
        ("receive", 13),
        ("deep <- deep x299", 1),
        ("circle x2 <- circle", 1),
    ];
    let expected = expected.map(|(chain, count)| (chain.to_owned(), count));
    assert_eq!(chains, BTreeMap::from(expected));
    assert_eq!(found["pending"]["ready"], 0);
    let quality = &found["pending"]["quality"];
    assert_eq!(
        (&quality["changed"], &quality["moved"]),
        (&0.into(), &false.into())
    );
}

#[test]
fn each_async_function_that_waits_is_counted_at_its_line_with_who_awaits_it() {
    for (version, program) in builds() {
        println!("Node.js {version}");
        let mut running = Running::of(&program);
        assert_all_is_seen(&mut running);
        let thread = running.main_thread("idle", None);
        assert_eq!(thread["stack"], Value::Array(vec![]));
        let text = running.look(&[]);
        let lines = lines("await");
        for part in [
            format!("node      {version} in "),
            "STACK main thread (".to_owned(),
            " idle: waits for events".to_owned(),
            format!("queryDb (awaits.mjs:{}) <- loadUser", lines["queryDb"]),
            "circle (awaits.mjs:".to_owned(),
            "they wait for each other".to_owned(),
        ] {
            assert!(text.contains(&part), "no `{part}` in:\n{text}");
        }
    }
}

/// So many that they fill pages of V8 to their ends.
#[test]
fn of_many_none_is_missed() {
    let lines = lines("await");
    for (version, program) in builds() {
        println!("Node.js {version}");
        let mut running = Running::of(&program);
        running.ask(&["plain 5000", "sum 2000"]);
        let found = running.json();
        let quality = &found["pending"]["quality"];
        println!("{} ms", quality["took_ns"].as_u64().unwrap() / 1_000_000);
        let names = ["queryDb", "loadUser", "renderPage", "plain"].map(|name| (name, 5_000));
        let expected = names
            .into_iter()
            .chain([("numbers", 2_000), ("sum", 2_000)]);
        let expected: BTreeMap<(String, u64), u64> = expected
            .map(|(name, count)| ((name.to_owned(), lines[name]), count))
            .collect();
        assert_eq!(counts(&found), expected);
        let expected = [
            ("queryDb <- loadUser <- renderPage <- plain", 5_000),
            ("numbers <- sum", 2_000),
        ];
        let expected = expected.map(|(chain, count)| (chain.to_owned(), count));
        assert_eq!(chains(&found), BTreeMap::from(expected));
    }
}

#[test]
fn the_build_of_a_distribution_is_seen_as_well() {
    let Ok(shared) = Builds::of_this_test().unwrap().shared() else {
        println!("not looked at: there is no such build here");
        return;
    };
    let mut running = Running::start(shared.command());
    assert_all_is_seen(&mut running);
}

#[test]
fn what_has_ended_is_not_seen_and_what_moves_is_seen_once() {
    for (version, program) in builds() {
        println!("Node.js {version}");
        let mut running = Running::of(&program);
        running.ask(&[
            "plain 50",
            "ends 20000",
            "lost 1000",
            "churn 200",
            "worker 1",
        ]);
        let found = running.json();
        let lines = lines("await");
        let mut counts = counts(&found);
        // Nothing can go on with these: V8 has collected all but what was on its way.
        let lost = counts.remove(&("lost".to_owned(), lines["lost"]));
        assert!(lost.unwrap_or(0) <= 10, "{lost:?}");
        // The worker has one of its own.
        let expected = ["queryDb", "loadUser", "renderPage", "plain"];
        let expected = expected.map(|name| ((name.to_owned(), lines[name]), 51));
        assert_eq!(counts, BTreeMap::from(expected));
        // From now on V8 moves young objects all the time; these are old.
        running.ask(&["churn 50", "churnOn 1"]);
        for _ in 0..3 {
            let mut counts = self::counts(&running.json());
            counts.remove(&("lost".to_owned(), lines["lost"]));
            let expected = ["queryDb", "loadUser", "renderPage", "plain"];
            let expected = expected.map(|name| ((name.to_owned(), lines[name]), 51));
            assert_eq!(counts, BTreeMap::from(expected));
        }
    }
}

#[test]
fn a_process_that_hangs_says_where_and_what_could_go_on() {
    let spin = lines("hot")["spin"];
    let call = lines("calls")["hangWithReady"];
    for (version, program) in builds() {
        println!("Node.js {version}");
        let mut running = Running::of(&program);
        running.ask(&["plain 3"]);
        running.stick("hangWithReady 4");
        let mut lines_known = 0;
        let mut check = |thread: &Value| {
            let stack = own_stack(thread);
            let [(inner, line), (outer, outer_line), ..] = &stack[..] else {
                panic!("{thread}")
            };
            assert_eq!((inner.as_str(), outer.as_str()), ("spin", "hangWithReady"));
            // The loop, or its head above; where code that took over in the middle of a loop is not found, none.
            let is_line = line.is_none_or(|line| (spin - 1..=spin + 1).contains(&line));
            assert!(is_line, "{line:?}");
            lines_known += u32::from(line.is_some());
            assert_eq!(*outer_line, Some(call));
        };
        check(&running.main_thread("runs", Some("spin")));
        let pid = running.workload.pid();
        let signal = |name: &str| {
            let sent = Command::new("kill")
                .args([name, &pid.0.to_string()])
                .status();
            assert!(sent.unwrap().success());
        };
        // In some moments a function has no frame yet, or no longer: then it says that it does not know.
        let is_known = wait_until(Duration::from_secs(60), || {
            signal("-STOP");
            assert!(wait_until(Duration::from_secs(10), || process::is_stopped(
                pid
            )));
            let thread = running.json()["threads"][0].clone();
            assert_eq!(thread["state"], "halts", "{thread}");
            if thread["stack_known"] == true {
                check(&thread);
                return true;
            }
            signal("-CONT");
            false
        });
        assert!(is_known);
        println!("{lines_known} of 2 with a line");
        let found = running.json();
        let counts = chains(&found);
        let expected = [("queryDb <- loadUser <- renderPage <- plain".to_owned(), 7)];
        assert_eq!(counts, BTreeMap::from(expected));
        assert_eq!(found["pending"]["ready"], 4);
        let text = running.look(&[]);
        assert!(
            text.contains("28 async functions: 24 wait, 4 can go on"),
            "{text}"
        );
        assert!(text.contains(", stopped"), "{text}");
    }
}

#[test]
fn a_thread_that_waits_in_a_call_says_for_what_function() {
    let calls = lines("calls");
    for (version, program) in builds() {
        println!("Node.js {version}");
        let mut running = Running::of(&program);
        running.stick("block");
        let thread = running.main_thread("waits", Some("block"));
        assert_eq!(
            own_stack(&thread)[0],
            ("block".to_owned(), Some(calls["block"]))
        );
        assert_eq!(thread["syscall"], "futex");
        let mut running = Running::of(&program);
        running.stick("runOther 1");
        let thread = running.main_thread("waits", Some("spawnSync"));
        let stack = thread["stack"].as_array().unwrap();
        assert_eq!(stack[0]["function"], "spawnSync");
        let own = stack
            .iter()
            .find(|frame| frame["function"] == "runOther")
            .unwrap();
        assert_eq!(own["line"], calls["runOther"]);
    }
}
