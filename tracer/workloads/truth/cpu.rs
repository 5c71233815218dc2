//! CPU time used, not used, and fought over.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use rustix::thread::CpuSet;
use rustix::time::ClockId;
use serde_json::{Value, json};

use crate::Answer;
use crate::clock::{Span, clock_ns, nanosleep, now_ns, observe, spin_until, timed, use_cpu};
use crate::numbers::{Spread, number, numbers};
use crate::threads::{finish, start};
use crate::verbs::Session;

pub(crate) fn spin(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    Ok(observe(|| use_cpu(ms)).answer("spin"))
}

pub(crate) fn sleep(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    Ok(observe(|| nanosleep(ms)).answer("sleep"))
}

pub(crate) fn spin_thread(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let span = finish(start("spinner", move || observe(|| use_cpu(ms)))?)?;
    Ok(span.answer("spin-thread"))
}

pub(crate) fn sleep_thread(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let span = finish(start("sleeper", move || observe(|| nanosleep(ms)))?)?;
    Ok(span.answer("sleep-thread"))
}

pub(crate) fn clocks(session: &mut Session, _: &str) -> Answer {
    let mut answer = clock_fields(session.main_tid);
    answer["did"] = "clocks".into();
    Ok(answer)
}

pub(crate) fn clock_fields(main_tid: i32) -> Value {
    let (voluntary, involuntary) = switches();
    json!({
        "tid": main_tid,
        "at_ns": now_ns(),
        "process_cpu_ns": clock_ns(ClockId::ProcessCPUTime),
        "thread_cpu_ns": clock_ns(ClockId::ThreadCPUTime),
        "voluntary_switches": voluntary,
        "involuntary_switches": involuntary,
    })
}

/// Voluntary and involuntary context switches of the calling thread so far.
fn switches() -> (Option<u64>, Option<u64>) {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let count = |key: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line[key.len()..].trim().parse().ok()
    };
    (
        count("voluntary_ctxt_switches:"),
        count("nonvoluntary_ctxt_switches:"),
    )
}

pub(crate) fn sleeps(_: &mut Session, argument: &str) -> Answer {
    let [count, ms] = numbers(argument, "N MS")?;
    let mut slept = Spread::default();
    let span = observe(|| {
        for _ in 0..count {
            let (before, (), after) = timed(|| nanosleep(ms));
            slept.add(after - before);
        }
    });
    let mut answer = span.answer("sleeps");
    answer["syscall"] = "nanosleep".into();
    answer["sleeps"] = count.into();
    slept.put(&mut answer, "slept");
    Ok(answer)
}

pub(crate) fn block_thread(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let length = Duration::from_millis(u64::from(ms));
    #[expect(
        clippy::disallowed_methods,
        reason = "what a program that blocks its thread calls"
    )]
    let blocked = start("blocked", move || observe(|| std::thread::sleep(length)))?;
    let mut answer = finish(blocked)?.answer("block-thread");
    // What std calls where it is not interrupted.
    answer["syscall"] = "clock_nanosleep".into();
    Ok(answer)
}

pub(crate) fn spin_named(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let mut rounds = 0;
    let span = observe(|| rounds = truth_calls_spin(ms));
    let mut answer = span.answer("spin-named");
    answer["functions"] = json!(["truth_calls_spin", "truth_spins_here"]);
    answer["rounds"] = rounds.into();
    Ok(answer)
}

/// The caller to be found in a stack, never folded into the callee.
#[inline(never)]
fn truth_calls_spin(ms: u32) -> u64 {
    let rounds = truth_spins_here(now_ns() + u64::from(ms) * 1_000_000);
    // Something is left to do after the call, so it is a call and not a jump.
    black_box(rounds)
}

/// Almost all samples of `spin-named` are in this function itself.
#[inline(never)]
fn truth_spins_here(until_ns: u64) -> u64 {
    let mut rounds = 0_u64;
    let mut state = 1_u64;
    while now_ns() < until_ns {
        // Shifts and a bare loop: neither calls anything, even where nothing is inlined.
        let mut left = 20_000_u32;
        while left > 0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            left -= 1;
        }
        rounds += 1;
    }
    black_box(state);
    rounds
}

/// What one of the rivals says, between its first and its last look at the books.
struct Rival {
    span: Span,
    run_delay_ns: u64,
    involuntary: u64,
    voluntary: u64,
}

pub(crate) fn contend(_: &mut Session, argument: &str) -> Answer {
    let ms = number(argument)?;
    let allowed = rustix::thread::sched_getaffinity(None)
        .map_err(|why| format!("read the allowed CPUs: {why}"))?;
    let cpu = (0..CpuSet::MAX_CPU)
        .find(|&cpu| allowed.is_set(cpu))
        .ok_or("no CPU is allowed")?;
    let rivals: Vec<_> = ["rival-1", "rival-2"]
        .map(|name| start(name, move || rival(cpu, ms)))
        .into_iter()
        .collect();
    let ended: Vec<_> = rivals.into_iter().map(|thread| finish(thread?)?).collect();
    let ended = ended.into_iter().collect::<Result<Vec<Rival>, String>>()?;
    let rivals: Vec<_> = ended
        .iter()
        .map(|rival| {
            json!({
                "tid": rival.span.tid,
                "cpu_ns": rival.span.cpu_ns,
                "wall_ns": rival.span.wall_ns(),
                "start_ns": rival.span.start_ns,
                "end_ns": rival.span.end_ns,
                "run_delay_ns": rival.run_delay_ns,
                "voluntary_switches": rival.voluntary,
                "involuntary_switches": rival.involuntary,
            })
        })
        .collect();
    Ok(json!({ "did": "contend", "cpu": cpu, "rivals": rivals }))
}

fn rival(cpu: usize, ms: u32) -> Result<Rival, String> {
    let mut one = CpuSet::new();
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).map_err(|why| format!("pin to a CPU: {why}"))?;
    let look = || -> Option<(u64, u64, u64)> {
        let (voluntary, involuntary) = switches();
        Some((run_delay_ns()?, voluntary?, involuntary?))
    };
    let before = look().ok_or("the scheduler keeps no books here")?;
    let span = observe(|| spin_until(now_ns() + u64::from(ms) * 1_000_000));
    let after = look().ok_or("the scheduler keeps no books here")?;
    Ok(Rival {
        span,
        run_delay_ns: after.0 - before.0,
        voluntary: after.1 - before.1,
        involuntary: after.2 - before.2,
    })
}

/// Time the calling thread has waited for a CPU so far.
fn run_delay_ns() -> Option<u64> {
    let line = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
