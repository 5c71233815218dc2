//! Runtimes seen from outside: recognises one in the files a process has mapped, says which addresses to probe and
//! what they mean, reads its data structures from memory.
//!
//! Returns data and attaches nothing. Never stops, signals or writes to the target.

use std::{collections::HashSet, fs::File, os::fd::AsRawFd as _, path::PathBuf};

use tracer_common::Pid;

use crate::target::{
    mapping::{self, Mapping},
    sys::{self, MappedFile},
};

pub mod cache;
pub mod dwarf;
pub mod image;
pub mod memory;
pub mod tokio;

use self::{cache::Cache, tokio::Tokio};
use image::Image;

/// A file of a process, with a runtime in it.
#[derive(Debug)]
pub struct Mapped {
    /// As the process sees it.
    pub path: String,
    /// The file itself, whatever became of its path.
    pub file: File,
    /// What is added to an address of the file to get the address in the process.
    pub bias: u64,
    /// The unique number the linker gave it; empty when it has none.
    pub build_id: Vec<u8>,
    /// What the file tells.
    pub tokio: Tokio,
    content: MappedFile,
}

impl Mapped {
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
}

/// What was found in the files of a process.
#[derive(Debug, Default)]
pub struct Found {
    /// The files with code that have tokio in them, by address. Nearly always one: the program.
    pub mapped: Vec<Mapped>,
    /// Files with code that were looked at.
    pub files: u32,
    /// How many of them were known from an earlier look.
    pub from_cache: u32,
}

/// Looks at the files with code that `pid` has mapped, or up in `cache` what they hold.
#[must_use]
pub fn find(pid: Pid, cache: &Cache) -> Found {
    let root = mapping::root(pid);
    let mut seen = HashSet::new();
    let mappings = mapping::of(pid);
    let mut found = Found::default();
    let files = mappings
        .iter()
        .filter(|mapping| mapping.executable && mapping.path.starts_with('/'))
        .filter(|mapping| seen.insert((mapping.device, mapping.inode)))
        .map(|mapping| (mapping, mapping::seen_from(&root, &mapping.path)));
    for (mapping, path) in files {
        found.files += 1;
        found.look(pid, mapping, path, cache);
    }
    found
}

impl Found {
    fn look(&mut self, pid: Pid, mapping: &Mapping, path: &str, cache: &Cache) -> Option<()> {
        let (file, _) = mapping::open(pid, mapping, path, true)?;
        let content = sys::map_file(&own_path(&file)).ok()?;
        let image = Image::parse(&content)?;
        let bias = image.bias(mapping.start, mapping.offset)?;
        let recognised = cache.recognise(&file, &image);
        self.from_cache += u32::from(recognised.is_from_cache);
        let tokio = recognised.tokio?;
        let build_id = image.build_id().unwrap_or_default().to_vec();
        self.mapped.push(Mapped {
            path: path.to_owned(),
            file,
            bias,
            build_id,
            tokio,
            content,
        });
        Some(())
    }
}

fn own_path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
