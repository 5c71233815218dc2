//! What a function of another process would return, were it called now: its instructions are followed here, with the
//! words they ask for read from the process's memory. Nothing runs there.
//!
//! That is how a number is had of which only the program's own code knows where it is: no table of versions says where
//! things lie, the code does. It is for short functions that only look: an instruction that is not one of a few dozen,
//! a write to anything but the stack and the result, a word that cannot be read, or too many steps end it without a
//! result.

use std::collections::{BTreeMap, HashMap};

use iced_x86::{ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::memory::Memory;

/// Instructions of one evaluation: sizes of spaces take 5 to 60.
const MOST: u32 = 1_000;
/// Instructions that are remembered: it takes longer to read them again than to follow them.
const KEPT: usize = 4_096;
/// Bytes of code read at once.
const CODE: u64 = 128;
/// The longest instruction.
const LONGEST: u64 = 15;

/// Addresses that no process can have (their upper bits are not all the same, which x86-64 refuses): of the stack, of
/// what results are written to, of what calls that were not followed return, and of what a thread keeps for itself.
const STACK: u64 = 0x00f1 << 48;
const RESULT: u64 = 0x00f2 << 48;
const RETURNED: u64 = 0x00f3 << 48;
const UNKNOWN: u64 = 0x00f4 << 48;
/// Bytes of the stack, and of the result.
const ROOM: u64 = 1 << 16;
/// Where the outermost function returns to.
const END: u64 = 0x00f5 << 48;

/// Instructions of a process by address. Valid as long as it has the same files mapped.
#[derive(Clone, Debug, Default)]
pub(super) struct Instructions(HashMap<u64, Instruction>);

/// A call that was not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) function: u64,
    /// Its first two arguments.
    pub(super) arguments: [u64; 2],
}

/// What was written to the result of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    /// What this call would return.
    Of(Call),
}

/// Follows code.
pub(super) struct Evaluation<'a> {
    memory: &'a dyn Memory,
    instructions: &'a mut Instructions,
    registers: [u64; 16],
    at: u64,
    flags: Flags,
    /// What was written, by words.
    written: BTreeMap<u64, u64>,
    /// `None`: calls are followed.
    calls: Option<Vec<Call>>,
}

#[derive(Clone, Copy, Default)]
struct Flags {
    carry: bool,
    zero: bool,
    sign: bool,
    overflow: bool,
}

/// What a call returns, calls within it followed.
pub(super) fn returned(
    memory: &dyn Memory,
    instructions: &mut Instructions,
    call: Call,
) -> Option<u64> {
    let [first, second] = call.arguments;
    let mut evaluation = Evaluation::of(memory, instructions, [first, second, 0]);
    evaluation.run(call.function);
    let is_done = evaluation.at == END;
    let value = evaluation.registers[Register::RAX.number()];
    (is_done && evaluation.is_plain(value)).then_some(value)
}

/// What a function writes to its result, by place in it: words, calls not followed. `object` is its first argument, the
/// result its second, `index` its third. As far as could be followed, which is not said.
pub(super) fn written(
    memory: &dyn Memory,
    instructions: &mut Instructions,
    function: u64,
    object: u64,
    index: u64,
) -> BTreeMap<u64, Value> {
    let mut evaluation = Evaluation::of(memory, instructions, [object, RESULT, index]);
    evaluation.calls = Some(Vec::new());
    evaluation.run(function);
    let written = evaluation.written.range(RESULT..RESULT + ROOM);
    written
        .filter_map(|(place, &word)| Some((place - RESULT, evaluation.value(word)?)))
        .collect()
}

impl<'a> Evaluation<'a> {
    fn of(
        memory: &'a dyn Memory,
        instructions: &'a mut Instructions,
        [first, second, third]: [u64; 3],
    ) -> Self {
        let mut registers = [0; 16];
        registers[Register::RDI.number()] = first;
        registers[Register::RSI.number()] = second;
        registers[Register::RDX.number()] = third;
        registers[Register::RSP.number()] = STACK + ROOM / 2;
        Self {
            memory,
            instructions,
            registers,
            at: 0,
            flags: Flags::default(),
            written: BTreeMap::new(),
            calls: None,
        }
    }

    /// Until the function returns or cannot be followed.
    fn run(&mut self, function: u64) {
        let begun = self.push(END);
        self.at = function;
        for _ in 0..MOST {
            if begun.is_none() || self.at == END || self.step().is_none() {
                break;
            }
        }
    }

    /// True for what did not come from a place that is only here.
    fn is_plain(&self, word: u64) -> bool {
        !(STACK..END + ROOM).contains(&word)
    }

