//! JavaScript functions by name: which function, script and line a frame of a Node.js process is in.
//!
//! The kernel side reads a few words of each frame when it takes a stack ([`JsFrame`]); the rest is read from the
//! process's memory soon after. It is not stopped meanwhile, so each pointer may be garbage by then: what does not fit
//! together has no name.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ops::Range,
    rc::Rc,
    sync::Arc,
};

use tracer_common::stack::{JsFrame, JsTop};

pub mod awaits;
mod code;
mod dispatch;
mod exit;
mod find;
mod frame;
mod function;
mod heap;
mod layout;
mod position;
pub mod stack;
#[cfg(test)]
mod tests;

pub use code::Kind;
pub use find::{Found, find};
pub use frame::Codes;
pub use layout::{Layout, Version};

use self::{
    code::Code,
    dispatch::Dispatch,
    function::{Function, Script},
    heap::{Heap, Maps, Object},
};
use crate::runtime::memory::Memory;

/// Versions of a function's code that are remembered.
const VERSIONS: usize = 6;
/// Functions, and places in them, that are kept.
const KEPT: usize = 16_384;
/// Scripts that are kept, and lines of all of them.
const SCRIPTS: usize = 4_096;
const LINES: usize = 4 << 20;

/// A function at a place in its source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// What it is called; `(anonymous)` when it is not.
    pub function: Arc<str>,
    /// The path or address of its script.
    pub script: Arc<str>,
    /// From 1 on; 0 when it is not known.
    pub line: u32,
}

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Named {
    /// Functions compiled into one another, innermost first.
    pub places: Arc<[Place]>,
    /// What runs.
    pub kind: Kind,
}

/// Why a frame has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    /// A function of V8 itself: the address tells more.
    Builtin,
    /// It is no frame of a JavaScript function, it only looked like one.
    Native,
    /// There is no function where the frame points.
    NoFunction,
    /// There is no script where the function points.
    NoScript,
    /// It would have taken too much work.
    TooMuch,
}

/// Files with code that a process has mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    /// Of the file with V8 in it: addresses, and where in the file they begin. V8 may map a part a second time.
    pub own: Vec<(Range<u64>, u64)>,
    /// All others.
    pub others: Vec<Range<u64>>,
    /// Where there may be code that was made at run time.
    pub made: Vec<Range<u64>>,
    /// Where memory that is of no file begins.
    pub anonymous: Vec<u64>,
}

impl Texts {
    /// True for an address where there may be code.
    fn has_code(&self, address: u64) -> bool {
        let own = self.own.iter().map(|(range, _)| range);
        let mut all = own.chain(&self.others).chain(&self.made);
        all.any(|range| range.contains(&address))
    }
}

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// In a function of V8 that runs one bytecode.
    Handler,
    /// In another function of V8 that was compiled as JavaScript is.
    Builtin,
    /// In a function of a file that was not.
    Native,
    /// In code made at run time, as far as is known.
    Made,
}

/// Names frames of one process.
pub struct V8 {
    layout: Rc<Layout>,
    texts: Texts,
    maps: Rc<Maps>,
    functions: HashMap<Object, Rc<Function>>,
    scripts: HashMap<Object, Rc<Script>>,
    lines: usize,
    known: HashMap<Key, Known>,
    dispatch: Dispatch,
    /// Code that was found for a function: newer code takes its place where functions point, while it still runs.
    found: RefCell<HashMap<u64, Vec<Object>>>,
    counts: BTreeMap<Unknown, u64>,
}

/// A place in a function: its code, or `None` for its bytecode, and where in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    shared: Object,
    code: Option<Object>,
    at: u64,
}

struct Known {
    function: Rc<Function>,
    code: Option<Code>,
    named: Named,
}

/// What runs in a frame.
enum Running {
    Bytecode(usize),
    /// Code, and the address in it.
    Code(Code, u64),
    Unknown,
}

impl V8 {
    /// Names frames of a process with this layout, which has these files mapped.
    #[must_use]
    pub fn new(layout: Layout, texts: Texts) -> Self {
        Self {
            layout: layout.into(),
            texts,
            maps: Rc::default(),
            functions: HashMap::new(),
            scripts: HashMap::new(),
            lines: 0,
            known: HashMap::new(),
            dispatch: Dispatch::default(),
            found: RefCell::default(),
            counts: BTreeMap::new(),
        }
    }

    /// What the process has mapped, as far as it was told.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// What the process has mapped now.
    pub fn set_texts(&mut self, texts: Texts) {
        self.texts = texts;
    }

    /// True for an address in a function of V8 that runs one bytecode: with its caller it is one frame to people.
    #[must_use]
    pub fn runs_bytecode(&self, address: u64) -> bool {
        self.spot(address) == Spot::Handler
    }

