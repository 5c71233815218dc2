//! `tracer tasks`: every live task, and where it waits, of programs that know it; without probes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it ran"
)]

mod common;
#[path = "await_tree/fixture.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod fixture;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use common::{Workload, kernel_test, wait_until};
use serde_json::Value;
use tracer::target::process;
use tracer_common::Pid;
use xtask::matrix::{Flavour, Matrix, NEWEST};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tracer"))
        .env("TRACER_CACHE_DIR", "")
        .arg("tasks")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    let found: Value = serde_json::from_str(&text(&[arguments, &["--json"]].concat())).unwrap();
    assert_eq!(found["schema"], "tracer.tasks/1");
    found
}

fn assert_says(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.contains(line), "no `{line}` in:\n{text}");
    }
}

fn program(flavour: Flavour) -> Workload {
    let matrix = Matrix::of_this_test().unwrap();
    Workload::start(&mut Command::new(matrix.program(NEWEST, flavour).unwrap()))
}

/// The program whose tasks wait in every way there is, and for each other.
struct Stuck(Child);

impl Stuck {
    fn start(profile: &str) -> Self {
        let mut child = Command::new(fixture::program(profile))
            .arg("stuck")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line == "ready"));
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tasks_of<'a>(found: &'a Value, name: &str) -> Vec<&'a Value> {
    let tasks = found["tasks"].as_array().unwrap().iter();
    tasks.filter(|task| task["type"] == name).collect()
}

/// The nodes of a tree from the root to the first leaf.
fn way_down(task: &Value) -> Vec<&Value> {
    let mut way = vec![&task["tree"]];
    while let Some(child) = way.last().and_then(|node| node["children"].get(0)) {
        way.push(child);
    }
    way
}

#[test]
fn every_task_is_listed_with_what_it_is_doing() {
    let mut workload = program(Flavour::V0);
    let pid = workload.pid().0.to_string();
    workload.ask("idle 300");
    let parked = workload.ask("park");
    let found = json(&[&pid]);
    let tasks = found["tasks"].as_array().unwrap();
    for told in parked["tasks"].as_array().unwrap() {
        let task = tasks.iter().find(|task| task["id"] == told["id"]);
        let task = task.unwrap_or_else(|| panic!("no {told}"));
        assert_eq!(task["state"], told["state"], "{told}");
        assert_eq!(task["age_ns"], Value::Null);
        let is_running = told["state"] == "running";
        let is_closure = told["future"] == "closure";
        assert_eq!(task["kind"] == "blocking", is_closure, "{task}");
        assert_eq!(task["list"].is_null(), is_closure, "{task}");
        // The thread that runs it is one of the program's.
        let tid = task["tid"].as_u64();
        assert_eq!(tid.is_some(), is_running, "{task}");
        if let Some(tid) = tid {
            let thread = format!("/proc/{pid}/task/{tid}/comm");
            assert_eq!(
                fs::read_to_string(thread).unwrap().trim(),
                task["thread"].as_str().unwrap()
            );
        }
    }
    let quality = &found["targets"][0]["quality"];
    assert_eq!(quality["whole"], true);
    assert!(quality["read_bytes"].as_u64().unwrap() > 100_000);
    let said = text(&["-p", &pid]);
    assert_says(
        &said,
        &[
            &format!("(pid {pid})\n  tokio     {NEWEST}."),
            "idler (",
            "src/parked.rs:",
            " × 300: 300 idle\n",
            "  295 more (--limit)\n",
            "nothing torn",
        ],
    );
    assert!(!said.contains("header 0x"), "{said}");
    assert_says(
        &text(&[&pid, "-v", "--limit", "1"]),
        &["header 0x", "  299 more"],
    );
    assert_says(&text(&[&pid, "--raw"]), &["::parked::idler"]);
    let trees = text(&[&pid, "--tree"]);
    assert_says(
        &trees,
        &["no trees  ", "debug = \"full\"", "trees     0 of "],
    );
}

#[test]
fn a_process_that_is_stopped_is_read_like_any_other() {
    let mut workload = program(Flavour::Release);
    workload.ask("idle 20");
    let pid = workload.pid();
    let signal = |name: &str| {
        let sent = Command::new("kill")
            .args(["-s", name, &pid.0.to_string()])
            .status();
        assert!(sent.unwrap().success());
    };
    signal("STOP");
    assert!(wait_until(Duration::from_secs(10), || process::is_stopped(
        pid
    )));
    let said = text(&[&pid.0.to_string()]);
    let still = process::is_stopped(pid);
    signal("CONT");
    assert!(still);
    assert_says(&said, &[&format!("(pid {}), stopped\n", pid.0), "20 idle"]);
}

#[test]
fn a_stripped_program_has_tasks_and_no_trees() {
    let mut workload = program(Flavour::Stripped);
    workload.ask("idle 20");
    let said = text(&[&workload.pid().0.to_string(), "--tree"]);
    assert_says(
        &said,
        &[
            "no trees  the program has no debug information and no debug file; build it with `debug = \"full\"` and `strip = false`",
            " × 20: 20 idle",
            "15 more (--limit)",
        ],
    );
}

