//! Finds the tables of functions that tokio makes for each task type.
//!
//! From tokio 1.23 on a table is seven addresses of code and then three small numbers that fit each other, which
//! nothing else looks like: it is found without any name. Before, it was nothing but addresses of code; there the
//! symbols of `poll` lead to it.

use std::collections::HashSet;

use super::Layout;
use crate::runtime::image::{Image, Pointer};

/// Types looked at in a file. The largest programs have a few thousand.
const MOST: usize = 16_384;
/// Bytes that a task may take: more than a future anybody moves into place.
const LARGEST: u64 = 1 << 28;

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vtable {
    /// Where it is.
    pub(super) address: u64,
    /// `poll`, `schedule`, `dealloc`, `try_read_output`, `drop_join_handle_slow`, `drop_abort_handle`, `shutdown`;
    /// before 1.23 `poll`, `dealloc` and others.
    pub(super) functions: Vec<u64>,
    /// Where a task has its scheduler; the id follows it.
    pub(super) scheduler: Option<u64>,
    pub(super) id: Option<u64>,
    pub(super) trailer: Option<u64>,
}

impl Vtable {
    pub(super) fn poll(&self) -> u64 {
        self.functions.first().copied().unwrap_or_default()
    }

    /// What is the same for all types of one scheduler; before 1.23 there is no such function.
    pub(super) fn schedule(&self) -> Option<u64> {
        self.scheduler.and(self.functions.get(1).copied())
    }

    /// Bytes of the scheduler in a task: an `Arc` of 8 for all that run futures; `BlockingSchedule` had none, and has
    /// hooks of 16 since 1.42.
    pub(super) fn scheduler_size(&self) -> Option<u64> {
        self.id?.checked_sub(self.scheduler?)
    }
}

/// All tables of a file, by address, and how its tasks lie.
pub(super) fn vtables(image: &Image) -> Option<(Vec<Vtable>, Layout)> {
    let found = by_shape(image);
    if !found.is_empty() {
        return Some((found, LAYOUT));
    }
    by_symbols(image)
}

/// Of tokio 1.21 and later.
pub(super) const LAYOUT: Layout = Layout {
    vtable: 16,
    owner: 24,
};

/// `tokio::runtime::task::raw::Vtable` of 1.23 and later:
/// <https://github.com/tokio-rs/tokio/blob/tokio-1.44.2/tokio/src/runtime/task/raw.rs#L12>
fn by_shape(image: &Image) -> Vec<Vtable> {
    const FUNCTIONS: usize = 7;
    let mut found = Vec::new();
    let mut run: Vec<Pointer> = Vec::new();
    let mut close = |run: &mut Vec<Pointer>| {
        if let Some(at) = run.len().checked_sub(FUNCTIONS) {
            found.extend(table(image, &run[at..]).filter(|_| found.len() < MOST));
        }
        run.clear();
    };
    for pointer in image.code_pointers() {
        if !image.is_constant(pointer.place) {
            continue;
        }
        let follows = run
            .last()
            .is_some_and(|last| last.place.checked_add(8) == Some(pointer.place));
        if !follows {
            close(&mut run);
        }
        run.push(pointer);
    }
    close(&mut run);
    found
}

fn table(image: &Image, functions: &[Pointer]) -> Option<Vtable> {
    let address = functions.first()?.place;
    let after = functions.last()?.place.checked_add(8)?;
    let number = |index: u64| image.number(after.checked_add(8 * index)?);
    let [trailer, scheduler, id] = [number(0)?, number(1)?, number(2)?];
    // The header has 32 bytes, more with `tokio_unstable`; what is aligned more follows later.
    let fits = (32..=128).contains(&scheduler)
        && (scheduler..=scheduler + 64).contains(&id)
        && id < trailer
        && trailer < LARGEST
        && [trailer, scheduler, id].iter().all(|one| one % 8 == 0)
        && address % 8 == 0;
    fits.then(|| Vtable {
        address,
        functions: functions.iter().map(|pointer| pointer.target).collect(),
        scheduler: Some(scheduler),
        id: Some(id),
        trailer: Some(trailer),
    })
}

/// True for the mangled name of `tokio::runtime::task::raw::poll`, whichever the scheme.
pub(super) fn is_poll(name: &str) -> bool {
    name.contains("7runtime4task3raw4poll")
        && name.contains("5tokio")
        && (name.contains("raw4poll17h") || name.starts_with("_R"))
}

/// The words that hold the address of a function with that name, where eight addresses of code follow each other.
fn by_symbols(image: &Image) -> Option<(Vec<Vtable>, Layout)> {
    const FUNCTIONS: usize = 8;
    if !image.has_symbols() {
        return None;
    }
    let polls: HashSet<u64> = image.named(is_poll).map(|(address, _)| address).collect();
    if polls.is_empty() {
        return None;
    }
    let pointers: Vec<Pointer> = image.code_pointers().collect();
    let mut found = Vec::new();
    for (at, pointer) in pointers.iter().enumerate() {
        let functions: Vec<u64> = (pointer.place..)
            .step_by(8)
            .zip(pointers[at..].iter().take(FUNCTIONS))
            .take_while(|(place, pointer)| *place == pointer.place)
            .map(|(_, pointer)| pointer.target)
            .collect();
        if polls.contains(&pointer.target) && functions.len() > 4 && found.len() < MOST {
            found.push(Vtable {
                address: pointer.place,
                functions,
                scheduler: None,
                id: None,
                trailer: None,
            });
        }
    }
    // 1.21 and 1.22 have one number behind the eight functions; 1.20 and before have none.
    let trailers: Vec<Option<u64>> = found
        .iter()
        .map(|table| {
            let number = image.number(table.address.checked_add(64)?)?;
            let fits = table.functions.len() == FUNCTIONS && number % 8 == 0;
            (fits && (40..LARGEST).contains(&number)).then_some(number)
        })
        .collect();
    if trailers.iter().any(Option::is_none) {
        let layout = Layout {
            vtable: 32,
            owner: 40,
        };
        return (!found.is_empty()).then_some((found, layout));
    }
    for (table, trailer) in found.iter_mut().zip(trailers) {
        table.trailer = trailer;
    }
    (!found.is_empty()).then_some((found, LAYOUT))
}
