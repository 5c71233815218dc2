//! What macros make of several futures: `join!`, `try_join!`, `select!`, and where those stand.

use super::{
    Kind, Node,
    look::{Follow, Value},
    walk::{Below, Walk},
};
use crate::runtime::dwarf;

impl Walk<'_> {
    /// A branch of `join!`.
    pub(super) fn maybe_done(&mut self, value: &Value, depth: u32) -> Below {
        let mut below = Below {
            kind: Some(Kind::All),
            ..Below::default()
        };
        match self.variant(value) {
            Some((_, inside)) if inside.of.name == "Future" => {
                for (_, future) in self.fields(&inside) {
                    below.nodes.extend(self.awaited(&future, depth + 1).nodes);
                }
            }
            Some(_) => below.ended = 1,
            None => {}
        }
        below
    }

    /// The branches of `select!` that are switched off, as bits: its closure has them beside the futures.
    pub(super) fn disabled_branches(&mut self, closure: &Value) -> Option<u64> {
        if !closure.of.name.starts_with("{closure_env#") {
            return None;
        }
        let fields = self.fields(closure);
        let (_, disabled) = fields
            .into_iter()
            .find(|(name, _)| name.ends_with("disabled"))?;
        let mut bits = self.pointee(&disabled)?;
        for _ in 0..2 {
            if let dwarf::Kind::Pointer(_) = bits.of.kind {
                bits = self.pointee(&bits)?;
            }
        }
        let bits = self.scalar(&bits)?;
        self.number(&bits)
    }

    /// The futures of a `select!`: a tuple behind references.
    pub(super) fn branches(&mut self, futures: &Value, disabled: u64, depth: u32) -> Below {
        let Some(tuple) = self.search(futures, Follow::References, |of| of.name.starts_with('('))
        else {
            return Below::default();
        };
        let mut below = Below::default();
        for (place, (_, branch)) in self.fields(&tuple).into_iter().enumerate() {
            if place < 64 && disabled & (1 << place) != 0 {
                below.ended += 1;
            } else {
                below.add(self.awaited(&branch, depth));
            }
        }
        below
    }

    /// The file a coroutine begins in, by its number.
    pub(super) fn begins_in(&self, coroutine: &Value) -> Option<u64> {
        let dwarf::Kind::Struct {
            variants: Some(variants),
            ..
        } = &coroutine.of.kind
        else {
            return None;
        };
        Some(variants.arms.first()?.source?.0)
    }

    /// Of an `.await` in a macro the variant names the macro's file; the variable in the code, where it was kept, names
    /// the place that uses the macro.
    pub(super) fn use_place_of_macro(&mut self, node: &mut Node, variables: &Value) {
        let awaitee = self.field(variables, "__awaitee");
        if let Some((file, line)) = awaitee.and_then(|of| self.trees.types.awaited_at(&of.of.name))
        {
            node.file = file;
            node.line = line;
        }
    }
}
