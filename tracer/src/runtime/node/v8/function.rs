//! Functions and scripts: what they are called, and where lines end.

use std::{rc::Rc, sync::Arc};

use super::{
    heap::{Content, Heap, Object, small},
    position::{self, Encoding},
};

/// Characters of a name that are kept.
const LONGEST: usize = 1_024;
/// Lines of a script.
const LINES: usize = 4 << 20;

/// A script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// What says that it is still the same.
    pub(super) guard: [u64; 4],
    /// Its path or address.
    pub(super) name: Arc<str>,
    /// Where each line ends, in characters from the start.
    ends: Vec<u32>,
    /// What is added to a line.
    first_line: u32,
}

impl Script {
    /// What says whether the script at `object` is still the same.
    pub(super) fn guard(heap: &Heap<'_>, object: Object) -> Option<[u64; 4]> {
        let layout = heap.layout;
        let words: [u64; 8] = heap.words(object)?;
        let word = |offset: u64| words.get(usize::try_from(offset / 8).ok()?).copied();
        Some([
            words[0],
            word(layout.script_name)?,
            word(layout.script_source)?,
            word(layout.script_ends)?,
        ])
    }

    pub(super) fn read(heap: &Heap<'_>, object: Object) -> Option<Self> {
        let guard = Self::guard(heap, object)?;
        let [map, name, source, ends] = guard;
        if !heap.says(map, heap.layout.types.script) {
            return None;
        }
        let name = Object::of(name).and_then(|name| heap.text(name, LONGEST));
        let ends = Object::of(ends)
            .and_then(|ends| known_ends(heap, ends))
            .or_else(|| {
                let source = heap.source(Object::of(source)?)?;
                Some(line_ends(&source))
            });
        // `Script.line_offset`, in every version.
        let first_line = heap.word(object, 24).and_then(small);
        Some(Self {
            guard,
            name: name.unwrap_or_else(|| "(eval)".to_owned()).into(),
            ends: ends.unwrap_or_default(),
            first_line: first_line
                .and_then(|line| u32::try_from(line).ok())
                .unwrap_or(0),
        })
    }

    /// The line of a character, from 1 on; 0 when it is not known.
    pub(super) fn line(&self, at: u32) -> u32 {
        let before = self.ends.partition_point(|&end| end < at);
        if before >= self.ends.len() {
            return 0;
        }
        u32::try_from(before)
            .unwrap_or(0)
            .saturating_add(1)
            .saturating_add(self.first_line)
    }

    /// Lines that are kept.
    pub(super) fn lines(&self) -> usize {
        self.ends.len()
    }
}

/// Where lines end, when V8 has counted them already.
fn known_ends(heap: &Heap<'_>, object: Object) -> Option<Vec<u32>> {
    let [map, length] = heap.words(object)?;
    let length = usize::try_from(small(length)?).ok()?;
    if !heap.says(map, heap.layout.types.fixed_array) || length == 0 || length > LINES {
        return None;
    }
    let bytes = heap.bytes(object.0 + 16, 8 * length)?;
    let end = |word: &[u8; 8]| u32::try_from(small(u64::from_le_bytes(*word))?).ok();
    let ends: Option<Vec<u32>> = bytes.as_chunks::<8>().0.iter().map(end).collect();
    ends.filter(|ends| ends.is_sorted())
}

/// As JavaScript counts lines: the last one ends where the source ends.
fn line_ends(source: &Content) -> Vec<u32> {
    let mut ends = Vec::new();
    let mut push = |at: usize| {
        if ends.len() < LINES {
            ends.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    };
    match source {
        Content::One(bytes) => {
            for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
                if bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n') {
                    push(at);
                }
            }
        }
        Content::Two(units) => {
            for (at, &unit) in units.iter().enumerate() {
                let ends_line = match unit {
                    0x0a | 0x2028 | 0x2029 => true,
                    0x0d => units.get(at + 1) != Some(&0x0a),
                    _ => false,
                };
                if ends_line {
                    push(at);
                }
            }
        }
    }
    push(source.len());
    ends
}

/// A function.
#[derive(Debug)]
pub(super) struct Function {
    /// What says that it is still the same.
    pub(super) guard: [u64; 4],
    pub(super) name: Arc<str>,
    pub(super) script: Object,
    /// Its bytecode, and its code when it has baseline code.
    pub(super) bytecode: Option<Object>,
    pub(super) baseline: Option<Object>,
    /// Places in the source by place in the bytecode.
    table: Rc<[u8]>,
    encoding: Encoding,
}

impl Function {
    /// What says whether the function at `object` is still the same.
    pub(super) fn guard(heap: &Heap<'_>, object: Object) -> Option<[u64; 4]> {
        let layout = heap.layout;
        let words: [u64; 6] = heap.words(object)?;
        let word = |offset: u64| words.get(usize::try_from(offset / 8).ok()?).copied();
        Some([
            words[0],
            word(layout.shared_data)?,
            word(layout.shared_name)?,
            word(layout.shared_script)?,
        ])
    }

