//! From an instruction to a place in the source: the tables V8 keeps with bytecode and code.

/// Numbers of seven bits a byte, the lowest first; the top bit says that more follow.
struct Numbers<'a>(std::slice::Iter<'a, u8>);

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.0.next()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

fn signed(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// A place in the source, as the tables have it.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/codegen/source-position.h>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position(pub(super) u64);

impl Position {
    /// Characters from the script's start.
    pub(super) fn offset(self) -> Option<u32> {
        // The lowest bit: a place in a file of V8's own.
        let is_external = self.0 & 1 != 0;
        let offset = (self.0 >> 1 & ((1 << 30) - 1)) as u32;
        (!is_external).then(|| offset.checked_sub(1))?
    }

    /// Which of the functions compiled into the code it is in; `None`: the code's own.
    pub(super) fn inlining(self) -> Option<usize> {
        (self.0 >> 31 & 0xffff).checked_sub(1).map(|id| id as usize)
    }
}

/// How a table tells statements from expressions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not known: there are no lines then.
    #[default]
    Unknown,
    /// By the sign of the distance to the entry before.
    Sign,
    /// By two bits below it, since V8 14.6.
    Bits,
}

impl Encoding {
    fn distance(self, number: u64) -> Option<i64> {
        match self {
            Self::Unknown => None,
            Self::Sign => {
                let signed = signed(number);
                Some(if signed < 0 { -(signed + 1) } else { signed })
            }
            Self::Bits => i64::try_from(number >> 2).ok(),
        }
    }
}

/// The place of the instruction at `at`, in bytes from the code's start: that of the last entry not behind it.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/codegen/source-position-table.cc>
pub(super) fn look_up(encoding: Encoding, table: &[u8], at: i64) -> Option<Position> {
    let mut numbers = Numbers(table.iter());
    let (mut code, mut position) = (-1i64, 0i64);
    let mut found = None;
    while let (Some(further), Some(moved)) = (numbers.next(), numbers.next()) {
        let further = encoding.distance(further)?;
        code = code.checked_add(further)?;
        position = position.checked_add(signed(moved))?;
        if code > at {
            break;
        }
        found = Some(position);
    }
    // It is positive, or it is none.
    found
        .and_then(|found| u64::try_from(found).ok())
        .map(Position)
}

/// The bytecode that baseline code at `at` (in bytes from its start) is made of, in bytes from the bytecode's start.
/// `table` has the length of the code of each bytecode, that of the prologue first.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/baseline/bytecode-offset-iterator.h>
pub(super) fn bytecode_at(table: &[u8], bytecode: &[u8], sizes: &[u8], at: u64) -> Option<usize> {
    let mut numbers = Numbers(table.iter());
    let mut end = numbers.next()?;
    let (mut offset, mut next) = (0usize, 0);
    while end <= at {
        end = end.checked_add(numbers.next()?)?;
        offset = next;
        next = offset.checked_add(size_of_bytecode(bytecode.get(offset..)?, sizes)?)?;
    }
    (offset < bytecode.len()).then_some(offset)
}

/// True when a bytecode begins at `offset`.
pub(super) fn begins_at(bytecode: &[u8], sizes: &[u8], offset: usize) -> bool {
    let mut at = 0;
    while at < offset {
        let rest = bytecode.get(at..).unwrap_or_default();
        match size_of_bytecode(rest, sizes) {
            Some(size) => at += size,
            None => return false,
        }
    }
    at == offset && at < bytecode.len()
}

