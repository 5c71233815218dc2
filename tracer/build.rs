//! Builds the kernel object and puts it where the agent embeds it: `$OUT_DIR/tracer.bpf.o`.
//!
//! It runs again when the sources of the kernel object change, and only then.

#![expect(
    clippy::print_stderr,
    reason = "cargo shows what a failed build script said there"
)]

#[path = "build/recording.rs"]
mod recording;

use std::{env, fs, path::Path, process::ExitCode};

use xtask::kernel_object::{self, PREBUILT, SOURCES};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> xtask::Result<()> {
    let manifest_dir = env::var("CARGO_MANIFEST_DIR")?;
    let out_dir = env::var("OUT_DIR")?;
    let root = Path::new(&manifest_dir).parent().unwrap_or(Path::new(".."));
    let out_dir = Path::new(&out_dir);

    println!("cargo:rerun-if-env-changed={PREBUILT}");
    for source in SOURCES {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }

    if let Some(prebuilt) = env::var(PREBUILT).ok().filter(|path| !path.is_empty()) {
        println!("cargo:rerun-if-changed={prebuilt}");
    }

    recording::generate()?;
    let object = kernel_object::build(root, &kernel_object::target_dir(out_dir))?;
    for warning in &object.warnings {
        println!("cargo:warning=tracer-ebpf: {warning}");
    }
    fs::copy(&object.path, out_dir.join("tracer.bpf.o"))?;
    println!("cargo:rustc-env=TRACER_BPF_ROUTE={}", object.route);
    Ok(())
}
