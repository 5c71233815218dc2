//! How many timers and immediates an environment has to run. They are objects of JavaScript that are in no list, but Node
//! shares their numbers with JavaScript: in arrays (`AliasedBuffer`) that are part of the environment.
//!
//! Where they are differs from version to version; what is there does not: an array of three numbers for immediates, and
//! next to it an array of one number for timers, each beginning with the vtable of its class.
//! <https://github.com/nodejs/node/blob/v24.0.0/src/env.h> (`ImmediateInfo immediate_info_; AliasedInt32Array timeout_info_;`)

use super::{environment, list::word};
use crate::runtime::{image::Image, memory::Memory};

/// The classes of arrays of `uint32_t` and of `int32_t`.
/// <https://github.com/nodejs/node/blob/v24.0.0/src/aliased_buffer.h>
const UINT32: &str = "_ZTVN4node17AliasedBufferBaseIjN2v811Uint32ArrayEEE";
const INT32: &str = "_ZTVN4node17AliasedBufferBaseIiN2v810Int32ArrayEEE";

/// Bytes of an array's object, and where it has the number of its members and the address of the first.
const SIZE: usize = 0x38;
const COUNT: usize = 16;
const MEMBERS: usize = 32;
/// `kCount`, `kRefCount`, `kHasOutstanding`.
const OF_IMMEDIATES: u64 = 3;
/// Timers that keep the process alive.
const OF_TIMERS: u64 = 1;

/// What arrays begin with, as the file was linked: of `uint32_t`, and of `int32_t`.
pub(super) fn vtables(image: &Image) -> [Option<u64>; 2] {
    environment::first_methods(image, [UINT32, INT32])
}

/// Finds the two numbers.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// What the two arrays begin with.
    uint32: u64,
    int32: u64,
    /// Where they are in an environment, once that is known.
    place: Option<usize>,
}

/// What there is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// Timers that keep the process alive.
    pub(super) timers: u64,
    /// Immediates.
    pub(super) immediates: u64,
}

impl Timers {
    /// `vtables` as they are in the process.
    pub(super) fn of(vtables: [Option<u64>; 2]) -> Option<Self> {
        let [uint32, int32] = vtables;
        Some(Self {
            uint32: uint32?,
            int32: int32?,
            place: None,
        })
    }

    /// `None` when they are not where something of this kind is.
    pub(super) fn read(&mut self, memory: &dyn Memory, environment: u64) -> Option<Due> {
        let bytes = match self.place {
            Some(place) => {
                let mut bytes = [0; 2 * SIZE];
                let at = environment.checked_add(place as u64)?;
                memory.read(at, &mut bytes).then(|| bytes.to_vec())?
            }
            None => environment::after(memory, environment, environment::LARGEST),
        };
        let mut places = (0..bytes.len()).step_by(8);
        let place = places.find(|&place| self.is_pair(&bytes[place..]))?;
        let pair = &bytes[place..];
        let member = |of: &[u8]| Some(memory.word(word(of, MEMBERS)?)? as u32);
        let immediates = member(pair)?;
        // The array of one number has no more than its four bytes.
        let mut timers = [0; 4];
        let is_read = memory.read(word(pair, SIZE + MEMBERS)?, &mut timers);
        let timers = is_read.then(|| i32::from_le_bytes(timers))?;
        self.place.get_or_insert(place);
        Some(Due {
            timers: u64::try_from(timers).ok()?,
            immediates: immediates.into(),
        })
    }

    fn is_pair(&self, bytes: &[u8]) -> bool {
        let is = |at: usize, vtable: u64, count: u64| {
            word(bytes, at) == Some(vtable) && word(bytes, at + COUNT) == Some(count)
        };
        is(0, self.uint32, OF_IMMEDIATES) && is(SIZE, self.int32, OF_TIMERS)
    }
}
