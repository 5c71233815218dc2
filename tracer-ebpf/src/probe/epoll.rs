//! Waits for events: how many each return gave, and how long after the wake-up it came.

use tracer_common::table::{FileKey, Polls};

use super::{Returned, now};
use crate::{
    setting::{setting, syscalls_since},
    shared::{Rows as _, add, raise, record},
};

/// Counts one return of an epoll wait.
#[inline(always)]
pub(super) fn returned(with: &Returned<'_>) -> Option<()> {
    if setting!(files) == 0 {
        return None;
    }
    let woken_at = with.row.woken_at;
    let pid = with.pid;
    let fd = with.registers.arguments().0[0] as u32;
    let poll = Polls::row(&FileKey { pid, fd })?;
    // SAFETY: a row of a map.
    unsafe {
        add(&raw mut (*poll).waits, 1);
        if with.result == 0 {
            add(&raw mut (*poll).empty, 1);
        } else if with.result > 0 {
            add(&raw mut (*poll).events, with.result as u64);
            raise(&raw mut (*poll).events_max, with.result as u64);
        }
        // From before calls were watched is a wake-up from another call.
        if woken_at.0 > syscalls_since().0
            && let Some(latency) = now().since(woken_at)
        {
            record(&raw mut (*poll).latency, latency);
        }
    }
    Some(())
}
