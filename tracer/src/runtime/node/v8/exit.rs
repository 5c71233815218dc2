//! Where V8 itself notes the frame at which the JavaScript of a thread was left: in the thread's isolate, whose address
//! each thread has among its own variables. Nothing here is looked up by version where the file's code tells it.

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
use tracer_common::stack::JsLayout;

use crate::runtime::image::Image;

/// Gives the isolate that a thread is in.
const CURRENT: &str = "_ZN2v87Isolate10GetCurrentEv";
/// Where V8 keeps the number of the thread-local variable with the isolate, until version 10: later it is a plain one.
/// <https://github.com/v8/v8/blob/10.2.154/src/execution/isolate.h> (`Isolate::isolate_key_`)
const KEY: &str = "_ZN2v88internal7Isolate12isolate_key_E";
/// What calls functions that are not made of JavaScript: it puts down the frame first.
pub(super) const ENTRIES: &str = "Builtins_CEntry_Return1_";
/// What code of V8 has in `r13` is so far from the isolate's start.
/// <https://github.com/v8/v8/blob/12.4.254/src/execution/isolate-data.h> (`kIsolateRootBias`)
pub(super) const BIAS: u64 = 128;
/// Bytes looked at of a function.
const CODE: usize = 96;

/// How a thread finds its isolate. Addresses as the file was linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolate {
    /// So far from the thread pointer.
    At(i64),
    /// As far from the thread pointer as it says there.
    Slot(u64),
    /// In the thread-local variable whose number is there.
    Key(u64),
}

impl Isolate {
    /// As V8's own code finds it.
    pub(super) fn of(image: &Image<'_>) -> Option<Self> {
        let [current, key] = image.exported([CURRENT, KEY]);
        if let Some(key) = key {
            return Some(Self::Key(key));
        }
        let mut slot = None;
        for instruction in decode(image, current?) {
            if instruction.mnemonic() != Mnemonic::Mov || instruction.op1_kind() != OpKind::Memory {
                continue;
            }
            let displacement = instruction.memory_displacement64();
            match (instruction.memory_segment(), instruction.memory_base()) {
                (Register::FS, Register::None) => {
                    return Some(Self::At(displacement.cast_signed()));
                }
                (Register::FS, _) => return slot.map(Self::Slot),
                _ if instruction.is_ip_rel_memory_operand() => {
                    slot = Some(instruction.ip_rel_memory_address());
                }
                _ => {}
            }
        }
        None
    }

    /// What the kernel side needs of it, in a process that has the file so far from where it was linked.
    pub(super) fn tell(self, bias: u64, layout: &mut JsLayout) {
        match self {
            Self::At(place) => layout.isolate = place,
            Self::Slot(slot) => layout.isolate_slot = slot.wrapping_add(bias),
            Self::Key(key) => {
                layout.isolate_slot = key.wrapping_add(bias);
                layout.is_key = 1;
            }
        }
    }
}

/// Where in an isolate the frame is put down, in bytes from its start, by the function at `entry`, which does it.
pub(super) fn frame(image: &Image<'_>, entry: u64) -> Option<u64> {
    let mut stores = decode(image, entry).filter(|instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Memory
            && instruction.memory_base() == Register::R13
            && instruction.op1_register() == Register::RBP
    });
    let displacement = stores.next()?.memory_displacement64();
    displacement.checked_add(BIAS)
}

fn decode<'a>(
    image: &Image<'a>,
    start: u64,
) -> impl Iterator<Item = iced_x86::Instruction> + use<'a> {
    let bytes = image.from(start).unwrap_or_default();
    let bytes = &bytes[..bytes.len().min(CODE)];
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    std::iter::from_fn(move || decoder.can_decode().then(|| decoder.decode()))
}
