//! What is in flight in a process, read from its memory, against what Node itself says is active.

use std::{collections::BTreeMap, fs, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tracer::runtime::{
    self,
    cache::Cache,
    memory::ProcessMemory,
    node::{
        Unknown,
        in_flight::{InFlight, LONGEST, Reader},
    },
};
use xtask::node::Builds;

use crate::{
    builds,
    common::{Workload, wait_until},
    timed,
};

fn script() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/node/in_flight.mjs")
}

/// A program that knows what it has started, and what reads that from outside.
struct Observed {
    workload: Workload,
    reader: Reader,
    memory: ProcessMemory,
}

impl Observed {
    fn start(mut command: Command) -> Self {
        let workload = Workload::start(command.arg(script()));
        let found = runtime::find(workload.pid(), &Cache::off());
        let node = found.node.unwrap();
        Self {
            reader: Reader::of(&node).unwrap(),
            memory: ProcessMemory::of(workload.pid()).unwrap(),
            workload,
        }
    }

    fn read(&mut self) -> InFlight {
        let (found, took) = timed(|| self.reader.read(&self.memory).unwrap());
        println!("{took:?}: {found:?}");
        found
    }

    /// What Node says after a command, and what is read then.
    fn ask(&mut self, command: &str) -> (BTreeMap<String, u64>, InFlight) {
        let answer = self.workload.ask(command);
        let said = said(&answer);
        println!("{said:?}");
        // What the command itself took is not all closed when the answer comes.
        let settles = |found: &InFlight| is_what_was_said(&said, found);
        wait_until(Duration::from_secs(5), || {
            self.reader
                .read(&self.memory)
                .is_ok_and(|found| settles(&found))
        });
        let found = self.read();
        assert!(settles(&found), "{said:?}: {found:?}");
        assert_eq!(found.threads as u64, answer["threads"].as_u64().unwrap());
        (said, found)
    }
}

/// What Node says is active, by type.
fn said(answer: &Value) -> BTreeMap<String, u64> {
    let active = answer["active"].as_object().unwrap();
    let counts = active.iter();
    let counts = counts.map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()));
    counts.collect()
}

/// Requests are the same. Handles that do not keep the process alive are not active to Node, so there may be more.
fn is_what_was_said(said: &BTreeMap<String, u64>, found: &InFlight) -> bool {
    let is_request = |kind: &str| kind.ends_with("REQWRAP") || kind.ends_with("CALLBACK");
    let (requests, handles): (BTreeMap<_, _>, BTreeMap<_, _>) = said
        .clone()
        .into_iter()
        .partition(|(kind, _)| is_request(kind));
    let mut handles = handles.iter();
    let count = |kind: &str| found.handles.get(kind).copied().unwrap_or(0);
    let all_there = handles.all(|(kind, &said)| match kind.as_str() {
        // Those are no handles.
        "TIMEOUT" | "IMMEDIATE" => true,
        // All of them are the program's own.
        "TCPWRAP" | "TCPSERVERWRAP" => count(kind) == said,
        _ => count(kind) >= said,
    });
    let is_tcp = |kind: &&str| found.handles.contains_key(*kind);
    let mut tcp = ["TCPWRAP", "TCPSERVERWRAP"].into_iter().filter(is_tcp);
    let timers = said.get("TIMEOUT").copied().unwrap_or(0);
    let has_timers = found.timers == Some(timers) && found.immediates.is_some();
    requests == found.requests && has_timers && all_there && tcp.all(|kind| said.contains_key(kind))
}

fn plant(observed: &mut Observed) {
    let (_, found) = observed.ask("workers 3");
    assert_eq!((found.threads, found.handles["TCPSERVERWRAP"]), (4, 3));
    let (said, found) = observed.ask("plant");
    for (kind, count) in [("FSREQCALLBACK", 25 + 3 * 3), ("GETADDRINFOREQWRAP", 7)] {
        assert_eq!((said[kind], found.requests[kind]), (count, count), "{kind}");
    }
    for (kind, count) in [("TCPWRAP", 40 + 3 * 4), ("TCPSERVERWRAP", 1 + 3)] {
        assert_eq!((said[kind], found.handles[kind]), (count, count), "{kind}");
    }
}

fn check(version: &str, command: Command) {
    println!("{version}:");
    let mut observed = Observed::start(command);
    let (_, found) = observed.ask("truth");
    assert_eq!((found.threads, found.requests), (1, BTreeMap::new()));
    plant(&mut observed);
    let (_, found) = observed.ask("release");
    assert_eq!((found.threads, found.requests), (1, BTreeMap::new()));
    assert_eq!((found.timers, found.immediates), (Some(0), Some(0)));
    assert!(!found.handles.contains_key("TCPWRAP"));
}

#[test]
fn what_is_in_flight_is_what_node_says_is_active() {
    for (version, program) in builds() {
        check(version, Command::new(program));
    }
}

