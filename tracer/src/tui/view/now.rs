//! "Now": a few numbers over all targets, and how they came to be what they are.

use ratatui::{Frame, layout::Rect, style::Color, text::Line};

use super::{cpu, io, theme::Theme};
use crate::{
    human::{self, NONE},
    model::{LoopView, Snapshot, WindowPoint},
};

/// A number with its past.
struct Gauge {
    label: &'static str,
    /// What it means, for the help.
    meaning: &'static str,
    /// Its value in a window; not a number when the window has no length or it was not measured.
    value: fn(&Snapshot, &WindowPoint) -> f64,
    say: fn(f64) -> String,
    scale: Scale,
}

/// What the bars of a sparkline stand on and reach to.
enum Scale {
    /// From zero to the largest value shown, but at least to this one, so that a quiet process looks quiet.
    FromZero(f64),
    /// From the smallest value shown to the largest, but at least over this share of it: for what grows slowly
    /// from a high level.
    Floating(f64),
}

const GAUGES: [Gauge; 5] = [
    Gauge {
        label: "cpu",
        meaning: "CPU time of the target, in percent of one CPU",
        value: |_, point| point.on_cpu.0 as f64 / point.length.0 as f64,
        say: human::percent,
        scale: Scale::FromZero(1.0),
    },
    Gauge {
        label: "runq",
        meaning: "time its threads waited for a CPU, likewise",
        value: |_, point| point.runnable.0 as f64 / point.length.0 as f64,
        say: human::percent,
        scale: Scale::FromZero(1.0),
    },
    Gauge {
        label: "switches",
        meaning: "context switches of its threads",
        value: |_, point| per_second(point.switches, point),
        say: human::per_second,
        scale: Scale::FromZero(1.0),
    },
    Gauge {
        label: "syscalls",
        meaning: "returns from system calls",
        value: |snapshot, point| match super::syscalls_not_counted(snapshot) {
            None if super::off_for_now(snapshot, "sys_exit", point.syscalls) => f64::NAN,
            None => per_second(point.syscalls, point),
            Some(_) => f64::NAN,
        },
        say: human::per_second,
        scale: Scale::FromZero(1.0),
    },
    Gauge {
        label: "rss",
        meaning: "resident memory; bars start at the least shown",
        // No process has a resident set of nothing: it was not read.
        value: |_, point| {
            if point.rss_bytes == 0 {
                f64::NAN
            } else {
                point.rss_bytes as f64
            }
        },
        say: |bytes| {
            if bytes.is_finite() {
                human::bytes(bytes as u64)
            } else {
                NONE.to_owned()
            }
        },
        scale: Scale::Floating(0.05),
    },
];

/// A number without a past, and what belongs to it.
struct Fact {
    label: &'static str,
    /// What it means, for the help.
    meaning: &'static str,
    /// The number, and the rest of the line.
    say: fn(&Snapshot) -> (String, String),
}

const FACTS: [Fact; 4] = [
    Fact {
        label: "faults",
        meaning: "page faults since attach; how many needed I/O",
        say: |snapshot| match (snapshot.memory.minor_faults, snapshot.memory.major_faults) {
            (Some(minor), Some(major)) => (
                human::count(minor.saturating_add(major)),
                format!("{} with I/O", human::count(major)),
            ),
            _ => (NONE.to_owned(), String::new()),
        },
    },
    Fact {
        label: "sockets",
        meaning: "in flight: open now, on average, at most",
        say: |snapshot| {
            let sockets = snapshot
                .in_flight
                .iter()
                .find(|level| level.what == "sockets");
            match sockets {
                Some(level) => (
                    human::count(level.now),
                    format!("mean {} max {}", io::mean(level), human::count(level.max)),
                ),
                None => (NONE.to_owned(), String::new()),
            }
        },
    },
    Fact {
        label: "growth",
        meaning: "of rss, last minute; share of time short of memory",
        say: |snapshot| {
            let memory = &snapshot.memory;
            let growth = memory
                .rss_slope
                .map_or_else(|| NONE.to_owned(), human::growth);
            let own = memory.cgroup_pressure.map(|(some, _)| some);
            let pressure = own
                .or(memory.pressure_some)
                .map_or_else(|| NONE.to_owned(), human::ratio);
            (growth, format!("pressure {pressure}"))
        },
    },
    Fact {
        label: "cost",
        meaning: "of the probes, in percent of the target's CPU time",
        say: |snapshot| {
            let quality = &snapshot.quality;
            let ratio = |ratio: Option<f64>| ratio.map_or_else(|| NONE.to_owned(), human::ratio);
            (
                ratio(quality.recent_cpu_ratio),
                format!("{} since attach", ratio(quality.target_cpu_ratio)),
            )
        },
    },
];

