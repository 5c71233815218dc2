//! The results as Markdown.

use std::{fmt::Write as _, fs, thread};

use super::{
    compare::{Column, Own, Sample},
    observer::Observer,
    options::Options,
};

/// The middle of some numbers, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted.get(middle.checked_sub(1)?)? + sorted.get(middle)?) / 2.0
        };
        Some(Self {
            median,
            least: *sorted.first()?,
            most: *sorted.last()?,
        })
    }

    fn shown(self, show: impl Fn(f64) -> String) -> String {
        format!(
            "{} ({}..{})",
            show(self.median),
            show(self.least),
            show(self.most)
        )
    }
}

/// All tables: the ratios, what that is in time, and what the observers use themselves.
pub(crate) fn markdown(observers: &[&Observer], columns: &[Column], options: &Options) -> String {
    let mut text = format!(
        "CPU time of the target per operation, as a multiple of that with nothing attached: median (least..most) of {} \
         interleaved rounds with windows of {} s, each against the bare windows before and after it.\n\n",
        options.rounds,
        options.window.as_secs_f64(),
    );
    heading(&mut text, columns);
    row(&mut text, "bare, CPU per operation", columns, |column| {
        Spread::of(column.bare.iter().copied()).map(|bare| bare.shown(time))
    });
    row(&mut text, "noise: bare against bare", columns, |column| {
        Spread::of(column.noise()).map(|noise| noise.shown(digits))
    });
    let median_of = format!("noise of a median of {}", options.rounds);
    row(&mut text, &median_of, columns, |column| {
        noise_of_median(&column.noise(), options.rounds).map(|noise| format!("±{}", digits(noise)))
    });
    let each = |text: &mut String, show: &dyn Fn(&Column, usize) -> Option<String>| {
        for (place, observer) in observers.iter().enumerate() {
            row(text, observer.shown, columns, |column| show(column, place));
        }
    };
    each(&mut text, &|column, place| {
        let ratio = |sample: &Sample| sample.observed / column.bare_around(sample);
        Spread::of(column.cells[place].iter().map(ratio)).map(|ratios| ratios.shown(digits))
    });

    text += "\nThe same as added CPU time per operation, median:\n\n";
    heading(&mut text, columns);
    each(&mut text, &|column, place| {
        column.added(place).map(|added| signed(added.median))
    });

    if let Some(script) = observers.iter().position(|one| one.name == "bpftrace") {
        text += "\nThe tracer's added time in percent of what `bpftrace` adds:\n\n";
        heading(&mut text, columns);
        for (place, observer) in observers.iter().enumerate() {
            if observer.is_tracer() {
                row(&mut text, observer.shown, columns, |column| {
                    let ours = column.added(place)?.median;
                    let theirs = column.added(script)?.median;
                    // Where the script itself adds nothing there is nothing to compare with.
                    (theirs > 0.0).then(|| format!("{:.0} %", ours / theirs * 100.0))
                });
            }
        }
    }

    text += "\nThe observer's own CPU time, in percent of one CPU, and memory, medians; of those built in, the memory of the \
             whole program at the end:\n\n";
    heading(&mut text, columns);
    each(&mut text, &|column, place| own(&column.cells[place]));

    text += "\nOne operation is: ";
    let operations = columns
        .iter()
        .map(|column| format!("`{}` {}", column.workload.name, column.workload.operation));
    text += &operations.collect::<Vec<_>>().join("; ");
    let _ = writeln!(text, ".\nMachine: {}.", machine(observers));
    text
}

/// What an observer used itself.
fn own(samples: &[Sample]) -> Option<String> {
    let median = |number: &dyn Fn(Own) -> f64| {
        let all = Spread::of(samples.iter().map(|sample| number(sample.own)));
        all.map(|spread| spread.median)
    };
    let resident = median(&|own| match own {
        Own::Beside { resident, .. } | Own::Inside { resident, .. } => resident as f64,
    })?;
    let resident = digits(resident / f64::from(1 << 20));
    Some(match samples.first()?.own {
        Own::Beside { .. } => {
            let cpu = median(&|own| match own {
                Own::Beside { cpu, .. } => cpu,
                Own::Inside { .. } => 0.0,
            })?;
            format!("{} %, {resident} MiB", digits(cpu * 100.0))
        }
        Own::Inside { .. } => {
            let operations = median(&|own| match own {
                Own::Beside { .. } => 0.0,
                Own::Inside { operations, .. } => operations as f64,
            })?;
            format!("{resident} MiB after {} k", digits(operations / 1e3))
        }
    })
}

