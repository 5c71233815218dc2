//! Who awaits whom, from the innermost async function outwards; the same chains once, with their count.

use std::{cmp::Reverse, collections::HashMap};

use super::{Awaiter, Awaits, Via};

/// Steps of all chains together.
const STEPS: usize = 4 << 20;

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// So many async functions in a row, at this of [`Awaits::places`].
    Function(usize, u64),
    /// What is between two of them.
    Via(Via),
    /// The one before is awaited by one of this chain: they wait for each other.
    Again,
}

/// From the innermost async function on, who awaits the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Innermost first.
    pub steps: Vec<Step>,
    /// How often it is there.
    pub count: u64,
    /// How many of them do not wait: the innermost goes on as soon as the thread gets to it.
    pub ready: u64,
}

/// The chains of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chains {
    /// Different ones, most frequent first.
    pub all: Vec<Chain>,
    /// There are more, which were not followed.
    pub is_cut: bool,
}

impl Awaits {
    /// Each chain from an async function that awaits none of the others.
    #[must_use]
    pub fn chains(&self) -> Chains {
        let mut is_inner = vec![true; self.pending.len()];
        for awaiter in self.pending.iter().flat_map(|pending| &pending.by) {
            if let Some(is_inner) = is_inner.get_mut(awaiter.index) {
                *is_inner = false;
            }
        }
        let mut counts: HashMap<Vec<Step>, (u64, u64)> = HashMap::new();
        let mut walk = Walk {
            awaits: self,
            seen: vec![false; self.pending.len()],
            left: STEPS,
        };
        let inner = (0..self.pending.len()).filter(|&index| is_inner[index]);
        let inner: Vec<usize> = inner.collect();
        for index in inner {
            walk.from(index, &mut counts);
        }
        // Those that wait for each other have no end.
        for index in 0..self.pending.len() {
            if !walk.seen[index] {
                walk.from(index, &mut counts);
            }
        }
        let chains = counts.into_iter().map(|(steps, (count, ready))| Chain {
            steps,
            count,
            ready,
        });
        let mut all: Vec<Chain> = chains.collect();
        let name = |step: &Step| match step {
            Step::Function(place, _) => self.places.get(*place).map(|place| place.line),
            Step::Via(_) | Step::Again => None,
        };
        all.sort_by_cached_key(|chain| {
            let lines: Vec<Option<u32>> = chain.steps.iter().map(name).collect();
            (Reverse(chain.count), lines)
        });
        Chains {
            all,
            is_cut: walk.left == 0,
        }
    }
}

struct Walk<'a> {
    awaits: &'a Awaits,
    seen: Vec<bool>,
    left: usize,
}

impl Walk<'_> {
    fn from(&mut self, first: usize, counts: &mut HashMap<Vec<Step>, (u64, u64)>) {
        let is_ready = self
            .awaits
            .pending
            .get(first)
            .is_some_and(|one| one.is_ready);
        // A way that parts is copied; which async functions are on it is kept with it.
        let mut ways = vec![(first, Vec::new(), Vec::new())];
        while let Some((index, mut steps, mut on_it)) = ways.pop() {
            let Some(pending) = self.awaits.pending.get(index) else {
                continue;
            };
            let Some(left) = self.left.checked_sub(1 + (steps.len() + on_it.len()) / 64) else {
                self.left = 0;
                return;
            };
            self.left = left;
            let is_again = on_it.contains(&index);
            if is_again {
                steps.push(Step::Again);
            } else {
                self.seen[index] = true;
                on_it.push(index);
                match steps.last_mut() {
                    Some(Step::Function(place, times)) if *place == pending.place => *times += 1,
                    Some(_) | None => steps.push(Step::Function(pending.place, 1)),
                }
            }
            if is_again || pending.by.is_empty() {
                let (count, ready) = counts.entry(steps).or_default();
                *count += 1;
                *ready += u64::from(is_ready);
                continue;
            }
            let Some((last, others)) = pending.by.split_last() else {
                continue;
            };
            let via = |awaiter: &Awaiter| awaiter.via.clone().into_iter().map(Step::Via);
            for awaiter in others {
                let steps = steps.iter().cloned().chain(via(awaiter)).collect();
                ways.push((awaiter.index, steps, on_it.clone()));
            }
            steps.extend(via(last));
            ways.push((last.index, steps, on_it));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Pending, Place},
        *,
    };

    fn awaits(functions: &[(usize, &[usize])]) -> Awaits {
        let place = |line| Place {
            function: format!("f{line}").into(),
            script: "a.js".into(),
            line,
        };
        let pending = functions.iter().map(|(place, by)| Pending {
            place: *place,
            is_generator: false,
            is_ready: false,
            by: by
                .iter()
                .map(|&index| Awaiter {
                    via: Vec::new(),
                    index,
                })
                .collect(),
        });
        Awaits {
            places: (0..10).map(place).collect(),
            pending: pending.collect(),
            ..Awaits::default()
        }
    }

    fn said(awaits: &Awaits) -> Vec<(Vec<Step>, u64)> {
        let chains = awaits.chains();
        assert!(!chains.is_cut);
        chains
            .all
            .into_iter()
            .map(|chain| (chain.steps, chain.count))
            .collect()
    }

    #[test]
    fn the_same_chains_are_one_and_a_shared_end_is_in_each() {
        use Step::Function;
        // Two of 1 awaited by 2, and one of 3 awaited by both of those.
        let found = said(&awaits(&[
            (1, &[2]),
            (1, &[3]),
            (2, &[]),
            (2, &[]),
            (3, &[2, 3]),
        ]));
        let of = |first| vec![Function(first, 1), Function(2, 1)];
        assert_eq!(found, [(of(1), 2), (of(3), 2)]);
    }

    #[test]
    fn recursion_is_one_step_and_a_circle_is_seen() {
        let found = said(&awaits(&[
            (1, &[1]),
            (1, &[2]),
            (1, &[]),
            (4, &[4]),
            (5, &[3]),
        ]));
        let [recursion, circle] = &found[..] else {
            panic!("{found:?}")
        };
        let (recursion, circle) = if recursion.0.len() == 1 {
            (recursion, circle)
        } else {
            (circle, recursion)
        };
        assert_eq!(recursion.0, [Step::Function(1, 3)]);
        assert_eq!(
            circle.0,
            [Step::Function(4, 1), Step::Function(5, 1), Step::Again]
        );
    }
}
