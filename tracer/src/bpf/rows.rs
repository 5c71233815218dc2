//! The tables that several threads share, all read in one way: as words.

use std::collections::BTreeMap;

use aya::maps::{HashMap, MapData};
use tracer_common::table::{self, Plain};

use super::wire::Wire;
use crate::record::{CounterKey, CounterSample};

/// Ticks after which a row that did not change is taken out of the kernel's table: it may be needed for another key.
const IDLE_TICKS: u32 = 30;
/// A table fuller than this share of its capacity gives up idle rows at once.
const CROWDED: f64 = 0.5;

/// A table of the kernel side.
pub trait Rows: Send {
    /// Hands over every row that changed since the last time. A row that has not changed for a while is handed over
    /// once more, marked as the last, and forgotten: should its key come back, its counters begin at 0.
    fn changed(&mut self, each: &mut dyn FnMut(CounterSample));
}

type Map<T> = HashMap<MapData, Wire<<T as table::Table>::Key>, Wire<<T as table::Table>::Row>>;

/// One table and what was last read of it.
pub(super) struct Table<T: table::Table> {
    map: Map<T>,
    known: BTreeMap<T::Key, Known>,
}

#[derive(Clone, Copy)]
struct Known {
    /// A number that another content of the row almost certainly does not have.
    sum: u64,
    idle: u32,
    /// The tick in which it was seen.
    seen: bool,
}

impl<T: table::Table> Table<T> {
    pub(super) fn new(map: Map<T>) -> Self {
        Self {
            map,
            known: BTreeMap::new(),
        }
    }
}

impl<T: table::Table<Key: Send, Row: Send>> Rows for Table<T> {
    fn changed(&mut self, each: &mut dyn FnMut(CounterSample)) {
        // When the kernel deletes the key a walk stands on, the walk starts again: a bound, and a set.
        let steps = 2 * T::CAPACITY as usize;
        let keys: std::collections::BTreeSet<T::Key> = self
            .map
            .keys()
            .take(steps)
            .filter_map(Result::ok)
            .map(|Wire(key)| key)
            .collect();
        let crowded = keys.len() as f64 > CROWDED * f64::from(T::CAPACITY);
        for known in self.known.values_mut() {
            known.seen = false;
        }
        for key in keys {
            let Ok(Wire(row)) = self.map.get(&Wire(key), 0) else {
                continue;
            };
            let sum = sum(&row);
            let known = self.known.entry(key).or_insert(Known {
                sum: !sum,
                idle: 0,
                seen: true,
            });
            known.seen = true;
            if known.sum != sum {
                known.sum = sum;
                known.idle = 0;
                each(sample::<T>(&key, &row, false));
                continue;
            }
            known.idle += 1;
            if known.idle > IDLE_TICKS || (crowded && known.idle > 1) {
                // Read once more after it is out of the table's reach would be too late, so: what came in between
                // is lost with it. It has been idle for long.
                let _ = self.map.remove(&Wire(key));
                self.known.remove(&key);
                each(sample::<T>(&key, &row, true));
            }
        }
        self.known.retain(|_, known| known.seen);
    }
}

fn sample<T: table::Table>(key: &T::Key, row: &T::Row, last: bool) -> CounterSample {
    CounterSample {
        table: T::NUMBER,
        key: CounterKey::of(key),
        words: words(row).filter(|&(_, word)| word != 0).collect(),
        last,
    }
}

fn words<R: Plain>(row: &R) -> impl Iterator<Item = (u32, u64)> {
    (0u32..).zip(row.as_bytes().chunks_exact(8).map(|word| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        u64::from_le_bytes(bytes)
    }))
}

/// FNV-1a over the words: rows only grow, so any change shows in almost every way to sum them up.
fn sum<R: Plain>(row: &R) -> u64 {
    words(row).fold(0xcbf2_9ce4_8422_2325, |sum, (_, word)| {
        (sum ^ word).wrapping_mul(0x0100_0000_01b3)
    })
}
