//! Which types can have a future in them, so that only those are looked into.

use std::{collections::HashSet, sync::Arc};

use super::{known, look::is_reference, name, walk::Walk};
use crate::runtime::dwarf::{self, Type};

/// Types looked through for a future.
const MOST_TYPES: usize = 4_096;

impl Walk<'_> {
    /// True when a type can have a future in it that is polled through it.
    pub(super) fn has_future(&mut self, of: &Arc<Type>) -> bool {
        if let Some(known) = self.trees.holds.get(&of.at) {
            return *known;
        }
        let mut seen = HashSet::from([of.at]);
        let mut rest = vec![of.clone()];
        let mut found = false;
        while let Some(next) = rest.pop() {
            if is_future(&next) {
                found = true;
                break;
            }
            if seen.len() > MOST_TYPES {
                break;
            }
            let items = self.items(&next);
            for part in parts(&next).into_iter().chain(items) {
                if seen.insert(part)
                    && let Some(part) = self.trees.types.get(part)
                {
                    rest.push(part);
                }
            }
        }
        self.trees.holds.insert(of.at, found);
        found
    }

    /// The type of the items of a slice that is owned or borrowed.
    fn items(&mut self, of: &Type) -> Option<u64> {
        let dwarf::Kind::Struct { fields, .. } = &of.kind else {
            return None;
        };
        let start = fields.iter().find(|field| field.name == "data_ptr")?;
        let pointer = self.trees.types.get(start.of)?;
        let dwarf::Kind::Pointer(to) = pointer.kind else {
            return None;
        };
        to.filter(|_| is_reference(of))
    }
}

fn is_future(of: &Type) -> bool {
    name::coroutine(&of.name).is_some()
        || known::is_leaf(&of.path)
        || known::is_maybe_done(&of.path)
        || is_select(of)
        || known::set(&of.path).is_some()
        || (is_wide(of) && known::is_polled_dyn(&of.name))
}

/// The closure that `select!` polls.
fn is_select(of: &Type) -> bool {
    let dwarf::Kind::Struct { fields, .. } = &of.kind else {
        return false;
    };
    of.name.starts_with("{closure_env#")
        && fields.iter().any(|field| field.name.ends_with("disabled"))
}

fn is_wide(of: &Type) -> bool {
    let dwarf::Kind::Struct { fields, .. } = &of.kind else {
        return false;
    };
    fields.len() == 2 && fields.iter().any(|field| field.name == "vtable")
}

/// The types of a type's parts, and of what it owns or borrows.
fn parts(of: &Type) -> Vec<u64> {
    match &of.kind {
        dwarf::Kind::Struct {
            fields,
            variants,
            parameters,
        } => {
            let fields = fields.iter().filter(|field| field.name != "vtable");
            let arms = variants.iter().flat_map(|variants| &variants.arms);
            let mut parts: Vec<u64> = fields
                .map(|field| field.of)
                .chain(arms.map(|arm| arm.field.of))
                .collect();
            if of.path == "alloc::vec::Vec" {
                parts.extend(parameters.first().map(|(_, of)| *of));
            }
            parts
        }
        dwarf::Kind::Union(fields) => fields.iter().map(|field| field.of).collect(),
        dwarf::Kind::Pointer(Some(to)) if is_reference(of) => vec![*to],
        dwarf::Kind::Array(of, _) => vec![*of],
        dwarf::Kind::Pointer(_) | dwarf::Kind::Scalar | dwarf::Kind::Other => Vec::new(),
    }
}
