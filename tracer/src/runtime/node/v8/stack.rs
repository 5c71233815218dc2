//! Stacks with frames of JavaScript functions: taken from outside, and named.
//!
//! `tracer-ebpf/src/javascript.rs` walks stacks in the kernel in the same way.

use tracer_common::stack::{JsFrame, JsTop};

use super::{
    Layout, Named, Spot, Unknown, V8,
    frame::{self, Codes},
};
use crate::{
    runtime::memory::Memory,
    target::stack::{Sample, Waiting},
};

/// Frames that are taken; deeper ones are cut at the outer end.
const FRAMES: usize = 512;
/// A frame is not larger.
const LARGEST: u64 = 1 << 20;
/// Bytes between the stack pointer and the frame of a JavaScript function that runs.
const NEAR: u64 = 16 << 10;
/// Bytes of the stack of a thread that waits.
const STACK: u64 = 1 << 20;

/// A stack, innermost frame first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Addresses, that of each but the first one its call returns to, and what was read of each frame.
    pub frames: Vec<(u64, JsFrame)>,
    /// What was read at the inner end.
    pub top: JsTop,
}

/// A part of a stack as it was copied; what is not in it is in memory.
struct Copied<'a> {
    memory: &'a dyn Memory,
    start: u64,
    bytes: &'a [u8],
}

impl Copied<'_> {
    fn word(&self, address: u64) -> Option<u64> {
        let at = address.checked_sub(self.start);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let copied = at.and_then(|at| self.bytes.get(at..)?.first_chunk::<8>());
        match copied {
            Some(word) => Some(u64::from_le_bytes(*word)),
            None => self.memory.word(address),
        }
    }
}

/// The stack of a thread that ran when the sample was taken. V8 may move what it points at: the sooner the better.
#[must_use]
pub fn of_sample(memory: &dyn Memory, layout: &Layout, sample: &Sample) -> Stack {
    let copied = Copied {
        memory,
        start: sample.stack,
        bytes: &sample.content,
    };
    let pushed = [0, 8].map(|at| copied.word(sample.stack.wrapping_add(at)).unwrap_or(0));
    Stack {
        frames: walk(&copied, layout, sample.instruction, sample.frame),
        top: JsTop {
            bytecode: sample.r12,
            offset: sample.r9,
            pushed,
        },
    }
}

fn walk(copied: &Copied<'_>, layout: &Layout, address: u64, frame: u64) -> Vec<(u64, JsFrame)> {
    let (mut address, mut fp) = (address, frame);
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        frames.push((address, look(copied, layout, fp)));
        let (next, back) = (copied.word(fp), copied.word(fp.wrapping_add(8)));
        let (Some(next), Some(back)) = (next, back) else {
            break;
        };
        if next <= fp || next - fp > LARGEST || back == 0 {
            break;
        }
        (address, fp) = (back, next);
    }
    frames
}

/// What a frame tells of its function; nothing when it is none of JavaScript.
fn look(copied: &Copied<'_>, layout: &Layout, fp: u64) -> JsFrame {
    let word = |below: u64| copied.word(fp.wrapping_sub(below));
    let found = || {
        let (context, function) = (word(8)?, word(16)?);
        // Pointers to objects end in 01; a context that does not is the number of another kind of frame.
        if context & 1 == 0 || function & 3 != 1 {
            return None;
        }
        let object = function - 1;
        let map = copied.memory.word(object)?.wrapping_sub(1);
        let mut kind = [0; 2];
        let at = map.wrapping_add(layout.map_type);
        if !copied.memory.read(at, &mut kind) {
            return None;
        }
        let types = &layout.types;
        let functions = types.first_function..=types.last_function;
        if !functions.contains(&u16::from_le_bytes(kind)) {
            return None;
        }
        let of = |offset: u64| copied.memory.word(object.wrapping_add(offset)).unwrap_or(0);
        Some(JsFrame {
            shared: of(layout.function_shared),
            code: of(layout.function_code),
            cell: of(layout.function_cell),
            bytecode: word(32)?,
            offset: word(40)?,
        })
    };
    found().unwrap_or_default()
}

/// The stack of a thread that waits, or is stopped; `None` when where it begins is not known.
#[must_use]
pub fn of_waiting(
    memory: &dyn Memory,
    v8: &V8,
    codes: &Codes<'_>,
    waiting: &Waiting,
) -> Option<Stack> {
    let layout = v8.layout();
    let start = waiting.stack & !7;
    let parts = memory.resident(start..start.saturating_add(STACK));
    let end = parts.first().filter(|part| part.start == start)?.end;
    let mut bytes = vec![0; usize::try_from(end - start).ok()?];
    if !memory.read(start, &mut bytes) {
        return None;
    }
    let copied = Copied {
        memory,
        start,
        bytes: &bytes,
    };
    let instruction = waiting.instruction;
    let frame = match v8.spot(instruction) {
        // Code made of JavaScript, and V8's own that was compiled like it, runs in the frame of its function.
        Spot::Made | Spot::Handler | Spot::Builtin => {
            let mut near = (start..start.saturating_add(NEAR)).step_by(8);
            near.find(|&at| look(&copied, layout, at).is_js())
        }
        Spot::Native => {
            let word = |at: u64| copied.word(at);
            let is_js = |at: u64| look(&copied, layout, at).is_js();
            frame::find(codes, memory, &v8.texts, start, instruction, &word, &is_js)
        }
    }?;
    let pushed = [0, 8].map(|at| copied.word(start.wrapping_add(at)).unwrap_or(0));
    Some(Stack {
        frames: walk(&copied, layout, instruction, frame),
        top: JsTop {
            pushed,
            ..JsTop::default()
        },
    })
}

/// What was found for each frame; counts those for which nothing was found. Frames of what runs one bytecode are left
/// out: it is their caller that runs.
pub fn name(
    v8: &mut V8,
    memory: &dyn Memory,
    frames: &mut Vec<(u64, JsFrame)>,
    top: &JsTop,
    unknown: &mut u64,
) -> Vec<Option<Named>> {
    let mut names: Vec<Option<Named>> = Vec::with_capacity(frames.len());
    let mut kept = Vec::with_capacity(frames.len());
    let mut inner = None;
    for (depth, &(address, frame)) in frames.iter().enumerate() {
        let handler = inner.take();
        if !frame.is_js() {
            names.push(None);
            kept.push((address, frame));
            let place = address.saturating_sub(u64::from(depth > 0));
            inner = v8.runs_bytecode(place).then_some(address);
            continue;
        }
        // What an interpreted frame is at while its handler runs is in the handler's registers.
        let (at, top) = match (depth, handler) {
            (0, _) => (address, Some(top)),
            (1, Some(handler)) => (handler, Some(top)),
            _ => (address, None),
        };
        let named = match v8.name(memory, &frame, at, top) {
            Ok(named) => Some(named),
            Err(Unknown::Builtin | Unknown::Native) => None,
            Err(Unknown::NoFunction | Unknown::NoScript | Unknown::TooMuch) => {
                *unknown += 1;
                None
            }
        };
        if named.is_some() && handler.is_some() {
            names.pop();
            kept.pop();
        }
        names.push(named);
        kept.push((address, frame));
    }
    *frames = kept;
    names
}
