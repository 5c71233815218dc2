//! The live dashboard: the same screen over a running process and over a recording.
//!
//! [`App`](app::App) holds the state and decides ([`App::update`](app::App::update)), [`view::draw`] only draws,
//! [`input`] is the one table of keys, and [`run`](run()) drives them; only it touches the terminal. Nothing here
//! reads the target, a clock or a file, and nothing here is waited for by the rest of the program: a screen that
//! cannot keep up shows fewer snapshots.

pub mod app;
mod bands;
#[cfg(test)]
mod demo;
mod feed;
pub mod input;
mod keys;
pub mod list;
mod run;
mod terminal;
pub mod view;

pub use feed::{Command, Exit, Feed, Options, Pace, SeekTo, Transport};
pub use run::run;
