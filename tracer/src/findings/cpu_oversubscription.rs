//! More threads that want to run than CPUs they may use: of the targets' own making, not of their neighbours'.

use tracer_common::{Nanos, Pid, State};

use super::{Detector, Entry, Raised, Seen, Verdict, number};
use crate::{
    human,
    model::{Finding, FindingId, Severity, Snapshot, Subject, SubjectKind, Unit},
};

/// The share of the CPUs it may use that a program uses itself. Where it is less, others have the rest.
const OWN: f64 = 0.85;
/// Threads that wait for each CPU on average. At one, everything takes twice as long.
const WAITING: f64 = 1.0;
const CRITICAL: f64 = 4.0;
/// The share of the time in which the cgroup's quota was used up.
const THROTTLED: f64 = 0.1;

pub(super) const DETECTOR: Detector = Detector {
    id: FindingId::CpuOversubscription,
    entry: Entry {
        class: "excessive concurrency",
        title: "more runnable threads than CPUs",
        matters: "Threads take turns: each piece of work takes longer, none is done sooner, and switching costs time itself.",
        how: "The targets use 85 % of the CPUs they may use (affinity and cgroup quota), and for each of these at least one \
              more of their threads waits for it on average (critical: four). Or their cgroup was throttled for a tenth of \
              the time.",
        evidence: &[
            ("waiting", "threads that were waiting for a CPU, on average"),
            ("used", "CPUs that the targets used, on average"),
            ("allowed", "CPUs they may use"),
            (
                "throttled",
                "the share of the time in which the quota was used up, over all CPUs",
            ),
        ],
        remedy: "run as many CPU-bound threads as there are CPUs, and queue the rest",
        node: "new Piscina({ maxThreads: os.availableParallelism() })       // npm: piscina\n\
               // cluster: as many children as CPUs, not as requests",
        rust: "tokio::runtime::Builder::new_multi_thread().worker_threads(cpus)\n\
               rayon::ThreadPoolBuilder::new().num_threads(cpus)\n\
               let permit = semaphore.acquire().await?;   // before spawn_blocking of CPU-bound work",
        blind: "What other programs on the machine do is not seen: where they use the CPUs, this finding is not made.",
    },
    judge,
    says,
};

fn judge(seen: &Seen<'_>) -> Verdict {
    let cpu = &seen.now.cpu;
    let cpus = f64::from(cpu.allowed.unwrap_or(seen.now.session.cpus));
    let quota = cpu
        .quota_millicpus
        .map(|thousandths| f64::from(thousandths) / 1_000.0);
    let allowed = quota.map_or(cpus, |quota| quota.min(cpus));
    if allowed <= 0.0 {
        return Err("how many CPUs the targets may use is not known");
    }
    let spent = |states: &[State]| {
        let of = |snapshot: &Snapshot| {
            let threads = snapshot.threads.iter();
            let times =
                threads.flat_map(|thread| states.iter().map(|&state| thread.times.of(state)));
            times.fold(Nanos(0), Nanos::plus)
        };
        seen.share(of(seen.now).since(of(seen.then)).unwrap_or_default())
    };
    let used = spent(&[State::ON_CPU]);
    let waiting = spent(&[State::RUNNABLE, State::PREEMPTED]);
    let before = seen.then.cpu.throttled.unwrap_or_default();
    let throttled = cpu.throttled.and_then(|now| now.since(before));
    let throttled = throttled.map_or(0.0, |time| seen.share(time));
    let is_full = used >= allowed * OWN && waiting >= allowed * WAITING;
    if !is_full && throttled < THROTTLED {
        return Ok(Vec::new());
    }
    let raised = Raised {
        severity: if waiting >= allowed * CRITICAL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: 0.9,
        weight: waiting,
        subject: Subject {
            kind: SubjectKind::Process,
            pid: Pid(0),
            key: String::new(),
            name: match seen.now.processes.as_slice() {
                [one] => human::sanitise(&one.comm).into_owned(),
                more => format!("all {} processes", more.len()),
            },
        },
        evidence: vec![
            number("waiting", waiting, Unit::Count),
            number("used", used, Unit::Count),
            number("allowed", allowed, Unit::Count),
            number("throttled", throttled, Unit::Ratio),
        ],
    };
    Ok(vec![raised])
}

fn says(finding: &Finding) -> String {
    let throttled = finding.value("throttled");
    let mut said = format!(
        "uses {:.1} of {:.1} CPUs, and {:.1} more threads wait for one",
        finding.value("used"),
        finding.value("allowed"),
        finding.value("waiting"),
    );
    if throttled >= THROTTLED {
        said.push_str(&format!(
            "; its cgroup's quota was used up {} of the time",
            human::percent(throttled)
        ));
    }
    said
}
