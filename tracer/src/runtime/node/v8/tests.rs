//! A heap made by hand, and memory that lies.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use proptest::prelude::*;

use super::{position::Encoding, *};

/// What Node.js 20 says of itself.
pub(super) fn layout() -> Layout {
    let values: BTreeMap<&str, i32> = BTreeMap::from([
        ("SmiShiftSize", 31),
        ("off_fp_function", -16),
        ("off_fp_bytecode_array", -32),
        ("off_fp_bytecode_offset", -40),
        ("CodeKindFieldMask", 15),
        ("CodeKindFieldShift", 0),
        ("CodeKindBaseline", 11),
        ("class_Map__instance_type__uint16_t", 12),
        ("class_JSFunction__shared__SharedFunctionInfo", 24),
        ("class_JSFunction__raw_feedback_cell__FeedbackCell", 40),
        ("class_SharedFunctionInfo__name_or_scope_info__Object", 16),
        (
            "class_SharedFunctionInfo__script_or_debug_info__HeapObject",
            32,
        ),
        ("class_BytecodeArray__data__uintptr_t", 54),
        ("class_Script__source__Object", 8),
        ("class_Script__name__Object", 16),
        ("class_Script__line_ends__Object", 56),
        ("scopeinfo_idx_ncontextlocals", 2),
        ("scopeinfo_idx_first_vars", 3),
        ("type_JSFunction__JS_FUNCTION_TYPE", 2066),
        ("type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE", 262),
        ("type_Script__SCRIPT_TYPE", 167),
        ("type_ScopeInfo__SCOPE_INFO_TYPE", 261),
        ("type_Code__CODE_TYPE", 245),
        ("type_BytecodeArray__BYTECODE_ARRAY_TYPE", 191),
        ("type_ByteArray__BYTE_ARRAY_TYPE", 190),
        ("type_FeedbackCell__FEEDBACK_CELL_TYPE", 156),
        ("type_FeedbackVector__FEEDBACK_VECTOR_TYPE", 249),
        ("type_FixedArray__FIXED_ARRAY_TYPE", 175),
        ("type_InterpreterData__INTERPRETER_DATA_TYPE", 159),
        ("type_Map__MAP_TYPE", 255),
        (
            "type_JSAsyncFunctionObject__JS_ASYNC_FUNCTION_OBJECT_TYPE",
            1067,
        ),
        (
            "type_JSAsyncGeneratorObject__JS_ASYNC_GENERATOR_OBJECT_TYPE",
            1068,
        ),
        (
            "type_AsyncGeneratorRequest__ASYNC_GENERATOR_REQUEST_TYPE",
            145,
        ),
        ("type_JSPromise__JS_PROMISE_TYPE", 1081),
        ("type_PromiseReaction__PROMISE_REACTION_TYPE", 164),
        ("type_PromiseCapability__PROMISE_CAPABILITY_TYPE", 162),
        (
            "type_PromiseFulfillReactionJobTask__PROMISE_FULFILL_REACTION_JOB_TASK_TYPE",
            135,
        ),
        (
            "type_PromiseRejectReactionJobTask__PROMISE_REJECT_REACTION_JOB_TASK_TYPE",
            136,
        ),
        ("FirstContextType", 203),
        ("LastContextType", 212),
        ("class_JSFunction__context__Context", 32),
    ]);
    let value = |name: &str| {
        let value = values.get(name.strip_prefix("v8dbg_")?);
        value.map(|&value| value.cast_unsigned())
    };
    let mut layout = Layout::told((11, 3), &value).unwrap();
    layout.bytecode_sizes = vec![2; 3 * 100].into();
    layout
}

const BUILTINS: u64 = 0x100_0000;
const ONE_BYTE_STRING: u16 = 40;

/// Memory that holds what was put there.
#[derive(Default)]
struct Made {
    bytes: RefCell<BTreeMap<u64, u8>>,
    next: Cell<u64>,
}

impl Memory for Made {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let bytes = self.bytes.borrow();
        let mut pairs = (address..).zip(buffer);
        pairs.all(|(at, byte)| bytes.get(&at).map(|&held| *byte = held).is_some())
    }
}

fn smi(value: i32) -> u64 {
    u64::from(value.cast_unsigned()) << 32
}

impl Made {
    fn put(&self, address: u64, content: &[u8]) {
        self.bytes
            .borrow_mut()
            .extend((address..).zip(content.iter().copied()));
    }

    /// Gives the tagged pointer to a new object of these words behind its map.
    fn object(&self, kind: u16, words: &[u64]) -> u64 {
        self.next.set(self.next.get() + 0x1000);
        let at = 0x2000_0000 + self.next.get();
        let map = 0x1000_0000 + u64::from(kind) * 0x100;
        self.put(map + 12, &kind.to_le_bytes());
        self.put(at, &(map + 1).to_le_bytes());
        // What follows an object is another one.
        self.put(at + 8, &[0; 256]);
        for (at, word) in (at + 8..).step_by(8).zip(words) {
            self.put(at, &word.to_le_bytes());
        }
        at + 1
    }

    fn array(&self, kind: u16, content: &[u8]) -> u64 {
        let array = self.object(kind, &[smi(content.len() as i32)]);
        self.put(array - 1 + 16, content);
        array
    }

    fn string(&self, text: &str) -> u64 {
        let string = self.object(ONE_BYTE_STRING, &[smi(text.len() as i32)]);
        self.put(string - 1 + 16, text.as_bytes());
        string
    }
}

