//! Levels over time, and totals whose beginning counts.

use tracer_common::Nanos;

use super::snapshot::LevelView;
use crate::record::PressureSample;

/// How many there are, followed from tick to tick.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Level {
    now: Option<u64>,
    max: u64,
    /// Count times nanoseconds, of the windows in which it was known.
    area: f64,
    time: f64,
}

impl Level {
    /// It is `now` at the end of a window of this length.
    pub(super) fn close(&mut self, now: Option<u64>, window: Nanos) {
        if let Some(now) = now {
            self.max = self.max.max(now);
            self.area += now as f64 * window.0 as f64;
            self.time += window.0 as f64;
        }
        self.now = now.or(self.now);
    }

    /// True once it was known.
    pub(super) fn is_known(&self) -> bool {
        self.now.is_some()
    }

    /// Nothing of it was there for so long.
    pub(super) fn none_for(time: Nanos) -> Self {
        Self {
            time: time.0 as f64,
            ..Self::default()
        }
    }

    pub(super) fn view(&self, what: &'static str) -> Option<LevelView> {
        let now = self.now?;
        Some(LevelView {
            what,
            kind: None,
            now,
            mean: if self.time > 0.0 {
                self.area / self.time
            } else {
                now as f64
            },
            max: self.max,
        })
    }
}

/// Totals since boot: the first and the last ones read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    first: Option<PressureSample>,
    last: PressureSample,
}

impl Pressure {
    pub(super) fn sample(&mut self, sample: &PressureSample) {
        self.first.get_or_insert(*sample);
        self.last = *sample;
    }

    /// How much a total grew since it was first read.
    pub(super) fn since_first(
        &self,
        field: impl Fn(&PressureSample) -> Option<Nanos>,
    ) -> Option<Nanos> {
        field(&self.last)?.since(field(self.first.as_ref()?)?)
    }

    /// The same as a share of the time in between.
    pub(super) fn share(&self, field: impl Fn(&PressureSample) -> Option<Nanos>) -> Option<f64> {
        let grown = self.since_first(field)?;
        let time = self.last.at.since(self.first?.at)?;
        if time.0 == 0 {
            return Some(0.0);
        }
        Some((grown.0 as f64 / time.0 as f64).min(1.0))
    }
}
