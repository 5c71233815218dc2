//! What the tests on the running kernel share: the ground-truth program, deadlines, and the count of what ran.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses a part of it"
)]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;
use tracer::{
    bpf,
    model::{Model, Snapshot},
    record::{CounterKey, CounterSample, Record, Sample},
    runtime::cache::Cache,
    source::live::{Live, Observer, Options},
    target::sys,
};
use tracer_common::{LossReason, Nanos, Pid, Table};

/// Held by a test on the kernel: they measure, so one runs at a time.
pub struct Kernel(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

/// Begins a test on the kernel, or says that it cannot run. Every test on the kernel begins with it.
///
/// `TRACER_KERNEL_TESTS` names a file that gets a line for each, so that a run without privileges does not look
/// like one that passed.
pub fn kernel_test(name: &str) -> Option<Kernel> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let missing = sys::missing_capabilities();
    let line = if missing.is_empty() {
        format!("ran {name}")
    } else {
        format!(
            "skipped {name}: needs {}",
            missing
                .iter()
                .map(|one| one.name())
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    println!("{line}");
    if let Some(path) = std::env::var_os("TRACER_KERNEL_TESTS") {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        // One write: tests that begin at the same time must not share a line.
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    missing
        .is_empty()
        .then(|| Kernel(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// A program of `workloads/` that was built with the tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples")
        .join(name);
    assert!(
        path.exists(),
        "{} is missing: run the tests with cargo test",
        path.display()
    );
    path
}

/// A child that is driven over its stdin and answers in JSON lines. It ends when this is dropped.
pub struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub ready: Value,
}

impl Workload {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut workload = Self {
            child,
            stdin,
            stdout,
            ready: Value::Null,
        };
        workload.ready = workload.line().expect("a ready line");
        assert_eq!(workload.ready["event"], "ready");
        workload
    }

    /// The program that knows its own numbers.
    pub fn truth() -> Self {
        Self::start(&mut Command::new(example("truth")))
    }

    pub fn node(arguments: &[&str]) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("workloads/node")
            .join(arguments[0]);
        Self::start(Command::new("node").arg(script).args(&arguments[1..]))
    }

    pub fn pid(&self) -> Pid {
        Pid(self.child.id())
    }

    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        (self.stdout.read_line(&mut line).unwrap() > 0)
            .then(|| serde_json::from_str(&line).unwrap())
    }

    /// Sends a command and waits for its answer.
    pub fn ask(&mut self, command: &str) -> Value {
        self.tell(command);
        self.answer()
    }

    /// Sends a command and goes on.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Waits for the answer to a command.
    pub fn answer(&mut self) -> Value {
        let answer = self.line().expect("an answer");
        assert!(answer.get("error").is_none(), "{answer}");
        answer
    }

    /// Ends it in the middle of what it does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes its stdin and gives its last line of truth.
    pub fn end(mut self) -> Value {
        drop(self.stdin.take());
        let mut last = Value::Null;
        while let Some(line) = self.line() {
            last = line;
        }
        assert!(self.child.wait().unwrap().success());
        last
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It ends by itself; a test that fails while it is stuck must not hang.
        if !wait_until(Duration::from_secs(10), || {
            matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
        }) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for a condition. False when it did not come true in time.
pub fn wait_until(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
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

/// A session a test drives by hand: no threads, no ticks but its own.
pub struct ByHand {
    pub live: Live,
    pub records: Vec<Record>,
    observer: Observer,
}

impl ByHand {
    pub fn attach(pid: Pid, bpf: bpf::Options) -> Self {
        Self::attach_with(
            pid,
            Options {
                bpf,
                follow_children: true,
                interval: Nanos(1_000_000_000),
                profile: "default".into(),
                max_overhead: None,
            },
        )
    }

    pub fn attach_with(pid: Pid, options: Options) -> Self {
        Self::attach_by(pid, options, Observer::new(Cache::off()))
    }

    /// The same, with an observer that may know something already.
    pub fn attach_by(pid: Pid, options: Options, observer: Observer) -> Self {
        let mut records = Vec::new();
        let live = Live::attach(&[pid], options, &mut records).unwrap();
        let mut session = Self {
            live,
            records,
            observer,
        };
        session.observe();
        session
    }

    /// Lets the observer answer what is asked of it.
    pub fn observe(&mut self) {
        for question in self.live.questions() {
            if let Some(answer) = self.observer.answer(question) {
                self.live.answered(answer, &mut self.records);
            }
        }
    }

    /// Lets time pass, and does what a session does in it.
    pub fn run(&mut self, length: Nanos, interval: Nanos) {
        // Nobody sends: a wait with a deadline.
        let (_sender, clock) = std::sync::mpsc::channel::<()>();
        let end = sys::monotonic().plus(length);
        let mut next = sys::monotonic().plus(interval);
        loop {
            let now = sys::monotonic();
            if now >= end {
                return;
            }
            if now >= next {
                self.tick();
                next = now.plus(interval);
            }
            if self.live.due().is_some_and(|due| due <= now) {
                self.live.keep_to_plan();
            }
            drop(self.live.detached());
            let until = self.live.due().map_or(next, |due| due.min(next)).min(end);
            let left = until.since(sys::monotonic()).unwrap_or_default();
            let _ = clock.recv_timeout(Duration::from_nanos(left.0));
        }
    }

    /// Reads the counters and closes a window.
    pub fn tick(&mut self) {
        self.live.tick(&mut self.records);
        drop(self.live.detached());
        self.observe();
    }

    /// Detaches and gives what the model says of it all.
    pub fn finish(self) -> Snapshot {
        fold(&self.records())
    }

    /// Detaches and gives all records.
    pub fn records(mut self) -> Vec<Record> {
        self.live.drain(&mut self.records);
        self.observe();
        let _ = self.live.finish(&mut self.records);
        self.records
    }
}

/// The rows of one table as the records have them, those that were forgotten and came back summed up word by word.
pub fn rows<T: Table>(records: &[Record]) -> BTreeMap<T::Key, T::Row> {
    let mut sums: BTreeMap<CounterKey, (BTreeMap<u32, u64>, CounterSample)> = BTreeMap::new();
    for record in records {
        let Record::Sample(Sample::Counter(sample)) = record else {
            continue;
        };
        if sample.table != T::NUMBER {
            continue;
        }
        let (before, now) = sums.entry(sample.key).or_default();
        if sample.last {
            for &(place, word) in &sample.words {
                *before.entry(place).or_default() += word;
            }
            *now = CounterSample::default();
        } else {
            now.clone_from(sample);
        }
    }
    sums.into_iter()
        .map(|(key, (mut words, now))| {
            for (place, word) in now.words {
                *words.entry(place).or_default() += word;
            }
            let sum = CounterSample {
                words: words.into_iter().collect(),
                ..CounterSample::default()
            };
            (key.read(), sum.row())
        })
        .collect()
}

/// What was lost for one reason.
pub fn lost(snapshot: &Snapshot, reason: LossReason) -> u64 {
    snapshot
        .quality
        .lost
        .iter()
        .find(|(lost, _)| *lost == reason)
        .map_or(0, |&(_, count)| count)
}

pub fn fold(records: &[Record]) -> Snapshot {
    let mut model = Model::new();
    records.iter().for_each(|record| model.apply(record));
    model.snapshot()
}

/// Asserts that `got` is within `share` of `want`.
pub fn assert_close(what: &str, got: u64, want: u64, share: f64) {
    let off = (got as f64 - want as f64).abs() / want as f64;
    assert!(
        off <= share,
        "{what}: {got} against {want}, {:.2} % off",
        off * 100.0
    );
}

/// Measures up to three times until two clocks agree. A virtual CPU can be taken away for milliseconds in the middle of a
/// switch, between the kernel's reading of the clock and the probe's; an error of ours would be there each time.
pub fn agrees_once(mut measure: impl FnMut()) {
    for _ in 0..2 {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut measure)).is_ok() {
            return;
        }
    }
    measure();
}

pub fn number(value: &Value, field: &str) -> u64 {
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("no {field} in {value}"))
}
