//! The comparison: each observer on each workload, between two windows without any.

use std::{path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    child::Child,
    observer::{Inside, OBSERVERS, Observer},
    options::Options,
    process,
    table::{self, time},
    wait,
    workload::{Running, WORKLOADS, Workload},
};
use crate::{story::say, workspace::Workspace};

/// What one workload gave.
pub(crate) struct Column {
    pub(crate) workload: &'static Workload,
    /// CPU nanoseconds per operation without an observer, one for each window, in their order.
    pub(crate) bare: Vec<f64>,
    /// For each observer, in their order, what its rounds gave.
    pub(crate) cells: Vec<Vec<Sample>>,
}

/// What one window with an observer gave.
pub(crate) struct Sample {
    /// CPU nanoseconds per operation.
    pub(crate) observed: f64,
    /// Which of the bare windows came before; the next one came after.
    pub(crate) after_bare: usize,
    pub(crate) own: Own,
}

/// What an observer uses itself.
#[derive(Clone, Copy)]
pub(crate) enum Own {
    /// One that is a process of its own.
    Beside {
        /// In CPUs.
        cpu: f64,
        resident: u64,
    },
    /// One inside the observed program: the memory of both after so many operations.
    Inside { resident: u64, operations: u64 },
}

/// A program may take no more memory for what is inside it: it is ended then, and measured up to there.
const MOST_MEMORY: u64 = 2 << 30;

/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

impl Column {
    /// The mean of the two bare windows around `sample`.
    pub(crate) fn bare_around(&self, sample: &Sample) -> f64 {
        let before = self.bare[sample.after_bare];
        let after = self.bare.get(sample.after_bare + 1).unwrap_or(&before);
        (before + after) / 2.0
    }

    /// Each bare window over the mean of its neighbours: what the method finds where there is nothing to find.
    pub(crate) fn noise(&self) -> Vec<f64> {
        let ratio = |three: &[f64]| three[1] / ((three[0] + three[2]) / 2.0);
        self.bare.windows(3).map(ratio).collect()
    }
}

/// Measures, and prints the tables. A workload that cannot be measured fails the command, but not the others.
pub(crate) fn run(workspace: &Workspace, options: &Options, logs: &Path) -> Result<ExitCode> {
    let observers = here(workspace, &options.observers);
    ensure!(!observers.is_empty(), "none of the observers is installed");
    let mut columns = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for workload in &WORKLOADS {
        if !Options::chooses(&options.only, workload.name) {
            continue;
        }
        match measure(workspace, workload, &observers, options, logs) {
            Ok(column) => columns.push(column),
            Err(error) => {
                say(format_args!("no {}: {error:#}", workload.name));
                code = ExitCode::FAILURE;
            }
        }
    }
    print!("{}", table::markdown(&observers, &columns, options));
    Ok(code)
}

/// The chosen observers that are installed.
fn here(workspace: &Workspace, chosen: &[String]) -> Vec<&'static Observer> {
    let chosen = |observer: &&Observer| Options::chooses(chosen, observer.name);
    let mut found = Vec::new();
    for observer in OBSERVERS.iter().filter(chosen) {
        let missing = observer
            .missing_package()
            .or_else(|| observer.missing_npm_package(workspace));
        match missing {
            None => found.push(observer),
            Some(package) => say(format_args!(
                "going on without {}: it is not installed (package {package})",
                observer.name
            )),
        }
    }
    found
}

