//! Facts about processes and about this machine, read from `/proc` and the system's clocks. Changes nothing.

pub mod cpu;
pub mod descriptor;
pub mod find;
pub mod mapping;
pub mod memory;
pub mod process;
pub mod stack;
pub mod sys;
pub mod syscall;

pub use find::{FindError, Query};
pub use process::{Description, LiveThread};
