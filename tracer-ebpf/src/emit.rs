//! Sending an event: reserve exactly its size, fill, submit. What cannot be sent is counted, because only the
//! kernel knows.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::{PerCpuArray, RingBuf},
};
use tracer_common::{
    EventHeader, LossReason, Nanos, Payload, Pid, StackTail, Tid,
    stack::{FRAMES, JsFrame, JsTop},
};

use crate::count;

/// 4 MiB: about 20,000 exits, or 120,000 smaller events, between two wake-ups of the agent.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

#[repr(C)]
struct Framed<P> {
    header: EventHeader,
    payload: P,
}

/// Sends one event of the current thread, or counts that it could not. True when it was sent.
#[inline(always)]
pub(crate) fn emit<P: Payload + 'static>(at: Nanos, payload: P) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Framed<P>>(0) else {
        count::lost(LossReason::RING_FULL);
        return false;
    };
    let (pid, tid) = current();
    entry.write(Framed {
        header: EventHeader {
            at,
            pid,
            tid,
            // SAFETY: the helper takes no arguments and has no precondition.
            cpu: unsafe { bpf_get_smp_processor_id() },
            kind: P::KIND,
            len: size_of::<P>() as u16,
        },
        payload,
    });
    entry.submit(0);
    true
}

/// Bytes that may wait in the ring buffer for the agent's next tick: a quarter of it.
const MANY: u64 = 1 << 20;

#[repr(C)]
struct FramedWithStacks<P> {
    header: EventHeader,
    payload: P,
    stacks: StackTail,
}

/// Sends one event of the current thread with the stacks that `take` fills in. True when it was sent.
#[inline(always)]
pub(crate) fn emit_with_stacks<P: Payload + 'static>(
    at: Nanos,
    payload: P,
    take: impl FnOnce(*mut StackTail),
) -> bool {
    let Some(mut entry) = EVENTS.reserve::<FramedWithStacks<P>>(0) else {
        count::lost(LossReason::RING_FULL);
        return false;
    };
    let (pid, tid) = current();
    let framed: *mut FramedWithStacks<P> = entry.as_mut_ptr();
    // SAFETY: the entry is reserved, of this size, and nobody else's until it is submitted. Field by field: as a
    // whole it is larger than a program's stack. Frames beyond the counted ones are never read.
    unsafe {
        (&raw mut (*framed).header).write(EventHeader {
            at,
            pid,
            tid,
            cpu: bpf_get_smp_processor_id(),
            kind: P::KIND,
            len: (size_of::<P>() + size_of::<StackTail>()) as u16,
        });
        (&raw mut (*framed).payload).write(payload);
        (&raw mut (*framed).stacks.first_bytes).write(0);
        (&raw mut (*framed).stacks.second_bytes).write(0);
        take(&raw mut (*framed).stacks);
    }
    // Nobody waits for these: the agent takes them at its next tick, or earlier when they become many. To wake it for
    // each would cost it more than all the rest.
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    entry.submit(if waiting < MANY {
        u64::from(BPF_RB_NO_WAKEUP)
    } else {
        0
    });
    true
}

/// What an event with frames of JavaScript functions is put together in: it is larger than a program's stack, and how
/// much of it is sent is known at its end. Of the events that have such frames, each has this many words.
#[repr(C)]
struct FramedWithJs {
    header: EventHeader,
    payload: [u64; 6],
    stacks: StackTail,
    top: JsTop,
    frames: [JsFrame; FRAMES],
}

#[map]
static JS_EVENTS: PerCpuArray<FramedWithJs> = PerCpuArray::with_max_entries(Slot::COUNT, 0);

/// Where an event is put together: a sample is taken in an interrupt of whatever runs.
#[derive(Clone, Copy)]
pub(crate) struct Slot(u32);

impl Slot {
    pub(crate) const SAMPLE: Self = Self(0);
    pub(crate) const WAIT: Self = Self(1);
    const COUNT: u32 = 2;
}

/// Bytes that may wait in the ring buffer when there is JavaScript in them: what the frames point at changes, so the
/// agent is to look soon. About 20 samples.
const MANY_JS: u64 = 32 << 10;

/// Sends an event of the current thread with the stacks that `take` fills in; it gives the frames of the first.
#[inline(always)]
pub(crate) fn emit_js<P: Payload + 'static>(
    slot: Slot,
    at: Nanos,
    payload: P,
    take: impl FnOnce(*mut StackTail, *mut JsTop, *mut [JsFrame; FRAMES]) -> usize,
) -> bool {
    const { assert!(size_of::<P>() == size_of::<[u64; 6]>()) }
    let Some(framed) = JS_EVENTS.get_ptr_mut(slot.0) else {
        return false;
    };
    let (pid, tid) = current();
    // SAFETY: the slot is this CPU's, and the program that uses it is not interrupted by itself.
    let count = unsafe {
        take(
            &raw mut (*framed).stacks,
            &raw mut (*framed).top,
            &raw mut (*framed).frames,
        )
    };
    // The mask changes nothing; it is for the verifier, and the box keeps the compiler from finding that out.
    let count = core::hint::black_box(count.min(FRAMES)) & 127;
    let size = offset_of!(FramedWithJs, frames) + count * size_of::<JsFrame>();
    // SAFETY: the same.
    unsafe {
        (&raw mut (*framed).header).write(EventHeader {
            at,
            pid,
            tid,
            cpu: bpf_get_smp_processor_id(),
            kind: P::KIND,
            len: (size - size_of::<EventHeader>()) as u16,
        });
        (&raw mut (*framed).payload).cast::<P>().write(payload);
        (*framed).stacks.first_bytes = (count * 8) as i64;
    }
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let flags = if waiting < MANY_JS {
        u64::from(BPF_RB_NO_WAKEUP)
    } else {
        0
    };
    if size > size_of::<FramedWithJs>() {
        return false;
    }
    // SAFETY: the slot is as long as was checked.
    let sent = unsafe { core::slice::from_raw_parts(framed.cast::<u8>(), size) };
    let is_sent = EVENTS.output::<[u8]>(sent, flags).is_ok();
    if !is_sent {
        count::lost(LossReason::RING_FULL);
    }
    is_sent
}

/// Process and thread on whose behalf the program runs. At `sched_switch` that is still the outgoing thread.
#[inline(always)]
pub(crate) fn current() -> (Pid, Tid) {
    let id = bpf_get_current_pid_tgid();
    (Pid((id >> 32) as u32), Tid(id as u32))
}
