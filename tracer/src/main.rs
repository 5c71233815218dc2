//! Parse, run, map an error to its exit status; everything else is in the library.

use std::{io::Write as _, process::ExitCode};

use tracer::cli::{self, failure};

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = write!(std::io::stderr(), "{}", failure::message(&error));
            ExitCode::from(failure::exit_status(&error))
        }
    }
}
