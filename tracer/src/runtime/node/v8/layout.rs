//! Where V8 keeps things: what its file tells post-mortem debuggers (`v8dbg_*`), and for the rest a table by version.
//!
//! A wrong number here gives no wrong name: everything that is read is checked against the type V8 says it has.

use std::{collections::HashMap, ops::Range};

use tracer_common::stack::JsLayout;

use super::{
    exit::{self, Isolate},
    position::Encoding,
};
use crate::runtime::image::Image;

/// Version of V8: major and minor.
pub type Version = (u32, u32);

/// What the symbols do not give, since one version. Offsets in bytes from an object's start.
struct Row {
    since: Version,
    /// `JSFunction.code`, from 13.6 on `JSFunction.dispatch_handle`
    function_code: u64,
    /// The instructions are a part of the `Code` object.
    is_inline: bool,
    code_start: u64,
    code_size: u64,
    code_flags: u64,
    code_deopt: u64,
    code_positions: u64,
    bytecode_positions: u64,
    literals: u64,
    inlinings: u64,
    has_dispatch: bool,
    encoding: Encoding,
    /// `PromiseReaction.next`; its handlers and the promise they settle come next.
    reaction_next: u64,
    /// `MemoryChunk.flags`, from the start of the page
    page_flags: u64,
    /// `ThreadLocalTop.c_entry_fp_`, from the start of the isolate; where the file is not stripped, its code tells it
    exit: u64,
}

/// Each row measured with the Node.js release that has this version: 18, 20, 22, 24, 26.
const TABLE: &[Row] = &[
    Row {
        since: (10, 2),
        function_code: 48,
        is_inline: true,
        code_start: 128,
        code_size: 40,
        code_flags: 48,
        code_deopt: 16,
        code_positions: 24,
        bytecode_positions: 32,
        literals: 2,
        inlinings: 7,
        has_dispatch: false,
        encoding: Encoding::Sign,
        reaction_next: 8,
        page_flags: 8,
        exit: 0x4538,
    },
    Row {
        since: (11, 3),
        function_code: 48,
        is_inline: false,
        code_start: 40,
        code_size: 56,
        code_flags: 48,
        code_deopt: 16,
        code_positions: 24,
        bytecode_positions: 32,
        literals: 2,
        inlinings: 7,
        has_dispatch: false,
        encoding: Encoding::Sign,
        reaction_next: 8,
        page_flags: 8,
        exit: 0x180,
    },
    Row {
        since: (12, 4),
        function_code: 24,
        is_inline: false,
        code_start: 40,
        code_size: 52,
        code_flags: 48,
        code_deopt: 8,
        code_positions: 16,
        bytecode_positions: 24,
        literals: 2,
        inlinings: 7,
        has_dispatch: false,
        encoding: Encoding::Sign,
        reaction_next: 16,
        page_flags: 0,
        exit: 0x110,
    },
    Row {
        since: (13, 6),
        function_code: 24,
        is_inline: false,
        code_start: 40,
        code_size: 56,
        code_flags: 52,
        code_deopt: 8,
        code_positions: 16,
        bytecode_positions: 24,
        literals: 3,
        inlinings: 8,
        has_dispatch: true,
        encoding: Encoding::Sign,
        reaction_next: 16,
        page_flags: 0,
        exit: 0x140,
    },
    Row {
        since: (14, 6),
        function_code: 24,
        is_inline: false,
        code_start: 40,
        code_size: 56,
        code_flags: 52,
        code_deopt: 8,
        code_positions: 16,
        bytecode_positions: 24,
        literals: 3,
        inlinings: 8,
        has_dispatch: true,
        encoding: Encoding::Bits,
        reaction_next: 16,
        page_flags: 0,
        exit: 0x148,
    },
    // Not seen yet: names, and no lines before the tables were.
    Row {
        since: (14, 7),
        function_code: 24,
        is_inline: false,
        code_start: 40,
        code_size: 56,
        code_flags: 52,
        code_deopt: 8,
        code_positions: 16,
        bytecode_positions: 24,
        literals: 3,
        inlinings: 8,
        has_dispatch: true,
        encoding: Encoding::Unknown,
        reaction_next: 16,
        page_flags: 0,
        exit: 0x148,
    },
];

