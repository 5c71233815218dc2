//! Sizes of V8's heaps, read from a process's memory, against what V8 says of them itself.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;
use tracer::runtime::{
    self,
    cache::Cache,
    memory::ProcessMemory,
    node::{
        heap::{self, Heap},
        in_flight::Reader,
    },
};
use tracer_common::Tid;
use xtask::node::Builds;

use crate::{builds, common::Workload, timed};

/// V8 12 and later give back what is left of the areas they allocate from before they say how much is used, and the
/// answer itself takes memory: no more than a page in each space.
const SLACK: u64 = 256 << 10;

/// To write the answer takes buffers, and a collection before it gives some back.
const ANSWER: u64 = 64 << 10;

/// How often V8 is asked until it says what is read.
const ASKED: u32 = 5;

struct Observed {
    workload: Workload,
    reader: Reader,
    memory: ProcessMemory,
}

impl Observed {
    fn start(mut command: Command) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/node/heap.mjs");
        let workload = Workload::start(command.arg(script));
        let found = runtime::find(workload.pid(), &Cache::off());
        let node = found.node.unwrap();
        Self {
            reader: Reader::of(&node).unwrap(),
            memory: ProcessMemory::of(workload.pid()).unwrap(),
            workload,
        }
    }

    fn read(&mut self) -> Result<Vec<Heap>, heap::Unknown> {
        self.reader.read(&self.memory).unwrap();
        let (heaps, took) = timed(|| self.reader.heaps(&self.memory));
        println!("  read in {took:?}");
        heaps
    }

    /// What is read after a command, when V8 says the same. It may go on collecting after it has answered, so it is
    /// asked again.
    fn ask(&mut self, command: &str) -> Vec<Heap> {
        let mut answer = self.workload.ask(command);
        for _ in 0..ASKED {
            let heaps = self.read().unwrap();
            match same(&heaps, answer["heaps"].as_array().unwrap()) {
                Ok(()) => return heaps,
                Err(why) => println!("  {command}: {why}"),
            }
            answer = self.workload.ask("truth");
        }
        panic!("{command}: never the same");
    }
}

fn number(of: &Value, what: &str) -> u64 {
    of[what].as_u64().unwrap()
}

/// Within a hundredth, or the slack.
fn near(got: u64, said: u64, slack: u64, what: &str) -> Result<(), String> {
    let is_near = got.abs_diff(said) <= slack.max(said / 100);
    is_near
        .then_some(())
        .ok_or_else(|| format!("{what}: {got} instead of {said}"))
}

fn assert_near(got: u64, said: u64, slack: u64, what: &str) {
    near(got, said, slack, what).unwrap();
}

fn same(heaps: &[Heap], said: &[Value]) -> Result<(), String> {
    assert_eq!(heaps.len(), said.len());
    // Workers are found in no order; each has a larger heap than the one before.
    let mut ordered = heaps.to_vec();
    ordered[1..].sort_by_key(old);
    let mut said = said.to_vec();
    said[1..].sort_by_key(|heap| {
        let spaces = heap["spaces"].as_array().unwrap().iter();
        let mut old = spaces.filter(|space| space["space_name"] == "old_space");
        old.next().map(|space| number(space, "space_used_size"))
    });
    let mut pairs = ordered.iter().zip(&said);
    pairs.try_for_each(|(heap, said)| is_same(heap, said))
}

fn old(heap: &Heap) -> u64 {
    space(heap, "old_space")
}

/// Bytes used in a space.
fn space(heap: &Heap, name: &str) -> u64 {
    let mut spaces = heap.spaces.iter();
    let space = spaces.find(|space| space.name == name);
    space.map_or(0, |space| space.used)
}

fn is_same(heap: &Heap, said: &Value) -> Result<(), String> {
    for said in said["spaces"].as_array().unwrap() {
        let name = said["space_name"].as_str().unwrap();
        let (used, size) = (number(said, "space_used_size"), number(said, "space_size"));
        let mut spaces = heap.spaces.iter();
        let Some(space) = spaces.find(|space| space.name == name) else {
            assert_eq!((used, size), (0, 0), "{name}");
            continue;
        };
        println!(
            "    {name}: {} used of {}, V8 says {used} of {size}",
            space.used, space.committed
        );
        near(space.used, used, SLACK, name)?;
        near(space.committed, size, SLACK, name)?;
    }
    assert_eq!(heap.limit, Some(number(said, "limit")));
    for (what, got) in [
        ("external", heap.external),
        ("arrayBuffers", heap.array_buffers),
    ] {
        println!("    {what}: {got:?}, V8 says {}", said[what]);
        near(got.unwrap(), number(said, what), ANSWER, what)?;
    }
    Ok(())
}

