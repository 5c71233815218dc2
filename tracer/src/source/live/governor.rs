//! Holds what the probes cost below a limit: groups are switched off in a fixed order, and back on for single ticks as
//! far as the limit allows. The limit is a share of the targets' CPU time for what they pay, and the same share of all
//! CPU time for what everybody else pays, who did not ask to be traced.

use tracer_common::Nanos;

use super::cost::Spent;
use crate::bpf::probes::Group;

/// What is given up first. Timing and counting system calls cost by the target's rate of calls, each about half; wakers
/// by its rate of wake-ups, samples by the clock.
pub const ORDER: [Group; 4] = [Group::Timing, Group::Syscall, Group::Lock, Group::Sample];

/// The limit is a share of no less than this many CPUs: of a program that does next to nothing everything is a large
/// share, and that harms nobody.
const LEAST: f64 = 0.5;

/// Ticks in a row that a group must be affordable before it stays on.
const CALM: u32 = 3;

/// What the targets and what the others have, pay or may pay, in nanoseconds.
type Both = [f64; 2];

/// The governor. It keeps two accounts: each tick earns the limit's share of CPU time and pays what probes cost.
#[derive(Debug)]
pub(super) struct Governor {
    /// The share of the targets' CPU time that probes may cost.
    limit: f64,
    /// How many of [`ORDER`] are governed. The last of them may be on for a tick, those before it are off.
    governed: usize,
    /// True while the last governed group is on.
    on: bool,
    /// What each group of [`ORDER`] cost in the last tick in which it was on.
    prices: [Both; ORDER.len()],
    /// What may be spent.
    credit: Both,
    /// Affordable ticks in a row.
    calm: u32,
    /// Time governed, and time off, by group of [`ORDER`].
    times: [(Nanos, Nanos); ORDER.len()],
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) group: Group,
    pub(super) on: bool,
}

impl Governor {
    pub(super) fn new(limit: f64) -> Self {
        Self {
            limit,
            governed: 0,
            on: false,
            prices: [[0.0; 2]; ORDER.len()],
            credit: [0.0; 2],
            calm: 0,
            times: [(Nanos(0), Nanos(0)); ORDER.len()],
        }
    }

    /// From now on another share may be spent.
    pub(super) fn set_limit(&mut self, limit: f64) {
        self.limit = limit;
    }

    /// Decides after a tick of this length.
    pub(super) fn tick(&mut self, spent: &Spent, length: Nanos) -> Vec<Switch> {
        for (place, (governed, off)) in self.times.iter_mut().enumerate() {
            if place < self.governed {
                *governed = governed.plus(length);
                if place + 1 < self.governed || !self.on {
                    *off = off.plus(length);
                }
            }
        }
        let paid = [spent.probes, spent.others];
        let used = spent.cpu.max(LEAST * length.0 as f64);
        let earned = [used, spent.machine].map(|time| self.limit * time);
        let affordable = is_within(paid, earned);
        for (place, price) in self.prices.iter_mut().enumerate() {
            // Those that were off this tick cost nothing now, but will again.
            if place >= self.governed || (place + 1 == self.governed && self.on) {
                *price = spent.parts.get(place).copied().unwrap_or_default();
            }
        }
        let last = self.governed.wrapping_sub(1);
        let (Some(&group), Some(&price)) = (ORDER.get(last), self.prices.get(last)) else {
            return self.shed(paid, earned);
        };
        self.credit = each(self.credit, each(earned, paid, |a, b| a - b), |a, b| a + b);
        if self.on {
            if affordable {
                self.calm += 1;
                if self.calm >= CALM {
                    self.governed -= 1;
                    self.on = false;
                    self.credit = [0.0; 2];
                }
                return Vec::new();
            }
            self.calm = 0;
            self.on = false;
            return vec![Switch { group, on: false }];
        }
        if !affordable {
            return self.shed(paid, earned);
        }
        // Saving up for more than one tick would be a burst later.
        self.credit = each(self.credit, price, f64::min);
        if !is_within(price, self.credit) {
            return Vec::new();
        }
        self.on = true;
        self.calm = 0;
        vec![Switch { group, on: true }]
    }

    /// Gives up groups until what is left can be afforded.
    fn shed(&mut self, mut paid: Both, earned: Both) -> Vec<Switch> {
        let mut switches = Vec::new();
        while !is_within(paid, earned)
            && let (Some(&group), Some(&price)) =
                (ORDER.get(self.governed), self.prices.get(self.governed))
        {
            self.governed += 1;
            self.on = false;
            self.credit = each(earned, paid, |earned, paid| earned - paid);
            paid = each(paid, price, |paid, price| (paid - price).max(0.0));
            switches.push(Switch { group, on: false });
        }
        switches
    }

    /// The share of the time since it was first switched off that a group has been off; `None` when it never was.
    pub(super) fn off_share(&self, group: Group) -> Option<f64> {
        let place = ORDER.iter().position(|&known| known == group)?;
        let (governed, off) = self.times.get(place)?;
        (governed.0 > 0).then(|| off.0 as f64 / governed.0 as f64)
    }
}

fn each([a, b]: Both, [c, d]: Both, then: impl Fn(f64, f64) -> f64) -> Both {
    [then(a, c), then(b, d)]
}

