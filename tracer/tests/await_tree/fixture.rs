//! The program of `workloads/trees`: built once, run, its truth read, its tasks found.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tracer::runtime::{
    self, Mapped,
    cache::Cache,
    memory::ProcessMemory,
    tokio::{
        Kind, Layout,
        live::Scan,
        tree::{TaskAt, Trees},
    },
};
use tracer_common::{Nanos, Pid};

pub(crate) const LAYOUT: Layout = Layout {
    vtable: 16,
    owner: 24,
};

/// Builds the program with one of its profiles. Cargo keeps what was built, and lets one build at a time.
pub(crate) fn program(profile: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads/trees");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trees");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--profile", profile])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .unwrap();
    assert!(built.success());
    target.join(profile).join("trees")
}

/// Waits for a condition. False when it did not come true in time.
pub(crate) fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    #[expect(clippy::disallowed_methods, reason = "a deadline is wall time")]
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// What the program says about a task.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) id: u64,
    pub(crate) facts: HashMap<String, Vec<String>>,
    /// Frames on all ways, and those on one of them.
    common: Vec<(String, u32)>,
    apart: BTreeMap<u64, Vec<(String, u32)>>,
}

impl Truth {
    /// Functions and lines on the way to each thing it waits for.
    pub(crate) fn ways(&self) -> Vec<Vec<(String, u32)>> {
        if self.apart.is_empty() {
            return vec![self.common.clone()];
        }
        let ways = self.apart.values();
        ways.map(|rest| self.common.iter().chain(rest).cloned().collect())
            .collect()
    }

    /// True when the address is in the place of this name.
    pub(crate) fn has(&self, place: &str, address: u64) -> bool {
        let numbers: Vec<u64> = self.facts[place]
            .iter()
            .map(|number| number.parse().unwrap())
            .collect();
        (numbers[0]..numbers[0] + numbers[1]).contains(&address)
    }
}

fn truth(lines: &[String]) -> BTreeMap<String, Truth> {
    let mut truth: BTreeMap<String, Truth> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let task = truth.entry(words[1].to_owned()).or_default();
        match (words[0], &words[2..]) {
            ("task", [id]) => task.id = id.parse().unwrap(),
            ("at", [way, function, line]) => {
                let frame = ((*function).to_owned(), line.parse().unwrap());
                match way.parse() {
                    Ok(way) => task.apart.entry(way).or_default().push(frame),
                    Err(_) => task.common.push(frame),
                }
            }
            (what, values) => {
                let values = values.iter().map(|value| (*value).to_owned());
                task.facts
                    .entry(what.to_owned())
                    .or_default()
                    .extend(values);
            }
        }
    }
    truth
}

/// The program while it runs. It ends with its standard input.
pub(crate) struct Running {
    child: Child,
    pub(crate) truth: BTreeMap<String, Truth>,
    pub(crate) tokio: Mapped,
}

impl Running {
    /// Starts it; all its tasks wait when this returns.
    pub(crate) fn start(program: &Path) -> Self {
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let lines = stdout.lines().map(Result::unwrap);
        let lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
        Self {
            truth: truth(&lines),
            tokio: runtime::find(Pid(child.id()), &Cache::off())
                .tokio
                .pop()
                .unwrap(),
            child,
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    pub(crate) fn memory(&self) -> ProcessMemory {
        ProcessMemory::of(self.pid()).unwrap()
    }

    /// The task types it has, and whether there can be trees of them.
    pub(crate) fn types_known(&self, trees: &Trees) -> Vec<(String, bool)> {
        let polls: BTreeSet<u64> = trees.polls().collect();
        let types = self.tokio.holds.types.iter();
        types
            .map(|of| (of.name.clone(), polls.contains(&of.poll)))
            .collect()
    }

    /// Its live tasks by id.
    pub(crate) fn tasks(&self) -> BTreeMap<u64, TaskAt> {
        let tokio = &self.tokio.holds;
        let mut scan = Scan::of(self.pid(), &[(tokio, self.tokio.bias)]);
        while !scan.advance(&self.memory(), Nanos(1_000_000_000)) {}
        let tasks = scan.found().tasks;
        let tasks = tasks.iter().filter(|task| task.kind == Kind::Async);
        tasks
            .map(|task| {
                let task_at = TaskAt {
                    header: task.header,
                    poll: tokio.types[task.task_type].poll,
                    layout: tokio.layout,
                };
                (task.id.unwrap(), task_at)
            })
            .collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