/// A function `work` on the second line of `/srv/a.js`, interpreted at its second bytecode.
fn interpreted(memory: &Made) -> JsFrame {
    let source = memory.string("let a;\nfunction work() { return a; }\n");
    let name = memory.string("/srv/a.js");
    let words = [source, name, 0, 0, 0, 0, 0];
    let script = memory.object(167, &words);
    let scope = [
        0,
        0,
        smi(1),
        memory.string("local"),
        0,
        memory.string("work"),
        0,
    ];
    let scope = memory.object(261, &scope);
    // One entry: bytecode 0, character 20.
    let table = memory.array(190, &[2, 42 << 1 & 0x7f]);
    let bytecode = memory.object(191, &[smi(8), 0, 0, table]);
    memory.put(bytecode - 1 + 54, &[50, 0, 50, 0, 50, 0, 50, 0]);
    let shared = memory.object(262, &[bytecode, scope, 0, script, 0]);
    JsFrame {
        shared,
        bytecode,
        offset: smi(2 + 53),
        ..JsFrame::default()
    }
}

fn v8() -> V8 {
    let texts = Texts {
        own: vec![(BUILTINS..BUILTINS + 0x1000, 0)],
        ..Texts::default()
    };
    V8::new(layout(), texts)
}

#[test]
fn an_interpreted_frame_is_named_and_looked_up_again() {
    let memory = Made::default();
    let frame = interpreted(&memory);
    let mut v8 = v8();
    for _ in 0..2 {
        let named = v8.name(&memory, &frame, BUILTINS + 7, None).unwrap();
        let [place] = &*named.places else {
            panic!("{named:?}")
        };
        assert_eq!(
            (&*place.function, &*place.script, place.line),
            ("work", "/srv/a.js", 2)
        );
        assert_eq!(named.kind, Kind::Interpreted);
    }
    // Another function has taken its place in memory.
    let other = memory.string("play");
    memory.put(frame.shared - 1 + 16, &other.to_le_bytes());
    let named = v8.name(&memory, &frame, BUILTINS + 7, None).unwrap();
    assert_eq!(&*named.places[0].function, "play");
    // Nothing has.
    memory.put(frame.shared - 1, &other.to_le_bytes());
    assert_eq!(
        v8.name(&memory, &frame, BUILTINS + 7, None),
        Err(Unknown::NoFunction)
    );
    assert_eq!(v8.counts()[&Unknown::NoFunction], 1);
}

#[test]
fn a_frame_whose_code_is_not_found_has_a_name_and_no_line() {
    let memory = Made::default();
    let frame = interpreted(&memory);
    let made = 0x7000_0000;
    let named = v8()
        .name(&memory, &frame, made, Some(&JsTop::default()))
        .unwrap();
    assert_eq!(
        (&*named.places[0].function, named.places[0].line),
        ("work", 0)
    );
    assert_eq!(named.kind, Kind::Unknown);
}

/// Memory where anything may be anywhere: tagged pointers, small integers and types among it, so that what is read goes
/// far.
pub(super) struct Lying {
    pub(super) seed: u64,
    pub(super) reads: Cell<u32>,
}

impl Memory for Lying {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        self.reads.set(self.reads.get() + 1);
        let kinds = [
            262, 167, 261, 245, 191, 190, 156, 249, 175, 159, 40, 32, 33, 35, 37, 42, 2066, 1067,
            1068, 145, 1081, 164, 162, 135, 210,
        ];
        for (at, bytes) in (address..=u64::MAX).step_by(8).zip(buffer.chunks_mut(8)) {
            let mut word = (at ^ self.seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word ^= word >> 29;
            let small = word >> 8 & 0xff;
            let word = match word & 7 {
                0 | 1 => (0x1000_0000 + small * 64) | 1,
                2 => (0x1000_0000 + small * 64) | 3,
                3 => small << 32,
                4 => kinds[small as usize % kinds.len()],
                5 => kinds[small as usize % kinds.len()] << 32,
                6 => u64::MAX - small,
                _ => word,
            };
            bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
        }
        !self.seed.is_multiple_of(3) || !address.is_multiple_of(7)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn whatever_is_in_memory_the_work_is_bounded(
        seed: u64,
        words: [u8; 5],
        address: u64,
        is_return: bool,
        has_dispatch: bool,
        is_inline: bool,
    ) {
        let memory = Lying { seed, reads: Cell::new(0) };
        let mut layout = layout();
        (layout.has_dispatch, layout.is_inline) = (has_dispatch, is_inline);
        let texts = Texts {
            own: vec![(0..1 << 62, 0)],
            others: Vec::new(),
            made: Vec::new(),
            anonymous: vec![0x1000_0000, u64::MAX - 3],
        };
        let mut v8 = V8::new(layout, texts);
        let word = |byte: u8| (0x1000_0000 + u64::from(byte) * 64) | 1;
        let [shared, code, cell, bytecode, offset] = words;
        let frame = JsFrame {
            shared: word(shared),
            code: word(code),
            cell: word(cell),
            bytecode: word(bytecode),
            offset: u64::from(offset) << 32,
        };
        for _ in 0..3 {
            memory.reads.set(0);
            let top = JsTop {
                bytecode: frame.bytecode,
                offset: u64::from(offset),
                pushed: [address, seed],
            };
            let _ = v8.name(&memory, &frame, address, (!is_return).then_some(&top));
            prop_assert!(memory.reads.get() <= 2_000);
        }
    }

    #[test]
    fn any_table_is_read_to_its_end_at_most(
        table: Vec<u8>,
        bytecode: Vec<u8>,
        sizes: Vec<u8>,
        at: u64,
    ) {
        for encoding in [Encoding::Sign, Encoding::Bits] {
            let _ = position::look_up(encoding, &table, at.cast_signed());
        }
        let _ = position::bytecode_at(&table, &bytecode, &sizes, at);
    }
}
