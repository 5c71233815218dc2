//! What the words after `cargo xtask bench` mean.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{observer::OBSERVERS, workload::WORKLOADS};

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    /// How often each observer is measured on each workload.
    pub(crate) rounds: u32,
    /// The length of one measurement.
    pub(crate) window: Duration,
    /// Names of workloads; empty means all.
    pub(crate) only: Vec<String>,
    /// Names of observers; empty means all.
    pub(crate) observers: Vec<String>,
    /// Watch the tracer's own memory for so long, instead of comparing.
    pub(crate) soak: Option<Duration>,
    /// Install the peers and do nothing else.
    pub(crate) setup: bool,
    /// Take what is built.
    pub(crate) no_build: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 5,
            window: Duration::from_secs(2),
            only: Vec::new(),
            observers: Vec::new(),
            soak: None,
            setup: false,
            no_build: false,
        }
    }
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                let value = arguments.next();
                value.with_context(|| format!("{argument} wants a value"))
            };
            match argument.as_str() {
                "--rounds" => options.rounds = rounds(value()?)?,
                "--seconds" => options.window = time(value()?)?,
                "--only" => options.only = names(value()?, WORKLOADS.iter().map(|one| one.name))?,
                "--observers" => {
                    options.observers = names(value()?, OBSERVERS.iter().map(|one| one.name))?;
                }
                "--soak" => options.soak = Some(time(value()?)?),
                "--quick" => {
                    options.rounds = 2;
                    options.window = Duration::from_secs(1);
                    let ours = OBSERVERS.iter().filter(|one| one.is_tracer());
                    options.observers = ours.map(|one| one.name.to_owned()).collect();
                }
                "--setup" => options.setup = true,
                "--no-build" => options.no_build = true,
                other => bail!("bench has no option `{other}`"),
            }
        }
        Ok(options)
    }

    /// Whether `name` is among the chosen.
    pub(crate) fn chooses(chosen: &[String], name: &str) -> bool {
        chosen.is_empty() || chosen.iter().any(|one| one == name)
    }
}

fn rounds(text: &str) -> Result<u32> {
    let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
    rounds.with_context(|| format!("`{text}` is no number of rounds"))
}

/// `90`, `0.5` and `60s` are seconds, `10m` minutes, `1h` an hour.
fn time(text: &str) -> Result<Duration> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        Some(_) | None => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    // Below a tenth of a second the clock of the scheduler's accounts is too coarse.
    let seconds = seconds.filter(|seconds| (0.1..=1e6).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .with_context(|| format!("`{text}` is no time; write it as `0.5`, `60s`, `10m` or `1h`"))
}

fn names(text: &str, known: impl Iterator<Item = &'static str> + Clone) -> Result<Vec<String>> {
    let chosen: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    for name in &chosen {
        if !known.clone().any(|one| one == name) {
            let known: Vec<_> = known.collect();
            bail!("there is no `{name}`; there are {}", known.join(", "));
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_override_the_defaults_in_their_order() -> Result<()> {
        assert_eq!(parsed("")?, Options::default());
        let options = parsed("--quick --rounds 9 --seconds 0.5 --only polls,read-loop")?;
        assert_eq!(options.rounds, 9);
        assert_eq!(options.window, Duration::from_millis(500));
        assert_eq!(options.only, ["polls", "read-loop"]);
        assert_eq!(
            options.observers,
            ["light", "task", "wake", "default", "full"]
        );
        assert_eq!(parsed("--soak 2m")?.soak, Some(Duration::from_secs(120)));
        Ok(())
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let cases = [
            ("--rounds", "--rounds wants a value"),
            ("--rounds 0", "`0` is no number of rounds"),
            ("--seconds 0.01", "`0.01` is no time"),
            ("--seconds 5d", "`5d` is no time"),
            ("--only reads", "there is no `reads`"),
            ("--observers top", "there is no `top`"),
            ("--fast", "bench has no option `--fast`"),
        ];
        for (line, expected) in cases {
            let said = parsed(line).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(said.starts_with(expected), "{line}: {said}");
        }
    }
}
