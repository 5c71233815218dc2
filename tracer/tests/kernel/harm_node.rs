//! The same for Node.js: a service that does what probes could disturb, with everything there is attached and taken off
//! many times, and by agents that are killed. Every request is answered, and the service takes no more memory for it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use tracer::{
    bpf::{self, Kernel, probes::Group},
    record::{ProbeMeta, ProbeStatus},
    runtime::{self, cache::Cache},
    source::live::{Observer, Options, points_of_node},
    target::sys,
};
use tracer_common::{Nanos, Pid, Target};
use xtask::node::{Builds, VERSIONS};

use crate::common::{ByHand, Workload, kernel_test, number, wait_until};

/// Attaching and detaching on each version, so often: more where `TRACER_HARM_CYCLES` says so.
const CYCLES: u32 = 12;
/// Agents on each version that are killed.
const KILLS: u32 = 1;
/// Requests under way at once.
const AT_ONCE: u32 = 8;
/// What is done in a storm.
const DONE: [&str; 5] = [
    "requests",
    "workers",
    "snapshots",
    "evaluations",
    "profiles",
];
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a session looks.
const LOOK: Nanos = Nanos(100_000_000);
/// How often in one storm; a whole session follows.
const STORM: u32 = 50;
/// What the memory of a heap that comes and goes differs by from one storm to the next, in bytes.
const SLACK: u64 = 48 << 20;

fn start(version: &str) -> Workload {
    let node = Builds::of_this_test().unwrap().program(version).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/node/storm.mjs");
    let mut command = Command::new(node);
    command
        .args(["--expose-gc", "--inspect=127.0.0.1:0"])
        .arg(script)
        // The inspector says there that it listens.
        .stderr(Stdio::null());
    Workload::start(&mut command)
}

fn storm(workload: &mut Workload) {
    workload.ask(&format!("storm {AT_ONCE}"));
}

/// Waits until everything was done once more.
fn goes_on(workload: &mut Workload) {
    let before = workload.ask("so-far");
    let goes_on = wait_until(PATIENCE, || {
        let now = workload.ask("so-far");
        let more = |what| number(&now, what) > number(&before, what);
        DONE.into_iter().all(more)
    });
    assert!(goes_on, "{before}");
}

/// Ends the storm, in which everything was done and nothing failed, and gives what it says.
fn calm(workload: &mut Workload) -> Value {
    let said = workload.ask("calm");
    assert_eq!(number(&said, "failed"), 0, "{said}");
    for what in DONE {
        assert!(number(&said, what) > 0, "{what}: {said}");
    }
    said
}

/// Kilobytes of the program's code that are no longer those of the file: an instruction was replaced there once.
fn replaced(pid: Pid) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/smaps", pid.0)).unwrap();
    let mut is_code = false;
    let mut sum = 0;
    for line in maps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first().is_some_and(|first| first.contains('-')) {
            is_code = words[1] == "r-xp" && words.last().unwrap().contains("/node-");
        } else if is_code && words[0] == "Anonymous:" {
            sum += words[1].parse::<u64>().unwrap();
        }
    }
    sum
}

/// A session with everything there is, from beginning to end.
fn session(pid: Pid, cache: &Cache) {
    let options = Options {
        bpf: bpf::Options {
            groups: Group::ALL.to_vec(),
            ..bpf::Options::default()
        },
        follow_children: true,
        interval: Nanos(1_000_000_000),
        profile: "full".into(),
        max_overhead: None,
    };
    let mut session = ByHand::attach_by(pid, options, Observer::new(cache.clone()));
    session.run(LOOK, LOOK);
    for group in [Group::Gc, Group::Pool].map(Group::name) {
        let mut probes = session.live.probes().iter();
        let is_on =
            |probe: &ProbeMeta| probe.group == group && probe.status == ProbeStatus::Attached;
        assert!(probes.any(is_on), "{group}");
    }
    let snapshot = session.finish();
    assert_eq!(snapshot.quality.inconsistent, 0);
    // A heap snapshot takes longer than a look: then the main thread was in no wait for events, but on a CPU.
    let mut threads = snapshot.threads.iter();
    let main = threads.find(|thread| thread.tid.is_some_and(|tid| tid.0 == pid.0));
    assert!(main.is_some_and(|main| main.wall.0 > 0), "{main:?}");
}