/// <https://github.com/v8/v8/blob/11.3.244/src/interpreter/bytecodes.h>
fn size_of_bytecode(bytecode: &[u8], sizes: &[u8]) -> Option<usize> {
    let bytecodes = sizes.len() / 3;
    let (&first, rest) = bytecode.split_first()?;
    // The first four are prefixes of wider operands, two for the debugger.
    let (scale, code, prefix) = match first {
        0 | 2 => (1, *rest.first()?, 1),
        1 | 3 => (2, *rest.first()?, 1),
        code => (0, code, 0),
    };
    let code = usize::from(code);
    if code >= bytecodes {
        return None;
    }
    let size = usize::from(*sizes.get(scale * bytecodes + code)?);
    (size > 0).then_some(prefix + size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(value: i64) -> Vec<u8> {
        let mut left = ((value << 1) ^ (value >> 63)) as u64;
        let mut bytes = Vec::new();
        loop {
            let byte = (left & 0x7f) as u8;
            left >>= 7;
            bytes.push(byte | if left == 0 { 0 } else { 0x80 });
            if left == 0 {
                return bytes;
            }
        }
    }

    /// As V8 writes it: code offset, place in the source, whether a statement begins.
    fn table(entries: &[(i64, i64, bool)]) -> Vec<u8> {
        let (mut code, mut position) = (-1, 0);
        let mut bytes = Vec::new();
        for &(at, place, is_statement) in entries {
            let further = at - code;
            bytes.extend(encode(if is_statement { further } else { -further - 1 }));
            bytes.extend(encode(place - position));
            (code, position) = (at, place);
        }
        bytes
    }

    fn place(offset: i64, inlining: i64) -> i64 {
        (inlining + 1) << 31 | (offset + 1) << 1
    }

    #[test]
    fn an_instruction_is_of_the_last_entry_not_behind_it() {
        let table = table(&[
            (0, place(300, -1), true),
            (7, place(20, -1), false),
            (1_000, place(70_000, 3), true),
        ]);
        let at = |at| {
            look_up(Encoding::Sign, &table, at).map(|found| (found.offset(), found.inlining()))
        };
        assert_eq!(at(-1), None);
        assert_eq!(at(6), Some((Some(300), None)));
        assert_eq!(at(999), Some((Some(20), None)));
        assert_eq!(at(5_000), Some((Some(70_000), Some(3))));
        assert_eq!(look_up(Encoding::Sign, &[0x80; 40], 1), None);
        // Of `crunch` in `workloads/node/functions.mjs`, as Node.js 26 has it.
        let table = [2, 208, 15, 7, 92, 11, 76, 11, 24, 10, 0, 27, 100];
        let at = |at| look_up(Encoding::Bits, &table, at).and_then(Position::offset);
        assert_eq!(
            (at(-1), at(0), at(1), at(2)),
            (Some(499), Some(522), Some(522), Some(541))
        );
        assert_eq!(look_up(Encoding::Unknown, &table, 2), None);
        assert_eq!(Position(0).offset(), None);
        assert_eq!(Position(3).offset(), None);
    }

    #[test]
    fn baseline_code_leads_to_its_bytecode() {
        // Bytecodes 4 and 5 are of 2 and 3 bytes, with a prefix of 4 and 6.
        let mut sizes = vec![1; 30];
        (sizes[4], sizes[5], sizes[14], sizes[15]) = (2, 3, 3, 5);
        let bytecode = [4, 0, 5, 0, 0, 0, 4, 0, 0, 5, 0, 0];
        let table = [10, 20, 30, 40, 50];
        let at = |at| bytecode_at(&table, &bytecode, &sizes, at);
        assert_eq!(
            (at(0), at(9), at(10), at(29)),
            (Some(0), Some(0), Some(0), Some(0))
        );
        assert_eq!((at(30), at(59)), (Some(2), Some(2)));
        assert_eq!((at(60), at(99)), (Some(5), Some(5)));
        assert_eq!((at(100), at(149), at(150)), (Some(9), Some(9), None));
        assert_eq!(bytecode_at(&table, &bytecode, &[], 60), None);
        let begins = (0..14).filter(|&at| begins_at(&bytecode, &sizes, at));
        assert_eq!(begins.collect::<Vec<_>>(), [0, 2, 5, 9]);
    }
}
