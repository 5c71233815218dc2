//! The kinds of time a thread spends, as they are drawn: one order, one glyph and one word each, everywhere.
//!
//! The order goes from work over unwanted waiting to idleness, so that the left end of a bar is what one looks at.

use ratatui::style::Color;
use tracer_common::{Nanos, State, ThreadTimes};

/// A kind of time.
#[derive(Debug)]
pub(crate) struct Band {
    /// The states it stands for.
    pub(crate) states: &'static [State],
    /// One cell of a bar.
    pub(crate) glyph: char,
    /// The word beside the bar.
    pub(crate) word: &'static str,
    /// What it means, for the help.
    pub(crate) meaning: &'static str,
    /// Colour, when there are colours.
    pub(crate) color: Color,
}

/// All kinds of time, in the order they are stacked. Shades and dots stand for what every process has; a letter
/// marks what is rarer and worth a look.
pub(crate) const BANDS: [Band; 11] = [
    Band {
        states: &[State::ON_CPU],
        glyph: '█',
        word: "cpu",
        meaning: "running on a CPU",
        color: Color::Green,
    },
    Band {
        states: &[State::RUNNABLE, State::PREEMPTED],
        glyph: '▓',
        word: "runq",
        meaning: "wants to run, waits in the run queue for a CPU",
        color: Color::Yellow,
    },
    Band {
        states: &[State::THROTTLED],
        glyph: 'Q',
        word: "quota",
        meaning: "throttled: the cgroup's CPU quota is used up",
        color: Color::LightRed,
    },
    Band {
        states: &[State::PAGE_FAULT],
        glyph: 'F',
        word: "fault",
        meaning: "waits for a page of memory",
        color: Color::Red,
    },
    Band {
        states: &[State::DISK],
        glyph: 'D',
        word: "disk",
        meaning: "waits for storage",
        color: Color::Red,
    },
    Band {
        states: &[State::NETWORK],
        glyph: 'N',
        word: "net",
        meaning: "waits in a socket call",
        color: Color::Cyan,
    },
    Band {
        states: &[State::FUTEX],
        glyph: '▒',
        word: "futex",
        meaning: "waits for another thread: a lock, or work to do",
        color: Color::Magenta,
    },
    Band {
        // Numbers a later kernel side may send; `State` says to show them as this.
        states: &[State::OTHER, State(13), State(14), State(15)],
        glyph: 'o',
        word: "other",
        meaning: "waits for something else: child, pipe, terminal",
        color: Color::Reset,
    },
    Band {
        states: &[State::EPOLL],
        glyph: '░',
        word: "epoll",
        meaning: "waits for events (epoll, poll, select): idle",
        color: Color::Blue,
    },
    Band {
        states: &[State::SLEEP],
        glyph: '·',
        word: "sleep",
        meaning: "sleeps for a time it chose",
        color: Color::Blue,
    },
    Band {
        states: &[State::UNKNOWN],
        glyph: '?',
        word: "unknown",
        meaning: "not known: was in the middle of it at attach",
        color: Color::Reset,
    },
];

impl Band {
    /// Time spent in it.
    pub(crate) fn of(&self, times: &ThreadTimes) -> Nanos {
        self.states
            .iter()
            .fold(Nanos(0), |sum, &state| sum.plus(times.of(state)))
    }
}

/// The word for what a thread is doing.
pub(crate) fn word(state: State) -> &'static str {
    match state {
        State::DEAD => "ended",
        State::PREEMPTED => "preempted",
        _ => BANDS
            .iter()
            .find(|band| band.states.contains(&state))
            .map_or("other", |band| band.word),
    }
}

/// Time a thread wanted to run and did not.
pub(crate) fn waiting(times: &ThreadTimes) -> Nanos {
    times
        .of(State::RUNNABLE)
        .plus(times.of(State::PREEMPTED))
        .plus(times.of(State::THROTTLED))
}

/// How many of `width` cells each band gets: together all of them, none more than one cell off its share
/// (largest remainder; on a tie the earlier band). All zero when no time was accounted.
pub(crate) fn cells(times: &ThreadTimes, width: u16) -> [u16; BANDS.len()] {
    let parts = BANDS.each_ref().map(|band| u128::from(band.of(times).0));
    let total: u128 = parts.iter().sum();
    if total == 0 {
        return [0; BANDS.len()];
    }
    let scaled = parts.map(|part| part * u128::from(width));
    let mut cells = scaled.map(|part| (part / total) as u16);
    let mut by_remainder: [usize; BANDS.len()] = std::array::from_fn(|band| band);
    by_remainder
        .sort_by_key(|&band| std::cmp::Reverse(scaled.get(band).map_or(0, |part| part % total)));
    let left = width.saturating_sub(cells.iter().sum());
    for band in by_remainder.into_iter().take(usize::from(left)) {
        if let Some(cell) = cells.get_mut(band) {
            *cell += 1;
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::thread::STATES;

    fn times(parts: &[(State, u64)]) -> ThreadTimes {
        let mut times = ThreadTimes::default();
        for &(state, ns) in parts {
            times.in_state[usize::from(state.0)] = ns;
        }
        times
    }

    #[test]
    fn every_state_that_takes_time_is_in_exactly_one_band() {
        for state in (0..STATES as u8)
            .map(State)
            .filter(|&state| state != State::DEAD)
        {
            let bands = BANDS
                .iter()
                .filter(|band| band.states.contains(&state))
                .count();
            assert_eq!(bands, 1, "{state:?}");
        }
        for (at, band) in BANDS.iter().enumerate() {
            assert!(
                !BANDS[..at]
                    .iter()
                    .any(|b| b.glyph == band.glyph || b.word == band.word),
                "{band:?}"
            );
        }
    }

    #[test]
    fn a_bar_is_full_and_true_to_a_cell() {
        let times = times(&[
            (State::ON_CPU, 310),
            (State::RUNNABLE, 33),
            (State::PREEMPTED, 33),
            (State::FUTEX, 1),
            (State::EPOLL, 623),
        ]);
        for width in 0..200 {
            let cells = cells(&times, width);
            assert_eq!(cells.iter().sum::<u16>(), width);
            for (band, &got) in BANDS.iter().zip(&cells) {
                let exact = band.of(&times).0 as f64 * f64::from(width) / 1000.0;
                assert!(
                    (f64::from(got) - exact).abs() <= 1.0,
                    "{}: {got} for {exact}",
                    band.word
                );
            }
        }
    }

    #[test]
    fn extremes_do_not_overflow_a_bar() {
        assert_eq!(cells(&ThreadTimes::default(), 30).iter().sum::<u16>(), 0);
        let huge = times(&[(State::ON_CPU, u64::MAX), (State::SLEEP, u64::MAX)]);
        assert_eq!(cells(&huge, 30)[..2], [15, 0]);
    }
}
