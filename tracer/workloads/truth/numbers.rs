//! Numbers in and out: the arguments of a command, and what is said of many durations.

use serde_json::{Value, json};

pub(crate) fn number(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_parse| format!("not a whole number below 2^32: `{text}`"))
}

/// Exactly as many numbers as asked for. `wants` is the usage, for the message.
pub(crate) fn numbers<const COUNT: usize>(
    argument: &str,
    wants: &str,
) -> Result<[u32; COUNT], String> {
    let mut words = argument.split_ascii_whitespace();
    let mut found = [0; COUNT];
    for place in &mut found {
        *place = number(words.next().ok_or_else(|| format!("wants {wants}"))?)?;
    }
    match words.next() {
        None => Ok(found),
        Some(_) => Err(format!("wants {wants}, and no more")),
    }
}

pub(crate) fn at_least_one(what: &str, number: u32) -> Result<(), String> {
    if number == 0 {
        return Err(format!("{what} must be at least 1"));
    }
    Ok(())
}

/// Sum and extremes of durations in nanoseconds; the extremes of none are null.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spread {
    sum: u64,
    min: Option<u64>,
    max: Option<u64>,
}

impl Spread {
    pub(crate) fn add(&mut self, ns: u64) {
        self.sum += ns;
        self.min = Some(self.min.map_or(ns, |least| least.min(ns)));
        self.max = Some(self.max.map_or(ns, |most| most.max(ns)));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        // `None` is less than every number, so only the least needs care.
        self.min = self.min.into_iter().chain(other.min).min();
        self.max = self.max.max(other.max);
    }

    /// `what` becomes `what_ns`, `min_what_ns` and `max_what_ns`.
    pub(crate) fn put(self, answer: &mut Value, what: &str) {
        answer[format!("{what}_ns")] = json!(self.sum);
        answer[format!("min_{what}_ns")] = json!(self.min);
        answer[format!("max_{what}_ns")] = json!(self.max);
    }
}

impl FromIterator<u64> for Spread {
    fn from_iter<Numbers: IntoIterator<Item = u64>>(numbers: Numbers) -> Self {
        let mut spread = Self::default();
        numbers.into_iter().for_each(|ns| spread.add(ns));
        spread
    }
}

/// An address as the kernel's own files write it.
pub(crate) fn hex(address: usize) -> String {
    format!("{address:#x}")
}
