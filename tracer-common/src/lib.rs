//! What the kernel side and the agent agree on: the list of events, the rows of the maps, bucket maths,
//! loss reasons, and the names of maps and programs.
//!
//! Everything here is plain data or a pure function, so that it can be tested on the host and read back
//! without `unsafe`. It never allocates, never calls a helper, and never uses floating point.

#![no_std]
#![forbid(unsafe_code)]

pub mod callback;
pub mod config;
pub mod event;
pub mod event_loop;
pub mod futex;
pub mod hist;
pub mod id;
pub mod loss;
pub mod name;
pub mod stack;
pub mod syscall;
pub mod table;
pub mod task;
pub mod thread;

pub use config::Layout;
pub use event::{Event, EventHeader, EventKind, Payload};
pub use id::{Nanos, Pid, Tid};
pub use loss::LossReason;
pub use stack::{StackId, StackTail};
pub use syscall::{SyscallKey, SyscallNr, SyscallRow};
pub use table::{Table, TableNr};
pub use thread::{Edge, State, Target, ThreadRow, ThreadTimes};
