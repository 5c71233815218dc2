//! `tracer` attaches to a running Node or tokio process, changes nothing in it, and says where its time and
//! memory go.
//!
//! Data flows one way: a [`source`] makes [`record::Record`]s, the [`model`] folds them, views show its snapshots.

#![deny(unsafe_code)]

pub mod bpf;
pub mod cli;
pub mod dump;
pub mod findings;
pub mod human;
pub mod metric;
pub mod model;
pub mod pipeline;
pub mod record;
pub mod recording;
pub mod report;
pub mod runtime;
pub mod source;
pub mod symbol;
pub mod target;
pub mod tui;
