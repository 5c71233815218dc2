//! Load, attach, read maps: the only module that talks to the kernel about programs. It knows no model.

mod attach;
pub mod btf;
mod functions;
pub mod kernel;
pub mod probes;
mod ready;
mod rows;
mod session;
mod uprobe;
mod wire;

pub use attach::Runs;
pub use functions::Detached;
pub use kernel::Requirement;
pub use ready::Ready;
pub use rows::Rows;
pub use session::{Kernel, LONG_POLL, LONG_WAIT, LoadError, Options, Read, Seen};
pub use uprobe::Points;
