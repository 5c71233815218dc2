//! Holds what probes at a runtime's functions cost below a limit. Unlike the other probes they trap the target, so a
//! program that polls a million times a second cannot have them on even for a second: they are on for a part of a tick,
//! as long as the limit allows at the rate that was measured the last time.

use tracer_common::Nanos;

/// What a watched poll costs the target in nanoseconds: two traps and two programs. Measured on Linux 6.18 with
/// `cargo xtask bench --only axum-hello,axum-spawn,polls --observers light,task,wake`: 2.2 µs where nothing but polls
/// happens, 2.4 to 2.8 µs (10.2 polls for a request of `axum-spawn`) where caches are shared with other work.
pub(super) const POLL: f64 = 2_600.0;
/// What a watched wake costs. The same: 1.2 µs, and 1.0 µs (6.6 wakes for a request).
pub(super) const WAKE: f64 = 1_200.0;
/// What work for a pool costs the target where it is watched: three traps and three programs.
pub(super) const WORK: f64 = 3_800.0;
/// What the traps alone cost, of which an unwatched poll runs into two and a wake into one: empty programs, measured on
/// Linux 6.18.
pub(super) const UNWATCHED_POLL: f64 = 1_500.0;
pub(super) const UNWATCHED_WAKE: f64 = 850.0;
pub(super) const UNWATCHED_WORK: f64 = 2_350.0;
/// What a callback of Node costs the target where it is watched: at its scope's opening, its closing and the return from
/// there, and for most of them where its resource is told.
pub(super) const CALLBACK: f64 = 5_000.0;
pub(super) const UNWATCHED_CALLBACK: f64 = 3_400.0;
/// What a run of V8's microtasks costs: entry and return.
pub(super) const MICROTASKS: f64 = 2_600.0;
pub(super) const UNWATCHED_MICROTASKS: f64 = 1_500.0;
/// What a thing that happens to a promise costs.
pub(super) const PROMISE: f64 = 1_200.0;
pub(super) const UNWATCHED_PROMISE: f64 = 850.0;
/// What a single-stepped instruction costs more than one that the kernel emulates.
pub(super) const STEPPED: f64 = 11_000.0;

/// The first burst, before any rate is known. At the highest rate there is (8 million polls a second) it costs 5 ms.
pub(super) const FIRST: Nanos = Nanos(5_000_000);
/// A shorter burst is not worth the work of attaching.
const SHORTEST: f64 = 5e6;
/// Less than this of a burst says nothing about the rate.
const LITTLE: u64 = 2_000_000;
/// As in the other governor: the limit is a share of no less than this many CPUs.
const LEAST: f64 = 0.5;
/// Saved up for a burst no longer than this many ticks would earn.
const SAVED: f64 = 20.0;

/// What limits are a share of, in nanoseconds: the CPU time that the targets used in a tick of this length, or half a
/// CPU's.
pub(super) fn base(length: Nanos, cpu: Nanos) -> f64 {
    (cpu.0 as f64).max(LEAST * length.0 as f64)
}

/// What to do until the next tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Watch all the time.
    On,
    /// Watch for so long from now on.
    Burst(Nanos),
    /// Do not watch.
    Off,
}

/// Decides how long polls are watched.
#[derive(Debug)]
pub(super) struct Bursts {
    /// The share of the targets' CPU time that may be spent; `None` for no limit.
    limit: Option<f64>,
    /// What may be spent, in nanoseconds.
    credit: f64,
    /// What a second of watching cost the last time, in nanoseconds.
    price: Option<f64>,
    /// What attaching and detaching cost beside that, in nanoseconds: traps are hit before the last is there and until
    /// the last is gone.
    around: f64,
}

/// What a tick cost, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    /// While polls were watched.
    pub(super) watching: f64,
    /// While traps were hit and nobody watched.
    pub(super) around: f64,
}

impl Spent {
    pub(super) fn total(self) -> f64 {
        self.watching + self.around
    }
}

impl Bursts {
    pub(super) fn new(limit: Option<f64>) -> Self {
        Self {
            limit,
            credit: 0.0,
            price: None,
            around: 0.0,
        }
    }

    /// Changes the limit, where there is one.
    pub(super) fn set_limit(&mut self, limit: f64) {
        if let Some(own) = &mut self.limit {
            *own = limit;
        }
    }

    /// True when so much was spent in a tick of this length that nothing is left for the next few.
    pub(super) fn is_too_much(&self, spent: f64, length: Nanos) -> bool {
        self.limit
            .is_some_and(|limit| spent > 2.0 * limit * LEAST.max(1.0) * length.0 as f64)
    }

    /// What to do before anything is known.
    pub(super) fn first(&self) -> Plan {
        match self.limit {
            Some(_) => Plan::Burst(FIRST),
            None => Plan::On,
        }
    }