    /// `None`: there is no function. `Some(None)`: it is one of V8's own, without a script.
    pub(super) fn read(heap: &Heap<'_>, object: Object) -> Option<Option<Self>> {
        let types = &heap.layout.types;
        let guard = Self::guard(heap, object)?;
        let [map, data, name, script] = guard;
        if !heap.says(map, types.shared) {
            return None;
        }
        let script = Object::of(script).filter(|&script| heap.is(script, types.script));
        let Some(script) = script else {
            return Some(None);
        };
        let name = Object::of(name).map(|name| {
            if heap.is(name, types.scope_info) {
                name_in_scope(heap, name).unwrap_or_default()
            } else {
                heap.text(name, LONGEST).unwrap_or_default()
            }
        });
        let name = name.filter(|name| !name.is_empty());
        let (bytecode, baseline) = code_of(heap, data);
        let table = bytecode
            .and_then(|bytecode| heap.word(bytecode, heap.layout.bytecode_positions))
            .and_then(Object::of)
            .and_then(|table| heap.byte_array(table));
        Some(Some(Self {
            guard,
            name: name.unwrap_or_else(|| "(anonymous)".to_owned()).into(),
            script,
            bytecode,
            baseline,
            table: table.unwrap_or_default().into(),
            encoding: heap.layout.encoding,
        }))
    }

    /// The place in the source of the bytecode at `offset`.
    pub(super) fn place(&self, offset: usize) -> Option<u32> {
        let at = i64::try_from(offset).ok()?;
        position::look_up(self.encoding, &self.table, at)?.offset()
    }

    /// Its bytecode.
    pub(super) fn bytes(&self, heap: &Heap<'_>) -> Option<Vec<u8>> {
        const LONGEST: usize = 1 << 20;
        let bytecode = self.bytecode?;
        let length = usize::try_from(small(heap.word(bytecode, 8)?)?).ok()?;
        if length > LONGEST {
            return None;
        }
        heap.bytes(bytecode.0.checked_add(heap.layout.bytecode_data)?, length)
    }
}

/// The bytecode, and the baseline code, that a function's data lead to.
fn code_of(heap: &Heap<'_>, data: u64) -> (Option<Object>, Option<Object>) {
    let types = &heap.layout.types;
    let mut baseline = None;
    let mut next = Object::of(data);
    for _ in 0..3 {
        let Some(object) = next else { break };
        let Some(map) = heap.word(object, 0) else {
            break;
        };
        if heap.says(map, types.bytecode) {
            return (Some(object), baseline);
        }
        let offset = if heap.says(map, types.code) {
            baseline = Some(object);
            heap.layout.code_deopt
        } else if heap.says(map, types.interpreter_data) {
            8
        } else {
            break;
        };
        next = heap.word(object, offset).and_then(Object::of);
    }
    (None, baseline)
}

/// The name of the function a scope belongs to, or the one V8 made up from what it was assigned to.
///
/// <https://github.com/v8/v8/blob/11.3.244/src/objects/scope-info.tq>
fn name_in_scope(heap: &Heap<'_>, scope: Object) -> Option<String> {
    /// With so many local variables their names are in a table of their own.
    const INLINED: u64 = 75;
    let word = |index: u64| heap.word(scope, 8 + 8 * index);
    let locals = u64::try_from(small(word(heap.layout.scope_locals)?)?).ok()?;
    if locals > 1 << 16 {
        return None;
    }
    let names = if locals < INLINED { locals } else { 1 };
    let at = heap.layout.scope_first + names + locals;
    let string = |index| {
        let object = Object::of(word(index)?)?;
        heap.text(object, LONGEST).filter(|text| !text.is_empty())
    };
    // The name and its variable's place; then perhaps the made-up name.
    let own = word(at)?;
    if small(own).is_none()
        && Object::of(own)
            .and_then(|own| heap.text(own, LONGEST))
            .is_none()
    {
        return None;
    }
    string(at).or_else(|| string(at + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_javascript_counts_them() {
        let one = |text: &str| line_ends(&Content::One(text.as_bytes().to_vec()));
        assert_eq!(one("a\nb\r\nc\rd"), [1, 4, 6, 8]);
        assert_eq!(one(""), [0]);
        let two: Vec<u16> = "a\u{2028}b\n".encode_utf16().collect();
        assert_eq!(line_ends(&Content::Two(two)), [1, 3, 4]);
        let script = Script {
            guard: [0; 4],
            name: "a.js".into(),
            ends: one("ab\ncd\n"),
            first_line: 0,
        };
        let lines: Vec<u32> = (0..8).map(|at| script.line(at)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 2, 2, 3, 0]);
    }
}