    fn value(&self, word: u64) -> Option<Value> {
        if self.is_plain(word) {
            return Some(Value::Number(word));
        }
        let calls = self.calls.as_ref()?;
        let number = usize::try_from(word.checked_sub(RETURNED + 1)? / 2).ok()?;
        let call = calls.get(number).copied();
        call.map(Value::Of)
    }

    fn fetch(&mut self) -> Option<Instruction> {
        if let Some(known) = self.instructions.0.get(&self.at) {
            return Some(*known);
        }
        let mut bytes = vec![0; usize::try_from(CODE).ok()?];
        if !self.memory.read(self.at, &mut bytes) {
            // The last page of the code.
            bytes.truncate(usize::try_from(LONGEST).ok()?);
            self.memory.read(self.at, &mut bytes).then_some(())?;
        }
        if self.instructions.0.len() >= KEPT {
            self.instructions.0.clear();
        }
        let decoder = Decoder::with_ip(64, &bytes, self.at, DecoderOptions::NONE);
        let whole = decoder
            .into_iter()
            .take_while(|instruction| !instruction.is_invalid());
        let whole = whole.map(|instruction| (instruction.ip(), instruction));
        self.instructions.0.extend(whole);
        self.instructions.0.get(&self.at).copied()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are two thousand instructions"
    )]
    fn step(&mut self) -> Option<()> {
        let of = self.fetch()?;
        self.at = of.next_ip();
        if of.has_lock_prefix() || of.has_rep_prefix() || of.has_repne_prefix() {
            // `rep ret` is how some compilers write a return.
            (of.mnemonic() == Mnemonic::Ret).then_some(())?;
        }
        if of.condition_code() != ConditionCode::None {
            return self.conditional(&of);
        }
        match of.mnemonic() {
            Mnemonic::Nop | Mnemonic::Endbr64 => {}
            Mnemonic::Mov | Mnemonic::Movzx => {
                let value = self.operand(&of, 1)?;
                self.set(&of, value)?;
            }
            Mnemonic::Movsx | Mnemonic::Movsxd => {
                let value = extended(self.operand(&of, 1)?, size(&of, 1));
                self.set(&of, value)?;
            }
            Mnemonic::Lea => {
                let address = self.address(&of)?;
                self.set(&of, address)?;
            }
            Mnemonic::Add
            | Mnemonic::Adc
            | Mnemonic::Sub
            | Mnemonic::Sbb
            | Mnemonic::Cmp
            | Mnemonic::And
            | Mnemonic::Test
            | Mnemonic::Or
            | Mnemonic::Xor => {
                let value = self.combine(&of)?;
                if !matches!(of.mnemonic(), Mnemonic::Cmp | Mnemonic::Test) {
                    self.set(&of, value)?;
                }
            }
            Mnemonic::Inc | Mnemonic::Dec => {
                let value = self.operand(&of, 0)?;
                let is_up = of.mnemonic() == Mnemonic::Inc;
                let carry = self.flags.carry;
                let value = self.sum(value, if is_up { 1 } else { u64::MAX }, false, size(&of, 0));
                self.flags.carry = carry;
                self.set(&of, value)?;
            }
            Mnemonic::Neg => {
                let value = self.operand(&of, 0)?;
                let value = self.difference(0, value, false, size(&of, 0));
                self.set(&of, value)?;
            }
            Mnemonic::Not => {
                let value = self.operand(&of, 0)?;
                self.set(&of, !value)?;
            }
            Mnemonic::Shl | Mnemonic::Shr | Mnemonic::Sar => self.shift(&of)?,
            Mnemonic::Imul if of.op_count() > 1 => {
                let by = if of.op_count() == 3 { 2 } else { 0 };
                let value = self.operand(&of, 1)?.wrapping_mul(self.operand(&of, by)?);
                self.set(&of, value)?;
            }
            Mnemonic::Push => {
                let value = self.operand(&of, 0)?;
                self.push(value)?;
            }
            Mnemonic::Pop => {
                let value = self.pop()?;
                self.set(&of, value)?;
            }
            Mnemonic::Leave => {
                self.registers[Register::RSP.number()] = self.registers[Register::RBP.number()];
                self.registers[Register::RBP.number()] = self.pop()?;
            }
            Mnemonic::Ret => self.at = self.pop()?,
            Mnemonic::Jmp => self.at = self.destination(&of)?,
            Mnemonic::Call => self.call(&of)?,
            _ => return None,
        }
        Some(())
    }

    fn conditional(&mut self, of: &Instruction) -> Option<()> {
        let holds = self.holds(of.condition_code())?;
        if of.is_jcc_short_or_near() {
            if holds {
                self.at = of.near_branch_target();
            }
        } else if of.op_count() == 1 {
            self.set(of, holds.into())?;
        } else if of.op_count() == 2 {
            // The word is read, and a small register made whole, in any case.
            let values = [self.operand(of, 0)?, self.operand(of, 1)?];
            self.set(of, values[usize::from(holds)])?;
        } else {
            return None;
        }
        Some(())
    }

    fn holds(&self, condition: ConditionCode) -> Option<bool> {
        let Flags {
            carry,
            zero,
            sign,
            overflow,
        } = self.flags;
        Some(match condition {
            ConditionCode::o => overflow,
            ConditionCode::no => !overflow,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !carry && !zero,
            ConditionCode::s => sign,
            ConditionCode::ns => !sign,
            ConditionCode::l => sign != overflow,
            ConditionCode::ge => sign == overflow,
            ConditionCode::le => zero || sign != overflow,
            ConditionCode::g => !zero && sign == overflow,
            ConditionCode::None | ConditionCode::p | ConditionCode::np => return None,
        })
    }

    fn call(&mut self, of: &Instruction) -> Option<()> {
        let function = self.destination(of)?;
        let arguments = [Register::RDI, Register::RSI].map(|one| self.registers[one.number()]);
        let Some(calls) = &mut self.calls else {
            self.push(of.next_ip())?;
            self.at = function;
            return Some(());
        };
        // Odd, so that it is true as a bool too.
        let value = RETURNED + 1 + 2 * calls.len() as u64;
        calls.push(Call {
            function,
            arguments,
        });
        self.registers[Register::RAX.number()] = value;
        Some(())
    }

    fn destination(&self, of: &Instruction) -> Option<u64> {
        let is_near = of.op0_kind() == OpKind::NearBranch64;
        let to = if is_near {
            of.near_branch_target()
        } else {
            self.operand(of, 0)?
        };
        self.is_plain(to).then_some(to)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are two thousand instructions"
    )]
    fn combine(&mut self, of: &Instruction) -> Option<u64> {
        let (one, other) = (self.operand(of, 0)?, self.operand(of, 1)?);
        let size = size(of, 0);
        let bits = match of.mnemonic() {
            Mnemonic::Add => return Some(self.sum(one, other, false, size)),
            Mnemonic::Adc => return Some(self.sum(one, other, self.flags.carry, size)),
            Mnemonic::Sub | Mnemonic::Cmp => return Some(self.difference(one, other, false, size)),
            Mnemonic::Sbb => return Some(self.difference(one, other, self.flags.carry, size)),
            Mnemonic::And | Mnemonic::Test => one & other,
            Mnemonic::Or => one | other,
            Mnemonic::Xor => one ^ other,
            _ => return None,
        };
        self.flags = Flags::of(bits, size);
        Some(bits)
    }

    fn sum(&mut self, one: u64, other: u64, carry: bool, size: usize) -> u64 {
        let [one, other] = [one, other].map(|value| cut(value, size));
        let whole = u128::from(one) + u128::from(other) + u128::from(carry);
        let value = cut(whole as u64, size);
        self.flags = Flags {
            carry: whole >> (8 * size) != 0,
            overflow: is_negative(!(one ^ other) & (one ^ value), size),
            ..Flags::of(value, size)
        };
        value
    }

    fn difference(&mut self, one: u64, other: u64, borrow: bool, size: usize) -> u64 {
        let [one, other] = [one, other].map(|value| cut(value, size));
        let value = cut(
            one.wrapping_sub(other).wrapping_sub(u64::from(borrow)),
            size,
        );
        self.flags = Flags {
            carry: u128::from(one) < u128::from(other) + u128::from(borrow),
            overflow: is_negative((one ^ other) & (one ^ value), size),
            ..Flags::of(value, size)
        };
        value
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are two thousand instructions"
    )]
    fn shift(&mut self, of: &Instruction) -> Option<()> {
        let size = size(of, 0);
        let by = self.operand(of, 1)? & if size == 8 { 63 } else { 31 };
        let value = self.operand(of, 0)?;
        // Neither of the others is in code that looks for sizes.
        if size < 4 {
            return None;
        }
        let by = u32::try_from(by).ok()?;
        if by == 0 {
            return self.set(of, value);
        }
        let bit = |at: u32| value >> at & 1 == 1;
        let (value, carry) = match of.mnemonic() {
            Mnemonic::Shl => (value << by, bit(8 * size as u32 - by)),
            Mnemonic::Shr => (value >> by, bit(by - 1)),
            _ => (
                (extended(value, size).cast_signed() >> by).cast_unsigned(),
                bit(by - 1),
            ),
        };
        self.flags = Flags {
            carry,
            ..Flags::of(value, size)
        };
        self.set(of, value)
    }

    fn push(&mut self, value: u64) -> Option<()> {
        let to = self.registers[Register::RSP.number()].wrapping_sub(8);
        self.registers[Register::RSP.number()] = to;
        self.store(to, value, 8)
    }

    fn pop(&mut self) -> Option<u64> {
        let from = self.registers[Register::RSP.number()];
        self.registers[Register::RSP.number()] = from.wrapping_add(8);
        self.load(from, 8)
    }

    /// The address that an instruction's memory operand has.
    fn address(&self, of: &Instruction) -> Option<u64> {
        if of.is_ip_rel_memory_operand() {
            return Some(of.ip_rel_memory_address());
        }
        let part = |register: Register| {
            let is_whole = register.is_gpr64();
            let word = is_whole.then(|| self.registers[register.number()]);
            word.or((register == Register::None).then_some(0))
        };
        let index = part(of.memory_index())?.wrapping_mul(of.memory_index_scale().into());
        let start = part(of.memory_base())?.wrapping_add(of.memory_displacement64());
        Some(start.wrapping_add(index))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are dozens of kinds of operands"
    )]
    fn operand(&self, of: &Instruction, number: u32) -> Option<u64> {
        match of.op_kind(number) {
            OpKind::Register => self.register(of.op_register(number)),
            // Where calls are not followed, nobody asks what becomes of it.
            OpKind::Memory if matches!(of.segment_prefix(), Register::FS | Register::GS) => {
                self.calls.as_ref().map(|_| UNKNOWN)
            }
            OpKind::Memory => self.load(self.address(of)?, size(of, number)),
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Some(of.immediate(number)),
            _ => None,
        }
    }

    fn register(&self, register: Register) -> Option<u64> {
        let is_high = matches!(
            register,
            Register::AH | Register::BH | Register::CH | Register::DH
        );
        let is_general = register.is_gpr() && !is_high;
        let whole = self.registers.get(register.full_register().number())?;
        is_general.then(|| cut(*whole, register.size()))
    }

    /// Writes the first operand.
    fn set(&mut self, of: &Instruction, value: u64) -> Option<()> {
        let size = size(of, 0);
        if of.op0_kind() == OpKind::Memory {
            return self.store(self.address(of)?, value, size);
        }
        let register = of.op0_register();
        let old = self.register(register)?;
        let place = self.registers.get_mut(register.full_register().number())?;
        *place = match size {
            // The upper half is cleared.
            4 | 8 => cut(value, size),
            _ => *place ^ old | cut(value, size),
        };
        Some(())
    }

    fn load(&self, address: u64, size: usize) -> Option<u64> {
        if !self.is_plain(address) {
            let word = self.written.get(&(address & !7))?;
            let shift = (address & 7) * 8;
            let is_inside = address % 8 + size as u64 <= 8;
            return is_inside.then(|| cut(word >> shift, size));
        }
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size)?;
        self.memory.read(address, part).then_some(())?;
        Some(u64::from_le_bytes(bytes))
    }

    fn store(&mut self, address: u64, value: u64, size: usize) -> Option<()> {
        let mut own = [STACK, RESULT].into_iter();
        let is_own = own.any(|start| (start..start + ROOM).contains(&address));
        let is_inside = address % 8 + size as u64 <= 8;
        if !is_own || !is_inside {
            return None;
        }
        let word = self.written.entry(address & !7).or_default();
        let shift = (address & 7) * 8;
        let mask = cut(u64::MAX, size) << shift;
        *word = *word & !mask | value << shift & mask;
        Some(())
    }
}

impl Flags {
    /// Without a carry or an overflow.
    fn of(value: u64, size: usize) -> Self {
        Self {
            carry: false,
            overflow: false,
            zero: cut(value, size) == 0,
            sign: is_negative(value, size),
        }
    }
}

/// Bytes of an operand.
fn size(of: &Instruction, number: u32) -> usize {
    if of.op_kind(number) == OpKind::Register {
        return of.op_register(number).size();
    }
    of.memory_size().size()
}

/// The lowest bytes.
fn cut(value: u64, size: usize) -> u64 {
    match size {
        1 | 2 | 4 => value & ((1 << (8 * size)) - 1),
        _ => value,
    }
}

fn is_negative(value: u64, size: usize) -> bool {
    value >> (8 * size.clamp(1, 8) - 1) & 1 == 1
}

fn extended(value: u64, size: usize) -> u64 {
    let unused = 64 - 8 * size.clamp(1, 8) as u32;
    ((value << unused).cast_signed() >> unused).cast_unsigned()
}

#[cfg(test)]
mod tests;
