//! User stacks of processes with JavaScript in them: the way from frame to frame is that of any other stack, and of each
//! frame of a JavaScript function the words are read that say where it is, before V8 moves them.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST},
    helpers::{bpf_probe_read_user, generated::bpf_probe_read_kernel},
    macros::map,
    maps::HashMap,
};
use tracer_common::{
    LossReason, Nanos, Pid, StackTail, ThreadRow, Tid,
    stack::{FRAMES, JsFrame, JsLayout, JsTop, JsWaitStack},
};

use crate::{
    count,
    setting::{has_js, setting},
    shared,
    stack::{is_due, is_loop},
    task::{Place, Task},
};

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

/// Where threads that wait inside of JavaScript have called from. Apart from the others: it takes six times the room.
#[map]
static JS_WAITS: HashMap<Tid, JsWaitStack> = HashMap::with_max_entries(4_096, BPF_F_NO_PREALLOC);

/// A frame is not larger.
const LARGEST: u64 = 1 << 20;

/// Takes the user stack of the current thread, which runs. Gives the frames that are filled.
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
    let Some(place) = Place::current() else {
        return 0;
    };
    // SAFETY: the caller's promise.
    unsafe {
        (*top).bytecode = place.r12;
        (*top).offset = place.r9;
        (*top).pushed = read(place.stack).unwrap_or([0; 2]);
        walk_from::<0>(layout, (place.instruction, place.frame), addresses, frames)
    }
}

/// What became of the stack of a thread that begins to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Kept {
    /// It does not wait inside of JavaScript.
    Outside,
    /// One was taken a moment ago.
    TooSoon,
    Stack,
}

/// Takes the user stack of the current thread, which begins to wait, if it does so inside of JavaScript: two words tell.
/// Of waits for events only so often; of others its caller sees to that. Not a part of its callers: see `count::meet`.
#[inline(never)]
pub(crate) fn keep(row: &ThreadRow, tid: Tid, at: Nanos) -> Kept {
    let Some(layout) = layout(row.pid) else {
        return Kept::Outside;
    };
    let Some(place) = Place::current() else {
        return Kept::Outside;
    };
    let exit = exit_frame(layout, &place).unwrap_or(0);
    if exit == 0 {
        return Kept::Outside;
    }
    let Some(kept) = slot(tid) else {
        return Kept::TooSoon;
    };
    let every = setting!(stack_every);
    // SAFETY: the verifier has checked the pointer, and only this thread writes its stack.
    unsafe {
        if is_loop(row) {
            if !is_due(&mut (*kept).next, at) {
                return Kept::TooSoon;
            }
            (*kept).next.0 += every;
        }
        let (addresses, frames) = (&raw mut (*kept).addresses, &raw mut (*kept).frames);
        (*kept).count = walk_outside(layout, &place, exit, addresses, frames) as u64;
    }
    Kept::Stack
}

/// Forgets the stack of a thread that is gone.
#[inline(always)]
pub(crate) fn forget(tid: Tid) {
    if has_js() {
        // An error means that there is none.
        let _ = JS_WAITS.remove(tid);
    }
}

/// Copies the kept stack of a waiting thread. Gives the frames that are filled.
///
/// # Safety
/// Both may be written, and nobody else does.
#[inline(always)]
pub(crate) unsafe fn copy_kept(
    tid: Tid,
    tail: *mut StackTail,
    frames: *mut [JsFrame; FRAMES],
) -> usize {
    let Some(kept) = JS_WAITS.get_ptr_mut(tid) else {
        return 0;
    };
    // SAFETY: the buffers are as long as it says; the thread sleeps, so nobody writes its stack.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*tail).first).cast(),
            size_of::<[u64; FRAMES]>() as u32,
            (&raw const (*kept).addresses).cast(),
        );
        bpf_probe_read_kernel(
            frames.cast(),
            size_of::<[JsFrame; FRAMES]>() as u32,
            (&raw const (*kept).frames).cast(),
        );
        (*kept).count as usize
    }
}

#[inline(always)]
fn slot(tid: Tid) -> Option<*mut JsWaitStack> {
    if let Some(kept) = JS_WAITS.get_ptr_mut(tid) {
        return Some(kept);
    }
    if JS_WAITS
        .insert(tid, shared::zeros::<JsWaitStack>()?, u64::from(BPF_NOEXIST))
        .is_err()
    {
        count::lost(LossReason::STACK_TABLE_FULL);
    }
    JS_WAITS.get_ptr_mut(tid)
}

/// The frame with which JavaScript of the current thread called what goes on, as V8 itself notes it for its own walks;
/// `None` when that is not known, or JavaScript has called nothing. What waits are functions of libraries, built without
/// frame pointers: from there no way leads to it, and stacks are full of what earlier calls left behind.
/// <https://github.com/v8/v8/blob/12.4.254/src/builtins/x64/builtins-x64.cc> (`Builtins::Generate_CEntry`)
#[inline(always)]
fn exit_frame(layout: &JsLayout, place: &Place) -> Option<u64> {
    // `struct pthread` has the first 32 in itself, each with a count before it.
    // https://sourceware.org/git/?p=glibc.git;a=blob;f=nptl/descr.h;hb=glibc-2.36 (`specific_1stblock`)
    const KEYS: u32 = 32;
    const FIRST_KEY: u64 = 0x318;
    if layout.exit == 0 {
        return None;
    }
    let place_of_isolate = if layout.isolate_slot == 0 {
        layout.isolate as u64
    } else if layout.is_key == 0 {
        read::<u64>(layout.isolate_slot)?
    } else {
        let key: u32 = read(layout.isolate_slot)?;
        if key >= KEYS {
            return None;
        }
        FIRST_KEY + 16 * u64::from(key)
    };
    let pointer = Task::current().thread_pointer()?;
    let isolate: u64 = read(pointer.wrapping_add(place_of_isolate))?;
    if isolate == 0 {
        return None;
    }
    let exit: u64 = read(isolate.wrapping_add(u64::from(layout.exit)))?;
    // V8's own threads work for the isolate of another thread, which has its frames elsewhere.
    let is_own = exit > place.stack && exit - place.stack < LARGEST;
    (is_own && exit & 7 == 0).then_some(exit)
}

/// The stack of a thread that has left JavaScript at the frame `exit`: where it is, and from `exit` outwards. What is
/// between is left out: functions of libraries without frame pointers, mostly, through which no way leads.
///
/// # Safety
/// Both may be written, and nobody else does.
#[inline(always)]
unsafe fn walk_outside(
    layout: &JsLayout,
    place: &Place,
    exit: u64,
    addresses: *mut [u64; FRAMES],
    frames: *mut [JsFrame; FRAMES],
) -> usize {
    // SAFETY: the caller's promise.
    unsafe {
        (&raw mut (*addresses)[0]).write(place.instruction);
        (&raw mut (*frames)[0]).write(JsFrame::default());
    }
    let Some([next, back]) = read::<[u64; 2]>(exit) else {
        return 1;
    };
    // SAFETY: the same.
    unsafe { walk_from::<1>(layout, (back, next), addresses, frames) }
}

/// Goes from frame to frame, outwards from an address and the frame of its function, and fills in from `BEGIN` on.
///
/// # Safety
/// Both may be written, and nobody else does.
#[inline(always)]
unsafe fn walk_from<const BEGIN: usize>(
    layout: &JsLayout,
    (mut address, mut fp): (u64, u64),
    addresses: *mut [u64; FRAMES],
    frames: *mut [JsFrame; FRAMES],
) -> usize {
    let mut count = BEGIN;
    for at in BEGIN..FRAMES {
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
