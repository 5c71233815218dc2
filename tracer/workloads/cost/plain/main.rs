//! The programs with nothing that watches them.

use std::process::ExitCode;

#[expect(dead_code, reason = "the tasks workload uses all of it")]
#[path = "../../tasks/src/clock.rs"]
mod clock;
#[path = "../../tasks/src/json.rs"]
mod json;
#[path = "../shared/programs.rs"]
mod programs;

fn main() -> ExitCode {
    programs::run("cost-plain", |mut builder| builder.build())
}
