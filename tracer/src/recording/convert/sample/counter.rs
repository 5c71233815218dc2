//! Rows of the tables that several threads share, in columns.

use tracer_common::{TableNr, table::KEY_BYTES};

use super::{
    super::{Column, Malformed},
    History, schema,
};
use crate::{
    record::{CounterKey, CounterSample},
    recording::container::Fields,
};

/// Appends `sample`, as `change` of the one before where there is one.
pub(super) fn push(
    columns: &mut schema::CounterSamples,
    sample: &CounterSample,
    change: Option<Vec<(u32, u64)>>,
) {
    columns.table.push(sample.table.0);
    let CounterKey(key) = &sample.key;
    let zeros = key.iter().rev().take_while(|&&byte| byte == 0).count();
    let key = key.get(..KEY_BYTES - zeros).unwrap_or_default();
    columns.key_size.push(key.len() as u32);
    columns.key.extend_from_slice(key);
    columns.last.push(sample.last);
    columns.follows.push(change.is_some());
    let words = change.as_ref().unwrap_or(&sample.words);
    columns.words.push(words.len() as u32);
    let mut before = 0u32;
    for &(place, word) in words {
        columns.word_gap.push(place.wrapping_sub(before));
        columns.word.push(word);
        before = place;
    }
}

pub(super) struct Rows<'a> {
    table: Column<'a, u32>,
    key_size: Column<'a, u32>,
    keys: Fields<'a>,
    words: Column<'a, u32>,
    word_gap: Column<'a, u32>,
    word: Column<'a, u64>,
    last: Column<'a, bool>,
    follows: Column<'a, bool>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(columns: &'a schema::CounterSamples) -> Self {
        Self {
            table: Column::new(&columns.table),
            key_size: Column::new(&columns.key_size),
            keys: Fields(&columns.key),
            words: Column::new(&columns.words),
            word_gap: Column::new(&columns.word_gap),
            word: Column::new(&columns.word),
            last: Column::new(&columns.last),
            follows: Column::new(&columns.follows),
        }
    }

    /// The next sample, or `None` when it follows one that is missing.
    pub(super) fn next(
        &mut self,
        history: &mut History,
    ) -> Result<Option<CounterSample>, Malformed> {
        let table = TableNr(self.table.next()?);
        let bytes = self
            .keys
            .take(self.key_size.next()? as usize)
            .ok_or(Malformed)?;
        let mut key = CounterKey::default();
        key.0
            .get_mut(..bytes.len())
            .ok_or(Malformed)?
            .copy_from_slice(bytes);
        // Not reserved on the file's word: the cells have to be there first.
        let mut words = Vec::new();
        let mut place = 0u32;
        for _ in 0..self.words.next()? {
            place = place.wrapping_add(self.word_gap.next()?);
            words.push((place, self.word.next()?));
        }
        let last = self.last.next()?;
        if self.follows.next()? {
            match history.counter_after((table, key), &words) {
                Some(after) => words = after?,
                None => return Ok(None),
            }
        }
        let sample = CounterSample {
            table,
            key,
            words,
            last,
        };
        history.remember_counter(&sample)?;
        Ok(Some(sample))
    }
}
