//! Where records come from: a running process, a file, or a test's script. All in time order.

pub mod file;
pub mod live;
pub mod script;
