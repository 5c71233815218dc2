//! Records from a text timeline: the input of most tests of the model.
//!
//! One step a line (or between `|`): a time, a verb, its arguments. `#` begins a comment. Times are those of the
//! session, which starts at 0; a step never lies before the one above it. Threads are accounted with the very
//! code that runs in the kernel.
//!
//! ```text
//! 0ms   process p1 node
//! 0ms   thread  t1 main in p1     # met in the middle, state unknown
//! 2ms   run     t1                # gets a CPU
//! 10ms  wait    t1 epoll          # leaves it: unknown futex epoll disk network fault sleep other
//! 30ms  wake    t1
//! 31ms  run     t1
//! 31ms  call    t1 read 40us      # returns from a system call that took 40 µs; `call t1 read 40us error`
//! 40ms  preempt t1
//! 50ms  spawn   t2 helper in p1   # created, runnable
//! 60ms  end     t2
//! 1s    rss     p1 1048576
//! 1s    tick
//! 1.5s  exit    p1 0
//! 1.5s  lost    0 12              # 12 losses of reason 0
//! ```

use std::collections::BTreeMap;

use thiserror::Error;
use tracer_common::{
    Edge, Event, EventHeader, LossReason, Nanos, Pid, State, SyscallKey, SyscallNr, SyscallRow,
    ThreadRow, Tid,
    event::{ProcessExit, ThreadExit, ThreadStart},
};

use crate::record::{
    Loss, Meta, ProcessMeta, ProcessSample, Record, Sample, SessionMeta, SyscallNameMeta,
    SyscallSample, ThreadNameMeta, ThreadSample,
};

/// A line that is no step.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("step {number}: `{step}`: {why}")]
pub struct ScriptError {
    /// Which step, from 1.
    pub number: usize,
    /// The step.
    pub step: String,
    /// What is wrong with it.
    pub why: String,
}

/// The records of a timeline.
///
/// # Errors
/// The first step that makes no sense.
pub fn records(script: &str) -> Result<Vec<Record>, ScriptError> {
    let mut stage = Stage::default();
    stage.out.push(Record::Meta(Meta::Session(SessionMeta {
        tool_version: "script".into(),
        profile: "default".into(),
        cpus: 2,
        interval: Nanos(1_000_000_000),
        ..SessionMeta::default()
    })));
    let steps = script
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(|line| line.split('|'));
    for (number, step) in (1..).zip(steps.map(str::trim).filter(|step| !step.is_empty())) {
        let error = |why: String| ScriptError {
            number,
            step: step.to_owned(),
            why,
        };
        stage.step(step).map_err(error)?;
    }
    Ok(stage.out)
}

#[derive(Default)]
struct Stage {
    out: Vec<Record>,
    now: Nanos,
    threads: BTreeMap<Tid, ThreadRow>,
    syscalls: BTreeMap<SyscallKey, SyscallRow>,
    numbers: BTreeMap<String, SyscallNr>,
}