/// Instance types, as `Map` has them. 0: this version has no such type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Types {
    pub(super) shared: u16,
    pub(super) script: u16,
    pub(super) scope_info: u16,
    pub(super) code: u16,
    pub(super) code_wrapper: u16,
    pub(super) bytecode: u16,
    pub(super) byte_array: u16,
    pub(super) trusted_byte_array: u16,
    pub(super) feedback_cell: u16,
    pub(super) feedback_vector: u16,
    pub(super) fixed_array: u16,
    pub(super) interpreter_data: u16,
    pub(super) first_function: u16,
    pub(super) last_function: u16,
    pub(super) map: u16,
    pub(super) async_function: u16,
    pub(super) async_generator: u16,
    pub(super) request: u16,
    pub(super) promise: u16,
    pub(super) reaction: u16,
    pub(super) capability: u16,
    /// Reactions of promises that are settled, as they wait to be run.
    pub(super) jobs: [u16; 2],
    pub(super) first_context: u16,
    pub(super) last_context: u16,
}

/// Where V8 keeps things. Offsets in bytes from an object's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Its version.
    pub version: Version,
    pub(super) types: Types,
    pub(super) map_type: u64,
    pub(super) function_shared: u64,
    pub(super) function_code: u64,
    pub(super) function_cell: u64,
    /// 0: this version does not tell.
    pub(super) function_context: u64,
    pub(super) shared_data: u64,
    pub(super) shared_name: u64,
    pub(super) shared_script: u64,
    pub(super) is_inline: bool,
    pub(super) code_start: u64,
    pub(super) code_size: u64,
    pub(super) code_flags: u64,
    pub(super) code_deopt: u64,
    pub(super) code_positions: u64,
    pub(super) kind_mask: u32,
    pub(super) kind_shift: u32,
    pub(super) kind_baseline: u32,
    pub(super) bytecode_positions: u64,
    pub(super) bytecode_data: u64,
    pub(super) literals: u64,
    pub(super) inlinings: u64,
    pub(super) scope_locals: u64,
    pub(super) scope_first: u64,
    pub(super) script_source: u64,
    pub(super) script_name: u64,
    pub(super) script_ends: u64,
    /// Code is found through a table, by the handle that functions have.
    pub(super) has_dispatch: bool,
    pub(super) encoding: Encoding,
    pub(super) reaction_next: u64,
    pub(super) page_flags: u64,
    pub(super) exit: u64,
    /// How a thread finds its isolate; `None`: it is not known.
    pub(super) isolate: Option<Isolate>,
    /// Where in the file V8's own functions are, in bytes from its start; empty when it does not tell.
    pub(super) builtins: Range<u64>,
    /// From here on to their end are those that run one bytecode each.
    pub(super) handlers: u64,
    /// For each scale of operands, the bytes of each bytecode; empty when the file does not tell.
    pub(super) bytecode_sizes: Box<[u8]>,
}

