//! Node.js in a process nobody restarted: which mapped file holds Node, V8 and libuv, which versions they are, which of
//! their functions can be probed and where, how their data lies.
//!
//! It is known by what its files offer to others: native add-ons are linked against `node::`, `v8::` and `uv_` symbols,
//! so these are there in stripped files too. Neither the name of the process nor that of the file counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Mapped, code::Code, image::Image, memory::Memory};

pub mod buffers;
mod environment;
pub mod heap;
pub mod in_flight;
mod list;
pub mod points;
mod pool;
mod provider;
mod timers;
pub mod v8;
mod version;
mod work;

pub use list::Unknown;
pub use points::{Argument, Function, Meaning, Point};
pub use provider::Providers;
pub use work::Class;

/// What every build of Node offers to add-ons, and only Node: its versions as the process prints them.
const METADATA: &str = "_ZN4node11per_process8metadataE";
/// The same of V8.
const V8_MAJOR: &str = "_ZN2v88internal7Version6major_E";
/// The same of libuv.
const UV_VERSION: &str = "uv_version_string";

/// A part of Node.js. Each may be in a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Component {
    /// Node itself.
    Node,
    /// The JavaScript engine.
    V8,
    /// The event loop and the thread pool.
    Uv,
}

impl Component {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::V8 => "V8",
            Self::Uv => "libuv",
        }
    }
}

/// A variable of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variable {
    /// As the file names it.
    pub name: String,
    /// Its address as the file was linked.
    pub address: u64,
    /// Bytes: 4 or 8.
    pub size: u8,
}

/// What one file holds of Node.js.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The components in this file with their versions, as far as the file tells.
    pub versions: BTreeMap<Component, Option<String>>,
    /// Address of `node::per_process::metadata` as the file was linked.
    pub metadata: Option<u64>,
    /// What can be probed.
    pub points: Vec<Point>,
    /// How a resource tells of what type it is.
    pub providers: Option<Providers>,
    /// Node's classes by where their vtables are, as the file was linked: those whose objects give work to the thread
    /// pool among them.
    pub classes: BTreeMap<u64, Class>,
    /// Numbers that V8 keeps for debuggers (`v8dbg_…`): offsets of fields, tags, types. By name without that prefix.
    pub v8dbg: BTreeMap<String, i32>,
    /// Where Node keeps such numbers of its own (`nodedbg_…`); it writes them when it starts.
    pub nodedbg: Vec<Variable>,
    /// What an environment of Node begins with, and a worker, as the file was linked: the vtables of their classes.
    pub vtables: [Option<u64>; 2],
    /// What the arrays begin with in which Node counts immediates and timers, as the file was linked.
    pub counts: [Option<u64>; 2],
    /// Where libuv keeps the address of its default loop, as the file was linked.
    pub default_loop: Option<u64>,
    /// What tells how large heaps are.
    #[serde(default)]
    pub heap: Option<heap::Places>,
    /// What tells how large array buffers are.
    #[serde(default)]
    pub buffers: Option<buffers::Places>,
    /// What this file cannot give and why, one line each.
    pub notes: Vec<String>,
}

impl Parts {
    /// True when the component is in this file.
    #[must_use]
    pub fn has(&self, component: Component) -> bool {
        self.versions.contains_key(&component)
    }

    /// True when every probe is where this image has it.
    #[must_use]
    pub fn fits(&self, image: &Image) -> bool {
        points::fit(&Code::new(image), &self.points)
    }
}

/// What a file holds of Node.js; `None` when it is nothing.
#[must_use]
pub fn recognise(image: &Image) -> Option<Parts> {
    let [metadata, v8, uv] = image.exported([METADATA, V8_MAJOR, UV_VERSION]);
    let code = Code::new(image);
    let mut parts = Parts {
        metadata,
        ..Parts::default()
    };
    let versions = &mut parts.versions;
    if metadata.is_some() {
        versions.insert(Component::Node, version::of_node(image));
    }
    if v8.is_some() {
        versions.insert(Component::V8, version::of_v8(image));
    }
    if let Some(function) = uv {
        versions.insert(Component::Uv, version::of_uv(&code, function));
    }
    if versions.is_empty() {
        return None;
    }
    (parts.points, parts.notes) = points::find(&code, &parts);
    if parts.has(Component::Node) {
        parts.providers = provider::find(&code);
        if parts.providers.is_none() {
            let note = "the types of resources have no names: where Node keeps them was not found";
            parts.notes.push(note.to_owned());
        }
        parts.nodedbg = nodedbg(image);
        parts.vtables = environment::vtables(image);
        parts.counts = timers::vtables(image);
        if parts.nodedbg.is_empty() || parts.vtables[0].is_none() {
            let note =
                "requests and handles in flight: the file does not tell where Node keeps them";
            parts.notes.push(note.to_owned());
        }
        parts.classes = work::classes(image);
        parts.buffers = buffers::places(&code);
    }
    if parts.has(Component::Uv) {
        parts.default_loop = environment::default_loop(&code);
        if parts.default_loop.is_none() {
            let note =
                "requests and handles in flight: where libuv keeps its default loop was not found";
            parts.notes.push(note.to_owned());
        }
    }
    if parts.has(Component::V8) {
        parts.v8dbg = v8dbg(image);
        if parts.v8dbg.is_empty() {
            let note = "no JavaScript stacks: V8 was built without its numbers for debuggers";
            parts.notes.push(note.to_owned());
        }
        parts.heap = heap::places(&code);
        let has_last = parts.heap.as_ref().map(|heap| heap.last_full.is_some());
        let note = match has_last {
            Some(true) => None,
            Some(false) => {
                Some("sizes of heaps after each mark-compact: where V8 keeps them was not found")
            }
            None => Some("sizes of heaps: the file has no functions that tell them"),
        };
        parts.notes.extend(note.map(str::to_owned));
    }
    Some(parts)
}