/// Labels and what they mean, for the help.
pub(super) fn meanings() -> impl Iterator<Item = (&'static str, &'static str)> {
    GAUGES
        .iter()
        .map(|gauge| (gauge.label, gauge.meaning))
        .chain(FACTS.iter().map(|fact| (fact.label, fact.meaning)))
}

/// Rows that show everything, one number in each. Half of them do with two in each.
pub(super) const ROWS: u16 = (GAUGES.len() + FACTS.len()) as u16;

const LABEL: usize = 9;
const VALUE: usize = 9;
const PEAK: usize = 14;

/// Draws as many rows as there are; several numbers side by side when there are fewer rows than numbers.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, theme: &Theme) {
    if area.is_empty() {
        return;
    }
    let gauges = GAUGES.len() as u16;
    let per_row = gauges.div_ceil(area.height);
    let gaps = (per_row - 1) * 2;
    let width = area.width.saturating_sub(gaps) / per_row;
    let place = |at: u16| {
        Rect {
            x: area.x + at % per_row * (width + 2),
            y: area.y + at / per_row,
            width,
            height: 1,
        }
        .intersection(area)
    };
    for (at, gauge) in (0..).zip(&GAUGES) {
        frame.render_widget(gauge.line(snapshot, width, theme), place(at));
    }
    for (at, fact) in (gauges..per_row * area.height).zip(&FACTS) {
        frame.render_widget(fact.line(snapshot, width, theme), place(at));
    }
}

impl Gauge {
    /// Label, value, sparkline, and where there is room the largest value the sparkline shows.
    fn line<'a>(&self, snapshot: &Snapshot, width: u16, theme: &Theme) -> Line<'a> {
        let width = usize::from(width);
        let mut values: Vec<f64> = snapshot
            .history
            .iter()
            .map(|point| (self.value)(snapshot, point))
            .collect();
        let now = values
            .last()
            .map_or(NONE.to_owned(), |&value| (self.say)(value));
        let mut line = Line::from(vec![
            theme.plain(format!("{:<LABEL$}", self.label)),
            theme.strong(format!("{now:>VALUE$}  ")),
        ]);
        if !values.iter().any(|value| value.is_finite()) {
            // Bars on the ground would say that it was 0.
            values.clear();
        }
        let room = width.saturating_sub(line.width());
        let peak = if room >= PEAK + 10 { PEAK } else { 0 };
        let shown = values
            .get(values.len().saturating_sub(room - peak)..)
            .unwrap_or_default();
        let bars: String = bars(&self.scale, shown).collect();
        // The newest window is always at the same place, at the right end.
        line.push_span(theme.plain(" ".repeat(room - peak - shown.len())));
        line.push_span(theme.plain(bars).patch_style(theme.colored(Color::Green)));
        if peak > 0 && !shown.is_empty() {
            let most = shown
                .iter()
                .copied()
                .filter(|value| value.is_finite())
                .fold(0.0, f64::max);
            line.push_span(theme.faint(format!("{:>PEAK$}", format!("max {}", (self.say)(most)))));
        }
        line
    }
}

