//! How long polls and wakes are watched: attaches, switches as the bursts say, counts what it cost.

use std::collections::BTreeMap;

use tracer_common::Nanos;

use super::bursts::{self, Bursts, Plan, Spent};
use crate::{
    bpf::{Kernel, Seen, probes::Group},
    record::{Meta, ProbeMeta, ProbeStatus, ProbesSample, Record},
    target::sys,
};

/// While polls are watched all the time, their rate is checked so often within a tick.
const CHECKS: u64 = 50;
/// Until all links of a burst are gone none can be put on again: how long to wait for them each time.
const SETTLE: Nanos = Nanos(5_000_000);

/// The probes at functions of the targets' runtimes, and when they count.
pub(super) struct Watch {
    /// What is watched: all of it at the same time.
    groups: &'static [Group],
    bursts: Bursts,
    /// When they first counted.
    first_on: Option<Nanos>,
    on: BTreeMap<Group, On>,
    /// When a burst is to begin, and how long it is to be.
    next: Option<(Nanos, Nanos)>,
    /// When the one that goes on is to end.
    until: Option<Nanos>,
    check_at: Option<Nanos>,
    /// When all was taken off for good.
    ended: Option<Nanos>,
    interval: Nanos,
    /// What was seen, for how long was watched, and what CPU time the targets had used, when the last tick ended.
    at_tick: Seen,
    on_at_tick: Nanos,
    cpu_at_tick: Nanos,
    counted: Seen,
    /// The share of the time in which polls were watched, as it was last told.
    told: f64,
    /// What watching cost since attach, in nanoseconds.
    pub(super) cost: f64,
    /// The share of the targets' CPU time (or of half a CPU) that it took in the last tick.
    pub(super) spent_share: f64,
    /// Share of polls whose first instruction is single-stepped.
    pub(super) stepped: f64,
    /// The function that does what `uv_queue_work` was given begins with such an instruction, in some target.
    pub(super) steps_queued_work: bool,
}

/// How long a group's probes were on.
#[derive(Clone, Copy, Debug, Default)]
struct On {
    since: Option<Nanos>,
    before: Nanos,
}

