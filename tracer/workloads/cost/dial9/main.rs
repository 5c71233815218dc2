//! The programs with dial9, which records to files in the directory for temporary ones.

use std::{
    env, fs, io,
    path::PathBuf,
    process::{self, ExitCode},
    sync::OnceLock,
};

use dial9::{Dial9HandleTokioExt, DiskBuffer, Recorder, TokioAttachOptions};
use tokio::runtime::{Builder, Runtime};

#[expect(dead_code, reason = "the tasks workload uses all of it")]
#[path = "../../tasks/src/clock.rs"]
mod clock;
#[path = "../../tasks/src/json.rs"]
mod json;
#[path = "../shared/programs.rs"]
mod programs;

#[cfg(not(tokio_unstable))]
compile_error!("tokio has the hooks for every task only with --cfg tokio_unstable");

/// It records as long as it is kept.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

fn main() -> ExitCode {
    let code = programs::run("cost-dial9", watched);
    // Where it wrote nothing, there is nothing to remove.
    let _ = fs::remove_dir_all(files());
    code
}

fn files() -> PathBuf {
    env::temp_dir().join(format!("cost-dial9-{}", process::id()))
}

fn watched(builder: Builder) -> io::Result<Runtime> {
    let buffer = DiskBuffer::builder()
        .base_path(files())
        .max_total_size(64 << 20)
        .build()?;
    let recorder = RECORDER.get_or_init(|| dial9::recorder(buffer).build());
    let options = TokioAttachOptions::builder()
        .task_tracking_enabled(true)
        .build();
    recorder.handle().attach_tokio_runtime(builder, options)
}
