//! From a promise to who waits for it: its reactions, through the closures V8 makes for `await` and for `Promise.all`.
//!
//! <https://github.com/v8/v8/blob/11.3.244/src/builtins/promise-abstract-operations.tq>

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use super::{
    super::{
        Unknown, V8,
        heap::{Heap, Maps, Object, small},
        layout::Layout,
    },
    PROMISE_FLAGS, PROMISE_REACTIONS, Via,
};
use crate::runtime::memory::Memory;

/// `PromiseCapability.promise`
const CAPABILITY_PROMISE: u64 = 8;
/// Slots of a context before those of its own: the scope, the context around it.
const FIRST_SLOT: u64 = 2;
/// Slots of the largest context that V8 makes for closures of its own.
const LARGEST: u8 = 8;
/// Reactions of all promises that are followed: memory may lie, and lead in a circle.
const REACTIONS: u32 = 8 << 20;

/// Who is told when a promise is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum To {
    Generator(Object),
    Promise(Object),
}

/// One of those, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) via: Option<Via>,
    pub(super) to: To,
}

/// What a handler does.
enum Handler {
    /// Goes on with an async function.
    Resumes(Object),
    /// One of many for `Promise.all` and the like: the context they share, and the promise of all.
    Element(Object, Object),
    /// Settles a promise.
    Settles(Object),
    /// A function of the program.
    Own(Arc<str>),
    /// None, or one that says nothing.
    Other,
}

pub(super) struct Follow<'a> {
    pub(super) memory: &'a dyn Memory,
    pub(super) layout: &'a Layout,
    pub(super) maps: &'a Maps,
    known: HashMap<Object, Rc<[Next]>>,
    /// Of functions; none of V8's own.
    names: RefCell<HashMap<Object, Option<Arc<str>>>>,
    left: u32,
    /// Some reactions were left out.
    pub(super) is_cut: bool,
}

impl<'a> Follow<'a> {
    pub(super) fn new(memory: &'a dyn Memory, layout: &'a Layout, maps: &'a Maps) -> Self {
        Self {
            memory,
            layout,
            maps,
            known: HashMap::new(),
            names: RefCell::default(),
            left: REACTIONS,
            is_cut: false,
        }
    }

