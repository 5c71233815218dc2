//! Types that are known by their path: what they are for, and whether people want to see them.

/// Futures that wait for one thing, and so have nothing below them.
const LEAVES: &[&str] = &[
    "core::future::pending::Pending",
    "tokio::runtime::io::scheduled_io::Readiness",
    "tokio::runtime::task::join::JoinHandle",
    "tokio::sync::batch_semaphore::Acquire",
    "tokio::sync::broadcast::Recv",
    "tokio::sync::notify::Notified",
    "tokio::sync::notify::OwnedNotified",
    "tokio::sync::oneshot::Receiver",
    "tokio::task::yield_now::yield_now::YieldNow",
    "tokio::time::sleep::Sleep",
];

/// Those with a list of futures, or of tasks.
const SETS: &[(&str, Set)] = &[
    (
        "futures_util::stream::futures_unordered::FuturesUnordered",
        Set::Unordered,
    ),
    (
        "tokio::util::idle_notified_set::IdleNotifiedSet",
        Set::Tasks,
    ),
];

/// Where types come from that only carry others.
const CARRIERS: &[&str] = &[
    "alloc",
    "core",
    "either",
    "futures_core",
    "futures_util",
    "pin_project",
    "std",
    "tracing",
];

/// The same within tokio.
const TOKIO_CARRIERS: &[&str] = &[
    "tokio::future::",
    "tokio::loom::",
    "tokio::macros::",
    "tokio::runtime::",
    "tokio::task::",
    "tokio::time::interval::",
    "tokio::util::",
];

/// What keeps many futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// `FuturesUnordered`: a list of shared nodes.
    Unordered,
    /// `JoinSet`: two lists of handles of tasks.
    Tasks,
}

pub(super) fn is_leaf(path: &str) -> bool {
    LEAVES.binary_search(&path).is_ok()
}

/// `join!` and its like keep each future in one of these until all have ended.
pub(super) fn is_maybe_done(path: &str) -> bool {
    path.ends_with("maybe_done::MaybeDone") || path.ends_with("maybe_done::TryMaybeDone")
}

pub(super) fn set(path: &str) -> Option<Set> {
    SETS.iter().find(|(of, _)| *of == path).map(|(_, set)| *set)
}

/// A type that says nothing by itself when one thing is below it.
pub(super) fn is_carrier(path: &str) -> bool {
    let first = path.split("::").next().unwrap_or(path);
    // Tuples, closures and pointers.
    let last = path.rsplit("::").next().unwrap_or(path);
    let is_unnamed = !path.starts_with(char::is_alphabetic) || last.starts_with('{');
    is_unnamed || CARRIERS.contains(&first) || TOKIO_CARRIERS.iter().any(|of| path.starts_with(of))
}

/// The text of a `dyn` type that is polled.
pub(super) fn is_polled_dyn(name: &str) -> bool {
    [
        "dyn core::future::future::Future<",
        "dyn futures_core::stream::Stream<",
    ]
    .iter()
    .any(|of| name.contains(of))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(LEAVES.is_sorted());
    }

    #[test]
    fn carriers_are_told_from_what_people_wrote() {
        for path in [
            "core::pin::Pin",
            "(A, B)",
            "app::start::{closure_env#0}",
            "&mut app::By",
        ] {
            assert!(is_carrier(path), "{path}");
        }
        for path in [
            "app::ByHand",
            "tokio::time::timeout::Timeout",
            "hyper::server::Connection",
        ] {
            assert!(!is_carrier(path), "{path}");
        }
    }
}
