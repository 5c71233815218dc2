//! Tasks of async runtimes in words.

use tracer_common::{Nanos, task::OFF_PARTS};

use super::{duration, percent, sanitise, share};
use crate::record::{ProbeMeta, ProbeStatus};

/// What a thread does in a poll: on a CPU, then [`tracer_common::task::off_parts`].
const POLL_PARTS: [&str; OFF_PARTS + 1] = [
    "on a CPU",
    "waiting for a CPU",
    "in futex waits",
    "in I/O",
    "in page faults",
    "asleep or else",
];

/// How the time in polls divides, on a CPU first, which is what the others leave of it.
#[must_use]
pub fn poll_parts(busy: Nanos, off: &[Nanos; OFF_PARTS]) -> [Nanos; OFF_PARTS + 1] {
    let off_cpu = off.iter().fold(Nanos(0), |sum, &part| sum.plus(part));
    let [ready, futex, io, fault, other] = *off;
    let on_cpu = busy.since(off_cpu).unwrap_or_default();
    [on_cpu, ready, futex, io, fault, other]
}

/// The same in words, the parts that are not nothing: `3.1 ms on a CPU, 88.0 ms in futex waits`.
#[must_use]
pub fn poll_split(busy: Nanos, off: &[Nanos; OFF_PARTS]) -> String {
    let parts = POLL_PARTS.iter().zip(poll_parts(busy, off));
    let parts = parts.filter(|(_, time)| time.0 > 0);
    let said: Vec<String> = parts
        .map(|(words, time)| format!("{} {words}", duration(time)))
        .collect();
    said.join(", ")
}

/// The same as shares, those that count: `94 % on a CPU, 5 % in futex waits`.
#[must_use]
pub fn poll_shares(busy: Nanos, off: &[Nanos; OFF_PARTS]) -> String {
    let shares = POLL_PARTS
        .iter()
        .zip(poll_parts(busy, off).map(|part| share(part, busy)));
    let said: Vec<String> = shares
        .filter(|&(_, share)| share >= 0.005)
        .map(|(words, share)| format!("{} {words}", percent(share)))
        .collect();
    said.join(", ")
}

/// Why `what` is not watched, by what became of the probe that would: `polls are not watched: the probe task_poll is
/// off (not asked for)`.
#[must_use]
pub fn not_watched(probes: &[ProbeMeta], probe: &str, what: &str) -> String {
    missing(&format!("{what} are not watched"), probes, probe)
}

/// Why samples and waits cannot be charged to tasks: neither are polls watched, nor is it known which task a thread runs.
#[must_use]
pub fn not_charged(probes: &[ProbeMeta]) -> String {
    let polls = not_watched(probes, "task_poll", "polls");
    let running = missing(
        "nor is the task known that a thread runs",
        probes,
        "running_task",
    );
    format!("{polls}; {running}")
}

fn missing(said: &str, probes: &[ProbeMeta], probe: &str) -> String {
    let Some(known) = probes.iter().find(|known| known.name == probe) else {
        return format!("{said}: this session has no probe {probe}");
    };
    match known.status {
        ProbeStatus::Attached | ProbeStatus::Degraded => {
            format!("{said}: the probe {probe} has not been on yet")
        }
        ProbeStatus::Refused | ProbeStatus::Off => format!(
            "{said}: the probe {probe} is {} ({})",
            known.status.name(),
            sanitise(&known.why)
        ),
    }
}

/// A source position without what it has in common with all others: what is relative to its package stays, of an
/// absolute path the package remains.
#[must_use]
pub fn source(source: &str) -> &str {
    if !source.starts_with('/') {
        return source.trim_start_matches("../");
    }
    let file = source.rfind("/src/").or_else(|| source.rfind('/'));
    let directory = file.and_then(|at| source.get(..at)?.rfind('/'));
    directory
        .and_then(|at| source.get(at + 1..))
        .unwrap_or(source)
}

/// A type of task with its source position: `fetch_user (src/handlers.rs:20)`.
#[must_use]
pub fn task_type(name: &str, source: &str) -> String {
    match self::source(source) {
        "" => name.to_owned(),
        // A type without a name is called by its place.
        source if source.ends_with(name) => source.to_owned(),
        source => format!("{name} ({source})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_position_keeps_its_package() {
        for (whole, short) in [
            ("", ""),
            ("src/main.rs:3", "src/main.rs:3"),
            ("../src/main.rs:3", "src/main.rs:3"),
            ("crates/api/src/main.rs:3", "crates/api/src/main.rs:3"),
            (
                "/home/me/.cargo/registry/src/index-6f17d22bba15001f/hyper-1.6.0/src/proto/h1.rs:20",
                "hyper-1.6.0/src/proto/h1.rs:20",
            ),
            ("/srv/app/main.rs:7", "app/main.rs:7"),
            ("/main.rs:7", "/main.rs:7"),
        ] {
            assert_eq!(source(whole), short);
        }
        assert_eq!(task_type("render", "src/a.rs:1"), "render (src/a.rs:1)");
        assert_eq!(task_type("type #3", ""), "type #3");
        assert_eq!(task_type("a.rs:1", "../src/a.rs:1"), "src/a.rs:1");
    }

    #[test]
    fn the_parts_of_a_poll_add_up_to_it() {
        let off = [1, 2, 3, 4, 5].map(Nanos);
        let parts = poll_parts(Nanos(100), &off);
        assert_eq!(parts.iter().map(|part| part.0).sum::<u64>(), 100);
        assert_eq!(poll_parts(Nanos(9), &off)[0], Nanos(0), "clocks differ");
        assert_eq!(
            poll_split(Nanos(1_000), &[0, 900, 0, 0, 0].map(Nanos)),
            "100 ns on a CPU, 900 ns in futex waits"
        );
        assert_eq!(
            poll_shares(Nanos(1_000), &[1, 900, 0, 0, 0].map(Nanos)),
            "10 % on a CPU, 90 % in futex waits"
        );
    }
}