/// Some are 0 and not in the file.
fn v8dbg(image: &Image) -> BTreeMap<String, i32> {
    let named = image.beginning_with(&["v8dbg_"]);
    let values = named.filter_map(|(place, name)| {
        let name = name.strip_prefix("v8dbg_")?.to_owned();
        Some((name, version::number(image, place.start)?))
    });
    values.collect()
}

fn nodedbg(image: &Image) -> Vec<Variable> {
    let named = image.beginning_with(&["nodedbg_"]);
    let variables = named.map(|(place, name)| Variable {
        name: name.to_owned(),
        address: place.start,
        // https://github.com/nodejs/node/blob/v24.0.0/src/node_postmortem_metadata.cc
        size: if name.starts_with("nodedbg_const_") {
            4
        } else {
            8
        },
    });
    variables.collect()
}

/// Node.js in a process.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its version, as `20.20.2`.
    pub version: Option<String>,
    /// That of V8, as `11.3.244.8-node.38`.
    pub v8: Option<String>,
    /// That of libuv, as `1.46.0`.
    pub uv: Option<String>,
    /// The files that hold it, Node's own first.
    pub modules: Vec<Mapped<Parts>>,
    /// What this build cannot give and why, one line each.
    pub notes: Vec<String>,
}

impl Node {
    /// Of the files of a process that hold a component each; `None` when none of them is Node's own. Where no file
    /// tells the version, `memory` is asked for that of the process.
    pub(super) fn of<Memories: Memory>(
        mut parts: Vec<Mapped<Parts>>,
        memory: impl FnOnce() -> Option<Memories>,
    ) -> Option<Self> {
        // A process may have more libraries that hold libuv; the one that Node uses is in its own file, or it is the first.
        let own = parts
            .iter()
            .position(|one| one.holds.has(Component::Node))?;
        parts.swap(0, own);
        let mut modules: Vec<Mapped<Parts>> = Vec::new();
        for one in parts {
            let lacks = |component: &Component| {
                let mut modules = modules.iter();
                !modules.any(|module| module.holds.has(*component))
            };
            if one.holds.versions.keys().any(lacks) {
                modules.push(one);
            }
        }
        let version = |component: Component| {
            let mut versions = modules
                .iter()
                .filter_map(|one| one.holds.versions.get(&component));
            versions.next().cloned().flatten()
        };
        let module = modules.first()?;
        let in_memory = || {
            let address = module.holds.metadata?.wrapping_add(module.bias);
            version::in_memory(&memory()?, address)
        };
        let own = version(Component::Node).or_else(in_memory);
        let (v8, uv) = (version(Component::V8), version(Component::Uv));
        let mut notes: Vec<String> = modules
            .iter()
            .flat_map(|module| module.holds.notes.iter().cloned())
            .collect();
        for (component, version) in [
            (Component::Node, &own),
            (Component::V8, &v8),
            (Component::Uv, &uv),
        ] {
            let name = component.name();
            if !modules.iter().any(|module| module.holds.has(component)) {
                notes.push(format!("{name} was found in none of the process's files"));
            } else if version.is_none() {
                notes.push(format!("the file does not tell {name}'s version"));
            }
        }
        Some(Self {
            version: own,
            v8,
            uv,
            modules,
            notes,
        })
    }

    /// The file that holds a component.
    #[must_use]
    pub fn module(&self, component: Component) -> Option<&Mapped<Parts>> {
        let mut modules = self.modules.iter();
        modules.find(|module| module.holds.has(component))
    }

    /// Where this function is probed, with the file it is in; several times when the compiler made several of it.
    pub fn points(&self, function: Function) -> impl Iterator<Item = (&Mapped<Parts>, &Point)> {
        let component = function.component();
        let module = self.module(component);
        module.into_iter().flat_map(move |module| {
            let points = module.holds.points.iter();
            let of_it = points.filter(move |point| point.function == function);
            of_it.map(move |point| (module, point))
        })
    }

    /// The numbers that Node keeps for debuggers, as they are in the process: without the prefix `nodedbg_`, as
    /// `offset_HandleWrap__handle_wrap_queue___ListNode_HandleWrap`. All are 0 until it has started.
    #[must_use]
    pub fn nodedbg(&self, memory: &dyn Memory) -> BTreeMap<String, u64> {
        let Some(module) = self.module(Component::Node) else {
            return BTreeMap::new();
        };
        let variables = module.holds.nodedbg.iter().filter_map(|variable| {
            let mut bytes = [0; 8];
            let size = usize::from(variable.size.min(8));
            let address = variable.address.wrapping_add(module.bias);
            let name = variable.name.strip_prefix("nodedbg_")?.to_owned();
            memory
                .read(address, &mut bytes[..size])
                .then(|| (name, u64::from_le_bytes(bytes)))
        });
        variables.collect()
    }
}
