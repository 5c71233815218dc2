//! A poll, or a callback, that held its worker or the event loop too long.
//!
//! What took long only because the thread waited for a CPU is left out: on a busy machine everything takes longer, and
//! that is another finding.

use std::collections::BTreeMap;

use tracer_common::{Nanos, Pid, task::OFF_PARTS};

use super::{Detector, Entry, Raised, Seen, Verdict, number, time};
use crate::{
    human,
    model::{Evidence, Finding, FindingId, Severity, StackView, Subject, SubjectKind, Unit},
    record::TaskKind,
};

/// From which length on a poll counts, and from which it is critical. tokio's own rule is 10 to 100 µs between two
/// `.await`s; 10 ms is what `tokio-metrics` and people in front of a screen begin to notice under load.
const POLL: Nanos = Nanos(10_000_000);
const POLL_CRITICAL: Nanos = Nanos(50_000_000);
/// The same of an event loop, which does everything for everybody: 50 ms is a long task to browsers too
/// (<https://w3c.github.io/longtasks/>), 200 ms a person sees.
const ITERATION: Nanos = Nanos(50_000_000);
const ITERATION_CRITICAL: Nanos = Nanos(200_000_000);
/// A share of the time that is critical whatever the length: one in ten requests meets it.
const OFTEN: f64 = 0.1;
/// The share of these times that must be its own: without waiting for a CPU.
const OWN: f64 = 0.7;
/// Once is an accident, unless it is critical by its length.
const AGAIN: u64 = 2;

pub(super) const DETECTOR: Detector = Detector {
    id: FindingId::LongPoll,
    entry: Entry {
        class: "blocking",
        title: "a task's poll, or a JavaScript function, holds its worker or the event loop too long",
        matters: "Nothing else can run on that worker or loop meanwhile: each request that comes waits for it to end, \
                  however little it needs itself.",
        how: "Iterations of an event loop over 50 ms (critical: 200 ms, or a tenth of the time), polls of a task over 10 ms \
              (critical: 50 ms, or a tenth of the time), 70 % of that without waiting for a CPU; twice \
              within ten seconds, or once where it is critical. The place is where samples and waits found it for longest.",
        evidence: &[
            ("longest", "the longest of them, without waiting for a CPU"),
            ("rate", "how many in a second"),
            ("share", "their share of the time"),
            ("on_cpu", "the part of that time on a CPU"),
            (
                "waited",
                "events that came meanwhile (event loops; an estimate from their rate)",
            ),
            ("wait", "how long these waited on average (an estimate)"),
        ],
        remedy: "move the work to another thread, use the asynchronous call, or do it in pieces",
        node: "const result = await piscina.run(rows);          // npm: piscina, a pool of worker_threads\n\
               await readFile(path);                            // not readFileSync\n\
               for (const part of parts) { work(part); await setImmediate(); }",
        rust: "let result = tokio::task::spawn_blocking(move || render(&rows)).await?;\n\
               tokio::task::block_in_place(|| render(&rows));   // multi-threaded runtime only\n\
               for part in parts { work(part); tokio::task::yield_now().await; }",
        blind: "Several short callbacks in one iteration look like one long one. Of polls that are watched at times (see the \
                header), some are missed.",
    },
    judge,
    says,
};

#[derive(Default)]
struct Held {
    count: u64,
    longest: Nanos,
    sum: Nanos,
    /// Sum of the squares of their lengths, in ns².
    squares: f64,
    on_cpu: Nanos,
    /// Where the longest was; empty when that is not known.
    place: String,
}

impl Held {
    /// True when it is the longest so far.
    fn add(&mut self, busy: Nanos, off: &[Nanos; OFF_PARTS]) -> bool {
        let waited = off.iter().fold(Nanos(0), |sum, &part| sum.plus(part));
        let held = own(busy, off);
        self.count += 1;
        let is_longest = held > self.longest;
        self.longest = self.longest.max(held);
        self.sum = self.sum.plus(held);
        self.squares += held.0 as f64 * held.0 as f64;
        self.on_cpu = self.on_cpu.plus(busy.since(waited).unwrap_or_default());
        is_longest
    }

