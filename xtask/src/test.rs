//! `cargo xtask test`: everything that can be checked here, in one run that goes on after a failure.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use xtask::{matrix, route::Route, tool};

use crate::{
    setup,
    story::say,
    tally::{KernelTests, Tests},
    workspace::{self, Workspace},
};

/// Names the file to which kernel tests append whether they ran.
const KERNEL_TESTS: &str = "TRACER_KERNEL_TESTS";

/// The command. `--ci` also fails when a kernel test did not run; every other argument goes to `cargo test`.
pub(crate) fn command(arguments: &[String]) -> Result<ExitCode> {
    let (ci, arguments): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|argument| *argument == "--ci");
    let workspace = Workspace::find()?;
    setup::run(&workspace)?;
    setup::programs_to_attach_to(&workspace)?;

    let mut failures = Vec::new();
    for (what, command) in checks(&workspace) {
        check(what, command, &mut failures);
    }
    let tests = run_tests(&workspace, &arguments, &mut failures)?;
    let kernel =
        KernelTests::of_report(&fs::read_to_string(report(&workspace)).unwrap_or_default());
    if !ci.is_empty() && (kernel.ran == 0 || kernel.not_run > 0) {
        failures.push("kernel tests");
    }

    println!();
    for (why, count) in &kernel.reasons {
        println!("kernel tests not run: {count} because {why}");
    }
    println!("tests: {tests}");
    println!("kernel tests: {kernel}");
    if failures.is_empty() {
        println!("all good");
        return Ok(ExitCode::SUCCESS);
    }
    println!("failed: {}", failures.join(", "));
    Ok(ExitCode::FAILURE)
}

fn report(workspace: &Workspace) -> std::path::PathBuf {
    workspace.target.join("kernel-tests")
}

/// What is checked before the tests, by name.
fn checks(workspace: &Workspace) -> Vec<(&'static str, Command)> {
    let mut format = workspace.cargo("fmt");
    format.arg("--check");
    let mut format_kernel = workspace.cargo("fmt");
    format_kernel.args(["--check", "--manifest-path", "tracer-ebpf/Cargo.toml"]);
    let mut lint = workspace.cargo("clippy");
    lint.args([
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]);

    let mut checks = vec![
        ("format", format),
        ("format of tracer-ebpf", format_kernel),
        ("lint", lint),
    ];
    checks.extend(checks_of_tasks(workspace));
    match lint_kernel(workspace) {
        Some(command) => checks.push(("lint of tracer-ebpf", command)),
        None => {
            say("not linting tracer-ebpf: no compiler for the kernel target here comes with clippy")
        }
    }
    if tool::find("cargo-deny").is_some() {
        let mut deny = workspace.cargo("deny");
        deny.args(["check", "licenses", "bans", "sources"]);
        checks.push(("licences and sources", deny));
    }
    checks
}

/// The workload `tasks` is no part of the workspace. One of its projects stands for all: the sources are the same.
fn checks_of_tasks(workspace: &Workspace) -> [(&'static str, Command); 3] {
    let cargo = |subcommand, arguments: &[&str]| {
        let mut command = workspace.cargo(subcommand);
        command
            .args(["--manifest-path", matrix::NEWEST_MANIFEST])
            .args(arguments)
            .env(
                "CARGO_TARGET_DIR",
                workspace.target.join("matrix/build/checks"),
            );
        command
    };
    [
        ("format of tasks", cargo("fmt", &["--check"])),
        (
            "lint of tasks",
            cargo(
                "clippy",
                &["--locked", "--all-targets", "--", "-D", "warnings"],
            ),
        ),
        ("tests of tasks", cargo("test", &["--locked", "--quiet"])),
    ]
}

fn lint_kernel(workspace: &Workspace) -> Option<Command> {
    let linker = tool::bpf_linker()?;
    let route = Route::available().into_iter().find(Route::has_clippy)?;
    let package = workspace.root.join("tracer-ebpf");
    let mut command = route.cargo("clippy", &linker, &package, &workspace.target.join("bpf"));
    command.args(["--", "-D", "warnings"]);
    Some(command)
}

fn check(what: &'static str, mut command: Command, failures: &mut Vec<&'static str>) {
    say(format_args!("checking: {what}"));
    if let Err(error) = workspace::run(&mut command) {
        say(format_args!("{error:#}"));
        failures.push(what);
    }
}

/// Runs the tests, shows what they print, and adds up their results.
fn run_tests(
    workspace: &Workspace,
    arguments: &[&String],
    failures: &mut Vec<&'static str>,
) -> Result<Tests> {
    let report = report(workspace);
    fs::create_dir_all(&workspace.target)
        .with_context(|| format!("create {}", workspace.target.display()))?;
    fs::write(&report, "").with_context(|| format!("write {}", report.display()))?;

    say("running the tests");
    let mut child = test_command(workspace, &report, arguments)
        .spawn()
        .context("start cargo test")?;
    let mut sum = Tests::default();
    if let Some(stdout) = child.stdout.take() {
        // Tests may print bytes that are no text.
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.context("read from cargo test")?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            if let Some(tests) = Tests::of_line(&line) {
                sum += tests;
            }
        }
    }
    let status = child.wait().context("wait for cargo test")?;
    if !status.success() || sum.failed > 0 {
        failures.push("tests");
    }
    Ok(sum)
}

fn test_command(workspace: &Workspace, report: &Path, arguments: &[&String]) -> Command {
    let mut command = workspace.cargo("test");
    command
        .args(["--workspace", "--locked", "--no-fail-fast"])
        .args(arguments)
        .env(KERNEL_TESTS, report)
        .stdout(Stdio::piped());
    command
}