impl Layout {
    /// What a file with V8 in it tells; `None` when it has none, or one that is too old.
    #[must_use]
    pub fn of(image: &Image<'_>) -> Option<Self> {
        const VERSION: &str = "_ZN2v88internal7Version6";
        const BUILTINS: &str = "Builtins_";
        const SIZES: &str = "_ZN2v88internal11interpreter9Bytecodes14kBytecodeSizesE";
        let wanted = ["v8dbg_", VERSION, BUILTINS, SIZES];
        let mut values = HashMap::new();
        let mut builtins = Vec::new();
        let mut handlers = None;
        let mut entry = None;
        let mut sizes = None;
        for (place, name) in image.beginning_with(&wanted) {
            let address = place.start;
            if name == SIZES {
                sizes = Some(place);
            } else if name.starts_with(BUILTINS) {
                builtins.push(address);
                if name.starts_with(exit::ENTRIES) {
                    entry = Some(address);
                }
                if name == "Builtins_WideHandler" {
                    handlers = Some(address);
                }
            } else if let Some(value) = value(image, address) {
                values.insert(name, value);
            }
        }
        let version = |part: &str| values.get(format!("{VERSION}{part}_E").as_str()).copied();
        let version = (version("major")?, version("minor")?);
        let mut layout = Self::told(version, &|name| values.get(name).copied())?;
        layout.place_builtins(image, &builtins, handlers);
        layout.isolate = Isolate::of(image);
        if let Some(exit) = entry.and_then(|entry| exit::frame(image, entry)) {
            layout.exit = exit;
        }
        if let Some(sizes) = sizes {
            let size = sizes.end.saturating_sub(sizes.start);
            // Three scales of fewer than 256 bytecodes.
            if size.is_multiple_of(3) && size < 3 * 256 {
                let bytes = image.bytes(sizes.start, size).unwrap_or_default();
                layout.bytecode_sizes = bytes.into();
            }
        }
        Some(layout)
    }

    /// They are one block, in the order of their list: handlers of bytecodes come last.
    fn place_builtins(&mut self, image: &Image<'_>, builtins: &[u64], handlers: Option<u64>) {
        let (Some(&first), Some(&last)) = (builtins.first(), builtins.last()) else {
            return;
        };
        let end = image.function(last).map_or(last, |function| function.end);
        let (Some(start), Some(end)) = (
            image.file_offset(first),
            image.file_offset(end.saturating_sub(1)),
        ) else {
            return;
        };
        self.builtins = start..end.saturating_add(1);
        self.handlers = handlers
            .and_then(|handler| image.file_offset(handler))
            .unwrap_or(u64::MAX);
    }