    /// Decides after a tick of this length, in which the targets used `cpu` and polls were watched for `on`.
    pub(super) fn tick(&mut self, length: Nanos, cpu: Nanos, on: Nanos, spent: Spent) -> Plan {
        let Some(limit) = self.limit else {
            return Plan::On;
        };
        let earned = limit * base(length, cpu);
        // The rest of a burst that a tick has cut tells little.
        if on.0 > LITTLE || (on.0 > 0 && self.price.is_none()) {
            self.price = Some(spent.watching / (on.0 as f64 / 1e9));
        }
        if spent.around > 0.0 {
            self.around = (self.around + spent.around) / 2.0;
        }
        let Some(price) = self.price else {
            return Plan::Burst(FIRST);
        };
        let whole = price * length.0 as f64 / 1e9;
        if whole <= earned {
            self.credit = 0.0;
            return Plan::On;
        }
        self.credit = (self.credit + earned - spent.total()).min(SAVED * earned);
        // What was spent at an unexpectedly high rate is paid back before the next burst, in a minute at most.
        self.credit = self.credit.max(-60.0 * earned);
        let affordable = (self.credit - self.around) / price * 1e9;
        if affordable < SHORTEST {
            return Plan::Off;
        }
        Plan::Burst(Nanos(affordable.min(length.0 as f64) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Nanos = Nanos(1_000_000_000);

    /// Watches a program that is busy on one CPU and polls at this rate; gives the share of its time that was spent,
    /// and the share of the time in which polls were watched, of the second half of 200 ticks.
    fn govern(limit: f64, rate: impl Fn(u32) -> f64) -> (f64, f64) {
        govern_cut(limit, rate, Nanos(0))
    }

    /// The same when so much of each burst falls into the next tick.
    fn govern_cut(limit: f64, rate: impl Fn(u32) -> f64, cut: Nanos) -> (f64, f64) {
        let mut bursts = Bursts::new(Some(limit));
        let mut plan = bursts.first();
        let (mut spent_all, mut on_all) = (0.0, 0.0);
        let mut left = Nanos(0);
        for tick in 0..200 {
            let (on, next) = match plan {
                Plan::On => (TICK, Nanos(0)),
                Plan::Burst(on) => (on.since(cut).unwrap_or_default(), cut.min(on)),
                Plan::Off => (Nanos(0), Nanos(0)),
            };
            let ends = left.0 > 0 || (matches!(plan, Plan::Burst(_)) && next.0 == 0);
            let on = on.plus(std::mem::replace(&mut left, next));
            let around = if ends {
                // Until the probes are gone: two milliseconds, at a trap's price.
                rate(tick) * UNWATCHED_POLL * 2e-3
            } else {
                0.0
            };
            let spent = Spent {
                watching: rate(tick) * POLL * on.0 as f64 / 1e9,
                around,
            };
            if tick >= 100 {
                spent_all += spent.total();
                on_all += on.0 as f64;
            }
            plan = bursts.tick(TICK, TICK, on, spent);
        }
        (spent_all / 100e9, on_all / 100e9)
    }

    #[test]
    fn a_low_rate_is_watched_all_the_time() {
        let (spent, on) = govern(0.02, |_| 1_000.0);
        assert!(spent < 0.003 && on == 1.0, "{spent} {on}");
    }

    #[test]
    fn a_high_rate_is_watched_as_long_as_the_limit_allows() {
        for rate in [20_000.0, 100_000.0, 330_000.0] {
            let (spent, on) = govern(0.02, |_| rate);
            assert!((0.017..=0.021).contains(&spent), "{rate} {spent} {on}");
            assert!(on > 0.0 && on < 0.5, "{rate} {on}");
        }
    }

    #[test]
    fn bursts_that_a_tick_cuts_do_not_end_it_all() {
        for rate in [100_000.0, 330_000.0] {
            let (spent, on) = govern_cut(0.02, |_| rate, Nanos(50_000));
            assert!((0.015..=0.021).contains(&spent), "{rate} {spent} {on}");
        }
    }

    #[test]
    fn a_rate_that_rises_at_once_is_paid_back() {
        let (spent, _) = govern(0.02, |tick| if tick < 120 { 1_000.0 } else { 300_000.0 });
        assert!(spent < 0.03, "{spent}");
    }

    #[test]
    fn a_rate_that_falls_brings_everything_back() {
        let (_, on) = govern(0.02, |tick| if tick < 90 { 300_000.0 } else { 100.0 });
        assert!(on > 0.98, "{on}");
    }

    #[test]
    fn without_a_limit_nothing_is_left_out() {
        let mut bursts = Bursts::new(None);
        assert_eq!(bursts.first(), Plan::On);
        assert_eq!(
            bursts.tick(TICK, Nanos(0), TICK, Spent::default()),
            Plan::On
        );
    }
}
