//! Sums of what the test programs and the kernel tests report.

use std::{collections::BTreeMap, fmt, ops::AddAssign};

/// Results of tests, summed over test programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
}

impl Tests {
    /// The numbers in a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            counts
                .split("; ")
                .find_map(|part| part.trim().strip_suffix(what)?.trim_end().parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }
}

impl AddAssign for Tests {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        )
    }
}

/// Which kernel tests ran; they say it themselves, one line each: `ran NAME` or `skipped NAME: why`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelTests {
    pub(crate) ran: u32,
    pub(crate) not_run: u32,
    /// How many tests gave each reason.
    pub(crate) reasons: BTreeMap<String, u32>,
}

impl KernelTests {
    /// Reads what the tests have written.
    pub(crate) fn of_report(report: &str) -> Self {
        let mut sum = Self::default();
        for line in report.lines() {
            if line.starts_with("ran ") {
                sum.ran += 1;
            } else if let Some(skipped) = line.strip_prefix("skipped ") {
                sum.not_run += 1;
                let why = skipped
                    .split_once(": ")
                    .map_or("no reason given", |(_, why)| why);
                *sum.reasons.entry(why.to_owned()).or_default() += 1;
            }
        }
        sum
    }
}

impl fmt::Display for KernelTests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ran, {} not run", self.ran, self.not_run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up() {
        let output = "running 4 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s\n\
            test result: nonsense\n";
        let mut sum = Tests::default();
        output
            .lines()
            .filter_map(Tests::of_line)
            .for_each(|tests| sum += tests);
        assert_eq!(
            sum,
            Tests {
                passed: 13,
                failed: 2,
                ignored: 1
            }
        );
        assert_eq!(sum.to_string(), "13 passed, 2 failed, 1 ignored");
    }

    #[test]
    fn kernel_tests_that_did_not_run_are_counted_with_their_reason() {
        let report = "ran drops_are_counted\nskipped polls_are_exact: needs root\nskipped all_load: needs root\n";
        let sum = KernelTests::of_report(report);
        assert_eq!((sum.ran, sum.not_run), (1, 2));
        assert_eq!(sum.reasons, BTreeMap::from([("needs root".to_owned(), 2)]));
        assert_eq!(sum.to_string(), "1 ran, 2 not run");
    }
}