    pub(super) fn told(version: Version, value: &dyn Fn(&str) -> Option<u32>) -> Option<Self> {
        let row = TABLE.iter().rfind(|row| row.since <= version)?;
        let first = |names: &[&str]| {
            let mut found = names
                .iter()
                .filter_map(|name| value(&format!("v8dbg_{name}")));
            found.next()
        };
        let offset = |names: &[&str]| first(names).map(u64::from);
        let kind = |names: &[&str]| first(names).and_then(|kind| u16::try_from(kind).ok());
        let first_function = kind(&["FirstJSFunctionType", "type_JSFunction__JS_FUNCTION_TYPE"])?;
        let types = Types {
            shared: kind(&["type_SharedFunctionInfo__SHARED_FUNCTION_INFO_TYPE"])?,
            script: kind(&["type_Script__SCRIPT_TYPE"])?,
            scope_info: kind(&["type_ScopeInfo__SCOPE_INFO_TYPE"])?,
            code: kind(&["type_Code__CODE_TYPE"])?,
            code_wrapper: kind(&["type_CodeWrapper__CODE_WRAPPER_TYPE"]).unwrap_or(0),
            bytecode: kind(&["type_BytecodeArray__BYTECODE_ARRAY_TYPE"])?,
            byte_array: kind(&["type_ByteArray__BYTE_ARRAY_TYPE"])?,
            trusted_byte_array: kind(&["type_TrustedByteArray__TRUSTED_BYTE_ARRAY_TYPE"])
                .unwrap_or(0),
            feedback_cell: kind(&["type_FeedbackCell__FEEDBACK_CELL_TYPE"])?,
            feedback_vector: kind(&["type_FeedbackVector__FEEDBACK_VECTOR_TYPE"])?,
            fixed_array: kind(&["type_FixedArray__FIXED_ARRAY_TYPE"])?,
            interpreter_data: kind(&["type_InterpreterData__INTERPRETER_DATA_TYPE"])?,
            first_function,
            // Before V8 says it: 15 types of functions (class constructors, those of typed arrays).
            last_function: kind(&["LastJSFunctionType"]).unwrap_or(first_function + 14),
            map: kind(&["type_Map__MAP_TYPE"]).unwrap_or(0),
            async_function: kind(&["type_JSAsyncFunctionObject__JS_ASYNC_FUNCTION_OBJECT_TYPE"])
                .unwrap_or(0),
            async_generator: kind(&["type_JSAsyncGeneratorObject__JS_ASYNC_GENERATOR_OBJECT_TYPE"])
                .unwrap_or(0),
            request: kind(&["type_AsyncGeneratorRequest__ASYNC_GENERATOR_REQUEST_TYPE"])
                .unwrap_or(0),
            promise: kind(&["type_JSPromise__JS_PROMISE_TYPE"]).unwrap_or(0),
            reaction: kind(&["type_PromiseReaction__PROMISE_REACTION_TYPE"]).unwrap_or(0),
            capability: kind(&["type_PromiseCapability__PROMISE_CAPABILITY_TYPE"]).unwrap_or(0),
            jobs: [
                "type_PromiseFulfillReactionJobTask__PROMISE_FULFILL_REACTION_JOB_TASK_TYPE",
                "type_PromiseRejectReactionJobTask__PROMISE_REJECT_REACTION_JOB_TASK_TYPE",
            ]
            .map(|name| kind(&[name]).unwrap_or(0)),
            first_context: kind(&["FirstContextType"]).unwrap_or(0),
            last_context: kind(&["LastContextType"]).unwrap_or(0),
        };
        // No pointer compression: a tagged word is 8 bytes, a small integer its upper half.
        if first(&["SmiShiftSize"]) != Some(31)
            || offset(&["off_fp_function"]) != Some(u64::from(-16_i32 as u32))
            || offset(&["off_fp_bytecode_array"]) != Some(u64::from(-32_i32 as u32))
            || offset(&["off_fp_bytecode_offset"]) != Some(u64::from(-40_i32 as u32))
        {
            return None;
        }
        Some(Self {
            version,
            types,
            map_type: offset(&["class_Map__instance_type__uint16_t"])?,
            function_shared: offset(&["class_JSFunction__shared__SharedFunctionInfo"])?,
            function_code: offset(&[
                "class_JSFunction__code__CodeT",
                "class_JSFunction__code__Tagged_Code_",
            ])
            .unwrap_or(row.function_code),
            function_cell: offset(&[
                "class_JSFunction__raw_feedback_cell__FeedbackCell",
                "class_JSFunction__raw_feedback_cell__Tagged_FeedbackCell_",
            ])?,
            function_context: offset(&[
                "class_JSFunction__context__Context",
                "class_JSFunction__context__Tagged_Context_",
            ])
            .unwrap_or(0),
            shared_data: offset(&["class_SharedFunctionInfo__function_data__Object"]).unwrap_or(8),
            shared_name: offset(&[
                "class_SharedFunctionInfo__name_or_scope_info__Object",
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_Object_",
                "class_SharedFunctionInfo__name_or_scope_info__Tagged_NameOrScopeInfoT_",
            ])?,
            shared_script: offset(&[
                "class_SharedFunctionInfo__script_or_debug_info__HeapObject",
                "class_SharedFunctionInfo__script__Tagged_HeapObject_",
            ])?,
            is_inline: row.is_inline,
            code_start: offset(&[
                "class_Code__instruction_start__uintptr_t",
                "class_Code__instruction_start__Address",
            ])
            .unwrap_or(row.code_start),
            code_size: offset(&["class_Code__instruction_size__int"]).unwrap_or(row.code_size),
            code_flags: offset(&["class_Code__flags__uint32_t"]).unwrap_or(row.code_flags),
            code_deopt: row.code_deopt,
            code_positions: row.code_positions,
            kind_mask: first(&["CodeKindFieldMask"])?,
            kind_shift: first(&["CodeKindFieldShift"])?,
            kind_baseline: first(&["CodeKindBaseline"])?,
            bytecode_positions: row.bytecode_positions,
            bytecode_data: offset(&["class_BytecodeArray__data__uintptr_t"])?,
            literals: offset(&["DeoptimizationDataLiteralArrayIndex"]).unwrap_or(row.literals),
            inlinings: offset(&["DeoptimizationDataInliningPositionsIndex"])
                .unwrap_or(row.inlinings),
            scope_locals: offset(&["scopeinfo_idx_ncontextlocals"])?,
            scope_first: offset(&["scopeinfo_idx_first_vars"])?,
            script_source: offset(&["class_Script__source__Object"])?,
            script_name: offset(&["class_Script__name__Object"])?,
            script_ends: offset(&["class_Script__line_ends__Object"])?,
            has_dispatch: row.has_dispatch,
            encoding: row.encoding,
            reaction_next: row.reaction_next,
            page_flags: row.page_flags,
            exit: row.exit,
            isolate: None,
            builtins: 0..0,
            handlers: u64::MAX,
            bytecode_sizes: Box::default(),
        })
    }