fn is_within([a, b]: Both, [most_a, most_b]: Both) -> bool {
    a <= most_a && b <= most_b
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Nanos = Nanos(1_000_000_000);

    /// A tick of a second of work, with what the groups of [`ORDER`] cost the target and everybody else, in seconds.
    fn spent(parts: [Both; ORDER.len()], rest: f64) -> Spent {
        let sum = |which: usize| parts.iter().map(|part| part[which] * 1e9).sum::<f64>();
        let probes = rest * 1e9 + sum(0);
        Spent {
            probes,
            cpu: 1e9 + probes,
            others: sum(1),
            machine: 2e9,
            parts: parts.map(|part| part.map(|cost| cost * 1e9)),
        }
    }

    /// Runs the governor against a target that does a second of work per tick; gives the cost to the target as a share
    /// of its CPU time, to others as a share of the machine's, and the ticks in which each group was on.
    fn govern(limit: f64, parts: [Both; ORDER.len()], rest: f64) -> (Both, [u32; ORDER.len()]) {
        let mut governor = Governor::new(limit);
        let (mut on, mut ticks_on) = ([true; ORDER.len()], [0; ORDER.len()]);
        let (mut probes, mut cpu, mut others, mut machine) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..400 {
            let mut now = parts;
            for ((part, on), ticks) in now.iter_mut().zip(on).zip(&mut ticks_on) {
                if on {
                    *ticks += 1;
                } else {
                    *part = [0.0; 2];
                }
            }
            let now = spent(now, rest);
            probes += now.probes;
            cpu += now.cpu;
            others += now.others;
            machine += now.machine;
            for switch in governor.tick(&now, TICK) {
                let place = ORDER.iter().position(|&group| group == switch.group);
                assert_ne!(on[place.unwrap()], switch.on, "{switch:?} changes nothing");
                on[place.unwrap()] = switch.on;
            }
        }
        ([probes / cpu, others / machine], ticks_on)
    }

    const NOTHING: Both = [0.0; 2];

    #[test]
    fn below_the_limit_everything_stays_on() {
        let (_, on) = govern(0.02, [[0.005, 0.0]; ORDER.len()], 0.0);
        assert_eq!(on, [400; ORDER.len()]);
    }

    #[test]
    fn above_the_limit_calls_are_timed_as_often_as_it_allows() {
        let (share, on) = govern(0.02, [[0.1, 0.0], NOTHING, NOTHING, NOTHING], 0.005);
        assert!((0.015..=0.021).contains(&share[0]), "{share:?}");
        assert!((40..=80).contains(&on[0]), "{on:?}");
    }

    #[test]
    fn what_is_dearer_than_the_work_itself_is_off_nearly_always() {
        let (share, on) = govern(0.05, [[4.0, 0.0], NOTHING, NOTHING, NOTHING], 0.0);
        assert!(
            share[0] <= 0.055 && (2..=8).contains(&on[0]),
            "{share:?} {on:?}"
        );
    }

    #[test]
    fn groups_are_given_up_in_order_and_all_at_once() {
        let (share, on) = govern(
            0.03,
            [[0.1, 0.0], [0.08, 0.0], [0.001, 0.0], [0.001, 0.0]],
            0.0,
        );
        assert!((0.02..=0.032).contains(&share[0]), "{share:?}");
        assert_eq!(on[0], 1, "timing is first to go");
        assert!(
            (100..200).contains(&on[1]),
            "calls are counted now and then: {on:?}"
        );
        assert_eq!(on[2..], [400, 400]);
    }

    #[test]
    fn when_nothing_is_left_there_is_nothing_to_do() {
        let (_, on) = govern(0.01, [[0.01, 0.0]; ORDER.len()], 0.5);
        assert_eq!(on, [1; ORDER.len()]);
    }

    #[test]
    fn a_busy_neighbour_is_spared_too() {
        let (share, on) = govern(0.02, [[0.0, 0.2], NOTHING, NOTHING, NOTHING], 0.0);
        assert!((0.015..=0.021).contains(&share[1]), "{share:?} {on:?}");
    }

    #[test]
    fn a_program_that_does_next_to_nothing_is_watched_all_the_same() {
        let mut governor = Governor::new(0.03);
        let mut idle = spent([[0.001_5, 0.0]; ORDER.len()], 0.0);
        idle.cpu = 1e6 + idle.probes;
        assert_eq!(governor.tick(&idle, TICK), []);
    }

    #[test]
    fn peace_brings_everything_back() {
        let mut governor = Governor::new(0.02);
        let dear = [[0.1, 0.0], NOTHING, NOTHING, NOTHING];
        assert_eq!(governor.tick(&spent(dear, 0.0), TICK).len(), 1);
        let quiet = spent([NOTHING; ORDER.len()], 0.001);
        let switches: Vec<Switch> = (0..40).flat_map(|_| governor.tick(&quiet, TICK)).collect();
        let on = Switch {
            group: Group::Timing,
            on: true,
        };
        assert_eq!(switches, [on], "on, and left on");
        assert_eq!(governor.governed, 0);
        assert!(
            governor
                .off_share(Group::Timing)
                .is_some_and(|share| share < 1.0)
        );
        assert_eq!(governor.off_share(Group::Io), None);
    }
}
