//! The way down a task's future.

use std::sync::Arc;

use super::{
    Kind, NoTree, Node, Trees,
    known::{self, Set},
    look::{Follow, Value},
    name,
    snapshot::Snapshot,
};
use crate::runtime::{
    dwarf::{self, Type},
    tokio::Layout,
};

/// Levels of futures in futures, those that are not shown included.
const DEEPEST: u32 = 512;
/// Nodes of a tree.
pub(super) const MOST_NODES: u32 = 512;

/// Looks into something, for one tree: pointers may lead back to where they are.
const MOST_STEPS: u32 = 50_000;

/// A coroutine on the way to what is looked at.
pub(super) struct Frame {
    /// Its function, with what the compiler adds to paths.
    pub(super) scope: Arc<str>,
    /// Its variables.
    pub(super) variables: Value,
    /// Where it stands.
    file: String,
    line: u32,
}

/// One reading of one task.
pub(super) struct Walk<'a> {
    pub(super) trees: &'a mut Trees,
    pub(super) snapshot: &'a Snapshot<'a>,
    pub(super) layout: Layout,
    bias: u64,
    pub(super) frames: Vec<Frame>,
    pub(super) nodes: u32,
    steps: u32,
}

/// What was found below something.
#[derive(Default)]
pub(super) struct Below {
    pub(super) nodes: Vec<Node>,
    pub(super) ended: u32,
    pub(super) omitted: u32,
    /// How the nodes belong together, when that is known.
    pub(super) kind: Option<Kind>,
}

impl Below {
    pub(super) fn add(&mut self, other: Self) {
        self.nodes.extend(other.nodes);
        self.ended += other.ended;
        self.omitted += other.omitted;
        self.kind = self.kind.or(other.kind);
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        trees: &'a mut Trees,
        snapshot: &'a Snapshot<'a>,
        bias: u64,
        layout: Layout,
    ) -> Self {
        Self {
            trees,
            snapshot,
            layout,
            bias,
            frames: Vec::new(),
            nodes: 0,
            steps: 0,
        }
    }

    /// The tree of the task in this cell.
    pub(super) fn task(&mut self, cell: &Arc<Type>, header: u64) -> Result<Node, NoTree> {
        let unknown = NoTree::Unknown;
        let cell = Value {
            of: cell.clone(),
            address: header,
        };
        let core = self
            .field(&cell, "core")
            .ok_or(unknown("its cell has no core"))?;
        let stage = self
            .field(&core, "stage")
            .ok_or(unknown("its core has no stage"))?;
        let stage = self.search(&stage, Follow::Nothing, |of| {
            of.path == "tokio::runtime::task::core::Stage"
        });
        let stage = stage.ok_or(unknown("its core has no stage"))?;
        let (_, running) = self
            .variant(&stage)
            .ok_or(unknown("its stage is none there is"))?;
        if running.of.name != "Running" {
            return Err(NoTree::Complete);
        }
        let (_, future) = self
            .fields(&running)
            .into_iter()
            .next()
            .ok_or(unknown("its stage has no future"))?;
        if future.is("tokio::runtime::blocking::task::BlockingTask") {
            return Err(unknown("a blocking task awaits nothing"));
        }
        let mut nodes = self.awaited(&future, 0).nodes;
        match (nodes.pop(), nodes.is_empty()) {
            (Some(root), true) => Ok(root),
            (last, _) => {
                let mut root = self.node(&future);
                root.children = nodes.into_iter().chain(last).collect();
                Ok(root)
            }
        }
    }

    /// What is below a future that is certainly awaited: at least itself.
    pub(super) fn awaited(&mut self, value: &Value, depth: u32) -> Below {
        let mut below = self.below(value, depth);
        if below.nodes.is_empty() && below.omitted == 0 && below.ended == 0 {
            let leaf = self.unwrapped(value);
            below.nodes.push(self.leaf(&leaf));
        }
        below
    }

    /// The futures in something; itself when it is one that people know.
    pub(super) fn below(&mut self, value: &Value, depth: u32) -> Below {
        self.steps += 1;
        let is_enough = self.steps > MOST_STEPS || self.nodes >= MOST_NODES;
        if depth > DEEPEST || is_enough || !self.has_future(&value.of) {
            return Below::default();
        }
        if let Some(kind) = name::coroutine(&value.of.name) {
            return self.coroutine(value, kind, depth);
        }
        if known::is_leaf(&value.of.path) {
            let nodes = vec![self.leaf(value)];
            return Below {
                nodes,
                ..Below::default()
            };
        }
        match known::set(&value.of.path) {
            Some(Set::Unordered) => return self.unordered(value, depth),
            Some(Set::Tasks) => return self.tasks(value),
            None => {}
        }
        if let dwarf::Kind::Pointer(_) = value.of.kind {
            let pointee = self.pointee(value);
            return pointee
                .map(|to| self.below(&to, depth + 1))
                .unwrap_or_default();
        }
        if let Some(inside) = self.behind_dyn(value) {
            return self.awaited(&inside, depth + 1);
        }
        if let Some(items) = self.slice(value) {
            return self.each(items, depth);
        }
        self.structure(value, depth)
    }

