//! Values in memory, by their types: fields, variants, what pointers point to.

use std::sync::Arc;

use super::walk::Walk;
use crate::runtime::dwarf::{Field, Kind, Type, Variant};

/// Things looked at in one search.
const MOST_LOOKS: usize = 2_048;
/// Levels a search goes down.
const DEEPEST: usize = 48;

/// Something in memory.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) of: Arc<Type>,
    pub(super) address: u64,
}

impl Value {
    pub(super) fn is(&self, path: &str) -> bool {
        self.of.path == path
    }
}

impl Walk<'_> {
    pub(super) fn at(&mut self, of: u64, address: u64) -> Option<Value> {
        let of = self.trees.types.get(of)?;
        Some(Value { of, address })
    }

    fn part(&mut self, of: &Value, field: &Field) -> Option<Value> {
        self.at(field.of, of.address.checked_add(field.offset)?)
    }

    /// What it always has, and what it is made of in the variant it is in.
    pub(super) fn fields(&mut self, of: &Value) -> Vec<(String, Value)> {
        let (fields, has_variants) = match &of.of.kind {
            Kind::Struct {
                fields, variants, ..
            } => (fields, variants.is_some()),
            Kind::Union(fields) => (fields, false),
            Kind::Pointer(_) | Kind::Array(..) | Kind::Scalar | Kind::Other => return Vec::new(),
        };
        let mut parts: Vec<_> = fields
            .iter()
            .filter_map(|field| Some((field.name.clone(), self.part(of, field)?)))
            .collect();
        if has_variants && let Some((_, inside)) = self.variant(of) {
            parts.push((String::new(), inside));
        }
        parts
    }

    pub(super) fn field(&mut self, of: &Value, name: &str) -> Option<Value> {
        let Kind::Struct { fields, .. } = &of.of.kind else {
            return None;
        };
        let field = fields.iter().find(|field| field.name == name)?;
        self.part(of, field)
    }

    /// The variant it is in.
    pub(super) fn variant(&mut self, of: &Value) -> Option<(Variant, Value)> {
        let Kind::Struct {
            variants: Some(variants),
            ..
        } = &of.of.kind
        else {
            return None;
        };
        let number = match &variants.discriminant {
            Some(field) => {
                let place = self.part(of, field)?;
                Some(self.number(&place)?)
            }
            None => None,
        };
        let bits = variants.discriminant.as_ref().map_or(8, |field| {
            self.trees.types.get(field.of).map_or(8, |of| of.size)
        });
        let mask = mask(bits);
        let arms = &variants.arms;
        let exact = arms.iter().find(|arm| {
            let number = number.map(|number| number & mask);
            number.is_some() && arm.number.map(|arm| arm & mask) == number
        });
        let arm = exact.or_else(|| arms.iter().find(|arm| arm.number.is_none()))?;
        let inside = self.part(of, &arm.field)?;
        Some((arm.clone(), inside))
    }

    /// A number, by its size. Of larger ones than words the low word.
    pub(super) fn number(&mut self, of: &Value) -> Option<u64> {
        let size = usize::try_from(of.of.size.min(8))
            .ok()
            .filter(|size| *size > 0)?;
        let mut bytes = [0; 8];
        self.snapshot
            .read(of.address, &mut bytes[..size])
            .then(|| u64::from_le_bytes(bytes))
    }

    /// The first number or pointer in it: what an atomic, a cell or another wrapper is about.
    pub(super) fn scalar(&mut self, of: &Value) -> Option<Value> {
        self.search(of, Follow::Nothing, |of| {
            of.size > 0 && matches!(of.kind, Kind::Scalar | Kind::Pointer(_))
        })
    }

    /// The same, read loosely: it changes without the task.
    pub(super) fn counter(&mut self, of: &Value) -> Option<u64> {
        let scalar = self.scalar(of).filter(|scalar| scalar.of.size == 8)?;
        let mut bytes = [0; 8];
        self.snapshot
            .read_loosely(scalar.address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }

    /// What a pointer, or a structure around one, points to.
    pub(super) fn pointee(&mut self, of: &Value) -> Option<Value> {
        let pointer = self.search(of, Follow::Nothing, |of| {
            matches!(of.kind, Kind::Pointer(Some(_)))
        })?;
        let Kind::Pointer(Some(to)) = pointer.of.kind else {
            return None;
        };
        let address = self
            .snapshot
            .word(pointer.address)
            .filter(|address| *address != 0)?;
        self.at(to, address)
    }

    /// The nearest part of it whose type is `wanted`, itself included.
    pub(super) fn search(
        &mut self,
        from: &Value,
        follow: Follow,
        wanted: impl Fn(&Type) -> bool,
    ) -> Option<Value> {
        let mut level = vec![from.clone()];
        let mut looks = 0;
        for _ in 0..DEEPEST {
            let mut next = Vec::new();
            for value in level {
                looks += 1;
                if looks > MOST_LOOKS {
                    return None;
                }
                if wanted(&value.of) {
                    return Some(value);
                }
                if follow.leaves_out(&value.of) {
                    continue;
                }
                if let Kind::Pointer(Some(to)) = value.of.kind {
                    let to = self.trees.types.get(to);
                    if to.is_some_and(|to| follow.goes_through(&value.of, &to)) {
                        next.extend(self.pointee(&value));
                    }
                } else {
                    next.extend(self.fields(&value).into_iter().map(|(_, part)| part));
                }
            }
            level = next;
        }
        None
    }
}

/// Through which pointers a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// None.
    Nothing,
    /// Boxes and `&mut`.
    Owned,
    /// References, boxes and what is shared by counting, but into nothing of tokio's runtime: all tasks share that.
    References,
}

impl Follow {
    fn leaves_out(self, of: &Type) -> bool {
        self != Self::Nothing && of.path.starts_with("tokio::runtime::")
    }

    fn goes_through(self, pointer: &Type, to: &Type) -> bool {
        match self {
            Self::Nothing => false,
            Self::Owned => {
                is_reference(pointer)
                    && (pointer.name.starts_with("&mut") || !pointer.name.starts_with('&'))
            }
            Self::References => is_reference(pointer) || to.path == "alloc::sync::ArcInner",
        }
    }
}

/// A reference or a box, no raw pointer.
pub(super) fn is_reference(pointer: &Type) -> bool {
    pointer.name.starts_with('&') || pointer.name.starts_with("alloc::boxed::Box<")
}

fn mask(bytes: u64) -> u64 {
    match bytes {
        0..=7 => (1 << (bytes * 8)) - 1,
        _ => u64::MAX,
    }
}
