//! Load, attach, read maps: the only module that talks to the kernel about programs. It knows no model.

pub mod btf;
pub mod kernel;
pub mod probes;
mod ready;
mod session;
mod wire;

pub use kernel::Requirement;
pub use ready::Ready;
pub use session::{Kernel, LoadError, Options, Read};
