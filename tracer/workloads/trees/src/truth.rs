//! What the program knows about itself, as lines: a word for what it is, the task's name, then its values.

use std::{
    future::Future,
    sync::{Condvar, Mutex, PoisonError},
};

use tokio::task::JoinHandle;

struct Truth {
    lines: String,
    /// Ways to wait that were reached, and those that were announced.
    reached: usize,
    announced: usize,
}

static TRUTH: Mutex<Truth> = Mutex::new(Truth {
    lines: String::new(),
    reached: 0,
    announced: 0,
});
static CHANGED: Condvar = Condvar::new();

fn change(change: impl FnOnce(&mut Truth)) {
    change(&mut TRUTH.lock().unwrap_or_else(PoisonError::into_inner));
    CHANGED.notify_all();
}

/// Starts a task that will wait in `ways` ways at a time.
pub fn spawn<F>(name: &str, ways: usize, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    change(|truth| truth.announced += ways);
    let task = tokio::spawn(future);
    change(|truth| truth.lines += &format!("task {name} {}\n", task.id()));
    task
}

/// The frame `function` of the task stands at `line`, on the way to the `way`th of the things it waits for, or (`*`) to
/// all of them.
pub fn stands(name: &str, way: impl std::fmt::Display, function: &str, line: u32) {
    change(|truth| truth.lines += &format!("at {name} {way} {function} {line}\n"));
}

/// A task's last frame was told about: next it waits.
pub fn reached() {
    change(|truth| truth.reached += 1);
}

/// Anything else there is to know about a task.
pub fn fact(what: &str, name: &str, value: impl std::fmt::Display) {
    change(|truth| truth.lines += &format!("{what} {name} {value}\n"));
}

/// Where something is, and how large it is.
pub fn place<T>(what: &str, name: &str, thing: &T) {
    let address = std::ptr::from_ref(thing).addr();
    fact(what, name, format!("{address} {}", size_of::<T>()));
}

/// Announces a task that is started in another way.
pub fn announce() {
    change(|truth| truth.announced += 1);
}

/// Returns when every task has told about its last frame.
pub fn wait_until_all_are_parked() {
    let mut truth = TRUTH.lock().unwrap_or_else(PoisonError::into_inner);
    while truth.reached < truth.announced {
        truth = CHANGED.wait(truth).unwrap_or_else(PoisonError::into_inner);
    }
}

/// All that was told.
pub fn lines() -> String {
    TRUTH
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .lines
        .clone()
}

/// This function awaits on the next line.
macro_rules! at {
    ($task:expr, $function:literal) => {
        at!($task, "*", $function)
    };
    ($task:expr, $way:expr, $function:literal) => {
        crate::truth::stands(
            $task,
            $way,
            concat!(module_path!(), "::", $function),
            line!() + 1,
        )
    };
}

/// The same, and it is the last one.
macro_rules! parks {
    ($task:expr, $function:literal) => {
        parks!($task, "*", $function)
    };
    ($task:expr, $way:expr, $function:literal) => {{
        at!($task, $way, $function);
        crate::truth::reached();
    }};
}
pub(crate) use {at, parks};
