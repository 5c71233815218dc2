//! Reads and writes by descriptor. What a descriptor is, the agent asks `/proc`.

use tracer_common::{
    config::CallKind,
    table::{FileKey, Files},
};

use super::Returned;
use crate::{
    setting::setting,
    shared::{Rows as _, add, raise},
};

/// Counts one return of a call on a descriptor.
#[inline(always)]
pub(super) fn returned(kind: CallKind, with: &Returned<'_>) -> Option<()> {
    const EAGAIN: i64 = -11;
    if setting!(files) == 0 {
        return None;
    }
    let pid = with.pid;
    let fd = with.registers.arguments().0[0] as u32;
    let key = FileKey { pid, fd };
    if kind == CallKind::CLOSE {
        // No row for a descriptor that nothing went through.
        let file = Files::rows().get_ptr_mut(key)?;
        // SAFETY: a row of a map.
        unsafe { add(&raw mut (*file).closes, 1) };
        return Some(());
    }
    let file = Files::row(&key)?;
    let bytes = if with.result > 0 {
        with.result as u64
    } else {
        0
    };
    // SAFETY: a row of a map.
    unsafe {
        if kind == CallKind::READ {
            add(&raw mut (*file).reads, 1);
            add(&raw mut (*file).read_bytes, bytes);
        } else if kind == CallKind::WRITE {
            add(&raw mut (*file).writes, 1);
            add(&raw mut (*file).write_bytes, bytes);
        } else {
            add(&raw mut (*file).connects, 1);
        }
        if with.result == EAGAIN {
            add(&raw mut (*file).again, 1);
        } else if with.result < 0 {
            add(&raw mut (*file).errors, 1);
        }
        if let Some(duration) = with.duration {
            add(&raw mut (*file).time, duration.0);
            raise(&raw mut (*file).time_max, duration.0);
        }
    }
    Some(())
}
