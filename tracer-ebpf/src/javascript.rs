//! User stacks of processes with JavaScript in them: the way from frame to frame is that of any other stack, and of each
//! frame of a JavaScript function the words are read that say where it is, before V8 moves them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC, helpers::bpf_probe_read_user, macros::map, maps::HashMap,
};
use tracer_common::{
    Pid,
    stack::{FRAMES, JsFrame, JsLayout, JsTop},
};

use crate::{setting::has_js, task::Place};

/// A hash, because few processes have V8.
#[map]
static JS_LAYOUTS: HashMap<Pid, JsLayout> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);

/// Where V8 keeps things in `pid`; `None` when it has no V8.
#[inline(always)]
pub(crate) fn layout(pid: Pid) -> Option<&'static JsLayout> {
    if !has_js() {
        return None;
    }
    // SAFETY: the agent writes it once, and removes it when the process is gone or runs another program.
    unsafe { JS_LAYOUTS.get(pid) }
}

/// Takes the user stack of the current thread. Gives the frames that are filled.
///
/// # Safety
/// All may be written, and nobody else does.
#[inline(always)]
pub(crate) unsafe fn walk(
    layout: &JsLayout,
    addresses: *mut [u64; FRAMES],
    top: *mut JsTop,
    frames: *mut [JsFrame; FRAMES],
) -> usize {
    /// A frame is not larger.
    const LARGEST: u64 = 1 << 20;
    let Some(place) = Place::current() else {
        return 0;
    };
    // SAFETY: the caller's promise.
    unsafe {
        (*top).bytecode = place.r12;
        (*top).offset = place.r9;
        (*top).pushed = read(place.stack).unwrap_or([0; 2]);
    }
    let (mut address, mut fp) = (place.instruction, place.frame);
    let mut count = 0;
    for at in 0..FRAMES {
        // SAFETY: the index is below the length.
        unsafe { (&raw mut (*addresses)[at]).write(address) };
        // SAFETY: the same.
        let frame = unsafe { &raw mut (*frames)[at] };
        count = at + 1;
        let Some([offset, bytecode, _, function, context, next, back]) =
            read::<[u64; 7]>(fp.wrapping_sub(40))
        else {
            // SAFETY: the same.
            unsafe { frame.write(JsFrame::default()) };
            break;
        };
        // SAFETY: the same.
        unsafe {
            (*frame).bytecode = bytecode;
            (*frame).offset = offset;
            look(layout, context, function, frame);
        }
        if next <= fp || next - fp > LARGEST || back == 0 {
            break;
        }
        (address, fp) = (back, next);
    }
    count
}

/// Reads what can be moved. `shared` stays 0 when it is no frame of a JavaScript function.
///
/// # Safety
/// `frame` may be written.
#[inline(always)]
unsafe fn look(layout: &JsLayout, context: u64, function: u64, frame: *mut JsFrame) {
    // SAFETY: the caller's promise.
    unsafe {
        (*frame).shared = 0;
        (*frame).code = 0;
        (*frame).cell = 0;
    }
    // Pointers to objects end in 01; a context that does not is the number of another kind of frame.
    if context & 1 == 0 || function & 3 != 1 {
        return;
    }
    let object = function - 1;
    let Some(map) = read::<u64>(object) else {
        return;
    };
    let at = map.wrapping_sub(1).wrapping_add(u64::from(layout.map_type));
    let Some(kind) = read::<u16>(at) else { return };
    let kind = u32::from(kind);
    if kind < layout.first_type || kind > layout.last_type {
        return;
    }
    let word = |offset: u32| read::<u64>(object + u64::from(offset)).unwrap_or(0);
    // SAFETY: the caller's promise.
    unsafe {
        (*frame).shared = word(layout.shared);
        (*frame).code = word(layout.code);
        (*frame).cell = word(layout.cell);
    }
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the helper checks the address.
    unsafe { bpf_probe_read_user(address as *const T) }.ok()
}