#[test]
fn a_program_without_tokio_is_no_failure() {
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = child.id().to_string();
    assert!(wait_until(Duration::from_secs(10), || {
        process::describe(Pid(child.id())).is_some_and(|found| found.comm == "cat")
    }));
    let said = text(&[&pid, "--tree"]);
    assert!(
        said.starts_with(&format!("cat (pid {pid}): no tokio was recognised"))
            && said.contains(" files checked")
            && said.lines().count() == 1,
        "{said}"
    );
    let found = json(&[&pid]);
    assert_eq!(found["targets"][0]["runtimes"], Value::Array(Vec::new()));
    assert!(found["targets"][0]["files_checked"].as_u64() > Some(0));
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn where_tasks_wait_is_said_line_by_line() {
    let stuck = Stuck::start("plain");
    let said = text(&[&stuck.pid(), "--tree"]);
    for (name, lines) in [
        ("query", "waits for Mutex 0x"),
        ("mutex_waiter", "held by task "),
        ("sleeper", "      waits for a timer, 59m"),
        ("reader", "      waits for fd "),
        ("joiner", "waits for task 29 awaited"),
        (
            "mpsc_receiver",
            "      tokio::sync::mpsc::bounded::Receiver::recv (tokio-1.",
        ),
        ("joined", "      join! (src/branches.rs:"),
        ("alike", "      waits for an answer (oneshot) 0x"),
        ("recursive", " in each other\n"),
        ("start_yielding", " running on "),
    ] {
        let at = said.find(&format!("\n{name}"));
        let at = at.or_else(|| said.find(&format!("::{name} (")));
        let of_type = &said[at.unwrap_or_else(|| panic!("no {name} in {said}"))..];
        let of_type = of_type.split("\n\n").next().unwrap();
        assert!(
            of_type.contains(lines),
            "{name}: no `{lines}` in:\n{of_type}"
        );
    }
    assert_says(
        &said,
        &[
            "held by task 2 mutex_holder (src/locks.rs:",
            " × 4,000: 4,000 idle\n  × 4,000: task ",
            " … (4,000 different ones)\n",
            "trees::others::recursive (src/others.rs:",
            "; local to its thread\n",
            "trees::branches::right (src/branches.rs:117), × 32\n",
        ],
    );
    assert!(
        !said.contains("/root/") && !said.contains("/registry/"),
        "{said}"
    );
}

#[test]
fn tasks_that_wait_for_each_other_are_pointed_out() {
    let stuck = Stuck::start("optimized");
    let said = text(&[&stuck.pid(), "--tree"]);
    let (_, after) = said
        .split_once("\nDEADLOCK")
        .unwrap_or_else(|| panic!("{said}"));
    let deadlocks = after.split("\n\n").next().unwrap();
    for name in ["pay", "ship", "twice"] {
        assert!(
            deadlocks.contains(&format!(" {name} waits for Mutex 0x")),
            "{deadlocks}"
        );
    }
    assert!(
        !deadlocks.contains("patient"),
        "a timeout ends the wait: {deadlocks}"
    );
    assert_eq!(deadlocks.matches("▲").count(), 2, "{deadlocks}");

    let found = json(&[&stuck.pid(), "--tree"]);
    assert_eq!(
        found["targets"][0]["deadlocks"].as_array().unwrap().len(),
        2
    );
    let [pay, ship] = ["pay", "ship"].map(|name| tasks_of(&found, name)[0]);
    for (task, other) in [(pay, ship), (ship, pay)] {
        let way = way_down(task);
        let waits = &way.last().unwrap()["waits_on"];
        assert_eq!(waits["kind"], "mutex", "{task}");
        assert_eq!(waits["held_by"][0]["task"], other["id"], "{task}");
        assert_eq!(waits["held_by"][0]["variable"], "from");
        assert_eq!(way[0]["file"], "src/stuck.rs");
        assert_eq!(way[0]["holds"][0]["guard"], "mutex");
    }
    let deep = way_down(tasks_of(&found, "recursive")[0]);
    let levels: u64 = deep
        .iter()
        .map(|node| node["levels"].as_u64().unwrap())
        .sum();
    assert!(deep.len() < 8 && levels > 160, "{} of {levels}", deep.len());
    assert_eq!(tasks_of(&found, "alike").len(), 4_000);
    assert_eq!(tasks_of(&found, "local")[0]["kind"], "local");
}

#[test]
fn what_cannot_be_done_has_a_status_and_a_reason() {
    let fails = |arguments: &[&str], status: i32, words: &[&str]| {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert_says(&said, words);
    };
    fails(&[], 2, &["no target", "-p PID"]);
    fails(&["1", "-p", "1"], 2, &["cannot be used with"]);
    fails(&["--", "cat"], 2, &["running targets"]);
    fails(&["4194304"], 5, &["no process with pid 4194304"]);
    fails(&["no-such-thing-anywhere"], 5, &["no process is named"]);
    let mut ended = Command::new("true").spawn().unwrap();
    let is_dead = || !process::is_alive(Pid(ended.id()));
    assert!(wait_until(Duration::from_secs(10), is_dead));
    fails(&[&ended.id().to_string()], 5, &["has ended"]);
    ended.wait().unwrap();
}

#[test]
fn without_the_right_to_read_memory_that_is_said() {
    let name = "without_the_right_to_read_memory_that_is_said";
    // To be somebody else takes to be root.
    let Some(_kernel) = kernel_test(name) else {
        return;
    };
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tracer");
    fs::copy(env!("CARGO_BIN_EXE_tracer"), &program).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=-all",
            "--bounding-set=-all",
        ])
        .arg(&program)
        .env("TRACER_CACHE_DIR", "")
        .args(["tasks", &child.id().to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert_says(&said, &["may not be read", "sudo setcap cap_sys_ptrace"]);
    drop(child.stdin.take());
    child.wait().unwrap();
}
