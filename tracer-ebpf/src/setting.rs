//! What the agent has set: constants to the verifier, and the few things that change while programs run.

use aya_ebpf::{macros::map, maps::Array};
use tracer_common::{
    Nanos, SyscallNr,
    config::{CallKind, CallKinds, Control, Settings},
    syscall::SYSCALL_CLASS_COUNT,
};

#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings = Settings {
    long_wait: 0,
    stack_every: 0,
    stacks_per_s: 0,
    bytes_per_stack: 0,
    long_poll: 0,
    sample_period: 0,
    locks: 0,
    files: 0,
    memory: 0,
    calls: 0,
    quotas: 0,
    loops: 0,
};

#[unsafe(no_mangle)]
static CALL_KINDS: CallKinds = [CallKind::NONE; SYSCALL_CLASS_COUNT];

#[map]
static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// One member of the settings: set by the agent before loading, a constant to the verifier.
macro_rules! setting {
    ($member:ident) => {
        // SAFETY: a read of an initialised static; volatile because the value in the object file is not the
        // one the program runs with.
        unsafe { core::ptr::read_volatile(&raw const $crate::setting::SETTINGS.$member) }
    };
}
pub(crate) use setting;

/// What is accounted at the return of `syscall`.
#[inline(always)]
pub(crate) fn kind_of(syscall: SyscallNr) -> CallKind {
    let index = syscall.0 as usize;
    if index >= SYSCALL_CLASS_COUNT {
        return CallKind::NONE;
    }
    // SAFETY: the index was checked; volatile for the same reason as above.
    unsafe { core::ptr::read_volatile((&raw const CALL_KINDS).cast::<CallKind>().add(index)) }
}

/// Since when system calls are watched without a gap.
#[inline(always)]
pub(crate) fn syscalls_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.syscalls_since))
}

/// True when there is a target of which it is known where its threads keep the id of the task they run.
#[inline(always)]
pub(crate) fn has_task_places() -> bool {
    CONTROL
        .get(0)
        .is_some_and(|control| control.task_places != 0)
}

/// Since when wakes are watched without a gap; 0: they are not watched.
#[inline(always)]
pub(crate) fn wakes_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.wakes_since))
}

/// Since when work for pools is watched without a gap; 0: it is not watched.
#[inline(always)]
pub(crate) fn works_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.works_since))
}

/// Since when Node's callbacks are watched without a gap; 0: they are not watched.
#[inline(always)]
pub(crate) fn callbacks_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.callbacks_since))
}

/// Since when promises are watched without a gap; 0: they are not watched.
#[inline(always)]
pub(crate) fn promises_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.promises_since))
}

/// True when there is a target with V8 in it.
#[inline(always)]
pub(crate) fn has_js() -> bool {
    CONTROL
        .get(0)
        .is_some_and(|control| control.js_layouts != 0)
}

/// True while wakes are watched.
#[inline(always)]
pub(crate) fn wakes_are_watched() -> bool {
    wakes_since().0 != 0
}

/// Since when polls are watched without a gap: one that began before may have ended unseen. 0: they are not watched.
#[inline(always)]
pub(crate) fn polls_since() -> Nanos {
    Nanos(CONTROL.get(0).map_or(0, |control| control.polls_since))
}
