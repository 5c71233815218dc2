//! Promises of JavaScript, at those of V8's builtins that are called however the code is compiled.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use tracer_common::{
    callback::{PromiseKey, PromiseStep},
    table::Promises,
    task::seen,
};

use crate::{
    emit,
    function::{cookie, see},
    setting::promises_since,
    shared::{Rows, add},
};

/// The entry of such a builtin: the cookie says what it does.
#[uprobe]
pub(crate) fn promise(ctx: ProbeContext) -> u32 {
    let _ = step(&ctx);
    0
}

#[inline(always)]
fn step(ctx: &ProbeContext) -> Option<()> {
    if promises_since().0 == 0 {
        see(seen::UNWATCHED_PROMISES);
        return None;
    }
    see(seen::PROMISES);
    let (pid, _) = emit::current();
    let what = PromiseStep {
        number: cookie(ctx) as u32,
    };
    let row = Promises::row(&PromiseKey { pid, what })?;
    // SAFETY: a row of a map.
    unsafe { add(&raw mut (*row).count, 1) }
    Some(())
}
