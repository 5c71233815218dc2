//! What is missing about what Node has in flight, and why.

use super::NotMeasured;
use crate::model::Snapshot;

/// What no list of Node's has.
const IN_NO_LIST: &str = "promises that no async function awaits, and timers that do not keep the process alive, are JavaScript's own, and Node \
                          has no number of them; work of `crypto` and `zlib` is in the pool's";

/// What is missing in `snapshot`, with reasons.
pub(super) fn not_measured(snapshot: &Snapshot) -> Vec<NotMeasured> {
    if !snapshot.tasks.is_node() {
        return Vec::new();
    }
    let unknown = snapshot.resources_unknown.clone();
    let unknown = unknown.map(|why| NotMeasured::new("in_flight[].kind", why));
    let others = NotMeasured::new("in_flight[]", IN_NO_LIST);
    unknown.into_iter().chain([others]).collect()
}