    fn severity(&self, share: f64, critical: Nanos) -> Option<Severity> {
        let is_critical = self.longest >= critical || share >= OFTEN;
        match (self.count >= AGAIN, is_critical) {
            (true, true) => Some(Severity::Critical),
            (true, false) => Some(Severity::Warning),
            (false, _) => (self.longest >= critical).then_some(Severity::Warning),
        }
    }

    fn evidence(&self, seen: &Seen<'_>, share: f64) -> Vec<Evidence> {
        vec![
            time("longest", self.longest),
            number("rate", seen.rate(self.count), Unit::PerSecond),
            number("share", share, Unit::Ratio),
            number(
                "on_cpu",
                human::share(self.on_cpu, self.sum).min(1.0),
                Unit::Ratio,
            ),
        ]
    }
}

/// Without the time in which it waited for a CPU.
fn own(busy: Nanos, off: &[Nanos; OFF_PARTS]) -> Nanos {
    let [ready, ..] = *off;
    busy.since(ready).unwrap_or_default()
}

/// True for one of this length that is mostly its own.
fn is_long(busy: Nanos, off: &[Nanos; OFF_PARTS], length: Nanos) -> bool {
    busy >= length && own(busy, off).0 as f64 >= length.0 as f64 * OWN
}

fn judge(seen: &Seen<'_>) -> Verdict {
    let (loops, tasks) = (&seen.now.loops, &seen.now.tasks);
    let mut raised = iterations(seen);
    raised.extend(polls(seen));
    let is_blind = raised.is_empty() && !loops.counted && tasks.watched.is_none();
    if is_blind {
        return Err("neither iterations of event loops nor polls are watched");
    }
    Ok(raised)
}

fn iterations(seen: &Seen<'_>) -> Vec<Raised> {
    let mut held: BTreeMap<(Pid, String), Held> = BTreeMap::new();
    for one in &seen.now.loops.long {
        if one.since < seen.then.now || !is_long(one.busy, &one.off, ITERATION) {
            continue;
        }
        let (function, place) = function(&one.stack).unwrap_or_default();
        let held = held.entry((one.pid, function)).or_default();
        if held.add(one.busy, &one.off) {
            held.place = place;
        }
    }
    let raised = held.into_iter().filter_map(|((pid, function), held)| {
        let share = seen.share(held.sum);
        let severity = held.severity(share, ITERATION_CRITICAL)?;
        let mut evidence = held.evidence(seen, share);
        evidence.extend(waited(seen, pid, &held).into_iter().flatten());
        let subject = Subject {
            kind: SubjectKind::Function,
            pid,
            // Without one it is superseded as soon as the place is known.
            name: if function.is_empty() {
                "the event loop's thread".to_owned()
            } else {
                held.place
            },
            key: function,
        };
        Some(Raised {
            severity,
            confidence: 0.95,
            weight: share,
            subject,
            evidence,
        })
    });
    raised.collect()
}

/// Events come at any moment: one that comes while the loop is held waits for half of that time on average, and long
/// ones are met more often.
fn waited(seen: &Seen<'_>, pid: Pid, held: &Held) -> Option<[Evidence; 2]> {
    let events = |loops: &crate::model::LoopsView| {
        let mut own = loops
            .loops
            .iter()
            .filter(|view| view.pid == pid && view.is_main());
        Some(own.next()?.counts.as_ref()?.events)
    };
    let came = events(&seen.now.loops)?.saturating_sub(events(&seen.then.loops).unwrap_or(0));
    let share = seen.share(held.sum);
    let mean = held.squares / (2.0 * held.sum.0.max(1) as f64);
    Some([
        number("waited", (came as f64 * share).round(), Unit::Count),
        number("wait", mean, Unit::Time),
    ])
}

