//! The workload `tasks` tells the truth about itself, in every version and every way it is built.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use xtask::{
    Result,
    matrix::{self, Flavour, Matrix, NEWEST},
};

/// Runs `program` with `commands` on its stdin, and gives the lines it said.
fn told(program: &Path, arguments: &[&str], commands: &[&str]) -> Vec<Value> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for command in commands {
        writeln!(stdin, "{command}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", program.display());
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["event"], "ready");
    // A line for each command, the first one and the last one.
    assert_eq!(lines.len(), commands.len() + 2, "{text}");
    lines
}

/// `spawned, completed, cancelled, polls` of each kind of task.
fn numbers(line: &Value) -> Vec<(&str, [u64; 4])> {
    let kinds = line["kinds"].as_array().unwrap().iter();
    let number = |kind: &Value, field: &str| kind[field].as_u64().unwrap();
    kinds
        .map(|kind| {
            let fields = ["spawned", "completed", "cancelled", "polls"];
            assert!(kind["future"].is_string(), "{kind}");
            (
                kind["kind"].as_str().unwrap(),
                fields.map(|field| number(kind, field)),
            )
        })
        .collect()
}

/// What `go N` does on `runtimes` runtimes. A sleep that is over before it is first polled saves a poll.
fn assert_script(line: &Value, each: u64, runtimes: u64) {
    let n = each * runtimes;
    for (kind, got) in numbers(line) {
        let polls = match kind {
            "plain" | "stamped" => 4 * n,
            "block" | "boxed-twice" => 3 * n,
            "boxed-once" => 2 * n,
            "countdown" => 6 * n,
            "counted" => 5 * n,
            "sleeper" => got[3].clamp(n, 3 * n),
            "blocking" => n,
            "aborted" => {
                assert_eq!(got, [n, 0, n, n], "{kind}");
                continue;
            }
            "local" => {
                assert_eq!(got, [each, each, 0, 2 * each], "{kind}");
                continue;
            }
            other => panic!("{other} is not in the script"),
        };
        assert_eq!(got, [n, n, 0, polls], "{kind}");
    }
}

#[test]
fn every_program_does_what_the_script_says() -> Result<()> {
    let matrix = Matrix::of_this_test()?;
    for (version, flavour) in matrix::all() {
        let lines = told(&matrix.program(version, flavour)?, &[], &["go 7"]);
        let tokio = lines[0]["tokio"].as_str().unwrap();
        assert!(tokio.starts_with(&format!("{version}.")), "{tokio}");
        assert_script(&lines[1], 7, 1);
        assert_eq!(lines[2]["final"], true);
    }
    Ok(())
}

#[test]
fn every_kind_of_runtime_runs_the_script() -> Result<()> {
    let matrix = Matrix::of_this_test()?;
    for version in matrix::VERSIONS {
        let program = matrix.program(version, Flavour::Release)?;
        for runtime in ["multi_thread", "current_thread", "local"] {
            let lines = told(&program, &["--runtime", runtime], &["go 3"]);
            assert_script(&lines[1], 3, 1);
            assert_eq!(
                lines[1]["kinds"].as_array().unwrap().len(),
                if runtime == "local" { 11 } else { 10 }
            );
            let lines = told(&program, &["--runtime", runtime, "--second"], &["go 3"]);
            assert_script(&lines[1], 3, 2);
            assert_eq!(lines[2]["runtimes"].as_array().unwrap().len(), 2);
        }
    }
    Ok(())
}

#[test]
fn wakes_are_as_many_as_it_says() -> Result<()> {
    let matrix = Matrix::of_this_test()?;
    for version in matrix::VERSIONS {
        let program = matrix.program(version, Flavour::Release)?;
        let lines = told(&program, &[], &["ping 50", "nag 40"]);
        let last = lines.last().unwrap();
        let of = |name: &str| {
            let kinds = last["kinds"].as_array().unwrap();
            kinds
                .iter()
                .find(|kind| kind["kind"] == name)
                .unwrap()
                .clone()
        };
        for name in ["ping", "pong"] {
            assert_eq!(
                (&of(name)["polls"], &of(name)["wakes"]),
                (&51.into(), &50.into())
            );
            assert_eq!(of(name)["scheduled"]["count"], 50);
        }
        let nagged = of("nagged");
        assert_eq!(
            (&nagged["polls"], &nagged["idle_polls"]),
            (&42.into(), &40.into())
        );
        let wakes = lines[1]["wakes"].as_array().unwrap();
        assert_eq!(wakes[0]["waker"], wakes[1]["woken"]);
        assert!(wakes[0]["waker"].is_u64(), "{version}: tasks have numbers");
    }
    Ok(())
}

#[test]
fn what_lives_ends_when_it_is_told_to() -> Result<()> {
    let matrix = Matrix::of_this_test()?;
    for version in matrix::VERSIONS {
        let program = matrix.program(version, Flavour::Release)?;
        let commands = [
            "idle 500",
            "park",
            "load 1000",
            "truth",
            "load-end",
            "unpark",
            "idle-end",
        ];
        let lines = told(&program, &[], &commands);
        let live = |line: &Value| {
            let kinds = line["kinds"].as_array().unwrap().iter();
            kinds
                .map(|kind| kind["live"].as_u64().unwrap())
                .sum::<u64>()
        };
        let parked = lines[2]["tasks"].as_array().unwrap().len() as u64;
        assert_eq!(live(&lines[4]), 500 + parked + 5, "{version}");
        assert_eq!(live(&lines[8]), 0, "{version}");
        let mut ids: Vec<_> = lines[2]["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["id"].as_u64().unwrap())
            .collect();
        ids.dedup();
        assert_eq!(ids.len() as u64, parked);
    }
    Ok(())
}

#[test]
fn work_takes_as_long_as_it_says() -> Result<()> {
    let program = Matrix::of_this_test()?.program(NEWEST, Flavour::Release)?;
    let commands = [
        "slow 5 2",
        "blocking 5 4",
        "in-place 2 3",
        "storm 300 8",
        "yields 100 3",
    ];
    let lines = told(&program, &["--blocking-threads", "4"], &commands);
    let last = lines.last().unwrap();
    let of = |name: &str, what: &str| {
        let kinds = last["kinds"].as_array().unwrap();
        let kind = kinds.iter().find(|kind| kind["kind"] == name).unwrap();
        kind[what]["sum_ns"]
            .as_u64()
            .or(kind[what].as_u64())
            .unwrap()
    };
    for name in ["spinner", "dozer", "lock-waiter"] {
        assert!(of(name, "busy") >= 10_000_000, "{name}");
    }
    assert!(of("pooled", "busy") >= 20_000_000);
    assert!(of("pooled", "queued") >= lines[2]["least_queued_ns"].as_u64().unwrap());
    assert!(of("in-place", "busy") >= 6_000_000);
    assert_eq!(
        (of("request", "completed"), of("request", "polls")),
        (300, 600)
    );
    assert_eq!(of("yielder", "polls"), 303);
    Ok(())
}