impl Stage {
    fn step(&mut self, step: &str) -> Result<(), String> {
        let words: Vec<&str> = step.split_whitespace().collect();
        let (&[time, verb], rest) = words
            .split_first_chunk()
            .ok_or("a step is a time, a verb and its arguments")?;
        let at = duration(time)?;
        if at < self.now {
            return Err("lies before the step above it".into());
        }
        self.now = at;
        match (verb, rest) {
            ("process", [pid, name]) => self.process(number(pid, 'p')?, name),
            ("thread", [tid, name, "in", pid]) => {
                self.met(Tid(number(tid, 't')?), name, Pid(number(pid, 'p')?))
            }
            ("spawn", [tid, name, "in", pid]) => {
                self.spawn(Tid(number(tid, 't')?), name, Pid(number(pid, 'p')?))
            }
            ("run", [tid]) => self.edge(tid, Edge::SwitchIn)?,
            ("wake", [tid]) => self.edge(tid, Edge::Wakeup(State::RUNNABLE))?,
            ("preempt", [tid]) => self.edge(tid, Edge::SwitchOut(State::PREEMPTED))?,
            ("wait", [tid, reason]) => self.edge(tid, Edge::SwitchOut(state(reason)?))?,
            ("call", [tid, name, took]) => self.call(tid, name, took, 0)?,
            ("call", [tid, name, took, "error"]) => self.call(tid, name, took, -1)?,
            ("end", [tid]) => self.end(Tid(number(tid, 't')?))?,
            ("exit", [pid, code]) => {
                let code = code.parse::<u32>().map_err(|error| error.to_string())? << 8;
                self.event(
                    Pid(number(pid, 'p')?),
                    Tid(0),
                    Event::ProcessExit(ProcessExit { code, reserved: 0 }),
                );
            }
            ("rss", [pid, bytes]) => {
                let rss_bytes = bytes.parse().map_err(|error| format!("{error}"))?;
                let pid = Pid(number(pid, 'p')?);
                let sample = ProcessSample {
                    at,
                    pid,
                    rss_bytes,
                    minor_faults: 0,
                    major_faults: 0,
                };
                self.out.push(Record::Sample(Sample::Process(sample)));
            }
            ("lost", [reason, count]) => {
                let reason = LossReason(reason.parse().map_err(|error| format!("{error}"))?);
                let count = count.parse().map_err(|error| format!("{error}"))?;
                self.out.push(Record::Loss(Loss { reason, count }));
            }
            ("tick", []) => self.tick(),
            _ => return Err("no such verb, or not its arguments".into()),
        }
        Ok(())
    }

    fn process(&mut self, pid: u32, name: &str) {
        self.out.push(Record::Meta(Meta::Process(ProcessMeta {
            pid: Pid(pid),
            since: self.now,
            comm: name.to_owned(),
            ..ProcessMeta::default()
        })));
    }

    fn met(&mut self, tid: Tid, name: &str, pid: Pid) {
        self.threads.insert(
            tid,
            ThreadRow::new(pid, self.now, State::UNKNOWN, SyscallNr::UNSEEN),
        );
        self.name(tid, name, pid);
    }

    fn spawn(&mut self, tid: Tid, name: &str, pid: Pid) {
        self.threads.insert(
            tid,
            ThreadRow::new(pid, self.now, State::RUNNABLE, SyscallNr::NONE),
        );
        self.event(pid, Tid(0), Event::ThreadStart(ThreadStart { pid, tid }));
        self.name(tid, name, pid);
    }

    fn name(&mut self, tid: Tid, name: &str, pid: Pid) {
        let first = self.now;
        self.out.push(Record::Meta(Meta::ThreadName(ThreadNameMeta {
            pid,
            tid,
            first,
            name: name.to_owned(),
        })));
    }

    fn row(&mut self, tid: Tid) -> Result<&mut ThreadRow, String> {
        self.threads
            .get_mut(&tid)
            .ok_or_else(|| format!("there is no thread t{}", tid.0))
    }

    fn edge(&mut self, tid: &str, edge: Edge) -> Result<(), String> {
        let now = self.now;
        self.row(Tid(number(tid, 't')?))?.apply(edge, now);
        Ok(())
    }

    fn call(&mut self, tid: &str, name: &str, took: &str, result: i64) -> Result<(), String> {
        let tid = Tid(number(tid, 't')?);
        let first = self.row(tid)?.first;
        let next = SyscallNr(u32::try_from(self.numbers.len()).unwrap_or(u32::MAX));
        let nr = *self.numbers.entry(name.to_owned()).or_insert_with(|| {
            self.out
                .push(Record::Meta(Meta::SyscallName(SyscallNameMeta {
                    nr: next,
                    name: name.to_owned(),
                })));
            next
        });
        let row = self
            .syscalls
            .entry(SyscallKey { first, tid, nr })
            .or_insert(SyscallRow::EMPTY);
        row.record(Some(duration(took)?), result);
        Ok(())
    }

