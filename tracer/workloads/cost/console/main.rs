//! The programs with the subscriber of tokio-console, to which nobody has connected.

use std::{io, net::Ipv4Addr, process::ExitCode};

use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

#[expect(dead_code, reason = "the tasks workload uses all of it")]
#[path = "../../tasks/src/clock.rs"]
mod clock;
#[path = "../../tasks/src/json.rs"]
mod json;
#[path = "../shared/programs.rs"]
mod programs;

#[cfg(not(tokio_unstable))]
compile_error!("tokio tells the subscriber nothing without --cfg tokio_unstable");

fn main() -> ExitCode {
    programs::run("cost-console", watched)
}

fn watched(mut builder: Builder) -> io::Result<Runtime> {
    // Without the layer that prints events: stdout is ours. Any port, so that several can run at once.
    let layer = console_subscriber::ConsoleLayer::builder()
        .server_addr((Ipv4Addr::LOCALHOST, 0))
        .spawn();
    tracing_subscriber::registry().with(layer).init();
    builder.build()
}
