//! Sending an event: reserve exactly its size, fill, submit. What cannot be sent is counted, because only the
//! kernel knows.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::map,
    maps::RingBuf,
};
use tracer_common::{EventHeader, LossReason, Nanos, Payload, Pid, Tid};

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

/// Process and thread on whose behalf the program runs. At `sched_switch` that is still the outgoing thread.
#[inline(always)]
pub(crate) fn current() -> (Pid, Tid) {
    let id = bpf_get_current_pid_tgid();
    (Pid((id >> 32) as u32), Tid(id as u32))
}