/// The program's own function of JavaScript, else whichever a person would look at; and the same with a line.
fn function(stack: &StackView) -> Option<(String, String)> {
    let scripts = stack.iter().filter(|symbol| symbol.is_javascript());
    let mut frames = scripts.flat_map(|symbol| &symbol.frames);
    let own = frames.find(|frame| !frame.file.starts_with("node:") && !frame.function.is_empty());
    let own = own.map(|frame| {
        let place = |line| human::js_function(&frame.function, &frame.file, line);
        (place(0), place(frame.line))
    });
    own.or_else(|| human::place(stack).map(|place| (place.clone(), place)))
}

fn polls(seen: &Seen<'_>) -> Vec<Raised> {
    let tasks = &seen.now.tasks;
    let mut held: BTreeMap<(Pid, &str, &str), Held> = BTreeMap::new();
    for one in &tasks.long_polls {
        let mut types = tasks.types.iter();
        let of_type = types.find(|view| {
            view.pid == one.pid && view.name == one.name && view.source() == one.source
        });
        // What was handed to the blocking pool may take as long as it likes.
        let is_async = of_type.is_none_or(|view| view.kind != TaskKind::Blocking);
        if is_async && one.since >= seen.then.now && is_long(one.busy, &one.off, POLL) {
            let key = (one.pid, one.name.as_str(), one.source.as_str());
            let _ = held.entry(key).or_default().add(one.busy, &one.off);
        }
    }
    let watched = tasks.watched.unwrap_or(0.0);
    let raised = held.into_iter().filter_map(|((pid, name, source), held)| {
        // Of what is watched at times, what was not seen was as the rest.
        let share = (seen.share(held.sum) / watched.max(0.01)).min(1.0);
        let severity = held.severity(share, POLL_CRITICAL)?;
        let mut evidence = held.evidence(seen, share);
        if let Some(rate) = evidence.iter_mut().find(|one| one.metric == "rate") {
            rate.value /= watched.max(0.01);
        }
        let of_type = if source.is_empty() {
            name.to_owned()
        } else {
            format!("{name} ({source})")
        };
        let subject = Subject {
            kind: SubjectKind::Task,
            pid,
            key: of_type.clone(),
            name: of_type,
        };
        Some(Raised {
            // Nobody is hurt by a task that is alone.
            severity: if has_others(seen, pid, name) {
                severity
            } else {
                Severity::Info
            },
            confidence: 0.95 * (0.5 + watched / 2.0),
            weight: share,
            subject,
            evidence,
        })
    });
    raised.collect()
}

/// True when tasks of other types were polled too.
fn has_others(seen: &Seen<'_>, pid: Pid, name: &str) -> bool {
    let mut others = seen
        .now
        .tasks
        .types_of_tasks()
        .filter(|view| view.pid == pid && view.name != name && view.kind != TaskKind::Blocking);
    others.any(|view| {
        let before = seen.then.tasks.types.iter();
        let mut before = before.filter(|then| (then.pid, then.vtable) == (view.pid, view.vtable));
        view.polls > before.next().map_or(0, |then| then.polls)
    })
}

fn says(finding: &Finding) -> String {
    let what = match finding.subject.kind {
        SubjectKind::Task => "holds its worker for",
        SubjectKind::Function
        | SubjectKind::Thread
        | SubjectKind::Pool
        | SubjectKind::Lock
        | SubjectKind::Process => "holds the event loop for",
    };
    let mut said = format!(
        "{what} up to {}, {} times a second; {} of the time",
        human::duration(finding.time("longest")),
        human::per_second(finding.value("rate")).trim_end_matches("/s"),
        human::percent(finding.value("share")),
    );
    let waited = finding.value("waited") as u64;
    if waited > 0 {
        let wait = human::duration(finding.time("wait"));
        said.push_str(&format!(
            "; about {} events waited for it, {wait} on average",
            human::count(waited)
        ));
    }
    said
}
