//! The frame pointer of a thread that waits: outside of it only the stack pointer is known.
//!
//! What waits are small functions of the C library, compiled without frames. Above theirs is the address where the call
//! out of Node's own code returns to; how far from there the frame of the function with that call is, the begin of the
//! function tells. A word left behind by an earlier call is told from it by what it leads to: a frame whose caller has
//! called this very function.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind, Register};

use super::Texts;
use crate::runtime::{Mapped, image::Image, memory::Memory, node::Parts};

/// Bytes of the frames of functions that only wait.
const WAITERS: u64 = 4_096;
/// Instructions at the begin of a function that may make its frame.
const BEGIN: usize = 64;

/// The code of Node's own files.
#[derive(Debug, Default)]
pub struct Codes<'a>(Vec<(Image<'a>, u64)>);

impl<'a> Codes<'a> {
    /// Of these files.
    #[must_use]
    pub fn of(modules: &'a [Mapped<Parts>]) -> Self {
        let images = modules.iter();
        let images = images.filter_map(|one| Some((Image::parse(one.content())?, one.bias)));
        Self(images.collect())
    }

    /// The file that has code at `address`, and the address as the file was linked.
    fn at(&self, address: u64) -> Option<(&Image<'a>, u64)> {
        let mut all = self.0.iter();
        all.find_map(|(image, bias)| {
            let address = address.wrapping_sub(*bias);
            image.is_code(address).then_some((image, address))
        })
    }

    /// Where the function begins that a call returns into: as the file was linked, and in the process.
    fn function(&self, back: u64) -> Option<(&Image<'a>, u64, u64)> {
        let within = back.checked_sub(1)?;
        let (image, address) = self.at(within)?;
        let start = image.function(address)?.start;
        Some((
            image,
            start,
            within.wrapping_sub(address.wrapping_sub(start)),
        ))
    }
}

/// True when the call that returns to `back` may be one of the function at `start`: it is, or it goes to where a register
/// or memory says, as V8's code does.
fn may_call(memory: &dyn Memory, back: u64, start: u64) -> bool {
    const CALL: u8 = 0xe8;
    const INDIRECT: u8 = 0xff;
    let mut before = [0; 7];
    let from = back.wrapping_sub(before.len() as u64);
    if !memory.read(from, &mut before) {
        return false;
    }
    let [_, _, CALL, a, b, c, d] = before else {
        // call *%rax, *8(%rax), *0x100(%rax), *8(%rax,%rbx), …: which it is the second byte says.
        // Intel SDM, volume 2, table 2-2: CALL is FF /2
        return [2, 3, 4, 6, 7].iter().any(|length| {
            let at = 7 - length;
            let (first, second) = (before[at], before[at + 1]);
            let (mode, what, base) = (second >> 6, second >> 3 & 7, second & 7);
            let size = match (mode, base) {
                (0, 5) => 6,
                (0, 4) => 3,
                (0 | 3, _) => 2,
                (1, 4) => 4,
                (1, _) => 3,
                (_, 4) => 7,
                (_, _) => 6,
            };
            first == INDIRECT && what == 2 && size == *length
        });
    };
    let distance = i64::from(i32::from_le_bytes([a, b, c, d]));
    back.wrapping_add_signed(distance) == start
}

/// The frame pointer of the innermost frame of Node's own code. `word` reads the stack, and `is_js` tells frames of
/// JavaScript functions: behind one it is too late.
pub(super) fn find(
    codes: &Codes<'_>,
    memory: &dyn Memory,
    texts: &Texts,
    stack: u64,
    instruction: u64,
    word: &dyn Fn(u64) -> Option<u64>,
    is_js: &dyn Fn(u64) -> bool,
) -> Option<u64> {
    // It may be stopped in such code itself.
    let own = std::iter::once((stack, instruction.saturating_add(1)));
    let above = (stack..stack.saturating_add(WAITERS)).step_by(8);
    let above = above.take_while(|&at| !is_js(at));
    let above = above.map_while(|at| Some((at.saturating_add(8), word(at)?)));
    own.chain(above).find_map(|(stack, back)| {
        let (image, linked, start) = codes.function(back)?;
        let depths = depths(image, linked);
        depths.into_iter().rev().find_map(|depth| {
            let frame = stack.checked_add(depth)?;
            let (next, back) = (word(frame)?, word(frame.checked_add(8)?)?);
            (next > frame && texts.has_code(back) && may_call(memory, back, start)).then_some(frame)
        })
    })
}

/// How far the stack pointer is below the frame pointer, while a function makes its frame: the last is what it has
/// whenever it calls another.
fn depths(image: &Image<'_>, start: u64) -> Vec<u64> {
    let mut depths = Vec::new();
    let Some(bytes) = image.from(start) else {
        return depths;
    };
    let mut depth = None;
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    for _ in 0..BEGIN {
        if !decoder.can_decode() {
            break;
        }
        let one = decoder.decode();
        let registers = (one.op0_register(), one.op1_register());
        let is_number = one.op1_kind() != OpKind::Register && one.op1_kind() != OpKind::Memory;
        if one.mnemonic() == Mnemonic::Mov && registers == (Register::RBP, Register::RSP) {
            depth = Some(0);
            depths.push(0);
        } else if let Some(depth) = &mut depth {
            let moved = if one.mnemonic() == Mnemonic::Push {
                8
            } else if one.mnemonic() == Mnemonic::Sub && registers.0 == Register::RSP && is_number {
                one.immediate(1)
            } else {
                0
            };
            if moved > 0 {
                *depth = u64::wrapping_add(*depth, moved);
                depths.push(*depth);
            }
        }
        let flow = one.flow_control();
        if !matches!(flow, FlowControl::Next | FlowControl::ConditionalBranch) {
            break;
        }
    }
    depths
}
