//! A map that remembers what was asked for lately and is never larger than its cap.

use std::{collections::HashMap, hash::Hash, mem};

/// Two generations: what is asked for moves to the young one, and when that is half the cap, the old one is dropped
/// and the young one takes its place. Nearly "least recently used", without a list.
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    cap: usize,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    /// A map of at most `cap` entries.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            cap,
        }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= (self.cap / 2).max(1) {
            self.old = mem::take(&mut self.young);
        }
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_cap_and_the_asked_for_stay() {
        let mut recent = Recent::new(100);
        for number in 0..10_000 {
            recent.insert(number, number);
            assert_eq!(recent.get(&0), Some(0), "after {number}");
            assert!(recent.len() <= 100);
        }
        assert_eq!(recent.get(&5_000), None);
        assert_eq!(recent.get(&9_999), Some(9_999));
    }

    #[test]
    fn a_newer_value_replaces_the_older_wherever_that_was() {
        let mut recent = Recent::new(2);
        recent.insert('a', 1);
        recent.insert('b', 2);
        recent.insert('a', 3);
        assert_eq!((recent.get(&'a'), recent.len()), (Some(3), 2));
    }
}
