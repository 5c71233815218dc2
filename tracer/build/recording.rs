//! Makes the messages of a recording from `src/recording/recording.proto`, without `protoc`: the Rust structs
//! `$OUT_DIR/tracer.recording.v1.rs`, and `$OUT_DIR/recording.fds`, the descriptor set every recording carries.

use std::{env, fs, io, path::Path};

use protox::Compiler;

const PROTO: &str = "recording.proto";

/// Writes both files and tells cargo when to do it again.
///
/// # Errors
/// When the file does not compile or `$OUT_DIR` cannot be written.
pub(crate) fn generate() -> io::Result<()> {
    let directory = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let directory = Path::new(&directory).join("src/recording");
    println!("cargo:rerun-if-changed={}", directory.join(PROTO).display());

    // The comments become doc comments of the structs; recordings do without them.
    let documented = compiler(&directory, true)?.file_descriptor_set();
    prost_build::Config::new().compile_fds(documented)?;
    let plain = compiler(&directory, false)?.encode_file_descriptor_set();
    fs::write(Path::new(&out).join("recording.fds"), plain)
}

fn compiler(directory: &Path, comments: bool) -> io::Result<Compiler> {
    let mut compiler = Compiler::new([directory]).map_err(io::Error::other)?;
    compiler.include_source_info(comments);
    compiler.open_file(PROTO).map_err(io::Error::other)?;
    Ok(compiler)
}