    /// All futures among the parts of something.
    fn structure(&mut self, value: &Value, depth: u32) -> Below {
        if known::is_maybe_done(&value.of.path) {
            return self.maybe_done(value, depth);
        }
        let mut below = Below::default();
        let disabled = self.disabled_branches(value);
        if disabled.is_some() {
            below.kind = Some(Kind::Any);
        }
        for (name, part) in self.own_fields(value) {
            match disabled {
                Some(bits) if name.contains("futures") => {
                    let branches = self.branches(&part, bits, depth + 1);
                    below.add(branches);
                }
                Some(_) | None => below.add(self.below(&part, depth + 1)),
            }
        }
        let stands_for_itself = below.nodes.len() == 1 && below.ended == 0 && below.omitted == 0;
        let is_nothing = below.nodes.is_empty() && below.ended == 0;
        if is_nothing || (known::is_carrier(&value.of.path) && stands_for_itself) {
            return below;
        }
        self.together(value, below)
    }

    /// What it has always, and what the variant has that it is in.
    fn own_fields(&mut self, value: &Value) -> Vec<(String, Value)> {
        let mut fields = Vec::new();
        for (name, part) in self.fields(value) {
            match name.as_str() {
                "" => fields.extend(self.fields(&part)),
                _ => fields.push((name, part)),
            }
        }
        fields
    }

    /// Makes a node of a type that people know, or of what puts several futures together.
    fn together(&mut self, value: &Value, below: Below) -> Below {
        let is_macro = value.is("core::future::poll_fn::PollFn");
        if known::is_carrier(&value.of.path) && !is_macro && !is_future_of_many(&value.of.path) {
            return below;
        }
        let mut node = self.node(value);
        if is_macro {
            node.kind = below.kind.unwrap_or(Kind::Any);
            node.function = if node.kind == Kind::All {
                "join!"
            } else {
                "select!"
            }
            .into();
            if let Some(frame) = self.frames.last() {
                node.file.clone_from(&frame.file);
                node.line = frame.line;
            }
        } else {
            let is_select = value.of.path.contains("::select");
            let kind = if is_select { Kind::Any } else { Kind::Future };
            node.kind = below.kind.unwrap_or(kind);
        }
        node.children = below.nodes;
        node.ended = below.ended;
        node.omitted = below.omitted;
        Below {
            nodes: vec![node],
            ..Below::default()
        }
    }

    fn coroutine(&mut self, value: &Value, kind: Kind, depth: u32) -> Below {
        let mut node = self.node(value);
        node.kind = kind;
        let Some((variant, variables)) = self.variant(value) else {
            return one(node);
        };
        if let Some((file, line)) = variant.source {
            node.line = line;
            node.file = self.trees.types.file(&value.of, file).unwrap_or_default();
            if self.begins_in(value) != Some(file) {
                self.use_place_of_macro(&mut node, &variables);
            }
        }
        match variables.of.name.as_str() {
            "Unresumed" => node.is_new = true,
            "Returned" | "Panicked" => {
                return Below {
                    ended: 1,
                    ..Below::default()
                };
            }
            _ => {
                node.holds = self.held(value, kind, &variables);
                if let Some(awaitee) = self.field(&variables, "__awaitee") {
                    self.frames.push(Frame {
                        scope: value.of.scope.clone(),
                        variables,
                        file: node.file.clone(),
                        line: node.line,
                    });
                    let below = self.awaited(&awaitee, depth + 1);
                    self.frames.pop();
                    node.children = below.nodes;
                    node.ended = below.ended;
                    node.omitted = below.omitted;
                }
            }
        }
        one(node)
    }

    fn leaf(&mut self, value: &Value) -> Node {
        let mut node = self.node(value);
        node.waits_on = self.resource(value);
        node
    }

    pub(super) fn node(&mut self, value: &Value) -> Node {
        self.nodes += 1;
        let (function, kind) = self.trees.name(&value.of);
        Node {
            function,
            raw_name: if value.of.scope.is_empty() {
                value.of.name.clone()
            } else {
                format!("{}::{}", value.of.scope, value.of.name)
            },
            kind,
            file: String::new(),
            line: 0,
            is_new: false,
            waits_on: None,
            holds: Vec::new(),
            ended: 0,
            omitted: 0,
            children: Vec::new(),
        }
    }

    /// What pins, boxes and references are about.
    fn unwrapped(&mut self, value: &Value) -> Value {
        let mut value = value.clone();
        for _ in 0..8 {
            let inside = if let dwarf::Kind::Pointer(_) = value.of.kind {
                self.pointee(&value)
            } else if value.is("core::pin::Pin") {
                let plain = |walk: &mut Self| walk.fields(&value).pop();
                let behind = self.behind_dyn(&value);
                behind.or_else(|| plain(self).map(|(_, part)| part))
            } else {
                None
            };
            match inside {
                Some(inside) => value = inside,
                None => break,
            }
        }
        value
    }

    /// What a `dyn` pointer points to, by its table of functions.
    fn behind_dyn(&mut self, value: &Value) -> Option<Value> {
        let pointer = self.field(value, "pointer")?;
        let vtable = self.field(value, "vtable")?;
        let address = self.number(&pointer)?;
        let table = self.number(&vtable)?;
        let of = self
            .trees
            .types
            .behind(table.checked_sub(self.bias)?)
            .or_else(|| {
                // Its first function ends the life of the type.
                let drop = self.snapshot.word(table)?.checked_sub(self.bias)?;
                self.trees.types.dropped_by(drop)
            })?;
        Some(Value { of, address })
    }
}

fn one(node: Node) -> Below {
    Below {
        nodes: vec![node],
        ..Below::default()
    }
}

/// Futures of the library of combinators that put several together.
fn is_future_of_many(path: &str) -> bool {
    path.starts_with("futures_util::")
        && !path.contains("maybe_done")
        && !path.contains("::stream::")
}