fn check(name: &str, command: Command) {
    println!("{name}:");
    let mut observed = Observed::start(command);
    // Nobody has asked V8 yet.
    let first = observed.read().unwrap();
    assert!(first[0].used() > 1 << 20, "{first:?}");
    observed.ask("truth");
    let before = observed.ask("collect").swap_remove(0);
    observed.ask("large 40");
    let after = observed.ask("collect").swap_remove(0);
    let large = |heap: &Heap| space(heap, "large_object_space");
    assert_near(large(&after) - large(&before), 40 << 20, 64 << 10, "large");
    let after = observed.ask("buffers 20").swap_remove(0);
    let more = after.external.unwrap() - before.external.unwrap();
    assert_near(more, 20 << 20, ANSWER, "buffers");
    let heaps = observed.ask("workers 2");
    assert_eq!((heaps[0].is_main, heaps[0].tid), (true, None));
    let threads: BTreeSet<Tid> = heaps[1..].iter().filter_map(|heap| heap.tid).collect();
    assert_eq!(threads.len(), 2, "{name}");
    let pid = observed.workload.pid().0;
    for tid in &threads {
        let path = format!("/proc/{pid}/task/{}", tid.0);
        assert!(tid.0 != pid && Path::new(&path).exists(), "{tid:?}");
    }
    // One of them runs until it is told not to, and only its thread does.
    let largest = heaps[1..].iter().max_by_key(|heap| old(heap)).unwrap();
    let busy = largest.tid.unwrap();
    let used = |tid: Tid| sys_ticks(pid, tid);
    let before: Vec<_> = threads.iter().map(|&tid| (tid, used(tid))).collect();
    observed.workload.ask("spin 300");
    let most = before
        .iter()
        .max_by_key(|&&(tid, before)| used(tid) - before);
    assert_eq!(most.unwrap().0, busy, "{name}");
}

/// CPU time of a thread: in user mode, in ticks of 10 ms.
fn sys_ticks(pid: u32, tid: Tid) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{}/stat", tid.0)).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(11).unwrap().parse().unwrap()
}

/// What a copy tells in which only what add-ons need has a name.
#[test]
fn a_stripped_copy_tells_the_sizes_too() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("server");
    for (version, program) in builds() {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&copy).arg(&program);
        assert!(strip.status().unwrap().success(), "strip {version}");
        println!("stripped {version}:");
        let mut observed = Observed::start(Command::new(&copy));
        let heap = observed.ask("keep 8").swap_remove(0);
        let major: u32 = version.split('.').next().unwrap().parse().unwrap();
        // V8's own functions have no names there since Node 24.
        assert_eq!(heap.last_full.is_some(), major < 24, "{version}");
    }
}

#[test]
fn sizes_of_heaps_are_what_v8_says() {
    for (version, program) in builds() {
        check(version, Command::new(program));
    }
}

#[test]
fn sizes_of_heaps_are_known_where_node_is_in_libraries() {
    match Builds::of_this_test().unwrap().shared() {
        Ok(shared) => check("shared", shared.command()),
        Err(error) => println!("not looked at: {error:#}"),
    }
}

/// What each full collection leaves is what was kept before, and what was planted since.
#[test]
fn what_a_full_collection_leaves_grows_as_planted() {
    for (version, program) in builds() {
        println!("{version}:");
        let mut observed = Observed::start(Command::new(program));
        let full = |heaps: Vec<Heap>| heaps[0].last_full.unwrap();
        let (mut count, mut used) = full(observed.ask("collect"));
        for _ in 0..4 {
            let (next, more) = full(observed.ask("keep 8"));
            assert_eq!(next, count + 1, "{version}");
            assert_near(more - used, 8 << 20, 256 << 10, version);
            (count, used) = (next, more);
        }
    }
}