/// Takes groups of probes off and puts them on again, so many times.
/// Gives how many places are probed.
fn switch(pid: Pid, cache: &Cache, cycles: u32) -> u64 {
    const AT_FUNCTIONS: [Group; 4] = [Group::Pool, Group::Gc, Group::Callback, Group::Promise];
    let options = bpf::Options {
        groups: Group::ALL.to_vec(),
        ..bpf::Options::default()
    };
    let mut kernel = Kernel::load(&options).unwrap();
    let target = Target {
        since: sys::monotonic(),
        follow_children: 1,
        has_loops: 1,
    };
    assert!(kernel.add_target(pid, target).unwrap());
    let found = runtime::find(pid, cache);
    let mut places = 0;
    for (which, points) in points_of_node(pid, &found.node.unwrap()) {
        places += points.places.len() as u64;
        kernel.add_functions(which, points);
    }
    let mut groups = vec![Group::Sample, Group::Timing];
    for group in AT_FUNCTIONS {
        let probes = kernel.attach_functions(group);
        let mut statuses = probes.iter().map(|probe| probe.status);
        if statuses.any(|status| status == ProbeStatus::Attached) {
            groups.push(group);
        }
    }
    // Promises not where V8 copies their functions.
    assert!(groups.len() >= 5, "{groups:?}");
    for cycle in 0..cycles {
        for &group in &groups {
            assert!(kernel.switch(group, false), "cycle {cycle}, {group:?}");
        }
        drop(kernel.detached());
        for &group in groups.iter().rev() {
            assert!(kernel.switch(group, true), "cycle {cycle}, {group:?}");
        }
        while kernel.next_event(|_| ()).is_some() {}
    }
    // They count as they did.
    assert!(wait_until(PATIENCE, || kernel.seen().works > 0));
    places
}

#[test]
fn everything_comes_and_goes_in_a_busy_node() {
    let Some(_kernel) = kernel_test("everything_comes_and_goes_in_a_busy_node") else {
        return;
    };
    let asked = std::env::var("TRACER_HARM_CYCLES").ok();
    let cycles = asked.map_or(CYCLES, |count| count.parse().unwrap());
    let directory = std::env::temp_dir().join(format!("tracer-harm-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let cache = Cache::at(&directory).of_everything();
    for version in VERSIONS {
        let mut workload = start(version);
        let pid = workload.pid();
        storm(&mut workload);
        session(pid, &cache);
        calm(&mut workload);
        // What a storm takes by itself.
        storm(&mut workload);
        goes_on(&mut workload);
        let alone = number(&calm(&mut workload), "rss_bytes");
        let mut watched = Vec::new();
        let mut left = cycles;
        let mut places = 0;
        while left > 0 {
            storm(&mut workload);
            places = switch(pid, &cache, left.min(STORM));
            session(pid, &cache);
            left -= left.min(STORM);
            watched.push(number(&calm(&mut workload), "rss_bytes"));
        }
        let last = *watched.last().unwrap();
        let replaced = replaced(pid);
        println!(
            "{version}: {alone} bytes alone, {watched:?} after {cycles} cycles; {replaced} KiB of code replaced for {places} places"
        );
        assert!(last <= alone + SLACK);
        // A page for each instruction at most, however often: for two where functions of V8 are mapped twice.
        assert!(replaced <= places * 2 * 4);
        let truth = workload.end();
        assert_eq!(truth["final"], true);
    }
    fs::remove_dir_all(directory).unwrap();
}

#[test]
fn an_agent_that_is_killed_leaves_nothing_behind_in_node() {
    let Some(_kernel) = kernel_test("an_agent_that_is_killed_leaves_nothing_behind_in_node") else {
        return;
    };
    for version in VERSIONS {
        let mut workload = start(version);
        let pid = workload.pid();
        for _ in 0..KILLS {
            storm(&mut workload);
            let mut agent = Command::new(env!("CARGO_BIN_EXE_tracer"))
                .env("TRACER_CACHE_DIR", "")
                .args(["report", "-v", "-d", "1h", "--profile", "full"])
                .args(["--max-overhead", "none", "-p", &pid.0.to_string()])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut log = BufReader::new(agent.stderr.take().unwrap()).lines();
            let recognised = log.find(|line| {
                let line = line.as_ref().unwrap();
                line.contains("1 with Node.js")
            });
            assert!(recognised.is_some(), "it recognised Node");
            // It attaches to functions of Node now, or has.
            goes_on(&mut workload);
            agent.kill().unwrap();
            agent.wait().unwrap();
            goes_on(&mut workload);
            calm(&mut workload);
        }
        let truth = workload.end();
        assert_eq!(truth["final"], true);
    }
}