    pub(super) fn heap(&self) -> Heap<'a> {
        Heap::new(self.memory, self.layout, self.maps)
    }

    /// Who waits for a promise; nobody when it is settled.
    pub(super) fn after(&mut self, v8: &mut V8, promise: Object) -> Rc<[Next]> {
        if let Some(known) = self.known.get(&promise) {
            return Rc::clone(known);
        }
        let found: Rc<[Next]> = self.reactions(v8, promise).into();
        self.known.insert(promise, Rc::clone(&found));
        found
    }

    /// The async function that a job goes on with.
    pub(super) fn resumed(&self, v8: &mut V8, job: Object) -> Option<Object> {
        let heap = self.heap();
        let map = heap.word(job, 0)?;
        let mut kinds = self.layout.types.jobs.iter();
        if !kinds.any(|kind| heap.says(map, *kind)) {
            return None;
        }
        // V8 makes it of the reaction itself: its handler is where that for a fulfilled promise was.
        // https://github.com/v8/v8/blob/11.3.244/src/builtins/promise-abstract-operations.tq (MorphAndEnqueuePromiseReaction)
        let handler = heap.word(job, self.layout.reaction_next + 16)?;
        match self.handler(v8, &heap, handler) {
            Handler::Resumes(generator) => Some(generator),
            Handler::Element(..) | Handler::Settles(_) | Handler::Own(_) | Handler::Other => None,
        }
    }

    fn reactions(&mut self, v8: &mut V8, promise: Object) -> Vec<Next> {
        let heap = self.heap();
        let mut found = Vec::new();
        let is_pending = heap.is(promise, self.layout.types.promise)
            && heap
                .word(promise, PROMISE_FLAGS)
                .is_some_and(super::is_pending);
        if !is_pending {
            return found;
        }
        let mut next = heap.word(promise, PROMISE_REACTIONS).and_then(Object::of);
        while let Some(reaction) = next {
            let Some(left) = self.left.checked_sub(1) else {
                self.is_cut = true;
                break;
            };
            self.left = left;
            let heap = self.heap();
            let links: Option<[u64; 4]> =
                heap.words(Object(reaction.0.saturating_add(self.layout.reaction_next)));
            let Some([link, handlers @ ..]) =
                links.filter(|_| heap.is(reaction, self.layout.types.reaction))
            else {
                break;
            };
            self.reaction(v8, &heap, &handlers, &mut found);
            next = Object::of(link);
        }
        // The last that was added is the first.
        found.reverse();
        found
    }

    fn reaction(
        &self,
        v8: &mut V8,
        heap: &Heap<'_>,
        &[reject, fulfil, target]: &[u64; 3],
        found: &mut Vec<Next>,
    ) {
        let mut push = |via, to| found.push(Next { via, to });
        let handler = self.handler(v8, heap, fulfil);
        let mut own = None;
        match handler {
            Handler::Resumes(generator) => {
                push(None, To::Generator(generator));
                return;
            }
            Handler::Element(context, promise) => {
                let is_both = matches!(self.handler(v8, heap, reject),
                    Handler::Element(other, _) if other == context);
                let via = if is_both { Via::AllSettled } else { Via::All };
                push(Some(via), To::Promise(promise));
            }
            Handler::Settles(promise) => match self.handler(v8, heap, reject) {
                Handler::Element(..) => push(Some(Via::Any), To::Promise(promise)),
                Handler::Resumes(_) | Handler::Settles(_) | Handler::Own(_) | Handler::Other => {
                    push(None, To::Promise(promise));
                }
            },
            Handler::Own(name) => own = Some(Via::Then(name)),
            Handler::Other => {}
        }
        // What `then` returned.
        if let Some(promise) = self.promise(heap, target) {
            push(own, To::Promise(promise));
        }
    }

    /// The promise a word leads to, through its capability too.
    fn promise(&self, heap: &Heap<'_>, word: u64) -> Option<Object> {
        let types = &self.layout.types;
        let object = Object::of(word)?;
        if heap.is(object, types.promise) {
            return Some(object);
        }
        heap.is(object, types.capability)
            .then(|| heap.member(object, CAPABILITY_PROMISE, types.promise))?
    }

    fn handler(&self, v8: &mut V8, heap: &Heap<'_>, word: u64) -> Handler {
        self.try_handler(v8, heap, word).unwrap_or(Handler::Other)
    }

    fn try_handler(&self, v8: &mut V8, heap: &Heap<'_>, word: u64) -> Option<Handler> {
        let types = &self.layout.types;
        let function = Object::of(word)?;
        let kind = heap.type_of(heap.word(function, 0)?)?;
        if !(types.first_function..=types.last_function).contains(&kind) {
            return None;
        }
        let shared = heap.member(function, self.layout.function_shared, types.shared)?;
        let known = self.names.borrow().get(&shared).cloned();
        let name = match known {
            Some(name) => name,
            None => {
                let name = match v8.function(heap, shared) {
                    Ok(function) => Some(Arc::clone(&function.name)),
                    Err(Unknown::Builtin) => None,
                    Err(_) => return None,
                };
                self.names.borrow_mut().insert(shared, name.clone());
                name
            }
        };
        // What variables it has are the program's.
        if let Some(name) = name {
            return Some(Handler::Own(name));
        }
        let context = Object::of(heap.word(function, self.layout.function_context)?)?;
        let kind = heap.type_of(heap.word(context, 0)?)?;
        if !(types.first_context..=types.last_context).contains(&kind) {
            return None;
        }
        // That of a whole realm has hundreds.
        if small(heap.word(context, 8)?)? > i32::from(LARGEST) {
            return None;
        }
        let first = heap.element(context, FIRST_SLOT)?;
        if let Some(object) = Object::of(first)
            && (heap.is(object, types.async_function) || heap.is(object, types.async_generator))
        {
            return Some(Handler::Resumes(object));
        }
        let is_element = small(first).is_some();
        let slots = FIRST_SLOT..u64::from(LARGEST);
        let mut slots = slots.map_while(|slot| heap.element(context, slot));
        let promise = slots.find_map(|word| self.promise(heap, word))?;
        Some(if is_element {
            Handler::Element(context, promise)
        } else {
            Handler::Settles(promise)
        })
    }
}