fn bars(scale: &Scale, values: &[f64]) -> impl Iterator<Item = char> {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let most = finite().fold(0.0, f64::max);
    let (bottom, top) = match *scale {
        Scale::FromZero(least) => (0.0, most.max(least)),
        Scale::Floating(span) => {
            let least = finite().fold(most, f64::min);
            (least, (least * (1.0 + span)).max(most))
        }
    };
    values.iter().map(move |value| {
        if value.is_nan() {
            // A bar on the ground would say that it was 0.
            return ' ';
        }
        let level = (value - bottom) / (top - bottom) * LEVELS.len() as f64;
        LEVELS
            .get((level.ceil() as usize).saturating_sub(1))
            .copied()
            .unwrap_or('█')
    })
}

impl Fact {
    /// Label and number, and the rest where there is room.
    fn line<'a>(&self, snapshot: &Snapshot, width: u16, theme: &Theme) -> Line<'a> {
        let (number, rest) = (self.say)(snapshot);
        // The longest of these numbers is a rate of bytes with a sign.
        let label = LABEL.saturating_sub(number.chars().count().saturating_sub(VALUE));
        let mut line = Line::from(vec![
            theme.plain(format!("{:<label$}", self.label)),
            theme.strong(format!("{number:>VALUE$}")),
        ]);
        let rest = theme.plain(format!("  {rest}"));
        if line.width() + rest.width() <= usize::from(width) {
            line.push_span(rest);
        }
        line
    }
}

/// The history of the resident set in as many columns.
pub(super) fn rss_bars(snapshot: &Snapshot, columns: usize) -> String {
    let [.., rss] = &GAUGES;
    let past = snapshot
        .history
        .iter()
        .map(|point| (rss.value)(snapshot, point));
    sparkline(&rss.scale, past, columns)
}

/// The history of the number of threads that ran or wanted to.
pub(super) fn wanted_bars(snapshot: &Snapshot, columns: usize) -> String {
    let past = snapshot.history.iter().map(cpu::wanted);
    sparkline(&Scale::FromZero(1.0), past, columns)
}

/// The history of a loop's longest iteration in each window.
pub(super) fn delay_bars(view: &LoopView, columns: usize) -> String {
    let past = view.history.iter().map(|point| point.delay_max.0 as f64);
    // A loop whose iterations stay below a millisecond looks quiet.
    sparkline(&Scale::FromZero(1e6), past, columns)
}

/// The newest of `values` in as many columns; nothing when none is a number.
fn sparkline(scale: &Scale, values: impl Iterator<Item = f64>, columns: usize) -> String {
    let values: Vec<f64> = values.collect();
    if !values.iter().any(|value| value.is_finite()) {
        return String::new();
    }
    let shown = values.get(values.len().saturating_sub(columns)..);
    bars(scale, shown.unwrap_or_default()).collect()
}

fn per_second(count: u64, point: &WindowPoint) -> f64 {
    count as f64 / (point.length.0 as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bars(scale: Scale, values: &[f64]) -> String {
        super::bars(&scale, values).collect()
    }

    #[test]
    fn a_quiet_process_looks_quiet_and_a_busy_one_fills_the_scale() {
        assert_eq!(
            bars(Scale::FromZero(1.0), &[0.0, 0.01, 0.02, 0.5, 1.0]),
            "▁▁▁▄█"
        );
        assert_eq!(bars(Scale::FromZero(1.0), &[0.0, 1.0, 2.0, 4.0]), "▁▂▄█");
        assert_eq!(
            bars(Scale::FromZero(1.0), &[f64::NAN, f64::INFINITY, 1.0]),
            " ██"
        );
    }

    #[test]
    fn slow_growth_shows_and_noise_does_not() {
        assert_eq!(bars(Scale::Floating(0.05), &[100.0, 150.0, 200.0]), "▁▄█");
        assert_eq!(bars(Scale::Floating(0.05), &[100.0, 100.5, 100.0]), "▁▁▁");
        assert_eq!(bars(Scale::Floating(0.05), &[0.0, 0.0]), "▁▁");
        assert_eq!(bars(Scale::Floating(0.05), &[]), "");
    }
}