    fn end(&mut self, tid: Tid) -> Result<(), String> {
        let now = self.now;
        self.row(tid)?.apply(Edge::SwitchOut(State::DEAD), now);
        let row = *self.row(tid)?;
        self.threads.remove(&tid);
        self.event(
            row.pid,
            tid,
            Event::ThreadExit(ThreadExit {
                first: row.first,
                times: row.times,
                name: [0; 16],
                ready_max: row.ready_max,
            }),
        );
        Ok(())
    }

    fn event(&mut self, pid: Pid, tid: Tid, event: Event) {
        let header = EventHeader {
            at: self.now,
            pid,
            tid,
            kind: event.kind(),
            ..EventHeader::default()
        };
        self.out.push(Record::Event(header, event));
    }

    fn tick(&mut self) {
        let at = self.now;
        for (&tid, row) in &self.threads {
            self.out.push(Record::Sample(Sample::Thread(ThreadSample {
                at,
                pid: row.pid,
                tid,
                first: row.first,
                state: row.state(),
                times: row.times_at(at),
                ready_max: row.ready_max,
                waiting_on: row.waiting_on,
            })));
        }
        for (&key, row) in &self.syscalls {
            self.out.push(Record::Sample(Sample::Syscall(SyscallSample {
                key,
                count: row.count,
                errors: row.errors,
                timed: row.timed,
                sum: row.sum,
                max: row.max,
                buckets: (0..)
                    .zip(row.buckets)
                    .filter(|&(_, count)| count > 0)
                    .collect(),
                last: !self.threads.contains_key(&key.tid),
            })));
        }
        self.syscalls
            .retain(|key, _| self.threads.contains_key(&key.tid));
        self.out.push(Record::Tick(at));
    }
}

fn number(word: &str, letter: char) -> Result<u32, String> {
    word.strip_prefix(letter)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("`{word}` is not {letter}N"))
}

fn duration(word: &str) -> Result<Nanos, String> {
    if let Some((whole, unit)) = word.split_once('.') {
        // `1.5s`: humantime takes whole numbers only.
        let (digits, unit) = unit.split_at(
            unit.find(|c: char| !c.is_ascii_digit())
                .unwrap_or(unit.len()),
        );
        let scale = duration(&format!("1{unit}"))?.0;
        let part = digits.parse::<u64>().map_err(|error| error.to_string())? * scale
            / 10u64.pow(u32::try_from(digits.len()).unwrap_or(0));
        return Ok(duration(&format!("{whole}{unit}"))?.plus(Nanos(part)));
    }
    let parsed = humantime::parse_duration(word).map_err(|error| format!("`{word}`: {error}"))?;
    Ok(Nanos(u64::try_from(parsed.as_nanos()).unwrap_or(u64::MAX)))
}

fn state(word: &str) -> Result<State, String> {
    Ok(match word {
        "futex" => State::FUTEX,
        "epoll" => State::EPOLL,
        "disk" => State::DISK,
        "network" => State::NETWORK,
        "fault" => State::PAGE_FAULT,
        "sleep" => State::SLEEP,
        "other" => State::OTHER,
        _ => return Err(format!("`{word}` is no reason to wait")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_makes_no_sense_is_named() {
        for (script, why) in [
            ("1ms fly t1", "no such verb, or not its arguments"),
            ("tick", "a step is a time, a verb and its arguments"),
            ("2ms tick | 1ms tick", "lies before the step above it"),
            ("1ms run t7", "there is no thread t7"),
            ("1ms run x7", "`x7` is not tN"),
        ] {
            assert_eq!(records(script).unwrap_err().why, why);
        }
    }

    #[test]
    fn times_are_typed_as_people_write_them() {
        assert_eq!(duration("1.5s"), Ok(Nanos(1_500_000_000)));
        assert_eq!(duration("40us"), Ok(Nanos(40_000)));
    }

    #[test]
    fn the_documented_example_works() {
        let example: String = include_str!("script.rs")
            .lines()
            .skip_while(|line| *line != "//! ```text")
            .skip(1)
            .take_while(|line| *line != "//! ```")
            .map(|line| line.trim_start_matches("//!").to_owned() + "\n")
            .collect();
        assert!(records(&example).unwrap().len() > 10);
    }
}