    fn spot(&self, address: u64) -> Spot {
        let mut own = self.texts.own.iter();
        if let Some((range, offset)) = own.find(|(range, _)| range.contains(&address)) {
            let at = (address - range.start).saturating_add(*offset);
            // Without symbols it is not known which functions are which.
            if self.layout.builtins.is_empty() {
                return Spot::Builtin;
            }
            return match at {
                at if !self.layout.builtins.contains(&at) => Spot::Native,
                at if at >= self.layout.handlers => Spot::Handler,
                _ => Spot::Builtin,
            };
        }
        let mut others = self.texts.others.iter();
        if others.any(|range| range.contains(&address)) {
            Spot::Native
        } else {
            Spot::Made
        }
    }

    /// Where things are.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Frames that have no name, by reason.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<Unknown, u64> {
        &self.counts
    }

    /// The function a frame is of. `address` is where it runs, or, for all but the innermost frame, where the call it
    /// made returns to; of the innermost one `top` has more.
    ///
    /// # Errors
    /// When that is not known; the reason is counted.
    pub fn name(
        &mut self,
        memory: &dyn Memory,
        frame: &JsFrame,
        address: u64,
        top: Option<&JsTop>,
    ) -> Result<Named, Unknown> {
        let (maps, layout) = (Rc::clone(&self.maps), Rc::clone(&self.layout));
        let heap = Heap::new(memory, &layout, &maps);
        let named = self.look(&heap, frame, address, top);
        let named = match named {
            Err(Unknown::NoFunction | Unknown::NoScript) if heap.is_spent() => {
                Err(Unknown::TooMuch)
            }
            named => named,
        };
        if let Err(reason) = named {
            *self.counts.entry(reason).or_default() += 1;
        }
        named
    }

    fn look(
        &mut self,
        heap: &Heap<'_>,
        frame: &JsFrame,
        address: u64,
        top: Option<&JsTop>,
    ) -> Result<Named, Unknown> {
        let shared = Object::of(frame.shared).ok_or(Unknown::NoFunction)?;
        let function = self.function(heap, shared)?;
        // The call is before what it returns to.
        let at = address.saturating_sub(u64::from(top.is_none()));
        if self.layout.has_dispatch {
            self.dispatch.find(heap, &self.texts.anonymous, frame.code);
        }
        let running = self.running(heap, frame, &function, at, top)?;
        let key = Key {
            shared,
            code: match &running {
                Running::Code(code, _) => Some(code.object),
                Running::Bytecode(_) | Running::Unknown => None,
            },
            at: match &running {
                Running::Code(code, at) => at - code.start,
                Running::Bytecode(offset) => *offset as u64,
                Running::Unknown => u64::MAX,
            },
        };
        let code = match &running {
            Running::Code(code, _) => Some(*code),
            Running::Bytecode(_) | Running::Unknown => None,
        };
        if let Some(known) = self.known.get(&key)
            && Rc::ptr_eq(&known.function, &function)
            && known.code == code
        {
            return Ok(known.named.clone());
        }
        let named = self.places(heap, shared, &function, &running)?;
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let known = Known {
            function,
            code,
            named: named.clone(),
        };
        self.known.insert(key, known);
        Ok(named)
    }

    /// What runs in the frame: only what has the address, or what the interpreter says.
    fn running(
        &self,
        heap: &Heap<'_>,
        frame: &JsFrame,
        function: &Function,
        at: u64,
        top: Option<&JsTop>,
    ) -> Result<Running, Unknown> {
        let spot = self.spot(at);
        if spot == Spot::Made {
            let code = self.code_at(heap, frame, function, at);
            return Ok(code.map_or(Running::Unknown, |code| Running::Code(code, at)));
        }
        let bytecode = Object::of(frame.bytecode).filter(|_| function.bytecode.is_some());
        let is_own = bytecode.is_some() && bytecode == function.bytecode;
        let Some(top) = top else {
            // Code made of the function would have the address.
            return match code::interpreted_at(heap, frame.offset) {
                _ if spot == Spot::Native => Err(Unknown::Native),
                Some(offset) if is_own => Ok(Running::Bytecode(offset)),
                Some(_) | None => Ok(Running::Unknown),
            };
        };
        // A handler has its place in a register; what is in the frame is that of the last call.
        if spot == Spot::Handler {
            let offset = is_own.then(|| self.offset_in_register(heap, frame, function, top));
            return Ok(offset.flatten().map_or(Running::Unknown, Running::Bytecode));
        }
        // Functions of V8, and native ones it calls, may have no frame of their own: then the frame is their caller's, and
        // where they return to was pushed last. Only the caller's own code is taken for that.
        let mut pushed = top.pushed.iter().map(|back| back.saturating_sub(1));
        let caller = pushed.find_map(|back| {
            let is_made = back > 1 << 16 && self.spot(back) == Spot::Made;
            let code = is_made.then(|| self.code_at(heap, frame, function, back))?;
            Some(Running::Code(code?, back))
        });
        if let Some(caller) = caller {
            return Ok(caller);
        }
        let calls = || {
            let back = top.pushed[0].saturating_sub(1);
            back > 1 << 16 && self.spot(back) == Spot::Handler
        };
        match code::interpreted_at(heap, frame.offset).filter(|_| is_own) {
            // Code that took over a loop leaves the words of the interpreter behind in the frame.
            Some(offset) if calls() || code::in_feedback(heap, frame.cell, None).is_none() => {
                Ok(Running::Bytecode(offset))
            }
            None if spot == Spot::Native && !is_own => Err(Unknown::Native),
            Some(_) | None => Ok(Running::Unknown),
        }
    }

    /// The function's code that has an address.
    fn code_at(
        &self,
        heap: &Heap<'_>,
        frame: &JsFrame,
        function: &Function,
        at: u64,
    ) -> Option<Code> {
        let has = |code: &Code| code.has(at);
        let own = if self.layout.has_dispatch {
            self.dispatch.code(heap, frame.code)
        } else {
            Object::of(frame.code).and_then(|code| Code::read(heap, code))
        };
        let found = own
            .filter(has)
            .or_else(|| Code::read(heap, function.baseline?).filter(has))
            .or_else(|| code::in_feedback(heap, frame.cell, Some(at)));
        let mut all = self.found.borrow_mut();
        let Some(code) = found else {
            let mut earlier = all.get(&frame.shared)?.iter();
            return earlier.find_map(|&object| Code::read(heap, object).filter(has));
        };
        if all.len() >= KEPT {
            all.clear();
        }
        let earlier = all.entry(frame.shared).or_default();
        if !earlier.contains(&code.object) {
            earlier.truncate(VERSIONS - 1);
            earlier.insert(0, code.object);
        }
        Some(code)
    }

    /// The interpreter's place in the bytecode, when its registers are what they are where handlers begin.
    fn offset_in_register(
        &self,
        heap: &Heap<'_>,
        frame: &JsFrame,
        function: &Function,
        top: &JsTop,
    ) -> Option<usize> {
        if top.bytecode != frame.bytecode {
            return None;
        }
        let first = heap.layout.bytecode_data.checked_sub(1)?;
        let offset = usize::try_from(top.offset.checked_sub(first)?).ok()?;
        let bytes = function.bytes(heap)?;
        position::begins_at(&bytes, &heap.layout.bytecode_sizes, offset).then_some(offset)
    }

    fn places(
        &mut self,
        heap: &Heap<'_>,
        shared: Object,
        function: &Rc<Function>,
        running: &Running,
    ) -> Result<Named, Unknown> {
        let (kind, found) = match running {
            Running::Bytecode(offset) => (Kind::Interpreted, vec![(None, function.place(*offset))]),
            Running::Unknown => (Kind::Unknown, vec![(None, None)]),
            Running::Code(code, at) if code.kind == Kind::Baseline => {
                let offset = || {
                    let (table, bytes) = (code.table(heap)?, function.bytes(heap)?);
                    let sizes = &heap.layout.bytecode_sizes;
                    position::bytecode_at(&table, &bytes, sizes, at - code.start)
                };
                let place = offset().and_then(|offset| function.place(offset));
                (code.kind, vec![(None, place)])
            }
            Running::Code(code, at) => {
                let found = code.inlined(heap, *at);
                (code.kind, found.unwrap_or_else(|| vec![(None, None)]))
            }
        };
        let mut places = Vec::with_capacity(found.len());
        for (inlined, offset) in found {
            let function = match inlined {
                Some(object) if object != shared => match self.function(heap, object) {
                    Ok(function) => function,
                    // V8's own, compiled into the code: it is the caller that runs.
                    Err(Unknown::Builtin) => continue,
                    Err(reason) => return Err(reason),
                },
                Some(_) | None => Rc::clone(function),
            };
            let script = self.script(heap, function.script)?;
            places.push(Place {
                function: Arc::clone(&function.name),
                script: Arc::clone(&script.name),
                line: offset.map_or(0, |offset| script.line(offset)),
            });
        }
        let places = places.into();
        Ok(Named { places, kind })
    }

    /// The function at `object`, as it was known when it is still the same.
    fn function(&mut self, heap: &Heap<'_>, object: Object) -> Result<Rc<Function>, Unknown> {
        if let Some(known) = self.functions.get(&object)
            && Function::guard(heap, object) == Some(known.guard)
        {
            return Ok(Rc::clone(known));
        }
        let found = Function::read(heap, object).ok_or(Unknown::NoFunction)?;
        let function = Rc::new(found.ok_or(Unknown::Builtin)?);
        if self.functions.len() >= KEPT {
            self.functions.clear();
        }
        self.functions.insert(object, Rc::clone(&function));
        Ok(function)
    }

    /// The script at `object`, as it was known when it is still the same.
    fn script(&mut self, heap: &Heap<'_>, object: Object) -> Result<Rc<Script>, Unknown> {
        if let Some(known) = self.scripts.get(&object)
            && Script::guard(heap, object) == Some(known.guard)
        {
            return Ok(Rc::clone(known));
        }
        let script = Rc::new(Script::read(heap, object).ok_or(Unknown::NoScript)?);
        self.lines += script.lines();
        if self.scripts.len() >= SCRIPTS || self.lines > LINES {
            self.scripts.clear();
            self.lines = script.lines();
        }
        self.scripts.insert(object, Rc::clone(&script));
        Ok(script)
    }
}