    /// True when async functions and promises can be told from other objects.
    #[must_use]
    pub fn has_async(&self) -> bool {
        let types = &self.types;
        let wanted = [
            types.map,
            types.async_function,
            types.promise,
            types.reaction,
            types.capability,
            types.last_context,
            types.jobs[0],
            types.jobs[1],
        ];
        self.function_context > 0 && !wanted.contains(&0)
    }

    /// What the kernel side needs of it, in a process that has the file so far from where it was linked.
    #[must_use]
    pub fn for_kernel(&self, bias: u64) -> JsLayout {
        // Offsets in small objects.
        let short = |offset: u64| u32::try_from(offset).unwrap_or(0);
        let mut layout = JsLayout {
            first_type: u32::from(self.types.first_function),
            last_type: u32::from(self.types.last_function),
            map_type: short(self.map_type),
            shared: short(self.function_shared),
            code: short(self.function_code),
            cell: short(self.function_cell),
            ..JsLayout::default()
        };
        if let Some(isolate) = self.isolate {
            layout.exit = short(self.exit);
            isolate.tell(bias, &mut layout);
        }
        layout
    }
}

/// An `int` of the file; one that is not in it is 0.
fn value(image: &Image<'_>, address: u64) -> Option<u32> {
    if let Some(bytes) = image.bytes(address, 4) {
        return bytes.try_into().ok().map(u32::from_le_bytes);
    }
    let mut segments = image.segments().iter();
    let is_zero = segments.any(|segment| {
        address
            .checked_sub(segment.address)
            .is_some_and(|at| at >= segment.file_size && at < segment.memory_size)
    });
    is_zero.then_some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever Node.js this machine has; `None` when it has none.
    #[test]
    fn the_file_of_node_tells_where_things_are() {
        let Some(path) = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|folder| folder.join("node"))
            .find(|path| path.is_file())
        else {
            return;
        };
        let data = std::fs::read(path).unwrap();
        let image = Image::parse(&data).unwrap();
        let layout = Layout::of(&image).unwrap();
        assert!(layout.version.0 >= 10, "{layout:?}");
        assert!(layout.types.last_function > layout.types.first_function);
        let sizes = &layout.bytecode_sizes;
        assert!(sizes.iter().all(|&size| size > 0 && size < 64), "{sizes:?}");
    }

    #[test]
    fn other_programs_have_no_v8() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(Layout::of(&Image::parse(&own).unwrap()), None);
        assert_eq!(Layout::told((9, 4), &|_| Some(1)), None);
    }
}