fn measure(
    workspace: &Workspace,
    workload: &'static Workload,
    observers: &[&'static Observer],
    options: &Options,
    logs: &Path,
) -> Result<Column> {
    let mut running = workload.start(workspace, logs)?;
    let mut bare = Vec::new();
    let mut cells: Vec<Vec<Sample>> = observers.iter().map(|_| Vec::new()).collect();
    for round in 0..options.rounds {
        for place in order(round, observers.len()) {
            let observer = observers[place];
            if !observer.observes(workload) {
                continue;
            }
            let before = cost(&mut running, options.window)?;
            bare.push(before);
            let step = format!("{} {}/{}", workload.name, round + 1, options.rounds);
            let found = match observer.inside() {
                None => observed(workspace, observer, &mut running, options.window, logs),
                Some(inside) => {
                    drop(running);
                    let found = observed_inside(workspace, workload, inside, options.window, logs);
                    running = workload.start(workspace, logs)?;
                    found
                }
            };
            match found {
                Ok((observed, own)) => {
                    say(format_args!(
                        "{step}: {} {}, bare {} ({:.2})",
                        observer.name,
                        time(observed),
                        time(before),
                        observed / before
                    ));
                    cells[place].push(Sample {
                        observed,
                        after_bare: bare.len() - 1,
                        own,
                    });
                }
                Err(error) => say(format_args!("{step}: no {}: {error:#}", observer.name)),
            }
        }
    }
    bare.push(cost(&mut running, options.window)?);
    Ok(Column {
        workload,
        bare,
        cells,
    })
}

/// Every other round runs backwards, so that what drifts with time favours nobody.
fn order(round: u32, count: usize) -> Vec<usize> {
    if round.is_multiple_of(2) {
        (0..count).collect()
    } else {
        (0..count).rev().collect()
    }
}

fn observed(
    workspace: &Workspace,
    observer: &Observer,
    running: &mut Running,
    window: Duration,
    logs: &Path,
) -> Result<(f64, Own)> {
    let mut child = observer.attach(workspace, running.observed_pid(), logs)?;
    let started = wait::now();
    let before = process::cpu_time(child.pid())?;
    let observed = cost(running, window)?;
    let own = own(&mut child, before, started)?;
    child.end()?;
    Ok((observed, own))
}

/// The same with an observer that is inside another build of the workload.
fn observed_inside(
    workspace: &Workspace,
    workload: &Workload,
    inside: Inside,
    window: Duration,
    logs: &Path,
) -> Result<(f64, Own)> {
    let mut running = workload.start_with(Some(inside), workspace, logs)?;
    let pid = running.measured_pid();
    let observed = cost_while(&mut running, window, || {
        Ok(process::resident(pid)? < MOST_MEMORY)
    })?;
    let own = Own::Inside {
        resident: process::resident(pid)?,
        operations: running.operations()?,
    };
    Ok((observed, own))
}

/// What `child` has used since `started`, when it had used `before`.
fn own(child: &mut Child, before: Duration, started: std::time::Instant) -> Result<Own> {
    ensure!(
        child.ended()?.is_none(),
        "it ended while it was measured\n{}",
        crate::quiet::tail(&child.printed())
    );
    let used = process::cpu_time(child.pid())?.saturating_sub(before);
    Ok(Own::Beside {
        cpu: used.as_secs_f64() / (wait::now() - started).as_secs_f64(),
        resident: process::resident(child.pid())?,
    })
}

/// CPU nanoseconds per operation over the next `window`.
fn cost(running: &mut Running, window: Duration) -> Result<f64> {
    cost_while(running, window, || Ok(true))
}

/// The same, but no longer than `goes_on`.
fn cost_while(
    running: &mut Running,
    window: Duration,
    mut goes_on: impl FnMut() -> Result<bool>,
) -> Result<f64> {
    let before = running.reading()?;
    let end = wait::now() + window;
    while goes_on()? {
        let left = end.saturating_duration_since(wait::now());
        if left.is_zero() {
            break;
        }
        wait::pass(left.min(LOOK));
    }
    let after = running.reading()?;
    let operations = after.operations.saturating_sub(before.operations);
    ensure!(
        operations > 0,
        "the workload did nothing in {} s",
        window.as_secs_f64()
    );
    let used = after
        .cpu
        .checked_sub(before.cpu)
        .context("a thread of the workload has ended, and its CPU time with it")?;
    let cost = used.as_nanos() as f64 / operations as f64;
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_round_runs_backwards() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
    }

    #[test]
    fn a_machine_that_slows_down_steadily_shows_no_cost() {
        let sample = |observed, after_bare| Sample {
            observed,
            after_bare,
            own: Own::Beside {
                cpu: 0.0,
                resident: 0,
            },
        };
        let column = Column {
            workload: &WORKLOADS[0],
            bare: vec![100.0, 120.0, 140.0],
            cells: vec![vec![sample(110.0, 0), sample(130.0, 1)]],
        };
        let around = |sample| column.bare_around(sample);
        let bare: Vec<f64> = column.cells[0].iter().map(around).collect();
        assert_eq!(bare, [110.0, 130.0]);
        assert_eq!(column.noise(), [1.0]);
    }
}