#[test]
fn what_is_in_flight_is_known_where_node_is_in_libraries() {
    match Builds::of_this_test().unwrap().shared() {
        Ok(shared) => check("shared", shared.command()),
        Err(error) => println!("not looked at: {error:#}"),
    }
}

#[test]
fn a_stripped_copy_tells_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("server");
    for (version, program) in builds() {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&copy).arg(&program);
        assert!(strip.status().unwrap().success(), "strip {version}");
        check(version, Command::new(&copy));
    }
}

/// Nothing of it runs in the process.
#[test]
fn a_process_that_is_stopped_or_never_comes_back_tells_the_same() {
    for (version, program) in builds() {
        println!("{version}:");
        let mut observed = Observed::start(Command::new(program));
        plant(&mut observed);
        let before = observed.read();
        assert_eq!((before.timers, before.immediates), (Some(11), Some(0)));
        observed.workload.ask("spin");
        let is_spinning = wait_until(Duration::from_secs(10), || {
            let found = observed.reader.read(&observed.memory);
            found.is_ok_and(|found| found.immediates == Some(5))
        });
        assert!(is_spinning, "{version}");
        let spinning = observed.read();
        assert_eq!(
            (&before.requests, &before.handles, before.timers),
            (&spinning.requests, &spinning.handles, spinning.timers)
        );
        let pid = observed.workload.pid().0.to_string();
        let is_in = |state: char| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with(state)
        };
        assert!(is_in('R'));
        assert!(
            Command::new("kill")
                .args(["-STOP", &pid])
                .status()
                .unwrap()
                .success()
        );
        assert!(wait_until(Duration::from_secs(10), || is_in('T')));
        assert_eq!(observed.read(), spinning);
        observed.workload.kill();
        assert_eq!(
            observed.reader.read(&observed.memory),
            Err(Unknown::NotStarted)
        );
    }
}

/// With nothing in any list.
#[test]
fn a_process_with_nothing_in_flight_is_said_to_have_nothing() {
    const SAY: &str = "
        require('node:fs').writeSync(1, '{\"event\":\"ready\"}\\n');
        setInterval(() => require('node:fs').readSync(0, Buffer.alloc(1)) || process.exit(), 100);
    ";
    for (version, program) in builds() {
        let mut command = Command::new(program);
        let workload = Workload::start(command.args(["-e", SAY]));
        let node = runtime::find(workload.pid(), &Cache::off()).node.unwrap();
        let memory = ProcessMemory::of(workload.pid()).unwrap();
        let found = Reader::of(&node).unwrap().read(&memory).unwrap();
        let nothing = InFlight {
            timers: Some(1),
            immediates: Some(0),
            threads: 1,
            ..InFlight::default()
        };
        assert_eq!(found, nothing, "{version}");
    }
}

/// The lists change all the time; a read is whole, or it is none.
#[test]
fn lists_that_change_while_they_are_read_are_never_counted_wrong() {
    const READS: usize = 5_000;
    const FILES: u64 = 64;
    for (version, program) in builds() {
        let mut observed = Observed::start(Command::new(program));
        observed.workload.ask(&format!("churn {FILES}"));
        let (mut torn, mut none, mut most, mut sum) = (0, 0, 0, 0);
        for _ in 0..READS {
            match observed.reader.read(&observed.memory) {
                Ok(found) => {
                    torn += found.torn;
                    // What calls back is gone after it has started the next.
                    let count = found.requests.get("FSREQCALLBACK").copied().unwrap_or(0);
                    most = most.max(count);
                    sum += count;
                    assert!(count <= FILES + 1, "{version}: {found:?}");
                    let others = found
                        .requests
                        .keys()
                        .filter(|kind| *kind != "FSREQCALLBACK");
                    assert_eq!(others.count(), 0, "{version}: {found:?}");
                }
                Err(Unknown::Torn) => none += 1,
                Err(other) => panic!("{version}: {other}"),
            }
        }
        let mean = sum as f64 / (READS - none) as f64;
        println!(
            "{version}: at most {most}, {mean:.1} on average, {torn} torn, {none} given up of {READS}"
        );
        assert!(none * 20 < READS, "{version}: {none}");
    }
}

/// How long it takes, and what is said when it would take too long.
#[test]
fn what_takes_too_long_is_not_told_by_half() {
    let (version, program) = builds().pop().unwrap();
    let mut observed = Observed::start(Command::new(program));
    let mut last = 0;
    for count in [1_000, 2_000, 200_000] {
        observed.workload.ask(&format!("files {count}"));
        last += count;
        let (result, took) = timed(|| observed.reader.read(&observed.memory));
        println!("{version}: {last} requests in {took:?}");
        match result {
            Ok(found) => assert_eq!(found.requests["FSREQCALLBACK"], last),
            Err(unknown) => assert_eq!((unknown, last > 3_000), (Unknown::TooLong, true)),
        }
        assert!(took < Duration::from_nanos(LONGEST.0) * 2, "{took:?}");
    }
}