impl On {
    fn switch(&mut self, on: bool, now: Nanos) {
        match (on, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.before = self.before.plus(now.since(since).unwrap_or_default());
                self.since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn total(&self, now: Nanos) -> Nanos {
        let open = self.since.and_then(|since| now.since(since));
        self.before.plus(open.unwrap_or_default())
    }
}

impl Watch {
    pub(super) fn new(groups: &'static [Group], limit: Option<f64>, interval: Nanos) -> Self {
        Self {
            groups,
            bursts: Bursts::new(limit),
            first_on: None,
            on: BTreeMap::new(),
            next: None,
            until: None,
            check_at: None,
            ended: None,
            interval,
            at_tick: Seen::default(),
            on_at_tick: Nanos(0),
            cpu_at_tick: Nanos(0),
            counted: Seen::default(),
            told: 1.0,
            cost: 0.0,
            spent_share: 0.0,
            stepped: 0.0,
            steps_queued_work: false,
        }
    }

    /// When [`Watch::keep_to_plan`] has something to do.
    pub(super) fn due(&self) -> Option<Nanos> {
        let next = self.next.map(|(from, _)| from);
        [next, self.until, self.check_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Attaches to what was found, and says what became of the probes.
    pub(super) fn attach(&mut self, kernel: &mut Kernel, out: &mut Vec<Record>) {
        let mut is_new = false;
        let was_there = self.first_on.is_some();
        for &group in self.groups {
            // Between bursts: the next one is of this process too.
            if was_there && kernel.heeds_since(group).is_none() {
                continue;
            }
            let metas = kernel.attach_functions(group);
            let mut statuses = metas.iter().map(|meta| meta.status);
            let is_attached = statuses.any(|status| status == ProbeStatus::Attached);
            let metas = metas.into_iter().map(Meta::Probe);
            out.extend(metas.map(Record::Meta));
            if is_attached {
                let since = kernel.heeds_since(group).unwrap_or_else(sys::monotonic);
                self.first_on.get_or_insert(since);
                self.on.entry(group).or_default().switch(true, since);
                is_new = true;
            }
        }
        if !is_new {
            return;
        }
        match self.bursts.first() {
            // At once: there is to be something to see.
            Plan::Burst(length) => self.until = Some(sys::monotonic().plus(length)),
            plan @ (Plan::On | Plan::Off) => self.follow(kernel, plan),
        }
    }

    /// Changes the share of the targets' CPU time that may be spent, where there is a limit.
    pub(super) fn set_limit(&mut self, limit: f64) {
        self.bursts.set_limit(limit);
    }

    /// Decides for how long polls are watched until the next tick.
    pub(super) fn tick(
        &mut self,
        kernel: &mut Kernel,
        now: Nanos,
        length: Nanos,
        on_cpu: Nanos,
        out: &mut Vec<Record>,
    ) {
        self.count(kernel);
        if self.first_on.is_none() || self.ended.is_some() {
            self.cpu_at_tick = on_cpu;
            return;
        }
        let on = self.watched(now);
        let spent = self.price(self.counted, self.at_tick);
        let cpu = on_cpu.since(self.cpu_at_tick).unwrap_or_default();
        let watched = on.since(self.on_at_tick).unwrap_or_default();
        self.spent_share = spent.total() / bursts::base(length, cpu).max(1.0);
        log::debug!(
            "a tick of {} ms: watched for {:.2} ms, {} polls and {} wakes, {} and {} unwatched; {:.1} % spent",
            length.0 / 1_000_000,
            watched.0 as f64 / 1e6,
            self.counted.polls - self.at_tick.polls,
            self.counted.wakes - self.at_tick.wakes,
            self.counted.unwatched_polls - self.at_tick.unwatched_polls,
            self.counted.unwatched_wakes - self.at_tick.unwatched_wakes,
            self.spent_share * 100.0
        );
        let plan = self.bursts.tick(length, cpu, watched, spent);
        (self.at_tick, self.on_at_tick, self.cpu_at_tick) = (self.counted, on, on_cpu);
        self.tell_sampled(kernel, now, out);
        self.follow(kernel, plan);
    }

    /// Puts on record that polls and wakes are not watched all the time, and again when the share has changed much.
    fn tell_sampled(&mut self, kernel: &Kernel, now: Nanos, out: &mut Vec<Record>) {
        let time = self.first_on.and_then(|first| now.since(first));
        let share = self.watched(now).0 as f64 / time.unwrap_or_default().0.max(1) as f64;
        let is_news = share < 0.999 && (share / self.told - 1.0).abs() > 0.1;
        if !is_news {
            return;
        }
        self.told = share;
        for probe in kernel.probes() {
            let mut groups = self.groups.iter();
            if groups.any(|group| group.name() == probe.group)
                && probe.status == ProbeStatus::Attached
            {
                out.push(Record::Meta(Meta::Probe(ProbeMeta {
                    status: ProbeStatus::Degraded,
                    why: format!(
                        "watched {:.1} % of the time, to keep --max-overhead; counts are extrapolated",
                        share * 100.0
                    ),
                    ..probe.clone()
                })));
            }
        }
    }

    /// For how long was watched what is governed: all of it is switched together.
    fn watched(&self, now: Nanos) -> Nanos {
        let totals = self.on.values().map(|on| on.total(now));
        totals.max().unwrap_or_default()
    }

    fn follow(&mut self, kernel: &mut Kernel, plan: Plan) {
        let now = sys::monotonic();
        (self.next, self.until, self.check_at) = (None, None, None);
        match plan {
            Plan::On => {
                self.watch(kernel, true);
                self.check_at = Some(now.plus(Nanos(self.interval.0 / CHECKS)));
            }
            Plan::Burst(length) => {
                // Anywhere in the tick: what a program does in step with the ticks would be met always or never.
                let room = self.interval.0.saturating_sub(length.0);
                let from = now.plus(Nanos(scattered(now) % (room + 1)));
                self.watch(kernel, false);
                self.next = Some((from, length));
            }
            Plan::Off => self.watch(kernel, false),
        }
    }

    fn watch(&mut self, kernel: &mut Kernel, on: bool) {
        for &group in self.groups {
            self.switch(kernel, group, on);
        }
    }

    fn switch(&mut self, kernel: &mut Kernel, group: Group, on: bool) {
        if !self.on.contains_key(&group) {
            return;
        }
        // Until when it counted is known before it is taken off.
        let before = sys::monotonic();
        kernel.switch(group, on);
        let since = kernel.heeds_since(group);
        self.on
            .entry(group)
            .or_default()
            .switch(since.is_some(), since.unwrap_or(before));
    }

    /// Takes all probes at functions off, for good.
    pub(super) fn end(&mut self, kernel: &mut Kernel) {
        let now = sys::monotonic();
        self.follow(kernel, Plan::Off);
        self.ended.get_or_insert(now);
    }

    /// Begins and ends bursts, and ends what costs much more than was expected.
    pub(super) fn keep_to_plan(&mut self, kernel: &mut Kernel) {
        let now = sys::monotonic();
        if let Some((from, length)) = self.next
            && from <= now
        {
            if !kernel.is_settled() {
                self.next = Some((now.plus(SETTLE), length));
                return;
            }
            self.next = None;
            self.watch(kernel, true);
            // To attach takes as long as a short burst.
            self.until = Some(sys::monotonic().plus(length));
            return;
        }
        if self.until.is_some_and(|until| until <= now) {
            self.follow(kernel, Plan::Off);
        }
        if self.check_at.is_some_and(|at| at <= now) {
            let spent = self.price(kernel.seen(), self.at_tick);
            let plan = if self.bursts.is_too_much(spent.total(), self.interval) {
                Plan::Off
            } else {
                Plan::On
            };
            self.follow(kernel, plan);
        }
    }

    fn price(&self, now: Seen, before: Seen) -> Spent {
        let groups = self.groups.iter();
        let of_groups = groups.map(|&group| self.price_of(group, now, before));
        of_groups.fold(Spent::default(), |sum, of| Spent {
            watching: sum.watching + of.watching,
            around: sum.around + of.around,
        })
    }

    fn price_of(&self, group: Group, now: Seen, before: Seen) -> Spent {
        let more = |of: fn(Seen) -> u64| of(now).saturating_sub(of(before)) as f64;
        match group {
            Group::Task => {
                let stepped = self.stepped * bursts::STEPPED;
                Spent {
                    watching: more(|seen| seen.polls) * (bursts::POLL + stepped),
                    around: more(|seen| seen.unwatched_polls) * (bursts::UNWATCHED_POLL + stepped),
                }
            }
            Group::Wake => Spent {
                watching: more(|seen| seen.wakes) * bursts::WAKE,
                around: more(|seen| seen.unwatched_wakes) * bursts::UNWATCHED_WAKE,
            },
            Group::Pool => {
                let queued = f64::from(u8::from(self.steps_queued_work)) * bursts::STEPPED;
                Spent {
                    watching: more(|seen| seen.works) * bursts::WORK
                        + more(|seen| seen.queued_works) * queued,
                    around: more(|seen| seen.unwatched_works) * bursts::UNWATCHED_WORK,
                }
            }
            Group::Callback => Spent {
                watching: more(|seen| seen.callbacks) * bursts::CALLBACK
                    + more(|seen| seen.microtasks) * bursts::MICROTASKS,
                around: more(|seen| seen.unwatched_callbacks) * bursts::UNWATCHED_CALLBACK
                    + more(|seen| seen.unwatched_microtasks) * bursts::UNWATCHED_MICROTASKS,
            },
            Group::Promise => Spent {
                watching: more(|seen| seen.promises) * bursts::PROMISE,
                around: more(|seen| seen.unwatched_promises) * bursts::UNWATCHED_PROMISE,
            },
            Group::Process
            | Group::Sched
            | Group::Lock
            | Group::Stack
            | Group::Sample
            | Group::Syscall
            | Group::Timing
            | Group::Io
            | Group::Memory
            | Group::Gc
            | Group::Calls => Spent::default(),
        }
    }

    /// Adds what was seen since the last time to what it cost.
    fn count(&mut self, kernel: &Kernel) {
        let seen = kernel.seen();
        self.cost += self.price(seen, self.counted).total();
        self.counted = seen;
    }

    /// Polls and wakes seen since attach.
    pub(super) fn seen(&self) -> [u64; 2] {
        [self.counted.polls, self.counted.wakes]
    }

    /// Says how long what is watched was.
    pub(super) fn tell(&self, sample: &mut ProbesSample) {
        let at = sample.at;
        let on = |group: Group| {
            let on = self.on.get(&group).copied().unwrap_or_default();
            on.total(at)
        };
        let first = self.first_on.unwrap_or_default();
        if self.groups.contains(&Group::Task) {
            sample.polls_first = first;
            (sample.polls_on, sample.wakes_on) = (on(Group::Task), on(Group::Wake));
            sample.works_on = on(Group::Pool);
        }
        if self.groups.contains(&Group::Callback) {
            sample.callbacks_first = first;
            sample.callbacks_on = on(Group::Callback);
        }
        if self.groups.contains(&Group::Promise) {
            sample.promises_first = first;
            sample.promises_on = on(Group::Promise);
        }
        // The first to end is the one of polls: one by one, milliseconds lie in between.
        if sample.polls_last == Nanos(0) {
            sample.polls_last = self.ended.unwrap_or_default();
        }
    }
}

/// A number that has nothing to do with the moment it was made from (splitmix64).
fn scattered(at: Nanos) -> u64 {
    let mut bits = at.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
