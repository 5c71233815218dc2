//! What the project's commands and the agent's build script share: finding a compiler that can target the kernel, and
//! building the kernel object with it.
//!
//! Nothing here installs anything; that is `cargo xtask setup`.

pub mod cost;
pub mod kernel_object;
pub mod matrix;
pub mod node;
pub mod packages;
pub mod project;
pub mod published;
pub mod route;
pub mod tool;

pub use anyhow::Result;