/// How far the median of `rounds` numbers may be off (two standard errors) when single ones are off as those in `noise`
/// are. A normal distribution's deviation is 1.48 times the median of the absolute deviations, which outliers do not
/// move, and the error of its median is 1.25 times that of its mean.
fn noise_of_median(noise: &[f64], rounds: u32) -> Option<f64> {
    let middle = Spread::of(noise.iter().copied())?.median;
    let deviation = Spread::of(noise.iter().map(|ratio| (ratio - middle).abs()))?.median;
    Some(2.0 * 1.25 * 1.48 * deviation / f64::from(rounds).sqrt())
}

impl Column {
    /// What the observer at `place` adds to an operation, in CPU nanoseconds.
    fn added(&self, place: usize) -> Option<Spread> {
        let added = |sample: &Sample| sample.observed - self.bare_around(sample);
        Spread::of(self.cells[place].iter().map(added))
    }
}

fn heading(text: &mut String, columns: &[Column]) {
    let names: String = columns
        .iter()
        .map(|column| format!(" {} |", column.workload.name))
        .collect();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| |{names}\n| --- |{}",
        " ---: |".repeat(columns.len())
    );
}

fn row(
    text: &mut String,
    name: &str,
    columns: &[Column],
    cell: impl Fn(&Column) -> Option<String>,
) {
    let cells: String = columns
        .iter()
        .map(|column| format!(" {} |", cell(column).as_deref().unwrap_or("–")))
        .collect();
    let _ = writeln!(text, "| {name} |{cells}");
}

/// What the numbers depend on besides the programs.
fn machine(observers: &[&Observer]) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut parts = vec![format!("Linux {}", kernel.trim()), format!("{cpus} CPUs")];
    for observer in observers {
        if let Some(version) = observer.version() {
            parts.push(format!("{} {version}", observer.name));
        }
    }
    parts.join(", ")
}

/// At most three digits that mean something.
pub(crate) fn digits(number: f64) -> String {
    match number.abs() {
        size if size < 9.995 => format!("{number:.2}"),
        size if size < 99.95 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

/// Nanoseconds in a unit that fits.
pub(crate) fn time(ns: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    // 999.6 would be shown as 1000.
    let unit = UNITS.iter().find(|(size, _)| ns.abs() >= size * 0.9995);
    let (size, unit) = unit.unwrap_or(&(1.0, "ns"));
    format!("{} {unit}", digits(ns / size))
}

fn signed(ns: f64) -> String {
    let sign = if ns < 0.0 { '−' } else { '+' };
    format!("{sign}{}", time(ns.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        let expected = Spread {
            median: 2.0,
            least: 1.0,
            most: 9.0,
        };
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(expected));
        assert_eq!(spread(&[9.0, 1.0, 1.5, 2.5]), Some(expected));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn more_rounds_and_less_noise_make_a_better_median() {
        let few = noise_of_median(&[0.98, 1.0, 1.02], 1);
        assert_eq!(few.map(digits).as_deref(), Some("0.07"));
        let many = noise_of_median(&[0.98, 1.0, 1.02], 100);
        assert_eq!(
            many.map(|noise| digits(noise * 100.0)).as_deref(),
            Some("0.74")
        );
        assert_eq!(noise_of_median(&[], 5), None);
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let cases = [
            (0.27, "0.27 ns"),
            (172.4, "172 ns"),
            (999.6, "1.00 µs"),
            (24_373.0, "24.4 µs"),
            (2.5e6, "2.50 ms"),
            (3e9, "3.00 s"),
        ];
        for (ns, expected) in cases {
            assert_eq!(time(ns), expected);
        }
        assert_eq!(digits(1.284), "1.28");
        assert_eq!(digits(168.2), "168");
        assert_eq!(signed(-31.2), "−31.2 ns");
    }
}
