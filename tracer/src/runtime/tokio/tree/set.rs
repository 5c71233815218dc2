//! Futures that are kept many at a time: slices, vectors, `FuturesUnordered`, `JoinSet`.

use super::{
    Kind, Node,
    look::{Follow, Value},
    wait::Resource,
    walk::{Below, Walk},
};
use crate::runtime::dwarf;

/// Of one set so many are shown.
const MOST_SHOWN: usize = 32;
/// The items of a slice.
pub(super) struct Items {
    of: u64,
    size: u64,
    address: u64,
    count: u64,
}

impl Walk<'_> {
    /// The items of a slice behind a wide pointer, of a vector, or of an array.
    pub(super) fn slice(&mut self, value: &Value) -> Option<Items> {
        if let dwarf::Kind::Array(of, count) = value.of.kind {
            let size = self.trees.types.get(of)?.size;
            let count = count.or_else(|| value.of.size.checked_div(size))?;
            return Some(Items {
                of,
                size,
                address: value.address,
                count,
            });
        }
        let (of, start, length) = if value.of.path == "alloc::vec::Vec" {
            let dwarf::Kind::Struct { parameters, .. } = &value.of.kind else {
                return None;
            };
            let of = parameters.first()?.1;
            let buffer = self.field(value, "buf")?;
            let start = self.search(&buffer, Follow::Nothing, |of| {
                matches!(of.kind, dwarf::Kind::Pointer(_))
            })?;
            (of, start, self.field(value, "len")?)
        } else {
            let start = self.field(value, "data_ptr")?;
            let dwarf::Kind::Pointer(Some(of)) = start.of.kind else {
                return None;
            };
            (of, start, self.field(value, "length")?)
        };
        Some(Items {
            of,
            size: self.trees.types.get(of)?.size,
            address: self.snapshot.word(start.address)?,
            count: self
                .scalar(&length)
                .and_then(|length| self.number(&length))?,
        })
    }

    /// What is below each item.
    pub(super) fn each(&mut self, items: Items, depth: u32) -> Below {
        let mut below = Below::default();
        for place in 0..items.count {
            if below.nodes.len() >= MOST_SHOWN {
                below.omitted += u32::try_from(items.count - place).unwrap_or(u32::MAX);
                break;
            }
            // Items without a size would be there without end.
            let address = place
                .checked_mul(items.size)
                .and_then(|offset| items.address.checked_add(offset));
            let item = address
                .filter(|_| items.size > 0)
                .and_then(|address| self.at(items.of, address));
            let Some(item) = item else { break };
            let (nodes, ended) = (below.nodes.len(), below.ended);
            below.add(self.below(&item, depth + 1));
            if (nodes, ended) == (below.nodes.len(), below.ended) && place > MOST_SHOWN as u64 {
                break;
            }
        }
        below
    }

    /// The futures of a `FuturesUnordered`: nodes in a list, the newest first; those that ended have none.
    pub(super) fn unordered(&mut self, set: &Value, depth: u32) -> Below {
        let mut below = Below {
            kind: Some(Kind::Any),
            ..Below::default()
        };
        let mut next = self.field(set, "head_all");
        let mut left = None;
        for _ in 0..MOST_SHOWN {
            let Some(task) = next.and_then(|next| self.pointee(&next)) else {
                break;
            };
            // The first one knows how many there are.
            left = left.or_else(|| self.count(&task, "len_all"));
            left = left.map(|left| left.saturating_sub(1));
            let future = self.field(&task, "future");
            let found = future.map(|future| self.below(&future, depth + 1));
            below.add(found.unwrap_or_default());
            next = self.field(&task, "next_all");
        }
        below.omitted = left.unwrap_or(0);
        // The newest is first, people expect the order they were added in.
        below.nodes.reverse();
        below.kind = Some(Kind::Any);
        let mut node = self.node(set);
        node.kind = Kind::Any;
        node.children = below.nodes;
        node.omitted = below.omitted;
        Below {
            nodes: vec![node],
            ..Below::default()
        }
    }

    /// The tasks of a `JoinSet`: handles in two lists.
    pub(super) fn tasks(&mut self, set: &Value) -> Below {
        let mut node = self.node(set);
        node.kind = Kind::Any;
        node.function = "tokio::task::join_set::JoinSet".into();
        let entries = self.entries(set);
        let count = self.count(set, "length").unwrap_or(0);
        node.omitted = count.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
        for entry in entries {
            node.children.extend(self.handle(&entry));
        }
        Below {
            nodes: vec![node],
            ..Below::default()
        }
    }

    /// The number in a field.
    fn count(&mut self, of: &Value, name: &str) -> Option<u32> {
        let field = self.field(of, name)?;
        let number = self.scalar(&field)?;
        u32::try_from(self.number(&number)?).ok()
    }

    /// The entries of both lists, as many as are shown.
    fn entries(&mut self, set: &Value) -> Vec<Value> {
        let mut entries = Vec::new();
        let lists = self.field(set, "lists").and_then(|lists| {
            self.search(&lists, Follow::References, |of| {
                of.path.ends_with("idle_notified_set::ListsInner")
            })
        });
        let Some(lists) = lists else { return entries };
        for name in ["notified", "idle"] {
            let mut next = self
                .field(&lists, name)
                .and_then(|list| self.field(&list, "head"));
            let begin = entries.len();
            while let Some(entry) = next.and_then(|next| self.pointee(&next))
                && entries.len() < MOST_SHOWN
            {
                let pointers = self.field(&entry, "pointers");
                next = pointers.and_then(|pointers| {
                    let inner = self.search(&pointers, Follow::Nothing, |of| {
                        of.path.ends_with("PointersInner")
                    })?;
                    self.field(&inner, "next")
                });
                entries.push(entry);
            }
            // The newest is first.
            entries[begin..].reverse();
        }
        entries
    }

    fn handle(&mut self, entry: &Value) -> Option<Node> {
        let value = self.field(entry, "value")?;
        let handle = self.search(&value, Follow::Nothing, |of| {
            of.path == "tokio::runtime::task::join::JoinHandle"
        })?;
        let mut node = self.node(&handle);
        node.waits_on = self
            .awaited_task(&handle)
            .map(|(header, id)| Resource::Task { header, id });
        Some(node)
    }
}
