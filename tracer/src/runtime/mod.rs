//! Runtimes seen from outside: recognises those in the files a process has mapped, says which addresses to probe and
//! what they mean, reads their data structures from memory.
//!
//! Returns data and attaches nothing. Never stops, signals or writes to the target.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use tracer_common::Pid;

use crate::target::{
    mapping::{self, Mapping},
    sys::{self, MappedFile},
};

pub mod cache;
mod code;
pub mod dwarf;
mod evaluate;
pub mod image;
pub mod memory;
pub mod node;
pub mod probe;
pub mod tokio;

use self::{cache::Cache, memory::ProcessMemory, node::Node, tokio::Tokio};
use image::Image;

/// The runtimes in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// Tokio.
    pub tokio: Option<Tokio>,
    /// Node.js, or what it is made of: V8 and libuv may be in files of their own.
    pub node: Option<node::Parts>,
}

impl Holds {
    /// True when every probe is where this image has an instruction of the kind it says, those at functions where one
    /// begins. A probe elsewhere would break the program.
    #[must_use]
    pub fn fits(&self, image: &Image) -> bool {
        let tokio = self.tokio.as_ref();
        let node = self.node.as_ref();
        tokio.is_none_or(|tokio| tokio.fits(image)) && node.is_none_or(|node| node.fits(image))
    }
}

/// Which runtimes are in a file, and what it tells of them.
#[must_use]
pub fn recognise(image: &Image) -> Holds {
    Holds {
        tokio: self::tokio::recognise(image),
        node: node::recognise(image),
    }
}

/// A file of a process, with a runtime in it.
#[derive(Clone, Debug)]
pub struct Mapped<Runtime = Tokio> {
    /// As the process sees it.
    pub path: String,
    /// The file itself, whatever became of its path.
    pub file: Arc<File>,
    /// What is added to an address of the file to get the address in the process.
    pub bias: u64,
    /// The unique number the linker gave it; empty when it has none.
    pub build_id: Vec<u8>,
    /// What the file tells.
    pub holds: Runtime,
    content: Arc<MappedFile>,
}

impl<Runtime> Mapped<Runtime> {
    /// A path that leads to the file as long as this exists, for code that opens by path.
    #[must_use]
    pub fn own_path(&self) -> PathBuf {
        own_path(&self.file)
    }

    /// The whole file.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    fn with<Other>(&self, holds: Other) -> Mapped<Other> {
        Mapped {
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            bias: self.bias,
            build_id: self.build_id.clone(),
            holds,
            content: Arc::clone(&self.content),
        }
    }
}

/// What was found in the files of a process.
#[derive(Debug, Default)]
pub struct Found {
    /// The files with code that have tokio in them, by address. Nearly always one: the program.
    pub tokio: Vec<Mapped>,
    /// Node.js, when it is that.
    pub node: Option<Node>,
    /// Files with code that were looked at.
    pub files: u32,
    /// How many of them were known from an earlier look.
    pub from_cache: u32,
}

/// Looks at the files with code that `pid` has mapped, or up in `cache` what they hold.
#[must_use]
pub fn find(pid: Pid, cache: &Cache) -> Found {
    let root = mapping::root(pid);
    let mappings = mapping::of(pid);
    let mut of_file: HashMap<(u64, u64), Vec<&Mapping>> = HashMap::new();
    let mut order = Vec::new();
    for mapping in mappings.iter().filter(|one| one.path.starts_with('/')) {
        let file = (mapping.device, mapping.inode);
        let mappings = of_file.entry(file).or_default();
        if mapping.executable && !mappings.iter().any(|one| one.executable) {
            order.push(file);
        }
        mappings.push(mapping);
    }
    let mut found = Found::default();
    let mut parts = Vec::new();
    for file in order {
        let mappings = of_file.remove(&file).unwrap_or_default();
        found.files += 1;
        if let Some(mapped) = found.look(pid, &mappings, &root, cache) {
            if let Some(tokio) = &mapped.holds.tokio {
                found.tokio.push(mapped.with(tokio.clone()));
            }
            if let Some(node) = &mapped.holds.node {
                parts.push(mapped.with(node.clone()));
            }
        }
    }
    found.node = Node::of(parts, || ProcessMemory::of(pid).ok());
    found
}

impl Found {
    fn look(
        &mut self,
        pid: Pid,
        mappings: &[&Mapping],
        root: &str,
        cache: &Cache,
    ) -> Option<Mapped<Holds>> {
        let mapping = mappings.iter().find(|mapping| mapping.executable)?;
        let path = mapping::seen_from(root, &mapping.path);
        let (file, _) = mapping::open(pid, mapping, path, true)?;
        let content = sys::map_file(&own_path(&file)).ok()?;
        let image = Image::parse(&content)?;
        let bias = bias(&image, mappings)?;
        let recognised = cache.recognise(&file, &image);
        self.from_cache += u32::from(recognised.is_from_cache);
        let build_id = image.build_id().unwrap_or_default().to_vec();
        // To recognise it most of it was read: pages of a new mapping count as ours when they are touched, and few are.
        let content = sys::map_file(&own_path(&file)).ok()?;
        Some(Mapped {
            path: path.to_owned(),
            file: Arc::new(file),
            bias,
            build_id,
            holds: recognised.holds,
            content: Arc::new(content),
        })
    }
}

/// What most mappings of a file agree on: V8 maps a part of its code once more, elsewhere.
fn bias(image: &Image, mappings: &[&Mapping]) -> Option<u64> {
    let mut votes: BTreeMap<u64, usize> = BTreeMap::new();
    for mapping in mappings {
        for bias in image.biases(mapping.start, mapping.offset, |_| true) {
            *votes.entry(bias).or_default() += 1;
        }
    }
    let executable = mappings.iter().filter(|mapping| mapping.executable);
    executable
        .filter_map(|mapping| image.bias(mapping.start, mapping.offset))
        // Of equals the first, as the mappings are by address.
        .rev()
        .max_by_key(|bias| votes.get(bias).copied().unwrap_or(0))
}

fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
